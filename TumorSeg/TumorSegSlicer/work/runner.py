"""Actions, and the runner that does them one after the other, their slow parts on a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from TumorSegSlicer.work.failures import Failure

if TYPE_CHECKING:
    from TumorSegLib.jobs import Cancel, Progress

#: So long an action waits at once for a quiet one to stop, so that it need not wait for the next poll.
STOPPING_SECONDS = 0.01


class Action(ABC):
    """Something done to the scene: begun and finished on the GUI thread, worked on by another thread in between.

    ``begin``, ``work`` and ``finish`` are called in this order, each once the one before has succeeded; where one of
    them raises, ``fail`` is called. An action that fails or is cancelled leaves the scene as it was.
    """

    def begin(self) -> Action | None:
        """Checks, and takes what :meth:`work` needs from the scene.

        Returns:
            An action that must be done first, after which this method is called again; None where there is none.
        """
        return None

    @abstractmethod
    def work(self, progress: Progress, cancel: Cancel) -> Any:
        """The slow part, which must not touch the scene; what it returns is passed to :meth:`finish`."""

    def finish(self, result: Any) -> Any:
        """Writes the result into the scene and returns the outcome of the action."""
        return result

    def fail(self) -> None:  # noqa: B027 - most actions change nothing before they finish
        """Takes back what :meth:`begin` did to the scene; must not raise."""


class Task(Action):
    """An action that does not touch the scene."""

    def __init__(self, function: Callable[[Progress, Cancel], Any]) -> None:
        """Keeps the function that is the slow part."""
        self._function = function

    def work(self, progress: Progress, cancel: Cancel) -> Any:
        """Calls the function."""
        return self._function(progress, cancel)


#: How an action is done: here and now, which returns its outcome, or by a runner.
Run = Callable[[Action], Any]


def complete(action: Action, progress: Progress | None = None, cancel: Cancel | None = None) -> Any:
    """Does an action here and now and returns its outcome; raises what it raises.

    Args:
        action: not begun yet.
        progress: called with (steps done, steps in all) of the slow part.
        cancel: asked often; True stops the action with ``TumorSegLib.Cancelled``.
    """
    try:
        while (first := action.begin()) is not None:
            complete(first, progress, cancel)
        return action.finish(action.work(progress or _noProgress, cancel or _noCancel))
    except BaseException:
        action.fail()
        raise


def done(action: Action, progress: Progress | None = None, cancel: Cancel | None = None) -> Any:
    """As :func:`complete`, for scripts: nothing is installed where packages are missing.

    Raises:
        TumorSegError: as the action, or packages are missing: how to get them.
    """
    try:
        return complete(action, progress, cancel)
    except ImportError as error:
        from TumorSegSlicer.install import packages

        raise packages.lacking(error) from error


def _noProgress(done: int, total: int) -> None:
    """Default callback; does nothing."""


def _noCancel() -> bool:
    return False


@dataclass(eq=False)
class _Started:
    """An action with those that it needs first, the last of which is being done, and what is known of its work."""

    actions: list[Action]
    onResult: Callable[[Any], None]
    onError: Callable[[Failure], None]
    onProgress: Progress | None
    quiet: bool
    stop: threading.Event = field(default_factory=threading.Event)
    working: bool = False
    workEnded: threading.Event = field(default_factory=threading.Event)
    # Written by the thread: the latest progress, and (result, None) or (None, error) at the end.
    report: tuple[int, int] | None = None
    passedOn: tuple[int, int] | None = None
    ended: tuple[Any, BaseException | None] | None = None

    def work(self) -> None:
        """Does the slow part of the action; on the thread."""
        try:
            if self.stop.is_set():
                from TumorSegLib import Cancelled

                raise Cancelled("stopped before it began")
            self.ended = (self.actions[-1].work(self.note, self.stop.is_set), None)
        except BaseException as error:  # a thread must report whatever ends its work
            self.ended = (None, error)
        self.workEnded.set()

    def note(self, done: int, total: int) -> None:
        """Keeps the latest progress; earlier ones that were not passed on are forgotten."""
        self.report = (done, total)


class Runner:
    """Does actions one after the other, their slow parts on one thread. All methods are for the GUI thread.

    Quiet actions are those that no user asked for, such as saving sessions: they do not count as busy, and are stopped
    as soon as another action is started.
    """

    def __init__(self, onBusy: Callable[[bool], None], onBegun: Callable[[], None] = lambda: None) -> None:
        """Begins idle.

        Args:
            onBusy: called with True when the first action is started and with False after the last one has ended;
                quiet ones do not count.
            onBegun: called when each of them begins, after those that it waited for.
        """
        self._onBusy, self._onBegun = onBusy, onBegun
        self._wasBusy = self._closed = False
        self._started: deque[_Started] = deque()  # the first one is being done
        self._handed: queue.SimpleQueue[_Started | None] = queue.SimpleQueue()
        # Not of an executor, whose threads the interpreter waits for at its end, however long their work takes.
        self._thread = threading.Thread(target=_workOn, args=(self._handed,), name="TumorSeg", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether an action is being done, or waits; quiet ones do not count."""
        return not all(each.quiet for each in self._started)

    @property
    def idle(self) -> bool:
        """Whether no action is being done, not even a quiet one."""
        return not self._started

    def start(
        self,
        action: Action,
        onResult: Callable[[Any], None],
        onError: Callable[[Failure], None],
        onProgress: Progress | None = None,
        quiet: bool = False,
    ) -> None:
        """Does an action after those started before.

        Args:
            action: not begun yet.
            onResult, onError: exactly one of them is called, on this thread, with the outcome or with a failure.
            onProgress: called on this thread with the latest progress; never after the outcome.
            quiet: no user asked for it. It is stopped, or dropped where it waits, when one that is not is started.

        Raises:
            TumorSegError: the runner was closed.
        """
        if self._closed:
            from TumorSegLib import TumorSegError

            raise TumorSegError("TumorSeg is shutting down and takes no more tasks; open the module again")
        if not quiet:
            self.stopQuiet()
        self._started.append(_Started([action], onResult, onError, onProgress, quiet))
        self._emitBusy()
        if len(self._started) == 1:
            self._begin()
        elif not quiet and self._started[0].quiet:
            self._started[0].workEnded.wait(STOPPING_SECONDS)
            self.poll()

    def poll(self, pauseSeconds: float = 0.0) -> None:
        """Passes on progress and, once the work of the first action has ended, finishes it; called by a timer.

        Args:
            pauseSeconds: how long to sleep first. Slicer's event loop holds the interpreter lock even when it is idle,
                so Python code of other threads goes on only while Python code of this one sleeps or runs.
        """
        if pauseSeconds > 0:
            time.sleep(pauseSeconds)
        started = self._started[0] if self._started else None
        if started is None or not started.working:
            return
        ended, report = started.ended, started.report
        if report is not None and report is not started.passedOn and started.onProgress is not None:
            started.passedOn = report
            started.onProgress(*report)
        if ended is not None and self._isFirst(started) and started.working:
            started.working = False  # whatever is called from here may poll again, as dialogs do
            self._finish(started, *ended)

    def stopQuiet(self) -> None:
        """Asks the quiet action being done to stop and drops those that wait."""
        if self._started and self._started[0].quiet:
            self._started[0].stop.set()
        self._drop([each for each in list(self._started)[1:] if each.quiet])

    def cancel(self) -> None:
        """Asks the action being done to stop and drops those that wait, which changed nothing yet.

        An action that was past the point where it could stop has changed its session, so it is finished.
        """
        if self._started:
            self._started[0].stop.set()
        self._drop(list(self._started)[1:])

    def abandon(self) -> None:
        """Cancels everything without touching the scene again, since it is being closed."""
        started, self._started = list(self._started), deque()
        for each in started:
            each.stop.set()
        _reportStopped(started)
        self._emitBusy()

    def close(self, timeoutSeconds: float = 10.0) -> bool:
        """Abandons everything, takes no more actions and waits for the thread.

        Returns:
            Whether the thread ended in time. Otherwise its work ignores being cancelled, and the thread ends with the
            application at the latest.
        """
        self._closed = True
        self.abandon()
        self._handed.put(None)
        self._thread.join(timeoutSeconds)
        return not self._thread.is_alive()

    def _isFirst(self, started: _Started) -> bool:
        """False for an action that was abandoned."""
        return bool(self._started) and self._started[0] is started

    def _begin(self) -> None:
        """Begins the first action, or those that it needs first, and hands its work to the thread."""
        started = self._started[0]
        if not started.quiet:
            self._onBegun()
        try:
            while (first := started.actions[-1].begin()) is not None:
                started.actions.append(first)
        except BaseException as error:  # whatever ends an action must be reported to its user
            self._fail(started, error)
        else:
            started.report = started.passedOn = started.ended = None
            started.workEnded.clear()
            started.working = True
            self._handed.put(started)

    def _finish(self, started: _Started, result: Any, error: BaseException | None) -> None:
        """Ends the action that was worked on; one that needed it first is begun again."""
        try:
            if error is not None:
                raise error
            outcome = started.actions[-1].finish(result)
        except BaseException as failed:
            self._fail(started, failed)
            return
        started.actions.pop()
        if started.actions:
            self._begin()
        else:
            self._end(started, lambda: started.onResult(outcome))

    def _fail(self, started: _Started, error: BaseException) -> None:
        while started.actions:
            started.actions.pop().fail()
        failure = Failure.of(error)
        self._end(started, lambda: started.onError(failure))

    def _end(self, started: _Started, report: Callable[[], None]) -> None:
        """Reports the end of the first action, which stays the first until then, and begins the next one."""
        try:
            report()
        finally:
            if self._isFirst(started):  # not where all were abandoned meanwhile
                self._started.popleft()
                self._emitBusy()
                if self._started:
                    self._begin()

    def _drop(self, waiting: list[_Started]) -> None:
        """Takes away actions that have not begun."""
        for started in waiting:
            self._started.remove(started)
        _reportStopped(waiting)
        self._emitBusy()

    def _emitBusy(self) -> None:
        if self.busy != self._wasBusy:
            self._wasBusy = self.busy
            self._onBusy(self._wasBusy)


def _workOn(handed: queue.SimpleQueue[_Started | None]) -> None:
    """The thread: does what it is handed, and keeps nothing of it alive while it waits."""
    while (started := handed.get()) is not None:
        started.work()
        del started


def _reportStopped(stopped: list[_Started]) -> None:
    """Reports to those who started actions that these were stopped."""
    from TumorSegLib import Cancelled

    for started in stopped:
        started.onError(Failure.of(Cancelled("stopped")))
