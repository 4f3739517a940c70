"""The Python packages that the first action needs, installed if the user agrees."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.install import packages
from TumorSegSlicer.panel.shared.messages import Messages
from TumorSegSlicer.panel.shared.signals import Signal


class Packages:
    """Looks for the packages, and installs those that are missing when the user first needs them.

    Attributes:
        found: all packages were found; they are not looked for again.
        onInstalling: emitted with whether packages are being installed.
    """

    def __init__(self, messages: Messages) -> None:
        """Begins without having looked; ``messages`` shows the user what is done."""
        self._messages = messages
        self.found = self._installing = self._closed = False
        self.onInstalling = Signal()

    @property
    def complete(self) -> bool:
        """Whether all packages are there; unlike :meth:`ready` it never asks for any."""
        self.found = self.found or not (self._installing or packages.missingPackages())
        return self.found

    def ready(self) -> bool:
        """Whether all packages are there; those that are missing are installed now, if the user agrees.

        Meanwhile pip has the events of the application handled from time to time: buttons could be pressed again.
        """
        if self._installing:
            self._messages.say(_("Python packages are being installed; please wait."))
            return False
        if not self.complete:
            self.found = self._messages.attempt(self._install) is True
        return self.found and not self._closed

    def close(self) -> None:
        """The panel is going away: nothing is ready any more."""
        self._closed = True

    def _install(self) -> bool:
        from TumorSegLib import Cancelled

        names = ", ".join(packages.missingPackages())
        words = _("Installing {names}. This takes several minutes, during which Slicer responds slowly...")
        self._messages.say(words.format(names=names))
        self._emitInstalling(True)
        try:
            packages.ensurePackages()
        except Cancelled as declined:
            self._messages.say(str(declined))
            return False
        finally:
            self._emitInstalling(False)
        self._messages.say(_("The packages were installed."))
        return True

    def _emitInstalling(self, installing: bool) -> None:
        self._installing = installing
        if installing:
            slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        else:
            slicer.app.restoreOverrideCursor()
        if not self._closed:
            self.onInstalling.emit(installing)
