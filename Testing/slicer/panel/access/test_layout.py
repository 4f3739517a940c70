"""The panel is as narrow as 320 pixels, has letters of any size, and shows what counts without scrolling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.slicer.desk import Desk
from Testing.slicer.module import REPOSITORY
from Testing.slicer.panel.access.places import Shape, expand, place, widgets

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

NARROW = 320
#: Of a window of 900 pixels Slicer takes these: title, menus and toolbars, the module's selector and help, with Data
#: Probe closed and the status bar. An assumption, as the application is not at hand.
SLICER = 150


def cut(desk: Desk) -> Iterator[str]:
    """What is not to be seen whole: outside what holds it, over a neighbour, or smaller than its words."""
    shown = dict(widgets(desk))
    for name, widget in shown.items():
        holder = QtWidgets.QWidget.parentWidget(widget)
        if not holder.rect.contains(place(widget, holder)) and name != "sections":
            yield f"{name} leaves {holder.objectName}"
        if widget.size.width() < words_width(widget):
            yield f"{name} is narrower than its words"
        if isinstance(widget, QtWidgets.QLabel) and widget.height < words_height(widget):
            yield f"{name} is lower than its words"
    for one, other in overlapping(shown):
        yield f"{one} lies over {other}"


def words_width(widget: Any) -> int:
    """The width of the words on a button, or in a label that does not break them."""
    if isinstance(widget, QtWidgets.QAbstractButton) or (isinstance(widget, QtWidgets.QLabel) and not widget.wordWrap):
        lines = widget.text.replace("&", "").split("\n")
        return max(widget.fontMetrics().horizontalAdvance(line) for line in lines)
    return 0


def words_height(label: Any) -> int:
    return int(label.heightForWidth(label.width)) if label.wordWrap else label.fontMetrics().height()


def overlapping(shown: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names = list(shown)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            a, b = shown[one], shown[other]
            if QtWidgets.QWidget.parentWidget(a) is QtWidgets.QWidget.parentWidget(b):
                holder = QtWidgets.QWidget.parentWidget(a)
                if place(a, holder).intersects(place(b, holder)):
                    yield one, other


@pytest.mark.parametrize("running", [True, False], ids=["changed while running", "from the start"])
@pytest.mark.parametrize(("width", "times"), [(NARROW, 1.0), (2 * NARROW, 2.0), (500, 2.0)])
def test_nothing_is_cut_off(
    host: Host, shape: Shape, set_font: Callable[[float], None], width: int, times: float, running: bool
) -> None:
    if not running:
        set_font(times)
    desk = Desk(host)
    desk.press("segmentButton")
    expand(desk)
    shape.set(width, 900 - SLICER)
    if running:
        set_font(times)
        shape.settle()
    for area in (shape.area, desk.ui.sectionsArea):
        assert area.horizontalScrollBar().maximum == 0
    assert shape.area.verticalScrollBar().maximum == 0  # the strip stays where it is
    assert desk.widget.parent.minimumSizeHint().width() <= width
    assert len(dict(widgets(desk))) > 80
    host.screenshot(REPOSITORY / "Testing" / "output" / f"panel-{width}-{times:g}.png", shape.area)
    assert list(cut(desk)) == []


def test_rows_break_only_where_they_must(desk: Desk, shape: Shape) -> None:
    def lines() -> dict[str, int]:
        rows = {"toolsRow": "pointButton", "lesionsRow": "newSegmentButton", "stepsRow": "signButton"}
        found = {}
        for row in rows:
            buttons = getattr(desk.ui, row).findChildren(QtWidgets.QAbstractButton)
            found[row] = len({button.y for button in buttons})
        return found

    shape.set(NARROW, 750)
    assert lines() == {"toolsRow": 1, "lesionsRow": 1, "stepsRow": 1}
    shape.set(240, 750)
    assert lines() == {"toolsRow": 2, "lesionsRow": 2, "stepsRow": 2}
    shape.set(NARROW, 750)
    desk.ui.signButton.click()  # whose words are longer then
    shape.settle()
    assert lines() == {"toolsRow": 1, "lesionsRow": 1, "stepsRow": 1}
    assert list(cut(desk)) == []


@pytest.mark.parametrize("width", [NARROW, 440])
def test_images_prompts_list_and_strip_are_seen_without_scrolling(desk: Desk, shape: Shape, width: int) -> None:
    shape.set(width, 900 - SLICER)
    desk.ui.newSegmentButton.click()
    shape.settle()
    ui = desk.ui
    for name in ("inputsSection", "findSection", "promptSection", "lesionsSection"):
        seen = place(getattr(ui, name), ui.sectionsArea.viewport())
        assert not getattr(ui, name).collapsed
        assert ui.sectionsArea.viewport().rect.contains(seen), name
    assert shape.area.viewport().rect.contains(place(ui.strip, shape.area.viewport()))
    assert ui.lesionsTable.height >= 5 * ui.lesionsTable.fontMetrics().height()  # heading and four rows
    assert shape.area.verticalScrollBar().maximum == 0


def test_what_is_chosen_is_told_whole_where_a_list_is_too_narrow_for_it(desk: Desk) -> None:
    desk.choose_role(1, "mr_t1ce")
    told = {}
    for name in ("modelSelector", "role1Selector", "role2Selector", "overlapSelector"):
        box = getattr(desk.ui, name)
        at = QtCore.QPoint(5, 5)
        for _twice in range(2):
            event = QtGui.QHelpEvent(QtCore.QEvent.Type.ToolTip, at, box.mapToGlobal(at))
            QtWidgets.QApplication.sendEvent(box, event)
        told[name], _, purpose = box.toolTip.partition("\n")
        assert told[name] == box.currentText
        assert len(purpose) > 20
        assert "\n" not in purpose
    assert told["role1Selector"] == "T1 MR with contrast"


def test_letters_that_grow_while_slicer_runs_have_the_room_of_those_from_the_start(
    desk: Desk, shape: Shape, set_font: Callable[[float], None]
) -> None:
    sections = [widget for name, widget in vars(desk.ui).items() if name.endswith("Section")]
    shape.set(500, 750)
    for times in (2.0, 1.5, 1.0):
        set_font(times)
        shape.settle()
        for section in sections:
            head = section._head_size().height()  # as CTK's, which measures it once
            assert section.contentsRect().top() == pytest.approx(head, abs=1)
            assert section.height >= head or not section.isVisible()
            for child in section._contents():
                assert section.collapsed or child.isHidden() or child.y >= head - 1, child.objectName
        letters = QtWidgets.QApplication.font().pointSizeF()
        for name in ("signButton", "errorSign", "measureButton"):
            assert getattr(desk.ui, name).font.pointSizeF() == letters
    assert {section.collapsed for section in sections} == {True, False}
    for section in sections:
        section.collapsed = not section.collapsed
    shape.settle()
    assert list(cut(desk)) == []


def test_the_list_is_as_high_as_its_rows(desk: Desk, shape: Shape, set_font: Callable[[float], None]) -> None:
    shape.set(440, 750)
    before = desk.ui.lesionsTable.height
    set_font(2.0)
    shape.settle()
    assert desk.ui.lesionsTable.height > 1.5 * before
    assert QtCore.QSize(desk.ui.lesionsTable.size).height() == desk.ui.lesionsTable.maximumHeight
