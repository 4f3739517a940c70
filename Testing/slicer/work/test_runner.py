"""The runner of actions: order, outcomes, progress, quiet actions, cancelling and closing."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from Testing.slicer.scene import failures, runner
from TumorSegLib import ArgumentError, Cancelled, TumorSegError

LIMIT = 20.0  # seconds; only a test that fails waits so long
Work = Callable[[Any, Any], Any]


class Noted(runner.Action):
    """An action that notes what is called of it."""

    def __init__(self, notes: list[Any], name: str, work: Work, first: Any = None, finish: Any = None) -> None:
        self.notes, self.name, self.function, self.first = notes, name, work, first
        self.finished = finish or (lambda result: result)

    def begin(self) -> Any:
        self.notes.append(f"{self.name} begins")
        first, self.first = self.first, None
        return first

    def work(self, progress: Any, cancel: Any) -> Any:
        return self.function(progress, cancel)

    def finish(self, result: Any) -> Any:
        self.notes.append(f"{self.name} finishes")
        return self.finished(result)

    def fail(self) -> None:
        self.notes.append(f"{self.name} fails")


class Caller:
    """Starts actions and keeps what it hears, and what the actions and the runner tell, in order."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.outcomes: list[tuple[str, Any]] = []
        self.runner = runner.Runner(lambda busy: self.notes.append("busy" if busy else "free"))

    def action(self, name: str, work: Work = lambda _progress, _cancel: "done", **named: Any) -> Noted:
        return Noted(self.notes, name, work, **named)

    def start(self, name: str = "a", work: Work = lambda _progress, _cancel: "done", **named: Any) -> None:
        self.do(self.action(name, work), name, **named)

    def do(self, action: Any, name: str, quiet: bool = False) -> None:
        self.runner.start(
            action,
            lambda result: self.hear(f"{name} done", "result", result),
            lambda failure: self.hear(f"{name} {'stopped' if failure.cancelled else 'failed'}", "error", failure),
            lambda *step: self.notes.append(step),
            quiet,
        )

    def hear(self, note: str, kind: str, value: Any) -> None:
        self.notes.append(note)
        self.outcomes.append((kind, value))

    def wait(self) -> list[tuple[str, Any]]:
        """Polls until there is nothing to do; the outcomes."""
        end = time.monotonic() + LIMIT
        while not self.runner.idle:
            assert time.monotonic() < end, self.notes
            self.runner.poll(0.001)
        return self.outcomes


@pytest.fixture
def caller() -> Iterator[Caller]:
    made = Caller()
    yield made
    assert made.runner.close()


def waiting_for(event: threading.Event, begun: threading.Event | None = None) -> Work:
    """Work that lasts until it is let go; it hears of being cancelled."""

    def work(_progress: Any, cancel: Any) -> str:
        if begun is not None:
            begun.set()
        while not event.wait(0.002):
            if cancel():
                raise Cancelled("stopped by the user")
        return "done"

    return work


def failing(error: BaseException) -> Work:
    def work(_progress: Any, _cancel: Any) -> None:
        raise error

    return work


# Order


def test_actions_are_done_in_order_with_their_work_on_one_other_thread(caller: Caller) -> None:
    for number in range(3):
        caller.start(str(number), lambda _progress, _cancel: threading.get_ident())
    threads = {value for _kind, value in caller.wait()}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    one_by_one = [[f"{n} begins", f"{n} finishes", f"{n} done"] for n in range(3)]
    assert caller.notes == ["busy", *(note for notes in one_by_one for note in notes), "free"]


def test_starting_an_action_does_not_wait_for_its_work(caller: Caller) -> None:
    go = threading.Event()
    caller.start(work=waiting_for(go))
    assert caller.runner.busy
    caller.runner.poll()
    assert caller.outcomes == []
    go.set()
    assert caller.wait() == [("result", "done")]
    assert not caller.runner.busy


def test_an_action_that_is_needed_first_is_finished_before_the_other_is_begun_again(caller: Caller) -> None:
    caller.do(caller.action("click", first=caller.action("brush")), "click")
    assert caller.wait() == [("result", "done")]
    order = ["click begins", "brush begins", "brush finishes", "click begins", "click finishes", "click done"]
    assert caller.notes == ["busy", *order, "free"]
    here = caller.action("click", first=caller.action("brush"))
    caller.notes.clear()
    assert runner.complete(here) == "done"
    assert caller.notes == order[:-1]


def test_where_the_action_needed_first_fails_both_fail(caller: Caller) -> None:
    brush = caller.action("brush", failing(ArgumentError("completed")))
    caller.do(caller.action("click", first=brush), "click")
    caller.wait()
    assert caller.notes == [
        "busy",
        "click begins",
        "brush begins",
        "brush fails",
        "click fails",
        "click failed",
        "free",
    ]


@pytest.mark.parametrize("stage", ["begin", "work", "finish"])
def test_an_action_that_fails_at_any_stage_takes_back_what_it_did(caller: Caller, stage: str) -> None:
    def fails(*_arguments: Any) -> Any:
        raise ArgumentError("wrong")

    action = caller.action("a", finish=fails if stage == "finish" else None)
    if stage != "finish":
        setattr(action, stage, fails)
    caller.do(action, "a")
    ((kind, failure),) = caller.wait()
    assert (kind, failure.message) == ("error", "wrong")
    assert caller.notes[-3:] == ["a fails", "a failed", "free"]
    with pytest.raises(ArgumentError, match="wrong"):
        runner.complete(action)
    assert caller.notes[-1] == "a fails"


def test_an_action_may_be_started_when_another_ends(caller: Caller) -> None:
    caller.runner.start(caller.action("a"), lambda _: caller.start("b"), lambda _: None)
    caller.wait()
    assert caller.notes == ["busy", "a begins", "a finishes", "b begins", "b finishes", "b done", "free"]


# Progress


def test_the_latest_progress_arrives_and_never_after_the_outcome(caller: Caller) -> None:
    reported, go = threading.Event(), threading.Event()

    def work(progress: Any, _cancel: Any) -> str:
        for step in range(1000):
            progress(step + 1, 1000)
        reported.set()
        assert go.wait(LIMIT)
        progress(1, 2)
        progress(2, 2)
        return "done"

    caller.start(work=work)
    assert reported.wait(LIMIT)
    for _ in range(2):
        caller.runner.poll()
    go.set()
    caller.wait()
    assert caller.notes == ["busy", "a begins", (1000, 1000), (2, 2), "a finishes", "a done", "free"]


# Cancelling


def test_cancelling_stops_what_runs_and_what_waits(caller: Caller) -> None:
    begun = threading.Event()
    caller.start("first", waiting_for(threading.Event(), begun))
    caller.start("second")
    assert begun.wait(LIMIT)
    caller.runner.cancel()
    assert [failure.message for _kind, failure in caller.wait()] == ["stopped", "stopped by the user"]
    assert "second begins" not in caller.notes
    caller.start("third")
    assert caller.wait()[2] == ("result", "done")


def test_work_that_could_not_be_stopped_any_more_is_finished(caller: Caller) -> None:
    """The library changes nothing once it has stopped; so what it changed must arrive."""
    begun, go = threading.Event(), threading.Event()

    def work(_progress: Any, _cancel: Any) -> str:
        begun.set()
        assert go.wait(LIMIT)
        return "done"

    caller.start(work=work)
    assert begun.wait(LIMIT)
    caller.runner.cancel()
    go.set()
    assert caller.wait() == [("result", "done")]


def test_abandoned_actions_report_cancelled_and_never_finish(caller: Caller) -> None:
    caller.start("box", waiting_for(threading.Event()))
    caller.start("save", quiet=True)
    caller.runner.abandon()
    assert caller.runner.idle
    assert caller.notes == ["busy", "box begins", "box stopped", "save stopped", "free"]
    caller.start("later")  # though the work of the one before may still be ending
    caller.wait()
    assert caller.notes[5:] == ["busy", "later begins", "later finishes", "later done", "free"]


# Quiet actions


def test_quiet_actions_do_not_count_as_busy(caller: Caller) -> None:
    caller.start("save", quiet=True)
    assert not caller.runner.busy
    assert not caller.runner.idle
    caller.wait()
    assert caller.notes == ["save begins", "save finishes", "save done"]


def test_quiet_actions_are_stopped_by_others(caller: Caller) -> None:
    begun = threading.Event()
    caller.start("embed", waiting_for(threading.Event(), begun), quiet=True)
    assert begun.wait(LIMIT)
    caller.start("save", quiet=True)
    caller.start("click")
    assert caller.runner.busy
    caller.wait()
    order = ["embed begins", "save stopped", "busy", "embed fails", "embed stopped", "click begins"]
    assert caller.notes == [*order, "click finishes", "click done", "free"]


def test_quiet_actions_wait_for_others_and_are_dropped_for_the_next(caller: Caller) -> None:
    go = threading.Event()
    caller.start("click", waiting_for(go))
    caller.start("save", quiet=True)
    caller.start("undo")
    go.set()
    caller.wait()
    order = ["busy", "click begins", "save stopped", "click finishes", "click done"]
    assert caller.notes == [*order, "undo begins", "undo finishes", "undo done", "free"]


# Errors


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ArgumentError("click lies outside"), "click lies outside"),
        (MemoryError(), "There is not enough memory for this"),
        (ModuleNotFoundError("No module named 'monai'", name="monai"), "The Python package monai is missing"),
        (KeyError("tumour"), "did not expect (KeyError): 'tumour'. Details: View > Error Log."),
        (SystemExit(3), "did not expect (SystemExit): 3"),
    ],
)
def test_errors_are_reported_and_the_thread_goes_on(caller: Caller, error: BaseException, message: str) -> None:
    caller.start(work=failing(error))
    caller.start()
    (kind, failure), last = caller.wait()
    assert kind == "error"
    assert message in failure.message
    assert failure.error is error
    assert not failure.cancelled
    assert last == ("result", "done")


def test_details_of_an_error_name_code_but_no_patient() -> None:
    def read(name: str) -> None:
        try:
            raise FileNotFoundError(f"/data/{name}.nii")
        except FileNotFoundError as error:
            raise ArgumentError(f"volume '{name}' is not there") from error

    with pytest.raises(ArgumentError) as raised:
        read("Doe^Jane")
    failure = failures.Failure.of(raised.value)
    assert "Doe^Jane" in failure.message
    assert "Doe" not in failure.details
    for words in ("ArgumentError", "FileNotFoundError", "test_runner.py:", "in read"):
        assert words in failure.details


# The end


def test_closing_cancels_running_actions_and_refuses_new_ones(caller: Caller) -> None:
    begun = threading.Event()
    caller.start("early", waiting_for(threading.Event(), begun))
    caller.start("late")
    assert begun.wait(LIMIT)
    assert caller.runner.close()
    assert [kind for kind, _ in caller.outcomes] == ["error", "error"]
    with pytest.raises(TumorSegError, match="shutting down"):
        caller.start("too late")
    assert caller.runner.close()


def test_work_that_ignores_being_cancelled_does_not_hold_up_closing() -> None:
    go, begun, caller = threading.Event(), threading.Event(), Caller()

    def work(_progress: Any, _cancel: Any) -> None:
        begun.set()
        assert go.wait(LIMIT)

    caller.start(work=work)
    assert begun.wait(LIMIT)
    assert not caller.runner.close(timeoutSeconds=0.05)
    go.set()
    assert caller.runner.close()


def test_nothing_of_an_action_stays_in_memory(caller: Caller) -> None:
    class Images:
        pass

    images = Images()
    gone = weakref.ref(images)
    caller.runner.start(runner.Task(lambda _p, _c, images=images: None), lambda _: None, lambda _: None)
    caller.wait()
    del images
    end = time.monotonic() + LIMIT
    while gone() is not None and time.monotonic() < end:  # the thread may still be leaving the work
        time.sleep(0.005)
    assert gone() is None
