"""The Python packages that the first action needs, installed once the user agrees; Slicer goes on meanwhile."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import ExitStack

import qt
from slicer.i18n import tr as _

from TumorSegSlicer.install import packages
from TumorSegSlicer.install.programs import Program
from TumorSegSlicer.install.reasons import reason
from TumorSegSlicer.panel.shared.messages import Messages
from TumorSegSlicer.panel.shared.signals import Signal

INTERVAL_MS = 100
#: How often the program is looked at before one that was asked to end is ended at once: 5 s.
PATIENCE = 50
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


class Packages:
    """Looks for the packages, and installs those that are missing once the user has agreed on the page of first use.

    Attributes:
        found: all packages were found; they are not looked for again.
        installing: packages are being installed.
        restart: packages were replaced that are in use: nothing works before Slicer is started again.
        onNeeded: emitted when packages are missing that the user has just asked for, with what for, see :meth:`ready`.
        onInstalling: emitted with whether packages are being installed.
        onLine: emitted with each line that pip says.
        onProgress: emitted with how many bytes of a file were downloaded, and how many it has.
        onEnded: emitted with why packages are missing still, as text; empty where all are there.
    """

    def __init__(self, messages: Messages) -> None:
        """Begins without having looked; ``messages`` shows the user what is done."""
        self._messages = messages
        self.found = self.installing = self.restart = self._closed = False
        self.onNeeded, self.onInstalling, self.onEnded = Signal(), Signal(), Signal()
        self.onLine, self.onProgress = Signal(), Signal()
        self._program: Program | None = None
        self._step: packages.Step | None = None
        self._said: list[str] = []
        self._stopping = 0  # looks since the program was asked to end
        self._before: dict[str, str] = {}
        self._kept = ExitStack()  # the constraints of the running step
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def complete(self) -> bool:
        """Whether all packages are there; unlike :meth:`ready` it never asks for any."""
        self.found = self.found or not (self.installing or packages.missingPackages())
        return self.found

    def ready(self, wish: Callable[[], None] | None = None) -> bool:
        """Whether all packages are there; where some are missing, the user is asked whether to install them.

        Args:
            wish: what the user asked for, to be called once they are installed, if anything.
        """
        if self.installing:
            self._messages.say(_("Python packages are being installed; please wait."))
        elif not self._closed and not self.complete:
            self.onNeeded.emit(wish)
        return self.found and not self._closed

    def install(self) -> None:
        """Installs what is missing, without waiting for it; nothing while that is being done already."""
        if self.installing or self._closed:
            return
        self.installing, self._stopping, self._step = True, 0, None
        self._before = packages.versions()
        self.onInstalling.emit(True)
        self._goOn()

    def cancel(self) -> None:
        """Stops the installation; packages that are complete stay."""
        if self._program is not None and not self._stopping:
            self._stopping = 1
            self._messages.say(_("Stopping..."))
            self._program.interrupt()

    def close(self) -> None:
        """The panel is going away: nothing is ready any more, and no program of it goes on."""
        self._closed = True
        self._timer.stop()
        if self._program is not None:
            self._program.kill()
            self._program = None
        self._kept.close()

    def _goOn(self) -> None:
        """Starts the next step; ends where there is none, or where it cannot be done."""
        from TumorSegLib import TumorSegError

        try:
            step = packages.nextStep()
            if step is not None and step == self._step:
                raise packages.notInstalled(step.names)
            if step is not None:
                self._start(step)
                return
        except TumorSegError as error:
            self._end(str(error))
            return
        self._end("")

    def _start(self, step: packages.Step) -> None:
        arguments = list(step.arguments)
        if step.keeping:
            arguments += ["--constraint", str(self._kept.enter_context(packages.constraints()))]
        self._step, self._said = step, []
        self._messages.say(_("Installing {names}...").format(names=", ".join(step.names)))
        self._program = Program(step.module, arguments)
        self._timer.start()

    def _poll(self) -> None:
        if self._program is None or self._step is None:
            return
        for line in self._program.lines():
            self._take(line, self._step)
        if self._stopping:
            self._stopping += 1
            if self._stopping == PATIENCE:
                self._program.kill()
        status = self._program.status
        if status is None:
            return
        self._program = None
        self._timer.stop()
        self._kept.close()
        if self._stopping:
            self._end(_("The installation was stopped; packages that are complete stay."))
        elif status:
            logging.error("TumorSeg: %s ended with status %d:\n%s", self._step.module, status, "\n".join(self._said))
            words = _("Installing {names} failed. {reason}")
            self._end(words.format(names=", ".join(self._step.names), reason=reason(self._said)))
        else:
            self._goOn()

    def _take(self, line: str, step: packages.Step) -> None:
        progress = _PROGRESS.fullmatch(line.strip())
        if progress is not None:
            self.onProgress.emit(int(progress[1]), int(progress[2]))
            return
        self._said.append(line)
        self.onLine.emit(line)
        if line.strip() and not self._stopping:
            words = _("Installing {names}: {line}")
            self._messages.say(words.format(names=", ".join(step.names), line=line.strip()[:100]))

    def _end(self, problem: str) -> None:
        self.installing = False
        self._kept.close()
        self.found = not problem
        self._messages.say(problem or self._done())
        self.onInstalling.emit(False)
        self.onEnded.emit(problem)

    def _done(self) -> str:
        replaced = packages.replacedWhileLoaded(self._before)
        self.restart = bool(replaced)
        if replaced:
            words = _("The packages are installed. Restart Slicer first: {names} were loaded and have been replaced.")
            return words.format(names=", ".join(replaced))
        return _("The packages are installed: TumorSeg is ready.")
