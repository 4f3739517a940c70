"""What a screen reader is told, by Qt's own accessibility objects."""

from __future__ import annotations

from typing import Any

from PySide6 import QtGui, QtWidgets

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import COLOUR, VISIBLE
from Testing.slicer.panel.access.places import Shape, expand
from Testing.slicer.panel.access.test_keyboard import focusable, named

Text = QtGui.QAccessible.Text


def told(widget: Any, what: Any = Text.Name) -> str:
    """A name or description as a screen reader gets it."""
    if isinstance(widget, QtWidgets.QComboBox) and what is Text.Name:
        return str(widget.accessibleName)  # which Qt passes on but on Linux, where it gives what is chosen
    return str(QtGui.QAccessible.queryAccessibleInterface(widget).text(what))


def test_everything_that_can_be_used_has_a_name_of_its_own(desk: Desk, shape: Shape) -> None:
    desk.find()
    desk.press("measureButton")
    for number in (3, 4):  # all rows of images are shown
        getattr(desk.ui, f"image{number}Selector").setCurrentNode(desk.volumes["ct"])
    expand(desk)
    shape.set(440, 2600)
    names = {}
    for widget in focusable(desk):
        names.setdefault(named(desk, widget), set()).add(told(widget))
    assert [name for name, each in names.items() if "" in each] == []
    assert all(len(each) == 1 for each in names.values()), names
    # A section may be called as a button in it.
    given = [next(iter(each)).replace("&", "") for name, each in names.items() if not name.endswith("Section")]
    assert len(given) > 45
    assert sorted(each for each in set(given) if given.count(each) > 1) == []


def test_descriptions_say_what_names_do_not(desk: Desk, shape: Shape) -> None:
    expand(desk)
    shape.set(440, 2600)
    missing = [
        name
        for name, widget in vars(desk.ui).items()
        if isinstance(widget, QtWidgets.QAbstractButton | QtWidgets.QComboBox | QtWidgets.QTableWidget)
        and not name.endswith("Section")
        and widget in focusable(desk)
        and not told(widget, Text.Description)
    ]
    assert missing == []
    assert "click in a slice view" in told(desk.ui.pointButton, Text.Description)


def test_columns_and_cells_without_words_have_names(desk: Desk, shape: Shape) -> None:
    shape.set(440, 750)
    desk.find()
    table = QtGui.QAccessible.queryAccessibleInterface(desk.ui.lesionsTable)
    cells = [table.child(number) for number in range(table.childCount())]
    names = [cell.text(Text.Name) for cell in cells]
    for words in ("Shown in the views", "Colour", "Name", "Volume in ml", "Longest axial diameter in mm (RECIST 1.1)"):
        assert words in names
    row = desk.ui.lesionsTable
    role = QtGui.Qt.ItemDataRole.AccessibleTextRole
    assert row.item(0, VISIBLE).data(role) == "Shown in the views"
    desk.node.GetDisplayNode().SetSegmentVisibility(desk.segment, False)
    desk.host.process_events()
    assert row.item(0, VISIBLE).data(role) == "Hidden in the views"
    assert row.item(0, COLOUR).data(role).startswith("Colour #")


def test_the_status_is_the_name_of_its_label_so_that_it_is_told_when_it_changes(desk: Desk) -> None:
    # QLabel tells of another text as of another name, unless it has an accessible name of its own.
    assert desk.ui.statusLabel.accessibleName == ""
    desk.find()
    assert told(desk.ui.statusLabel) == desk.status != ""


def test_sign_and_progress_are_told(desk: Desk) -> None:
    assert told(desk.ui.signButton) == "Next prompt: tumour"
    desk.ui.signButton.click()
    assert told(desk.ui.signButton) == "Next prompt: not tumour"
    assert told(desk.ui.progressBar) == "Progress"
