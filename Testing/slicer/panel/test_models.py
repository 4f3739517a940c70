"""The panel on the test host: models are listed, imported, verified and deleted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.fakes import any_image_spec, tiny_spec, write_spec
from Testing.slicer.models_desk import NAME, ModelsDesk
from Testing.slicer.module import TUMORSEG
from Testing.unit.engines.importers.bundle_cases import LAYOUTS, write_bundle
from Testing.unit.engines.importers.nnunet_cases import write_training
from Testing.web import Site
from TumorSegLib import ArgumentError, ModelError
from TumorSegLib.models.folder import WEIGHTS_FILE, sha256_of
from TumorSegLib.models.spec import SPEC_FILE

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


@pytest.fixture
def desk(host: Host, site: Site) -> ModelsDesk:
    """Nothing is published but the tiny SAM of the site."""
    return ModelsDesk(host)


@pytest.fixture
def module(host: Host, models: Path) -> Any:
    """``TumorSegSlicer.work.models`` without a panel."""
    host.load_module(TUMORSEG, with_panel=False)
    from TumorSegSlicer.work import models as module

    return module


def model_folder(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(b"weights")
    return write_spec(folder, tiny_spec(name, weights_sha256=sha256_of(folder / WEIGHTS_FILE)))


# What is told of models


def test_summary_of_a_model_without_accuracy_and_data(module: Any) -> None:
    spec = tiny_spec("mine", results={}, training_data=())
    assert module.summary(spec) == "mine 1.2.3, CC-BY-4.0; accuracy not measured; training data: not stated"
    assert module.source(tiny_spec("mine", training_data=({"name": "noise"},))) == "training data: noise"


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"made_for": "bone metastases"}, "Bone metastases: CT, PET (mine)"),
        ({"made_for": ""}, "CT, PET (mine)"),
    ],
)
def test_models_are_chosen_by_what_they_are_for(module: Any, about: dict[str, str], words: str) -> None:
    assert module.purpose(tiny_spec("mine", ("ct", "pet"), **about)) == words
    assert module.purpose(any_image_spec("mine", **about)) == (f"{words[:15]} (mine)" if about["made_for"] else "mine")


def test_choices_of_models_say_what_they_are_for(desk: ModelsDesk) -> None:
    offered = {name: getattr(desk.ui, f"{name}ModelSelector") for name in ("clicks", "box")}
    clicks = [offered["clicks"].itemText(row) for row in range(offered["clicks"].count)]
    assert clicks[0] == "automatic, by images and prompt"
    assert "Any lesion in any image (lesion-clicks)" in clicks
    assert offered["clicks"].currentIndex == 0  # which needs no choice


def test_models_list_shows_local_and_published_models(desk: ModelsDesk, site: Site) -> None:
    shipped = [desk.line_of(name) for name in ("lesion-clicks", "sts-auto", "sts-clicks")]
    assert desk.lines()[:3] == shipped
    assert shipped[1] == "sts-auto   auto   1.0.0   Apache-2.0"
    assert desk.lines()[3:] == [f"{NAME}   Apache-2.0   (not on this computer)"]
    here, elsewhere = desk.select("sts-auto").toolTip(), desk.select(NAME).toolTip()
    for words in ("Apache-2.0", "median Dice 0.84", "training data: Soft-tissue", "M. Vallieres", "bundled"):
        assert words in here
    for words in ("licence: Apache-2.0", site.url, "sha256: ", "MB"):
        assert words in elsewhere
    assert site.requests == []


def test_the_list_tells_what_ran_a_model(desk: ModelsDesk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUMORSEG_CACHE", str(tmp_path))
    assert "ran on" not in desk.select("sts-auto").toolTip()
    desk.press("segmentButton")
    info = desk.widget.logic.bench.ran["sts-auto"]
    shown = desk.select("sts-auto").toolTip()
    assert shown.endswith(f"ran on cpu by {info.backend} in {info.precision}; {info['backend_reason']}")
    desk.widget.panel.models.update()
    assert desk.select("sts-auto").toolTip() == shown
    assert "ran on" not in desk.select("sts-clicks").toolTip()


def test_models_that_cannot_be_downloaded_are_not_listed(module: Any) -> None:
    absent = [each.name for each in module.listed() if each.path is None]
    assert absent == [NAME, "sam-vit-b", "sam-vit-l", "sam-vit-h"]


# Import, verify, delete


def test_models_are_imported_verified_and_deleted(desk: ModelsDesk, qt: Any, tmp_path: Path, models: Path) -> None:
    desk.host.dialogs.answer(str(model_folder(tmp_path / "mine", "mine")))
    desk.press("importModelButton")
    assert desk.status == "Model 'mine' was verified and imported."
    assert desk.ui.modelSelector.findData("mine") >= 0
    desk.select("mine")
    desk.press("verifyModelButton")
    assert desk.status == "Model 'mine' is intact: its weights match the checksum."
    desk.press("deleteModelButton")  # declined
    assert (models / "mine").is_dir()
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("deleteModelButton")
    assert desk.status == "Model 'mine' was deleted."
    assert list(models.iterdir()) == []
    assert desk.ui.modelSelector.findData("mine") < 0


def test_trainings_of_nnunet_and_bundles_are_made_models(
    desk: ModelsDesk, qt: Any, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "results"))
    write_training(tmp_path / "results" / "Dataset591_ct_liver_lesions_842subj")
    for folder, words in (
        (write_training(tmp_path / "Dataset003_Liver").parent, "liver"),
        (write_bundle(tmp_path, LAYOUTS["spleen"], name="spleen"), "spleen"),
    ):
        desk.host.dialogs.answer(str(folder))
        desk.press("importModelButton")
        assert desk.status == f"Model '{words}' was made and added."
        assert desk.line_of(words).startswith(f"{words}   auto")
        assert desk.line_of(words).endswith("not stated")
    assert desk.ui.modelSelector.findData("liver") >= 0
    assert desk.line_of("ts-liver-lesions") == "ts-liver-lesions   Apache-2.0   (of TotalSegmentator, can be added)"
    assert "task liver_lesions" in desk.select("ts-liver-lesions").toolTip()
    desk.press("downloadModelButton")
    assert desk.line_of("ts-liver-lesions") == "ts-liver-lesions   auto   1.0.0   Apache-2.0"


def test_a_bundle_that_would_execute_code_is_refused_by_name(desk: ModelsDesk, tmp_path: Path, models: Path) -> None:
    bundle = write_bundle(tmp_path, LAYOUTS["spleen"])
    file = bundle / "configs" / "inference.json"
    file.write_text(file.read_text().replace('"norm": "batch"', '"norm": "$exec(1)"'))
    desk.host.dialogs.answer(str(bundle))
    desk.press("importModelButton")
    assert "norm: '$exec(1)' is code, which is not executed" in desk.error
    assert not models.exists()


def test_model_buttons_need_a_selected_local_model(desk: ModelsDesk) -> None:
    for button in ("verifyModelButton", "deleteModelButton"):
        desk.ui.modelsList.setCurrentRow(-1)
        desk.press(button)
        assert desk.status == "Select a model in the list first."
        desk.select(NAME)
        desk.press(button)
        assert desk.status == f"Model '{NAME}' is not on this computer."
    desk.press("importModelButton")  # no folder chosen
    assert len(desk.host.dialogs.shown) == 1


def test_tampered_weights_are_named_and_the_model_is_replaced(
    desk: ModelsDesk, site: Site, models: Path, qt: Any
) -> None:
    desk.select(NAME)
    desk.host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("downloadModelButton")
    key = ("box", NAME, "cpu", "float32")
    engine = desk.widget.logic.bench.engineSource(*key)
    (models / NAME / WEIGHTS_FILE).write_bytes(b"tampered")
    desk.press("verifyModelButton")
    said = desk.error
    assert f"model '{NAME}': " in said
    assert "is corrupt or was changed: its sha256 is" in said
    assert desk.line_of(NAME).endswith("(broken)")
    assert said in desk.select(NAME).toolTip()
    desk.host.dialogs.answer(qt.QMessageBox.Yes, qt.QMessageBox.Yes)
    desk.press("deleteModelButton")
    assert "(not on this computer)" in desk.line_of(NAME)
    desk.press("downloadModelButton")
    assert desk.line_of(NAME) == f"{NAME}   box   1.0.0   Apache-2.0"
    assert desk.widget.logic.bench.engineSource(*key) is not engine


def test_a_model_that_was_repaired_is_no_longer_broken(desk: ModelsDesk, tmp_path: Path, models: Path) -> None:
    desk.host.dialogs.answer(str(model_folder(tmp_path / "mine", "mine")))
    desk.press("importModelButton")
    for content, mark in ((b"tampered", True), (b"weights", False)):
        (models / "mine" / WEIGHTS_FILE).write_bytes(content)
        desk.select("mine")
        desk.press("verifyModelButton")
        assert desk.line_of("mine").endswith("(broken)") is mark


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
    desk = ModelsDesk(host)
    item = desk.select(NAME)
    assert item.text().endswith("(broken)")
    assert words in item.toolTip()
    desk.press("verifyModelButton")
    assert words in desk.error
    assert str(folder) in desk.error
    host.dialogs.answer(qt.QMessageBox.Yes)
    desk.press("deleteModelButton")
    assert not folder.exists()
    assert "(not on this computer)" in desk.line_of(NAME)


def test_import_verify_and_delete_of_models_by_scripts(module: Any, tmp_path: Path, models: Path) -> None:
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
    with pytest.raises(ArgumentError, match=r"'\.\./mine' is not a valid folder name"):
        module.importModel(model_folder(tmp_path / "escaping", "../mine"))
    with pytest.raises(ModelError, match="not among the user's models"):
        module.deleteModel(source)
    assert list(models.iterdir()) == []
