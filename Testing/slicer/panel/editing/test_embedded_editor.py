"""The Segment Editor in the panel: it edits what the panel works on, and nothing besides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
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


def test_undo_takes_back_the_stroke_on_a_segment_that_was_added_elsewhere(painter: Painter) -> None:
    """Slicer's Add selects the new segment in the editor's node and announces nothing."""
    first = painter.segment
    painter.ui.editor.setActiveEffectByName("Paint")
    part(painter, "AddSegmentButton").click()
    added = painter.ui.editor.currentSegmentID()
    assert added != first
    painter.host.wait_until(lambda: painter.segment == added, "the panel to follow", 5)
    assert painter.ui.segmentsTable.selectedSegmentIDs() == [added]
    painted = painter.dab(FAR)
    assert painted.any()
    np.testing.assert_array_equal(painter.settle(1), painted)
    painter.press("undoButton")
    assert not painter.mask().any()
    np.testing.assert_array_equal(voxels(painter.node, first, painter.volumes["ct"]), painter.found)


def test_the_editor_has_the_segment_that_the_panel_selects(desk: Desk) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    assert desk.ui.editor.currentSegmentID() == desk.segment != first
    desk.ui.segmentsTable.setSelectedSegmentIDs([first])
    desk.host.process_events()
    assert desk.ui.editor.currentSegmentID() == first == desk.segment
    assert len(segment_ids(desk.node)) == 2


def test_only_its_tools_are_left_of_the_editor(desk: Desk) -> None:
    editor = desk.ui.editor
    shown = {
        *("segmentationNodeSelectorVisible", "sourceVolumeNodeSelectorVisible", "addRemoveSegmentButtonsVisible"),
        *("show3DButtonVisible", "maskingSectionVisible", "undoEnabled", "switchToSegmentationsButtonVisible"),
    }
    assert [name for name in shown if getattr(editor, name)] == []
    assert part(desk, "SegmentsTableView").isHidden()
    assert not editor.autoShowSourceVolumeNode


def test_the_editor_keeps_no_copies_for_an_undo_of_its_own(painter: Painter) -> None:
    painter.dab(FAR)
    painter.settle(1)
    assert not painter.ui.editor._logic.CanUndo()


def test_masking_that_a_scene_was_saved_with_is_off(desk: Desk) -> None:
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


def test_the_tools_work_on_a_segment_from_elsewhere(desk: Desk) -> None:
    imported(desk)
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["ct"]
    assert tools_work(desk)
    place(desk, (50, 50, 20))  # opens a session
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["ct"]
    assert tools_work(desk)


def test_the_tools_work_on_the_image_that_is_chosen_later(desk: Desk) -> None:
    import slicer

    for name in ("ctSelector", "petSelector"):
        getattr(desk.ui, name).setCurrentNode(None)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Without image")
    node.GetSegmentation().AddEmptySegment("GTV", "GTV")
    desk.ui.segmentationSelector.setCurrentNode(node)
    assert not tools_work(desk)
    desk.ui.petSelector.setCurrentNode(desk.volumes["pet"])
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["pet"]
    assert tools_work(desk)


def test_without_an_image_chosen_the_tools_work_on_the_one_that_the_segments_lie_on(desk: Desk) -> None:
    for name in ("ctSelector", "petSelector"):
        getattr(desk.ui, name).setCurrentNode(None)
    imported(desk)
    assert desk.ui.editor.sourceVolumeNode() is desk.volumes["ct"]
    assert tools_work(desk)
    desk.ui.editor.setActiveEffectByName("Paint")
    desk.host.wait_until(lambda: not desk.ui.editor.activeEffect(), "the tool to be put down", 5)
    assert desk.status == "Choose at least one image first."


def test_the_first_stroke_on_a_segment_from_elsewhere_is_undone_alone(painter: Painter) -> None:
    node, segment, mask = imported(painter)
    painted = painter.dab(FAR)
    assert painted.sum() > mask.sum()
    np.testing.assert_array_equal(painter.settle(1), painted)
    painter.press("undoButton")
    np.testing.assert_array_equal(voxels(node, segment, painter.volumes["ct"]), mask)


def test_a_tool_taken_along_to_another_segment_can_be_undone_there_too(painter: Painter) -> None:
    import slicer

    node, _, mask = imported(painter)
    second = node.GetSegmentation().AddEmptySegment("second", "second")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, second, painter.volumes["ct"])
    painter.ui.editor.setActiveEffectByName("Paint")
    painter.host.process_events()
    painter.ui.segmentsTable.setSelectedSegmentIDs([second])
    painter.host.process_events()
    assert painter.ui.editor.activeEffect().name == "Paint"
    painter.dab(FAR)
    painter.settle(1)
    painter.press("undoButton")
    np.testing.assert_array_equal(voxels(node, second, painter.volumes["ct"]), mask)


def test_a_tool_that_was_put_down_and_taken_up_again_can_be_undone(painter: Painter) -> None:
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


def test_a_segmentation_that_nobody_chose_is_not_edited(desk: Desk) -> None:
    node = somebody_elses(desk)
    desk.host.process_events()
    assert desk.node is None
    assert desk.ui.editor.segmentationNode() is not node
    assert not tools_work(desk)


def test_the_first_of_several_segments_is_not_selected_because_the_editor_selects_it(desk: Desk) -> None:
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


def test_when_the_segmentation_is_removed_the_next_one_is_not_edited(desk: Desk) -> None:
    import slicer

    desk.find()
    place(desk, (50, 50, 20))
    node = somebody_elses(desk)
    desk.ui.editor.setActiveEffectByName("Paint")
    slicer.mrmlScene.RemoveNode(desk.node)
    desk.host.wait_until(lambda: desk.segment == "", "no segment to be selected")
    assert shown_clicks() == 0
    assert not desk.ui.positiveButton.checked
    assert desk.ui.editor.segmentationNode() is not node
    assert desk.ui.editor.activeEffect() is None
    assert not tools_work(desk)


def test_a_scene_that_is_read_beside_has_no_segmentation_edited(desk: Desk) -> None:
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
def test_label_maps_in_the_views_stay(desk: Desk, chosen: bool) -> None:
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
def test_a_reopened_scene_has_the_segment_selected_that_it_was_saved_with(
    desk: Desk, tmp_path: Path, turns: bool
) -> None:
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
    assert desk.ui.segmentsTable.selectedSegmentIDs() == [second]
    assert desk.status == f"Saved work restored. Segment: {volume:.1f} ml"
    assert shown_clicks() == 1


def test_a_segment_that_is_selected_in_a_batch_is_edited_after_it(desk: Desk) -> None:
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
