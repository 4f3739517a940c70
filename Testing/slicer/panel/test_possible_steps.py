"""Undo, Redo, Reset and Measure can be pressed as long as they have something to do, and not else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from Testing.slicer.desk import Desk
from Testing.slicer.panel.editing.test_brush import FAR, Painter
from Testing.slicer.panel.test_segments import imported, place, save_and_reopen

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

NONE, ALL = set[str](), {"undo", "redo", "reset", "measure"}


def possible(desk: Desk) -> set[str]:
    """What can be pressed."""
    return {name for name in ALL if getattr(desk.ui, f"{name}Button").enabled}


def test_undo_redo_reset_and_measure_are_enabled_when_possible(desk: Desk) -> None:
    assert possible(desk) == NONE
    desk.press("newSegmentButton")
    assert possible(desk) == NONE
    place(desk, (50, 50, 20))
    assert possible(desk) == {"undo", "reset", "measure"}
    desk.press("undoButton")
    assert possible(desk) == {"redo"}
    desk.press("redoButton")
    assert possible(desk) == {"undo", "reset", "measure"}
    desk.press("resetButton")
    assert possible(desk) == {"undo"}
    desk.context.selection.setTarget(None, "")
    assert possible(desk) == NONE


def test_measure_is_enabled_for_a_loaded_segment(desk: Desk) -> None:
    import slicer

    node, _, _ = imported(desk)
    assert possible(desk) == {"measure"}
    desk.context.selection.setTarget(node, node.GetSegmentation().AddEmptySegment("empty", "empty"))
    assert possible(desk) == NONE
    assert slicer.mrmlScene.IsNodePresent(node)


def test_undo_is_enabled_while_an_edit_runs(desk: Desk) -> None:
    desk.press("newSegmentButton")
    desk.begin_slowly()
    assert "undo" in possible(desk)
    desk.ui.cancelButton.click()
    desk.wait()
    assert possible(desk) == NONE


def test_undo_is_enabled_after_a_brush_stroke(host: Host) -> None:
    painter = Painter(host)
    painter.press("newSegmentButton")
    assert possible(painter) == NONE
    painter.dab(FAR)
    painter.settle(1)
    assert possible(painter) == {"undo", "reset", "measure"}


def test_undo_is_enabled_for_a_saved_session(desk: Desk, tmp_path: Path) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    place(desk, (50, 50, 20))
    save_and_reopen(desk, tmp_path / "case.mrb")
    assert possible(desk) == {"undo", "reset", "measure"}
    desk.context.selection.setTarget(desk.node, first)  # its session is opened by the first action
    assert {"undo", "reset", "measure"} <= possible(desk)
    desk.press("undoButton")
    assert possible(desk) == {"redo"}
