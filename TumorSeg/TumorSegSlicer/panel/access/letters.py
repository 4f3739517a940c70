"""Letters of another size, set while Slicer runs: widgets that would keep the former one, or its place, follow."""

from __future__ import annotations

from typing import Any

from TumorSegSlicer.panel.access.watcher import Watcher

#: Widgets with a style sheet of their own, which keep the letters that they had when they got it.
STYLED = ("signButton", "errorSign")


class Letters:
    """Sees to the letters of the panel, as long as this object lasts."""

    def __init__(self, ui: Any) -> None:
        """Takes the size of now as the one that CTK measured the heads of sections by, which it does once."""
        self._ui = ui
        self._sections = [each for each in vars(ui).values() if each.className() == "ctkCollapsibleButton"]
        self._height = self._now()
        self._watcher = Watcher(("FontChange",), lambda _event: self._follow())
        self._watcher.watch(ui.strip)

    def _now(self) -> int:
        return int(self._ui.strip.fontMetrics().height())

    def _follow(self) -> None:
        grown, self._height = self._now() - self._height, self._now()
        for section in self._sections:
            section.setContentsMargins(0, section.contentsRect().top() + grown, 0, 0)
            if section.collapsed:
                section.setMaximumHeight(section.maximumHeight + grown)
        for name in STYLED:
            getattr(self._ui, name).setFont(self._ui.strip.font)
