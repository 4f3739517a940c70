"""The benchmarks run, on a volume small enough for a test; how fast is not asked here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from Testing.benchmarks import boxes, import_time, sliding_window
from TumorSegLib.registry import list_models


@pytest.mark.slow
def test_speed_compares_the_same_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sliding_window.run("cpu", (48, 160, 160), tmp_path / "speed.json")
    case, half, full = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert case["case"] == "160x160x48"
    assert half["windows"] == full["windows"]
    assert full["skipped"] == 0
    for row in (half, full):
        assert row["dice_in_body"] > 0.98
        assert 0 < row["share_of_peak"] < 1.5
    assert "GFLOP/s" in capsys.readouterr().out


def test_import_time_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_time, "RUNS", 1)
    import_time.run()
    assert "import TumorSegLib" in capsys.readouterr().out


@pytest.mark.slow
def test_boxes_compare_the_same_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if boxes.MODEL not in {model.spec.name for model in list_models()}:
        pytest.skip(f"{boxes.MODEL} is not installed")
    monkeypatch.setattr(boxes, "SLICES", 6)
    boxes.run("cpu", (48, 160, 160))
    first = capsys.readouterr().out.splitlines()[1]
    figures = dict(part.split() for part in first.split(", "))
    assert float(figures["slices"]) == 6
    assert float(figures["dice_to_plain"]) > 0.99
    assert float(figures["share_in_tumour"]) > 0
