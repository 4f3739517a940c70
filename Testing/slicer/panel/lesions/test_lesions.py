"""The list of lesions: what it shows, what clicks, keys and buttons do, and what happens to it meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk, paint_box
from Testing.slicer.lesion_list import COLOUR, CONTROL, DIAMETER, NAME, SUV, VOLUME, LesionList
from Testing.slicer.module import segment_ids, voxels

# Low corner and size of boxes that do not touch, in voxels, the largest first.
BOXES = (((5, 5, 5), (6, 6, 6)), ((20, 20, 10), (5, 5, 5)), ((40, 40, 20), (3, 3, 3)))


@pytest.fixture
def lesions(desk: Desk) -> LesionList:
    """The list, with one segment of three lesions that were painted."""
    desk.press("newSegmentButton")
    for low, size in BOXES:
        paint(desk, low, size)
    desk.wait_saved()
    return LesionList(desk).settled()


def paint(desk: Desk, low: tuple[int, int, int], size: tuple[int, int, int], segment: str = "") -> None:
    """Paints by Slicer's own means and waits until that is one step."""
    before = desk.steps()
    paint_box(desk, low, size, segment)  # type: ignore[arg-type]
    desk.host.wait_until(lambda: desk.steps() > before, "the stroke to be imported", 60)


def size_of(desk: Desk, segment: str) -> int:
    return int(voxels(desk.node, segment, desk.volumes["ct"]).sum())


def lock(desk: Desk, segment: str) -> None:
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(desk.node.GetSegmentation().GetSegment(segment), logic.Completed)


def split(lesions: LesionList) -> list[str]:
    lesions.desk.press("splitButton")
    lesions.settled()
    return segment_ids(lesions.desk.node)


# What it shows


def test_the_list_shows_figures_of_each_segment(lesions: LesionList) -> None:
    desk = lesions.desk
    ids = split(lesions)
    assert lesions.texts(NAME) == ["Tumour", "Tumour 2", "Tumour 3"]
    assert lesions.texts(VOLUME) == [f"{size * 0.08:.1f}" for size in (216, 125, 27)]
    for segment, diameter, suv in zip(ids, lesions.texts(DIAMETER), lesions.texts(SUV)):
        table = desk.widget.logic.measure(desk.node, segment, desk.volumes["pet"])
        figures = {table.GetCellText(row, 0): table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())}
        assert float(diameter) == pytest.approx(float(figures["Longest axial diameter (RECIST 1.1)"]), abs=0.06)
        assert float(suv) == pytest.approx(float(figures["SUVmax"]), abs=0.06)


def test_volume_is_there_at_once_and_other_figures_are_never_out_of_date(lesions: LesionList) -> None:
    desk = lesions.desk
    desk.start_click((50, 50, 20))
    seen: list[tuple[str, ...]] = []
    desk.context.edits.onEdited.connect(lambda: (desk.widget.panel.lesions.update(), seen.append(shown(lesions))))
    desk.wait()
    volume = desk.widget.logic.volumeMl(desk.node, desk.segment)
    assert seen == [(f"{volume:.1f}", "...", "...")]
    lesions.settled()
    assert shown(lesions)[0] == f"{volume:.1f}"
    assert "..." not in shown(lesions)


def measured(desk: Desk) -> list[tuple[str, str]]:
    """Names and values of the table of measurements."""
    table = desk.ui.measurementsTable
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]


def shown(lesions: LesionList, row: int = 0) -> tuple[str, ...]:
    return tuple(lesions.texts(column)[row] for column in (VOLUME, DIAMETER, SUV))


def test_a_stroke_makes_figures_unknown_until_it_is_read(lesions: LesionList) -> None:
    paint_box(lesions.desk, (30, 10, 10), (4, 4, 4))  # type: ignore[arg-type]
    lesions.desk.widget.panel.lesions.update()
    assert shown(lesions) == ("...", "...", "...")
    lesions.settled()
    lesions.desk.host.wait_until(lambda: "..." not in shown(lesions), "the figures", 60)
    assert shown(lesions)[0] == f"{(216 + 125 + 27 + 64) * 0.08:.1f}"


def test_without_a_pet_there_is_no_column_for_suv(desk: Desk) -> None:
    desk.choose("pet", None)
    desk.press("newSegmentButton")
    paint(desk, *BOXES[0])
    lesions = LesionList(desk).settled()
    assert lesions.widget.isColumnHidden(SUV)
    desk.choose("pet", desk.volumes["pet"])
    lesions.settled()
    assert not lesions.widget.isColumnHidden(SUV)
    assert float(lesions.texts(SUV)[0]) > 0


def test_a_segment_from_elsewhere_and_an_empty_one_have_their_figures(desk: Desk) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "From elsewhere")
    node.SetReferenceImageGeometryParameterFromVolumeNode(desk.volumes["ct"])
    mask = np.zeros(slicer.util.arrayFromVolume(desk.volumes["ct"]).shape, np.uint8)
    mask[10:14, 20:30, 20:30] = 1
    for name, array in (("GTV", mask), ("Nothing", np.zeros_like(mask))):
        segment = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment, desk.volumes["ct"])
    desk.ui.segmentationSelector.setCurrentNode(node)
    lesions = LesionList(desk).settled()
    assert lesions.texts(VOLUME) == ["32.0", "0.0"]
    assert float(lesions.texts(DIAMETER)[0]) > 36
    assert lesions.texts(DIAMETER)[1] == lesions.texts(SUV)[1] == ""
    # What is kept as a surface is not turned into voxels for the list, which would stop the window.
    assert node.GetSegmentation().CreateRepresentation("Closed surface")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    lesions.settled()
    assert shown(lesions) == ("", "", "")
    desk.host.show(desk.volumes["ct"])
    lesions.click("GTV")
    assert desk.host.slice_offsets()["Red"] == pytest.approx(desk.ras(25, 25, 12)[2], abs=5.1)
    desk.press("measureButton")
    assert desk.status == "Measured: GTV"
    volume = next(row for row in measured(desk) if row[0] == "Volume")
    assert float(volume[1]) == pytest.approx(32.0, rel=0.2)


def test_a_segmentation_under_a_transform_that_is_not_linear_is_listed_without_figures(desk: Desk) -> None:
    import slicer

    desk.find()
    lesions = LesionList(desk).settled()
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    desk.node.SetAndObserveTransformNodeID(warp.GetID())
    lesions.settled()
    assert shown(lesions) == ("", "", "")
    desk.node.SetAndObserveTransformNodeID(None)
    lesions.settled()
    assert "" not in shown(lesions)


def test_what_is_changed_elsewhere_is_followed(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    segment = desk.node.GetSegmentation().GetSegment(desk.segment)
    segment.SetName("GTV")
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV"]
    desk.node.GetDisplayNode().SetSegmentVisibility(desk.segment, False)
    lesions.settled()
    assert lesions.widget.item(0, 0).checkState() == qt.Qt.Unchecked
    segment.SetColor(0.0, 0.0, 1.0)
    lesions.settled()
    assert lesions.widget.item(0, COLOUR).icon().pixmap(14, 14).toImage().pixelColor(7, 7).name() == "#0000ff"
    lock(desk, desk.segment)
    lesions.settled()
    assert lesions.widget.item(0, NAME).font().italic()
    desk.node.GetSegmentation().AddEmptySegment("other", "other")
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV", "other"]


# What the user does in it


def test_a_click_selects_the_segment_and_shows_its_middle(lesions: LesionList) -> None:
    desk = lesions.desk
    desk.host.show(desk.volumes["ct"])
    ids = split(lesions)
    for segment, (low, size) in reversed(list(zip(ids, BOXES))):
        lesions.click(segment)
        assert desk.segment == segment
        assert lesions.selected() == [segment]
        middle = desk.ras(*(n + edge // 2 for n, edge in zip(low, size)))
        # Along the normals of the views, one of which leads to the left.
        offsets = {view: abs(offset) for view, offset in desk.host.slice_offsets().items()}
        assert offsets["Red"] == pytest.approx(abs(middle[2]), abs=5.1)
        assert offsets["Green"] == pytest.approx(abs(middle[1]), abs=4.1)
        assert offsets["Yellow"] == pytest.approx(abs(middle[0]), abs=4.1)
    here = desk.host.slice_offsets()
    desk.host.app.layout_manager.sliceWidget("Red").sliceView().mrmlSliceNode().JumpSliceByOffsetting(0, 0, 40)
    assert desk.host.slice_offsets() != here
    lesions.click(ids[0])  # which is selected already
    assert desk.host.slice_offsets() == here


def test_up_and_down_go_through_the_list(lesions: LesionList) -> None:
    desk = lesions.desk
    desk.host.show(desk.volumes["ct"])
    ids = split(lesions)
    first = desk.host.slice_offsets()
    for key, segment in (("Key_Down", ids[1]), ("Key_Down", ids[2]), ("Key_Down", ids[2]), ("Key_Up", ids[1])):
        lesions.press_key(key)
        assert desk.segment == segment
        assert lesions.selected() == [segment]
    assert desk.host.slice_offsets() != first


def test_a_name_is_edited_in_place(lesions: LesionList) -> None:
    desk = lesions.desk
    lesions.rename(desk.segment, "  GTV left ")
    assert desk.node.GetSegmentation().GetSegment(desk.segment).GetName() == "GTV left"
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV left"]
    lesions.rename(desk.segment, " ")
    lesions.settled()
    assert lesions.texts(NAME) == ["GTV left"]
    assert desk.status == "A segment needs a name."


def test_visibility_and_colour_are_changed_in_the_list(lesions: LesionList, qt: Any) -> None:
    desk = lesions.desk
    display = desk.node.GetDisplayNode()
    lesions.toggle(desk.segment)
    assert not display.GetSegmentVisibility(desk.segment)
    lesions.settled().toggle(desk.segment)
    assert display.GetSegmentVisibility(desk.segment)
    lesions.click(desk.segment, COLOUR, double=True)  # nobody answers: the colour stays
    segment = desk.node.GetSegmentation().GetSegment(desk.segment)
    before = segment.GetColor()
    desk.host.dialogs.answer(qt.QColor("#00ff00"))
    lesions.click(desk.segment, COLOUR, double=True)
    assert segment.GetColor() == pytest.approx((0.0, 1.0, 0.0))
    assert before != segment.GetColor()


def test_everything_in_the_list_has_a_name_for_screen_readers(desk: Desk) -> None:
    for name in ("lesionsTable", "deleteSegmentButton", "splitButton", "mergeButton"):
        assert getattr(desk.ui, name).accessibleName, name
    headers = [desk.ui.lesionsTable.horizontalHeaderItem(column) for column in range(6)]
    assert all(header.toolTip() for header in headers)


# Split, merge, delete


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
