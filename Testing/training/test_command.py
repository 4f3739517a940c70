"""``python -m training`` as people call it: from cases to a model and its figures, and one clear line for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import training.commands
import training.loop.train
from Testing.fakes import tiny_network, tiny_spec, write_model
from training.__main__ import TRAINING_INTERRUPTED, main
from training.config.train import Configuration, read_configuration
from TumorSegLib.errors import ArgumentError
from TumorSegLib.models.folder import read_model_folder

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def configuration(configured: Callable[..., Configuration], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(configured("steps = 6", "steps = 2", "every = 3", "every = 1").text, encoding="utf-8")
    return path


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, check=False, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_training_export_and_evaluation_from_the_shell(data: Path, configuration: Path, tmp_path: Path) -> None:
    run, model, report = tmp_path / "run", tmp_path / "bundled" / "tiny", tmp_path / "report.json"
    trained = call("train", configuration, "--data", data, "--run", run, "--device", "cpu", "--threads", 1)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert trained.stdout.splitlines()[-1].startswith("step 2, loss ")
    exported = call("export", run, "--output", model)
    assert (exported.returncode, exported.stdout, exported.stderr) == (0, f"wrote {model}\n", "")
    read_model_folder(model).verify()
    options = "--data", data, "--fold", 2, "--json", report, "--mirror", "--device", "cpu"
    evaluated = call("evaluate-auto", "--model", model, *options)
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert [line.split()[:2] for line in evaluated.stdout.splitlines()[1:]] == [
        ["ct+pet", "1"],
        ["ct", "2"],
        ["pet", "1"],
    ]
    values = json.loads(report.read_text(encoding="utf-8"))
    assert [row["case"] for row in values["subsets"]["ct"]["cases"]] == ["c", "d"]
    assert values["weights_sha256"] == read_model_folder(model).spec.weights_sha256
    assert (values["model"], values["version"], values["device"], values["overlap"]) == ("tiny", "1.0.0", "cpu", 0.5)


def test_every_subset_unless_one_is_asked_for(data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate-auto", "--model", str(model), "--data", str(data), "--fold", "0", "--device", "cpu"]
    assert main(arguments) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "roles cases Dice: median mean worst HD95 mm: median NSD: median"
    assert [line.split()[0] for line in lines] == ["ct+pet", "ct", "pet"]
    assert main([*arguments, "--roles", "pet,ct"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["pet+ct"]


def test_undefined_distances_are_shown_and_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights of zero and a bias far below zero find nothing: Dice 0, no distance."""
    spec = tiny_spec(roles=("ct", "pet"), optional=("ct", "pet"), spacing_mm=(2.0, 2.0, 2.0))
    network = tiny_network(spec)
    for parameter in network.parameters():
        parameter.data.fill_(-1.0 if parameter.ndim == 1 else 0.0)
    model, report = write_model(tmp_path, spec, network), tmp_path / "report.json"
    arguments = ["evaluate-auto", "--model", str(model), "--data", str(data), "--roles", "ct", "--json", str(report)]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["ct", "4", "0.000", "0.000", "0.000", "inf", "0.000"]
    summary = json.loads(report.read_text(encoding="utf-8"), parse_constant=pytest.fail)["subsets"]["ct"]["summary"]
    assert summary["hd95_mm"]["median"] is None


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("training: error: ")
    assert captured.out == ""
    return line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "no-such"], "no model 'no-such'"),
        (["--model", "sts-clicks"], "is of kind 'clicks', evaluate-auto needs 'auto'; use evaluate-clicks"),
        (["--json", "report.txt"], "--json report.txt: the name must end in .json"),
        (["--json", "nowhere/report.json"], "--json nowhere/report.json: the folder nowhere does not exist"),
    ],
)
def test_evaluate_auto_options_are_refused(
    data: Path, model: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate-auto", "--model", str(model), "--data", str(data), "--device", "cpu", *options]
    assert main(arguments) == 2
    assert words in one_error(capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["none.toml"], "none.toml: cannot be read: No such file"),
        (["CONFIGURATION", "--threads", "0"], "--threads 0 must be at least 1"),
    ],
)
def test_train_options_are_refused(
    configuration: Path, tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(configuration) if option == "CONFIGURATION" else option for option in options]
    assert main(["train", "--run", str(tmp_path / "run"), *named]) == 2
    assert words in one_error(capsys)
    assert not (tmp_path / "run").exists()


def test_export_writes_where_bundled_models_lie(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training.commands, "__file__", str(tmp_path / "training" / "commands.py"))
    assert main(["export", str(finished_run), "--dtype", "float32"]) == 0
    output = tmp_path / "TumorSegLib" / "bundled" / "tiny"
    assert capsys.readouterr().out == f"wrote {output}\n"
    read_model_folder(output).verify()


def test_each_fold_has_a_run_of_its_own_beside_that_of_the_configuration(
    data: Path, configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.commands, "__file__", str(tmp_path / "training" / "commands.py"))
    command = ["train", str(configuration), "--data", str(data), "--device", "cpu", "--precision", "float32"]
    for options in ([], ["--fold", "0"], ["--fold", "1", "--run-folder", str(tmp_path / "own")]):
        assert main([*command, *options]) == 0
    runs = tmp_path / "training" / "runs" / "tiny", tmp_path / "training" / "runs" / "tiny" / "fold_0", tmp_path / "own"
    assert [read_configuration(run / "config.toml").data.test_fold for run in runs] == [2, 0, 1]


@pytest.mark.parametrize("arguments", [[], ["learn"], ["evaluate-auto"], ["export", "run", "--dtype", "int8"]])
def test_unknown_command_or_option_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_debug_shows_the_traceback_wherever_it_stands(configuration: Path) -> None:
    wrong = ["train", str(configuration), "--threads", "-1"]
    for arguments in (["--debug", *wrong], [*wrong, "--debug"], ["--debug", *wrong, "--debug"]):
        with pytest.raises(ArgumentError, match="--threads -1 must be at least 1"):
            main(arguments)
    assert main(wrong) == 2


def test_interrupted_training_says_that_it_can_go_on_and_does(
    data: Path, configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = training.loop.train.save

    def save_and_interrupt(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    command = ["train", str(configuration), "--data", str(data), "--run-folder", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(training.loop.train, "save", save_and_interrupt)
        assert main([*command, "--device", "cpu"]) == 130
    assert capsys.readouterr().err == f"training: {TRAINING_INTERRUPTED}\n"
    assert main([*command, "--device", "cpu"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["step 2"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep this limit")
def test_training_reports_memory_encoding_and_closed_pipes_as_tumorseg(tmp_path: Path) -> None:
    """Little memory and odd encodings give one line, a closed pipe none."""
    shell = f"""(ulimit -v 1000000; "{sys.executable}" -m training train none.toml); echo $?
        PYTHONIOENCODING=ascii "{sys.executable}" -m training train $'\\u03bc.toml'; echo $?
        "{sys.executable}" -m training --help | true; echo ${{PIPESTATUS[0]}}"""
    run = subprocess.run(["bash", "-c", shell], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    memory, encoding = run.stderr.splitlines()
    assert memory.startswith(
        "training: error: this shell allows 1.02 GB of memory (ulimit -v); training needs at least"
    )
    assert encoding.startswith("training: error: \\u03bc.toml: cannot be read")
    assert run.stdout.split() in (["2", "2", "141"], ["2", "2", "0"])


def test_record_notes_figures_under_the_command_that_repeats_them(data: Path, model: Path) -> None:
    options = ["evaluate-auto", "--model", str(model), "--data", str(data), "--device", "cpu"]
    options += ["--fold", "2", "--roles", "ct"]
    assert main([*options, "--record"]) == 0
    assert main([*options, "--record", "--mirror", "--fold", "0"]) == 0
    results = read_model_folder(model).spec.results
    plain = f"python -m training evaluate-auto --model {model.name} --fold 2 --roles ct"
    assert {plain, f"{plain.replace('--fold 2', '--fold 0')} --mirror"} <= set(results)
    figures = results[plain]["ct"]
    assert figures["cases"] == 2
    assert 0 <= figures["dice"]["worst"] <= figures["dice"]["median"] <= 1
    read_model_folder(model).verify()
