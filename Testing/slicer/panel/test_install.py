"""The panel while packages are being installed: it shows so, lets nothing be pressed, and tells a failure once."""

from __future__ import annotations

from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.desk import Desk

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


@pytest.fixture
def desk(host: Host, qt: Any) -> Desk:
    made = Desk(host)
    host.packaging.missing.add("torch")
    host.dialogs.answer(qt.QMessageBox.Ok)
    return made


def test_an_installation_is_shown_and_cannot_be_entered_twice(desk: Desk) -> None:
    import qt

    seen: list[tuple[Any, ...]] = []
    steps: list[bool] = []

    def during() -> None:
        bar, cursor = desk.ui.progressBar, qt.QApplication.overrideCursor()
        seen.append((desk.status, bar.maximum, bar.isVisible(), cursor is not None, desk.ui.sectionsArea.isEnabled()))
        steps.append(desk.ui.stepsRow.enabled)
        for name in ("segmentButton", "newSegmentButton", "undoButton", "measureButton"):
            getattr(desk.ui, name).click()

    desk.host.window.show()
    desk.host.pytorch.during = during
    desk.press("segmentButton")
    status, *rest = seen[0]
    assert "Installing torch>=2.6. This takes several minutes" in status
    assert rest[:3] == [0, True, True]  # the bar runs without an end, and the cursor waits
    assert len(seen) == 3
    assert len(desk.host.dialogs.shown) == 1  # the extension asked once
    assert qt.QApplication.overrideCursor() is None
    assert desk.ui.sections.enabled
    assert (set(steps), desk.ui.stepsRow.enabled) == ({False}, True)
    assert desk.mask().any()  # and what was pressed is done


def test_actions_wait_during_an_installation(desk: Desk) -> None:
    """Keys, tools and other modules can call the panel while pip handles events."""
    ready: list[tuple[bool, str]] = []
    desk.host.pytorch.during = lambda: ready.append((desk.context.packages.ready(), desk.status))
    desk.press("segmentButton")
    assert ready == [(False, "Python packages are being installed; please wait.")] * 3
    assert len(desk.host.dialogs.shown) == 1


@pytest.mark.parametrize("closed", [False, True])
def test_installation_survives_closing_of_scene_and_module(desk: Desk, closed: bool) -> None:
    import slicer

    def during() -> None:
        if closed:
            desk.host.unload_modules()
        else:
            slicer.mrmlScene.Clear(False)

    desk.host.pytorch.during = during
    desk.ui.segmentButton.click()
    desk.host.process_events()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_failed_torch_installation_shows_one_dialog_with_the_reason(desk: Desk) -> None:
    desk.host.pytorch.failure = CalledProcessError(1, ["PythonSlicer", "-m", "light_the_torch", "install"])
    desk.press("segmentButton")
    asked, told = desk.host.dialogs.texts
    assert "will be downloaded" in asked
    assert told.startswith("Installing torch failed")
    assert told == desk.status
    assert desk.ui.sections.enabled


def test_failed_pip_is_reported_once(desk: Desk) -> None:
    desk.host.packaging.missing.add("monai")
    desk.host.packaging.failure = CalledProcessError(1, ["PythonSlicer", "-m", "pip", "install", "monai"])
    desk.press("segmentButton")
    _asked, told = desk.host.dialogs.texts
    assert told == "pip failed"  # by Slicer, with all that pip said
    assert desk.status.startswith("Installing monai failed")


def test_intel_macs_are_refused_before_pip_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import platform
    import sys

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    desk.host.dialogs.clear()
    desk.press("segmentButton")
    (told,) = desk.host.dialogs.texts
    assert "Macs with Intel processors, for which there is no torch newer than 2.2; TumorSeg needs torch>=2.6" in told
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    desk.press("segmentButton")
    assert "will be downloaded" in desk.host.dialogs.texts[1]


# The strip


def test_status_progress_cancel_and_steps_are_always_visible(desk: Desk) -> None:
    import qt

    desk.host.packaging.missing.clear()
    desk.host.window.show()
    areas = desk.host.window.findChildren(qt.QScrollArea)
    for section in ("advancedSection", "brushSection", "manageModelsSection"):
        getattr(desk.ui, section).collapsed = False
    desk.host.process_events()
    for position in ("minimum", "maximum"):
        for bar in (area.verticalScrollBar() for area in areas):
            bar.setValue(getattr(bar, position))
        desk.host.process_events()
        for name in ("statusLabel", "progressBar", "cancelButton", "undoButton", "redoButton", "resetButton"):
            widget = getattr(desk.ui, name)
            assert desk.ui.strip.isAncestorOf(widget)
            assert widget.visibleRegion().boundingRect().height() == widget.height, (name, position)
    assert desk.ui.strip.geometry.top() > desk.ui.sectionsArea.geometry.bottom()
    assert desk.ui.sectionsArea.verticalScrollBar().maximum > 0  # there was something to scroll


def test_panel_fits_its_width(desk: Desk) -> None:
    desk.host.packaging.missing.clear()
    desk.host.window.show()
    desk.host.process_events()
    assert desk.ui.sectionsArea.horizontalScrollBar().maximum == 0
