"""Icons, signs and squares are seen in light, dark and high-contrast themes, also by those who see no colours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import COLOUR
from Testing.slicer.module import REPOSITORY
from Testing.slicer.panel.access.places import Shape

Role = QtGui.QPalette.ColorRole
#: Window, base, letters, button and highlight. The dark ones are those of Slicer's dark style.
THEMES = {
    "light": ("#efefef", "#ffffff", "#000000", "#efefef", "#308cc6"),
    "dark": ("#323232", "#191919", "#ffffff", "#323232", "#2a82da"),
    "contrast": ("#000000", "#000000", "#ffff00", "#000000", "#00ffff"),
    "white contrast": ("#ffffff", "#ffffff", "#000000", "#ffffff", "#37006e"),
}
TOOLS = ("point", "scribble", "lasso", "box", "line", "brush")


def theme(name: str) -> QtGui.QPalette:
    window, base, letters, button, highlight = (QtGui.QColor(each) for each in THEMES[name])
    made = QtGui.QPalette(button, window)
    for role in (Role.WindowText, Role.Text, Role.ButtonText):
        made.setColor(role, letters)
    for role, colour in ((Role.Window, window), (Role.Base, base), (Role.Button, button), (Role.Highlight, highlight)):
        made.setColor(role, colour)
    return made


def luminance(colour: QtGui.QColor) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: Any, other: Any) -> float:
    """Ratio of two colours (WCAG 2.1), 1 to 21."""
    low, high = sorted(luminance(QtGui.QColor(each)) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def most_seen(icon: QtGui.QIcon, size: int = 24, state: Any = QtGui.QIcon.State.Off) -> QtGui.QColor:
    """The colour of an icon's first pixel that nothing shines through, which of one that is down is its ground."""
    image = icon.pixmap(QtCore.QSize(size, size), QtGui.QIcon.Mode.Normal, state).toImage()
    pixels = (image.pixelColor(x, y) for y in range(image.height()) for x in range(image.width()))
    return next(pixel for pixel in pixels if pixel.alpha() == 255)


def styles(widget: Any, state: str = "") -> dict[str, str]:
    """What a style sheet says of a widget, or of it in a state."""
    (found,) = re.findall(rf"(?:^|\}}){widget.className()}{state} \{{(.*?)\}}", widget.styleSheet)
    return {key.strip(): value.strip() for key, value in (each.split(":") for each in found.split(";") if ":" in each)}


def test_the_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the grey just below 4.5


@pytest.mark.parametrize("name", THEMES)
def test_icons_and_signs_are_seen_in_a_theme_taken_while_running(
    desk: Desk, shape: Shape, set_palette: Callable[[QtGui.QPalette], None], name: str
) -> None:
    desk.find()
    ui = desk.ui
    ui.pointButton.click()
    set_palette(theme(name))
    shape.set(440, 750)
    window, _base, letters, button, _highlight = THEMES[name]
    for tool in TOOLS:
        for state in QtGui.QIcon.State:
            assert contrast(most_seen(getattr(ui, f"{tool}Button").icon, 24, state), button) >= 3
    for positive in (True, False):
        sign = styles(ui.signButton)
        assert ui.signButton.text.startswith("+") is positive
        assert contrast(sign["color"], sign["background"]) >= 4.5
        assert contrast(sign["border"].split()[-1], window) >= 3
        ui.signButton.click()
    fail(desk)
    error = styles(ui.errorSign)
    assert contrast(error["color"], error["background"]) >= 4.5
    assert contrast(error["border"].split()[-1], window) >= 3
    square = ui.lesionsTable.item(0, COLOUR).icon().pixmap(14, 14).toImage()
    assert square.pixelColor(0, 7) == QtGui.QColor(letters)
    assert square.pixelColor(7, 7) != QtGui.QColor(letters)
    desk.host.screenshot(REPOSITORY / "Testing" / "output" / f"panel-{name.replace(' ', '-')}.png", shape.area)


def fail(desk: Desk) -> None:
    from TumorSegSlicer.work.failures import Failure

    desk.context.messages.fail(Failure("The disk is full.", "OSError", False, OSError()))


def test_the_sign_differs_in_shape_words_and_colour(desk: Desk) -> None:
    sign = desk.ui.signButton
    seen = []
    for _sign in range(2):
        style = styles(sign)
        seen.append((sign.text[0], style["border-radius"], style["background"], sign.accessibleName))
        sign.click()
    assert [len({each[n] for each in seen}) for n in range(4)] == [2, 2, 2, 2]
    # Seen without colours they are not told apart by their brightness, so that shape and words must differ.
    assert contrast(seen[0][2], seen[1][2]) < 3


def test_disabled_icons_are_fainter(desk: Desk, shape: Shape, set_palette: Callable[[QtGui.QPalette], None]) -> None:
    shape.set(440, 750)
    palette = theme("dark")
    palette.setColor(QtGui.QPalette.ColorGroup.Disabled, Role.ButtonText, QtGui.QColor("#808080"))
    set_palette(palette)
    shape.settle()
    icon = desk.ui.pointButton.icon
    faint = icon.pixmap(desk.ui.pointButton.iconSize, QtGui.QIcon.Mode.Disabled).toImage()
    assert most_seen(QtGui.QIcon(QtGui.QPixmap.fromImage(faint))) == QtGui.QColor("#808080")
    assert most_seen(icon) == QtGui.QColor("#ffffff")


@pytest.mark.parametrize("name", THEMES)
def test_the_tool_in_use_is_seen(
    desk: Desk, shape: Shape, set_palette: Callable[[QtGui.QPalette], None], name: str
) -> None:
    set_palette(theme(name))
    shape.set(440, 750)
    button = desk.ui.lassoButton
    corner = (button.width // 2 - 11, 8)  # of the icon, where nothing is drawn
    colours = []
    for checked, act in ((True, button.click), (False, desk.leave)):
        act()
        assert button.checked is checked
        QtWidgets.QApplication.processEvents()
        colours.append(button.grab().toImage().pixelColor(*corner))
    assert contrast(*colours) >= 3
