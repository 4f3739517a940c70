"""Reading cases: folds keep test patients out of training, windows and geometry are right, damage is named."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from Testing.fakes import noise_volume
from training.data.cases import Case, coarsened, default_folder, phantom_case, read_case, training_names
from training.data.layout import read_folds
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_volume, write_volume
from TumorSegLib.phantom.patient import make_phantom

ROLES = ("ct", "pet")


def test_training_never_sees_the_test_fold(data: Path) -> None:
    folds = read_folds(data)
    assert folds == [["a"], ["b"], ["c", "d"]]
    for number, fold in enumerate(folds):
        names = training_names(folds, number)
        assert not set(names) & set(fold)
        assert sorted([*names, *fold]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("fold", [-1, 3])
def test_unknown_fold(fold: int) -> None:
    with pytest.raises(ArgumentError, match=f"fold {fold} does not exist; there are folds 0 to 2"):
        training_names([["a"], ["b"], ["c"]], fold)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ('{"folds": []}', 'must hold {"folds"'),
        ('{"folds": ["ab", "cd"]}', 'must hold {"folds"'),
        ('{"folds": [["a"], [1]]}', "names in quotes"),
        ('{"folds": [["a", "b"], ["b"]]}', "b must be in one fold, once"),
    ],
)
def test_unreadable_splits(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "splits.json").write_text(text, encoding="utf-8")
    with pytest.raises(ReadError) as caught:
        read_folds(tmp_path)
    assert str(tmp_path / "splits.json") in str(caught.value)
    assert words in str(caught.value)


def test_case_has_the_roles_it_has(data: Path) -> None:
    case = read_case(data, "a", ("pet", "mr_t1", "ct"))
    assert sorted(case.images) == ["ct", "pet"]
    assert case.images["pet"].role == "pet"
    assert case.images["ct"].grid == case.reference.grid
    np.testing.assert_array_equal(case.images["ct"].array > 100, case.reference.array == 1)
    assert list(read_case(data, "d", ROLES).images) == ["ct"]


def test_case_without_any_role(data: Path) -> None:
    with pytest.raises(ReadError, match="case 'd' has none of the roles pet, mr_t1"):
        read_case(data, "d", ("pet", "mr_t1"))


def test_case_without_contour(data: Path) -> None:
    with pytest.raises(ReadError, match="there is no case 'e' with a contour"):
        read_case(data, "e", ROLES)


def test_image_on_another_grid_comes_to_the_contours(new_data: Path) -> None:
    ct = read_volume(new_data / "a_ct.nii.gz")
    lower_half = Grid((10, 24, 22), ct.grid.affine)
    write_volume(Volume(lower_half, ct.array[:10], "ct"), new_data / "a_ct.nii.gz")
    image = read_case(new_data, "a", ROLES).images["ct"]
    assert image.grid == ct.grid
    np.testing.assert_allclose(image.array[:10], ct.array[:10], atol=1e-3)
    assert (image.array[11:] == -1000).all()  # beyond a CT lies air


def test_window_comes_from_the_patients_file(data: Path) -> None:
    assert read_case(data, "c", ROLES).jitter_window == ((2, 20), (3, 21), (1, 19))
    assert read_case(data, "a", ROLES).jitter_window == ((0, 22), (0, 24), (0, 20)) == full_box((20, 24, 22))


def test_window_is_the_image_without_a_patients_file(new_data: Path) -> None:
    (new_data / "patients.json").unlink()
    assert read_case(new_data, "c", ROLES).jitter_window == full_box((20, 24, 22))


@pytest.mark.parametrize(
    ("patients", "error", "words"),
    [
        ({"c": {"jitter_window_xyz": [[0, 9], [0, 9]]}}, ReadError, "is not [[i0, i1], [j0, j1], [k0, k1]]"),
        ({"c": {"jitter_window_xyz": [[0, 9], [0, 9], [0, "b"]]}}, ReadError, "is not [[i0, i1]"),
        ({"c": 7}, ReadError, "is not [[i0, i1]"),
        ({"c": {"jitter_window_xyz": [[0, 9], [0, 25], [0, 9]]}}, GeometryError, "j = [0, 25)"),
        ({"c": {"jitter_window_xyz": [[0, 9], [0, 9], [8, 8]]}}, GeometryError, "k = [8, 8)"),
    ],
)
def test_impossible_window(new_data: Path, patients: object, error: type[Exception], words: str) -> None:
    (new_data / "patients.json").write_text(json.dumps(patients), encoding="utf-8")
    with pytest.raises(error) as caught:
        read_case(new_data, "c", ROLES)
    assert "patients.json: jitter_window_xyz of 'c'" in str(caught.value)
    assert words in str(caught.value)


def test_misspelt_jitter_window_is_refused(new_data: Path) -> None:
    window = [[0, 9], [0, 9], [0, 9]]
    (new_data / "patients.json").write_text(json.dumps({"c": {"jitter_window_xzy": window}}), encoding="utf-8")
    with pytest.raises(ReadError, match=r"c: unknown key 'jitter_window_xzy'; did you mean 'jitter_window_xyz'"):
        read_case(new_data, "c", ROLES)


def test_cropped_voxels_stay_where_they_are(data: Path) -> None:
    case = read_case(data, "c", ROLES)
    part = case.cropped(((2, 20), (3, 21), (1, 19)))
    assert part.reference.array.shape == (18, 18, 18)
    assert part.jitter_window == full_box((18, 18, 18))
    assert list(part.images) == list(case.images)
    for whole_image, image in zip(case.images.values(), part.images.values()):
        assert image.grid == part.reference.grid
        np.testing.assert_allclose(image.grid.to_ras((4, 5, 6)), whole_image.grid.to_ras((6, 8, 7)))
        assert image.array[6, 5, 4] == whole_image.array[7, 8, 6]
    np.testing.assert_array_equal(part.reference.array, case.reference.array[1:19, 3:21, 2:20])


def test_cases_not_twice_as_fine_as_the_model_are_left_alone(data: Path) -> None:
    case = read_case(data, "c", ROLES)  # 2 mm
    assert coarsened(case, (2.0, 3.0, 3.9)) is case
    assert coarsened(case, (1.0, 1.0, 1.0)) is case


def test_coarsened_case_averages_images_and_takes_the_majority_of_labels() -> None:
    """From 1 x 1 x 2 mm to 3 x 2 x 2 mm, with last blocks that are not full."""
    grid = Grid.from_spacing((4, 7, 8), (1.0, 1.0, 2.0), (5.0, 6.0, 7.0))
    image, labels = noise_volume(grid), np.zeros(grid.shape, np.uint8)
    labels[0, 0:2, 0:3] = [[0, 2, 2], [2, 2, 0]]  # 4 of 6
    labels[1, 0:2, 0:3] = [[0, 5, 5], [5, 0, 0]]  # 3 of 6: a tie, background
    labels[2, 0:2, 0:3] = [[0, 2, 2], [5, 5, 5]]  # 5 before 2 before background
    labels[3, 6:7, 6:8] = 5  # the last block: its edge counts for what is missing
    part = coarsened(Case("a", {"ct": image}, Mask(grid, labels), ((1, 4), (2, 5), (1, 3))), (3.0, 2.0, 2.0))
    assert part.reference.grid == part.images["ct"].grid
    assert part.reference.grid.shape == (4, 4, 3)
    np.testing.assert_allclose(part.reference.grid.spacing, (3, 2, 2))
    np.testing.assert_allclose(part.reference.grid.to_ras((1, 2, 3)), grid.to_ras((4, 4.5, 3)))
    np.testing.assert_allclose(part.images["ct"].array[2, 1, 1], image.array[2, 2:4, 3:6].mean(), rtol=1e-5)
    expected = np.zeros((4, 4, 3), np.uint8)
    expected[0, 0, 0], expected[2, 0, 0], expected[3, 3, 2] = 2, 5, 5
    np.testing.assert_array_equal(part.reference.array, expected)
    assert part.jitter_window == ((0, 2), (1, 3), (1, 3))
    assert (part.name, list(part.images), part.images["ct"].role) == ("a", ["ct"], "ct")


@pytest.fixture
def _coarse_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = functools.partial(make_phantom, shape=(16, 32, 32), spacing_mm=(6.0, 6.0, 6.0))
    monkeypatch.setattr("training.data.cases.make_phantom", coarse)


@pytest.mark.usefixtures("_coarse_phantoms")
def test_phantoms_have_the_roles_asked_for() -> None:
    case = phantom_case(1, ("pet", "ct", "mr_t2"))
    assert sorted(case.images) == ["ct", "pet"]
    assert case.name == "phantom_001"
    assert case.reference.array.any()
    assert case.jitter_window == full_box(case.reference.grid.shape)


@pytest.mark.usefixtures("_coarse_phantoms")
def test_phantoms_cannot_have_every_role() -> None:
    with pytest.raises(ArgumentError, match="phantoms have ct, pet, mr_t1, none of the roles us, mr_t2"):
        phantom_case(0, ("us", "mr_t2"))


def test_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUMORSEG_DATA", str(tmp_path))
    assert default_folder() == tmp_path / "sts"
    monkeypatch.delenv("TUMORSEG_DATA")
    assert default_folder().parts[-3:] == ("shared", "data", "sts")


@pytest.mark.data
def test_public_patients(data_root: Path) -> None:
    folder = data_root / "sts"
    folds = read_folds(folder)
    assert [len(fold) for fold in folds] == [8] * 5
    case = read_case(folder, folds[0][0], ("ct", "pet", "mr_t1"))
    assert sorted(case.images) == ["ct", "mr_t1", "pet"]
    (i0, i1), (j0, j1), (k0, k1) = case.jitter_window
    outside = case.reference.array.copy()
    outside[k0:k1, j0:j1, i0:i1] = 0
    assert case.jitter_window != full_box(case.reference.grid.shape)
    assert case.reference.array.any()
    assert not outside.any()
    assert coarsened(case, (3.0, 3.0, 3.0)) is case  # 1.95 x 1.95 x 3.27 mm
