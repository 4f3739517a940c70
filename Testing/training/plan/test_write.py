"""From raw data of nnU-Net by ``plan``, ``train``, ``export`` and ``evaluate-auto`` to figures per label."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from Testing.training.plan.raw_data import write_case, write_raw
from training.__main__ import main
from training.config.train import read_configuration
from training.plan.write import write_plan
from TumorSegLib.errors import ArgumentError, ReadError, WriteError


def test_every_decision_has_a_comment_and_the_fingerprint_lies_beside(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "abcd")
    planned = write_plan(folder, tmp_path / "boxes.toml")
    paths = planned.configuration, planned.fingerprint
    assert [path.name for path in paths] == ["boxes.toml", "boxes.fingerprint.json"]
    configuration, text = read_configuration(paths[0]), paths[0].read_text(encoding="utf-8")
    model = configuration.model
    assert (model.name, model.roles, dict(model.labels)) == ("boxes", ("ct", "mr_t2"), {"left part": 1, "right": 2})
    assert model.training_data == ({"name": "Boxes, 4 cases", "licence": "CC BY 4.0", "attribution": "for tests"},)
    assert configuration.data.folder == str(folder)
    for name in ("spacing_mm", "patch", "arguments", "labels", "ct", "mr_t2", "steps", "batch", "test_fold"):
        assert re.search(rf"(?m)^{name} = .* # [\w(]", text), name
    assert json.loads(paths[1].read_text(encoding="utf-8"))["cases"]["a"]["size"] == [18, 20, 16]


def test_images_cropped_around_what_is_sought_are_shown_in_random_windows(tmp_path: Path, new_data: Path) -> None:
    cropped = read_configuration(write_plan(new_data, tmp_path / "cropped.toml", minutes=0.01).configuration)
    assert (cropped.augmentation.window_margin_mm, cropped.augmentation.cut_share) == (5, 0.1)
    (new_data / "patients.json").write_text(json.dumps({"c": {"patient": "x"}}), encoding="utf-8")
    whole = read_configuration(write_plan(new_data, tmp_path / "whole.toml", minutes=0.01).configuration)
    assert (whole.augmentation.window_margin_mm, whole.augmentation.cut_share) == (1000, 0)


def test_minutes_decide_the_steps(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "ab")
    path = write_plan(folder, tmp_path / "short.toml", minutes=0.5).configuration
    found = re.search(r"steps = (\d+) # about \d+ minutes here, ([\d.]+) s each", path.read_text(encoding="utf-8"))
    assert found is not None
    assert int(found[1]) == pytest.approx(30 / float(found[2]), rel=0.2, abs=1)


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("plan.json", {}, "must end in .toml"),
        ("plan.toml", {"memory_gb": 0.0}, "--memory 0 must be above 0"),
        ("plan.toml", {"minutes": -1.0}, "--minutes -1 must be above 0"),
        ("plan.toml", {"memory_gb": 0.2}, "0.2 GB do not suffice"),
    ],
)
def test_impossible_wishes(tmp_path: Path, output: str, options: dict[str, float], words: str) -> None:
    folder = write_raw(tmp_path / "raw", "ab")
    with pytest.raises(ArgumentError, match=re.escape(words)):
        write_plan(folder, tmp_path / output, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_missing_folder_is_told_before_the_data_is_read(tmp_path: Path) -> None:
    output = tmp_path / "plans" / "plan.toml"
    with pytest.raises(WriteError, match=r"plan\.toml: the folder .*plans does not exist"):
        write_plan(tmp_path / "no such data", output)


def test_notes_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_raw(tmp_path / "raw", "abc")
    write_case(folder, "c", 2, values=(0, 0))
    assert main(["plan", str(folder), "--output", str(tmp_path / "plan.toml"), "--minutes", "0.01"]) == 0
    assert "training: note: case c has no label; it serves as an image without" in capsys.readouterr().err


def test_nothing_is_written_for_data_with_a_fault(tmp_path: Path) -> None:
    folder = write_raw(tmp_path / "raw", "ab")
    (folder / "imagesTr" / "a_0001.nii.gz").unlink()
    with pytest.raises(ReadError, match=r"1 thing is wrong:\n  .*a_0001\.nii\.gz: is missing"):
        write_plan(folder, tmp_path / "plan.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_from_raw_data_to_figures_of_each_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, plan = write_raw(tmp_path / "raw"), tmp_path / "boxes.toml"
    assert main(["plan", str(folder), "--output", str(plan)]) == 0
    text = plan.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^steps = .*", "steps = 60", text)
    text = re.sub(r"(?m)^warm_up = .*", "warm_up = 5", text)
    text = re.sub(r"(?m)^arguments = .*", "arguments = { filters = [8, 16, 16] }", text)
    text = re.sub(r"(?m)^checkpoint_every = .*", "checkpoint_every = 30\nvalidate_every = 60", text)
    text = re.sub(r"(?m)^learning_rate = .*", "learning_rate = 1e-2", text)
    plan.write_text(text, encoding="utf-8")
    run, model, report = tmp_path / "run", tmp_path / "boxes", tmp_path / "report.json"
    assert main(["train", str(plan), "--fold", "1", "--run-folder", str(run), "--device", "cpu"]) == 0
    assert "mean dice ct+mr_t2 left part" in capsys.readouterr().out
    assert read_configuration(run / "config.toml").data.test_fold == 1
    assert main(["export", str(run), "--output", str(model)]) == 0
    capsys.readouterr()
    options = ["--data", str(folder), "--fold", "1", "--json", str(report), "--device", "cpu", "--record"]
    assert main(["evaluate-auto", "--model", str(model), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() or line.strip().split("  ")[0] for line in lines[1:4]] == [
        "ct+mr_t2",
        "left part",
        "right",
    ]
    entry = json.loads(report.read_text(encoding="utf-8"))["subsets"]["ct+mr_t2"]
    dice = {name: figures["dice"]["mean"] for name, figures in entry["labels"].items()}
    rows = [row["labels"]["right"]["dice"] for row in entry["cases"]]
    assert dice["right"] == pytest.approx(np.mean(rows))
    assert min(dice.values()) > 0.7, dice
    recorded = json.loads((model / "model.json").read_text(encoding="utf-8"))["results"]
    assert (
        recorded["python -m training evaluate-auto --model boxes --fold 1"]["ct+mr_t2"]["labels"].keys() == dice.keys()
    )
