"""Compares a segment with what it was before its last edit, as long as a key or a button is held."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.panel.seeing.former_segment import FormerSegment
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shortcuts import KEYS

#: What ends the comparison beside the release of the key: the user turns to something else.
ENDING = ("MouseButtonPress", "WindowDeactivate")


class Compare:
    """While a key or a button is held the slice views show the segment as it was; nothing is changed or saved."""

    def __init__(self, context: Context) -> None:
        """Begins with the segment as it is."""
        self._context = context
        self._former: FormerSegment | None = None
        self._release = _Release(self.end)
        context.ui.compareButton.connect("pressed()", self.begin)
        context.ui.compareButton.connect("released()", self.end)
        context.tasks.onBusy.connect(lambda busy: self.end() if busy else None)
        context.selection.onTarget.connect(self.end)
        context.edits.onEdited.connect(self.end)

    def begin(self) -> None:
        """The key was pressed."""
        context, target = self._context, self._context.selection.target()
        if self._former is not None or context.tasks.busy or target is None:
            return
        opened = context.logic.bench.sessions.of(*target) if context.logic.hasSession(*target) else None
        undone = opened.session.preview_undo() if opened is not None else None
        if opened is None or undone is None or not undone.after.size or target[0].GetDisplayNode() is None:
            context.messages.say(_("There is no edit to compare with."))
            return
        self._former = context.messages.attempt(lambda: FormerSegment(*target, undone, opened.gridNow()))
        if self._former is not None:
            self._release.watch(True)
            context.messages.say(_("Before the last edit: this is what is shown until you let go."))

    def end(self) -> None:
        """The key was released, or something else begins."""
        if self._former is None:
            return
        self._release.watch(False)
        former, self._former = self._former, None
        former.remove()
        if not self._context.tasks.busy:
            self._context.messages.say(_("After the last edit."))


class _Release(qt.QWidget):
    """Hears of the release of the key, whichever widget has the focus, while it watches."""

    def __init__(self, onReleased: Any) -> None:
        qt.QWidget.__init__(self)
        self._onReleased = onReleased
        self._keys = [getattr(qt.Qt, f"Key_{key}") for key in KEYS["compare"]]
        self._endings = [getattr(qt.QEvent, name) for name in ENDING]

    def watch(self, watching: bool) -> None:
        """Begins or ends to see all events of the application."""
        (slicer.app.installEventFilter if watching else slicer.app.removeEventFilter)(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Called for every event; stops none."""
        if event.type() == qt.QEvent.KeyRelease:
            ended = event.key() in self._keys and not event.isAutoRepeat()
        else:
            ended = event.type() in self._endings
        if ended:
            self._onReleased()
        return False
