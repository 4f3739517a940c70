"""The progress bar: on a terminal only, and never in the way of what is printed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from training.config.loader import Configuration
from training.evaluation.automatic import evaluate_folder
from training.loop.progress import progress_bar
from training.loop.train import train
from TumorSegLib.engines.load import load_engine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def shows(self, *texts: str) -> bool:
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())  # without colours and movements of the cursor
        return all(text in plain for text in texts)


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Stands for a terminal on standard error. No fixture: pytest sets standard error anew after those."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    return stream


def test_terminal_shows_title_count_and_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with progress_bar("Counting") as progress:
        progress(2, 5, "a [bold] remark")
    assert terminal.shows("Counting", "2/5", "a [bold] remark")


def test_nothing_in_a_pipe_or_in_the_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with progress_bar("Counting", shown=False) as progress:
        progress(2, 5, "a remark")
    assert terminal.getvalue() == ""
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stderr", pipe)
    with progress_bar("Counting") as progress:
        progress(2, 5, "a remark")
    assert pipe.getvalue() == ""


def test_lines_for_a_file_stay_out_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = open_terminal(monkeypatch)
    with progress_bar("Counting") as progress:
        progress(1, 2, "")
        print("a line of the log")
    assert capsys.readouterr().out == "a line of the log\n"
    assert "a line" not in terminal.getvalue()


def test_training_and_evaluation_show_theirs(
    data: Path, configured: Callable[..., Configuration], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = open_terminal(monkeypatch)
    train(configured("steps = 6", "steps = 2"), data, tmp_path / "run", "cpu", "float32")
    assert terminal.shows("Training", "2/2", "loss ")
    evaluate_folder(load_engine(model, "cpu", "float32"), data, 2, [("ct",), ("ct", "pet")])
    assert terminal.shows("Evaluating", "3/3", "c ct+pet: Dice ")
