"""Progress, cancelling and stage times of long work."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias, TypeVar

from TumorSegLib.errors import Cancelled

Returned = TypeVar("Returned")

#: Called with (steps done, steps in all), by the thread that asked for the work; may use the same engine, but must not
#: change the same session, which would wait for itself.
Progress: TypeAlias = Callable[[int, int], None]
#: Returns True to stop the work; called often, and from any thread, so that it must not use an engine.
Cancel: TypeAlias = Callable[[], bool]
# Between two questions whether work that waits was cancelled.
POLL_SECONDS = 0.05


class Job:
    """One piece of work: reports its progress, stops on request, and times its stages.

    Attributes:
        done, total: steps, as reported last.
        seconds: by stage, as ended with :meth:`lap`.
    """

    def __init__(
        self, progress: Progress | None = None, cancel: Cancel | None = None, name: str = "the work", total: int = 0
    ) -> None:
        """Starts the clock.

        Args:
            progress: called after every step.
            cancel: asked by :meth:`check`.
            name: of the work, for the message of :class:`Cancelled`, e.g. ``the correction``.
            total: steps in all, where :meth:`advance` is used.
        """
        self.done, self.total, self.seconds = 0, total, dict[str, float]()
        self._progress, self._cancel, self._name = progress, cancel, name
        self._last = time.perf_counter()

    def step(self, done: int, total: int) -> None:
        """Reports the steps done so far, at most ``total``."""
        self.done, self.total = done, total
        if self._progress is not None:
            self._progress(min(done, total), total)

    def advance(self, steps: int = 1) -> None:
        """Reports that some more steps are done."""
        self.step(self.done + steps, self.total)

    def check(self, where: str = "") -> None:
        """Raises :class:`Cancelled` if the caller wants to stop; ``where``, e.g. ``after 3 of 12 windows``."""
        if self._cancel is not None and self._cancel():
            raise Cancelled(f"{self._name} was cancelled{where and ' '}{where}; nothing was changed")

    def lap(self, stage: str) -> None:
        """Ends a stage that began with the last lap; the seconds of a stage that comes again are added up."""
        now = time.perf_counter()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + now - self._last, 4)
        self._last = now


def timed(call: Callable[[], Returned]) -> tuple[Returned, float]:
    """What a call returns, and the seconds that it took, to 0.1 ms."""
    started = time.perf_counter()
    value = call()
    return value, round(time.perf_counter() - started, 4)


@contextmanager
def acquired(lock: threading.Lock | threading.RLock, job: Job, where: str) -> Iterator[None]:
    """Holds a lock; asks the job while it waits, see :meth:`Job.check`, and raises :class:`Cancelled`."""
    while not lock.acquire(timeout=POLL_SECONDS):
        job.check(where)
    try:
        yield
    finally:
        lock.release()


class ProgressBar(Protocol):
    """What :func:`progress_bar` gives; also a :data:`Progress`."""

    def __call__(self, done: int, total: int, remark: str = "") -> None:
        """Shows steps done, steps in all, and a remark on the last step."""


@contextmanager
def progress_bar(title: str, visible: bool = True) -> Iterator[ProgressBar]:
    """Shows a bar on standard error while the block runs; nothing unless that is a terminal, and ``visible``."""
    if not (visible and sys.stderr.isatty()):
        yield _ignore
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.percentage:>3.0f} %"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[remark]}", markup=False),
    )
    # Printed lines appear above the bar, unless standard output is a file.
    with progress.Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(title, total=None, remark="")

        def show(done: int, total: int, remark: str = "") -> None:
            bar.update(task, completed=done, total=total, remark=remark and f"{done}/{total} {remark}")

        yield show


def _ignore(done: int, total: int, remark: str = "") -> None:
    """Shows nothing."""
