"""Keys that work while the module is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
from slicer.i18n import tr as _

#: Action to its key. With Shift, since the slice views take single letters for themselves.
KEYS = {
    "positive": "Shift+T",
    "negative": "Shift+B",
    "undo": "Ctrl+Z",
    "redo": "Ctrl+Y",
    "visibility": "Shift+V",
    "next": "Shift+N",
}


def words() -> dict[str, str]:
    """Action to what it does, for the panel."""
    return {
        "positive": _("tumour here"),
        "negative": _("not tumour here"),
        "undo": _("undo"),
        "redo": _("redo"),
        "visibility": _("show or hide the segment"),
        "next": _("next segment"),
    }


class Shortcuts:
    """The keys, in a window; gone once :meth:`remove` was called."""

    def __init__(self) -> None:
        self._made: list[qt.QShortcut] = []

    def install(self, window: qt.QWidget, actions: Mapping[str, Callable[[], None]]) -> None:
        """Lets keys do what is said for each of :data:`KEYS`."""
        self.remove()
        for name, action in actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(KEYS[name]), window)
            shortcut.connect("activated()", action)
            self._made.append(shortcut)

    def remove(self) -> None:
        """Gives the keys back."""
        for shortcut in self._made:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._made = []
