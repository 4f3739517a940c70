"""Stand-ins for the widgets of CTK: the properties and signals of the real ones, and so much behaviour as shows."""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.slicer.host.qt.pythonqt import stand_in

Property, Signal = QtCore.Property, QtCore.Signal
HEADER_HEIGHT = 22
UNLIMITED_HEIGHT = (1 << 24) - 1  # QWIDGETSIZE_MAX
SLIDER_STEPS = 1000
_numbers = count()


def kept(kind: Any, default: Any) -> Any:
    """A Qt property that is kept and changes nothing else."""
    name = f"_kept_{next(_numbers)}"
    return Property(kind, lambda self: getattr(self, name, default), lambda self, value: setattr(self, name, value))


@stand_in
class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that hides the widgets below it; those that were hidden before stay so, as in CTK."""

    SIGNATURES: ClassVar = {
        "contentsCollapsed(bool)": "contentsCollapsed",
        "clicked(bool)": "clicked",
        "toggled(bool)": "toggled",
    }
    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)
    toggled = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        texts = [a for a in arguments if isinstance(a, str)]
        parents = [a for a in arguments if isinstance(a, QtWidgets.QWidget)]
        super().__init__(*parents[:1])
        self._text = texts[0] if texts else ""
        self._collapsed = False
        self._hidden: list[QtWidgets.QWidget] = []  # by others, when the contents were hidden
        self.setContentsMargins(0, HEADER_HEIGHT, 0, 0)

    def setText(self, text: str) -> None:
        self._text = text
        self.update()

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = bool(collapsed)
        if collapsed:
            self._hidden = [child for child in self._contents() if QtWidgets.QWidget.isHidden(child)]
        self._show_contents()
        self.setMaximumHeight(HEADER_HEIGHT if collapsed else UNLIMITED_HEIGHT)
        self.contentsCollapsed.emit(self._collapsed)
        self.toggled.emit(not self._collapsed)

    def _show_contents(self) -> None:
        for child in self._contents():
            if child not in self._hidden:
                child.setVisible(not self._collapsed)

    def _contents(self) -> list[QtWidgets.QWidget]:
        return [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        if self._collapsed:  # Qt has shown what was added since
            self._show_contents()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() < HEADER_HEIGHT:
            self.setCollapsed(not self._collapsed)
            self.clicked.emit(not self._collapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.width, HEADER_HEIGHT - 2)
        painter.fillRect(header, self.palette.color(QtGui.QPalette.ColorRole.Midlight))
        arrow = (
            "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}" if self._collapsed else "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        )
        text = f"{arrow} {self._text.replace('&&', '&')}"
        painter.drawText(header.adjusted(6, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, text)

    text = Property(str, lambda self: self._text, setText)
    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)
    checked = Property(bool, lambda self: not self._collapsed, lambda self, value: self.setCollapsed(not value))
    collapsedHeight = kept(int, 0)
    contentsFrameShape = kept(QtWidgets.QFrame.Shape, QtWidgets.QFrame.Shape.NoFrame)
    contentsLineWidth = kept(int, 1)
    flat = kept(bool, False)


@stand_in
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that hold one number."""

    SIGNATURES: ClassVar = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setRange(0, SLIDER_STEPS)
        self._box = QtWidgets.QDoubleSpinBox()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._changed)
        self._slider.sliderMoved.connect(self._moved)

    def _moved(self, step: int) -> None:
        low, high = self._box.minimum, self._box.maximum
        self._box.setValue(low + step / SLIDER_STEPS * (high - low))

    def _changed(self, value: float) -> None:
        low, high = self._box.minimum, self._box.maximum
        self._slider.setValue(round(SLIDER_STEPS * (value - low) / ((high - low) or 1)))
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setMinimum(self, value: float) -> None:
        self._box.setMinimum(value)

    def setMaximum(self, value: float) -> None:
        self._box.setMaximum(value)

    def setRange(self, low: float, high: float) -> None:
        self._box.setRange(low, high)

    value = Property(float, lambda self: self._box.value, setValue)
    minimum = Property(float, lambda self: self._box.minimum, setMinimum)
    maximum = Property(float, lambda self: self._box.maximum, setMaximum)
    singleStep = Property(float, lambda self: self._box.singleStep, lambda self, v: self._box.setSingleStep(v))
    pageStep = kept(float, 10.0)
    decimals = Property(int, lambda self: self._box.decimals, lambda self, v: self._box.setDecimals(v))
    suffix = Property(str, lambda self: self._box.suffix, lambda self, v: self._box.setSuffix(v))
    prefix = Property(str, lambda self: self._box.prefix, lambda self, v: self._box.setPrefix(v))
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), lambda self, v: self._box.setVisible(v))
    tracking = kept(bool, True)


@stand_in
class ctkMessageBox(QtWidgets.QMessageBox):
    """The message box of ``slicer.util.messageBox``."""

    dontShowAgain = kept(bool, False)
    dontShowAgainVisible = kept(bool, False)
    dontShowAgainSettingsKey = kept(str, "")
