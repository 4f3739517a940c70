"""Everything in the panel can be reached and done with the keyboard, but for what is drawn in the views."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from PySide6 import QtCore, QtWidgets
from PySide6.QtTest import QTest

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import COLOUR, NAME, VISIBLE, LesionList, paint
from Testing.slicer.module import segment_ids
from Testing.slicer.panel.access.places import Shape, expand, place

Key = QtCore.Qt.Key


def walk(desk: Desk) -> Iterator[Any]:
    """Where the key Tab leads, from the first widget of the panel until it leaves it; each while it has the focus."""
    panel, found = desk.widget.uiWidget, [desk.ui.inputsSection]
    found[0].setFocus()
    QTest.keyClick(found[0], Key.Key_Tab)  # so that Qt shows the focus
    QTest.keyClick(QtWidgets.QApplication.focusWidget(), Key.Key_Backtab)
    while QtWidgets.QApplication.focusWidget() is found[-1] and len(found) < 200:
        yield found[-1]
        QTest.keyClick(found[-1], Key.Key_Tab)
        desk.host.process_events()
        now = QtWidgets.QApplication.focusWidget()
        if panel.isAncestorOf(now) and now not in found:
            found.append(now)


def focusable(desk: Desk) -> list[Any]:
    """What the key Tab must lead to: all that can have the focus by it, but for what is in Slicer's own editor."""
    tab = QtCore.Qt.FocusPolicy.TabFocus
    widgets = desk.widget.uiWidget.findChildren(QtWidgets.QWidget)
    return [
        each
        for each in widgets
        if each.focusPolicy & tab
        and each.isVisible()
        and each.enabled
        and each.focusProxy() is None
        and not desk.ui.editor.isAncestorOf(each)
    ]


def named(desk: Desk, widget: Any) -> str:
    """The name of a widget in the ``.ui`` file, or of the one that it is a part of."""
    names = {each: name for name, each in vars(desk.ui).items()}
    while widget not in names:
        widget = QtWidgets.QWidget.parentWidget(widget)
    return names[widget]


@pytest.mark.parametrize("width", [320, 440])
def test_tab_leads_through_all_of_the_panel_in_the_order_of_reading(desk: Desk, shape: Shape, width: int) -> None:
    desk.find()
    desk.press("measureButton")
    expand(desk)
    shape.set(width, 2600)
    shape.activate()
    chain = list(walk(desk))
    own = [each for each in chain if not desk.ui.editor.isAncestorOf(each)]
    assert {named(desk, each) for each in focusable(desk)} <= {named(desk, each) for each in own}
    assert len(own) > 55
    panel = desk.widget.uiWidget
    for before, after in pairwise(own):
        one, other = place(before, panel), place(after, panel)
        names = f"{named(desk, before)} -> {named(desk, after)}"
        if before.isAncestorOf(after):
            continue  # a section's head, and what it holds
        if type(before).__name__ == "ctkCollapsibleButton":
            one.setHeight(20)
        same_line = one.top() < other.bottom() and other.top() < one.bottom()
        assert (one.left() < other.left()) if same_line else (one.top() < other.top()), names


@pytest.mark.parametrize("measured", [True, False])
def test_the_focus_is_seen(desk: Desk, shape: Shape, measured: bool) -> None:
    if measured:
        desk.find()
        desk.press("measureButton")
    expand(desk)
    shape.set(440, 2600)
    shape.activate()
    pictures = [(widget, widget.grab().toImage()) for widget in walk(desk) if not desk.ui.editor.isAncestorOf(widget)]
    assert len(pictures) > 40
    assert [named(desk, widget) for widget, picture in pictures if widget.grab().toImage() == picture] == []


def test_space_presses_buttons_and_opens_sections(desk: Desk, shape: Shape) -> None:
    shape.set(440, 750)
    for name in ("seeSection", "inputsSection"):
        section = getattr(desk.ui, name)
        before = section.collapsed
        QTest.keyClick(section, Key.Key_Space)
        assert section.collapsed is not before
        QTest.keyClick(section, Key.Key_Space)
        assert section.collapsed is before
    QTest.keyClick(desk.ui.newSegmentButton, Key.Key_Space)
    assert desk.segment
    QTest.keyClick(desk.ui.lassoButton, Key.Key_Space)
    assert desk.ui.lassoButton.checked
    QTest.keyClick(desk.ui.signButton, Key.Key_Space)
    assert desk.ui.signButton.text.startswith("−")  # noqa: RUF001 - the sign
    QTest.keyClick(desk.ui.segmentButton, Key.Key_Space)
    desk.wait()
    assert desk.mask().any()


def test_the_list_is_worked_with_the_keys(desk: Desk, shape: Shape, qt: Any) -> None:
    shape.set(440, 750)
    shape.activate()
    desk.find()
    desk.ui.newSegmentButton.click()
    paint(desk, (5, 5, 5), (6, 6, 6), desk.segment)
    lesions = LesionList(desk).settled()
    first, second = segment_ids(desk.node)
    table = desk.ui.lesionsTable
    lesions.press_key("Key_Up")
    assert desk.segment == first
    lesions.press_key("Key_Down")
    assert desk.segment == second
    for _ in range(2):
        lesions.press_key("Key_Left")
    assert table.currentColumn() == VISIBLE
    lesions.press_key("Key_Space")
    assert not desk.node.GetDisplayNode().GetSegmentVisibility(second)
    lesions.press_key("Key_Right")
    assert table.currentColumn() == COLOUR
    desk.host.dialogs.answer(qt.QColor(1, 2, 3))
    lesions.press_key("Key_Return")
    assert [round(255 * part) for part in desk.node.GetSegmentation().GetSegment(second).GetColor()] == [1, 2, 3]
    lesions.settled()
    for key in ("Key_Return", "Key_F2"):
        table.setCurrentCell(1, NAME)
        lesions.press_key(key)
        editor = table.viewport().findChild(QtWidgets.QLineEdit)
        QTest.keyClicks(editor, f"Node {key}")
        QTest.keyClick(editor, Key.Key_Return)
        desk.host.process_events()
        assert desk.node.GetSegmentation().GetSegment(second).GetName() == f"Node {key}"
        lesions.settled()


def test_tab_leaves_lists_and_tables(desk: Desk, shape: Shape) -> None:
    desk.find()
    desk.press("measureButton")
    expand(desk)
    shape.set(440, 2600)
    shape.activate()
    for name in ("lesionsTable", "measurementsTable", "modelsList", "installLog"):
        if not getattr(desk.ui, name).isVisible():
            continue
        getattr(desk.ui, name).setFocus()
        QTest.keyClick(getattr(desk.ui, name), Key.Key_Tab)
        assert named(desk, QtWidgets.QApplication.focusWidget()) != name


def test_the_comparison_lasts_as_long_as_space_is_held_on_its_button(desk: Desk, shape: Shape) -> None:
    desk.find()
    desk.start_click((32, 32, 16))
    desk.wait()
    expand(desk)
    shape.set(440, 2600)
    button = desk.ui.compareButton
    QTest.keyPress(button, Key.Key_Space)
    assert desk.status.startswith("Before the last edit")
    QTest.keyRelease(button, Key.Key_Space)
    assert desk.status == "After the last edit."
