"""The voxels of chosen images, looked at while nobody asks for anything; an action of the user goes first."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.panel.test_images import add, choose_first, inputs
from TumorSegLib.images import plausibility

WORKER = "TumorSeg"


class Checks:
    """The threads in which images were checked, by role; can be held up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, str]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()
        self._check = plausibility.check_plausible
        monkeypatch.setattr(plausibility, "check_plausible", self.check)

    def check(self, array: np.ndarray, role: str) -> None:
        self.made.append((role, threading.current_thread().name))
        self.begun.set()
        self.go.wait(60)
        self._check(array, role)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    return Checks(monkeypatch)


def ahead(desk: Desk) -> Any:
    return desk.widget.panel.images._ahead


def wait_checked(desk: Desk, count: int) -> None:
    desk.host.wait_until(lambda: len(ahead(desk)._kept) == count, "the images to be checked", 60)


def test_a_first_segment_checks_no_image_that_was_chosen_before(checks: Checks, desk: Desk) -> None:
    told: list[bool] = []
    desk.context.tasks.onBusy.connect(told.append)
    wait_checked(desk, 2)
    assert [each for each in checks.made if each[1] == WORKER] == [("ct", WORKER), ("pet", WORKER)]
    assert told == []
    checks.made.clear()
    desk.choose("mr_t1", desk.volumes["mr_t1"])
    wait_checked(desk, 3)
    desk.press("newSegmentButton")
    assert desk.segment
    assert checks.made == [("mr_t1", WORKER)]  # the others were known
    desk.choose("mr_t1", None)
    desk.choose_nothing()
    wait_checked(desk, 0)


def test_an_image_that_cannot_be_used_is_told_when_it_is_used(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    import slicer

    caplog.set_level(logging.INFO)
    wait_checked(desk, 2)
    before = desk.status
    pet = desk.volumes["pet"]
    values = slicer.util.arrayFromVolume(pet).copy().astype(np.float32)
    values[0, 0, 0] = np.nan
    slicer.util.updateVolumeFromArray(pet, values)
    desk.choose("pet", None)
    desk.choose("pet", pet)
    wait_checked(desk, 1)
    assert (desk.status, desk.error) == (before, "")
    desk.press("newSegmentButton")
    assert "1 voxels that are NaN or infinite" in desk.error
    assert (desk.node, desk.host.dialogs.shown) == (None, [])
    assert "not checked ahead" not in caplog.text


def test_an_action_goes_first_and_the_check_goes_on_afterwards(checks: Checks, desk: Desk) -> None:
    wait_checked(desk, 2)
    checks.begun.clear()
    checks.go.clear()
    desk.choose("mr_t1", desk.volumes["mr_t1"])
    desk.host.wait_until(checks.begun.is_set, "the check to begin", 60)
    desk.ui.segmentButton.click()
    assert desk.context.tasks.busy
    checks.go.set()
    desk.wait()
    assert desk.mask().any()
    wait_checked(desk, 3)
    assert desk.host.dialogs.shown == []


@pytest.mark.parametrize("what", ["image", "scene", "module"])
def test_what_is_deleted_meanwhile_is_let_go(checks: Checks, desk: Desk, what: str) -> None:
    import slicer

    wait_checked(desk, 2)
    checks.begun.clear()
    checks.go.clear()
    kept = ahead(desk)
    desk.choose("mr_t1", desk.volumes["mr_t1"])
    desk.host.wait_until(checks.begun.is_set, "the check to begin", 60)
    if what == "image":
        slicer.mrmlScene.RemoveNode(desk.volumes["ct"])
    elif what == "scene":
        slicer.mrmlScene.Clear(False)
    else:
        tasks = desk.context.tasks
        threading.Timer(0.2, checks.go.set).start()  # closing waits for the thread
        desk.host.unload_modules()
        assert tasks._runner.idle
        return
    checks.go.set()
    left = 2 if what == "image" else 0
    desk.host.wait_until(lambda: not kept._timer.isActive() and len(kept._kept) == left, "them to be let go", 60)
    assert desk.host.dialogs.shown == []


@pytest.mark.parametrize("kind", ["image_pet", "pet"])
def test_a_pet_of_unknown_unit_is_told_once_and_its_voxels_are_read_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import slicer

    for volume in desk.volumes.values():
        slicer.mrmlScene.RemoveNode(volume)
    desk.host.process_events()
    read: list[int] = []
    check = plausibility.check_suv
    monkeypatch.setattr(plausibility, "check_suv", lambda array: (read.append(array.size), check(array))[1])
    node = add(desk, "PET AC", np.random.default_rng(0).uniform(0, 9, (12, 40, 44)).astype(np.float32))
    choose_first(desk, node)
    desk.choose_role(1, kind)
    desk.press("newSegmentButton")
    before = len(read)
    for number in range(3):
        desk.start_click((20, 18, 6), words="Added.")
        desk.wait()
        assert ("is not known" in desk.status) == (kind == "image_pet" and number == 0)
        desk.press("newSegmentButton")
        assert "New segment:" in desk.status
    assert len(read) == before > 0
    node.SetVoxelValueUnits(unit("{SUVbw}g/ml"))  # which somebody says meanwhile
    desk.press("newSegmentButton")
    assert inputs(desk) == {"pet": "PET AC"}


def unit(code: str) -> Any:
    import slicer

    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(code, "UCUM", "Standardized Uptake Value body weight")
    return entry
