"""Keys that work while the module is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
from slicer.i18n import tr as _

#: Action to its keys. None with Shift alone: Shift with a mouse move over a view scrolls all others. A
#: letter goes to a text field first, as Qt asks the widget that has the focus before it looks for shortcuts.
KEYS = {
    "point": ("P",),
    "scribble": ("S",),
    "lasso": ("L",),
    "box": ("B",),
    "line": ("D",),
    "brush": ("E",),
    "sign": ("T",),
    "leave": ("Esc",),
    "next": ("N",),
    "undo": ("Z", "Ctrl+Z"),
    "redo": ("Y", "Ctrl+Y", "Ctrl+Shift+Z"),  # of Windows, and of macOS and Linux; Ctrl is the command key of macOS
    "visibility": ("H",),
    "compare": ("C",),
}


def words() -> dict[str, str]:
    """Action to what it does, for the panel."""
    return {
        "point": _("point"),
        "scribble": _("scribble"),
        "lasso": _("lasso"),
        "box": _("box"),
        "line": _("line across the lesion"),
        "brush": _("brush"),
        "sign": _("tumour or not (or hold Ctrl)"),
        "leave": _("put the tool down"),
        "next": _("next lesion"),
        "undo": _("undo"),
        "redo": _("redo"),
        "visibility": _("show or hide the lesion"),
        "compare": _("before the last edit, as long as it is held"),
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
