"""Trainings of TotalSegmentator: found with their task and licence, made models that turn images as it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.engines.importers.bundle_cases import LAYOUTS, write_bundle
from Testing.unit.engines.importers.nnunet_cases import configuration, plans, write_training
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.importers.folders import import_foreign
from TumorSegLib.engines.importers.nnunet import import_nnunet
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ModelError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.models.foreign import foreign_in
from TumorSegLib.models.totalsegmentator import (
    NOT_STATED,
    OPEN,
    RESTRICTED,
    find_trainings,
    training_of,
    weights_folder,
)

NO_MIRRORING = "nnUNetTrainer_4000epochs_NoMirroring"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of its weights, with two tasks, one of two parts, and a dataset that is not known."""
    folder = tmp_path / "totalsegmentator" / "results"
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(folder))
    for dataset in ("Dataset591_ct_liver_lesions_842subj", "Dataset779_headneck_muscles_part2_492subj"):
        write(folder / dataset)
    write(folder / "Dataset481_tissue_1559subj")
    write(folder / "Dataset999_new")
    return folder


def write(dataset: Path) -> Path:
    """A training of one channel, CT, as TotalSegmentator's."""
    taken = configuration(normalization_schemes=["CTNormalization"], use_mask_for_norm=[False])
    return write_training(
        dataset,
        dataset={"channel_names": {"0": "CT"}},
        described=plans({"3d_fullres": taken}),
        channels=1,
        trainer_name=NO_MIRRORING,
    )


def test_trainings_are_found_with_task_and_licence(weights: Path) -> None:
    found = {each.name: (each.task, each.part, each.parts, each.licence) for each in find_trainings()}
    assert found == {
        "ts-headneck-muscles-2": ("headneck_muscles", 2, 2, OPEN),
        "ts-liver-lesions": ("liver_lesions", 1, 1, OPEN),
        "ts-tissue-types": ("tissue_types", 1, 1, RESTRICTED),
        "ts-new": ("", 1, 1, NOT_STATED),
    }


def test_the_folder_is_where_its_variables_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path))
    assert weights_folder() == tmp_path
    assert find_trainings() == []
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH")
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    assert weights_folder() == tmp_path / "home" / "nnunet" / "results"
    monkeypatch.delenv("TOTALSEG_HOME_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert weights_folder() == tmp_path / ".totalsegmentator" / "nnunet" / "results"


def test_a_copied_dataset_is_known_by_its_name(tmp_path: Path) -> None:
    known = training_of(write(tmp_path / "Dataset291_TotalSegmentator_part1_organs_1559subj"))
    assert known is not None
    assert (known.name, known.title) == (
        "ts-total-1",
        "TotalSegmentator, task total, part 1 of 5 (Dataset291_TotalSegmentator_part1_organs_1559subj)",
    )
    assert training_of(write(tmp_path / "Dataset850_TotalSegMRI_part1_organs_1088subj")) is not None
    for own in ("Dataset291_Own", "Dataset008_MyTotalSeg", "Dataset291_TotalSegments"):  # with a licence of their own
        assert training_of(write(tmp_path / own)) is None


def test_models_of_it_have_its_licence_and_turn_images_as_it_does(weights: Path, models: Path) -> None:
    open_, restricted = (
        import_nnunet(weights / dataset, name).spec
        for name, dataset in (("a", "Dataset591_ct_liver_lesions_842subj"), ("b", "Dataset481_tissue_1559subj"))
    )
    assert (open_.licence, restricted.licence) == (OPEN, RESTRICTED)
    assert (open_.roles, open_.source["task"]) == (("ct",), "liver_lesions")
    taken = open_.nnunet_input
    assert (taken.reorient, taken.mirror_axes) == (True, ())  # the checkpoint names axes, its trainer does not mirror
    own = import_nnunet(write(weights.parent / "Dataset591_Own"), "c").spec
    assert (own.nnunet_input.reorient, own.licence) == (False, NOT_STATED)


def test_an_image_stored_in_another_direction_has_the_same_answer(weights: Path, models: Path) -> None:
    """Canonical orientation: what is asked of an image does not depend on how its voxels are stored."""
    import_nnunet(weights / "Dataset591_ct_liver_lesions_842subj", "lesions")
    engine = load_engine("lesions", "cpu", "float32", "torch", kind="auto")
    rng = np.random.default_rng(0)
    array = rng.normal(60, 80, (12, 20, 24)).astype(np.float32)
    ras = Volume(Grid.from_spacing(array.shape, (1, 1, 2)), array, "ct")
    affine = ras.grid.affine @ np.array([[0, -1, 0, 23], [-1, 0, 0, 19], [0, 0, -1, 11], [0, 0, 0, 1.0]])
    turned_array = np.ascontiguousarray(array.transpose(0, 2, 1)[::-1, ::-1, ::-1])
    turned = Volume(Grid(turned_array.shape, affine), turned_array, "ct")
    first, second = (engine.segment({"ct": volume}) for volume in (ras, turned))
    assert second.mask.grid == turned.grid
    assert len(np.unique(first.mask.array)) > 1
    back = second.mask.array[::-1, ::-1, ::-1].transpose(0, 2, 1)
    assert np.array_equal(back, first.mask.array)


def test_the_list_names_what_can_be_added_and_the_command_adds_it(
    weights: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    line = next(each for each in listed.splitlines() if each.startswith("tumorseg models add ts-liver-lesions "))
    assert f"licence: {RESTRICTED}" in listed
    assert main(line.split()[1:]) == 0
    assert f"labels: liver, tumour; licence: {OPEN}" in capsys.readouterr().out
    assert main(["models", "list"]) == 0
    assert "models add ts-liver-lesions " not in capsys.readouterr().out


def test_folders_are_made_models_by_what_they_hold(weights: Path, tmp_path: Path, models: Path) -> None:
    dataset = weights / "Dataset591_ct_liver_lesions_842subj"
    names = []
    for _ in range(2):
        found = foreign_in(dataset)
        assert found is not None
        names.append(import_foreign(found).spec.name)
    assert names == ["ts-liver-lesions", "ts-liver-lesions-2"]
    own = foreign_in(write(tmp_path / "Dataset003_Liver"))
    assert own is not None
    assert import_foreign(own).spec.name == "liver"
    folder, holding = write_bundle(tmp_path, LAYOUTS["spleen"], name="Spleen_CT"), tmp_path / "downloads"
    assert foreign_in(folder) == folder
    assert import_foreign(folder).spec.name == "spleen_ct"
    holding.mkdir()
    assert foreign_in(holding) is None
    zipped = write_bundle(holding, replace(LAYOUTS["spleen"], zipped=True), name="zipped")
    assert foreign_in(holding) == zipped
    assert import_foreign(zipped).spec.name == "zipped"
    zipped.write_bytes(b"no zip")
    with pytest.raises(ModelError, match="is not a zip"):
        import_foreign(zipped)
