"""The panel in windows of any width, with letters and colours of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from PySide6 import QtGui, QtWidgets

from Testing.slicer.panel.access.places import APPLICATION, Shape

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


@pytest.fixture
def shape(host: Host) -> Iterator[Shape]:
    """The part of the window that has the panel."""
    made = Shape(host)
    yield made
    made.restore()


@pytest.fixture
def set_font() -> Iterator[Callable[[float], None]]:
    """Makes all letters so many times as large as they are."""
    application = APPLICATION()
    former = QtGui.QFont(application.font())

    def enlarge(times: float) -> None:
        font = QtGui.QFont(former)
        font.setPointSizeF(former.pointSizeF() * times)
        QtWidgets.QApplication.setFont(font)

    yield enlarge
    QtWidgets.QApplication.setFont(former)


@pytest.fixture
def set_palette() -> Iterator[Callable[[QtGui.QPalette], None]]:
    """Gives the application another theme."""
    former = QtGui.QPalette(QtWidgets.QApplication.palette())
    yield QtWidgets.QApplication.setPalette
    QtWidgets.QApplication.setPalette(former)
