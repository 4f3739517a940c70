"""Hears of events of a widget that Qt has no signal for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


class Watcher(qt.QWidget):
    """Calls a function with events of some types that reach a widget, before the widget gets them; stops none."""

    def __init__(self, types: tuple[str, ...], function: Callable[[Any], None]) -> None:
        """Watches nothing yet.

        Args:
            types: names in ``QEvent``.
            function: called with the event.
        """
        qt.QWidget.__init__(self)
        self._types = [getattr(qt.QEvent, name) for name in types]
        self._function = function

    def watch(self, *widgets: qt.QWidget) -> None:
        """Watches these widgets, too."""
        for widget in widgets:
            widget.installEventFilter(self)

    def leave(self, *widgets: qt.QWidget) -> None:
        """Watches these widgets no more."""
        for widget in widgets:
            widget.removeEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Called by Qt."""
        if event.type() in self._types:
            self._function(event)
        return False
