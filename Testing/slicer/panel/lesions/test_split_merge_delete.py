"""The buttons of the list of lesions: split, merge, delete, and what happens to the list meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import (
    BOXES,
    CONTROL,
    DIAMETER,
    NAME,
    LesionList,
    lock,
    paint,
    size_of,
    split,
)
from Testing.slicer.module import segment_ids


def test_split_and_undo(lesions: LesionList) -> None:
    desk = lesions.desk
    whole = size_of(desk, desk.segment)
    ids = split(lesions)
    assert desk.segment == ids[0]
    assert desk.status.startswith("Split into 3 segments, the largest one first")
    assert [size_of(desk, each) for each in ids] == [216, 125, 27]
    desk.press("undoButton")
    assert size_of(desk, ids[0]) == whole
    assert segment_ids(desk.node) == ids
    desk.press("redoButton")
    assert size_of(desk, ids[0]) == 216
    assert desk.host.dialogs.shown == []


def test_clicks_and_undo_work_at_once_on_a_lesion_that_was_split_off(lesions: LesionList) -> None:
    desk = lesions.desk
    ids = split(lesions)
    lesions.click(ids[1])
    assert not desk.ui.undoButton.enabled
    desk.start_click((40, 10, 15))
    desk.wait()
    assert size_of(desk, ids[1]) > 125
    desk.press("undoButton")
    assert size_of(desk, ids[1]) == 125
    desk.press("measureButton")
    assert desk.status == "Measured: Tumour 2"


def test_lesions_that_were_split_off_survive_saving(lesions: LesionList, tmp_path: Path) -> None:
    import slicer

    desk = lesions.desk
    ids = split(lesions)
    desk.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    lesions.settled()
    assert lesions.widget.rowCount == 0
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    lesions.settled()
    assert lesions.texts(NAME) == ["Tumour", "Tumour 2", "Tumour 3"]
    assert [list(desk.widget.logic.inputs(desk.node, each)) for each in ids] == [["ct", "pet"]] * 3


def test_one_lesion_has_nothing_to_split(desk: Desk) -> None:
    desk.press("newSegmentButton")
    paint(desk, *BOXES[0])
    lesions = LesionList(desk).settled()
    assert split(lesions) == [desk.segment]
    assert desk.status == "The segment is one connected lesion: there is nothing to split."


def test_several_rows_are_merged_once_the_user_agrees(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    ids = split(lesions)
    assert not desk.ui.mergeButton.enabled
    lesions.click(ids[2])
    lesions.click(ids[0], modifier=CONTROL)
    assert lesions.selected() == [ids[0], ids[2]]
    desk.press("mergeButton")  # nobody agrees
    assert "Merge 'Tumour 3' into 'Tumour'?" in desk.host.dialogs.texts[-1]
    assert segment_ids(desk.node) == ids
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("mergeButton")
    assert segment_ids(desk.node) == ids[:2]
    assert size_of(desk, ids[0]) == 216 + 27
    assert desk.segment == ids[0]
    volume = desk.widget.logic.volumeMl(desk.node, ids[0])
    assert desk.status == f"Merged. Segment now: {volume:.1f} ml"
    desk.press("undoButton")
    assert size_of(desk, ids[0]) == 216
    lesions.settled()
    assert lesions.selected() == [ids[0]]


def test_delete_asks_only_where_work_would_be_lost(desk: Desk, qt: Any) -> None:
    desk.find()
    found = desk.segment
    lesions = LesionList(desk).settled()
    desk.press("deleteSegmentButton")  # as the model made it
    assert desk.host.dialogs.shown == []
    assert desk.status == "Deleted: 'Tumour'."
    assert found not in segment_ids(desk.node)
    assert desk.segment == ""
    lesions.settled()
    assert lesions.widget.rowCount == 0
    assert not desk.ui.deleteSegmentButton.enabled
    desk.press("newSegmentButton")  # an empty one
    desk.press("deleteSegmentButton")
    assert desk.host.dialogs.shown == []
    desk.find()
    desk.start_click((50, 50, 20))
    desk.wait()
    lesions.settled()
    desk.press("deleteSegmentButton")
    assert "Delete 'Tumour'? This cannot be undone." in desk.host.dialogs.texts[-1]
    assert len(segment_ids(desk.node)) == 1
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("deleteSegmentButton")
    assert segment_ids(desk.node) == []


def test_after_a_delete_the_segment_below_is_selected(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    ids = split(lesions)
    lesions.click(ids[1])
    for left in ([ids[0], ids[2]], [ids[0]]):
        desk.host.dialogs.answer(qt.QMessageBox.Yes)
        desk.press("deleteSegmentButton")
        lesions.settled()
        assert segment_ids(desk.node) == left
        assert desk.segment == left[-1]
        assert lesions.selected() == [left[-1]]


def test_completed_segments_stay_as_they_are(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    whole = size_of(desk, desk.segment)
    lock(desk, desk.segment)
    desk.press("splitButton")
    assert "'Tumour' is marked as completed" in desk.status
    desk.host.dialogs.answer(qt.QMessageBox.Yes)  # to the question whether it may be deleted
    desk.press("deleteSegmentButton")
    assert "'Tumour' is marked as completed" in desk.status
    assert size_of(desk, desk.segment) == whole
    assert len(desk.host.dialogs.shown) == 1


# Meanwhile


def test_a_segment_is_deleted_while_it_is_worked_on(desk: Desk) -> None:
    desk.press("newSegmentButton")
    slow = desk.begin_slowly()  # on the empty segment, which it fills
    LesionList(desk).show()
    desk.ui.deleteSegmentButton.click()
    desk.wait()
    assert segment_ids(desk.node) == []
    assert not slow.go.is_set()
    assert desk.host.dialogs.shown == []


def test_the_segmentation_is_removed_while_figures_are_computed(lesions: LesionList) -> None:
    import slicer

    desk = lesions.desk
    split(lesions)
    desk.start_click((50, 50, 20))
    desk.wait()
    desk.host.wait_until(lambda: desk.widget.panel.lesions._figures._measuring, "the figures to be computed", 60)
    slicer.mrmlScene.RemoveNode(desk.node)
    lesions.settled()
    assert lesions.widget.rowCount == 0
    assert not desk.ui.splitButton.enabled


def test_the_scene_is_closed_while_a_split_is_worked_on(lesions: LesionList) -> None:
    import slicer

    lesions.desk.ui.splitButton.click()
    slicer.mrmlScene.Clear(False)
    lesions.settled()
    assert lesions.widget.rowCount == 0
    assert lesions.desk.host.dialogs.shown == []


def test_a_segment_that_joins_another_may_be_deleted_meanwhile(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    ids = split(lesions)
    lesions.click(ids[1])
    lesions.click(ids[0], modifier=CONTROL)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.ui.mergeButton.click()
    desk.node.GetSegmentation().RemoveSegment(ids[1])
    desk.wait()
    assert segment_ids(desk.node) == [ids[0], ids[2]]
    assert size_of(desk, ids[0]) == 216 + 125


def test_a_click_waits_for_no_figures(lesions: LesionList) -> None:
    desk = lesions.desk
    split(lesions)
    figures = desk.widget.panel.lesions._figures
    desk.start_click((50, 50, 20))
    desk.wait()
    desk.host.wait_until(lambda: figures._measuring, "the figures to be computed", 60)
    desk.start_click((50, 20, 20))
    desk.wait()
    lesions.settled()
    assert "..." not in lesions.texts(DIAMETER)
