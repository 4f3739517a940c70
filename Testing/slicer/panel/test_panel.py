"""The panel on the test host: finding the tumour, what is told, and what happens when the scene changes under it."""

from __future__ import annotations

import re
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import LesionList
from Testing.slicer.module import REPOSITORY, load_phantom
from TumorSegLib import RoleError

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


# The panel itself


def test_the_panel_is_made_quickly_and_without_torch(host: Host) -> None:
    import subprocess
    import sys

    code = (
        "import time; from Testing.slicer.host.host import boot\n"
        "with boot() as host:\n"
        "    start = time.process_time(); widget = host.load_module('TumorSeg/TumorSeg.py')\n"
        "    seconds = time.process_time() - start\n"
        "    import sys; heavy = {'torch', 'monai', 'SimpleITK', 'scipy', 'pydicom'}\n"
        "    print(seconds, sorted(heavy & set(sys.modules)))\n"
        "    host.close = host.clear\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seconds, _, heavy = done.stdout.strip().partition(" ")
    print(f"panel made in {float(seconds):.2f} s of the processor")
    assert heavy == "[]"
    assert float(seconds) < 1


def test_every_widget_has_a_tool_tip(desk: Desk, qt: Any) -> None:
    kinds = (
        "QPushButton",
        "QToolButton",
        "QComboBox",
        "QCheckBox",
        "qMRMLNodeComboBox",
        "ctkSliderWidget",
        "QListWidget",
    )
    named = {name: widget for name, widget in vars(desk.ui).items() if widget.className() in kinds}
    named = {name: widget for name, widget in named.items() if not desk.ui.editor.isAncestorOf(widget)}  # Slicer's own
    assert len(named) > 25
    assert [name for name, widget in named.items() if not widget.toolTip] == []


def test_no_words_of_the_panel_promise_that_a_tumour_is_found(desk: Desk) -> None:
    words = [str(getattr(each, key, "")) for each in vars(desk.ui).values() for key in ("text", "toolTip")]
    assert sum(map(len, words)) > 1000
    assert [each for each in words if re.search(r"(?i)\bfinds?\b|\bfound\b", each)] == []


def test_panel_describes_the_chosen_model(desk: Desk) -> None:
    assert "not a medical device" in desk.ui.disclaimerLabel.text
    desk.host.window.show()
    chosen = "Soft-tissue sarcoma of the limbs and trunk wall: CT, PET, T1 MR (sts-auto)"
    assert desk.ui.modelSelector.currentText == chosen
    assert not desk.ui.modelLabel.isVisible()
    desk.ui.modelDetailsButton.click()
    assert desk.ui.modelLabel.isVisible()
    for word in ("Soft-tissue sarcoma", "Apache-2.0", "median Dice 0.84", "It takes any of CT, PET, T1 MR.", "bundled"):
        assert word in desk.ui.modelLabel.text
    desk.ui.modelDetailsButton.click()
    assert not desk.ui.modelLabel.isVisible()


# Finding


def test_segment_button_adds_a_tumour_segment(desk: Desk) -> None:
    mask = desk.find()
    assert mask.sum() > 50
    assert f"{mask.sum() * 0.08:.1f} ml" in desk.status
    assert desk.host.dialogs.shown == []
    assert LesionList(desk).selected() == [desk.segment]


def test_segment_button_needs_an_image(desk: Desk) -> None:
    desk.choose_nothing()
    desk.press("segmentButton")
    assert desk.status == "Choose at least one image first."
    assert desk.node is None


def test_errors_show_a_message_and_keep_the_scene(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:

    desk.volumes["pet"].SetName("Doe^Jane")

    def fails(images: Any) -> Any:
        raise RoleError("image 'Doe^Jane' is of no use")

    desk.engines.engines["auto"].rule = fails
    desk.press("segmentButton")
    assert desk.host.dialogs.shown == []
    assert desk.error == desk.status == "image 'Doe^Jane' is of no use"
    assert desk.node is None
    assert "RoleError" in caplog.text
    assert "in fails" in caplog.text
    assert "Doe" not in caplog.text
    assert desk.ui.segmentButton.enabled


@pytest.mark.parametrize("agreed", [True, False])
def test_pet_without_unit_needs_confirmation_of_suv(desk: Desk, qt: Any, agreed: bool) -> None:
    from TumorSegSlicer.mrml.volumes import UNIT_ATTRIBUTE

    desk.volumes["pet"].RemoveAttribute(UNIT_ATTRIBUTE)
    desk.choose("pet", None)
    desk.choose("image_pet", desk.volumes["pet"])
    desk.host.dialogs.answer(qt.QMessageBox.Yes if agreed else qt.QMessageBox.No)
    desk.press("segmentButton")
    (dialog,) = desk.host.dialogs.shown
    assert "does not say the unit" in dialog.text
    assert "Treat its values as SUV" in dialog.text
    assert (desk.node is not None) is agreed
    if agreed:
        desk.find()
        assert len(desk.host.dialogs.shown) == 1  # not asked again
        assert desk.chosen("pet") is desk.volumes["pet"]
    else:
        assert "Confirm that the PET is in SUV" in desk.status


def test_a_pet_in_another_unit_is_refused(desk: Desk) -> None:
    from TumorSegSlicer.mrml.volumes import UNIT_ATTRIBUTE

    desk.volumes["pet"].SetAttribute(UNIT_ATTRIBUTE, "Bq/ml")
    desk.press("segmentButton")
    assert "is in Bq/ml" in desk.error
    assert desk.node is None


def test_segmenting_automatically_says_where_the_views_show_another_image(desk: Desk) -> None:
    import slicer

    words = "The views show 'Phantom T1 MR', but 'Phantom CT' is segmented: choose the image under Images."
    slicer.util.setSliceViewerLayers(background=desk.volumes["mr_t1"], foreground=None)
    slow = desk.begin_slowly()
    assert desk.status.startswith(f"{words} ")
    slow.go.set()
    desk.wait()
    assert desk.status.startswith(f"{words} ")
    assert "Marked" in desk.status


def test_remaining_time_counts_from_the_action_being_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from TumorSegSlicer.panel import panel
    from TumorSegSlicer.work.runner import Task

    clock, shown = [0.0], desk.widget.panel
    monkeypatch.setattr(panel, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    formats: list[str] = []
    steps = threading.Semaphore(0)

    def first(_progress: Any, _cancel: Any) -> None:
        clock[0] = 100.0

    def second(progress: Any, _cancel: Any) -> None:
        for done in (0, 1):
            progress(done, 4)
            assert steps.acquire(timeout=60)
            clock[0] += 2.0

    def on_progress(done: int, total: int) -> None:
        shown._onProgress(done, total)
        formats.append(desk.ui.progressBar.format)
        steps.release()

    desk.context.tasks.start(Task(first), lambda _result: None)
    desk.context.tasks.start(Task(second), lambda _result: None, on_progress)
    desk.wait()
    assert formats == ["%p %", "%p %, 6 s left"]


def test_cancel_stops_segmenting_and_removes_the_new_segment(desk: Desk) -> None:
    slow = desk.begin_slowly()
    desk.host.wait_until(lambda: desk.ui.progressBar.maximum == 4, "the progress")
    assert (desk.ui.progressBar.value, desk.ui.cancelButton.enabled, desk.ui.segmentButton.enabled) == (1, True, False)
    assert "s left" in desk.ui.progressBar.format
    desk.ui.cancelButton.click()
    desk.wait()  # the engine would go on until it is let go
    assert desk.status == "Stopped; nothing was changed."
    assert desk.node is None
    import slicer

    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert (desk.ui.cancelButton.enabled, desk.ui.segmentButton.enabled) == (False, True)
    slow.go.set()
    assert desk.find().any()


def test_the_remaining_time_is_what_the_rest_takes_at_this_pace(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = desk.widget.panel
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    panel._onBusy(True)
    clock[0] = 110.0
    panel._onProgress(1, 4)
    assert desk.ui.progressBar.format.endswith("30 s left")
    clock[0] = 118.0
    panel._onProgress(3, 4)
    assert desk.ui.progressBar.format.endswith(" 6 s left")


# Slips of the hand


def test_click_outside_the_image_is_reported_in_the_status_line(desk: Desk) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    before = desk.mask()
    outside = desk.ras(32, 64, 16)
    desk.host.click("Red", outside)
    desk.host.wait_until(lambda: "outside" in desk.status, "the words", 60)
    number = r"(-?\d+\.\d)"
    place = rf"\(R {number}, A {number}, S {number} mm\)"
    words = f"the place clicked {place} lies outside the image that the segment is corrected in"
    told = re.fullmatch(words, desk.status)
    assert told
    assert [float(x) for x in told.groups()] == pytest.approx(outside, abs=1)  # a pixel of the view is up to 0.7 mm
    assert "voxel" not in desk.status
    assert desk.host.dialogs.shown == []
    assert desk.ui.pointButton.checked
    assert (desk.mask() == before).all()


def test_click_on_a_completed_segment_is_reported_in_the_status_line(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(desk.node.GetSegmentation().GetSegment(desk.segment), logic.Completed)
    desk.host.click("Red", desk.ras(32, 32, 16))
    desk.host.wait_until(lambda: "marked as completed" in desk.status, "the words", 60)
    assert desk.host.dialogs.shown == []


# The scene changes under the panel


def test_closing_the_scene_while_running_cancels(desk: Desk) -> None:
    import slicer

    slow = desk.begin_slowly()
    slicer.mrmlScene.Clear(False)
    assert not desk.context.tasks.busy
    assert desk.ui.segmentButton.enabled
    assert desk.chosen("ct") is None
    slow.go.set()
    desk.volumes = load_phantom()
    desk.choose("pet", desk.volumes["pet"])
    assert desk.find().any()
    assert desk.host.dialogs.shown == []


@pytest.mark.parametrize("what", ["segment", "segmentation"])
def test_deleting_the_segment_while_running_cancels(desk: Desk, what: str) -> None:
    import slicer

    desk.find()
    slow = desk.begin_slowly()
    if what == "segment":
        desk.node.GetSegmentation().RemoveSegment(desk.segment)
    else:
        slicer.mrmlScene.RemoveNode(desk.node)
    desk.wait()
    words = {"segment": "The segment was deleted.", "segmentation": "Stopped; nothing was changed."}
    assert desk.status == words[what]
    assert desk.host.dialogs.shown == []
    slow.go.set()
    assert desk.find().any()


def test_deleted_images_are_no_longer_chosen(desk: Desk) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(desk.volumes["pet"])
    desk.ui.segmentButton.click()
    assert desk.chosen("pet") is None
    desk.wait()


def test_leaving_the_module_ends_shortcuts_and_place_mode(desk: Desk, qt: Any) -> None:
    import slicer

    desk.find()
    desk.ui.pointButton.click()
    desk.ui.lineButton.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    from TumorSegSlicer.panel.shortcuts import KEYS

    window, count = slicer.util.mainWindow(), sum(map(len, KEYS.values()))
    assert len(window.findChildren(qt.QShortcut)) == count > 5
    slicer.util.selectModule("Markups")
    desk.host.process_events()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert window.findChildren(qt.QShortcut) == []
    assert not desk.ui.lineButton.checked
    slicer.util.selectModule("TumorSeg")
    assert len(window.findChildren(qt.QShortcut)) == count


def test_the_thread_ends_with_the_module(desk: Desk) -> None:
    desk.find()
    assert any(thread.name == "TumorSeg" for thread in threading.enumerate())
    desk.host.unload_modules()
    assert not any(thread.name == "TumorSeg" for thread in threading.enumerate())
