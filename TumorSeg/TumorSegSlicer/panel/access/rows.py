"""Rows of buttons that break where the panel is too narrow for their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt

from TumorSegSlicer.panel.access.watcher import Watcher

#: Between buttons, and round their words: pixels.
GAP = 4
MARGINS = {"QToolButton": 10, "QPushButton": 18, "QCheckBox": 34}
#: Name of a row in the ``.ui`` file to its buttons.
ROWS = {
    "firstUseRow": ("installButton", "notNowButton"),
    "toolsRow": ("pointButton", "scribbleButton", "lassoButton", "boxButton", "lineButton", "brushButton"),
    "lesionsRow": ("newSegmentButton", "deleteSegmentButton", "splitButton", "mergeButton"),
    "seeRow": ("nextPlaceButton", "surfaceCheckBox"),
    "measureRow": ("measureButton", "linesCheckBox"),
    "tableRow": ("copyButton", "csvButton"),
    "modelsRow": ("downloadModelButton", "importModelButton", "verifyModelButton", "deleteModelButton"),
    "stepsRow": ("signButton", "undoButton", "redoButton", "resetButton"),
}


class ButtonRow:
    """Buttons side by side, in as few lines of the same number of buttons as their words need."""

    def __init__(self, row: qt.QWidget, buttons: Sequence[Any], words: Mapping[str, Sequence[str]]) -> None:
        """Lays the buttons out.

        Args:
            row: holds the buttons, without a layout.
            buttons: in order.
            words: name of a button to all that may stand on it, where that is more than what stands there now.
        """
        self._row, self._buttons, self._words = row, buttons, words
        self._columns = 0
        self._grid = qt.QGridLayout(row)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP)
        self._watcher = Watcher(
            ("Resize", "LayoutRequest", "FontChange", "StyleChange"), lambda _event: self._arrange()
        )
        self._watcher.watch(row)
        self._arrange()

    def _arrange(self) -> None:
        needs = [self._need(button) for button in self._buttons]
        for button, need in zip(self._buttons, needs):
            if button.minimumWidth != need:
                button.setMinimumWidth(need)
        if self._row.minimumWidth != max(needs):
            self._row.setMinimumWidth(max(needs))
        columns = next(count for count in range(len(needs), 0, -1) if self._fits(needs, count) or count == 1)
        if columns != self._columns:
            self._columns = columns
            for number, button in enumerate(self._buttons):
                self._grid.addWidget(button, number // columns, number % columns)

    def _fits(self, needs: Sequence[int], columns: int) -> bool:
        """Whether so many columns, without a gap in the last line, are not wider than the row."""
        widths = [max(needs[column::columns]) for column in range(columns)]
        return len(needs) % columns == 0 and sum(widths) + GAP * (columns - 1) <= self._row.width

    def _need(self, button: Any) -> int:
        metrics, words = button.fontMetrics(), self._words.get(button.objectName, (button.text,))
        widest = max(metrics.boundingRect(each.replace("&", "")).width() for each in words)
        return int(widest) + MARGINS[button.className()]


def breakRows(ui: Any, words: Mapping[str, Sequence[str]]) -> list[ButtonRow]:
    """Makes all rows of the panel such ones, which last as long as what is returned; for ``words`` see the class."""
    return [ButtonRow(getattr(ui, row), [getattr(ui, name) for name in names], words) for row, names in ROWS.items()]
