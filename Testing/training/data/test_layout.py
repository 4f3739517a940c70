"""Files and folds of data sets in our layout and in that of nnU-Net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.training.plan.raw_data import write_raw
from training.data.cases import read_case
from training.data.layout import read_folds, read_layout
from TumorSegLib.errors import ReadError


def test_files_of_our_layout(data: Path) -> None:
    layout = read_layout(data)
    assert (list(layout.cases), layout.roles, dict(layout.labels)) == (list("abcd"), ("ct", "pet"), {})
    assert list(layout.files("d").images) == ["ct"]
    assert layout.files("a").labels == data / "a_gtv.nii.gz"


def test_names_with_underscores_and_contours_called_label(tmp_path: Path) -> None:
    for name in ("p_1_ct", "p_1_mr_t1", "p_1_label", "p_1_notes", "p_10_ct", "p_10_gtv", "stray_ct"):
        (tmp_path / f"{name}.nii.gz").touch()
    layout = read_layout(tmp_path)
    assert {case: list(files.images) for case, files in layout.cases.items()} == {
        "p_1": ["ct", "mr_t1"],
        "p_10": ["ct"],
    }
    assert layout.files("p_1").labels.name == "p_1_label.nii.gz"
    assert layout.unlabelled == ("stray",)
    with pytest.raises(ReadError, match="there is no case 'stray' with a contour"):
        layout.files("stray")


def test_files_of_nnunet(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "Dataset001_Boxes", "ab")
    layout = read_layout(folder)
    assert layout.roles == ("ct", "mr_t2")
    assert layout.channels == {"ct": "CT", "mr_t2": "T2"}
    assert layout.labels == {"left part": 1, "right": 2}
    assert layout.about == {"name": "Boxes", "licence": "CC BY 4.0", "reference": "for tests"}
    case = read_case(folder, "a", layout.roles)
    assert set(np.unique(case.reference.array)) == {0, 1, 2}
    assert case.images["ct"].array[case.reference.array == 2].mean() == pytest.approx(300, abs=5)


def test_files_that_macos_puts_beside_others_are_no_cases(tmp_path: Path, new_data: Path) -> None:
    folder = write_raw(tmp_path / "raw", "ab")
    for file in (
        folder / "labelsTr" / "._a.nii.gz",
        folder / "imagesTr" / "._a_0000.nii.gz",
        new_data / "._a_gtv.nii.gz",
    ):
        file.write_bytes(b"no image")
    assert list(read_layout(folder).cases) == ["a", "b"]
    assert list(read_layout(new_data).cases) == list("abcd")
    assert read_layout(folder).unlabelled == read_layout(new_data).unlabelled == ()


def test_a_contour_is_no_image_of_another_case(tmp_path: Path) -> None:
    for name in ("p_ct", "p_gtv", "p_ct_gtv", "p_ct_ct"):
        (tmp_path / f"{name}.nii.gz").touch()
    layout = read_layout(tmp_path)
    assert {case: list(files.images) for case, files in layout.cases.items()} == {"p": ["ct", "ct_ct"], "p_ct": ["ct"]}


def test_what_is_not_stated_stays_so(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "a", name=None, licence=None, license="CC0", reference=7)
    assert read_layout(folder).about == {"name": "raw", "licence": "CC0", "reference": ""}


def test_the_decathlon_names_labels_by_value(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "a", labels={"0": "background", "2": "tumour", "1": "organ"})
    assert read_layout(folder).labels == {"organ": 1, "tumour": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": [2]}}, "'whole' is a region of several values"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "'ignore' of voxels that nobody labelled"),
        ({"labels": {"background": 0, "a": 2}}, "do not count up from 1"),
        ({"labels": {"background": 0, "a": "1"}}, "'a' has the value '1', not a whole number"),
        ({"labels": []}, "labels [] are not"),
        ({"channel_names": {"0": "CT", "2": "T2"}}, "channel_names"),
        ({"channel_names": {}}, "channel_names"),
        ({"file_ending": ".png"}, "file_ending '.png' is not read"),
    ],
)
def test_datasets_that_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder = write_raw(tmp_path / "raw", "a", **changes)
    with pytest.raises(ReadError) as caught:
        read_layout(folder)
    assert str(folder / "dataset.json") in str(caught.value)
    assert words in str(caught.value)


def test_folders_without_cases(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="nothing: is not a folder of data"):
        read_layout(tmp_path / "nothing")
    with pytest.raises(ReadError, match=r"has no case, which is a contour <case>_gtv.nii.gz"):
        read_layout(tmp_path)
    with pytest.raises(ReadError, match=r"has no case, which is a contour labelsTr/<case>.nii.gz"):
        read_layout(write_raw(tmp_path / "raw", ""))


def test_without_a_file_patients_are_dealt_to_five_folds(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "abcdefghijkl")
    folds = read_folds(folder)
    assert sorted(map(len, folds)) == [2, 2, 2, 3, 3]
    assert sorted(name for fold in folds for name in fold) == list("abcdefghijkl")
    assert read_folds(folder) == folds
    patients = {name: {"patient": "one"} for name in "aeh"}
    (folder / "patients.json").write_text(json.dumps(patients), encoding="utf-8")
    assert sum(set("aeh") <= set(fold) for fold in read_folds(folder)) == 1


def test_folds_of_files(tmp_path: Path, new_data: Path) -> None:
    folder = write_raw(tmp_path / "raw", "abc")
    splits = [{"train": ["b", "c"], "val": ["a"]}, {"train": ["a"], "val": ["b", "c"]}]
    (folder / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    assert read_folds(folder) == [["a"], ["b", "c"]]
    (folder / "splits_final.json").write_text(json.dumps({"folds": []}), encoding="utf-8")
    with pytest.raises(ReadError, match=r"splits_final.json: must hold \[\{"):
        read_folds(folder)
    (new_data / "patients.json").write_text(json.dumps({n: {"patient": "x"} for n in "ac"}), encoding="utf-8")
    with pytest.raises(ReadError, match="cases of patient x must be in one fold"):
        read_folds(new_data)
    (new_data / "patients.json").write_text(json.dumps({"a": {"patient": 7}}), encoding="utf-8")
    with pytest.raises(ReadError, match="patient of 'a' is 7, not a name in quotes"):
        read_folds(new_data)
