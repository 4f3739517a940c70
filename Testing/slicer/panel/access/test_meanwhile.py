"""Whatever happens during a long action, the panel can be used afterwards, and nothing is raised."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.models_desk import NAME, ModelsDesk
from Testing.slicer.module import load_phantom
from Testing.slicer.shelf import Shelf

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host
    from Testing.web import Site

PATIENCE = 120.0


class Gate:
    """Holds the slow part of the next action that is not quiet until it is let go, or stopped."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from TumorSegSlicer.work import runner

        self.reached, self.go = threading.Event(), threading.Event()
        work = runner._Started.work

        def held(started: Any) -> None:
            if not started.quiet:
                self.reached.set()
                while not (self.go.wait(0.01) or started.stop.is_set()):
                    pass
            work(started)

        patch.setattr(runner._Started, "work", held)


def draw(desk: Desk, kind: str, *places: tuple[int, int, int]) -> None:
    desk.hand_over(kind, [desk.ras(*each) for each in places])


def begin_box(desk: Desk) -> None:
    desk.give_box((34, 34, 16))
    desk.ui.boxAgainButton.click()


def begin_export(desk: Desk, folder: Path) -> None:
    desk.host.dialogs.answer(str(folder / "tumour.nii.gz"))
    (action,) = [each for each in desk.ui.exportButton.menu().actions() if "NIfTI" in each.text]
    action.trigger()


#: Name to what begins the action; each gets the panel and a folder.
ACTIONS: dict[str, Callable[[Desk, Path], None]] = {
    "segment": lambda desk, _folder: desk.ui.segmentButton.click(),
    "click": lambda desk, _folder: draw(desk, "point", (32, 32, 16)),
    "box": lambda desk, _folder: begin_box(desk),
    "line": lambda desk, _folder: draw(desk, "line", (28, 32, 16), (40, 32, 16)),
    "scribble": lambda desk, _folder: draw(desk, "scribble", (28, 32, 16), (40, 32, 16)),
    "lasso": lambda desk, _folder: draw(desk, "lasso", (28, 28, 16), (40, 28, 16), (34, 40, 16)),
    "measure": lambda desk, _folder: desk.ui.measureButton.click(),
    "overlay": lambda desk, _folder: desk.ui.overlaySelector.setCurrentIndex(1),
    "split": lambda desk, _folder: desk.ui.splitButton.click(),
    "export": begin_export,
}


def click(desk: Desk) -> None:
    """A user goes on clicking."""
    desk.take("point")
    desk.host.click("Red", desk.ras(30, 34, 16))


def delete_segmentation(desk: Desk) -> None:
    import slicer

    if desk.node is not None:
        slicer.mrmlScene.RemoveNode(desk.node)


def delete_image(desk: Desk) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(desk.volumes["ct"])


def close_scene(_desk: Desk) -> None:
    import slicer

    slicer.mrmlScene.Clear(False)


def reload_module(desk: Desk) -> None:
    import slicer

    desk.widget.onReload()
    desk.widget = slicer.modules.TumorSegWidget
    desk.ui = desk.widget.ui
    desk.widget.logic.bench.engineSource = desk.engines
    desk.context.edits.onEdited.connect(lambda: desk.answered.append(None))


MEANWHILE = (click, delete_segmentation, delete_image, close_scene, reload_module)


def assert_usable(desk: Desk) -> None:
    """No action is left, no dialog was shown, and the phantom, made anew, is segmented and corrected."""
    import slicer

    desk.host.wait_until(lambda: not desk.context.tasks.busy, "the panel to be done", PATIENCE)
    desk.host.process_events()
    desk.wait_saved()
    desk.host.raise_error()
    assert not desk.ui.cancelButton.enabled
    assert desk.ui.segmentButton.enabled
    slicer.mrmlScene.Clear(False)
    desk.volumes = load_phantom()
    for role in ("ct", "pet"):
        desk.choose(role, desk.volumes[role])
    assert desk.find().any()
    before = desk.mask()
    desk.start_click((50, 50, 20))
    desk.wait()
    assert (desk.mask() != before).any()
    assert desk.error == ""


@pytest.mark.parametrize("meanwhile", MEANWHILE, ids=lambda each: each.__name__)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_long_action(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, meanwhile: Callable[[Desk], None]
) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    gate = Gate(monkeypatch)
    ACTIONS[action](desk, tmp_path)
    desk.host.wait_until(gate.reached.is_set, "the action to begin")
    assert desk.context.tasks.busy
    meanwhile(desk)
    gate.go.set()
    assert_usable(desk)
    assert len(desk.host.dialogs.shown) == (1 if action == "export" else 0)  # which asked for a file
    assert [path.name for path in tmp_path.iterdir()] in ([], ["tumour.nii.gz"])  # nothing half written


@pytest.mark.parametrize("meanwhile", MEANWHILE, ids=lambda each: each.__name__)
def test_a_download(
    host: Host, site: Site, models: Path, qt: Any, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Desk], None]
) -> None:
    from Testing.slicer.module import FakeEngines

    desk = ModelsDesk(host)
    desk.engines = FakeEngines()
    desk.widget.logic.bench.engineSource = desk.engines
    desk.find()
    host.show(desk.volumes["ct"])
    desk.select(NAME)
    host.dialogs.answer(qt.QMessageBox.Yes)
    gate = Gate(monkeypatch)
    desk.ui.downloadModelButton.click()
    host.wait_until(gate.reached.is_set, "the download to begin")
    meanwhile(desk)
    gate.go.set()
    assert_usable(desk)
    assert len(host.dialogs.shown) == 1
    files = {path.parent.name for path in models.rglob("*") if path.is_file()}
    assert files <= {NAME}  # nothing half downloaded


@pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a script of a POSIX shell")
@pytest.mark.parametrize("meanwhile", MEANWHILE, ids=lambda each: each.__name__)
def test_an_installation(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Desk], None]
) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    shelf = Shelf(tmp_path, monkeypatch)
    running = tmp_path / "running"
    shelf._program.write_text(f"#!/bin/sh\necho $$ > {running}\nexec sleep 600\n")
    packages = desk.context.packages
    packages.found = False
    desk.ui.segmentButton.click()
    desk.ui.installButton.click()
    desk.host.wait_until(lambda: running.exists() and running.read_text().strip(), "pip to run")
    program = packages._program
    meanwhile(desk)
    desk.host.process_events()
    if meanwhile is reload_module:
        assert program.status is not None  # it ended with the panel
    else:
        assert packages.installing
        assert desk.ui.firstUsePage.isVisible()
        desk.ui.cancelButton.click()
        desk.host.wait_until(lambda: not packages.installing, "the installation to end", PATIENCE)
    monkeypatch.undo()
    desk.context.packages.found = True
    desk.ui.notNowButton.click()
    assert_usable(desk)
    assert desk.host.dialogs.shown == []
