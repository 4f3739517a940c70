"""The user's mouse in the slice views: Qt's events, as the window system sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets


class Mouse:
    """Clicks and drags in slice views, at places in RAS mm."""

    def __init__(self, layout_manager: Any, settle: Callable[[], None]) -> None:
        """Keeps the views; ``settle`` runs what Qt has waiting."""
        self._layout_manager, self._settle = layout_manager, settle

    def click(self, view: str, ras: Sequence[float], button: str = "LeftButton", held: Sequence[str] = ()) -> None:
        """Moves a view ("Red", "Green", "Yellow") to the slice of a place and clicks on it.

        Args:
            view: name of the view, which must be shown.
            ras: RAS mm; in the world, so after all transforms.
            button: of the mouse, as in ``Qt.MouseButton``.
            held: names of modifiers, as in ``Qt.KeyboardModifier``.

        Raises:
            ValueError: the place lies outside what the view shows.
        """
        self._view(view).mrmlSliceNode().JumpSliceByOffsetting(*ras)
        self._settle()
        x, y = self.pixel(view, ras)
        # A mouse that is there already does not move, and Slicer's preview of a point follows the moves.
        for place in ((x + 2, y), (x, y)):
            self.send(view, "Move", place, held)
        self.send(view, "ButtonPress", (x, y), held, button)
        self.send(view, "ButtonRelease", (x, y), held, button)
        self._settle()

    def drag(self, view: str, places: Sequence[Sequence[float]], held: Sequence[str] = (), drop: bool = True) -> None:
        """Moves a view to the slice of the first place, presses the left button there and drags it through the others.

        Args:
            view, held: see :meth:`click`.
            places: RAS mm.
            drop: False leaves the button pressed.
        """
        self._view(view).mrmlSliceNode().JumpSliceByOffsetting(*places[0])
        self._settle()
        first, *others = [self.pixel(view, ras) for ras in places]
        self.send(view, "Move", first, held)
        self.send(view, "ButtonPress", first, held, "LeftButton")
        for place in others:
            self.send(view, "Move", place, held, "LeftButton")
        if drop:
            self.send(view, "ButtonRelease", (others or [first])[-1], held, "LeftButton")
        self._settle()

    def _view(self, name: str) -> Any:
        """A slice view by its name."""
        return self._layout_manager.sliceWidget(name).sliceView()

    def pixel(self, view: str, ras: Sequence[float]) -> tuple[int, int]:
        """Where a place is in a view, in Qt's pixels; raises :class:`ValueError` where the view does not show it."""
        slice_view = self._view(view)
        x, y, _ = slice_view.convertRASToXYZ(ras)
        at = QtCore.QPoint(round(x), slice_view.renderWindow().GetSize()[1] - 1 - round(y))
        if not QtWidgets.QWidget.rect(slice_view).contains(at):
            raise ValueError(f"RAS {tuple(ras)} lies outside what the view {view} shows; show(volume) fits it")
        return at.x(), at.y()

    def send(
        self, view: str, what: str, at: tuple[int, int], held: Sequence[str] = (), button: str = "NoButton"
    ) -> None:
        """One event of the mouse in a slice view.

        Args:
            view: its name.
            what: "Move", "ButtonPress", "ButtonDblClick" or "ButtonRelease".
            at: Qt's pixels of the view.
            held: names of modifiers, as in ``Qt.KeyboardModifier``.
            button: as in ``Qt.MouseButton``; of a move, that is down.
        """
        slice_view, none = self._view(view), QtCore.Qt.MouseButton.NoButton
        modifiers, pressed = QtCore.Qt.KeyboardModifier.NoModifier, QtCore.Qt.MouseButton[button]
        for name in held:
            modifiers |= QtCore.Qt.KeyboardModifier[name]
        event = QtGui.QMouseEvent(
            QtCore.QEvent.Type[f"Mouse{what}"],
            QtCore.QPointF(*at),
            slice_view.mapToGlobal(QtCore.QPointF(*at)),
            none if what == "Move" else pressed,
            none if what == "ButtonRelease" else pressed,
            modifiers,
        )
        QtWidgets.QApplication.sendEvent(slice_view, event)

    def move(self, view: str, to: tuple[float, float], *held: str) -> None:
        """Moves the mouse over a view with keys held down.

        Args:
            view: its name; it must be shown.
            to: where to, as shares of the view's width and height.
            held: names of modifiers, as in ``Qt.KeyboardModifier``.
        """
        size = self._view(view).size
        for share in (0.5, 1.0):
            self.send(view, "Move", (round(size.width() * to[0] * share), round(size.height() * to[1] * share)), held)
        self._settle()
