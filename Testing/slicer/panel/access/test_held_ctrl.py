"""While Ctrl is held the strip shows the sign that the next prompt has."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6 import QtCore, QtWidgets
from PySide6.QtTest import QTest

from Testing.slicer.desk import Desk

CTRL, HELD = QtCore.Qt.Key.Key_Control, ("ControlModifier",)


@pytest.fixture
def view(desk: Desk) -> Any:
    """A slice view, which has the focus while something is drawn in it."""
    desk.find()
    desk.host.show(desk.volumes["ct"])
    return desk.host.app.layout_manager.sliceWidget("Red").sliceView()


def sign(desk: Desk) -> str:
    """What the strip shows, by words, name and shape."""
    button = desk.ui.signButton
    shown = button.text[0], button.accessibleName, "border-radius: 9px" in button.styleSheet
    signs = {("+", "Next prompt: tumour", True): "+", ("−", "Next prompt: not tumour", False): "−"}  # noqa: RUF001
    return signs[shown]


@pytest.mark.parametrize("tool", ["point", "scribble", "lasso"])
@pytest.mark.parametrize("first", ["+", "−"])  # noqa: RUF001 - the sign
def test_the_sign_is_the_other_one_while_ctrl_is_held(desk: Desk, view: Any, tool: str, first: str) -> None:
    desk.take(tool, first == "+")
    other = {"+": "−", "−": "+"}[first]  # noqa: RUF001 - the sign
    assert sign(desk) == first
    for _twice in range(2):
        QTest.keyPress(view, CTRL)
        assert sign(desk) == other
        QTest.keyRelease(view, CTRL)
        assert sign(desk) == first


def test_the_mouse_shows_the_sign_at_once(desk: Desk, view: Any) -> None:
    desk.take("point")
    before = view.cursor.pixmap().toImage()
    QTest.keyPress(view, CTRL)
    assert view.cursor.pixmap().toImage() != before
    QTest.keyRelease(view, CTRL)
    assert view.cursor.pixmap().toImage() == before


def test_a_prompt_with_ctrl_has_the_sign_that_was_shown(desk: Desk, view: Any) -> None:
    desk.take("point")
    QTest.keyPress(view, CTRL)
    before = desk.steps()
    desk.host.click("Red", desk.ras(32, 32, 16), held=HELD)
    desk.host.wait_until(lambda: desk.steps() > before, "the click to be answered", 60)
    desk.wait()
    ((_ras, positive),) = desk.widget.logic.clickPoints(desk.node, desk.segment)
    assert (positive, sign(desk)) == (False, "−")  # noqa: RUF001 - the sign
    QTest.keyRelease(view, CTRL)
    assert sign(desk) == "+"


@pytest.mark.parametrize("how", ["another window", "the mouse", "the tool is put down", "the scene is closed"])
def test_a_key_released_elsewhere_is_not_held(desk: Desk, view: Any, how: str) -> None:
    import slicer

    desk.take("scribble")
    QTest.keyPress(view, CTRL)
    assert sign(desk) == "−"  # noqa: RUF001 - the sign
    if how == "another window":
        QtWidgets.QApplication.sendEvent(desk.host.window, QtCore.QEvent(QtCore.QEvent.Type.WindowDeactivate))
    elif how == "the mouse":
        desk.host.mouse.move("Red", (0.5, 0.5))
    elif how == "the tool is put down":
        desk.leave()
    else:
        slicer.mrmlScene.Clear(False)
    assert sign(desk) == "+"


def test_ctrl_means_nothing_without_a_tool_that_has_a_sign(desk: Desk, view: Any) -> None:
    for tool in ("", "line", "box"):
        if tool:
            desk.take(tool)
        QTest.keyPress(view, CTRL)
        assert sign(desk) == "+"
        QTest.keyRelease(view, CTRL)
