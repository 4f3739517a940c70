"""Lines and lassos drawn with the mouse in the slice views: each is one prompt, undone and saved as others are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import tiny_spec
from Testing.slicer.desk import Desk
from TumorSegLib import Line, Scribble

Voxel = tuple[int, int, int]
#: A square on an axial slice, and the ends of a diameter on a coronal one.
SQUARE: Sequence[Voxel] = ((20, 20, 16), (28, 20, 16), (28, 30, 16), (20, 30, 16))
ENDS: Sequence[Voxel] = ((36, 30, 10), (44, 30, 18))


@pytest.fixture
def artist(host: Any) -> Desk:
    """A user who sees the CT, with nothing found yet."""
    desk = Desk(host)
    host.show(desk.volumes["ct"])
    return desk


def draw(desk: Desk, view: str, voxels: Sequence[Voxel], closed: bool = False) -> None:
    """Clicks on voxels one after the other, and closes a curve with the right button."""
    for ijk in voxels:
        desk.host.click(view, desk.ras(*ijk))
    if closed:
        desk.host.click(view, desk.ras(*voxels[-1]), "RightButton")


def answered(desk: Desk, steps: int) -> np.ndarray:
    desk.host.wait_until(lambda: desk.steps() > steps, "the answer", 60)
    desk.wait()
    return desk.mask()


def prompts(desk: Desk) -> tuple[Any, ...]:
    return tuple(desk.widget.logic.bench.open(desk.node, desk.segment).prompts.items)


def names(kind: str) -> list[str]:
    import slicer

    return [node.GetName() for node in slicer.util.getNodesByClass(f"vtkMRMLMarkups{kind}Node")]


def placing() -> bool:
    import slicer

    interaction = slicer.app.applicationLogic().GetInteractionNode()
    return bool(interaction.GetCurrentInteractionMode() == interaction.Place)


def test_a_line_across_the_tumour_makes_a_segment(artist: Desk) -> None:
    artist.ui.lineButton.click()
    assert artist.status == "Click on both ends of the longest diameter of the tumour, on one slice."
    draw(artist, "Green", ENDS)
    mask = answered(artist, 0)
    (line,) = prompts(artist)
    assert line == Line(ENDS)
    assert mask[14, 30, 40] == 1  # about the middle of its box
    assert artist.status.startswith("The model followed what you drew. Segment now:")
    assert (artist.ui.lineButton.checked, placing()) == (True, True)  # for the next one
    assert names("Line") == ["TumorSeg line"]  # an empty one, to be drawn
    artist.press("undoButton")
    assert not artist.mask().any()
    assert prompts(artist) == ()
    artist.ui.lineButton.click()
    assert (names("Line"), placing(), artist.ui.lineButton.checked) == ([], False, False)
    assert artist.host.dialogs.shown == []


@pytest.mark.parametrize("positive", [True, False])
def test_a_lasso_says_what_is_tumour_and_what_is_not(artist: Desk, positive: bool) -> None:
    button = artist.ui.lassoButton if positive else artist.ui.negativeLassoButton
    artist.find()
    full = artist.mask() * 0 + 1
    artist.widget.logic.bench.open(artist.node, artist.segment)
    if not positive:
        artist.engines.engines["auto"].rule = lambda _images: full
        artist.find()
    steps = artist.steps()
    button.click()
    assert "a click with the right button closes the curve" in artist.status
    draw(artist, "Red", SQUARE, closed=True)
    mask = answered(artist, steps)
    lasso = prompts(artist)[-1]
    assert isinstance(lasso, Scribble)
    assert lasso.positive is positive
    inside = lasso.mask.array > 0
    assert np.flatnonzero(inside.any(axis=(1, 2))).tolist() == [16]
    assert inside[16, 22:29, 22:27].all()  # the curve is rounder than the square, and passes its corners
    assert not inside[16, :18].any()
    assert (mask[inside] == positive).all()
    assert (names("ClosedCurve"), button.checked) == ([f"TumorSeg {'lasso' if positive else 'negativeLasso'}"], True)
    artist.press("undoButton")
    assert prompts(artist) == ()
    assert artist.host.dialogs.shown == []


def test_shapes_are_saved_with_the_scene(artist: Desk, tmp_path: Path) -> None:
    import slicer

    artist.ui.lineButton.click()
    draw(artist, "Green", ENDS)
    answered(artist, 0)
    artist.ui.lassoButton.click()
    draw(artist, "Red", SQUARE, closed=True)
    mask = answered(artist, 1)
    kept = prompts(artist)
    artist.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert not placing()
    assert not artist.ui.lassoButton.checked
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    artist.host.process_events()
    artist.volumes["ct"] = artist.chosen("ct")
    assert (names("Line"), names("ClosedCurve")) == ([], [])
    assert prompts(artist) == kept
    np.testing.assert_array_equal(artist.mask(), mask)
    artist.press("undoButton")
    assert prompts(artist) == kept[:1]


def outside(desk: Desk) -> Voxel:
    """A place beside the image, in the part of the views that it does not fill."""
    return 32, desk.volumes["ct"].GetImageData().GetDimensions()[1], 16


@pytest.mark.parametrize(
    ("tool", "voxels", "words"),
    [
        ("line", ((20, 20, 16), (20, 20, 16)), "the line has no length: both its ends lie in one voxel"),
        ("line", ((20, 20, 16), None), "an end of the line"),
        ("lasso", SQUARE[:2], "a lasso needs at least three points round an area, got 2"),
        ("negativeLasso", SQUARE[:1], "a lasso needs at least three points round an area, got 1"),
        ("lasso", (*SQUARE[:3], (20, 30, 20)), "a lasso lies on one slice, the points of this one are"),
        ("lasso", ((20, 20, 16), (24, 20, 16), (28, 20, 16)), "a lasso needs an area"),
    ],
)
def test_shapes_that_are_none_are_told_in_the_status_line(
    artist: Desk, tool: str, voxels: Sequence[Voxel | None], words: str
) -> None:
    before = artist.find()
    steps, button = len(prompts(artist)), getattr(artist.ui, f"{tool}Button")
    button.click()
    draw(artist, "Red", [ijk or outside(artist) for ijk in voxels], closed=tool != "line")
    artist.host.wait_until(lambda: words in artist.status, "the words", 60)
    np.testing.assert_array_equal(artist.mask(), before)
    assert len(prompts(artist)) == steps
    assert artist.host.dialogs.shown == []
    assert button.checked  # to try again


def test_a_line_outside_the_image_is_told_with_the_place(artist: Desk) -> None:
    artist.ui.lineButton.click()
    draw(artist, "Red", [(20, 20, 16), outside(artist)])
    artist.host.wait_until(lambda: "outside" in artist.status, "the words", 60)
    assert artist.status.startswith("an end of the line (R ")
    assert artist.status.endswith(" mm) lies outside the image that the segment is corrected in")


@pytest.mark.parametrize("tool", ["line", "lasso"])
def test_leaving_the_place_mode_without_a_shape_puts_the_tool_down(artist: Desk, tool: str) -> None:
    import slicer

    button = getattr(artist.ui, f"{tool}Button")
    button.click()
    if tool == "line":
        draw(artist, "Red", SQUARE[:1])  # of one end nothing follows
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
    artist.host.wait_until(lambda: not button.checked, "the button")
    assert (names("Line"), names("ClosedCurve"), prompts(artist)) == ([], [], ())


def test_one_tool_is_used_at_a_time(artist: Desk) -> None:
    ui = artist.ui
    tools = [ui.positiveButton, ui.lassoButton, ui.lineButton, ui.negativeLassoButton, ui.negativeButton]
    for button in tools:
        button.click()
        assert [each.checked for each in tools] == [each is button for each in tools]
        assert placing()
    ui.lassoButton.click()
    ui.placeBoxButton.click()
    assert not any(each.checked for each in tools)
    assert names("ClosedCurve") == []


def test_a_lasso_is_positive_again_on_a_new_segment(artist: Desk) -> None:
    artist.find()
    artist.ui.negativeLassoButton.click()
    artist.press("newSegmentButton")
    assert (artist.ui.lassoButton.checked, artist.ui.negativeLassoButton.checked) == (True, False)
    assert names("ClosedCurve") == ["TumorSeg lasso"]


def test_the_click_model_goes_with_the_automatic_model_and_the_prompt(artist: Desk) -> None:
    def asked() -> str:
        (name,) = {name for kind, name, *_ in artist.engines.asked if kind == "clicks"}
        artist.engines.asked.clear()
        return str(name)

    artist.start_click_on_new_segment((20, 20, 16))
    assert asked() == "lesion-clicks"
    artist.engines.engines["auto"].spec = tiny_spec("sts-auto", ("ct", "pet"), ("ct", "pet"))
    artist.press("newSegmentButton")
    artist.find()
    artist.start_click((50, 50, 20))
    artist.wait()
    assert asked() == "sts-clicks"
    artist.widget.panel.correct._onDrawn("line", [artist.ras(*ijk) for ijk in ENDS])
    artist.wait()
    assert asked() == "lesion-clicks"
    artist.start_click((50, 50, 20), False)  # which goes on with the line
    artist.wait()
    assert asked() == "lesion-clicks"
    artist.press("undoButton")
    artist.press("undoButton")
    artist.start_click((50, 50, 20), False)
    artist.wait()
    assert asked() == "sts-clicks"
    artist.context.parameters.clicksModel = "mine"
    artist.start_click((50, 50, 21), False)
    artist.wait()
    assert asked() == "mine"


def test_an_answer_with_nothing_in_it_is_told_with_what_may_help(artist: Desk) -> None:
    engine = artist.engines.engines["clicks"]
    engine.radius = 0  # nothing but what the prompt decides
    artist.ui.positiveButton.click()
    artist.place("Red", (20, 20, 16))
    assert artist.status == (
        "The model found nothing here: click again in the middle of the lesion, or draw a line across it."
    )
    engine.radius = 3
    artist.place("Red", (40, 40, 16))
    assert artist.status.startswith("Added. Segment now:")
