"""The table of segments: what it shows, and what the user does in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import qt
from slicer.i18n import tr as _

from TumorSegSlicer.panel.access.colours import square
from TumorSegSlicer.panel.access.watcher import Watcher

#: Columns, in this order.
VISIBLE, COLOUR, NAME, VOLUME, DIAMETER, SUV = range(6)
#: Rows that are visible without scrolling.
ROWS = 4


@dataclass(frozen=True)
class Row:
    """What a row shows.

    Attributes:
        segmentId: the segment.
        visible: whether it is shown in the views.
        colour: red, green and blue from 0 to 1.
        name: of the segment.
        completed: whether its status says that it must not change.
        figures: volume in ml, longest axial diameter in mm, and SUVmax, as text.
    """

    segmentId: str
    visible: bool
    colour: tuple[float, float, float]
    name: str
    completed: bool
    figures: tuple[str, str, str]


class LesionsTable:
    """A ``QTableWidget`` with one row for each segment; several rows can be selected, one is the current one."""

    def __init__(
        self,
        widget: qt.QTableWidget,
        onCurrent: Callable[[str], None],
        onVisible: Callable[[str, bool], None],
        onName: Callable[[str, str], None],
        onColour: Callable[[str], None],
    ) -> None:
        """Begins without rows.

        Args:
            widget: the table.
            onCurrent: called with the id of a segment whose row was clicked, or reached with the keyboard.
            onVisible: called with the id of a segment and whether it is to be visible.
            onName: called with the id of a segment and its new name.
            onColour: called with the id of a segment whose colour was double-clicked.
        """
        self._widget, self._rows = widget, list[Row]()
        self._onCurrent, self._onVisible, self._onName, self._onColour = onCurrent, onVisible, onName, onColour
        self._filling = False
        self._reached = ""  # the segment whose row has just become the current one, by the press of a click perhaps
        headings = ("", "", _("Name"), _("ml"), _("mm"), _("SUVmax"))
        tips = (
            *(_("Shown in the views"), _("Colour"), _("Name")),
            *(_("Volume in ml"), _("Longest axial diameter in mm (RECIST 1.1)"), _("Highest SUV of the PET")),
        )
        widget.setColumnCount(len(headings))
        for column, (heading, tip) in enumerate(zip(headings, tips)):
            item = qt.QTableWidgetItem(heading)
            item.setToolTip(tip)
            item.setData(qt.Qt.AccessibleTextRole, tip)
            widget.setHorizontalHeaderItem(column, item)
        header = widget.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        widget.verticalHeader().hide()
        self._watcher = Watcher(("FontChange", "PaletteChange"), lambda _event: self._fit())
        self._watcher.watch(widget)
        self._fit()
        self._keys = Watcher(("KeyPress",), self._onKey)
        self._keys.watch(widget)
        widget.connect("currentCellChanged(int,int,int,int)", self._onCell)
        widget.connect("cellClicked(int,int)", self._onClicked)
        widget.connect("cellDoubleClicked(int,int)", self._onDoubleClicked)
        widget.connect("itemChanged(QTableWidgetItem*)", self._onItem)

    def show(self, rows: Sequence[Row], current: str) -> None:
        """Shows these rows; those that stay keep their place in the selection, and a name being edited its editor."""
        with self._fillingTable():
            kept = [row.segmentId for row in rows] == [row.segmentId for row in self._rows]
            if not kept:
                self._widget.setRowCount(0)
                self._widget.setRowCount(len(rows))
            for number, row in enumerate(rows):
                if not kept or row != self._rows[number]:
                    self._fill(number, row)
            self._rows = list(rows)
            self._widget.enabled = bool(rows)  # an empty one would take the focus without showing it
            # A PET makes the column worth its place.
            self._widget.setColumnHidden(SUV, not any(row.figures[SUV - VOLUME] for row in rows))
            if self._idAt(self._widget.currentRow()) != current or not kept:
                self._setCurrent(current)

    def selected(self) -> list[str]:
        """The ids of the selected segments, from top to bottom."""
        items = ((row, self._widget.item(number, NAME)) for number, row in enumerate(self._rows))
        return [row.segmentId for row, item in items if item is not None and item.isSelected()]

    def _fit(self) -> None:
        """Makes the table as high as its rows are, in the letters and colours of now."""
        self._widget.setFixedHeight((ROWS + 1) * (self._widget.fontMetrics().height() + 8))
        with self._fillingTable():
            for number, row in enumerate(self._rows):
                self._fill(number, row)

    def _setCurrent(self, segmentId: str) -> None:
        number = next((number for number, row in enumerate(self._rows) if row.segmentId == segmentId), -1)
        if number < 0:
            self._widget.clearSelection()
        # The default depends on the keys that are held, and would add a row to the selection where that is Ctrl.
        alone = qt.QItemSelectionModel.ClearAndSelect | qt.QItemSelectionModel.Rows
        self._widget.setCurrentCell(number, NAME, alone)

    def _fill(self, number: int, row: Row) -> None:
        visible, colour, name = (self._item(number, column) for column in (VISIBLE, COLOUR, NAME))
        visible.setCheckState(qt.Qt.Checked if row.visible else qt.Qt.Unchecked)
        shown = _("Shown in the views") if row.visible else _("Hidden in the views")
        visible.setToolTip(shown)
        visible.setData(qt.Qt.AccessibleTextRole, shown)
        shade = qt.QColor(*(round(255 * part) for part in row.colour))
        colour.setIcon(square(shade, self._widget.palette))
        colour.setToolTip(_("Double-click, or Return, to choose another colour"))
        colour.setData(qt.Qt.AccessibleTextRole, _("Colour {name}").format(name=shade.name()))
        name.setText(row.name)
        font = name.font()
        font.setItalic(row.completed)
        name.setFont(font)
        name.setToolTip(
            _("Completed: it does not change until its status is 'in progress' again (module Segmentations)")
            if row.completed
            else _("Double-click, or F2, to rename")
        )
        for column, text in enumerate(row.figures, VOLUME):
            self._item(number, column).setText(text)
        self._widget.setRowHeight(number, self._widget.fontMetrics().height() + 8)

    def _item(self, number: int, column: int) -> qt.QTableWidgetItem:
        """The item of a cell, which is made where there is none."""
        item = self._widget.item(number, column)
        if item is None:
            item = qt.QTableWidgetItem()
            flags = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
            if column == NAME:
                flags |= qt.Qt.ItemIsEditable
            if column == VISIBLE:
                flags |= qt.Qt.ItemIsUserCheckable
            item.setFlags(flags)
            self._widget.setItem(number, column, item)
        return item

    def _idAt(self, number: int) -> str:
        return self._rows[number].segmentId if 0 <= number < len(self._rows) else ""

    def _onCell(self, number: int, _column: int, _before: int, _columnBefore: int) -> None:
        if not self._filling and self._idAt(number):
            self._reached = self._idAt(number)
            self._onCurrent(self._reached)

    def _onClicked(self, number: int, column: int) -> None:
        """A click on the current row, which no other signal tells of."""
        reached, self._reached = self._reached, ""
        if column != VISIBLE and self._idAt(number) not in {"", reached}:
            self._onCurrent(self._idAt(number))

    def _onDoubleClicked(self, number: int, column: int) -> None:
        if column == COLOUR and self._idAt(number):
            self._onColour(self._idAt(number))

    def _onKey(self, event: Any) -> None:
        """Return does with the current cell what a double click does; with all but the colour it renames."""
        if event.key() not in (qt.Qt.Key_Return, qt.Qt.Key_Enter):
            return
        number = self._widget.currentRow()
        if self._widget.currentColumn() == COLOUR:
            self._onDoubleClicked(number, COLOUR)
        elif self._idAt(number):
            self._widget.editItem(self._widget.item(number, NAME))

    def _onItem(self, item: qt.QTableWidgetItem) -> None:
        segmentId = self._idAt(item.row())
        if self._filling or not segmentId:
            return
        row = self._rows[item.row()]
        if item.column() == VISIBLE:
            visible = item.checkState() == qt.Qt.Checked
            self._rows[item.row()] = replace(row, visible=visible)
            self._onVisible(segmentId, visible)
        elif item.column() == NAME:
            self._rows[item.row()] = replace(row, name=item.text())  # what the row shows now, to be corrected perhaps
            self._onName(segmentId, item.text().strip())

    @contextmanager
    def _fillingTable(self) -> Iterator[Any]:
        """Marks a block that changes the table, so that its signals are not of the user."""
        filling, self._filling = self._filling, True
        try:
            yield
        finally:
            self._filling = filling
