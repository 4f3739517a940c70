"""The keys of the panel, pressed in the window as a user would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtTest import QTest

from Testing.slicer.desk import Desk

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

MODIFIERS = {"Shift": "ShiftModifier", "Ctrl": "ControlModifier", "Alt": "AltModifier"}


@pytest.fixture
def desk(host: Host) -> Desk:
    made = Desk(host)
    host.window.show()
    host.window.activateWindow()
    host.process_events()
    return made


def keys_of(action: str) -> tuple[str, ...]:
    from TumorSegSlicer.panel.shortcuts import KEYS

    return KEYS[action]


def press(desk: Desk, action: str, widget: Any = None, which: int = 0) -> None:
    """Presses the key of an action while a widget, the window by default, has the focus."""
    import qt

    *held, letter = keys_of(action)[which].split("+")
    modifiers = qt.Qt.NoModifier
    for name in held:
        modifiers |= getattr(qt.Qt, MODIFIERS[name])
    QTest.keyClick(widget or desk.host.window, getattr(qt.Qt, f"Key_{letter}"), modifiers)
    desk.host.process_events()


def view(desk: Desk) -> Any:
    """A slice view, which takes single letters for itself in Slicer."""
    import slicer

    return slicer.app.layoutManager().sliceWidget("Red").sliceView()


def test_shortcuts_start_click_and_box_tools(desk: Desk) -> None:
    import slicer

    desk.find()
    desk.host.show(desk.volumes["ct"])
    ui, interaction = desk.ui, slicer.app.applicationLogic().GetInteractionNode()
    press(desk, "positive", view(desk))
    assert (ui.positiveButton.checked, ui.negativeButton.checked) == (True, False)
    press(desk, "negative", view(desk))
    assert (ui.positiveButton.checked, ui.negativeButton.checked) == (False, True)
    press(desk, "negative", view(desk))
    assert not ui.negativeButton.checked
    press(desk, "box", view(desk))
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert ui.boxSelector.currentNode() is not None


@pytest.mark.parametrize(("action", "tool"), [("paint", "Paint"), ("erase", "Erase")])
def test_shortcuts_toggle_the_brush(desk: Desk, action: str, tool: str) -> None:
    desk.find()
    press(desk, action)
    assert desk.ui.editor.activeEffect().name == tool
    assert not desk.ui.brushSection.collapsed
    press(desk, action)
    assert desk.ui.editor.activeEffect() is None


def test_brush_shortcut_adds_a_segment(desk: Desk) -> None:
    press(desk, "paint")
    assert desk.segment
    assert desk.ui.editor.activeEffect().name == "Paint"


def test_brush_shortcut_needs_an_image(desk: Desk) -> None:
    desk.choose_nothing()
    press(desk, "paint")
    assert desk.status == "Choose at least one image first."
    assert desk.ui.editor.activeEffect() is None


def test_shortcuts_select_and_hide_segments(desk: Desk) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    press(desk, "next")
    assert desk.segment == first
    display = desk.node.GetDisplayNode()
    for visible in (False, True):
        press(desk, "visibility")
        assert bool(display.GetSegmentVisibility(first)) is visible


@pytest.mark.parametrize("which", [0, 1])
def test_undo_and_redo_shortcuts_of_every_system(desk: Desk, which: int) -> None:
    found = desk.find()
    press(desk, "undo")
    desk.wait()
    assert not desk.mask().any()
    press(desk, "redo", which=which)
    desk.wait()
    assert (desk.mask() == found).all()


def test_redo_shortcut_of_this_system(desk: Desk) -> None:
    import qt

    named = {qt.QKeySequence(text).toString() for text in keys_of("redo")}
    assert qt.QKeySequence(qt.QKeySequence.Redo).toString() in named
    assert {"Ctrl+Y", "Ctrl+Shift+Z"} <= named


@pytest.mark.parametrize("kind", ["QLineEdit", "QSpinBox", "QDoubleSpinBox", "QPlainTextEdit", "QTextEdit"])
def test_shortcuts_leave_letters_to_text_fields(desk: Desk, kind: str) -> None:
    import qt

    desk.find()
    segment = desk.segment
    desk.press("newSegmentButton")
    field = getattr(qt, kind)(desk.host.window)
    field.show()
    field.setFocus()
    desk.host.process_events()
    before = desk.segment
    typed = ""
    for action in (
        "positive",
        "negative",
        "lasso",
        "negativeLasso",
        "line",
        "box",
        "paint",
        "erase",
        "visibility",
        "next",
    ):
        (letter,) = keys_of(action)
        typed += letter.lower()
        press(desk, action, field)
    ui = desk.ui
    assert not any(getattr(ui, f"{name}Button").checked for name in ("positive", "negative", "lasso", "line"))
    assert (ui.editor.activeEffect(), ui.boxSelector.currentNode(), desk.segment) == (None, None, before)
    assert desk.segment != segment
    if kind == "QLineEdit":
        assert field.text == typed
    if kind.endswith("TextEdit"):
        assert field.toPlainText() == typed
    field.setParent(None)


def test_shortcuts_do_not_scroll_the_views(desk: Desk) -> None:
    """Slicer moves the crosshair, and with it all other views, while Shift is held."""
    from TumorSegSlicer.panel.shortcuts import KEYS

    desk.host.show(desk.volumes["ct"])
    before = desk.host.slice_offsets()
    for keys in [key for each in KEYS.values() for key in each]:
        held = [MODIFIERS[name] for name in keys.split("+")[:-1]]
        desk.host.move_mouse("Red", (0.4, 0.4), *held)
        assert desk.host.slice_offsets() == before, keys


def test_panel_lists_all_shortcuts(desk: Desk) -> None:
    assert desk.ui.shortcutsLabel.text == (
        "Keys: T tumour here, N not tumour here, L lasso round tumour, O lasso round what is not tumour, D line across "
        "the tumour, B draw a box, P paint, E erase, Ctrl+Z undo, "
        "Ctrl+Y / Ctrl+Shift+Z redo, H show or hide the segment, S next segment"
    )


def test_shortcuts_end_with_the_module(desk: Desk) -> None:
    import slicer

    desk.find()
    slicer.util.selectModule("Markups")
    press(desk, "positive")
    assert not desk.ui.positiveButton.checked
