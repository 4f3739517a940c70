"""The sliders of thickness and filling act on the chosen segmentation, whose display is saved with the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from Testing.slicer.desk import Desk


def test_sliders_need_a_segmentation(desk: Desk) -> None:
    assert not desk.ui.contourSlider.enabled
    assert not desk.ui.fillSlider.enabled
    desk.find()
    assert desk.ui.contourSlider.enabled
    assert desk.ui.fillSlider.enabled


def test_thickness_and_filling_are_seen_in_the_views_and_saved(desk: Desk, tmp_path: Path) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    display = desk.node.GetDisplayNode()
    assert (desk.ui.contourSlider.value, desk.ui.fillSlider.value) == (
        display.GetSliceIntersectionThickness(),
        display.GetOpacity2DFill(),
    )
    k, j, i = np.argwhere(desk.mask()).mean(axis=0).round().astype(int)
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    view.mrmlSliceNode().JumpSliceByOffsetting(*desk.ras(int(i), int(j), int(k)))

    def pixels() -> np.ndarray:
        desk.host.process_events()
        return view.picture()[..., :3].astype(int)

    desk.ui.fillSlider.value = 0.0
    desk.ui.contourSlider.value = 1
    thin = pixels()
    desk.ui.contourSlider.value = 6
    thick = pixels()
    assert (np.abs(thick - thin).sum(axis=2) > 60).sum() > 30
    desk.ui.fillSlider.value = 1.0
    assert (np.abs(pixels() - thick).sum(axis=2) > 60).sum() > 30
    assert (display.GetSliceIntersectionThickness(), display.GetOpacity2DFill()) == (6, 1.0)
    desk.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert not desk.ui.fillSlider.enabled
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert (desk.ui.contourSlider.value, desk.ui.fillSlider.value) == (6, 1.0)


def test_sliders_follow_other_panels_of_slicer_and_other_segmentations(desk: Desk) -> None:
    import slicer

    desk.find()
    first = desk.node
    first.GetDisplayNode().SetOpacity2DFill(0.25)
    assert desk.ui.fillSlider.value == 0.25
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.CreateDefaultDisplayNodes()
    other.GetDisplayNode().SetSliceIntersectionThickness(4)
    desk.ui.segmentationSelector.setCurrentNode(other)
    assert desk.ui.contourSlider.value == 4
    desk.ui.fillSlider.value = 0.75
    assert (first.GetDisplayNode().GetOpacity2DFill(), other.GetDisplayNode().GetOpacity2DFill()) == (0.25, 0.75)
    slicer.mrmlScene.RemoveNode(other)
    assert desk.context.parameters.segmentation is None
    assert not desk.ui.fillSlider.enabled
