"""The panel on the test host: models are downloaded, from a server on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.models_desk import NAME, ModelsDesk
from Testing.slicer.module import TUMORSEG
from Testing.web import Site
from TumorSegLib.models import catalogue
from TumorSegLib.models.folder import read_model_folder

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


@pytest.fixture
def desk(host: Host, site: Site) -> ModelsDesk:
    """Nothing is published but the tiny SAM of the site."""
    return ModelsDesk(host)


def draw_box(desk: Desk) -> Any:
    desk.context.parameters.boxModel = NAME
    return desk.give_box((34, 34, 16))


def test_a_model_is_downloaded_once_the_user_agrees(
    desk: ModelsDesk, site: Site, checkpoint: bytes, models: Path, qt: Any
) -> None:
    desk.press("downloadModelButton")
    assert desk.status == "Select a model in the list first."
    desk.select(NAME)
    desk.context.parameters.boxModel = NAME
    assert desk.ui.boxModelSelector.currentText == f"{NAME} (not on this computer)"
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    (dialog,) = desk.host.dialogs.shown
    size, digest = f"{len(checkpoint):,} bytes", hashlib.sha256(checkpoint).hexdigest()
    for words in (str(models), size, "licence: Apache-2.0", f"from: {site.url}", f"sha256: {digest}"):
        assert words in dialog.text
    assert desk.status == f"Model '{NAME}' was downloaded and verified."
    assert desk.line_of(NAME) == f"{NAME}   box   1.0.0   Apache-2.0"
    assert desk.ui.boxModelSelector.currentText.endswith(f" ({NAME})")
    assert desk.ui.boxModelSelector.itemData(desk.ui.boxModelSelector.currentIndex) == NAME
    assert [path.name for path in models.iterdir() if any(path.iterdir())] == [NAME]
    read_model_folder(models / NAME).verify()
    desk.press("downloadModelButton")
    assert desk.status == f"Model '{NAME}' is on this computer already."
    assert site.requests == [None]


def test_declined_download_fetches_nothing(desk: ModelsDesk, site: Site, models: Path) -> None:
    desk.select(NAME)
    desk.press("downloadModelButton")
    assert len(desk.host.dialogs.shown) == 1
    assert (site.requests, models.exists(), desk.status) == ([], False, "Nothing was downloaded.")


def test_a_download_is_cancelled_and_goes_on_later(
    desk: ModelsDesk, site: Site, checkpoint: bytes, models: Path, qt: Any
) -> None:
    site.stall_after = len(checkpoint) // 2
    desk.select(NAME)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.ui.downloadModelButton.click()
    desk.host.wait_until(lambda: desk.ui.progressBar.value > 0, "the progress")
    assert desk.ui.progressBar.maximum == len(checkpoint) // 1000
    desk.ui.downloadModelButton.click()  # once more: not asked again
    assert desk.status == f"Model '{NAME}' is being downloaded already."
    desk.ui.cancelButton.click()
    desk.wait()
    assert desk.status == "Stopped; nothing was changed."
    assert len(desk.host.dialogs.shown) == 1
    assert [path.name for path in models.iterdir()] == [".downloads"]
    assert "(not on this computer)" in desk.line_of(NAME)
    site.stall_after = None
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    assert site.requests == [None, f"bytes={len(checkpoint) // 2}-"]
    assert desk.line_of(NAME).startswith(f"{NAME}   box")


@pytest.mark.parametrize("fault", ["not there", "another file"])
def test_failed_download_is_reported_and_leaves_no_files(
    desk: ModelsDesk, site: Site, models: Path, qt: Any, fault: str
) -> None:
    if fault == "not there":
        site.status = 404
    else:
        site.content = site.content[::-1]
    desk.select(NAME)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    words = {"not there": "the server answered 404", "another file": "its sha256 is "}
    assert words[fault] in desk.error
    assert [path for path in models.rglob("*") if path.is_file()] == []
    assert "(not on this computer)" in desk.line_of(NAME)
    site.status, site.content = 200, site.content[::-1] if fault == "another file" else site.content
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    assert desk.line_of(NAME).startswith(f"{NAME}   box")


def test_the_progress_of_the_largest_model_fits_a_progress_bar(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.load_module(TUMORSEG, with_panel=False)
    from TumorSegSlicer.work.models import downloadModel

    size = catalogue.CATALOGUE["sam-vit-h"].size_bytes
    told: list[tuple[int, int]] = []

    def fetch(name: str, progress: Any, cancel: Any) -> None:
        progress(size, size)

    monkeypatch.setattr("TumorSegLib.engines.importers.sam.download_model", fetch)
    downloadModel("sam-vit-h", lambda done, total: told.append((done, total)), lambda: False)
    assert told == [(2_564_550, 2_564_550)]


# The box asks for its model


def test_segment_in_box_offers_the_download_and_goes_on(desk: ModelsDesk, site: Site, qt: Any) -> None:
    draw_box(desk)
    desk.press("boxAgainButton")  # declined
    assert (desk.node, desk.status, site.requests) == (None, "Nothing was downloaded.", [])
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("boxAgainButton")
    assert [dialog.text.count("licence: Apache-2.0") for dialog in desk.host.dialogs.shown] == [1, 1]
    assert desk.status.startswith("Segmented in the box")
    assert desk.widget.logic.bench.open(desk.node, desk.segment).prompts.items
    desk.press("boxAgainButton")  # not asked again
    assert len(desk.host.dialogs.shown) == 2


def test_a_box_is_not_segmented_when_the_user_went_on_to_another_segment(desk: ModelsDesk, site: Site, qt: Any) -> None:
    draw_box(desk)
    desk.press("newSegmentButton")
    first = desk.segment
    desk.press("newSegmentButton")
    second = desk.segment
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.ui.boxAgainButton.click()
    desk.context.selection.setTarget(desk.node, first)
    desk.wait()
    assert desk.status == f"Model '{NAME}' was downloaded and verified."
    sessions = [desk.widget.logic.bench.open(desk.node, segment) for segment in (first, second)]
    assert [len(session.prompts.items) for session in sessions] == [0, 0]


def test_engine_of_a_script_needs_no_download(host: Host, site: Site) -> None:
    desk = Desk(host)  # its engines are no models on this computer
    draw_box(desk)
    desk.press("boxAgainButton")
    assert desk.status.startswith("Segmented in the box")
    assert (host.dialogs.shown, site.requests) == ([], [])


def test_unpublished_box_model_is_an_error(desk: ModelsDesk) -> None:
    draw_box(desk)
    desk.context.parameters.boxModel = "lost"
    desk.widget.panel.models.update()
    desk.press("boxAgainButton")
    assert "no model 'lost'" in desk.error
