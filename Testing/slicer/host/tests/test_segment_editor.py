"""The stand-in for the Segment Editor's widget: who selects what, and who is told of it, as in Slicer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.tiny import cube, segmented

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


@pytest.fixture
def editor(host: Host, tiny_panel: Any) -> Any:
    """An editor with a scene and a node."""
    import slicer

    made = slicer.qMRMLSegmentEditorWidget()
    made.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    made.setMRMLScene(slicer.mrmlScene)
    return made


@pytest.fixture
def told(editor: Any) -> list[str]:
    """The segments that the editor said were selected."""
    got: list[str] = []
    editor.connect("currentSegmentIDChanged(QString)", got.append)
    return got


def segmentation(*names: str) -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for name in names:
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def press(editor: Any, name: str) -> None:
    """Presses a button of the editor that a user could press."""
    import slicer

    button = slicer.util.findChild(editor, name)
    assert button.enabled
    button.click()


def test_segment_editor_selects_an_added_segment_without_a_signal(editor: Any, told: list[str]) -> None:
    volume, node, segment = segmented()
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID(segment)
    press(editor, "AddSegmentButton")
    added = list(node.GetSegmentation().GetSegmentIDs())[1]
    assert editor.currentSegmentID() == added
    editor.setCurrentSegmentID(segment)
    assert editor.currentSegmentID() == segment
    assert told == []
    press(editor, "RemoveSegmentButton")
    assert list(node.GetSegmentation().GetSegmentIDs()) == [added]


def test_segment_editor_table_selects_a_segment_with_a_signal(editor: Any, told: list[str]) -> None:
    import slicer

    editor.setSegmentationNode(segmentation("a", "b"))
    slicer.util.findChild(editor, "SegmentsTableView").setSelectedSegmentIDs(["b"])
    assert (editor.currentSegmentID(), told) == ("b", ["b"])


def test_segment_editor_selects_the_first_segment_of_another_segmentation(editor: Any, told: list[str]) -> None:
    node = segmentation("a", "b")
    editor.mrmlSegmentEditorNode().SetSelectedSegmentID("b")
    editor.setActiveEffectByName("Paint")
    editor.setSegmentationNode(segmentation("c", "d"))
    editor.setSegmentationNode(node)
    assert (editor.currentSegmentID(), editor.activeEffect()) == ("a", None)
    assert told[-2:] == ["c", "a"]


def test_segment_editor_ignores_changes_during_batch_processing(editor: Any, told: list[str]) -> None:
    import slicer

    scene = slicer.mrmlScene
    scene.StartState(scene.BatchProcessState)
    node = segmentation("a", "b")
    editor.mrmlSegmentEditorNode().SetAndObserveSegmentationNode(node)
    editor.mrmlSegmentEditorNode().SetSelectedSegmentID("b")
    assert told == []
    scene.EndState(scene.BatchProcessState)
    assert (editor.segmentationNode() is node, editor.currentSegmentID(), told) == (True, "a", ["a"])


def test_segment_editor_takes_the_first_segmentation_by_itself(editor: Any, told: list[str]) -> None:
    node = segmentation("liver")
    assert editor.segmentationNode() is node
    node.GetSegmentation().AddEmptySegment("spleen")
    assert editor.mrmlSegmentEditorNode().GetSegmentationNode() is node


def test_segment_editor_tools_are_disabled_without_a_source_volume(editor: Any) -> None:
    import slicer

    from Testing.slicer.host.segment_editor import paint

    tools = slicer.util.findChild(editor, "EffectsGroupBox")
    volume = cube()
    node = segmentation("a")
    assert not tools.enabled
    with pytest.raises(RuntimeError, match="greyed out"):
        paint(editor, (0, 0, 0), 3)
    editor.setSourceVolumeNode(volume)
    assert tools.enabled
    other = segmentation("b")
    editor.setSegmentationNode(other)
    assert not tools.enabled
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    editor.setSegmentationNode(node)
    assert editor.sourceVolumeNode() is volume
    editor.enabled = False
    assert not tools.enabled


def test_segment_editor_removes_label_layers_for_a_segmentation(editor: Any) -> None:
    import slicer

    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.util.setSliceViewerLayers(label=label)
    segmentation("a")
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert [composite.GetLabelVolumeID() for composite in composites] == [None] * 3
