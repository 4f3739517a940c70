"""The copy in int8 of a model folder: its description, its files, and when it may be used unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from Testing.fakes import tiny_spec
from TumorSegLib.errors import ModelError, WriteError
from TumorSegLib.models.folder import ModelFolder, read_model_folder, write_int8, write_model_folder
from TumorSegLib.models.int8 import Agreement, Int8Copy
from TumorSegLib.models.spec import ModelSpec

GOOD = Agreement(8, 0.997, 0.98, 0.001)
CALIBRATION = {"windows": 3, "cases": ["a", "b"], "source": "cases"}


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    """A folder with weights and a copy."""
    plain = write_model_folder(tmp_path / "m", tiny_spec("m"), partial(Path.write_bytes, data=b"weights"), "# Card\n")
    return write_int8(plain, b"network", b"constants", "nncf 3", calibration=CALIBRATION, held_out=GOOD)


def changed(model: ModelFolder, **values: Any) -> ModelSpec:
    assert model.spec.int8 is not None
    return replace(model.spec, int8=replace(model.spec.int8, **values))


def test_a_copy_is_read_as_it_was_written_beside_weights_and_card(model: ModelFolder) -> None:
    assert read_model_folder(model.path) == model
    assert model.verified_int8() == (b"network", b"constants")
    model.verify()
    assert sorted(file.name for file in model.path.iterdir()) == [
        "MODEL_CARD.md", "int8.bin", "int8.xml", "model.json", "weights.safetensors",
    ]  # fmt: skip
    measured = changed(model, measured={"evaluate": GOOD})
    assert ModelSpec.from_dict(json.loads(json.dumps(measured.to_dict()))) == measured


@pytest.mark.parametrize("name", ["int8.xml", "int8.bin"])
def test_files_that_are_missing_or_not_those_of_the_description_are_refused(model: ModelFolder, name: str) -> None:
    (model.path / name).write_bytes(b"foreign")
    for verify in (model.verify, model.verified_int8):
        with pytest.raises(ModelError, match=rf"{name} is corrupt or was changed: its sha256 is .*, model.json says"):
            verify()
    (model.path / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        model.verify()


def test_a_copy_of_other_weights_is_refused(model: ModelFolder) -> None:
    other = ModelFolder(model.path, replace(model.spec, weights_sha256="1" * 64))
    with pytest.raises(ModelError, match="made from other weights; make it again with: tumorseg models optimise "):
        other.verified_int8()
    with pytest.raises(ModelError, match="has no copy in int8; make one with: tumorseg models optimise "):
        ModelFolder(model.path, replace(model.spec, int8=None)).verified_int8()


def test_new_weights_take_the_copy_out_of_the_folder(model: ModelFolder) -> None:
    again = write_model_folder(model.path, model.spec, partial(Path.write_bytes, data=b"new"))
    assert again.spec.int8 is None
    assert not list(again.path.glob("int8.*"))


def test_a_copy_that_cannot_be_written_changes_nothing(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WriteError, match="No space left on device"):
        write_int8(model, b"other", b"other", "nncf 3", calibration={})
    monkeypatch.undo()
    assert read_model_folder(model.path).verified_int8() == (b"network", b"constants")


@pytest.mark.parametrize(
    ("agreement", "holds"),
    [
        (GOOD, True),
        (Agreement(8, 0.995, 0.5, 0.002), True),
        (Agreement(8, 0.9949, 0.99, 0.0), False),
        (Agreement(8, 1.0, 1.0, 0.0021), False),
        (Agreement(8, 1.0, 1.0, -0.1), True),
        (Agreement(0, 1.0, 1.0, 0.0), False),
        (Agreement(1, 0.998, 0.998, None), True),
        (Agreement(1, 0.9979, 0.9979, None), False),
    ],
)
def test_a_copy_holds_where_masks_agree_and_no_dice_is_lost(
    model: ModelFolder, agreement: Agreement, holds: bool
) -> None:
    assert agreement.holds == holds
    copy = changed(model, measured={"a": GOOD, "b": agreement}).int8
    assert copy is not None
    assert copy.holds == holds
    alone = changed(model, measured={"a": agreement}).int8
    assert alone is not None
    assert alone.holds == (holds and agreement.dice_loss is not None)


def test_a_copy_that_no_test_case_has_shown_to_hold_does_not(model: ModelFolder) -> None:
    assert model.spec.int8 is not None
    assert model.spec.int8.held_out == GOOD
    assert not model.spec.int8.holds
    assert model.spec.int8.doubt == "it was not measured on cases with a reference"


def test_the_measurement_that_keeps_a_copy_from_use_is_named(model: ModelFolder) -> None:
    copy = changed(model, measured={"fold 0": GOOD, "speed": Agreement(1, 0.9897, 0.9897)}).int8
    assert copy is not None
    assert copy.doubt.startswith("speed: cases 1, Dice to the masks of float32 0.9897 ")
    good = changed(model, measured={"fold 0": GOOD}).int8
    assert good is not None
    assert good.doubt == ""


def test_a_copy_without_checksum_is_refused() -> None:
    with pytest.raises(ModelError, match="int8 lacks a checksum"):
        Int8Copy("1" * 64, "", "2" * 64, "nncf 3", {})
