"""``tumorseg models optimise`` on tiny networks, from the folder of cases to the copy that an engine runs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import noise_volume, tiny_spec, write_model
from TumorSegLib import load_engine
from TumorSegLib.cli import optimise
from TumorSegLib.cli.entry import main
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.io.images import write_mask, write_volume
from TumorSegLib.models.folder import read_model_folder
from TumorSegLib.models.int8 import Int8Copy

GRID = Grid.from_spacing((24, 24, 24), (1, 1, 1))
ROLES = ("ct", "pet")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder of five cases, of which fold 0 has one, and the last has no PET."""
    folder = tmp_path / "cases"
    folder.mkdir()
    tumour = np.zeros(GRID.shape, dtype=np.uint8)
    tumour[8:14, 9:15, 10:16] = 1
    for seed, name in enumerate("abcde"):
        for role in ROLES[: 1 if name == "e" else 2]:
            write_volume(noise_volume(GRID, role, seed), folder / f"{name}_{role}.nii.gz")
        write_mask(Mask(GRID, tumour), folder / f"{name}_gtv.nii.gz")
    (folder / "splits.json").write_text(json.dumps({"folds": [["b"], ["a", "c", "d", "e"]]}))
    return folder


@pytest.fixture(autouse=True)
def _few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimise, "WINDOWS", 24)
    monkeypatch.setattr(optimise, "CLICKS", 3)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path, tiny_spec(roles=ROLES, optional=("pet",)))


def optimised(model: Path, cases: Path, *more: str) -> int:
    return main(["models", "optimise", str(model), "--calibrate", str(cases), *more])


def copy_of(model: Path) -> Int8Copy:
    copy = read_model_folder(model).spec.int8
    assert copy is not None
    return copy


@pytest.mark.parametrize("kind", ["auto", "clicks"])
def test_a_copy_is_made_measured_and_written_beside_the_weights(
    tmp_path: Path, cases: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path, tiny_spec(kind, roles=ROLES, optional=("pet",), kind=kind))
    before = (model / "weights.safetensors").read_bytes()
    assert optimised(model, cases) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    copy = copy_of(model)
    assert copy.calibration["cases"] == ["a", "c", "d"]
    assert (copy.calibration["source"], copy.calibration["ends"] in (1, 2)) == ("cases", True)
    assert copy.calibration["windows"] > 10
    assert copy.held_out is not None
    assert (copy.held_out.cases, copy.measured) == (1, {})
    assert 0.5 < copy.held_out.mean <= 1
    assert copy.held_out.dice_loss is not None
    assert not copy.holds
    assert f"held out: {copy.held_out}" in printed.out
    assert (model / "weights.safetensors").read_bytes() == before
    assert load_engine(model, "cpu", "int8").info.precision == "int8"
    assert main(["models", "verify", str(model)]) == 0
    assert "; so does the copy in int8" in capsys.readouterr().out


def test_without_a_folder_synthetic_cases_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path, tiny_spec(roles=ROLES, spacing_mm=(6.0, 6.0, 6.0)))
    small = optimise.make_phantom
    monkeypatch.setattr(
        optimise, "make_phantom", lambda seed, **_: small(seed, shape=(24, 32, 32), spacing_mm=(6.0, 6.0, 6.0))
    )
    monkeypatch.setattr(optimise, "PHANTOMS", 2)
    assert main(["models", "optimise", str(model)]) == 0
    assert copy_of(model).calibration["source"] == "phantoms, by seed"
    assert copy_of(model).calibration["cases"] == ["0"]


@pytest.mark.parametrize(("least", "tried"), [(0.0, [1]), (1.1, [1, 2])])
def test_more_stays_float_where_masks_agree_too_little(
    model: Path,
    cases: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    least: float,
    tried: list[int],
) -> None:
    monkeypatch.setattr(optimise, "LEAST_AGREEMENT", least)
    assert optimised(model, cases) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("held out, ")]
    assert [int(line.split()[2]) for line in lines] == tried
    held_out, means = copy_of(model).held_out, [float(line.partition("float32 ")[2].split()[0]) for line in lines]
    assert held_out is not None
    assert f"{held_out.mean:.4f}" == f"{max(means):.4f}"


def test_an_image_that_is_missing_may_be_optional(tmp_path: Path, cases: Path) -> None:
    spec = tiny_spec(roles=ROLES, optional=("pet",))
    assert [(place.name, place.roles) for place in optimise.find_cases(str(cases), spec)] == [
        ("a", ROLES), ("c", ROLES), ("d", ROLES), ("e", ("ct",)),
    ]  # fmt: skip
    assert [place.name for place in optimise.find_cases(str(cases), tiny_spec(roles=ROLES))] == ["a", "c", "d"]


def refused(capsys: pytest.CaptureFixture[str], model: Path, cases: Path) -> str:
    """The message; the model's folder stays as it was."""
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    assert optimised(model, cases) == 2
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before
    return capsys.readouterr().err


def test_a_folder_of_cases_that_is_none_is_refused(
    model: Path, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"--calibrate {tmp_path / 'none'}: is not a folder" in refused(capsys, model, tmp_path / "none")
    assert "is not a folder" in refused(capsys, model, cases / "a_ct.nii.gz")
    (tmp_path / "empty").mkdir()
    assert "0 cases for 'tiny', at least 2 are needed: files <case>_<role>.nii.gz of the roles ct, pet" in refused(
        capsys, model, tmp_path / "empty"
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"folds": []}', '{"folds": 3}'])
def test_damaged_splits_are_refused(model: Path, cases: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (cases / "splits.json").write_text(content)
    assert "splits.json: must hold" in refused(capsys, model, cases)


def test_a_damaged_image_is_refused_by_name(model: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cases / "c_ct.nii.gz").write_bytes(b"")
    assert "c_ct.nii.gz" in refused(capsys, model, cases)


def test_a_click_model_needs_contours(tmp_path: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path, tiny_spec(roles=ROLES, optional=("pet",), kind="clicks"))
    for file in cases.glob("*_gtv.nii.gz"):
        file.unlink()
    assert "is for clicks, and a case has no contour to click on" in refused(capsys, model, cases)


def test_without_contours_the_loss_of_dice_is_not_measured(model: Path, cases: Path) -> None:
    for file in cases.glob("*_gtv.nii.gz"):
        file.unlink()
    assert optimised(model, cases) == 0
    held_out = copy_of(model).held_out
    assert held_out is not None
    assert held_out.dice_loss is None
    assert "loss of Dice to the reference not measured" in str(held_out)


def test_a_box_model_is_refused(tmp_path: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from Testing.fakes import write_spec

    model = write_spec(tmp_path / "boxes", tiny_spec("boxes", kind="box", network="SamViT"))
    assert "'boxes' is for boxes; only models whose images have certain roles" in refused(capsys, model, cases)


def test_a_tampered_model_is_refused(model: Path, cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (model / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    assert "is corrupt or was changed" in refused(capsys, model, cases)


def test_a_read_only_folder_is_refused_before_the_work(
    model: Path, cases: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != model and access(path, mode))  # as root may
    assert f"{model}: int8 cannot be written, {model} is not writable" in refused(capsys, model, cases)


@pytest.mark.parametrize("package", ["nncf", "openvino"])
def test_a_package_that_is_missing_is_named(
    model: Path, cases: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'tumorseg[export]'" in refused(capsys, model, cases)


def test_a_copy_is_made_again_also_in_place_of_a_damaged_one(tmp_path: Path, model: Path, cases: Path) -> None:
    assert optimised(model, cases) == 0
    first: Any = copy_of(model)
    assert optimised(model, cases) == 0
    assert copy_of(model).calibration == first.calibration
    (model / "int8.xml").unlink()
    assert optimised(model, cases) == 0
    read_model_folder(model).verify()
    moved = Path(shutil.move(model, tmp_path / "moved"))
    assert read_model_folder(moved).verified_int8()
