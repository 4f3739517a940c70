"""Actions in steps: what touches the scene on the GUI thread, what computes wherever the caller wants it.

An action is a generator. It works on the scene between its ``yield``s, gives each slow part away as a task (see
:data:`TumorSegSlicer.work.worker.Task`), is sent the task's result, or has its exception raised, and returns its
outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from TumorSegSlicer.work.worker import Cancel, Failure, Progress, Task, Worker

Action = Generator[Task, Any, Any]


def complete(action: Action, progress: Progress | None = None, cancel: Cancel | None = None) -> Any:
    """Does an action here and now and returns its outcome; raises what it raises.

    Args:
        action: not begun yet.
        progress: called with (steps done, steps in all) of each slow part.
        cancel: asked often; True stops the action with ``TumorSegLib.Cancelled``.
    """
    try:
        task = next(action)
        while True:
            try:
                result = task(progress or _noProgress, cancel or _noCancel)
            except Exception as error:  # noqa: PERF203 - a task takes seconds
                task = action.throw(error)
            else:
                task = action.send(result)
    except StopIteration as stop:
        return stop.value


def _noProgress(done: int, total: int) -> None:
    """Nobody wants to know."""


def _noCancel() -> bool:
    return False


@dataclass(eq=False)
class _Started:
    action: Action
    onResult: Callable[[Any], None]
    onError: Callable[[Failure], None]
    onProgress: Progress | None
    quiet: bool


class Runner:
    """Does actions one after the other, their slow parts on the worker's thread. All methods are for the GUI thread.

    Quiet actions are those that nobody asked for, such as keeping what was done: they make nobody busy, and make way as
    soon as another action is started.
    """

    def __init__(self, worker: Worker, onBusy: Callable[[bool], None]) -> None:
        """Begins idle.

        Args:
            worker: its results must arrive on the GUI thread.
            onBusy: called with True when the first action is started and with False after the last one has ended;
                of quiet ones it does not hear.
        """
        self._worker = worker
        self._onBusy = onBusy
        self._toldBusy = False
        self._queue: deque[_Started] = deque()  # the first one is being done

    @property
    def busy(self) -> bool:
        """Whether an action is being done, or waits; quiet ones do not count."""
        return not all(each.quiet for each in self._queue)

    @property
    def idle(self) -> bool:
        """Whether no action is being done, not even a quiet one."""
        return not self._queue

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
            action: not begun yet; a quiet one has one slow part.
            onResult, onError: exactly one of them is called, on this thread.
            onProgress: see :class:`Worker`.
            quiet: nobody asked for it. It is stopped, or dropped where it waits, when one that is not is started.
        """
        if not quiet:
            self.stopQuiet()
        self._queue.append(_Started(action, onResult, onError, onProgress, quiet))
        self._tellBusy()
        if len(self._queue) == 1:
            self._resume(lambda: next(action))

    def stopQuiet(self) -> None:
        """Asks the quiet action being done to stop and drops those that wait."""
        if self._queue and self._queue[0].quiet:
            self._worker.cancel()
        self._drop([each for each in list(self._queue)[1:] if each.quiet])

    def cancel(self) -> None:
        """Asks the action being done to stop and drops those that wait, which changed nothing yet."""
        self._worker.cancel()
        self._drop(list(self._queue)[1:])

    def abandon(self) -> None:
        """Cancels everything without touching the scene again, since it is being closed."""
        current, self._queue = list(self._queue), deque()
        self._worker.cancel()
        _tellStopped(current)
        self._tellBusy()

    def _drop(self, waiting: list[_Started]) -> None:
        """Takes away actions that have not begun."""
        for started in waiting:
            self._queue.remove(started)
        _tellStopped(waiting)
        self._tellBusy()

    def _tellBusy(self) -> None:
        if self.busy != self._toldBusy:
            self._toldBusy = self.busy
            self._onBusy(self._toldBusy)

    def _resume(self, step: Callable[[], Task]) -> None:
        """Runs the first action up to its next slow part."""
        started = self._queue[0]
        try:
            task = step()
        except StopIteration as stop:
            outcome = stop.value
            self._end(started, lambda: started.onResult(outcome))
        except BaseException as error:  # whatever ends an action must be told to its user
            failure = Failure.of(error)
            self._end(started, lambda: started.onError(failure))
        else:
            self._worker.submit(task, *self._continuation(started), started.onProgress)

    def _continuation(self, started: _Started) -> tuple[Callable[[Any], None], Callable[[Failure], None]]:
        """What the worker calls; of an action that was abandoned meanwhile nothing is heard."""

        def onResult(result: Any) -> None:
            if self._queue and self._queue[0] is started:
                self._resume(lambda: started.action.send(result))

        def onError(failure: Failure) -> None:
            if self._queue and self._queue[0] is started:
                self._resume(lambda: started.action.throw(failure.error))

        return onResult, onError

    def _end(self, started: _Started, tell: Callable[[], None]) -> None:
        """Tells of the end of the first action, which stays the first until then, and begins the next one."""
        try:
            tell()
        finally:
            if self._queue and self._queue[0] is started:  # not where all were abandoned on hearing it
                self._queue.popleft()
                following = self._queue[0].action if self._queue else None
                self._tellBusy()
                if following is not None:
                    self._resume(lambda: next(following))


def _tellStopped(actions: list[_Started]) -> None:
    """Ends actions, and tells each of their users."""
    from TumorSegLib import Cancelled

    for started in actions:
        started.action.close()
        started.onError(Failure.of(Cancelled("stopped")))
