"""A stroke while it is drawn: what is seen of it, and what happens to it when something else does meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest

from Testing.slicer.panel.editing.test_draw import ACROSS, CTRL, SQUARE, answered, drag, drawn, prompts, release

if TYPE_CHECKING:
    from Testing.slicer.desk import Desk
    from Testing.slicer.host.host import Host


@pytest.fixture
def desk(desk: Desk, host: Host) -> Desk:
    """A user who sees the CT, with nothing found yet."""
    host.show(desk.volumes["ct"])
    return desk


def picture(desk: Desk, view: str) -> np.ndarray:
    return np.array(desk.host.app.layout_manager.sliceWidget(view).sliceView().picture()[..., :3], dtype=int)


def ink(desk: Desk, view: str, before: np.ndarray) -> np.ndarray:
    """Where a view has changed, ``[row, column]``."""
    return np.asarray((np.abs(picture(desk, view) - before) > 20).any(axis=-1))


@pytest.mark.parametrize("tool", ["scribble", "lasso"])
@pytest.mark.parametrize("held", [(), CTRL])
def test_a_stroke_is_seen_while_it_is_drawn_in_the_colour_of_its_sign(
    desk: Desk, tool: str, held: Sequence[str]
) -> None:
    from TumorSegSlicer.panel.editing.place import COLOURS

    desk.host.slice_view_node("Red").JumpSliceByOffsetting(*desk.ras(*ACROSS[0]))
    desk.host.process_events()
    plain = picture(desk, "Red")
    desk.take(tool)
    desk.ui.penWidthSlider.value = 12.0
    desk.host.mouse.move("Red", (0.1, 0.1))
    before = {view: picture(desk, view) for view in ("Red", "Green")}
    drag(desk, "Red", ACROSS, held=held, drop=False)
    changed = ink(desk, "Red", before["Red"])
    assert changed.sum() > 50
    assert not ink(desk, "Green", before["Green"]).any()
    red, _green, blue = picture(desk, "Red")[changed].mean(axis=0)
    assert bool(red > blue) is (COLOURS[not held][0] > COLOURS[not held][2])
    steps = desk.steps()
    release(desk, "Red", ACROSS[-1])
    answered(desk, steps)
    assert drawn(desk).positive is not bool(held)
    desk.press("undoButton")
    desk.leave()
    assert not ink(desk, "Red", plain).any()


def test_the_pen_is_seen_where_the_mouse_is(desk: Desk) -> None:
    desk.take("scribble")
    desk.ui.penWidthSlider.value = 20.0
    before = picture(desk, "Red")
    desk.host.mouse.move("Red", (0.5, 0.5))
    rows, columns = np.nonzero(ink(desk, "Red", before))
    node = desk.host.slice_view_node("Red")
    pixels = 20.0 / (node.GetFieldOfView()[0] / node.GetDimensions()[0])
    assert np.ptp(rows) == pytest.approx(pixels, abs=3)
    assert np.ptp(columns) == pytest.approx(pixels, abs=3)


def test_the_mouse_shows_the_sign(desk: Desk) -> None:
    views = [desk.host.app.layout_manager.sliceWidget(name).sliceView() for name in ("Red", "Green", "Yellow")]

    def shown() -> list[int]:
        return [view.cursor.pixmap().cacheKey() for view in views]

    plain = [view.cursor.shape() for view in views]
    desk.take("point")
    positive = shown()
    desk.ui.signButton.click()
    negative = shown()
    assert len(set(positive)) == len(set(negative)) == 1
    assert positive != negative
    desk.host.mouse.move("Red", (0.5, 0.5), *CTRL)
    assert shown() == positive
    desk.host.mouse.move("Red", (0.5, 0.5))
    assert shown() == negative
    desk.leave()
    assert [view.cursor.shape() for view in views] == plain


def test_a_stroke_during_a_running_action_is_answered_after_it(desk: Desk) -> None:
    desk.press("newSegmentButton")
    desk.take("scribble")
    slow = desk.begin_slowly()
    drag(desk, "Red", ACROSS)
    assert desk.status == "Queued: starts when the current task has finished."
    slow.go.set()
    desk.wait()
    assert desk.steps() == 2
    assert drawn(desk).positive
    assert desk.host.dialogs.shown == []


def test_scrolling_while_a_stroke_is_drawn_drops_it(desk: Desk) -> None:
    desk.press("newSegmentButton")
    desk.take("lasso")
    drag(desk, "Red", SQUARE[:3], drop=False)
    desk.host.slice_view_node("Red").JumpSliceByOffsetting(*desk.ras(20, 20, 20))
    mouse = desk.host.mouse
    mouse.send("Red", "Move", mouse.pixel("Red", desk.ras(*SQUARE[3])), button="LeftButton")
    assert desk.status == "The slice moved while you drew on it; nothing was changed. Draw again."
    release(desk, "Red", SQUARE[3])
    desk.wait()
    assert desk.steps() == 0
    drag(desk, "Red", SQUARE)
    answered(desk)


@pytest.mark.parametrize("what", ["segment", "segmentation", "image", "scene", "module"])
def test_deletions_while_a_stroke_is_drawn(desk: Desk, what: str) -> None:
    import slicer

    desk.press("newSegmentButton")
    desk.take("scribble")
    drag(desk, "Red", ACROSS, drop=False)
    at = desk.host.mouse.pixel("Red", desk.ras(*ACROSS[-1]))
    if what == "segment":
        desk.node.GetSegmentation().RemoveSegment(desk.segment)
    elif what == "segmentation":
        slicer.mrmlScene.RemoveNode(desk.node)
    elif what == "image":
        slicer.mrmlScene.RemoveNode(desk.volumes["ct"])
    elif what == "scene":
        slicer.mrmlScene.Clear(False)
    else:
        desk.host.unload_modules()
    desk.host.process_events()
    desk.host.mouse.send("Red", "ButtonRelease", at, button="LeftButton")
    desk.host.process_events()
    if what == "module":
        assert desk.host.app.layout_manager.connections("layoutChanged(int)") == 0
    else:
        desk.wait()
        assert desk.ui.scribbleButton.checked is (what == "image")
    assert desk.steps() == (1 if what == "image" else 0)  # whose voxels the session has
    assert desk.host.dialogs.shown == []


def test_the_tool_ends_with_its_segment(desk: Desk) -> None:
    desk.press("newSegmentButton")
    desk.take("lasso", positive=False)
    desk.node.GetSegmentation().RemoveSegment(desk.segment)
    desk.host.wait_until(lambda: not desk.ui.lassoButton.checked, "the button")
    assert desk.ui.signButton.text == "+ tumour"


def test_views_that_come_with_another_layout_are_drawn_in_too(desk: Desk) -> None:
    import slicer

    desk.take("scribble")
    drag(desk, "Red", ACROSS, drop=False)
    layout = desk.host.app.layout_manager
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutTwoOverTwoView)
    release(desk, "Red", ACROSS[-1])
    desk.wait()
    assert desk.steps() == 0  # the stroke in a view that is shown anew was dropped
    desk.host.show(desk.volumes["ct"])
    for view, voxels in (("Slice4", [(20, 20, 10), (30, 30, 10)]), ("Red", ACROSS)):
        steps = desk.steps()
        drag(desk, view, voxels)
        answered(desk, steps)
    assert len(prompts(desk)) == 2
    desk.leave()
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    assert not desk.ui.scribbleButton.checked
