"""The panel on the test host: clicks, box, undo, overlays, measurements and settings."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import LesionList
from Testing.slicer.module import OUTPUT, segment_ids
from TumorSegLib import Cancelled
from TumorSegLib.disclaimer import DISCLAIMER

if TYPE_CHECKING:
    pass


# Correcting


def test_clicks_in_the_views_correct_at_once(desk: Desk) -> None:
    import slicer

    before = desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    for view, ijk in (("Red", (20, 25, 8)), ("Green", (44, 33, 22)), ("Yellow", (30, 50, 12))):
        desk.place(view, ijk)
        i, j, k = ijk
        assert desk.mask()[k, j, i] == 1
    assert before.sum() < desk.mask().sum()
    assert desk.status.startswith("Added. Segment now:")
    desk.ui.signButton.click()
    assert desk.ui.pointButton.checked
    desk.place("Red", (20, 25, 8))
    assert desk.mask()[8, 25, 20] == 0
    assert desk.status.startswith("Removed. Segment now:")
    shown = {
        node.GetName(): node.GetNumberOfControlPoints()
        for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
        if "clicks" in node.GetName()
    }
    assert shown["TumorSeg negative clicks"] == 1
    assert shown["TumorSeg positive clicks"] in (2, 3)  # the contradicted one may no longer hold
    desk.leave()
    assert not desk.ui.pointButton.checked
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert desk.host.dialogs.shown == []


def test_another_mouse_mode_puts_the_tool_down(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.ui.pointButton.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SwitchToPersistentPlaceMode()  # of another module
    desk.host.wait_until(lambda: not desk.ui.pointButton.checked, "the button")


def test_click_without_a_segment_adds_one(desk: Desk) -> None:
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    assert desk.node is not None
    desk.place("Red", (30, 30, 16))
    assert desk.mask()[16, 30, 30] == 1


def test_clicks_are_positive_again_on_a_new_segment(desk: Desk) -> None:
    desk.find()
    desk.take("point", positive=False)
    desk.press("newSegmentButton")
    assert (desk.ui.pointButton.checked, desk.ui.signButton.text) == (True, "+ tumour")
    assert len(segment_ids(desk.node)) == 2
    assert LesionList(desk).selected() == [desk.segment]
    first = segment_ids(desk.node)[0]
    LesionList(desk).settled().click(first)
    assert desk.segment == first


# See and measure


def test_clicks_are_positive_again_after_the_scene_was_closed(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.ui.signButton.click()
    assert desk.ui.signButton.text.endswith("not tumour")
    slicer.mrmlScene.Clear(False)
    assert desk.ui.signButton.text == "+ tumour"


def test_overlays_are_shown_and_hidden(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    selector, composite = desk.ui.overlaySelector, slicer.app.layoutManager().sliceWidget("Red")
    before = composite.mrmlSliceCompositeNode().GetForegroundVolumeID()
    selector.setCurrentIndex(selector.findData("probability"))
    desk.wait()
    volume = slicer.util.getNode("Tumour probability (%)")
    assert composite.mrmlSliceCompositeNode().GetForegroundVolumeID() == volume.GetID()
    desk.ui.opacitySlider.value = 0.8
    assert composite.mrmlSliceCompositeNode().GetForegroundOpacity() == pytest.approx(0.8)
    assert slicer.modules.colors.logic().GetColorLegendDisplayNode(volume).GetTitleText() == volume.GetName()
    desk.press("undoButton")
    desk.host.wait_until(lambda: not slicer.util.arrayFromVolume(volume).any(), "the overlay to follow")
    selector.setCurrentIndex(0)
    assert composite.mrmlSliceCompositeNode().GetForegroundVolumeID() == before != volume.GetID()


def test_hiding_an_overlay_restores_the_foreground(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    slicer.util.setSliceViewerLayers(foreground=desk.volumes["pet"], foregroundOpacity=0.4)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    selector = desk.ui.overlaySelector
    for kind in ("probability", "uncertainty"):
        selector.setCurrentIndex(selector.findData(kind))
        desk.wait()
    desk.ui.opacitySlider.value = 0.8
    composites[0].SetForegroundVolumeID(desk.volumes["mr_t1"].GetID())
    desk.ui.opacitySlider.value = 0.6
    selector.setCurrentIndex(0)
    shown = [composite.GetForegroundVolumeID() for composite in composites]
    pet, mr = desk.volumes["pet"].GetID(), desk.volumes["mr_t1"].GetID()
    assert shown == [mr, pet, pet]
    assert [composite.GetForegroundOpacity() for composite in composites] == pytest.approx([0.8, 0.4, 0.4])


def test_the_views_jump_to_uncertain_regions(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.press("nextPlaceButton")
    assert desk.status == "No region above the uncertainty threshold. The model can still be wrong."
    desk.engines.engines["clicks"].radius = 5
    desk.start_click((20, 20, 8), False)
    desk.wait()
    desk.press("nextPlaceButton")
    assert desk.status.startswith("Uncertain region at RAS")
    offset = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceOffset()
    assert abs(offset - desk.ras(20, 20, 8)[2]) < 30


def test_a_surface_is_made_on_demand(desk: Desk) -> None:
    desk.find()
    segmentation = desk.node.GetSegmentation()
    desk.ui.surfaceCheckBox.checked = True
    assert segmentation.ContainsRepresentation("Closed surface")
    desk.ui.surfaceCheckBox.checked = False
    assert not segmentation.ContainsRepresentation("Closed surface")


def test_measurements_are_shown_copied_and_written(desk: Desk, qt: Any, tmp_path: Path) -> None:
    mask = desk.find()
    desk.press("measureButton")
    table = desk.ui.measurementsTable
    rows = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}
    assert float(rows["Volume"]) == pytest.approx(mask.sum() * 0.08, abs=0.006)
    assert float(rows["SUVmax"]) > 3
    assert rows["Segment"] == "Tumour"
    assert desk.status == "Measured: Tumour"
    desk.ui.copyButton.click()
    assert qt.QApplication.clipboard().text().startswith("Measurement\tValue\tUnit\nSegment\tTumour\t\nVolume\t")
    desk.host.dialogs.answer(str(tmp_path / "tumour.csv"))
    desk.ui.csvButton.click()
    text = (tmp_path / "tumour.csv").read_text(encoding="utf-8")
    assert text.startswith("\ufeffMeasurement,Value,Unit\nSegment,Tumour,\nVolume,")
    assert ",mm²\n" in text
    assert text.splitlines()[-1] == f'Note,"{DISCLAIMER}",'
    desk.host.dialogs.answer(str(tmp_path / "nowhere" / "tumour.csv"))
    desk.ui.csvButton.click()
    assert "does not exist" in desk.error
    desk.host.screenshot(OUTPUT / "panel.png")


# Settings


def test_settings_are_restored_with_the_scene(desk: Desk, tmp_path: Path) -> None:
    import slicer

    desk.ui.opacitySlider.value = 0.3
    desk.ui.deviceSelector.setCurrentText("cpu")
    desk.ui.overlapSelector.setCurrentIndex(2)
    desk.find()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert desk.chosen("pet") is None
    assert desk.ui.deviceSelector.currentText == "automatic"
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert desk.chosen("pet").GetName() == "Phantom PET"
    assert desk.ui.opacitySlider.value == pytest.approx(0.3)
    parameters = desk.widget.logic.parameters
    assert (parameters.device.value, parameters.overlap.name) == ("cpu", "OVERWRITE_ALL")
    assert LesionList(desk).selected() == [desk.segment]


def test_saving_a_session_is_not_shown_as_busy(desk: Desk) -> None:
    from Testing.slicer.scene import saved_steps

    desk.find()
    told: list[bool] = []
    desk.context.tasks.onBusy.connect(told.append)
    assert desk.context.edits.unsaved
    desk.wait_saved()
    (saved,) = desk.widget.logic.saved()
    assert (saved.segmentId, len(saved_steps(desk.node, desk.segment)), told) == (desk.segment, 1, [])
    desk.press("resetButton")
    assert told == [True, False]


def test_a_click_while_saving_goes_first_and_is_saved_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from Testing.slicer.scene import saved_steps
    from TumorSegLib.session.storage import Snapshot

    desk.find()
    desk.wait_saved()
    begun, stopped = threading.Event(), threading.Event()
    plain = Snapshot.records

    def slow(snapshot: Any, since: int = -1, cancel: Any = None) -> Any:
        """Encodes one step, and then takes until it is stopped, once."""
        yield from itertools.islice(plain(snapshot, since, cancel), 1)
        begun.set()
        while not stopped.is_set() and not cancel():
            time.sleep(0.002)
        if not stopped.is_set():
            stopped.set()
            raise Cancelled("stopped")
        yield from itertools.islice(plain(snapshot, since, cancel), 1, None)

    monkeypatch.setattr(Snapshot, "records", slow)
    desk.press("resetButton")
    desk.host.wait_until(begun.is_set, "saving to begin", 60)
    assert not desk.context.tasks.busy
    desk.start_click((50, 50, 20))
    desk.wait()
    assert stopped.is_set()
    assert desk.mask()[20, 50, 50] == 1
    desk.wait_saved()
    assert saved_steps(desk.node, desk.segment) == [1, 2, 3]
    assert desk.host.dialogs.shown == []
