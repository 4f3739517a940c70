"""The tasks of the panel: actions that it does without waiting for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from TumorSegSlicer.panel.shared.installing import Packages
from TumorSegSlicer.panel.shared.messages import Messages
from TumorSegSlicer.panel.shared.signals import Signal
from TumorSegSlicer.work.failures import Failure
from TumorSegSlicer.work.runner import Action, Run, Runner

if TYPE_CHECKING:
    from TumorSegLib.jobs import Progress

# How often the results of the worker are looked for, and how long its thread may then go on undisturbed: Slicer's event
# loop holds the interpreter's lock otherwise. So Python code of the worker, as in imports, has two thirds of the time.
INTERVAL_MS, PAUSE_SECONDS = 5, 0.01
# While quiet work alone is done, which nobody waits for, a click must not wait for such a pause to end.
QUIET_PAUSE_SECONDS = 0.002


class Tasks:
    """Does actions without waiting for them, and says why where they fail.

    Attributes:
        onBusy: emitted with whether an action is being done; quiet ones do not count.
        onBegun: emitted when each of them begins, after those that it waited for.
    """

    def __init__(self, packages: Packages, messages: Messages) -> None:
        """Begins idle; ``packages`` are those that actions need."""
        self._packages, self._messages = packages, messages
        self.onBusy = Signal()
        self.onBusy.connect(messages.onBusy)
        self.onBegun = Signal()
        self._runner = Runner(self.onBusy.emit, self.onBegun.emit)
        self._closed = False
        self._polling = qt.QTimer()
        self._polling.setInterval(INTERVAL_MS)
        self._polling.connect("timeout()", self._poll)

    @property
    def busy(self) -> bool:
        """Whether an action is being done; quiet ones do not count."""
        return self._runner.busy

    def start(
        self,
        action: Action,
        onResult: Callable[[Any], None],
        onProgress: Progress | None = None,
        onError: Callable[[Failure], None] | None = None,
    ) -> None:
        """Does an action after those started before, without waiting; says why where it fails."""
        again = partial(self.start, action, onResult, onProgress, onError)
        if self._closed or not (self._packages.found or self._packages.ready(again)):
            return
        if self.busy:
            self._messages.say(_("Queued: starts when the current task has finished."))
        self._polling.start()
        self._runner.start(action, onResult, onError or self._messages.fail, onProgress)

    def starting(
        self,
        onResult: Callable[[Any], None],
        onProgress: Progress | None = None,
        onError: Callable[[Failure], None] | None = None,
    ) -> Run:
        """As :meth:`start`, for methods of the logic."""
        return lambda action: self.start(action, onResult, onProgress, onError)

    def startingQuietly(self, onResult: Callable[[Any], None], onError: Callable[[Failure], None]) -> Run:
        """For methods of the logic that no user asked for; what the user starts stops them and goes first."""

        def run(action: Action) -> None:
            self._polling.start()
            self._runner.start(action, onResult, onError, quiet=True)

        return run

    def stopQuiet(self) -> None:
        """Stops what is done quietly."""
        self._runner.stopQuiet()

    def cancel(self) -> None:
        """Stops what is being done."""
        if self.busy:
            self._messages.say(_("Stopping..."))
            self._runner.cancel()

    def abandon(self) -> None:
        """Stops everything, as the scene is being closed."""
        self._runner.abandon()

    def close(self) -> None:
        """Ends the thread; nothing can be done afterwards."""
        self._closed = True
        self.abandon()
        self._polling.stop()
        self._runner.close()

    def timer(self, milliseconds: int, function: Callable[[], None]) -> qt.QTimer:
        """A single-shot timer that calls a function, unless the panel is closed; to be started by the caller."""
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", lambda: None if self._closed else function())
        return timer

    def _poll(self) -> None:
        self._runner.poll(PAUSE_SECONDS if self._runner.busy else QUIET_PAUSE_SECONDS)
        if self._runner.idle:
            self._polling.stop()
