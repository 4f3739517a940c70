"""The widgets that stand in for Slicer's, and its slice views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.tiny import cube, segmented, volume_ras

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

OUTPUT = Path(__file__).resolve().parents[3] / "output"


# Selectors


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


def test_segment_lists_follow_the_segmentation(host: Host, qt: Any) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation, got = node.GetSegmentation(), []
    segmentation.AddEmptySegment("a", "A")
    selector, table = slicer.qMRMLSegmentSelectorWidget(), slicer.qMRMLSegmentsTableView()
    for widget in (selector, table):
        widget.setMRMLScene(slicer.mrmlScene)
    selector.connect("currentSegmentChanged(QString)", got.append)
    table.connect("selectionChanged(QItemSelection,QItemSelection)", lambda: got.append("table"))
    selector.setCurrentNode(node)
    table.setSegmentationNode(node)
    assert (selector.currentSegmentID(), table.selectedSegmentIDs()) == ("", [])
    segmentation.AddEmptySegment("b", "B")
    selector.setCurrentSegmentID("b")
    table.setSelectedSegmentIDs(["a"])
    segmentation.GetSegment("b").SetName("Renamed")
    assert (selector.currentSegmentID(), table.selectedSegmentIDs(), got) == ("b", ["a"], ["b", "table"])
    segmentation.RemoveSegment("b")
    assert (selector.currentSegmentID(), got[-1]) == ("", "")
    slicer.mrmlScene.RemoveNode(node)
    assert (selector.currentNode(), table.selectedSegmentIDs()) == (None, [])


def test_a_slider_keeps_its_range(host: Host, qt: Any) -> None:
    import ctk

    slider, got = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", got.append)
    slider.minimum, slider.maximum, slider.singleStep, slider.decimals = -1, 1, 0.1, 1
    slider.value = 3
    assert (slider.value, got) == (1, [1.0])
    button = ctk.ctkCollapsibleButton()
    child = qt.QLabel("inside", button)
    button.text, button.collapsed = "Advanced", True
    button.show()
    assert not child.visible
    button.collapsed = False
    assert child.visible


# The views


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


def test_a_click_beside_the_view_is_refused(host: Host, tiny_panel: Any) -> None:
    host.show(cube())
    with pytest.raises(ValueError, match="outside what the view Red shows"):
        host.click("Red", (400.0, 0.0, 0.0))


def test_the_views_draw_image_and_contour(host: Host, tiny_panel: Any) -> None:
    import slicer

    volume, node, segment = segmented()
    node.GetSegmentation().GetSegment(segment).SetColor(1.0, 0.0, 0.0)
    node.GetDisplayNode().SetVisibility(False)
    host.show(volume)
    slice_widget = slicer.app.layoutManager().sliceWidget("Red")
    slice_widget.mrmlSliceNode().JumpSliceByCentering(*volume_ras(volume, (8, 7, 6)))
    host.process_events()

    def red() -> int:
        picture = slice_widget.sliceView().picture().astype(int)
        return int((picture[..., 0] > picture[..., 1] + 60).sum())

    grey = slice_widget.sliceView().picture()
    assert red() == 0
    assert grey[..., 0].max() > 200
    node.GetDisplayNode().SetVisibility(True)
    host.process_events()
    assert red() > 200
    host.screenshot(OUTPUT / "host.png")
    assert (OUTPUT / "host.png").stat().st_size > 5000


def test_a_colour_legend_is_drawn(host: Host, tiny_panel: Any) -> None:
    import slicer

    volume = cube()
    host.show(volume)
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    before = view.picture()
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText("SUV")
    host.process_events()
    assert (view.picture() != before).any(axis=-1).sum() > 500


def test_the_layout_manager_has_three_views(host: Host) -> None:
    import slicer

    manager = slicer.app.layoutManager()
    assert manager.sliceViewNames() == ["Red", "Green", "Yellow"]
    orientations = [manager.sliceWidget(n).mrmlSliceNode().GetOrientation() for n in manager.sliceViewNames()]
    assert orientations == ["Axial", "Coronal", "Sagittal"]
    assert manager.sliceWidget("Slice4") is None


@pytest.mark.parametrize("held", ["ShiftModifier", "NoModifier", "ControlModifier"])
def test_the_mouse_scrolls_the_other_views_with_shift(host: Host, tiny_panel: Any, held: str) -> None:
    host.show(cube())
    before = host.slice_offsets()
    host.move_mouse("Red", (0.4, 0.4), held)
    after = host.slice_offsets()
    assert before["Red"] == after["Red"]
    scrolled = {view for view in before if before[view] != after[view]}
    assert scrolled == ({"Green", "Yellow"} if held == "ShiftModifier" else set())
