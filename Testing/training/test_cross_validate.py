"""A model per fold, each measured on the cases that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.__main__ import main
from training.config.train import Configuration, read_configuration, with_test_fold
from training.cross_validate import cross_validate, format_folds, summarise_folds
from training.loop.checkpoint import load_checkpoint
from training.loop.train import train
from TumorSegLib.errors import ArgumentError
from TumorSegLib.models.folder import read_model_folder

Configured = Callable[..., Configuration]
SHORT = "steps = 6", "steps = 4", "every = 3", "every = 2", "test_fold = 2", "test_fold = 0"


def row(case: str, dice: float, ml: float, error: float = 0.0, distance: float | None = 1.0) -> dict[str, Any]:
    values = {"dice": dice, "nsd": dice, "hd95_mm": distance, "sensitivity": dice, "precision": dice}
    return {"case": case, **values, "relative_volume_error": error, "reference_volume_ml": ml}


def report(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"cases": list(rows)}


def test_every_case_is_measured_once_by_the_model_that_did_not_see_it(
    data: Path, configured: Configured, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    summary = cross_validate(configured(*SHORT), data, run, "cpu", "float32")
    assert summary is not None
    assert [each["case"] for each in summary["cases"]] == ["a", "b", "c", "d"]  # d without PET
    assert [read_configuration(run / f"fold_{n}" / "config.toml").data.test_fold for n in range(3)] == [0, 1, 2]
    sums = {read_model_folder(run / f"fold_{n}" / "model").spec.weights_sha256 for n in range(3)}
    assert len(sums) == 3
    assert json.loads((run / "cross_validation.json").read_text(encoding="utf-8")) == summary
    figures = summary["labels"]["tumour"]
    assert [figures[size]["cases"] for size in ("all", "small", "medium", "large")] == [4, 2, 1, 1]
    mean = sum(each["dice"] for each in summary["cases"]) / 4
    assert figures["all"]["dice"] == pytest.approx(mean)


def test_it_goes_on_where_it_stopped(data: Path, configured: Configured, tmp_path: Path) -> None:
    run, configuration = tmp_path / "run", configured(*SHORT)
    assert cross_validate(configuration, data, run, "cpu", "float32", minutes=1e-6) is None
    assert not (run / "cross_validation.json").exists()
    train(with_test_fold(configuration, 0), data, run / "fold_0", "cpu", "float32", minutes=1e-6)
    assert load_checkpoint(run / "fold_0")["step"] == 1
    first = cross_validate(configuration, data, run, "cpu", "float32")
    assert first is not None
    whole = cross_validate(configuration, data, tmp_path / "whole", "cpu", "float32")
    assert whole is not None
    assert first["labels"] == whole["labels"]


def test_figures_by_label_and_size() -> None:
    rows = [row(name, dice, ml, error) for name, dice, ml, error in zip("abcdef", (0.1, 0.3, 0.5, 0.7, 0.8, 1.0),
            (1.0, 2.0, 10.0, 20.0, 100.0, 200.0), (-0.5, -0.5, 0.1, 0.1, 0.0, 0.2))]  # fmt: skip
    figures = summarise_folds([report(*rows[:4]), report(*rows[4:])], {"tumour": 1})["labels"]["tumour"]
    assert figures["all"]["dice"] == pytest.approx(3.4 / 6)
    assert figures["all"]["relative_volume_error"] == pytest.approx(0.05)
    assert [figures[size]["dice"] for size in ("small", "medium", "large")] == pytest.approx([0.2, 0.6, 0.9])
    assert [figures[size]["volumes_ml"] for size in ("small", "large")] == [[1.0, 2.0], [100.0, 200.0]]
    lines = format_folds({"labels": {"tumour": figures}}).splitlines()
    assert lines[2].split() == ["small", "1", "to", "2", "2", *["0.200"] * 2, "1.0", *["0.200"] * 2, "-50.0%"]


def test_labels_apart_and_distances_of_what_was_missed() -> None:
    both = {"case": "a", "labels": {"organ": row("", 0.9, 50.0), "tumour": row("", 0.0, 2.0, -1.0, None)}}
    summary = summarise_folds([report(both)], {"organ": 1, "tumour": 2})["labels"]
    assert (summary["organ"]["all"]["dice"], summary["tumour"]["all"]["dice"]) == (0.9, 0.0)
    assert summary["tumour"]["all"]["hd95_mm"] is None
    assert "inf" in format_folds({"labels": summary})


def test_models_that_cannot_be_cross_validated(
    data: Path, clicking: Configured, configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArgumentError, match="for models of kind 'auto'; this one's is 'clicks'"):
        cross_validate(clicking(), data, tmp_path / "run")
    path = tmp_path / "tiny.toml"
    path.write_text(configured().text, encoding="utf-8")
    command = ["cross-validate", str(path), "--data", str(data), "--run-folder", str(tmp_path / "run")]
    assert main([*command, "--minutes", "0"]) != 0
    assert "--minutes 0 must be above 0" in capsys.readouterr().err
    assert main([*command[:2], "--data", str(tmp_path / "none"), "--run-folder", str(tmp_path / "run")]) != 0
    assert "is not a folder of data" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
