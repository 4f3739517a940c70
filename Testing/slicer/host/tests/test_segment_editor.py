"""The stand-in for the Segment Editor's widget: who selects what, and who is told of it, as in Slicer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.tiny import cube, segmented, volume_ras

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


def test_it_paints_and_undoes(host: Host, tiny_panel: Any) -> None:
    import slicer

    from Testing.slicer.host.segment_editor import paint

    volume, node, segment = segmented()
    editor, got = slicer.qMRMLSegmentEditorWidget(), []
    editor.connect("currentSegmentIDChanged(QString)", got.append)
    editor.setMRMLScene(slicer.mrmlScene)
    with pytest.raises(RuntimeError, match="setMRMLSegmentEditorNode comes first"):
        editor.setSegmentationNode(node)
    editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID(segment)
    assert got[-1] == segment
    editor.setActiveEffectByName("Paint")
    editor.activeEffect().setParameter("BrushSphere", 1)
    assert editor.mrmlSegmentEditorNode().GetAttribute("Paint.BrushSphere") == "1"
    assert (editor.effectByName("Pain"), editor.activeEffect().name) == (None, "Paint")

    def voxels() -> np.ndarray:
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume).copy()

    before = voxels()
    paint(editor, volume_ras(volume, (2, 2, 2)), radius_mm=2.5)
    added = np.argwhere(voxels() > before)[:, ::-1].tolist()
    assert sorted(added) == [[1, 2, 2], [2, 1, 2], [2, 2, 2], [2, 3, 2], [3, 2, 2]]
    editor.undo()
    np.testing.assert_array_equal(voxels(), before)
    editor.redo()
    assert voxels().sum() == before.sum() + 5
    paint(editor, volume_ras(volume, (2, 2, 2)), radius_mm=2.5, erase=True)
    np.testing.assert_array_equal(voxels(), before)


def test_a_segment_that_is_added_is_selected_and_nobody_is_told(editor: Any, told: list[str]) -> None:
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


def test_the_table_chooses_and_tells(editor: Any, told: list[str]) -> None:
    import slicer

    editor.setSegmentationNode(segmentation("a", "b"))
    slicer.util.findChild(editor, "SegmentsTableView").setSelectedSegmentIDs(["b"])
    assert (editor.currentSegmentID(), told) == ("b", ["b"])


def test_another_segmentation_has_its_first_segment_selected(editor: Any, told: list[str]) -> None:
    node = segmentation("a", "b")
    editor.mrmlSegmentEditorNode().SetSelectedSegmentID("b")
    editor.setActiveEffectByName("Paint")
    editor.setSegmentationNode(segmentation("c", "d"))
    editor.setSegmentationNode(node)
    assert (editor.currentSegmentID(), editor.activeEffect()) == ("a", None)
    assert told[-2:] == ["c", "a"]


def test_a_batch_is_waited_for_and_ends_with_the_first_segment(editor: Any, told: list[str]) -> None:
    import slicer

    scene = slicer.mrmlScene
    scene.StartState(scene.BatchProcessState)
    node = segmentation("a", "b")
    editor.mrmlSegmentEditorNode().SetAndObserveSegmentationNode(node)
    editor.mrmlSegmentEditorNode().SetSelectedSegmentID("b")
    assert told == []
    scene.EndState(scene.BatchProcessState)
    assert (editor.segmentationNode() is node, editor.currentSegmentID(), told) == (True, "a", ["a"])


def test_it_takes_the_first_segmentation_by_itself(editor: Any, told: list[str]) -> None:
    node = segmentation("liver")
    assert editor.segmentationNode() is node
    node.GetSegmentation().AddEmptySegment("spleen")
    assert editor.mrmlSegmentEditorNode().GetSegmentationNode() is node


def test_its_tools_are_greyed_out_without_a_source_volume(editor: Any) -> None:
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


def test_label_layers_go_when_a_segmentation_comes(editor: Any) -> None:
    import slicer

    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.util.setSliceViewerLayers(label=label)
    segmentation("a")
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert [composite.GetLabelVolumeID() for composite in composites] == [None] * 3


def test_its_parts_are_shown_and_hidden(editor: Any) -> None:
    import slicer

    for name, part in {
        "addRemoveSegmentButtonsVisible": "RemoveSegmentButton",
        "show3DButtonVisible": "Show3DButton",
        "maskingSectionVisible": "MaskingGroupBox",
        "undoEnabled": "UndoRedoGroupBox",
    }.items():
        assert getattr(editor, name)
        setattr(editor, name, False)
        assert not getattr(editor, name)
        assert slicer.util.findChild(editor, part).isHidden()


@pytest.mark.parametrize(
    ("held", "moves"), [("ShiftModifier", True), ("NoModifier", False), ("ControlModifier", False)]
)
def test_the_mouse_scrolls_the_other_views_with_shift(host: Host, tiny_panel: Any, held: str, moves: bool) -> None:
    before = offsets_after_moving(host, held)
    assert (before[0] != before[1]) is moves


def offsets_after_moving(host: Host, held: str) -> tuple[list[float], list[float]]:
    """Of Green and Yellow, before and after the mouse went over Red with a key held down."""
    import slicer

    host.show(cube())

    def offsets() -> list[float]:
        widgets = (slicer.app.layoutManager().sliceWidget(name) for name in ("Green", "Yellow"))
        return [round(widget.mrmlSliceNode().GetSliceOffset(), 3) for widget in widgets]

    before = offsets()
    host.move_mouse("Red", (0.4, 0.4), held)
    return before, offsets()
