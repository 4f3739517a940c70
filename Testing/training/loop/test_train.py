"""The training loop: it learns, goes on bit for bit where it stopped, and several processes agree."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import training.data.batches
import training.loop.train
from Testing.terminal import open_terminal
from Testing.training.training_runs import CLICKS, Configured, read_log, same
from training.clicks.episodes import Episodes
from training.config.train import read_configuration
from training.data.batches import Samples
from training.data.cases import Case, read_case
from training.evaluation.automatic import evaluate_folder
from training.export import export
from training.loop.checkpoint import CHECKPOINT, CONFIGURATION, LOG, load_checkpoint
from training.loop.train import schedule, train, update_average
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.models.folder import read_model_folder

REPOSITORY = Path(__file__).resolve().parents[3]
SEGRESNET = (
    'network = "ResidualDynUNet"\narguments = { filters = [4, 8, 8] }',
    'network = "SegResNet"\n'
    "arguments = { init_filters = 8, blocks_down = [1, 1], blocks_up = [1], dropout_prob = 0.4 }",
)


def stop_after_first_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    save = training.loop.train.save

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(training.loop.train, "save", save_and_stop)


def test_training_learns_and_writes_configuration_checkpoint_and_log(finished_run: Path) -> None:
    assert {path.name for path in finished_run.iterdir()} == {CONFIGURATION, CHECKPOINT, LOG}
    state = load_checkpoint(finished_run)
    assert (state["step"], state["configuration"]) == (40, (finished_run / CONFIGURATION).read_text(encoding="utf-8"))
    first, last = read_log(finished_run)
    assert (int(first["step"]), int(last["step"])) == (20, 40)
    assert float(last["loss"]) < 0.95 * float(first["loss"])
    assert first["dice ct+pet"] == ""
    assert float(last["dice ct+pet"]) > 0.5


@pytest.mark.parametrize("changes", [(), SEGRESNET, CLICKS], ids=["plain", "dropout", "clicks"])
def test_interrupted_training_goes_on_bit_for_bit(
    data: Path, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...]
) -> None:
    configuration = configured(*changes)
    half = configuration.optimisation.checkpoint_every
    train(configuration, data, tmp_path / "whole", "cpu", "float32")
    with monkeypatch.context() as patch:
        stop_after_first_checkpoint(patch)
        with pytest.raises(KeyboardInterrupt):
            train(configuration, data, tmp_path / "parts", "cpu", "float32")
    assert load_checkpoint(tmp_path / "parts")["step"] == half
    torch.manual_seed(99)  # whatever happened in between
    train(configuration, data, tmp_path / "parts", "cpu", "float32")
    whole, parts = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    assert same(whole, parts)
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "parts")
    assert [row["step"] for row in read_log(tmp_path / "parts")] == [str(half), str(2 * half)]


@pytest.mark.parametrize("changes", [(), CLICKS], ids=["plain", "clicks"])
def test_a_run_out_of_minutes_goes_on_bit_for_bit(
    data: Path, configured: Configured, tmp_path: Path, changes: tuple[str, ...]
) -> None:
    configuration = configured(*changes)
    train(configuration, data, tmp_path / "whole", "cpu", "float32")
    for done in (1, 2):
        train(configuration, data, tmp_path / "parts", "cpu", "float32", minutes=1e-9)
        assert load_checkpoint(tmp_path / "parts")["step"] == done
        assert read_log(tmp_path / "parts")[-1]["step"] == str(done)
    train(configuration, data, tmp_path / "parts", "cpu", "float32", minutes=60)
    assert same(load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts"))


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan])
def test_no_time_is_refused(data: Path, configured: Configured, tmp_path: Path, minutes: float) -> None:
    with pytest.raises(ArgumentError, match=f"--minutes {minutes:g} must be above 0"):
        train(configured(), data, tmp_path, "cpu", "float32", minutes=minutes)
    assert not list(tmp_path.iterdir())


def test_log_has_no_row_twice_after_a_stop_between_log_and_checkpoint(
    data: Path, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.loop.train, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(configured(), data, tmp_path, "cpu", "float32")
    assert [row["step"] for row in read_log(tmp_path)] == ["3"]
    train(configured(), data, tmp_path, "cpu", "float32")
    assert [row["step"] for row in read_log(tmp_path)] == ["3", "6"]


def test_finished_run_is_left_alone(
    data: Path, configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = configured("steps = 6", "steps = 2")
    train(configuration, data, tmp_path / "run", "cpu", "float32")
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    capsys.readouterr()
    train(configuration, data, tmp_path / "run", "cpu", "float32")
    assert "nothing left to do, 2 of 2 steps are done" in capsys.readouterr().out
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert len(read_log(tmp_path / "run")) == 1


def test_a_finished_run_may_become_another_version(data: Path, configured: Configured, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        train(configured("steps = 6", "steps = 1", "1.0.0", version), data, tmp_path / "run", "cpu", "float32")
        folder = export(tmp_path / "run", tmp_path / "model")
        assert read_model_folder(folder).spec.version == version


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        (("test_fold = 2", "test_fold = 1"), "[data] test_fold"),  # case c or d would be both trained and tested on
        (CLICKS, "[model.input], [clicks]"),
    ],
)
def test_a_run_goes_on_with_its_own_configuration_alone(
    data: Path, configured: Configured, tmp_path: Path, changes: tuple[str, ...], differ: str
) -> None:
    train(configured("steps = 6", "steps = 1"), data, tmp_path / "run", "cpu", "float32")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ModelError) as caught:
        train(configured(*changes), data, tmp_path / "run", "cpu", "float32")
    words = f"last.pt was trained with another configuration, which differs in {differ}; choose another --run-folder"
    assert str(caught.value).endswith(words)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_may_go_on_longer_and_save_at_other_times(data: Path, configured: Configured, tmp_path: Path) -> None:
    train(configured("steps = 6", "steps = 1"), data, tmp_path, "cpu", "float32")
    longer = "steps = 6", "steps = 2", "every = 3", "every = 1\nvalidate_every = 2\nworkers = 2", "1.0.0", "1.1.0"
    train(configured(*longer), data, tmp_path, "cpu", "float32")
    assert load_checkpoint(tmp_path)["step"] == 2
    assert read_configuration(tmp_path / CONFIGURATION).optimisation.workers == 2


def spacings(cases: Sequence[Case]) -> set[float]:
    return {round(case.reference.grid.spacing[0], 3) for case in cases}


def test_cases_come_to_the_spacing_of_the_model_unless_held_out(
    data: Path, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.loop.train, "phantom_case", lambda seed, roles: read_case(data, "b", roles))
    spacing = "spacing_mm = [2.0, 2.0, 2.0]", "spacing_mm = [4.0, 4.0, 4.0]"
    phantom = "test_fold = 2", "test_fold = 2\nphantoms = 1"
    source, held_out = training.loop.train._new_source(configured(*spacing, *phantom), data, 0, None)
    assert isinstance(source, Samples)
    kinds = source._pools.cases, source._pools.phantoms, held_out
    assert [spacings(cases) for cases in kinds] == [{4.0}, {4.0}, {2.0}]
    zooms = "mean_rounds = 2.0", 'zooms = { "1" = 3, "2" = 1, "0.5" = 1 }'
    source, held_out = training.loop.train._new_source(configured(*CLICKS, *phantom, *zooms), data, 0, None)
    assert isinstance(source, Episodes)
    coarse = {zoom: (spacings(pools.cases), spacings(pools.phantoms)) for zoom, pools in source._pools.items()}
    assert coarse == {0.5: ({2.0}, {2.0}), 1.0: ({2.0}, {2.0}), 2.0: ({4.0}, {4.0})}
    assert spacings(held_out) == {2.0}


def test_loss_of_nan_stops_before_a_checkpoint(data: Path, configured: Configured, tmp_path: Path) -> None:
    hopeless = configured("learning_rate = 1e-2", "learning_rate = 1e38", "every = 3", "every = 2", "warm_up = 2", "")
    with pytest.raises(ModelError, match="the loss is nan at step 2; a lower learning_rate may help"):
        train(hopeless, data, tmp_path / "run", "cpu", "float32")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("test_fold = 2", "test_fold = 9"), "fold 9 does not exist; there are folds 0 to 2"),
        (("[16, 16, 16]", "[18, 18, 18]"), "ResidualDynUNet cannot take a patch of (18, 18, 18)"),
    ],
)
def test_impossible_training_writes_nothing(
    data: Path, configured: Configured, tmp_path: Path, changes: tuple[str, ...], words: str
) -> None:
    with pytest.raises((ArgumentError, ModelError)) as caught:
        train(configured(*changes), data, tmp_path / "run", "cpu", "float32")
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_no_case_to_train_on_is_refused(new_data: Path, configured: Configured, tmp_path: Path) -> None:
    (new_data / "splits.json").write_text('{"folds": [["a", "b"]]}', encoding="utf-8")
    with pytest.raises(ArgumentError, match="no case is left to train on outside fold 0"):
        train(configured("test_fold = 2", "test_fold = 0"), new_data, tmp_path / "run", "cpu")


def test_learning_rate_schedule() -> None:
    assert [schedule(step, 4, 104) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert schedule(54, 4, 104) == pytest.approx(0.5)
    assert schedule(29, 4, 104) == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert 0 < schedule(103, 4, 104) < 3e-4
    assert schedule(104, 4, 104) == pytest.approx(0)
    assert schedule(0, 0, 1) == 1
    assert schedule(2, 10, 3) == 0.3  # shorter than its warm-up


def test_average_follows_the_weights() -> None:
    network, average = nn.BatchNorm1d(2), nn.BatchNorm1d(2).requires_grad_(False)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(7.0)  # type: ignore[union-attr]
    update_average(average, network, 0.999, step=0)
    torch.testing.assert_close(average.weight, torch.full((2,), 1 + 0.9 * 2))  # a tenth remains of the start
    assert average.running_mean.tolist() == [7.0, 7.0]  # type: ignore[union-attr]
    update_average(average, network, 0.999, step=10**6)
    torch.testing.assert_close(average.weight, torch.full((2,), 2.8 + 0.001 * 0.2))
    update_average(average, network, 0.0, step=10**6)
    torch.testing.assert_close(average.weight, torch.full((2,), 3.0))


def test_training_and_evaluation_show_progress(
    data: Path, configured: Configured, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = open_terminal(monkeypatch)
    train(configured("steps = 6", "steps = 2"), data, tmp_path / "run", "cpu", "float32")
    assert terminal.shows("Training", "2/2", "loss ")
    evaluate_folder(load_engine(model, "cpu", "float32"), data, 2, [("ct",), ("ct", "pet")])
    assert terminal.shows("Evaluating", "3/3", "c ct+pet: Dice ")


@pytest.mark.slow
def test_two_processes_learn_one_network(data: Path, configured: Configured, tmp_path: Path) -> None:
    """The command of one process under torchrun: both end with the same weights, one of them writes."""
    configuration = tmp_path / "tiny.toml"
    configuration.write_text(configured("steps = 6", "steps = 2", "every = 3", "every = 1").text, encoding="utf-8")
    script = tmp_path / "traced.py"
    script.write_text(
        "import os, sys, torch, training.loop.train as loop\n"
        "from training.__main__ import main\n"
        "new = loop._new_state\n"
        "states = []\n"
        "loop._new_state = lambda *a: states.append(new(*a)) or states[0]\n"
        "status = main(sys.argv[2:])\n"
        "torch.save(states[0].state_dict(), os.path.join(sys.argv[1], f'rank{os.environ[\"RANK\"]}.pt'))\n"
        "sys.exit(status)\n",
        encoding="utf-8",
    )
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)),
        *(str(tmp_path), "train", str(configuration), "--data", str(data), "--run-folder", str(tmp_path / "run")),
        *("--device", "cpu", "--precision", "float32", "--threads", "1"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert same(ranks[0]["network"], ranks[1]["network"])
    assert same(ranks[0]["average"], ranks[1]["average"])
    saved = load_checkpoint(tmp_path / "run")
    assert saved["step"] == 2
    assert same(saved["network"], ranks[0]["network"])
    assert [row["step"] for row in read_log(tmp_path / "run")] == ["1", "2"]
    assert done.stdout.count("step 2,") == 1  # one process reports
    alone = configured("steps = 6", "steps = 2", "every = 3", "every = 1")
    train(alone, data, tmp_path / "alone", "cpu", "float32")
    assert not same(load_checkpoint(tmp_path / "alone")["network"], saved["network"])  # both processes' samples count
