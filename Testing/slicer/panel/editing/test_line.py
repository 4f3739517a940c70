"""Lines drawn with the mouse in the slice views: each is one prompt, undone as others are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from Testing.fakes import tiny_spec
from Testing.slicer.desk import Desk
from TumorSegLib import Line

Voxel = tuple[int, int, int]
#: The ends of a diameter on a coronal slice.
ENDS: Sequence[Voxel] = ((36, 30, 10), (44, 30, 18))


@pytest.fixture
def artist(host: Any) -> Desk:
    """A user who sees the CT, with nothing found yet."""
    desk = Desk(host)
    host.show(desk.volumes["ct"])
    return desk


def draw(desk: Desk, view: str, voxels: Sequence[Voxel]) -> None:
    """Clicks on voxels one after the other."""
    for ijk in voxels:
        desk.host.click(view, desk.ras(*ijk))


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
    assert artist.status == "Click on both ends of the longest diameter of the lesion, on one slice."
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
    artist.leave()
    assert (names("Line"), placing(), artist.ui.lineButton.checked) == ([], False, False)
    assert artist.host.dialogs.shown == []


def outside(desk: Desk) -> Voxel:
    """A place beside the image, in the part of the views that it does not fill."""
    return 32, desk.volumes["ct"].GetImageData().GetDimensions()[1], 16


def test_a_line_that_is_none_is_told_in_the_status_line(artist: Desk) -> None:
    before = artist.find()
    artist.ui.lineButton.click()
    draw(artist, "Red", [(20, 20, 16), (20, 20, 16)])
    words = "the line has no length: both its ends lie in one voxel"
    artist.host.wait_until(lambda: words in artist.status, "the words", 60)
    np.testing.assert_array_equal(artist.mask(), before)
    assert prompts(artist) == ()
    assert artist.host.dialogs.shown == []
    assert artist.ui.lineButton.checked  # to try again


def test_a_line_outside_the_image_is_told_with_the_place(artist: Desk) -> None:
    artist.ui.lineButton.click()
    draw(artist, "Red", [(20, 20, 16), outside(artist)])
    artist.host.wait_until(lambda: "outside" in artist.status, "the words", 60)
    assert artist.status.startswith("an end of the line (R ")
    assert artist.status.endswith(" mm) lies outside the image that the segment is corrected in")


def test_leaving_the_place_mode_without_a_line_puts_the_tool_down(artist: Desk) -> None:
    import slicer

    artist.ui.lineButton.click()
    draw(artist, "Red", ENDS[:1])  # of one end nothing follows
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()
    artist.host.wait_until(lambda: not artist.ui.lineButton.checked, "the button")
    assert (names("Line"), prompts(artist)) == ([], ())


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
    artist.hand_over("line", [artist.ras(*ijk) for ijk in ENDS])
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
    artist.ui.pointButton.click()
    artist.place("Red", (20, 20, 16))
    assert artist.status == (
        "The model found nothing here: click again in the middle of the lesion, or draw a line across it."
    )
    engine.radius = 3
    artist.place("Red", (40, 40, 16))
    assert artist.status.startswith("Added. Segment now:")
