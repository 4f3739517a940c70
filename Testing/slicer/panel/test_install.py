"""The page of first use: what is missing is said, nothing comes unasked, pip runs beside Slicer and can be stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.shelf import FIRST, SECOND, TORCH, Shelf
from Testing.web import serving

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

pip = pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a script of a POSIX shell")


@pytest.fixture
def desk(host: Host) -> Desk:
    """All packages are there."""
    return Desk(host)


@pytest.fixture
def shelf(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Packages are missing all at once, and none is on the shelf."""
    return Shelf(tmp_path, monkeypatch)


def ask(desk: Desk) -> None:
    """Presses a button that needs the packages."""
    desk.host.window.show()
    desk.context.packages.found = False
    desk.press("segmentButton")


def wait(desk: Desk) -> None:
    desk.host.wait_until(lambda: not desk.context.packages.installing, "the installation to end", 120)


def install(desk: Desk) -> None:
    desk.ui.installButton.click()
    wait(desk)


def usable(desk: Desk) -> tuple[bool, ...]:
    """Whether page and sections are shown, and sections and steps can be used."""
    ui = desk.ui
    return ui.firstUsePage.isVisible(), ui.sectionsArea.isVisible(), ui.sections.enabled, ui.stepsRow.enabled


def test_the_page_says_what_is_missing_and_nothing_comes_unasked(desk: Desk, shelf: Shelf) -> None:
    assert usable(desk)[0] is False
    ask(desk)
    assert usable(desk) == (True, False, False, False)
    for words in (f"{TORCH}>=2.6", f"{FIRST}>=1", f"{SECOND}>=2", "0.2 GB", "pytorch.org", "0.1 GB", "pypi.org"):
        assert words in desk.ui.firstUseLabel.text
    for name in ("segmentButton", "newSegmentButton", "pointButton", "undoButton", "measureButton"):
        getattr(desk.ui, name).click()
    desk.host.process_events()
    assert (desk.node, desk.host.dialogs.shown, shelf.there()) == (None, [], {})
    desk.ui.notNowButton.click()
    assert usable(desk) == (False, True, True, True)
    assert desk.status.startswith("Nothing was installed.")
    ask(desk)
    assert usable(desk)[0] is True


def test_opening_the_module_shows_the_page_until_it_is_put_off(host: Host) -> None:
    host.packaging.missing.add("monai")
    desk = Desk(host)
    host.window.show()
    assert usable(desk) == (True, False, False, False)
    assert "monai>=1.4" in desk.ui.firstUseLabel.text
    selector = host.window.moduleSelector()
    for shown in (True, False):
        selector.selectModule("")
        selector.selectModule("TumorSeg")
        assert usable(desk)[0] is shown
        desk.ui.notNowButton.click()
    assert host.dialogs.shown == []


@pip
def test_packages_are_installed_in_their_order_while_slicer_goes_on(desk: Desk, shelf: Shelf) -> None:
    shelf.fill()
    ask(desk)
    seen: list[tuple[bool, ...]] = []
    beats: list[int] = []
    desk.context.packages.onLine.connect(
        lambda _line: seen.append(
            (desk.ui.installButton.enabled, desk.ui.notNowButton.enabled, desk.ui.cancelButton.enabled)
        )
    )
    with desk.host.heartbeat() as gaps:
        desk.context.packages.onLine.connect(lambda _line: beats.append(len(gaps)))
        desk.ui.installButton.click()
        assert desk.ui.progressBar.maximum == 0  # it runs without an end
        assert not desk.context.packages.ready()
        assert desk.status == "Python packages are being installed; please wait."
        desk.ui.installButton.click()
        desk.context.packages.install()  # which is being done already
        wait(desk)
    assert beats[0] < beats[-1]  # events were handled between the lines of pip
    assert set(seen) == {(False, False, True)}
    assert shelf.there() == {"light-the-torch": "0.5", TORCH: "2.7", FIRST: "1.5", SECOND: "2.0"}
    assert shelf.asked_for_torch() == "install torch>=2.6 torchvision"
    log = desk.ui.installLog.plainText
    assert log.count("Successfully installed") == 3
    assert log.index("light-the-torch") < log.index(f"{TORCH}-2.7") < log.index(f"{FIRST}-1.5")
    desk.wait()
    assert "Marked " in desk.status  # what the button had been pressed for
    assert usable(desk) == (False, True, True, True)
    assert (desk.ui.cancelButton.enabled, desk.ui.progressBar.maximum) == (False, 1)
    assert desk.find().any()
    assert desk.host.dialogs.shown == []


@pip
def test_a_missing_version_is_told_and_can_be_tried_again(desk: Desk, shelf: Shelf) -> None:
    shelf.fill(without=[SECOND])
    ask(desk)
    install(desk)
    told = f"There is no version of {SECOND}>=2 for this computer and this Slicer."
    assert told in desk.status
    assert told in desk.ui.firstUseLabel.text
    assert usable(desk) == (True, False, False, False)
    assert desk.ui.installLogSection.collapsed
    desk.ui.installLogSection.collapsed = False
    assert "No matching distribution found" in desk.ui.installLog.plainText
    assert (desk.ui.installButton.text, desk.ui.installButton.enabled) == ("Try again", True)
    assert set(shelf.there()) == {"light-the-torch", TORCH}  # which need not come again
    shelf.add(SECOND, "2.1")
    install(desk)
    assert shelf.there()[SECOND] == "2.1"
    assert usable(desk) == (False, True, True, True)
    assert desk.host.dialogs.shown == []


@pip
@pytest.mark.parametrize(("setting", "words"), [("PIP_INDEX_URL", "cannot be reached"), ("PIP_PROXY", "The proxy did")])
def test_a_network_that_fails_is_told(
    desk: Desk, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, setting: str, words: str
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_RETRIES", "1")  # of 5; pip tells a fault when it tries again
    monkeypatch.setenv("PIP_INDEX_URL", "https://no-such-host.invalid/simple")
    monkeypatch.setenv(setting, "http://127.0.0.1:9")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    ask(desk)
    install(desk)
    assert "Installing light-the-torch failed. " in desk.status
    assert words in desk.status


@pip
def test_a_package_that_would_replace_numpy_is_refused(desk: Desk, shelf: Shelf) -> None:
    shelf.fill(without=[FIRST])
    shelf.add(FIRST, "1.5", requires=["numpy>=99"])
    shelf.add("numpy", "99.0")
    ask(desk)
    install(desk)
    assert "do not fit to those that this Slicer has" in desk.status
    assert "numpy" not in shelf.there()
    assert np.__version__ in desk.ui.installLog.plainText  # the version that is kept


@pip
def test_cancel_ends_pip_in_a_download(desk: Desk, shelf: Shelf) -> None:
    shelf.fill(without=[FIRST])
    with serving(b"0" * 1_000_000) as site:
        site.stall_after = 10
        shelf.link(FIRST, site.url.rpartition("/")[0])
        ask(desk)
        desk.ui.installButton.click()
        desk.host.wait_until(lambda: site.stalled, "pip to wait for the server", 120)
        program = desk.context.packages._program
        assert program.status is None
        desk.ui.cancelButton.click()
        assert desk.status == "Stopping..."
        wait(desk)
    assert program.status not in {None, 0}
    assert desk.status == "The installation was stopped; packages that are complete stay."
    assert set(shelf.there()) == {"light-the-torch", TORCH}
    assert usable(desk) == (True, False, False, False)
    assert desk.ui.installButton.enabled
    desk.ui.notNowButton.click()
    assert usable(desk) == (False, True, True, True)


@pip
def test_pip_ends_when_the_module_is_closed(desk: Desk, shelf: Shelf) -> None:
    shelf.fill(without=[FIRST])
    with serving(b"0" * 1_000_000) as site:
        site.stall_after = 10
        shelf.link(FIRST, site.url.rpartition("/")[0])
        ask(desk)
        desk.ui.installButton.click()
        desk.host.wait_until(lambda: site.stalled, "pip to wait for the server", 120)
        packages = desk.context.packages
        program = packages._program
        desk.host.unload_modules()
        assert program._process.poll() is not None
    assert not packages.ready()
    packages.install()
    assert packages._program is None


@pip
def test_the_installation_goes_on_when_the_scene_is_closed(desk: Desk, shelf: Shelf) -> None:
    import slicer

    shelf.fill()
    ask(desk)
    desk.ui.installButton.click()
    slicer.mrmlScene.Clear(False)
    assert desk.ui.firstUsePage.isVisible()
    wait(desk)
    assert set(shelf.there()) == {"light-the-torch", TORCH, FIRST, SECOND}
    assert usable(desk) == (False, True, True, True)


@pip
def test_progress_of_a_download_is_shown_in_megabytes(desk: Desk, shelf: Shelf) -> None:
    shelf.fill()
    shelf.add(
        "light-the-torch", "0.6", files={"light_the_torch/__main__.py": "print('Progress 500000000 of 3000000000')"}
    )
    ask(desk)
    shown: list[tuple[int, int, str]] = []
    bar = desk.ui.progressBar
    desk.context.packages.onProgress.connect(lambda *_bytes: shown.append((bar.value, bar.maximum, bar.text)))
    install(desk)
    assert shown == [(500_000, 3_000_000, "16 % of 3000 MB")]
    assert "Progress" not in desk.ui.installLog.plainText
    assert "torch were not installed, although no error was reported" in desk.status  # by that light-the-torch


def test_what_cannot_be_installed_is_said_on_the_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.host.packaging.missing.add("torch")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    ask(desk)
    assert desk.ui.firstUseLabel.text.startswith("The extension PyTorch is missing")
    assert not desk.ui.installButton.enabled
    assert desk.ui.notNowButton.enabled


def test_a_python_of_slicer_that_is_missing_is_said(desk: Desk, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ask(desk)
    install(desk)
    assert "PythonSlicer" in desk.status
    assert usable(desk)[0] is True


def test_replaced_packages_ask_for_a_restart(desk: Desk, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.host.packaging.missing.add("torch")
    ask(desk)
    packages = desk.context.packages
    monkeypatch.setattr("TumorSegSlicer.install.packages.nextStep", lambda: None)
    versions = {"numpy": "1.0"}
    monkeypatch.setattr("TumorSegSlicer.install.packages.versions", lambda: dict(versions))
    packages.onInstalling.connect(lambda installing: versions.update(numpy="2.0") if installing else None)
    install(desk)
    assert desk.status == (
        "The packages are installed. Restart Slicer first: numpy were loaded and have been replaced."
    )


# The strip


def test_status_progress_cancel_and_steps_are_always_visible(desk: Desk) -> None:
    import qt

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
    desk.host.window.show()
    desk.host.process_events()
    assert desk.ui.sectionsArea.horizontalScrollBar().maximum == 0
