"""Where a stand-in of the test host could hide a defect of the module it behaves as Slicer does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.tiny import cube, segmented, volume_ras

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


def test_a_node_selector_waits_for_a_choice(host: Host, qt: Any) -> None:
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


def test_parameters_are_kept_as_slicer_keeps_them(host: Host, tiny_panel: Any) -> None:
    from Tiny import Speed, TinyParameters

    node = tiny_panel.parameters.parameterNode
    kept = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert kept == {
        "volume": "",
        "threshold": "40.0",
        "speed": "SLOW",
        "count": "3",
        "label": "lesion",
        "enabled": "True",
    }
    tiny_panel.parameters.speed, tiny_panel.parameters.enabled, tiny_panel.parameters.volume = Speed.FAST, False, cube()
    again = TinyParameters(node)
    assert (again.speed, again.enabled, again.volume.GetName()) == (Speed.FAST, False, "Cube")
    assert node.GetNodeReferenceID("volume") == again.volume.GetID()
    host.scene.RemoveNode(again.volume)
    assert again.volume is None


def test_widgets_and_parameters_follow_each_other(host: Host, tiny_panel: Any) -> None:
    import qt
    from Tiny import Speed

    parameters, ui, volume = tiny_panel.parameters, tiny_panel.ui, cube()
    ui.volumeSelector.setCurrentNode(volume)
    ui.thresholdSlider.value = 60
    assert (parameters.volume, parameters.threshold) == (volume, 60)
    parameters.volume, parameters.threshold = None, 70.0
    assert (ui.volumeSelector.currentNode(), ui.thresholdSlider.value) == (None, 70)
    with pytest.raises(ValueError, match="within"):
        parameters.threshold = 3000.0
    box, speeds = qt.QCheckBox(), qt.QComboBox()
    box.setProperty("SlicerParameterName", "enabled")
    parameters.connectGui(SimpleNamespace(box=box, other=speeds))
    tag = parameters.connectParametersToGui({"speed": speeds})
    assert (box.checked, speeds.currentText) == (True, "SLOW")
    speeds.setCurrentIndex(1)
    box.checked = False
    assert (parameters.enabled, parameters.speed) == (False, Speed.FAST)
    parameters.disconnectGui(tag)
    speeds.setCurrentIndex(0)
    assert parameters.speed is Speed.FAST
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({"count": qt.QSpinBox()})
    with pytest.raises(ValueError, match="given name: absent"):
        parameters.connectParametersToGui({"absent": box})
    host.scene.RemoveNode(parameters.parameterNode)  # connectGui cannot be ended, and the box goes now


@pytest.mark.parametrize("view", ["Red", "Green", "Yellow"])
def test_a_click_in_a_view_places_a_point(host: Host, tiny_panel: Any, view: str) -> None:
    import slicer

    volume, _, _ = segmented()
    host.show(volume)
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    placed: list[int] = []
    points.AddObserver(points.PointPositionDefinedEvent, lambda *_: placed.append(points.GetNumberOfControlPoints()))
    slicer.modules.markups.logic().SetActiveList(points)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    ras = volume_ras(volume, (6, 8, 4))  # off the middle in every view
    host.click(view, ras)
    assert points.GetNumberOfControlPoints() == 0
    interaction.SetCurrentInteractionMode(interaction.Place)
    host.click(view, ras)
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    found = slicer.util.arrayFromMarkupsControlPoints(points, world=True)
    assert placed == [1]
    np.testing.assert_allclose(found, [ras], atol=0.2)


@pytest.mark.parametrize("held", ["ShiftModifier", "NoModifier", "ControlModifier"])
def test_the_mouse_scrolls_the_other_views_with_shift(host: Host, tiny_panel: Any, held: str) -> None:
    host.show(cube())
    before = host.slice_offsets()
    host.move_mouse("Red", (0.4, 0.4), held)
    after = host.slice_offsets()
    assert before["Red"] == after["Red"]
    scrolled = {view for view in before if before[view] != after[view]}
    assert scrolled == ({"Green", "Yellow"} if held == "ShiftModifier" else set())


def test_dialogs_are_answered_and_never_wait(host: Host, qt: Any) -> None:
    import slicer

    assert not slicer.util.confirmOkCancelDisplay("Download 12 MB?")
    host.dialogs.answer(qt.QMessageBox.Ok, "/models/new")
    assert slicer.util.confirmOkCancelDisplay("Download 12 MB again?")
    assert qt.QFileDialog.getExistingDirectory(None, "Models") == "/models/new"
    assert qt.QFileDialog.getOpenFileName(None, "Model") == ""
    assert qt.QMessageBox.question(None, "Delete", "Delete the model?") == qt.QMessageBox.No
    assert len(host.dialogs.shown) == 5
