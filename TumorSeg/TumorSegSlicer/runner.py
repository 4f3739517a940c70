"""Actions in steps: what touches the scene on the GUI thread, what computes wherever the caller wants it.

An action is a generator. It works on the scene between its ``yield``s, gives each slow part away as a task (see
:data:`TumorSegSlicer.worker.Task`), is sent the task's result, or has its exception raised, and returns its outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from TumorSegSlicer.worker import Cancel, Failure, Progress, Task, Worker

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


class Runner:
    """Does actions one after the other, their slow parts on the worker's thread. All methods are for the GUI thread."""

    def __init__(self, worker: Worker, onBusy: Callable[[bool], None]) -> None:
        """Begins idle.

        Args:
            worker: its results must arrive on the GUI thread.
            onBusy: called with True when the first action begins and with False after the last one has ended.
        """
        self._worker = worker
        self._onBusy = onBusy
        self._queue: deque[_Started] = deque()  # the first one is being done

    @property
    def busy(self) -> bool:
        """Whether an action is being done."""
        return bool(self._queue)

    def start(
        self,
        action: Action,
        onResult: Callable[[Any], None],
        onError: Callable[[Failure], None],
        onProgress: Progress | None = None,
    ) -> None:
        """Does an action after those started before; exactly one of onResult and onError is called, on this thread."""
        self._queue.append(_Started(action, onResult, onError, onProgress))
        if len(self._queue) == 1:
            self._onBusy(True)
            self._resume(lambda: next(action))

    def cancel(self) -> None:
        """Asks the action being done to stop and drops those that wait, which changed nothing yet."""
        waiting = [self._queue.pop() for _ in range(len(self._queue) - 1)]
        self._worker.cancel()
        for started in reversed(waiting):
            started.action.close()
            started.onError(_stopped())

    def abandon(self) -> None:
        """Cancels everything without touching the scene again, since it is being closed."""
        current, self._queue = list(self._queue), deque()
        self._worker.cancel()
        for started in current:
            started.action.close()
            started.onError(_stopped())
        if current:
            self._onBusy(False)

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
                if self._queue:
                    following = self._queue[0].action
                    self._resume(lambda: next(following))
                else:
                    self._onBusy(False)


def _stopped() -> Failure:
    from TumorSegLib import Cancelled

    return Failure.of(Cancelled("stopped"))
