"""Modal dialogs: shown, recorded and answered at once, so that no test ever waits for a hand.

What is not answered in advance is declined: messages are acknowledged, questions cancelled, no file is chosen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

MESSAGES = ("information", "warning", "critical", "question", "about")
FILES = ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory")
INPUTS = ("getText", "getItem", "getMultiLineText")


@dataclass(frozen=True)
class Dialog:
    """A dialog that was shown: its class or static function, and the words on it."""

    kind: str
    title: str
    text: str
    detailed_text: str = ""


@dataclass
class Dialogs:
    """The dialogs shown so far and the answers waiting for the next ones."""

    shown: list[Dialog] = field(default_factory=list)
    _answers: deque[Any] = field(default_factory=deque)

    def answer(self, *answers: Any) -> None:
        """Answers the next dialogs, in order.

        Args:
            answers: for a message box the button (``qt.QMessageBox.Ok``), for a dialog its code (1 accepts), for
                a file dialog the path or list of paths, for an input the value; or a function that gets the dialog,
                works its widgets and returns such a value.
        """
        self._answers.extend(answers)

    @property
    def unused_answers(self) -> int:
        """How many answers no dialog has asked for."""
        return len(self._answers)

    @property
    def texts(self) -> list[str]:
        """The words of the dialogs shown so far."""
        return [dialog.text for dialog in self.shown]

    def clear(self) -> None:
        """Forgets what was shown and what is waiting."""
        self.shown.clear()
        self._answers.clear()

    def take(self, dialog: Dialog, declined: Any, widget: QtWidgets.QDialog | None = None) -> Any:
        """Records a dialog and returns its answer, ``declined`` where none is waiting."""
        self.shown.append(dialog)
        answer = self._answers.popleft() if self._answers else declined
        return answer(widget) if callable(answer) else answer


def _declined(box: QtWidgets.QMessageBox) -> Any:
    buttons = QtWidgets.QMessageBox.StandardButton
    offered = box.standardButtons
    for refusal in (buttons.Cancel, buttons.No, buttons.Close, buttons.Abort):
        if offered & refusal:
            return refusal
    return buttons.Ok


def _execute(dialogs: Dialogs) -> Callable[..., Any]:
    def execute(self: QtWidgets.QDialog) -> Any:
        is_message = isinstance(self, QtWidgets.QMessageBox)
        text = self.text if is_message else getattr(self, "labelText", "")
        detailed = self.detailedText if is_message else ""
        self.show()
        QtCore.QCoreApplication.processEvents()
        dialog = Dialog(type(self).__name__, self.windowTitle, text, detailed)
        answer = dialogs.take(dialog, _declined(self) if is_message else 0, self)
        self.hide()
        if not is_message:
            self.done(int(answer))
        return answer

    return execute


def _static_message(dialogs: Dialogs, name: str) -> Callable[..., Any]:
    def message(parent: Any, title: str, text: str, *buttons: Any, **named: Any) -> Any:
        button = QtWidgets.QMessageBox.StandardButton
        declined = button.No if name == "question" else button.Ok
        return dialogs.take(Dialog(f"QMessageBox.{name}", title, text), declined)

    return message


def _static_choice(dialogs: Dialogs, cls: str, name: str) -> Callable[..., Any]:
    """PythonQt returns the choice alone: "" (of several files, []) when there is none."""
    declined: Any = [] if name.endswith("Names") else ""

    def choose(parent: Any = None, title: str = "", text: str = "", *rest: Any, **named: Any) -> Any:
        return dialogs.take(Dialog(f"{cls}.{name}", title, str(text)), declined)

    return choose


def _static_colour(dialogs: Dialogs) -> Callable[..., Any]:
    def choose(initial: Any = None, parent: Any = None, title: str = "", *_rest: Any) -> Any:
        return dialogs.take(Dialog("QColorDialog.getColor", title, ""), QtGui.QColor())  # invalid: none was chosen

    return choose


def intercept(dialogs: Dialogs) -> None:
    """Replaces what would block in Qt's dialogs; once a process."""
    for cls in (
        QtWidgets.QDialog,
        QtWidgets.QMessageBox,
        QtWidgets.QFileDialog,
        QtWidgets.QProgressDialog,
        QtWidgets.QInputDialog,
    ):
        cls.exec = cls.exec_ = _execute(dialogs)
    for name in MESSAGES:
        setattr(QtWidgets.QMessageBox, name, staticmethod(_static_message(dialogs, name)))
    for cls_name, names in (("QFileDialog", FILES), ("QInputDialog", INPUTS)):
        for name in names:
            setattr(getattr(QtWidgets, cls_name), name, staticmethod(_static_choice(dialogs, cls_name, name)))
    QtWidgets.QColorDialog.getColor = staticmethod(_static_colour(dialogs))
    # A menu that pops up waits as well; its actions are triggered by the tests themselves.
    QtWidgets.QMenu.exec = QtWidgets.QMenu.exec_ = lambda *_: None
