"""Progress bars of training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from Testing.terminal import open_terminal
from training.config.train import Configuration
from training.evaluation.automatic import evaluate_folder
from training.loop.train import train
from TumorSegLib.engines.load import load_engine


def test_training_and_evaluation_show_progress(
    data: Path, configured: Callable[..., Configuration], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = open_terminal(monkeypatch)
    train(configured("steps = 6", "steps = 2"), data, tmp_path / "run", "cpu", "float32")
    assert terminal.shows("Training", "2/2", "loss ")
    evaluate_folder(load_engine(model, "cpu", "float32"), data, 2, [("ct",), ("ct", "pet")])
    assert terminal.shows("Evaluating", "3/3", "c ct+pet: Dice ")
