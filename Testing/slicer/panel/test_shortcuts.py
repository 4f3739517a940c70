"""The keys of the panel, pressed in the window as a user would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtTest import QTest

from Testing.slicer.desk import Desk

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

KEY_NAMES = {"Esc": "Escape"}
MODIFIERS = {"Shift": "ShiftModifier", "Ctrl": "ControlModifier", "Alt": "AltModifier"}


@pytest.fixture
def desk(host: Host) -> Desk:
    made = Desk(host)
    host.window.show()
    host.window.activateWindow()
    host.process_events()
    return made


TOOLS = ("point", "scribble", "lasso", "box", "line", "brush")


def tools(desk: Desk) -> list[str]:
    """Which buttons of tools are down."""
    return [name for name in TOOLS if getattr(desk.ui, f"{name}Button").checked]


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
    QTest.keyClick(widget or desk.host.window, getattr(qt.Qt, f"Key_{KEY_NAMES.get(letter, letter)}"), modifiers)
    desk.host.process_events()


def view(desk: Desk) -> Any:
    """A slice view, which takes single letters for itself in Slicer."""
    import slicer

    return slicer.app.layoutManager().sliceWidget("Red").sliceView()


@pytest.mark.parametrize("by", ["key", "button"])
@pytest.mark.parametrize("name", TOOLS)
def test_a_key_or_button_takes_a_tool_up_and_pressed_again_keeps_it(desk: Desk, name: str, by: str) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    for _ in range(3):
        if by == "key":
            press(desk, name, view(desk))
        else:
            desk.press(f"{name}Button")
        assert tools(desk) == [desk.widget.panel.correct.prompts.tool] == [name]
    press(desk, "leave", view(desk))
    assert tools(desk) == []
    interaction = desk.host.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert desk.ui.editor.activeEffect() is None


def test_a_key_takes_the_place_of_another_tool(desk: Desk) -> None:
    desk.find()
    for name in (*TOOLS, "point", "brush", "line"):
        press(desk, name)
        assert tools(desk) == [name]


def test_the_sign_key_turns_the_sign_of_every_tool(desk: Desk) -> None:
    desk.find()
    signs = []
    for _ in range(2):
        press(desk, "sign", view(desk))
        signs.append(desk.ui.signButton.text)
    assert signs == ["− not tumour", "+ tumour"]  # noqa: RUF001 - the sign
    press(desk, "brush")
    press(desk, "sign")
    assert (tools(desk), desk.ui.editor.activeEffect().name) == (["brush"], "Erase")
    press(desk, "point")
    desk.host.show(desk.volumes["ct"])
    desk.place("Red", (30, 30, 16))
    assert desk.status.startswith("Removed.")
    assert not desk.ui.brushSection.collapsed


@pytest.mark.parametrize("name", ["box", "line"])
def test_the_sign_is_positive_while_a_box_or_a_line_is_drawn(desk: Desk, name: str) -> None:
    desk.find()
    press(desk, "point")
    press(desk, "sign")
    assert desk.ui.signButton.text == "− not tumour"  # noqa: RUF001 - the sign
    press(desk, name)
    assert (desk.ui.signButton.text, desk.ui.signButton.accessibleName) == ("+ tumour", "Next prompt: tumour")
    press(desk, "sign")
    assert (desk.ui.signButton.text, desk.status) == ("+ tumour", "Boxes and lines are always tumour.")
    press(desk, "scribble")
    assert desk.ui.signButton.text == "− not tumour"  # noqa: RUF001 - as it was chosen


def test_leaving_does_nothing_without_a_tool(desk: Desk) -> None:
    desk.find()
    before = desk.status
    press(desk, "leave")
    assert (tools(desk), desk.status) == ([], before)


@pytest.mark.parametrize("name", TOOLS[:3])
def test_leaving_drops_a_stroke(desk: Desk, name: str) -> None:
    desk.find()
    desk.host.show(desk.volumes["ct"])
    press(desk, name)
    steps = desk.steps()
    places = [desk.ras(*ijk) for ijk in ((20, 20, 16), (30, 20, 16), (30, 30, 16))]
    desk.host.mouse.drag("Red", places, drop=False)
    press(desk, "leave", view(desk))
    desk.host.mouse.send("Red", "ButtonRelease", desk.host.mouse.pixel("Red", places[-1]), button="LeftButton")
    desk.host.process_events()
    desk.wait()
    assert desk.steps() == steps


@pytest.mark.parametrize("name", ["point", "scribble", "lasso", "line", "brush"])
def test_a_tool_key_adds_a_segment(desk: Desk, name: str) -> None:
    press(desk, name)
    assert desk.segment
    assert tools(desk) == [name]


@pytest.mark.parametrize("name", ["point", "scribble", "lasso", "line", "brush"])
def test_a_tool_key_needs_an_image(desk: Desk, name: str) -> None:
    desk.choose_nothing()
    press(desk, name)
    assert desk.status == "Choose at least one image first."
    assert tools(desk) == []
    assert desk.ui.editor.activeEffect() is None


def test_shortcuts_select_and_hide_segments(desk: Desk) -> None:
    desk.find()
    first = desk.segment
    desk.press("newSegmentButton")
    press(desk, "next")
    assert (desk.segment, desk.status) == (first, "Selected: 'Tumour'.")
    display = desk.node.GetDisplayNode()
    for visible in (False, True):
        press(desk, "visibility")
        assert bool(display.GetSegmentVisibility(first)) is visible


@pytest.mark.parametrize("which", [0, 1, 2])
def test_undo_and_redo_shortcuts_of_every_system(desk: Desk, which: int) -> None:
    found = desk.find()
    press(desk, "undo", view(desk), which=min(which, 1))
    desk.wait()
    assert not desk.mask().any()
    press(desk, "redo", view(desk), which=which)
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
    before, steps = desk.segment, desk.steps()
    typed = ""
    for action in (*TOOLS, "sign", "undo", "redo", "visibility", "next"):
        letter = keys_of(action)[0]
        typed += letter.lower()
        press(desk, action, field)
    desk.wait()
    assert (tools(desk), desk.ui.signButton.text) == ([], "+ tumour")
    assert (desk.ui.editor.activeEffect(), desk.ui.boxSelector.currentNode(), desk.segment) == (None, None, before)
    assert desk.segment != segment
    assert desk.steps() == steps
    if kind == "QLineEdit":
        assert field.text == typed
    if kind.endswith("TextEdit"):
        assert field.toPlainText() == typed
    field.setParent(None)


def test_a_name_typed_into_a_table_is_no_key(desk: Desk) -> None:
    """Cells of tables and lists are edited in a text field of their own, where Esc ends the editing."""
    import qt

    desk.find()
    press(desk, "point")
    table = qt.QTableWidget(1, 1, desk.host.window)
    table.setItem(0, 0, qt.QTableWidgetItem("Tumour"))
    table.resize(300, 100)
    table.show()
    table.setFocus()
    table.setCurrentCell(0, 0)
    table.editItem(table.item(0, 0))
    desk.host.process_events()
    field = table.findChild(qt.QLineEdit)
    for action in ("lasso", "line", "sign", "next"):
        press(desk, action, field)
    assert field.text.lower() == "ldtn"
    assert (tools(desk), desk.ui.signButton.text) == (["point"], "+ tumour")
    press(desk, "leave", field)
    assert tools(desk) == ["point"]
    assert table.item(0, 0).text() == "Tumour"
    table.setParent(None)


def test_shortcuts_do_not_scroll_the_views(desk: Desk) -> None:
    """Slicer moves the crosshair, and with it all other views, while Shift is held."""
    from TumorSegSlicer.panel.shortcuts import KEYS

    desk.host.show(desk.volumes["ct"])
    before = desk.host.slice_offsets()
    for keys in [key for each in KEYS.values() for key in each]:
        held = [MODIFIERS[name] for name in keys.split("+")[:-1]]
        desk.host.mouse.move("Red", (0.4, 0.4), *held)
        assert desk.host.slice_offsets() == before, keys


def test_panel_lists_all_shortcuts(desk: Desk) -> None:
    assert desk.ui.shortcutsLabel.text == (
        "Keys: P point, S scribble, L lasso, B box, D line across the lesion, E brush, T tumour or not (or hold Ctrl), "
        "Esc put the tool down, N next lesion, Z / Ctrl+Z undo, Y / Ctrl+Y / Ctrl+Shift+Z redo, "
        "H show or hide the lesion, "
        "C before the last edit, as long as it is held"
    )


def test_tools_have_an_icon_a_name_and_their_key_in_the_tool_tip(desk: Desk) -> None:
    for name in TOOLS:
        button = getattr(desk.ui, f"{name}Button")
        (key,) = keys_of(name)
        assert button.toolTip.startswith(f"{key}: ")
        assert button.toolTip.endswith("Esc puts the tool down.")
        assert button.accessibleName == button.text == name.capitalize()
        assert not button.icon.isNull()
    pictures = [getattr(desk.ui, f"{name}Button").icon.pixmap(24, 24).toImage() for name in TOOLS]
    assert all(one != other for n, one in enumerate(pictures) for other in pictures[:n])
    assert desk.ui.signButton.toolTip.startswith("T, or Ctrl held")


@pytest.mark.parametrize("factor", [1, 2])
def test_the_row_of_tools_fits_at_every_size_of_letters(desk: Desk, factor: int) -> None:
    font = desk.ui.pointButton.font
    font.setPointSizeF(font.pointSizeF() * factor)
    for name in TOOLS:
        getattr(desk.ui, f"{name}Button").setFont(font)
    desk.host.process_events()
    assert desk.ui.sectionsArea.horizontalScrollBar().maximum == 0
    for name in TOOLS:
        button = getattr(desk.ui, f"{name}Button")
        if factor == 1:
            assert button.fontMetrics().horizontalAdvance(button.text) < button.width


def test_shortcuts_end_with_the_module(desk: Desk) -> None:
    import slicer

    desk.find()
    slicer.util.selectModule("Markups")
    press(desk, "point")
    assert tools(desk) == []
