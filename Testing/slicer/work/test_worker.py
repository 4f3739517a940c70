"""The worker: order, outcomes, progress, cancelling and closing; the scheduler stands for the GUI thread."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from Testing.fakes import BallEngine
from Testing.slicer.scene import worker as module
from Testing.unit.sessions import IMAGES
from TumorSegLib import ArgumentError, Cancelled, Click, Session, TumorSegError

Failure, Mailbox, Worker = module.Failure, module.Mailbox, module.Worker
LIMIT = 20.0  # seconds; only a test that fails waits so long


class Caller:
    """What a panel does: submits tasks and keeps what it hears, with the thread it heard it on."""

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.worker = Worker(self.mailbox)
        self.heard: list[tuple[str, Any]] = []
        self.threads: set[int] = set()

    def submit(self, task: Callable[..., Any], name: str = "") -> None:
        self.worker.submit(
            task, self.keep(f"{name}result"), self.keep(f"{name}error"), lambda *step: self.keep("progress")(step)
        )

    def keep(self, kind: str) -> Callable[[Any], None]:
        def hear(value: Any) -> None:
            self.heard.append((kind, value))
            self.threads.add(threading.get_ident())

        return hear

    def wait(self, count: int = 1) -> list[tuple[str, Any]]:
        """Delivers until so many outcomes, not reports of progress, have come."""
        end = time.monotonic() + LIMIT
        while sum(kind != "progress" for kind, _ in self.heard) < count:
            assert time.monotonic() < end, f"heard only {self.heard}"
            self.mailbox.deliver(0.001)
        return self.heard


@pytest.fixture
def caller() -> Iterator[Caller]:
    made = Caller()
    yield made
    assert made.worker.close()


def waits_for(event: threading.Event) -> Callable[..., str]:
    def task(progress: Any, cancel: Any) -> str:
        assert event.wait(LIMIT)
        return "done"

    return task


def until_cancelled(progress: Any, cancel: Any) -> None:
    while not cancel():
        time.sleep(0.005)
    raise Cancelled("stopped by the user")


def test_tasks_are_done_in_order_on_one_other_thread_and_reported_on_this_one(caller: Caller) -> None:
    for number in range(5):
        caller.submit(lambda progress, cancel, number=number: (number, threading.get_ident()))
    heard = caller.wait(5)
    assert [kind for kind, _ in heard] == ["result"] * 5
    assert [value[0] for _, value in heard] == list(range(5))
    (thread,) = {value[1] for _, value in heard}
    assert thread != threading.get_ident()
    assert caller.threads == {threading.get_ident()}


def test_nobody_waits_for_a_task(caller: Caller) -> None:
    release = threading.Event()
    caller.submit(waits_for(release))
    assert caller.worker.busy
    assert caller.mailbox.deliver() == 0
    release.set()
    assert caller.wait() == [("result", "done")]
    assert not caller.worker.busy


def test_the_latest_progress_arrives_and_never_after_the_outcome(caller: Caller) -> None:
    reported = threading.Event()
    release = threading.Event()

    def task(progress: Any, cancel: Any) -> str:
        for step in range(1000):
            progress(step + 1, 1000)
        reported.set()
        assert release.wait(LIMIT)
        progress(1, 2)
        progress(2, 2)
        return "done"

    caller.submit(task)
    assert reported.wait(LIMIT)
    assert caller.mailbox.deliver() == 1
    assert caller.heard == [("progress", (1000, 1000))]
    release.set()
    caller.wait()
    assert caller.heard[1:] == [("progress", (2, 2)), ("result", "done")]
    assert caller.mailbox.deliver() == 0


def test_a_task_whose_progress_nobody_wants(caller: Caller) -> None:
    caller.worker.submit(lambda progress, cancel: progress(1, 2) or "done", caller.keep("result"), caller.keep("error"))
    assert caller.wait() == [("result", "done")]


def test_cancelling_stops_what_runs_and_what_waits(caller: Caller) -> None:
    running = threading.Event()

    def task(progress: Any, cancel: Any) -> None:
        running.set()
        until_cancelled(progress, cancel)

    caller.submit(task, "first ")
    caller.submit(lambda progress, cancel: "never", "second ")
    assert running.wait(LIMIT)
    caller.worker.cancel()
    heard = caller.wait(2)
    assert [kind for kind, _ in heard] == ["first error", "second error"]
    assert [failure.cancelled for _, failure in heard] == [True, True]
    assert [failure.message for _, failure in heard] == ["stopped by the user", "stopped before it began"]
    caller.submit(lambda progress, cancel: "on we go")
    assert caller.wait(3)[2] == ("result", "on we go")


def test_what_was_done_before_the_cancelling_is_not_lost(caller: Caller) -> None:
    """The library changes nothing once it has stopped; so what it changed must arrive."""
    release = threading.Event()
    caller.submit(waits_for(release))
    caller.worker.cancel()
    release.set()
    assert caller.wait() in ([("result", "done")], [("error", caller.heard[0][1])])
    if caller.heard[0][0] == "error":  # it had not begun
        assert caller.heard[0][1].message == "stopped before it began"


def test_cancelling_a_session_leaves_it_as_it_was(caller: Caller) -> None:
    session = Session(IMAGES, clicks=BallEngine())
    session.add_click(Click((4, 4, 4)))
    before, entered = session.mask.array, threading.Event()

    def asked(cancel: Any) -> bool:
        entered.set()
        while not cancel():
            time.sleep(0.005)
        return True

    caller.submit(lambda progress, cancel: session.add_click(Click((7, 7, 7)), cancel=lambda: asked(cancel)))
    assert entered.wait(LIMIT)
    caller.worker.cancel()
    ((kind, failure),) = caller.wait()
    assert (kind, failure.cancelled) == ("error", True)
    assert (session.mask.array == before).all()
    assert len(session.prompts) == 1


def failing(error: BaseException) -> Callable[..., None]:
    def task(progress: Any, cancel: Any) -> None:
        raise error

    return task


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
def test_errors_become_words_and_the_thread_lives_on(caller: Caller, error: BaseException, message: str) -> None:
    caller.submit(failing(error))
    caller.submit(lambda progress, cancel: "alive")
    (kind, failure), last = caller.wait(2)
    assert kind == "error"
    assert message in failure.message
    assert failure.error is error
    assert not failure.cancelled
    assert last == ("result", "alive")


def test_details_tell_where_but_not_about_whom() -> None:
    def read(name: str) -> None:
        try:
            raise FileNotFoundError(f"/data/{name}.nii")
        except FileNotFoundError as error:
            raise ArgumentError(f"volume '{name}' is not there") from error

    with pytest.raises(ArgumentError) as raised:
        read("Doe^Jane")
    failure = Failure.of(raised.value)
    assert "Doe^Jane" in failure.message
    assert "Doe" not in failure.details
    assert "ArgumentError" in failure.details
    assert "FileNotFoundError" in failure.details
    assert "test_worker.py:" in failure.details
    assert "in read" in failure.details


def test_closing_while_running_loses_nothing(caller: Caller) -> None:
    running = threading.Event()

    def task(progress: Any, cancel: Any) -> None:
        running.set()
        until_cancelled(progress, cancel)

    caller.submit(lambda progress, cancel: "early")
    caller.submit(task)
    caller.submit(lambda progress, cancel: "late")
    assert running.wait(LIMIT)
    assert caller.worker.close()
    caller.mailbox.deliver()
    assert [kind for kind, _ in caller.heard] == ["result", "error", "error"]
    with pytest.raises(TumorSegError, match="shutting down"):
        caller.submit(lambda progress, cancel: "too late")
    assert caller.worker.close()


def test_a_task_that_does_not_listen_does_not_hold_up_closing() -> None:
    release = threading.Event()
    caller = Caller()
    begun = threading.Event()

    def task(progress: Any, cancel: Any) -> str:
        begun.set()
        return waits_for(release)(progress, cancel)

    caller.submit(task)
    assert begun.wait(LIMIT)
    assert not caller.worker.close(timeoutSeconds=0.05)
    release.set()
    assert caller.worker.close()
    assert caller.wait() == [("result", "done")]


def test_nothing_of_a_task_stays_in_memory(caller: Caller) -> None:
    class Images:
        pass

    images = Images()
    gone = weakref.ref(images)
    caller.submit(lambda progress, cancel, images=images: None)
    caller.wait()
    del images
    end = time.monotonic() + LIMIT
    while gone() is not None and time.monotonic() < end:  # the thread may still be leaving the task
        time.sleep(0.005)
    assert gone() is None


def test_a_mailbox_delivers_what_had_come_and_leaves_the_rest_for_the_next_time() -> None:
    mailbox, heard = Mailbox(), []
    mailbox(lambda: (heard.append(1), mailbox(lambda: heard.append(2)))[0])
    assert mailbox.deliver() == 1
    assert heard == [1]
    assert mailbox.deliver() == 1
    assert heard == [1, 2]
    start = time.monotonic()
    assert mailbox.deliver(pauseSeconds=0.02) == 0
    assert time.monotonic() - start >= 0.02


def test_importing_the_module_brings_no_torch_and_no_library() -> None:
    import subprocess
    import sys
    from pathlib import Path

    from Testing.slicer import scene

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import TumorSegSlicer.work.sessions, TumorSegSlicer.work.worker;"
        "heavy = {'torch', 'monai', 'scipy', 'SimpleITK', 'pydicom', 'TumorSegLib', 'qt', 'PySide6'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(scene.MODULE)], capture_output=True, text=True, check=False, cwd=Path("/")
    )
    assert done.returncode == 0, done.stderr
