"""Pictures of every state of the panel, to be looked at; engines stand in that stop where one is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.slicer.desk import Desk
from Testing.slicer.flows.user import User
from Testing.slicer.lesion_list import LesionList
from Testing.slicer.screenshots.window import PANEL_WIDTH, give_panel_its_width, shrink, write
from TumorSegLib import ModelError

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: Of the panel, in pixels, where it is as narrow as it may be.
LEAST_WIDTH = 320
#: Parts of the palettes: background, of fields too, and text.
DARK, HIGH_CONTRAST = ("#353535", "#232323", "#f0f0f0"), ("#000000", "#000000", "#ffffff")


def take(host: Host, folder: Path) -> Iterator[Path]:
    """Brings the panel into one state after the other, and writes a picture of each into a folder."""
    size = host.window.size
    yield from _without_images(host, folder)
    desk = Desk(host)
    give_panel_its_width(host)
    host.show(desk.volumes["ct"])
    yield from _one_after_the_other(desk, folder)
    for name, look in LOOKS.items():
        with look(host):
            host.process_events()
            yield write(host, folder / f"{name}.png")
        host.process_events()
    host.window.resize(size)


def _without_images(host: Host, folder: Path) -> Iterator[Path]:
    """Nothing is loaded; packages are missing."""
    user = User(host)
    give_panel_its_width(host)
    user.open()
    yield write(host, folder / "empty.png")
    user.restart(missing=["torch", "monai"])
    user.open()
    yield write(host, folder / "packages-missing.png")
    host.clear()
    host.activate()


def _one_after_the_other(desk: Desk, folder: Path) -> Iterator[Path]:
    """A tumour is looked for and found, and measured; a question comes, and an error."""
    host, auto = desk.host, desk.engines.engines["auto"]
    segment = auto.segment
    slow = desk.begin_slowly()
    host.wait_until(lambda: desk.ui.progressBar.maximum == 4, "the progress to be shown")
    yield write(host, folder / "progress.png")
    slow.go.set()
    desk.wait()
    auto.segment = segment
    LesionList(desk).settled().click(desk.segment)
    yield write(host, folder / "result.png")
    desk.start_click((20, 27, 16), words="Added. Segment now: {volume}")
    desk.wait()
    LesionList(desk).settled()
    yield _with_question(desk, folder / "question.png")
    desk.press("newSegmentButton")
    auto.segment = _fail
    desk.press("segmentButton")
    auto.segment = segment
    LesionList(desk).settled()
    yield write(host, folder / "error.png")


def _fail(*_images: Any, **_named: Any) -> Any:
    raise ModelError("model 'painter': the weights do not match their checksum; download it again")


def _with_question(desk: Desk, path: Path) -> Path:
    """Presses Segment automatically, and takes the picture with the question that comes, which is then declined."""

    def answer(box: Any) -> Any:
        _over(desk.host, box, path)
        return QtWidgets.QMessageBox.StandardButton.Cancel

    desk.host.dialogs.answer(answer)
    desk.press("segmentButton")
    return path


def _over(host: Host, box: Any, path: Path) -> None:
    """Writes a picture of the window with a dialog in its middle; handling events would delete the dialog."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, dialog = host.window.grab(), box.grab()
    painter = QtGui.QPainter(picture)
    painter.drawPixmap((picture.width() - dialog.width()) // 2, (picture.height() - dialog.height()) // 2, dialog)
    painter.end()
    picture.save(str(path))
    shrink(path)


# How it all looks


@contextmanager
def _palette(host: Host, colours: tuple[str, str, str]) -> Iterator[None]:
    application, roles = QtWidgets.QApplication.instance(), QtGui.QPalette.ColorRole
    former = QtWidgets.QApplication.palette()
    window, base, text = map(QtGui.QColor, colours)
    palette = QtGui.QPalette(window)
    for role in (roles.Base, roles.AlternateBase, roles.ToolTipBase):
        palette.setColor(role, base)
    for role in (roles.WindowText, roles.Text, roles.ButtonText, roles.ToolTipText, roles.BrightText):
        palette.setColor(role, text)
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor("#8c8c8c"))
    application.setPalette(palette)
    yield
    application.setPalette(former)


@contextmanager
def _large_letters(host: Host, times: float = 2.0) -> Iterator[None]:
    former = QtWidgets.QApplication.font()
    font = QtGui.QFont(former)
    font.setPointSizeF(former.pointSizeF() * times)
    QtWidgets.QApplication.setFont(font)
    yield
    QtWidgets.QApplication.setFont(former)


@contextmanager
def _narrow(host: Host) -> Iterator[None]:
    dock = host.window.findChild(QtWidgets.QDockWidget)
    area = dock.widget()
    least = area.minimumWidth
    area.setMinimumWidth(LEAST_WIDTH)
    host.window.resizeDocks([dock], [LEAST_WIDTH], QtCore.Qt.Orientation.Horizontal)
    yield
    area.setMinimumWidth(least)
    host.window.resizeDocks([dock], [PANEL_WIDTH], QtCore.Qt.Orientation.Horizontal)


LOOKS: dict[str, Callable[[Host], Any]] = {
    "dark": lambda host: _palette(host, DARK),
    "high-contrast": lambda host: _palette(host, HIGH_CONTRAST),
    "narrow": _narrow,
    "letters-200-percent": _large_letters,
}
