"""Where the widgets of the panel are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import shiboken6
from PySide6 import QtCore, QtWidgets

if TYPE_CHECKING:
    from Testing.slicer.desk import Desk
    from Testing.slicer.host.host import Host

APPLICATION = QtWidgets.QApplication.instance


class Shape:
    """The part of the window that has the panel, in any size."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.area = host.window.findChild(QtWidgets.QDockWidget).widget()
        self._least, self._size = self.area.minimumWidth, host.window.size

    def set(self, width: int, height: int) -> None:
        """Shows the window with a panel of this size, in pixels."""
        self.area.setMinimumWidth(1)
        self.host.window.show()
        self.area.setFixedSize(width, height)
        self.settle()

    def settle(self) -> None:
        """What was laid out anew may ask for another layout."""
        for _ in range(6):
            self.host.process_events()

    def activate(self) -> None:
        """Makes the window the active one, without which no widget has the focus."""
        other = (
            QtWidgets.QWidget()
        )  # Qt's offscreen windows keep the focus while they are hidden, and never get it again
        for window in (other, self.host.window):
            window.show()
            window.activateWindow()
            self.settle()
        other.close()
        self.host.wait_until(lambda: self.host.window.isActiveWindow, "the window to be active")

    def restore(self) -> None:
        """As it was."""
        self.area.setMinimumSize(self._least, 0)
        self.area.setMaximumSize(16777215, 16777215)
        self.host.window.resize(self._size)


def widgets(desk: Desk) -> Iterator[tuple[str, Any]]:
    """Name and widget of all of the panel that can be seen, but for what is in Slicer's own editor."""
    editor = desk.ui.editor
    for name, widget in vars(desk.ui).items():
        there = isinstance(widget, QtWidgets.QWidget) and shiboken6.isValid(widget)  # the editor deletes some
        if there and widget.isVisible() and not editor.isAncestorOf(widget):
            yield name, widget


def place(widget: Any, within: Any) -> QtCore.QRect:
    """Where a widget is within another one."""
    return QtCore.QRect(widget.mapTo(within, QtCore.QPoint(0, 0)), widget.size)


def expand(desk: Desk) -> None:
    """Opens all sections."""
    for name, widget in vars(desk.ui).items():
        if name.endswith("Section"):
            widget.collapsed = False
    desk.ui.modelDetailsButton.checked = True
