"""Points, scribbles and lassos drawn with the mouse in slice views of any orientation, and what ends a stroke."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from TumorSegLib import Click, Scribble

Voxel = tuple[int, int, int]
SQUARE: Sequence[Voxel] = ((20, 20, 16), (28, 20, 16), (28, 30, 16), (20, 30, 16))
ACROSS: Sequence[Voxel] = ((20, 24, 16), (24, 30, 16), (34, 30, 16))
CTRL = ("ControlModifier",)


@pytest.fixture
def artist(host: Any) -> Desk:
    """A user who sees the CT, with nothing found yet."""
    desk = Desk(host)
    host.show(desk.volumes["ct"])
    return desk


def drag(desk: Desk, view: str, voxels: Sequence[Voxel], **named: Any) -> None:
    desk.host.mouse.drag(view, [desk.ras(*ijk) for ijk in voxels], **named)


def release(desk: Desk, view: str, ijk: Voxel) -> None:
    desk.host.mouse.send(view, "ButtonRelease", desk.host.mouse.pixel(view, desk.ras(*ijk)), button="LeftButton")
    desk.host.process_events()


def answered(desk: Desk, steps: int = 0) -> np.ndarray:
    desk.host.wait_until(lambda: desk.steps() > steps, "the answer", 60)
    desk.wait()
    return desk.mask()


def prompts(desk: Desk) -> tuple[Any, ...]:
    return tuple(desk.widget.logic.bench.open(desk.node, desk.segment).prompts.items)


def drawn(desk: Desk) -> Scribble:
    last = prompts(desk)[-1]
    assert isinstance(last, Scribble)
    return last


# Points


@pytest.mark.parametrize(("positive", "held"), [(True, ()), (True, CTRL), (False, ()), (False, CTRL)])
def test_held_ctrl_turns_the_sign_of_a_click(artist: Desk, positive: bool, held: Sequence[str]) -> None:
    artist.find()
    artist.take("point", positive)
    before = artist.steps()
    artist.host.click("Red", artist.ras(30, 40, 16), held=held)
    answered(artist, before)
    sign = positive != bool(held)
    assert prompts(artist)[-1] == Click((30, 40, 16), sign)
    assert artist.status.startswith("Added." if sign else "Removed.")
    artist.host.mouse.move("Red", (0.5, 0.5))  # without the key
    assert (artist.ui.signButton.text[0] == "+") is positive  # for the next one
    assert artist.ui.pointButton.checked


def test_a_click_counts_where_the_button_is_released(artist: Desk) -> None:
    artist.ui.pointButton.click()
    drag(artist, "Green", [(20, 30, 16), (40, 30, 20)])
    answered(artist)
    assert prompts(artist) == (Click((40, 30, 20)),)


def test_a_double_click_is_two_clicks(artist: Desk) -> None:
    """Slicer enlarges a view that is double-clicked."""
    artist.ui.pointButton.click()
    mouse = artist.host.mouse
    artist.host.click("Red", artist.ras(20, 20, 16))
    mouse.send("Red", "ButtonDblClick", mouse.pixel("Red", artist.ras(20, 20, 16)), button="LeftButton")
    release(artist, "Red", (20, 20, 16))
    answered(artist, 1)
    assert len(prompts(artist)) >= 1
    assert artist.steps() == 2
    layout = artist.host.app.layout_manager
    assert all(layout.sliceWidget(name).isVisible() for name in layout.sliceViewNames())


def test_shift_and_other_buttons_are_left_to_slicer(artist: Desk) -> None:
    artist.ui.pointButton.click()
    for held, button in ((("ShiftModifier",), "LeftButton"), ((), "RightButton"), ((), "MiddleButton")):
        artist.host.click("Red", artist.ras(20, 20, 16), button, held)
    artist.wait()
    assert artist.steps() == 0
    before = artist.host.slice_view_node("Red").GetFieldOfView()[0]
    mouse, at = artist.host.mouse, artist.host.mouse.pixel("Red", artist.ras(20, 20, 16))
    mouse.send("Red", "ButtonPress", at, button="RightButton")
    mouse.send("Red", "Move", (at[0], at[1] + 60), button="RightButton")
    mouse.send("Red", "ButtonRelease", (at[0], at[1] + 60), button="RightButton")
    assert artist.host.slice_view_node("Red").GetFieldOfView()[0] != before  # zoomed


def test_the_left_button_moves_points_of_others_only_without_a_tool(artist: Desk) -> None:
    import slicer
    import vtk

    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Landmarks")
    points.AddControlPointWorld(vtk.vtkVector3d(*artist.ras(*ACROSS[0])))
    before = list(points.GetNthControlPointPositionVector(0))
    artist.ui.scribbleButton.click()
    drag(artist, "Red", ACROSS)
    answered(artist)
    assert list(points.GetNthControlPointPositionVector(0)) == before
    artist.leave()
    drag(artist, "Red", ACROSS)
    artist.wait()
    assert artist.steps() == 1
    np.testing.assert_allclose(points.GetNthControlPointPositionVector(0), artist.ras(*ACROSS[-1]), atol=1)


# Scribbles


@pytest.mark.parametrize("width", [4.0, 16.0])
def test_a_scribble_takes_the_voxels_that_its_pen_passes(artist: Desk, width: float) -> None:
    artist.ui.penWidthSlider.value = width
    artist.ui.scribbleButton.click()
    assert artist.status == "Draw on the lesion in a slice view. With Ctrl: not tumour."
    drag(artist, "Red", ACROSS)
    mask = answered(artist)
    inside = drawn(artist).mask.array > 0
    assert drawn(artist).positive
    assert np.flatnonzero(inside.any(axis=(1, 2))).tolist() == [16]
    j, i = np.nonzero(inside[16])
    across = np.ptp(j[i == 30]) + 1  # where it runs along i; voxels measure 4 mm
    assert across == pytest.approx(width / 4, abs=1)
    assert mask[inside].all()
    assert artist.status.startswith("The model followed what you drew. Segment now:")
    assert artist.ui.scribbleButton.checked
    artist.press("undoButton")
    assert prompts(artist) == ()
    assert artist.host.dialogs.shown == []


@pytest.mark.parametrize("kind", ["scribble", "lasso"])
def test_strokes_on_an_oblique_slice_are_one_layer_of_it(artist: Desk, kind: str) -> None:
    import slicer
    import vtk

    node = artist.host.slice_view_node("Red")
    turn = vtk.vtkTransform()
    turn.RotateX(31)
    turn.RotateY(-22)
    matrix = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Multiply4x4(turn.GetMatrix(), node.GetSliceToRAS(), matrix)
    node.GetSliceToRAS().DeepCopy(matrix)
    node.UpdateMatrices()
    node.JumpSliceByOffsetting(*artist.ras(32, 32, 16))
    artist.host.process_events()
    axes = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, :3]
    centre = np.array(artist.ras(32, 32, 16))
    flat = [(-30, -20), (30, -20), (30, 30), (-30, 30)]
    places = [(centre + axes[:, 0] * u + axes[:, 1] * v).tolist() for u, v in flat]
    artist.take(kind)
    artist.host.mouse.drag("Red", places)
    mask = answered(artist)
    prompt = drawn(artist)
    inside = prompt.mask.array > 0
    grid = prompt.mask.grid
    k, j, i = np.nonzero(inside)
    offsets = grid.to_ras(np.stack([i, j, k], axis=1)) - centre
    half = np.abs(axes[:, 2] @ grid.direction) @ grid.spacing / 2
    assert np.abs(offsets @ axes[:, 2]).max() < half + 0.6  # a pixel of the slice beside it
    u, v = offsets @ axes[:, 0], offsets @ axes[:, 1]
    assert np.ptp(k) > 3
    assert min(u.min(), v.min()) > -40
    assert max(u.max(), v.max()) < 40
    if kind == "lasso":
        i, j, k = np.rint(grid.to_ijk(centre)).astype(int)
        assert inside[k, j, i]
    assert mask[inside].all()


def test_a_stroke_beyond_the_image_counts_within_it(artist: Desk) -> None:
    artist.ui.scribbleButton.click()
    drag(artist, "Red", [(32, 50, 16), (32, 66, 16)])
    answered(artist)
    _, j, _ = np.nonzero(drawn(artist).mask.array)
    assert (j.min(), j.max()) == (50, 63)


# Lassos


@pytest.mark.parametrize("positive", [True, False])
def test_a_lasso_says_what_is_tumour_and_what_is_not(artist: Desk, positive: bool) -> None:
    full = artist.find() * 0 + 1
    if not positive:
        artist.engines.engines["auto"].rule = lambda _images: full
        artist.find()
    steps = artist.steps()
    artist.take("lasso", positive)
    drag(artist, "Red", SQUARE)
    mask = answered(artist, steps)
    lasso = drawn(artist)
    assert lasso.positive is positive
    inside = lasso.mask.array > 0
    assert np.flatnonzero(inside.any(axis=(1, 2))).tolist() == [16]
    assert inside[16, 21:30, 21:28].all()
    assert inside.sum() <= 9 * 11
    assert (mask[inside] == positive).all()
    artist.press("undoButton")
    assert prompts(artist) == ()
    assert artist.host.dialogs.shown == []


@pytest.mark.parametrize(
    ("tool", "voxels", "words"),
    [
        ("lasso", SQUARE[:1], "a lasso needs at least three points round an area, got 1"),
        ("lasso", ((20, 20, 16), (24, 20, 16), (28, 20, 16)), "a lasso needs an area"),
        ("lasso", ((32, 65, 16), (36, 65, 16), (36, 66, 16)), "outside the image"),
        ("scribble", ((32, 65, 16), (36, 66, 16)), "a stroke needs a voxel of the image on its way"),
        ("point", ((32, 65, 16),), "lies outside the image"),
    ],
)
def test_strokes_that_are_none_are_told_in_the_status_line(
    artist: Desk, tool: str, voxels: Sequence[Voxel], words: str
) -> None:
    before = artist.find()
    artist.take(tool)
    drag(artist, "Red", voxels)
    artist.host.wait_until(lambda: words in artist.status, "the words", 60)
    np.testing.assert_array_equal(artist.mask(), before)
    assert prompts(artist) == ()
    assert artist.host.dialogs.shown == []
    assert getattr(artist.ui, f"{tool}Button").checked  # to try again


# One tool, saved with the rest


def test_one_tool_is_used_at_a_time(artist: Desk) -> None:
    ui = artist.ui
    names = ("point", "scribble", "lasso", "box", "line", "brush", "point", "brush", "line", "lasso")
    buttons = {name: getattr(ui, f"{name}Button") for name in names}
    for name in names:
        buttons[name].click()
        assert [each for each, button in buttons.items() if button.checked] == [name]
        effect = ui.editor.activeEffect()
        assert (effect.name if effect else None) == ("Paint" if name == "brush" else None)
    artist.leave()
    assert not any(button.checked for button in buttons.values())
    ui.pointButton.click()
    ui.editor.setActiveEffectByName("Scissors")  # in the section of Slicer's tools
    assert not any(button.checked for button in buttons.values())
    ui.editor.setActiveEffectByName("Erase")
    assert (ui.brushButton.checked, ui.signButton.text) == (True, "− not tumour")  # noqa: RUF001 - the sign


def test_the_sign_switches_the_brush(artist: Desk) -> None:
    artist.take("brush", positive=False)
    assert artist.ui.editor.activeEffect().name == "Erase"
    artist.ui.signButton.click()
    assert artist.ui.editor.activeEffect().name == "Paint"
    artist.press("newSegmentButton")
    assert artist.ui.editor.activeEffect().name == "Paint"
    artist.leave()
    assert artist.ui.editor.activeEffect() is None


def test_signs_differ_in_colour_and_shape(artist: Desk) -> None:
    import slicer

    button = artist.ui.signButton
    seen = [(button.text, button.styleSheet, button.accessibleName)]
    button.click()
    seen.append((button.text, button.styleSheet, button.accessibleName))
    assert all(one != other for one, other in zip(*seen))
    artist.find()
    artist.start_click((20, 20, 16))
    artist.start_click((40, 40, 16), positive=False)
    artist.wait()
    nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    displays = [node.GetDisplayNode() for node in nodes if "clicks" in node.GetName()]
    assert len({display.GetGlyphType() for display in displays}) == len(displays) == 2
    assert len({display.GetSelectedColor() for display in displays}) == 2


def test_strokes_and_pen_are_saved_with_the_scene(artist: Desk, tmp_path: Path) -> None:
    import slicer

    artist.ui.penWidthSlider.value = 9.0
    artist.take("scribble")
    drag(artist, "Red", ACROSS)
    answered(artist)
    artist.take("lasso", positive=False)
    drag(artist, "Red", SQUARE)
    mask = answered(artist, 1)
    kept = prompts(artist)
    artist.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert not artist.ui.lassoButton.checked
    assert artist.ui.penWidthSlider.value == 4.0
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    artist.host.process_events()
    artist.volumes["ct"] = artist.chosen("ct")
    assert artist.ui.penWidthSlider.value == 9.0
    assert prompts(artist) == kept
    np.testing.assert_array_equal(artist.mask(), mask)
    artist.press("undoButton")
    assert prompts(artist) == kept[:1]
