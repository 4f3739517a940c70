"""Keys that work while the module is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
from slicer.i18n import tr as _

#: Action to its keys. None with Shift alone: Shift with a mouse move over a view scrolls all others. A
#: letter goes to a text field first, as Qt asks the widget that has the focus before it looks for shortcuts.
KEYS = {
    "positive": ("T",),
    "negative": ("N",),
    "lasso": ("L",),
    "negativeLasso": ("O",),
    "line": ("D",),
    "box": ("B",),
    "paint": ("P",),
    "erase": ("E",),
    "undo": ("Ctrl+Z",),
    "redo": ("Ctrl+Y", "Ctrl+Shift+Z"),  # of Windows, and of macOS and Linux; Ctrl is the command key of macOS
    "visibility": ("H",),
    "next": ("S",),
}


def words() -> dict[str, str]:
    """Action to what it does, for the panel."""
    return {
        "positive": _("tumour here"),
        "negative": _("not tumour here"),
        "lasso": _("lasso round tumour"),
        "negativeLasso": _("lasso round what is not tumour"),
        "line": _("line across the tumour"),
        "box": _("draw a box"),
        "paint": _("paint"),
        "erase": _("erase"),
        "undo": _("undo"),
        "redo": _("redo"),
        "visibility": _("show or hide the segment"),
        "next": _("next segment"),
    }


def keysInWords() -> str:
    """All keys and what they do, in one line."""
    return ", ".join(
        _("{keys} {action}").format(keys=" / ".join(KEYS[name]), action=text) for name, text in words().items()
    )


class Shortcuts:
    """The keys, in a window; gone once :meth:`remove` was called."""

    def __init__(self) -> None:
        self._made: list[qt.QShortcut] = []

    def install(self, window: qt.QWidget, actions: Mapping[str, Callable[[], None]]) -> None:
        """Installs a shortcut for each action, see :data:`KEYS`."""
        self.remove()
        for name, action in actions.items():
            for keys in KEYS[name]:
                shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
                shortcut.setAutoRepeat(False)
                shortcut.connect("activated()", action)
                self._made.append(shortcut)

    def remove(self) -> None:
        """Gives the keys back."""
        for shortcut in self._made:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._made = []
