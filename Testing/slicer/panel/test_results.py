"""The panel on the test host: overlays in scenes that come and go, measurements that are out of date, no segment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk

if TYPE_CHECKING:
    pass


def lay_over(desk: Desk, kind: str = "probability") -> None:
    selector = desk.ui.overlaySelector
    selector.setCurrentIndex(selector.findData(kind))
    desk.wait()


def laid_over() -> set[str | None]:
    """Names of what the slice views show over the images."""
    import slicer

    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    nodes = [slicer.mrmlScene.GetNodeByID(each.GetForegroundVolumeID() or "") for each in composites]
    return {node.GetName() if node is not None else None for node in nodes}


def offered(selector: Any) -> list[str]:
    return [selector.nodeFromIndex(index).GetName() for index in range(selector.nodeCount())]


# Overlays


def test_saved_overlay_is_hidden_when_a_scene_is_opened(desk: Desk, tmp_path: Path) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    lay_over(desk)
    desk.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert slicer.util.getNode("Tumour probability (%)") is not None
    assert laid_over() == {None}
    lay_over(desk)
    assert laid_over() == {"Tumour probability (%)"}
    desk.ui.overlaySelector.setCurrentIndex(0)
    assert laid_over() == {None}


def test_overlay_shown_before_the_panel_opened_is_hidden(desk: Desk) -> None:
    import slicer

    desk.find()
    volume = desk.widget.logic.probabilityVolume(desk.node, desk.segment)
    slicer.util.setSliceViewerLayers(background=desk.volumes["ct"], foreground=volume, foregroundOpacity=0.5)
    lay_over(desk, "uncertainty")
    desk.ui.overlaySelector.setCurrentIndex(0)
    assert laid_over() == {None}


def test_fusion_is_restored_when_more_is_loaded(desk: Desk) -> None:
    import slicer

    desk.find()
    slicer.util.setSliceViewerLayers(background=desk.volumes["ct"], foreground=desk.volumes["pet"])
    lay_over(desk)
    desk.widget.panel.sceneChanged()
    assert laid_over() == {"Phantom PET"}
    assert desk.ui.overlaySelector.currentIndex == 0


def test_overlay_finished_too_late_is_not_shown(desk: Desk) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.ui.overlaySelector.setCurrentIndex(1)
    desk.ui.overlaySelector.setCurrentIndex(0)
    desk.wait()
    assert laid_over() == {"Phantom PET"}


def test_overlay_is_hidden_when_the_module_closes(desk: Desk) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    lay_over(desk)
    assert laid_over() == {"Tumour probability (%)"}
    desk.host.unload_modules()
    assert laid_over() == {"Phantom PET"}


def test_overlays_are_not_offered_as_images(desk: Desk, tmp_path: Path) -> None:
    import slicer

    images = ["Phantom CT", "Phantom PET", "Phantom T1 MR"]
    selectors = [desk.ui.image1Selector, desk.ui.image2Selector, desk.ui.image4Selector]
    desk.find()
    lay_over(desk)
    desk.widget.logic.uncertaintyVolume(desk.node, desk.segment)
    assert [offered(selector) for selector in selectors] == [images] * 3
    desk.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    for number in range(9):  # which take the ids that the overlays had
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"Other {number}")
    assert len(offered(desk.ui.image1Selector)) == 9
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert [offered(selector) for selector in selectors] == [images] * 3
    assert desk.chosen("pet").GetName() == "Phantom PET"


def test_other_volumes_do_not_update_the_overlay_filter(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    desk.find()
    lay_over(desk)
    counted: list[str] = []
    plain = slicer.util.getNodesByClass
    monkeypatch.setattr(slicer.util, "getNodesByClass", lambda name, *rest: counted.append(name) or plain(name, *rest))
    others = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"Other {n}") for n in range(20)]
    for other in others:
        slicer.mrmlScene.RemoveNode(other)
    assert counted == []
    assert "Tumour probability (%)" not in offered(desk.ui.image1Selector)


def test_overlay_colours_rise_with_probability(desk: Desk) -> None:
    import slicer
    import vtk

    desk.find()
    lay_over(desk)
    volume = slicer.util.getNode("Tumour probability (%)")
    shape = slicer.util.arrayFromVolume(volume).shape
    percent = np.zeros(shape, np.uint8)
    percent[0, 0, :6] = (4, 25, 50, 75, 99, 100)
    slicer.util.updateVolumeFromArray(volume, percent)
    display = volume.GetDisplayNode()
    display.GetImageDataConnection().GetProducer().Update()
    shown = display.GetImageDataConnection().GetProducer().GetOutputDataObject(0).GetPointData().GetScalars()
    colours = vtk.util.numpy_support.vtk_to_numpy(shown)[:6].astype(int)
    assert colours[0, 3] == 0
    assert (colours[1:, 3] == 255).all()
    for place, channels in ((1, [2]), (2, [1]), (3, [0, 1]), (4, [0]), (5, [0])):  # blue, green, yellow, red
        light = [channel for channel in range(3) if colours[place, channel] > 128]
        assert light == channels, colours.tolist()


# Without a segment


def test_results_controls_are_disabled_without_a_segment(desk: Desk) -> None:
    ui = desk.ui
    assert not any(widget.enabled for widget in (ui.overlaySelector, ui.nextPlaceButton, ui.surfaceCheckBox))
    lay_over(desk)
    assert desk.status == "Select a segment first."
    assert desk.ui.overlaySelector.currentIndex == 0
    desk.context.messages.say("")
    desk.ui.surfaceCheckBox.checked = True
    assert desk.status == "Select a segment first."
    assert not desk.ui.surfaceCheckBox.checked
    desk.find()
    assert all(widget.enabled for widget in (ui.overlaySelector, ui.nextPlaceButton, ui.surfaceCheckBox))


# Measurements


def test_measurements_are_cleared_when_the_segment_changes(desk: Desk) -> None:
    import slicer

    def lines() -> int:
        return len(slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode"))

    ui = desk.ui
    ui.linesCheckBox.checked = True
    desk.find()
    desk.press("measureButton")
    assert ui.measurementsTable.rowCount > 5
    assert (ui.copyButton.enabled, ui.csvButton.enabled, lines()) == (True, True, 2)
    desk.press("undoButton")
    assert ui.measurementsTable.rowCount == 0
    assert (ui.copyButton.enabled, ui.csvButton.enabled, lines()) == (False, False, 0)
    desk.press("redoButton")
    desk.press("measureButton")
    desk.press("newSegmentButton")
    assert (ui.measurementsTable.rowCount, ui.copyButton.enabled, lines()) == (0, False, 2)
    assert slicer.util.getNode("Tumour measurements").GetNumberOfRows() > 5


def test_the_table_shown_has_the_new_name_of_its_segment(desk: Desk) -> None:
    desk.find()
    desk.press("measureButton")
    desk.node.GetSegmentation().GetSegment(desk.segment).SetName("GTV")
    assert desk.ui.measurementsTable.item(0, 1).text() == "GTV"
    assert desk.ui.csvButton.enabled
    desk.press("undoButton")
    desk.host.wait_until(lambda: desk.ui.measurementsTable.rowCount == 0, "the table to go")


def test_show_in_3d_is_ticked_whoever_made_the_surface(desk: Desk) -> None:
    desk.find()
    box = desk.ui.surfaceCheckBox
    assert not box.checked
    desk.node.CreateClosedSurfaceRepresentation()  # as Slicer's own "Show 3D" does
    assert box.checked
    desk.node.RemoveClosedSurfaceRepresentation()
    assert not box.checked


def test_progress_has_one_form_from_the_start(desk: Desk) -> None:
    bar = desk.ui.progressBar
    assert (bar.format, bar.text) == ("%p %", "0 %")
    desk.find()
    assert bar.format == "%p %"
