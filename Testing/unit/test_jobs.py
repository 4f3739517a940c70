"""Progress, cancelling and stage times of a job; the progress bar of the terminal."""

from __future__ import annotations

import io

import pytest

from Testing.terminal import open_terminal
from TumorSegLib.errors import Cancelled
from TumorSegLib.jobs import Job, progress_bar, timed


def test_job_reports_steps_never_more_than_all() -> None:
    seen: list[tuple[int, int]] = []
    job = Job(lambda *step: seen.append(step), total=3)
    job.advance(2)
    job.advance(2)
    job.step(1, 5)
    assert seen == [(2, 3), (3, 3), (1, 5)]
    assert (job.done, job.total) == (1, 5)


def test_job_cancelled_names_the_work_and_the_step() -> None:
    answers = iter([False, True])
    job = Job(cancel=lambda: next(answers), name="segmentation")
    job.check()
    with pytest.raises(Cancelled, match=r"^segmentation was cancelled after 3 of 12 windows; nothing was changed$"):
        job.check("after 3 of 12 windows")
    Job().check()


def test_job_adds_up_the_seconds_of_a_stage_and_a_call_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 11.5, 12.0, 14.0, 20.0, 20.25])
    monkeypatch.setattr("TumorSegLib.jobs.time.perf_counter", lambda: next(clock))
    job = Job()
    for stage in ("prepare", "network", "prepare"):
        job.lap(stage)
    assert job.seconds == {"prepare": 3.5, "network": 0.5}
    assert timed(lambda: "a value") == ("a value", 0.25)


def test_progress_bar_shows_title_share_and_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with progress_bar("Counting") as progress:
        progress(2, 5, "a [bold] remark")
    assert terminal.shows("Counting", " 40 %", "2/5 a [bold] remark")


def test_progress_bar_is_silent_in_a_pipe_and_where_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, pipe = open_terminal(monkeypatch), io.StringIO()
    with progress_bar("Counting", visible=False) as progress:
        progress(2, 5, "a remark")
    monkeypatch.setattr("sys.stderr", pipe)
    with progress_bar("Counting") as progress:
        progress(2, 5)
    assert terminal.getvalue() == pipe.getvalue() == ""


def test_progress_bar_leaves_standard_output_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = open_terminal(monkeypatch)
    with progress_bar("Counting") as progress:
        progress(1, 2)
        print("a line of the log")
    assert capsys.readouterr().out == "a line of the log\n"
    assert "a line" not in terminal.getvalue()
