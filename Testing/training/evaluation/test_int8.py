"""What a copy in int8 loses is measured on test cases, recorded, and decides whether it is used unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from Testing.fakes import tiny_network, tiny_spec, write_model
from training.__main__ import main
from training.data.cases import read_case
from training.evaluation.int8 import evaluate_int8, format_int8, record_int8
from TumorSegLib.engines.backends.calibration import example_inputs
from TumorSegLib.engines.backends.int8 import quantised
from TumorSegLib.errors import ModelError
from TumorSegLib.models.folder import ModelFolder, read_model_folder, write_int8
from TumorSegLib.models.int8 import Agreement

ROLES = ("ct", "pet")


@pytest.fixture(params=["auto", "clicks"])
def model(request: pytest.FixtureRequest, tmp_path: Path, data: Path) -> ModelFolder:
    """A model with a copy that was calibrated on one case."""
    spec = tiny_spec(kind=request.param, roles=ROLES, optional=ROLES, spacing_mm=(2.0, 2.0, 2.0))
    network, case = tiny_network(spec), read_case(data, "a", ROLES)
    folder = read_model_folder(write_model(tmp_path / "models", spec, network))
    windows = example_inputs(spec, network, case.images, case.tumour.array > 0, 20)
    return write_int8(folder, *quantised(folder.spec, network, windows), "nncf", calibration={})


def test_a_copy_is_measured_beside_float32_for_each_subset_of_roles_and_recorded(
    model: ModelFolder, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate-int8", "--model", str(model.path), "--data", str(data), "--fold", "2"]
    assert main(command) == 0
    assert read_model_folder(model.path).spec.int8 == model.spec.int8
    assert main([*command, "--record"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert [line.split()[0] for line in lines[: len(lines) // 2]] == ["ct+pet", "ct", "pet"]
    copy = read_model_folder(model.path).spec.int8
    assert copy is not None
    ((name, worst),) = copy.measured.items()
    assert name == "python -m training evaluate-int8 --model tiny --fold 2"
    figures = evaluate_int8(model, data, 2)
    assert {roles: each.cases for roles, each in figures.items()} == {"ct+pet": 1, "ct": 2, "pet": 1}
    assert worst.mean == min(each.mean for each in figures.values())
    assert 0.5 < worst.mean < 1
    assert worst.cases == 1
    assert format_int8(figures).splitlines() == lines[: len(lines) // 2]


def test_the_worst_subset_of_roles_is_recorded(model: ModelFolder) -> None:
    figures = {"ct": Agreement(4, 0.999, 0.8, 0.001), "pet": Agreement(3, 0.996, 0.9, -0.002)}
    record_int8(model, "evaluate", figures)
    copy = json.loads((model.path / "model.json").read_text())["int8"]
    assert copy["measured"] == {"evaluate": {"cases": 3, "mean": 0.996, "worst": 0.8, "dice_loss": 0.001}}


def test_a_model_without_a_copy_is_not_measured(model: ModelFolder, data: Path) -> None:
    plain = ModelFolder(model.path, replace(model.spec, int8=None))
    (model.path / "model.json").write_text(json.dumps(plain.spec.to_dict()))
    with pytest.raises(ModelError, match="has no copy in int8"):
        evaluate_int8(plain, data, 2)
    with pytest.raises(ModelError, match="has no copy in int8"):
        record_int8(plain, "evaluate", {"ct": Agreement(1, 1.0, 1.0, 0.0)})
