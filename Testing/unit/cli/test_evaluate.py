"""``tumorseg evaluate``: one label and several, and labels that differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.cases.cli_cases import GRID
from TumorSegLib.cli.entry import main
from TumorSegLib.images.volume import Mask
from TumorSegLib.io.images import write_mask


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_evaluate_prints_and_writes_metrics(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = np.zeros(GRID.shape, np.uint8)
    first[5:10, 5:10, 5:10] = 1
    second = np.zeros(GRID.shape, np.uint8)
    second[5:10, 5:10, 5:15] = 2  # any label counts
    write_mask(Mask(GRID, first), "a.nii.gz")
    write_mask(Mask(GRID, second), "b.nii.gz")
    assert main(["evaluate", "a.nii.gz", "b.nii.gz", "--json", "m.json"]) == 0
    assert json.loads((case / "m.json").read_text())["dice"] == pytest.approx(2 / 3)
    assert "0.6667" in capsys.readouterr().out
    assert main(["evaluate", "a.nii.gz", "missing.nii.gz"]) == 2
    assert main(["evaluate", "a.nii.gz", "b.nii.gz", "--json", "no/m.json"]) == 2


def labelled(name: str, first: int, second: int) -> None:
    """A mask with two boxes of 100 and of 50 voxels, each of its own label."""
    array = np.zeros(GRID.shape, np.uint8)
    array[5:10, 5:10, 5:9] = first
    array[12:14, 5:10, 5:10] = second
    write_mask(Mask(GRID, array), name)


def test_labels_are_evaluated_together_and_one_by_one(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled("a.nii.gz", 1, 2)
    labelled("b.nii.gz", 1, 0)
    assert main(["evaluate", "a.nii.gz", "b.nii.gz", "--json", "m.json"]) == 0
    metrics = json.loads((case / "m.json").read_text())
    assert metrics["dice"] == pytest.approx(0.8)
    assert {label: one["dice"] for label, one in metrics["labels"].items()} == {"1": 1, "2": 0}
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split("  ")[-1].strip() == "label 2"
    assert captured.out.splitlines()[1].split() == ["dice", "0.8000", "1.0000", "0.0000"]
    assert captured.err == "note: the prediction has labels 1, 2, the reference 1\n"


def test_swapped_labels_give_a_note(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled("a.nii.gz", 2, 1)
    labelled("b.nii.gz", 1, 2)
    assert main(["evaluate", "a.nii.gz", "b.nii.gz", "--json", "m.json"]) == 0
    assert json.loads((case / "m.json").read_text())["labels"]["1"]["dice"] == 0
    assert capsys.readouterr().err == (
        "note: label 1 of the prediction overlaps label 2 of the reference most; are the labels swapped?\n"
        "note: label 2 of the prediction overlaps label 1 of the reference most; are the labels swapped?\n"
    )
    labelled("c.nii.gz", 1, 2)
    assert main(["evaluate", "b.nii.gz", "c.nii.gz"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[1].split() == ["dice", *["1.0000"] * 3]


def test_different_label_values_give_a_note(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled("a.nii.gz", 1, 1)
    labelled("b.nii.gz", 255, 255)
    assert main(["evaluate", "a.nii.gz", "b.nii.gz", "--json", "m.json"]) == 0
    assert json.loads((case / "m.json").read_text())["labels"] == {}
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split() == ["dice", "1.0000"]
    assert captured.err == "note: the prediction has labels 1, the reference 255\n"
