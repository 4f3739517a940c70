"""A user at the list of lesions: reads it, clicks on its rows, types into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6 import QtCore, QtWidgets
from PySide6.QtTest import QTest

from Testing.slicer.desk import paint_box
from Testing.slicer.module import segment_ids, voxels

if TYPE_CHECKING:
    from Testing.slicer.desk import Desk

VISIBLE, COLOUR, NAME, VOLUME, DIAMETER, SUV = range(6)
CONTROL = QtCore.Qt.KeyboardModifier.ControlModifier


class LesionList:
    """The list of a panel."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.widget = desk, desk.ui.lesionsTable

    def settled(self) -> LesionList:
        """Waits until all that has happened is shown, figures included."""
        panel = self.desk.widget.panel.lesions
        runner = self.desk.context.tasks._runner

        def idle() -> bool:
            waiting = panel._updating.isActive() or panel._figures._timer.isActive() or panel._figures._measuring
            return not waiting and runner.idle

        self.desk.host.wait_until(idle, "the list to be up to date", 60)
        return self

    def texts(self, column: int) -> list[str]:
        """A column from top to bottom."""
        return [self.widget.item(row, column).text() for row in range(self.widget.rowCount)]

    def row_of(self, segment: str) -> int:
        return segment_ids(self.desk.node).index(segment)

    def selected(self) -> list[str]:
        """Ids of the segments whose rows are selected."""
        ids = segment_ids(self.desk.node) if self.desk.node is not None else []
        rows = range(self.widget.rowCount)
        return [ids[row] for row in rows if self.widget.item(row, NAME).isSelected()]

    def click(self, segment: str, column: int = NAME, modifier: Any = None, double: bool = False) -> None:
        """Clicks into a cell, with a key held perhaps."""
        self.show()
        at = self.widget.visualItemRect(self.widget.item(self.row_of(segment), column)).center()
        viewport, button = self.widget.viewport(), QtCore.Qt.MouseButton.LeftButton
        QTest.mouseClick(viewport, button, modifier or QtCore.Qt.KeyboardModifier.NoModifier, at)
        if double:
            QTest.mouseDClick(viewport, button, pos=at)
        self.desk.host.process_events()

    def press_key(self, name: str) -> None:
        """Presses a key, as in ``Qt.Key``, while the list has the focus."""
        self.show()
        self.widget.setFocus()
        QTest.keyClick(self.widget, QtCore.Qt.Key[name])
        self.desk.host.process_events()

    def rename(self, segment: str, name: str) -> None:
        """Double-clicks on a name, types another one and presses Return."""
        self.click(segment, double=True)
        editor = self.widget.viewport().findChild(QtWidgets.QLineEdit)
        editor.selectAll()
        QTest.keyClicks(editor, name)
        QTest.keyClick(editor, QtCore.Qt.Key.Key_Return)
        self.desk.host.process_events()

    def toggle(self, segment: str) -> None:
        """Clicks on the box that says whether a segment is shown in the views."""
        self.show()
        item = self.widget.item(self.row_of(segment), VISIBLE)
        rect = self.widget.visualItemRect(item)
        at = QtCore.QPoint(rect.left() + 10, rect.center().y())
        QTest.mouseClick(self.widget.viewport(), QtCore.Qt.MouseButton.LeftButton, pos=at)
        self.desk.host.process_events()

    def show(self) -> None:
        """The window must be shown for its places to be known, and the list up to date."""
        self.desk.host.window.show()
        self.desk.host.process_events()


# Low corner and size of boxes that do not touch, in voxels, the largest first.
BOXES = (((5, 5, 5), (6, 6, 6)), ((20, 20, 10), (5, 5, 5)), ((40, 40, 20), (3, 3, 3)))


def paint(desk: Desk, low: tuple[int, int, int], size: tuple[int, int, int], segment: str = "") -> None:
    """Paints by Slicer's own means and waits until that is one step."""
    before = desk.steps()
    paint_box(desk, low, size, segment)  # type: ignore[arg-type]
    desk.host.wait_until(lambda: desk.steps() > before, "the stroke to be imported", 60)


def size_of(desk: Desk, segment: str) -> int:
    return int(voxels(desk.node, segment, desk.volumes["ct"]).sum())


def lock(desk: Desk, segment: str) -> None:
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(desk.node.GetSegmentation().GetSegment(segment), logic.Completed)


def split(lesions: LesionList) -> list[str]:
    lesions.desk.press("splitButton")
    lesions.settled()
    return segment_ids(lesions.desk.node)
