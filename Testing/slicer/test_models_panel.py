"""The panel on the test host: models are listed, downloaded from a server on this machine, verified and deleted."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.fakes import tiny_spec, write_spec
from Testing.slicer.desk import Desk
from Testing.slicer.module import TUMORSEG
from Testing.web import Site, serving
from TumorSegLib import ArgumentError, ModelError, catalogue
from TumorSegLib.registry import SPEC_FILE, WEIGHTS_FILE, read_model_folder, sha256_of

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

TINY = {"image_size": 64, "depth": 1, "width": 16, "heads": 2, "global_attention": [0], "channels": 16}
#: The model for boxes that is chosen at first.
NAME = "lite-medsam"


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """Of a tiny SAM with random weights."""
    import torch

    from TumorSegLib.engines.sam import build_sam

    torch.manual_seed(0)
    file = io.BytesIO()
    torch.save(build_sam("SamViT", TINY, "tiny").state_dict(), file)
    return file.getvalue()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's models: none."""
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "models"


@pytest.fixture
def site(checkpoint: bytes, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with the tiny SAM, which is all that is published, under the name of the model for boxes."""
    with serving(checkpoint) as site:
        digest = hashlib.sha256(checkpoint).hexdigest()
        entry = replace(catalogue.CATALOGUE[NAME], sha256=digest, size_bytes=len(checkpoint), source=site.url)
        for module in ("catalogue", "engines.importing"):
            monkeypatch.setattr(f"TumorSegLib.{module}.CATALOGUE", {NAME: entry})
        yield site


@pytest.fixture
def desk(host: Host, site: Site) -> Desk:
    """Its models are those on this computer."""
    desk = Desk(host)
    from TumorSegSlicer.engines import EngineCache

    desk.widget.logic.settings.engineSource = EngineCache()
    return desk


@pytest.fixture
def module(host: Host, models: Path) -> Any:
    """``TumorSegSlicer.models`` without a panel."""
    host.load_module(TUMORSEG, with_panel=False)
    from TumorSegSlicer import models as module

    return module


def lines(desk: Desk) -> list[str]:
    return [desk.ui.modelsList.item(row).text() for row in range(desk.ui.modelsList.count)]


def select(desk: Desk, name: str) -> Any:
    (row,) = [row for row, line in enumerate(lines(desk)) if line.split()[0] == name]
    desk.ui.modelsList.setCurrentRow(row)
    return desk.ui.modelsList.item(row)


def line_of(desk: Desk, name: str) -> str:
    return str(select(desk, name).text())


def model_folder(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(b"weights")
    return write_spec(folder, tiny_spec(name, weights_sha256=sha256_of(folder / WEIGHTS_FILE)))


def draw_box(desk: Desk) -> Any:
    desk.ui.placeBoxButton.click()
    roi = desk.ui.boxSelector.currentNode()
    roi.SetXYZ(desk.ras(34, 34, 16))
    roi.SetRadiusXYZ(24, 24, 24)
    return roi


# What is told of models


def test_the_source_of_the_chosen_model_is_told(desk: Desk) -> None:
    for words in ("Apache-2.0", "median Dice 0.84 on 8 cases (ct+pet+mr_t1)", "trained on Soft-tissue-Sarcoma (TCIA)"):
        assert words in desk.ui.modelLabel.text
    assert "CC BY 3.0" in desk.ui.modelLabel.text


def test_what_a_model_does_not_state_is_said(module: Any) -> None:
    spec = tiny_spec("mine", results={}, training_data=())
    assert module.summary(spec) == "mine 1.2.3, CC-BY-4.0; accuracy not measured; its training data are not stated"
    assert module.source(tiny_spec("mine", training_data=({"name": "noise"},))) == "trained on noise"


def test_the_list_has_models_here_and_elsewhere(desk: Desk, site: Site) -> None:
    assert lines(desk)[:2] == ["sts-auto   auto   1.0.0   Apache-2.0", line_of(desk, "sts-clicks")]
    assert lines(desk)[2:] == [f"{NAME}   Apache-2.0   (not on this computer)"]
    here, elsewhere = select(desk, "sts-auto").toolTip(), select(desk, NAME).toolTip()
    for words in ("Apache-2.0", "median Dice 0.84", "trained on Soft-tissue", "M. Vallieres", "bundled"):
        assert words in here
    for words in ("licence: Apache-2.0", site.url, "sha256: ", "MB"):
        assert words in elsewhere
    assert site.asked == []


def test_what_no_program_can_fetch_is_not_offered(module: Any) -> None:
    absent = [each.name for each in module.listed() if each.path is None]
    assert absent == [NAME, "sam-vit-b", "sam-vit-l", "sam-vit-h"]


# Downloading


def test_a_model_is_downloaded_once_the_user_agrees(
    desk: Desk, site: Site, checkpoint: bytes, models: Path, qt: Any
) -> None:
    desk.press("downloadModelButton")
    assert desk.status == "Select a model in the list first."
    select(desk, NAME)
    assert desk.ui.boxModelSelector.currentText == f"{NAME} (not on this computer)"
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    (dialog,) = desk.host.dialogs.shown
    size, digest = f"{len(checkpoint):,} bytes", hashlib.sha256(checkpoint).hexdigest()
    for words in (str(models), size, "licence: Apache-2.0", f"from: {site.url}", f"sha256: {digest}"):
        assert words in dialog.text
    assert desk.status == f"Model '{NAME}' was downloaded and verified."
    assert line_of(desk, NAME) == f"{NAME}   box   1.0.0   Apache-2.0"
    assert desk.ui.boxModelSelector.currentText == NAME
    assert [path.name for path in models.iterdir() if any(path.iterdir())] == [NAME]
    read_model_folder(models / NAME).verify()
    desk.press("downloadModelButton")
    assert desk.status == f"Model '{NAME}' is on this computer already."
    assert site.asked == [None]


def test_nothing_is_fetched_without_consent(desk: Desk, site: Site, models: Path) -> None:
    select(desk, NAME)
    desk.press("downloadModelButton")
    assert len(desk.host.dialogs.shown) == 1
    assert (site.asked, models.exists(), desk.status) == ([], False, "Nothing was downloaded.")


def test_a_download_is_cancelled_and_goes_on_later(
    desk: Desk, site: Site, checkpoint: bytes, models: Path, qt: Any
) -> None:
    site.stall_after = len(checkpoint) // 2
    select(desk, NAME)
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
    assert "(not on this computer)" in line_of(desk, NAME)
    site.stall_after = None
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    assert site.asked == [None, f"bytes={len(checkpoint) // 2}-"]
    assert line_of(desk, NAME).startswith(f"{NAME}   box")


@pytest.mark.parametrize("fault", ["not there", "another file"])
def test_a_download_that_fails_is_told_and_leaves_nothing(
    desk: Desk, site: Site, models: Path, qt: Any, fault: str
) -> None:
    if fault == "not there":
        site.status = 404
    else:
        site.content = site.content[::-1]
    select(desk, NAME)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    words = {"not there": "the server answered 404", "another file": "its sha256 is "}
    assert words[fault] in desk.host.dialogs.shown[-1].text
    assert [path for path in models.rglob("*") if path.is_file()] == []
    assert "(not on this computer)" in line_of(desk, NAME)
    site.status, site.content = 200, site.content[::-1] if fault == "another file" else site.content
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    assert line_of(desk, NAME).startswith(f"{NAME}   box")


def test_the_progress_of_the_largest_model_fits_a_progress_bar(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = catalogue.CATALOGUE["sam-vit-h"].size_bytes
    told: list[tuple[int, int]] = []

    def fetch(name: str, progress: Any, cancel: Any) -> None:
        progress(size, size)

    monkeypatch.setattr("TumorSegLib.engines.importing.download_model", fetch)
    module.downloadModel("sam-vit-h", lambda done, total: told.append((done, total)), lambda: False)
    assert told == [(2_564_550, 2_564_550)]


# The box asks for its model


def test_segment_in_box_offers_the_download_and_goes_on(desk: Desk, site: Site, qt: Any) -> None:
    draw_box(desk)
    desk.press("boxButton")  # declined
    assert (desk.node, desk.status, site.asked) == (None, "Nothing was downloaded.", [])
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("boxButton")
    assert [dialog.text.count("licence: Apache-2.0") for dialog in desk.host.dialogs.shown] == [1, 1]
    assert desk.status.startswith("Found in the box")
    assert desk.widget.logic.actions.session(desk.node, desk.segment).prompts.items
    desk.press("boxButton")  # not asked again
    assert len(desk.host.dialogs.shown) == 2


def test_a_box_is_not_segmented_when_the_user_went_on_to_another_segment(desk: Desk, site: Site, qt: Any) -> None:
    draw_box(desk)
    desk.press("newSegmentButton")
    first = desk.segment
    desk.press("newSegmentButton")
    second = desk.segment
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.ui.boxButton.click()
    desk.context.setTarget(desk.node, first)
    desk.wait()
    assert desk.status == f"Model '{NAME}' was downloaded and verified."
    sessions = [desk.widget.logic.actions.session(desk.node, segment) for segment in (first, second)]
    assert [len(session.prompts.items) for session in sessions] == [0, 0]


def test_an_engine_from_elsewhere_needs_no_download(host: Host, site: Site) -> None:
    desk = Desk(host)  # its engines are no models on this computer
    draw_box(desk)
    desk.press("boxButton")
    assert desk.status.startswith("Found in the box")
    assert (host.dialogs.shown, site.asked) == ([], [])


def test_a_box_model_that_nobody_publishes_is_an_error(desk: Desk) -> None:
    draw_box(desk)
    desk.context.parameters.boxModel = "lost"
    desk.widget.panel.models.update()
    desk.press("boxButton")
    assert "no model 'lost'" in desk.host.dialogs.shown[-1].text


# Import, verify, delete


def test_models_are_imported_verified_and_deleted(desk: Desk, qt: Any, tmp_path: Path, models: Path) -> None:
    desk.host.dialogs.answer(str(model_folder(tmp_path / "mine", "mine")))
    desk.press("importModelButton")
    assert desk.status == "Model 'mine' was verified and imported."
    assert desk.ui.modelSelector.findData("mine") >= 0
    select(desk, "mine")
    desk.press("verifyModelButton")
    assert desk.status == "Model 'mine' is what it was published as."
    desk.press("deleteModelButton")  # declined
    assert (models / "mine").is_dir()
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("deleteModelButton")
    assert desk.status == "Model 'mine' was deleted."
    assert list(models.iterdir()) == []
    assert desk.ui.modelSelector.findData("mine") < 0


def test_nothing_is_done_without_a_model_or_with_one_elsewhere(desk: Desk) -> None:
    for button in ("verifyModelButton", "deleteModelButton"):
        desk.ui.modelsList.setCurrentRow(-1)
        desk.press(button)
        assert desk.status == "Select a model in the list first."
        select(desk, NAME)
        desk.press(button)
        assert desk.status == f"Model '{NAME}' is not on this computer."
    desk.press("importModelButton")  # no folder chosen
    assert len(desk.host.dialogs.shown) == 1


def test_models_that_ship_stay(desk: Desk, qt: Any) -> None:
    select(desk, "sts-auto")
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("deleteModelButton")
    assert "not among the user's models" in desk.host.dialogs.shown[-1].text
    assert line_of(desk, "sts-auto")


def test_tampered_weights_are_named_and_the_model_is_replaced(desk: Desk, site: Site, models: Path, qt: Any) -> None:
    select(desk, NAME)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    key = ("box", NAME, "cpu", "float32")
    engine = desk.widget.logic.settings.engineSource(*key)
    (models / NAME / WEIGHTS_FILE).write_bytes(b"tampered")
    desk.press("verifyModelButton")
    said = desk.host.dialogs.shown[-1].text
    assert f"model '{NAME}': " in said
    assert "is corrupt or was changed: its sha256 is" in said
    assert line_of(desk, NAME).endswith("(broken)")
    assert said in select(desk, NAME).toolTip()
    desk.host.dialogs.answer(qt.QMessageBox.Yes, qt.QMessageBox.Yes)
    desk.press("deleteModelButton")
    assert "(not on this computer)" in line_of(desk, NAME)
    desk.press("downloadModelButton")
    assert line_of(desk, NAME) == f"{NAME}   box   1.0.0   Apache-2.0"
    assert desk.widget.logic.settings.engineSource(*key) is not engine


def test_a_model_that_was_repaired_is_no_longer_broken(desk: Desk, tmp_path: Path, models: Path) -> None:
    desk.host.dialogs.answer(str(model_folder(tmp_path / "mine", "mine")))
    desk.press("importModelButton")
    for content, mark in ((b"tampered", True), (b"weights", False)):
        (models / "mine" / WEIGHTS_FILE).write_bytes(content)
        select(desk, "mine")
        desk.press("verifyModelButton")
        assert line_of(desk, "mine").endswith("(broken)") is mark


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("description", "model.json cannot be read"),
        ("no description", "model.json cannot be read"),
        ("no weights", "weights.safetensors is missing"),
    ],
)
def test_broken_folders_are_listed_and_deleted(
    host: Host, site: Site, models: Path, qt: Any, fault: str, words: str
) -> None:
    folder = model_folder(models / NAME, NAME)
    if fault == "description":
        (folder / SPEC_FILE).write_text("{")
    else:
        (folder / (SPEC_FILE if fault == "no description" else WEIGHTS_FILE)).unlink()
    desk = Desk(host)
    item = select(desk, NAME)
    assert item.text().endswith("(broken)")
    assert words in item.toolTip()
    desk.press("verifyModelButton")
    assert words in host.dialogs.shown[-1].text
    assert str(folder) in host.dialogs.shown[-1].text
    host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("deleteModelButton")
    assert not folder.exists()
    assert "(not on this computer)" in line_of(desk, NAME)


def test_models_come_and_go_without_the_panel(module: Any, tmp_path: Path, models: Path) -> None:
    source = model_folder(tmp_path / "elsewhere", "mine")
    assert module.importModel(source) == "mine"
    assert [spec.name for spec in module.modelsOfKind("auto")] == ["mine", "sts-auto"]
    module.verifyModel(models / "mine")
    with pytest.raises(ArgumentError, match="there is a model 'mine' already"):
        module.importModel(source)
    module.deleteModel(models / "mine")
    assert [spec.name for spec in module.modelsOfKind("auto")] == ["sts-auto"]
    (source / WEIGHTS_FILE).write_bytes(b"tampered")
    with pytest.raises(ModelError, match="corrupt"):
        module.importModel(source)
    with pytest.raises(ArgumentError, match=r"'\.\./mine' is no name for a model"):
        module.importModel(model_folder(tmp_path / "escaping", "../mine"))
    with pytest.raises(ModelError, match="not among the user's models"):
        module.deleteModel(source)
    assert list(models.iterdir()) == []
