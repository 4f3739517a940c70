"""One thread that does the slow work, so that the application never waits for it.

Nothing here knows Qt: the worker hands what it has to say to a scheduler, a callable that may be called from any thread
and runs a function on the GUI thread later. :class:`Mailbox` is one for a timer of the application to empty. Nor is
Slicer known, and so not its translator: what is said of errors is English here, as it is in the library.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Called with (steps done, steps in all).
Progress = Callable[[int, int], None]
#: Asked by a task as often as it can; True means that it should stop with ``TumorSegLib.Cancelled``.
Cancel = Callable[[], bool]
#: What the worker does: called on its thread as ``task(progress, cancel)``, its value is the result.
Task = Callable[[Progress, Cancel], Any]
Scheduler = Callable[[Callable[[], None]], None]


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Attributes:
        message: for the user, in words; may name files and nodes, so it does not belong in the log.
        details: for the log: kinds of errors and places in the code, without values.
        cancelled: the user wanted it so.
        error: what was raised.
        quiet: it is no cause for a dialog: the status line is enough.
    """

    message: str
    details: str
    cancelled: bool
    error: BaseException
    quiet: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Puts an exception into words."""
        from TumorSegLib import Cancelled
        from TumorSegSlicer.slips import Slip, Told

        quiet = isinstance(error, (Slip, Told))
        return cls(_message(error), _details(error), isinstance(error, Cancelled), error, quiet)


@dataclass(eq=False)
class _Job:
    task: Task
    onResult: Callable[[Any], None]
    onError: Callable[[Failure], None]
    onProgress: Progress | None
    stop: threading.Event = field(default_factory=threading.Event)
    # The latest report that the GUI thread has not seen; later ones take its place.
    report: tuple[int, int] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Mailbox:
    """A scheduler that keeps functions until the GUI thread, by a timer, asks for them to be run."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def __call__(self, function: Callable[[], None]) -> None:
        """Keeps a function; from any thread."""
        self._waiting.put(function)

    def deliver(self, pauseSeconds: float = 0.0) -> int:
        """Runs what had come in by now, in that order, and returns how much it was; on the GUI thread.

        Args:
            pauseSeconds: how long to sleep first. Slicer's event loop holds the interpreter lock even when it is idle,
                so Python code of other threads goes on only while Python code of this one sleeps or runs.
        """
        if pauseSeconds > 0:
            time.sleep(pauseSeconds)
        count = self._waiting.qsize()
        for done in range(count):
            try:
                function = self._waiting.get_nowait()
            except queue.Empty:  # a dialog that one of them opened had the rest delivered
                return done
            function()
        return count


class Worker:
    """Does tasks one after the other on a thread of its own. Of each, exactly one of result and failure arrives."""

    def __init__(self, schedule: Scheduler) -> None:
        """Begins to wait for tasks.

        Args:
            schedule: runs a function on the GUI thread later; called from the worker's thread.
        """
        self._schedule = schedule
        self._jobs: list[_Job] = []  # the first one is being done
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="TumorSeg", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a task is being done or waits."""
        with self._changed:
            return bool(self._jobs)

    def submit(
        self,
        task: Task,
        onResult: Callable[[Any], None],
        onError: Callable[[Failure], None],
        onProgress: Progress | None = None,
    ) -> None:
        """Lets a task be done after those submitted before.

        Args:
            task: see :data:`Task`; it must not touch the scene, which belongs to the GUI thread.
            onResult, onError: called on the GUI thread with what the task returned, or with a :class:`Failure`.
            onProgress: called on the GUI thread with the latest report, not with every one; never after the outcome.

        Raises:
            TumorSegError: the worker was closed.
        """
        with self._changed:
            if self._closed:
                from TumorSegLib import TumorSegError

                raise TumorSegError("TumorSeg is shutting down and takes no more tasks; open the module again")
            self._jobs.append(_Job(task, onResult, onError, onProgress))
            self._changed.notify_all()

    def cancel(self) -> None:
        """Asks the task being done to stop, and drops those that wait; each is reported as cancelled.

        A task that was past the point where it could stop has changed its session, so its result is delivered.
        """
        with self._changed:
            for job in self._jobs:
                job.stop.set()

    def close(self, timeoutSeconds: float = 10.0) -> bool:
        """Cancels everything, takes no more tasks and waits for the thread.

        Returns:
            Whether the thread ended in time; all outcomes are with the scheduler then. Otherwise its task does not
            listen, and the thread ends with the application at the latest.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.cancel()
        self._thread.join(timeoutSeconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """Does the next task; False where there will be none. Nothing of the task is kept alive while waiting."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return False
            job = self._jobs[0]
        deliver = self._outcome(job)
        with self._changed:
            self._jobs.remove(job)
        self._schedule(deliver)
        return True

    def _outcome(self, job: _Job) -> Callable[[], None]:
        """Does a task; the function returned tells of its end."""
        try:
            if job.stop.is_set():
                from TumorSegLib import Cancelled

                raise Cancelled("stopped before it began")
            result = job.task(lambda done, total: self._report(job, done, total), job.stop.is_set)
        except BaseException as error:  # a thread must report whatever ends its task
            failure = Failure.of(error)
            return lambda: job.onError(failure)
        return lambda: job.onResult(result)

    def _report(self, job: _Job, done: int, total: int) -> None:
        """Passes on the latest progress; one call at a time waits with the scheduler, however fast steps are."""
        if job.onProgress is None:
            return
        with job.lock:
            waiting, job.report = job.report is not None, (done, total)
        if not waiting:
            self._schedule(lambda: self._deliver(job))

    @staticmethod
    def _deliver(job: _Job) -> None:
        with job.lock:
            report, job.report = job.report, None
        if job.onProgress is not None and report is not None:
            job.onProgress(*report)


def _message(error: BaseException) -> str:
    from TumorSegLib import TumorSegError

    if isinstance(error, TumorSegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this; close other programs or choose a smaller image."
    if isinstance(error, ImportError):
        package = error.name or "a package"
        return f"The Python package {package} is missing or damaged; install TumorSeg's packages again."
    kind = type(error).__name__
    return f"Something went wrong that TumorSeg did not expect ({kind}): {error}. Details: View > Error Log."


def _details(error: BaseException) -> str:
    """Kinds of an error and its causes and the places they passed; messages, which may name patients, are left out."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 100:  # causes may form a ring
        lines.append(type(cause).__name__)
        frames = traceback.extract_tb(cause.__traceback__)
        lines += [f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(lines)
