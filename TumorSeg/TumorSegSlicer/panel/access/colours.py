"""Colours that the panel sets itself: readable in light, dark and high-contrast themes, never the only sign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

#: Of the sign, sky blue and orange, and of errors, vermilion: of Okabe and Ito (2008), which differ for everyone.
#: Black letters on them have contrasts of 9.2, 9.5 and 5.6 (WCAG 2.1 asks for 4.5).
SIGN_COLOURS, ERROR_COLOUR = {True: "#56b4e9", False: "#e69f00"}, "#d55e00"
#: Shapes of the sign: round, and square.
RADII = {True: 9, False: 0}
#: Side of the square that shows a segment's colour, in pixels.
SQUARE = 14


def signWords(positive: bool) -> str:
    """What stands on the button of the sign."""
    return _("+ tumour") if positive else _("− not tumour")  # noqa: RUF001 - the sign


def signStyle(positive: bool, palette: qt.QPalette) -> str:
    """Style sheet of the button of the sign; its rim, thicker where it has the focus, is in the colour of letters."""
    rim = palette.color(qt.QPalette.WindowText).name()
    return (
        f"QPushButton {{ background: {SIGN_COLOURS[positive]}; color: black; border-radius: {RADII[positive]}px; "
        f"border: 1px solid {rim}; padding: 3px 8px; }}"
        f"QPushButton:focus {{ border: 3px solid {rim}; padding: 1px 6px; }}"
    )


def errorStyle(palette: qt.QPalette) -> str:
    """Style sheet of the sign that stands beside an error."""
    rim = palette.color(qt.QPalette.WindowText).name()
    return (
        f"QLabel {{ background: {ERROR_COLOUR}; color: black; font-weight: bold; border: 1px solid {rim}; "
        "padding: 1px 6px; }"
    )


def icon(name: str, palette: qt.QPalette) -> qt.QIcon:
    """An icon of the module in the colour of the letters beside it; where its button is down, the other way round."""
    made = qt.QIcon()
    for mode, group in ((qt.QIcon.Normal, qt.QPalette.Active), (qt.QIcon.Disabled, qt.QPalette.Disabled)):
        letters, button = (palette.color(group, role) for role in (qt.QPalette.ButtonText, qt.QPalette.Button))
        made.addPixmap(_tinted(iconPath(name), letters), mode)
        down = _tinted(iconPath(name), button)
        ground = qt.QPixmap(down.size())
        ground.fill(letters)
        painter = qt.QPainter(ground)
        painter.drawPixmap(0, 0, down)
        painter.end()
        made.addPixmap(ground, mode, qt.QIcon.On)
    return made


def square(colour: Any, palette: qt.QPalette) -> qt.QIcon:
    """A square in a colour, with a rim that is seen where the colour is like what lies behind."""
    pixmap = qt.QPixmap(SQUARE, SQUARE)
    pixmap.fill(palette.color(qt.QPalette.Text))
    painter = qt.QPainter(pixmap)
    painter.fillRect(1, 1, SQUARE - 2, SQUARE - 2, colour)
    painter.end()
    return qt.QIcon(pixmap)


def iconPath(name: str) -> str:
    """The file of an icon of the module."""
    return str(Path(slicer.util.modulePath("TumorSeg")).parent / "Resources" / "Icons" / f"{name}.png")


def _tinted(path: str, colour: qt.QColor) -> qt.QPixmap:
    pixmap = qt.QPixmap(path)
    painter = qt.QPainter(pixmap)
    painter.setCompositionMode(qt.QPainter.CompositionMode_SourceIn)
    painter.fillRect(pixmap.rect(), colour)
    painter.end()
    return pixmap
