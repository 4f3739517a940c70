"""Messages and questions to the user: the status line, dialogs, and error messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.work.failures import Failure


def answer(edit: Any, words: str) -> str:
    """What is said of an edit: these words, or that the model found nothing and what may help."""
    if edit is None or not edit.nothing_found:
        return words
    return _("The model found nothing here: click again in the middle of the lesion, or draw a line across it.")


class Messages:
    """The status line and the dialogs of the panel."""

    def __init__(self, label: qt.QLabel) -> None:
        """Begins without a message; ``label`` is the status line."""
        self._label = label
        self._closed = False
        self._notices: list[str] = []
        self._nextNotices: list[str] = []

    def onBusy(self, busy: bool) -> None:
        """Drops the notices of former actions when one begins; those of :meth:`noticeNext` become its notices."""
        if busy:
            self._notices, self._nextNotices = self._nextNotices, []

    def close(self) -> None:
        """Shows nothing any more: the panel is going away."""
        self._closed = True

    def say(self, text: str) -> None:
        """Shows a text in the panel's status line, after the notices since the last action began."""
        if not self._closed:
            self._label.text = " ".join(words for words in (*self._notices, text) if words)

    def notice(self, text: str) -> None:
        """Shows what the user should know of the action being done, until the next one begins."""
        self._notices.append(text)
        self.say("")

    def noticeNext(self, text: str) -> None:
        """Shows what the user should know of the next action, until the one after it begins."""
        self._nextNotices.append(text)
        self.say(text)

    def fail(self, failure: Failure) -> None:
        """Says why something was not done; words in a dialog, unless it was a slip, kinds and places in the log."""
        if failure.cancelled:
            self.say(_("Stopped; nothing was changed."))
            return
        self.say(failure.message)
        # Not slicer.util.errorDisplay: that logs the message, which may name a patient.
        logging.error("TumorSeg: %s", failure.details)
        if not failure.quiet:
            slicer.util.messageBox(failure.message, windowTitle="TumorSeg", icon=qt.QMessageBox.Warning)

    def agrees(self, question: str) -> bool:
        """Asks the user."""
        yes, no = qt.QMessageBox.Yes, qt.QMessageBox.No
        icon = qt.QMessageBox.Question
        answer = slicer.util.messageBox(question, windowTitle="TumorSeg", icon=icon, standardButtons=yes | no)
        return bool(answer == yes)

    def choice(self, question: str, choices: Sequence[str]) -> int | None:
        """Asks the user which of two things to do, the harmless one first; None for neither."""
        kinds = qt.QMessageBox
        if slicer.app.testingEnabled():
            return None
        box = kinds(slicer.util.mainWindow())
        box.setWindowTitle("TumorSeg")
        box.setIcon(kinds.Question)
        box.setText(question)
        box.setStandardButtons(kinds.Yes | kinds.No | kinds.Cancel)
        for button, text in zip((kinds.Yes, kinds.No), choices):
            box.button(button).setText(text)
        box.setDefaultButton(kinds.Yes)
        answer = box.exec_()
        box.deleteLater()
        return next((number for number, button in enumerate((kinds.Yes, kinds.No)) if answer == button), None)

    def succeeds(self, function: Callable[[], Any]) -> bool:
        """Calls a function that is quick; says why, and returns False, where it fails."""
        return self.attempt(lambda: (function(),)) is not None

    def attempt(self, function: Callable[[], Any]) -> Any:
        """Calls a function that is quick and returns what it does; says why, and returns None, where it fails."""
        try:
            return function()
        except Exception as error:  # every error must be shown to the user
            self.fail(Failure.of(error))
            return None
