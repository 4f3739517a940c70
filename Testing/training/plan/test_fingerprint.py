"""What a data set holds, and every way in which it may be wrong, each told in a line of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.training.plan.raw_data import write_case, write_raw
from training.data.layout import read_layout
from training.plan.fingerprint import take_fingerprint
from TumorSegLib.errors import ReadError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.resample import resample
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_volume, write_mask, write_volume


def complaints(folder: Path) -> list[str]:
    with pytest.raises(ReadError) as caught:
        take_fingerprint(read_layout(folder))
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"{folder}: {len(lines)} thing")
    return lines


def test_what_a_data_set_holds(tmp_path: Path) -> None:
    found = take_fingerprint(read_layout(write_raw(tmp_path / "raw", "abcd")))
    case = found.cases["b"]
    assert (case.size, case.spacing_mm, case.roles) == ((20, 20, 16), (1.0, 1.0, 2.0), ("ct", "mr_t2"))
    assert case.length_mm == pytest.approx(32)
    assert case.voxels == {1: 400, 2: 400}
    assert case.volumes_ml == {1: [pytest.approx(0.8)], 2: [pytest.approx(0.8)]}
    ct = found.intensities["ct"]
    assert ct.mean == pytest.approx(200, abs=2)
    assert ct.percentiles[0] == pytest.approx(76, abs=6)
    assert ct.percentiles[2] == pytest.approx(324, abs=6)
    assert found.labels == {"left part": 1, "right": 2}
    assert len(found.folds) == 4
    shares = json.loads(json.dumps(found.to_dict()))["label_shares"]
    assert shares["right"] == pytest.approx(1600 / (2 * (16 * 20 * 18) + 2 * (16 * 20 * 20)))


def test_images_on_other_grids_count_as_in_training(new_data: Path) -> None:
    before = take_fingerprint(read_layout(new_data)).intensities
    for path in new_data.glob("*_pet.nii.gz"):
        image = read_volume(path, "pet")
        finer = image.grid.with_spacing((1.5, 1.5, 2.5))
        write_volume(resample(image, finer), path)
    after = take_fingerprint(read_layout(new_data)).intensities
    assert after.keys() == before.keys() == {"ct", "pet"}
    assert after["pet"].percentiles[1] == pytest.approx(before["pet"].percentiles[1], rel=0.1)


def test_parts_count_by_size(data: Path, tmp_path: Path) -> None:
    grid = Grid.from_spacing((6, 6, 6), (1, 1, 1))
    mask = np.zeros(grid.shape, dtype=np.uint8)
    mask[0, 0, :2], mask[3:, 3:, 3:] = 1, 1
    write_mask(Mask(grid, mask), tmp_path / "x_gtv.nii.gz")
    write_volume(Volume(grid, np.ones(grid.shape, np.float32), "ct"), tmp_path / "x_ct.nii.gz")
    for end in ("gtv", "ct"):
        shutil.copy(tmp_path / f"x_{end}.nii.gz", tmp_path / f"y_{end}.nii.gz")
    found = take_fingerprint(read_layout(tmp_path))
    assert found.cases["x"].volumes_ml == {1: [pytest.approx(0.027), pytest.approx(0.002)]}
    assert found.labels == {"tumour": 1}


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "abcdefg")
    write_case(folder, "a", 0, values=(1, 7))
    (folder / "imagesTr" / "b_0001.nii.gz").unlink()
    (folder / "imagesTr" / "c_0002.nii.gz").touch()
    image = read_volume(folder / "imagesTr" / "d_0000.nii.gz", "ct")
    moved = Grid.from_spacing(image.grid.shape, image.grid.spacing, origin=(5.0, 0, 0))
    write_volume(Volume(moved, image.array, "ct"), folder / "imagesTr" / "d_0000.nii.gz")
    path = str(folder / "imagesTr" / "e_0000.nii.gz")
    broken = sitk.ReadImage(path)
    for i in range(3):
        broken[i, 0, 0] = float("nan")
    sitk.WriteImage(broken, path)
    (folder / "labelsTr" / "f.nii.gz").write_bytes(b"no image")
    splits = [{"val": ["a", "b"]}, {"val": ["b", "z"]}]
    (folder / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    lines = complaints(folder)
    for words in (
        "a.nii.gz: has the value 7, which is no label of dataset.json",
        "b_0001.nii.gz: is missing; dataset.json names 2 channels",
        "c_0002.nii.gz: is one channel more than the 2 that dataset.json names",
        "d_0000.nii.gz: its grid",
        "e_0000.nii.gz: ct image has 3 voxels that are NaN or infinite",
        "f.nii.gz",
        "splits_final.json: b must be in one fold, once",
    ):
        assert sum(words in line for line in lines) == 1, words
    assert len(lines) == 7


def test_labels_that_no_case_has_and_folds_without_cases(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "ab", labels={"background": 0, "l": 1, "r": 2, "rare": 3})
    (folder / "splits_final.json").write_text(json.dumps([{"val": ["a"]}, {"val": ["zz"]}]), encoding="utf-8")
    lines = complaints(folder)
    assert [line.strip() for line in lines] == [
        "label 'rare' is in no case; remove it from the labels",
        "case 'zz' is in a fold, but has no contour",
    ]


def test_one_case_cannot_train_and_test(tmp_path: Path) -> None:
    (line,) = complaints(write_raw(tmp_path / "raw", "a"))
    assert line.strip().startswith("all cases are in one fold; at least two are needed")


def test_images_named_as_in_the_decathlon_are_told(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "ab")
    for path in (folder / "imagesTr").glob("*_0001.nii.gz"):
        path.unlink()
    for path in (folder / "imagesTr").glob("*_0000.nii.gz"):
        path.rename(path.with_name(path.name.replace("_0000", "")))
    lines = complaints(folder)
    assert len(lines) == 2
    assert "imagesTr/a.nii.gz: is named as in the decathlon; nnU-Net has one file per channel, a_0000" in lines[0]


def test_notes_are_no_faults(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "abc")
    shutil.copy(folder / "imagesTr" / "a_0000.nii.gz", folder / "imagesTr" / "z_0000.nii.gz")
    write_case(folder, "c", 2, values=(0, 0))
    (folder / "splits_final.json").write_text(json.dumps([{"val": ["a"]}, {"val": ["c"]}]), encoding="utf-8")
    assert take_fingerprint(read_layout(folder)).notes == [
        "case c has no label; it serves as an image without a finding",
        "case z has an image, but no contour; it is left out",
        "b: in no fold, so neither trained nor tested on",
    ]


def test_a_role_that_no_contour_lies_on_cannot_be_planned_for(new_data: Path) -> None:
    for name in "abc":
        (new_data / f"{name}_pet.nii.gz").unlink()
    grid = read_volume(new_data / "d_ct.nii.gz", "ct").grid
    write_mask(Mask(grid, np.zeros(grid.shape, np.uint8)), new_data / "d_gtv.nii.gz")
    write_volume(Volume(grid, np.ones(grid.shape, np.float32), "pet"), new_data / "d_pet.nii.gz")
    assert [line.strip() for line in complaints(new_data)] == ["the images of role 'pet' show no label; remove them"]


def test_our_layout_with_values_that_do_not_count_up(new_data: Path) -> None:
    grid = read_volume(new_data / "a_ct.nii.gz", "ct").grid
    array = np.zeros(grid.shape, np.uint8)
    array[5:8] = 3
    write_mask(Mask(grid, array), new_data / "a_gtv.nii.gz")
    (new_data / "d_ct.nii.gz").unlink()
    assert [line.strip() for line in complaints(new_data)] == [
        "case 'd' has a contour, but no image d_<role>.nii.gz",
        "the contours have the values [1, 3], which do not count up from 1",
    ]
