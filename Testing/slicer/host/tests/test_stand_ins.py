"""Where a stand-in of the test host could hide a defect of the module it behaves as Slicer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.tiny import cube

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


def test_node_selector_with_none_selects_nothing_by_itself(host: Host, qt: Any) -> None:
    import slicer

    scene, got = slicer.mrmlScene, []
    first = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "First")
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    selector.connect("currentNodeChanged(bool)", got.append)
    selector.setMRMLScene(scene)
    assert (selector.currentNode(), selector.nodeCount(), got) == (None, 1, [])
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Label")
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    assert selector.nodeCount() == 2
    selector.showChildNodeTypes = False
    selector.setCurrentNode(first)
    selector.setCurrentNode(first)
    assert got == [first, True]
    assert selector.currentNodeID == first.GetID()
    selector.setCurrentNode(label)
    assert selector.currentNode() is None
    selector.setCurrentNode(first)
    scene.RemoveNode(first)
    assert got == [first, True, None, False] * 2
    with pytest.raises(ValueError, match="vtkMRMLVolume"):
        selector.nodeTypes = ["vtkMRMLVolume"]
    with pytest.raises(ValueError, match="no signal"):
        selector.connect("currentNodeChanged()", print)
    with pytest.raises(AttributeError, match="noneEnable"):
        selector.noneEnable = True
    added = selector.addNode()
    assert selector.currentNode() is added


def test_a_node_selector_without_none_takes_a_node_by_itself(host: Host, qt: Any) -> None:
    import slicer

    scene, got = slicer.mrmlScene, []
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLSegmentationNode"]
    selector.setMRMLScene(scene)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    first, second = (scene.AddNewNodeByClass("vtkMRMLSegmentationNode") for _ in range(2))
    assert got == [first]
    scene.RemoveNode(first)
    assert got == [first, second]
    selector.setCurrentNode(None)  # what a program chooses holds
    third = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert (selector.currentNode(), got[2:]) == (None, [None])
    later = slicer.qMRMLNodeComboBox()
    later.nodeTypes = ["vtkMRMLSegmentationNode"]
    later.setMRMLScene(scene)
    assert later.currentNode() is second is not third


@pytest.mark.parametrize("held", ["ShiftModifier", "NoModifier", "ControlModifier"])
def test_the_mouse_scrolls_the_other_views_with_shift(host: Host, tiny_panel: Any, held: str) -> None:
    host.show(cube())
    before = host.slice_offsets()
    host.mouse.move("Red", (0.4, 0.4), held)
    after = host.slice_offsets()
    assert before["Red"] == after["Red"]
    scrolled = {view for view in before if before[view] != after[view]}
    assert scrolled == ({"Green", "Yellow"} if held == "ShiftModifier" else set())
