"""The key Ctrl, held while something is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from TumorSegSlicer.panel.access.watcher import Watcher


class HeldCtrl:
    """Whether Ctrl is held, while that counts.

    Keys are heard in the main window, where they arrive from any view; one that is released over another program is
    not, so the mouse in the views tells as well.
    """

    def __init__(self, onChanged: Callable[[], None]) -> None:
        """Begins without listening; ``onChanged`` is called when the key is pressed or released."""
        self._onChanged = onChanged
        self._window: qt.QWidget | None = None
        self._watcher = Watcher(("KeyPress", "KeyRelease", "WindowDeactivate"), self._onEvent)
        self.held = False

    def watch(self, watching: bool) -> None:
        """Begins or ends to listen; not held where nobody listens."""
        window = slicer.util.mainWindow() if watching else None
        if window is not self._window:
            if self._window is not None:
                self._watcher.leave(self._window)
            self._window = window
            if window is not None:
                self._watcher.watch(window)
        if not watching:
            self.tell(False)

    def tell(self, held: bool) -> None:
        """What is known of the key from elsewhere."""
        if held != self.held:
            self.held = held
            self._onChanged()

    def _onEvent(self, event: Any) -> None:
        if event.type() == qt.QEvent.WindowDeactivate:
            self.tell(False)
        elif event.key() == qt.Qt.Key_Control:
            self.tell(event.type() == qt.QEvent.KeyPress)
