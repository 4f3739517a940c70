"""The panel and segments that come, go and change under it: from elsewhere, deleted, renamed, chosen in other lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import LesionList
from Testing.slicer.module import TUMORSEG, voxels

if TYPE_CHECKING:
    pass


def imported(desk: Desk) -> tuple[Any, str, np.ndarray]:
    """A segmentation as a reader of DICOM makes it, chosen in the panel: node, segment and voxels."""
    import slicer

    mask = np.zeros(slicer.util.arrayFromVolume(desk.volumes["ct"]).shape, np.uint8)
    mask[10:14, 20:30, 20:30] = 1
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "From elsewhere")
    node.SetReferenceImageGeometryParameterFromVolumeNode(desk.volumes["ct"])
    segment = node.GetSegmentation().AddEmptySegment("GTV", "GTV")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, desk.volumes["ct"])
    desk.ui.segmentationSelector.setCurrentNode(node)
    return node, segment, mask


def shown_clicks() -> int:
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    return sum(node.GetNumberOfControlPoints() for node in nodes if "clicks" in node.GetName())


def place(desk: Desk, ijk: tuple[int, int, int], positive: bool = True) -> None:
    desk.host.show(desk.volumes["ct"])
    desk.take("point", positive)
    desk.place("Red", ijk)


def test_contours_become_voxels_if_the_user_agrees(desk: Desk, qt: Any) -> None:
    node, segment, mask = imported(desk)
    segmentation = node.GetSegmentation()
    assert segmentation.CreateRepresentation("Closed surface")
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    for act in (
        lambda: desk.press("segmentButton"),
        lambda: desk.press("newSegmentButton"),
        lambda: desk.host.click("Red", desk.ras(50, 50, 20)),
    ):
        desk.host.dialogs.answer(qt.QMessageBox.No)
        before = len(desk.host.dialogs.shown)
        act()
        desk.host.wait_until(lambda before=before: len(desk.host.dialogs.shown) > before, "the question")
        assert desk.status == "Nothing was changed: the segmentation stays as it is."
        assert not segmentation.ContainsRepresentation("Binary labelmap")
    assert "'From elsewhere' is stored as 'Closed surface'" in desk.host.dialogs.texts[-1]
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.place("Red", (50, 50, 20))
    found = voxels(node, segment, desk.volumes["ct"])
    assert found[20, 50, 50] == 1
    assert (found[10:14] != mask[10:14]).sum() < 0.2 * mask.sum()
    assert sum("is stored as" in text for text in desk.host.dialogs.texts) == 4


def test_loaded_segment_is_corrected_in_the_image_that_the_views_show(desk: Desk) -> None:
    node, segment, mask = imported(desk)
    desk.choose_nothing()
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    desk.place("Red", (50, 50, 20))
    changed = voxels(node, segment, desk.volumes["ct"])
    assert changed[20, 50, 50] == 1
    assert (changed[mask > 0] == 1).all()
    assert list(desk.widget.logic.inputs(node, segment)) == ["ct"]


def test_loaded_segment_needs_an_image(desk: Desk) -> None:
    node, segment, mask = imported(desk)
    desk.choose_nothing()
    desk.hand_over("point", [desk.ras(50, 50, 20)])
    assert desk.status == "Choose at least one image first."
    np.testing.assert_array_equal(voxels(node, segment, desk.volumes["ct"]), mask)


def test_segment_selected_in_the_segment_editor_is_selected_in_the_panel(desk: Desk) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    second = desk.segment
    assert desk.ui.editor.currentSegmentID() == second
    desk.ui.editor.setCurrentSegmentID(first)
    desk.host.wait_until(lambda: desk.segment == first, "the panel to follow")
    assert LesionList(desk).selected() == [first]


def test_deleting_the_selected_segment_removes_its_clicks_and_tools(desk: Desk) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    place(desk, (50, 50, 20), positive=False)
    desk.ui.overlaySelector.setCurrentIndex(1)
    desk.wait()
    assert shown_clicks() == 1
    desk.node.GetSegmentation().RemoveSegment(desk.segment)
    desk.host.wait_until(lambda: desk.segment == first, "the other segment to be selected")
    assert shown_clicks() == 0
    assert desk.ui.overlaySelector.currentIndex == 0
    assert desk.status == "The segment was deleted."
    desk.node.GetSegmentation().RemoveSegment(first)
    desk.host.wait_until(lambda: desk.segment == "", "no segment to be selected")
    assert not desk.ui.pointButton.checked


def test_status_shows_the_volume_of_the_edited_segment(desk: Desk) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    second = desk.segment
    desk.start_click((50, 50, 20), words="Added to: {volume}")
    desk.context.selection.setTarget(desk.node, first)
    desk.wait()
    volume = desk.widget.logic.volumeMl(desk.node, second)
    assert desk.status == f"Added to: Tumour 2: {volume:.1f} ml"


def test_a_renamed_segment_renames_its_table(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.press("measureButton")
    table = slicer.util.getNode("Tumour measurements")
    desk.node.GetSegmentation().GetSegment(desk.segment).SetName("GTV")
    desk.press("measureButton")
    assert table.GetName() == "GTV measurements"
    desk.press("measureButton")
    assert table.GetName() == "GTV measurements"


# Scenes


def save_and_reopen(desk: Desk, path: Path, damage: bool = False) -> None:
    import slicer

    desk.wait_saved()
    if damage:
        (text,) = slicer.util.getNodesByClass("vtkMRMLTextNode")
        text.SetAttribute("TumorSeg.SessionRecord.1", "no step")
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(False)
    assert shown_clicks() == 0
    slicer.util.loadScene(str(path))
    desk.volumes["ct"] = desk.chosen("ct")


def test_a_reopened_scene_shows_clicks_and_volume(desk: Desk, tmp_path: Path) -> None:
    desk.find()
    place(desk, (50, 50, 20))
    volume = desk.widget.logic.volumeMl(desk.node, desk.segment)
    save_and_reopen(desk, tmp_path / "case.mrb")
    assert shown_clicks() == 1
    assert desk.status == f"Saved work restored. Segment: {volume:.1f} ml"


def test_damaged_session_stays_reported_in_the_status_line(desk: Desk, tmp_path: Path) -> None:
    desk.find()
    save_and_reopen(desk, tmp_path / "case.mrb", damage=True)
    assert "damaged" in desk.status
    assert "Saved work restored" in desk.status
    desk.press("measureButton")
    assert "damaged" not in desk.status


def test_selectors_during_scene_import_do_not_change_settings(desk: Desk) -> None:
    import slicer

    desk.find()
    scene, node = slicer.mrmlScene, desk.node
    scene.StartState(scene.ImportState)
    for name in ("image1Selector", "segmentationSelector", "boxSelector"):
        getattr(desk.ui, name).setCurrentNode(None)
    scene.EndState(scene.ImportState)
    assert desk.context.parameters.image1 is desk.ui.image1Selector.currentNode() is desk.volumes["ct"]
    assert desk.node is node


def test_removed_parameter_node_is_made_anew(desk: Desk) -> None:
    import slicer

    desk.find()
    slicer.mrmlScene.RemoveNode(desk.context.parameters.parameterNode)
    assert slicer.mrmlScene.IsNodePresent(desk.context.parameters.parameterNode)
    assert desk.chosen("ct") is None
    desk.choose("ct", desk.volumes["ct"])
    desk.choose("pet", desk.volumes["pet"])
    assert desk.find().any()


def test_session_of_a_scene_opened_before_the_module_continues(desk: Desk, tmp_path: Path) -> None:
    desk.find()
    place(desk, (50, 50, 20))
    volume = desk.widget.logic.volumeMl(desk.node, desk.segment)
    save_and_reopen(desk, tmp_path / "case.mrb")
    desk.host.unload_modules()
    assert shown_clicks() == 0
    widget = desk.host.load_module(TUMORSEG)
    assert shown_clicks() == 1
    assert widget.ui.statusLabel.text == f"Saved work restored. Segment: {volume:.1f} ml"


def test_session_saved_before_the_last_step_continues_with_the_segment(desk: Desk, tmp_path: Path) -> None:
    import slicer

    desk.find()
    desk.wait_saved()
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    desk.start_click((50, 50, 20))
    desk.wait()
    shown = desk.mask()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))  # as a script does, at once
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    desk.volumes["ct"] = desk.chosen("ct")
    desk.host.wait_until(lambda: desk.status.startswith("Stroke kept."), "it to be taken over", 60)
    np.testing.assert_array_equal(desk.mask(), shown)
    volume = desk.widget.logic.volumeMl(desk.node, desk.segment)
    assert desk.status == f"Stroke kept. Segment now: {volume:.1f} ml"
    assert volume == pytest.approx(shown.sum() * 0.08)


def test_session_without_its_first_image_waits_for_it(desk: Desk, tmp_path: Path) -> None:
    import slicer

    desk.find()
    place(desk, (50, 50, 20))
    before = desk.mask()
    save_and_reopen(desk, tmp_path / "case.mrb")
    desk.host.unload_modules()
    ct = desk.volumes["ct"]
    array, affine = slicer.util.arrayFromVolume(ct).copy(), ct_affine(ct)
    slicer.mrmlScene.RemoveNode(ct)
    desk.widget = desk.host.load_module(TUMORSEG)
    desk.ui = desk.widget.ui
    desk.widget.logic.bench.engineSource = desk.engines
    assert "(ct) is not in the scene: load it and choose it under Images" in desk.status
    desk.press("undoButton")
    assert "is not in the scene" in desk.error
    from TumorSegSlicer.mrml.sample_data import addVolume

    desk.volumes["ct"] = addVolume(array, affine, "ct")
    desk.choose("ct", desk.volumes["ct"])
    np.testing.assert_array_equal(desk.mask(), before)
    desk.press("undoButton")
    assert desk.status.startswith("Undone.")
    desk.press("undoButton")
    assert not desk.mask().any()


def ct_affine(volume: Any) -> np.ndarray:
    from TumorSegSlicer.mrml import volumes

    return volumes.gridFromVolume(volume).affine


# Images


def test_images_chosen_later_join_the_session_and_are_restored_with_the_segment(desk: Desk) -> None:
    desk.choose("pet", None)
    desk.press("newSegmentButton")
    place(desk, (50, 50, 20))
    inputs = desk.widget.logic.inputs
    first = desk.segment
    assert list(inputs(desk.node, first)) == ["ct"]
    desk.choose("pet", desk.volumes["pet"])
    desk.place("Red", (20, 50, 20))
    assert list(inputs(desk.node, first)) == ["ct", "pet"]
    assert len(desk.widget.logic.clickPoints(desk.node, first)) == 2
    desk.choose("pet", None)
    desk.press("newSegmentButton")
    desk.context.selection.setTarget(desk.node, first)
    assert desk.chosen("pet") is desk.volumes["pet"]
    assert desk.host.dialogs.shown == []


def test_image_added_to_a_session_does_not_become_its_first_image(desk: Desk) -> None:
    desk.choose("ct", None)
    desk.press("newSegmentButton")
    place(desk, (50, 50, 20))
    desk.choose("ct", desk.volumes["ct"])
    desk.place("Red", (20, 50, 20))
    assert list(desk.widget.logic.inputs(desk.node, desk.segment)) == ["pet", "ct"]
    assert len(desk.widget.logic.clickPoints(desk.node, desk.segment)) == 2
    assert desk.host.dialogs.shown == []


def test_another_first_image_needs_confirmation(desk: Desk, qt: Any) -> None:
    desk.choose("pet", None)
    desk.press("newSegmentButton")
    place(desk, (50, 50, 20))
    before = desk.mask()
    desk.choose("ct", None)
    desk.choose("pet", desk.volumes["pet"])
    desk.press("undoButton")  # declined, as nobody answers
    assert "was made on 'Phantom CT'" in desk.host.dialogs.texts[-1]
    np.testing.assert_array_equal(desk.mask(), before)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("undoButton")
    assert "Nothing to undo." in desk.status
    np.testing.assert_array_equal(desk.mask(), before)
    assert list(desk.widget.logic.inputs(desk.node, desk.segment)) == ["pet"]


def test_new_segment_waits_for_the_running_segmentation(desk: Desk) -> None:
    import slicer

    slow = desk.begin_slowly()
    desk.ui.pointButton.click()
    assert desk.status == "Wait for the current task, or cancel it."
    assert not desk.ui.pointButton.checked
    slow.go.set()
    desk.wait()
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1


def test_no_two_controls_have_the_same_key_nor_one_of_slicers_menus(desk: Desk) -> None:
    texts = [getattr(widget, "text", "") for widget in vars(desk.ui).values()]
    keys = [text.lower().partition("&")[2][:1] for text in texts if isinstance(text, str) and "&" in text]
    assert len(keys) > 15
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set("fevh")
