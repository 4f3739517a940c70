"""The Segment Editor in the panel: it edits what the panel works on, and nothing besides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import LesionList
from Testing.slicer.module import segment_ids, voxels
from Testing.slicer.panel.editing.test_brush import FAR, Painter
from Testing.slicer.panel.test_segments import imported, place, save_and_reopen, shown_clicks

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


@pytest.fixture
def painter(host: Host) -> Painter:
    return Painter(host)


def part(desk: Desk, name: str) -> Any:
    """A part of the editor by its name in Slicer."""
    import slicer

    return slicer.util.findChild(desk.ui.editor, name)


def tools_work(desk: Desk) -> bool:
    """Whether the buttons of the tools can be pressed."""
    return bool(part(desk, "EffectsGroupBox").enabled)


def somebody_elses(desk: Desk) -> Any:
    """A segmentation that nobody chose in the panel."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.SetReferenceImageGeometryParameterFromVolumeNode(desk.volumes["ct"])
    node.GetSegmentation().AddEmptySegment("liver", "liver")
    return node


# One segment


def test_undo_of_a_brush_stroke_on_a_segment_added_elsewhere(painter: Painter) -> None:
    """Slicer's Add selects the new segment in the editor's node and announces nothing."""
    first = painter.segment
    painter.ui.editor.setActiveEffectByName("Paint")
    part(painter, "AddSegmentButton").click()
    added = painter.ui.editor.currentSegmentID()
    assert added != first
    painter.host.wait_until(lambda: painter.segment == added, "the panel to follow", 5)
    assert LesionList(painter).selected() == [added]
    painted = painter.dab(FAR)
    assert painted.any()
    np.testing.assert_array_equal(painter.settle(1), painted)
    painter.press("undoButton")
    assert not painter.mask().any()
    np.testing.assert_array_equal(voxels(painter.node, first, painter.volumes["ct"]), painter.found)


def test_segment_editor_has_the_segment_selected_in_the_panel(desk: Desk) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    assert desk.ui.editor.currentSegmentID() == desk.segment != first
    LesionList(desk).settled().click(first)
    desk.host.process_events()
    assert desk.ui.editor.currentSegmentID() == first == desk.segment
    assert len(segment_ids(desk.node)) == 2


def test_segment_editor_shows_only_some_effects(desk: Desk) -> None:
    editor = desk.ui.editor
    shown = {
        *("segmentationNodeSelectorVisible", "sourceVolumeNodeSelectorVisible", "addRemoveSegmentButtonsVisible"),
        *("show3DButtonVisible", "maskingSectionVisible", "undoEnabled", "switchToSegmentationsButtonVisible"),
    }
    assert [name for name in shown if getattr(editor, name)] == []
    assert part(desk, "SegmentsTableView").isHidden()
    assert not editor.autoShowSourceVolumeNode


def test_segment_editor_keeps_no_undo_states(painter: Painter) -> None:
    painter.dab(FAR)
    painter.settle(1)
    assert not painter.ui.editor._logic.CanUndo()


def test_segment_editor_masking_of_a_saved_scene_is_off(desk: Desk) -> None:
    """Clicks and boxes do not heed it, and nobody would see it."""
    import slicer

    node = desk.ui.editor.mrmlSegmentEditorNode()
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideAllSegments)
    node.SetSourceVolumeIntensityMask(True)
    node.SetOverwriteMode(node.OverwriteAllSegments)
    desk.widget.panel.sceneChanged()
    assert node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    assert not node.GetSourceVolumeIntensityMask()
    assert node.GetOverwriteMode() == node.OverwriteNone


# Segments from elsewhere


def test_segment_editor_tools_edit_a_loaded_segment(desk: Desk) -> None:
    imported(desk)
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["ct"]
    assert tools_work(desk)
    place(desk, (50, 50, 20))  # opens a session
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["ct"]
    assert tools_work(desk)


def test_segment_editor_source_volume_is_the_image_chosen_later(desk: Desk) -> None:
    import slicer

    desk.choose_nothing()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Without image")
    node.GetSegmentation().AddEmptySegment("GTV", "GTV")
    desk.ui.segmentationSelector.setCurrentNode(node)
    assert not tools_work(desk)
    desk.choose("pet", desk.volumes["pet"])
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["pet"]
    assert tools_work(desk)


def test_segment_editor_source_volume_is_what_the_views_show_where_its_images_are_gone(desk: Desk) -> None:
    import slicer

    desk.find()
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Another")  # so that it is not clear which
    for role in ("ct", "pet"):
        slicer.mrmlScene.RemoveNode(desk.volumes[role])
    slicer.util.setSliceViewerLayers(background=None, foreground=None)
    desk.context.selection.onTarget.emit()
    assert not tools_work(desk)
    slicer.util.setSliceViewerLayers(background=desk.volumes["mr_t1"])
    desk.ui.brushButton.click()
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["mr_t1"] is not other
    assert tools_work(desk)
    assert desk.ui.brushButton.checked


def test_segment_editor_source_volume_without_a_chosen_image(desk: Desk) -> None:
    desk.choose_nothing()
    imported(desk)
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["ct"]
    assert tools_work(desk)
    desk.ui.editor.setActiveEffectByName("Paint")
    desk.host.wait_until(lambda: not desk.ui.editor.activeEffect(), "the tool to be put down", 5)
    assert desk.status == "Choose at least one image first."


def test_undo_of_the_first_brush_stroke_on_a_loaded_segment(painter: Painter) -> None:
    node, segment, mask = imported(painter)
    painted = painter.dab(FAR)
    assert painted.sum() > mask.sum()
    np.testing.assert_array_equal(painter.settle(1), painted)
    painter.press("undoButton")
    np.testing.assert_array_equal(voxels(node, segment, painter.volumes["ct"]), mask)


def test_undo_of_a_brush_stroke_after_selecting_another_segment(painter: Painter) -> None:
    import slicer

    node, _, mask = imported(painter)
    second = node.GetSegmentation().AddEmptySegment("second", "second")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, second, painter.volumes["ct"])
    painter.ui.editor.setActiveEffectByName("Paint")
    painter.host.process_events()
    LesionList(painter).settled().click(second)
    painter.host.process_events()
    assert painter.ui.editor.activeEffect().name == "Paint"
    painter.dab(FAR)
    painter.settle(1)
    painter.press("undoButton")
    np.testing.assert_array_equal(voxels(node, second, painter.volumes["ct"]), mask)


def test_undo_of_a_brush_stroke_after_selecting_the_tool_again(painter: Painter) -> None:
    painter.ui.editor.setActiveEffectByName("Paint")
    painter.host.process_events()
    painter.context.selection.setTarget(None, "")
    painter.host.process_events()
    assert painter.ui.editor.activeEffect() is None
    node, segment, mask = imported(painter)
    painter.host.process_events()
    painter.dab(FAR)
    painter.settle(1)
    painter.press("undoButton")
    np.testing.assert_array_equal(voxels(node, segment, painter.volumes["ct"]), mask)


# Nothing besides


def test_segment_editor_leaves_unselected_segmentations(desk: Desk) -> None:
    node = somebody_elses(desk)
    desk.host.process_events()
    assert desk.node is None
    assert desk.ui.editor.segmentationNode() is not node
    assert not tools_work(desk)


def test_segment_selected_by_the_editor_itself_is_not_selected_in_the_panel(desk: Desk) -> None:
    node = somebody_elses(desk)
    node.GetSegmentation().AddEmptySegment("spleen", "spleen")
    desk.find()
    desk.ui.editor.setActiveEffectByName("Paint")
    desk.ui.segmentationSelector.setCurrentNode(node)
    desk.host.process_events()
    assert (desk.node, desk.segment, desk.ui.editor.currentSegmentID()) == (node, "", "")
    desk.ui.editor.mrmlSegmentEditorNode().Modified()
    desk.host.process_events()
    assert desk.segment == ""
    assert desk.ui.editor.activeEffect() is None
    assert not tools_work(desk)


def test_removing_the_segmentation_does_not_select_the_next_one(desk: Desk) -> None:
    import slicer

    desk.find()
    place(desk, (50, 50, 20))
    node = somebody_elses(desk)
    desk.ui.editor.setActiveEffectByName("Paint")
    slicer.mrmlScene.RemoveNode(desk.node)
    desk.host.wait_until(lambda: desk.segment == "", "no segment to be selected")
    assert shown_clicks() == 0
    assert not desk.ui.pointButton.checked
    assert desk.ui.editor.segmentationNode() is not node
    assert desk.ui.editor.activeEffect() is None
    assert not tools_work(desk)


def test_segment_editor_leaves_segmentations_of_an_imported_scene(desk: Desk) -> None:
    import slicer

    scene = slicer.mrmlScene
    scene.StartState(scene.ImportState)
    node = somebody_elses(desk)
    scene.EndState(scene.ImportState)
    desk.host.process_events()
    assert desk.node is None
    assert desk.ui.editor.segmentationNode() is not node
    assert not tools_work(desk)


@pytest.mark.parametrize("chosen", [True, False])
def test_segment_editor_keeps_label_maps_in_the_views(desk: Desk, chosen: bool) -> None:
    import slicer

    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Mine")
    slicer.util.setSliceViewerLayers(background=desk.volumes["ct"], label=label)
    if chosen:
        imported(desk)
        desk.find()
    else:
        somebody_elses(desk)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert [composite.GetLabelVolumeID() for composite in composites] == [label.GetID()] * 3


# Scenes


@pytest.mark.parametrize("turns", [False, True])
def test_reopened_scene_selects_the_saved_segment(desk: Desk, tmp_path: Path, turns: bool) -> None:
    """Also where somebody turns the event loop after Slicer's widgets, which select the first, and before the panel."""
    import slicer

    scene = slicer.mrmlScene
    tag = scene.AddObserver(scene.EndBatchProcessEvent, lambda *_: desk.host.process_events() if turns else None, -20.0)
    desk.find()
    desk.press("newSegmentButton")
    place(desk, (50, 50, 20))
    second, name = desk.segment, "Tumour 2"
    volume = desk.widget.logic.volumeMl(desk.node, second)
    save_and_reopen(desk, tmp_path / "case.mrb")
    scene.RemoveObserver(tag)
    desk.host.process_events()
    assert desk.node.GetSegmentation().GetSegment(desk.segment).GetName() == name
    assert desk.ui.editor.currentSegmentID() == desk.segment == second
    assert LesionList(desk).selected() == [second]
    assert desk.status == f"Saved work restored. Segment: {volume:.1f} ml"
    assert shown_clicks() == 1


def test_segment_selected_during_batch_processing_is_edited_afterwards(desk: Desk) -> None:
    import slicer

    desk.find()
    first, scene = desk.segment, slicer.mrmlScene
    desk.press("newSegmentButton")
    scene.StartState(scene.BatchProcessState)
    desk.context.selection.setTarget(desk.node, first)
    scene.EndState(scene.BatchProcessState)
    desk.host.process_events()
    assert desk.ui.editor.currentSegmentID() == desk.segment == first


@pytest.mark.parametrize("state", ["ImportState", "CloseState"])
def test_the_panel_updates_after_slicers_own_widgets(desk: Desk, state: str) -> None:
    """At the end of an import or a close the scene is no longer in a batch, and widgets know nothing yet."""
    import slicer

    scene, order = slicer.mrmlScene, []
    plain = desk.widget.panel.sceneChanged
    desk.widget.panel.sceneChanged = lambda: (order.append("panel"), plain())
    tag = scene.AddObserver(scene.EndBatchProcessEvent, lambda *_: order.append("widgets"), -10.0)
    scene.StartState(getattr(scene, state))
    scene.EndState(getattr(scene, state))
    scene.RemoveObserver(tag)
    assert order == ["widgets", "panel"]
