"""Messages and questions to the user: the status line in the strip, errors in it, and dialogs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.panel.access.colours import errorStyle
from TumorSegSlicer.panel.access.watcher import Watcher
from TumorSegSlicer.work.failures import Failure

#: Of View > Error Log, in Slicer's main window.
LOG_ACTION = "WindowErrorLogAction"


def answer(edit: Any, words: str) -> str:
    """What is said of an edit: these words, or that the model found nothing and what may help."""
    if edit is None or not edit.nothing_found:
        return words
    return _("The model found nothing here: click again in the middle of the lesion, or draw a line across it.")


class Messages:
    """The status line in the strip, with a sign beside errors, and the dialogs of the panel, which ask for decisions.

    An error stays until the user does something else, whatever is said meanwhile.
    """

    def __init__(self, ui: Any) -> None:
        """Begins without a message; ``ui`` has the widgets of the strip."""
        self._ui, self._closed = ui, False
        self._error, self._text = "", ""
        self._notices: list[str] = []
        self._nextNotices: list[str] = []
        self._isSeen = False  # the user has done something since the error came
        self._seeing = Watcher(("MouseButtonPress", "KeyPress"), lambda _event: self._onSeen())
        self._theme = Watcher(("PaletteChange",), lambda _event: self._show())
        self._theme.watch(ui.strip)
        ui.errorButton.connect("clicked(bool)", lambda _checked: self._openLog())
        self._show()

    def onBusy(self, busy: bool) -> None:
        """Drops error and notices of former actions when one begins; those of :meth:`noticeNext` become its notices."""
        if busy:
            self._error = ""
            self._notices, self._nextNotices = self._nextNotices, []
            self._text = "" if self._text in self._notices else self._text
            self._show()

    def close(self) -> None:
        """Shows nothing any more: the panel is going away."""
        self._closed = True
        self._seeing.leave(slicer.app)

    def say(self, text: str) -> None:
        """Shows a text in the status line, after the notices since the last action began."""
        if self._isSeen:
            self._error = ""
        self._text = text
        self._show()

    def notice(self, text: str) -> None:
        """Shows what the user should know of the action being done, until the next one begins."""
        self._notices.append(text)
        self.say("")

    def noticeNext(self, text: str) -> None:
        """Shows what the user should know of the next action, until the one after it begins."""
        self._nextNotices.append(text)
        self.say(text)

    def fail(self, failure: Failure) -> None:
        """Says why something was not done, with a sign unless it was a slip; kinds and places go to the log."""
        if failure.cancelled:
            self.say(_("Stopped; nothing was changed."))
            return
        # Not slicer.util.errorDisplay: that logs the message, which may name a patient.
        logging.error("TumorSeg: %s", failure.details)
        if failure.quiet or self._closed:
            self.say(failure.message)
            return
        self._error, self._text, self._isSeen = failure.message, "", False
        self._seeing.watch(slicer.app)
        self._show()

    def _show(self) -> None:
        if self._closed:
            return
        ui = self._ui
        ui.statusLabel.text = " ".join(words for words in (self._error, *self._notices, self._text) if words)
        ui.errorSign.styleSheet = errorStyle(ui.strip.palette)
        for part in (ui.errorSign, ui.errorButton):
            part.setVisible(bool(self._error))

    def _onSeen(self) -> None:
        self._isSeen = True
        self._seeing.leave(slicer.app)

    def _openLog(self) -> None:
        """Opens Slicer's error log by the action of its menu."""
        for action in slicer.util.findChildren(slicer.util.mainWindow(), name=LOG_ACTION):
            action.trigger()

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
