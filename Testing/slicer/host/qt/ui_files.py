"""Reading ``.ui`` files with the real QUiLoader, made strict.

Qt passes over what it does not know (a class, a property, a slot) with a line on stderr at most. Slicer's designer
plugins know the real widgets; here a file that names something no widget has is refused, as it would do nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from Testing.slicer.host.qt.pythonqt import STAND_INS, find_signal

# What a .ui file writes as a property of a widget although Qt keeps it elsewhere.
NO_PROPERTIES = {"leftMargin", "topMargin", "rightMargin", "bottomMargin", "buddy", "buttonGroup"}


class UiLoader(QtUiTools.QUiLoader):
    """``qt.QUiLoader`` that makes stand-ins for the widgets of CTK and Slicer.

    Raises:
        RuntimeError: the file is no ``.ui`` file, or names a class, property, signal, slot or object that is not there.
    """

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._made: list[QtWidgets.QWidget] = []

    def createWidget(self, className: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        if className in STAND_INS:
            widget = STAND_INS[className](parent)
            widget.setObjectName(name)
        else:
            widget = super().createWidget(className, parent, name)
        self._made.append(widget)
        return widget

    def load(self, device: QtCore.QIODevice | str | Path, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        root = _parse(device)
        self._check_classes(root)
        connections = list(_take_connections(root))
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(f"Qt cannot read the .ui file: {self.errorString()}")
        made, self._made = self._made, []
        # Python halves of stand-ins live as long as the window, held by this slot alone.
        widget.destroyed.connect(lambda *_: made.clear())
        _check_properties(root, widget)
        for connection in connections:
            _make_connection(widget, connection)
        return widget

    def _check_classes(self, root: ElementTree.Element) -> None:
        known = set(self.availableWidgets()) | set(STAND_INS)
        for element in root.iter("widget"):
            name = element.get("class", "")
            if name not in known:
                raise RuntimeError(f".ui file: neither Qt nor the test host has the widget class {name}")


def _parse(device: QtCore.QIODevice | str | Path) -> ElementTree.Element:
    if isinstance(device, QtCore.QIODevice):
        return ElementTree.fromstring(bytes(device.readAll().data()))
    return ElementTree.parse(device).getroot()


def _take_connections(root: ElementTree.Element) -> Iterator[tuple[str, str, str, str]]:
    """All connections of the file as (sender, signal, receiver, slot), taken out of it: Qt knows no Python slots."""
    for group in root.findall("connections"):
        for element in list(group):
            sender, signal, receiver, slot = (
                element.findtext(key, "") for key in ("sender", "signal", "receiver", "slot")
            )
            yield sender, signal, receiver, slot
            group.remove(element)


def _find(root: QtWidgets.QWidget, name: str) -> QtCore.QObject:
    found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f".ui file: a connection names {name}, which is not there")
    return found


def _make_connection(root: QtWidgets.QWidget, connection: tuple[str, str, str, str]) -> None:
    sender, signal, receiver, slot = connection
    try:
        find_signal(_find(root, sender), signal)
        _find(root, sender).connect(signal, _find(root, receiver), slot)
    except (ValueError, AttributeError) as error:
        raise RuntimeError(f".ui file: connection {sender}.{signal} -> {receiver}.{slot}: {error}") from error


def _check_properties(root: ElementTree.Element, widget: QtWidgets.QWidget) -> None:
    for element in root.iter("widget"):
        name = element.get("name", "")
        made = widget if widget.objectName == name else widget.findChild(QtWidgets.QWidget, name)
        if made is None:
            raise RuntimeError(f".ui file: Qt made no widget of {element.get('class')} {name}")
        for declared in element.findall("property"):
            key = declared.get("name", "")
            dynamic = declared.get("stdset") == "0"
            if not dynamic and key not in NO_PROPERTIES and made.metaObject().indexOfProperty(key) < 0:
                raise RuntimeError(f".ui file: {element.get('class')} {name} has no property {key}")
