"""Stand-ins for the widgets of CTK: the properties and signals of the real ones, and so much behaviour as shows."""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.slicer.host.qt.pythonqt import stand_in

Property, Signal = QtCore.Property, QtCore.Signal
INDICATOR = 13  # side of the arrow, in pixels
UNLIMITED_HEIGHT = (1 << 24) - 1  # QWIDGETSIZE_MAX
SLIDER_STEPS = 1000
_numbers = count()


def kept(kind: Any, default: Any) -> Any:
    """A Qt property that is kept and changes nothing else."""
    name = f"_kept_{next(_numbers)}"
    return Property(kind, lambda self: getattr(self, name, default), lambda self, value: setattr(self, name, value))


@stand_in
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A button at the head of widgets that it hides; those that were hidden before stay so, as in CTK.

    As in CTK the head is as high as the letters at first, a collapsed one is a little higher, and the width does not
    shrink below the hint unless the ``.ui`` file says so.
    """

    SIGNATURES: ClassVar = {"contentsCollapsed(bool)": "contentsCollapsed"}
    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        texts = [a for a in arguments if isinstance(a, str)]
        parents = [a for a in arguments if isinstance(a, QtWidgets.QWidget)]
        super().__init__(*parents[:1])
        self._collapsed = False
        self._hidden: list[QtWidgets.QWidget] = []  # by others, when the contents were hidden
        self._collapsed_height, self._former_height = 10, UNLIMITED_HEIGHT
        self.setText(texts[0] if texts else "")
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._head_size().height(), 0, 0)
        self.setBackgroundRole(QtGui.QPalette.ColorRole.Window)
        self.toggled.connect(lambda checked: self._collapse(not checked))

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        if collapsed:
            self._hidden = [child for child in self._contents() if QtWidgets.QWidget.isHidden(child)]
            self._former_height = self.maximumHeight
            self.setMaximumHeight(self.sizeHint().height())
        else:
            self.setMaximumHeight(self._former_height)
        self._show_contents()
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def _show_contents(self) -> None:
        for child in self._contents():
            if child not in self._hidden:
                child.setVisible(not self._collapsed)

    def _contents(self) -> list[QtWidgets.QWidget]:
        return [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]

    def _option(self) -> QtWidgets.QStyleOptionButton:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.state |= (
            QtWidgets.QStyle.StateFlag.State_Sunken if self.isDown() else QtWidgets.QStyle.StateFlag.State_Raised
        )
        return option

    def _head_size(self) -> QtCore.QSize:
        text = self.fontMetrics().size(QtCore.Qt.TextFlag.TextShowMnemonic, self.text or "XXXX")
        size = QtCore.QSize(text.width() + INDICATOR, max(text.height(), INDICATOR))
        kind = QtWidgets.QStyle.ContentsType.CT_PushButton
        return self.style().sizeFromContents(kind, self._option(), size, self)

    def minimumSizeHint(self) -> QtCore.QSize:
        head = self._head_size()
        if self._collapsed:
            return head + QtCore.QSize(0, self._collapsed_height)
        return super().minimumSizeHint().expandedTo(head)

    def sizeHint(self) -> QtCore.QSize:
        head = self._head_size() + QtCore.QSize(0, self._collapsed_height)
        return head if self._collapsed else QtWidgets.QWidget.sizeHint(self).expandedTo(head)

    def hitButton(self, pos: QtCore.QPoint) -> bool:
        return pos.y() < self._head_size().height()

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        if self._collapsed:  # Qt has shown what was added since
            self._show_contents()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, option = QtGui.QPainter(self), self._option()
        option.rect.setHeight(self._head_size().height())
        self.style().drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        arrow = QtWidgets.QStyle.PrimitiveElement
        arrow = arrow.PE_IndicatorArrowRight if self._collapsed else arrow.PE_IndicatorArrowDown
        head = QtCore.QRect(option.rect)  # the option lends its own
        option.rect = QtCore.QRect(6, 0, INDICATOR, head.height())
        self.style().drawPrimitive(arrow, option, painter, self)
        role = QtGui.QPalette.ColorRole.ButtonText
        flags = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.TextFlag.TextShowMnemonic
        inside = head.adjusted(10 + INDICATOR, 0, 0, 0)
        self.style().drawItemText(painter, inside, flags, self.palette, self.enabled, self.text, role)

    def _set_collapsed_height(self, height: int) -> None:
        self._collapsed_height = height
        self.updateGeometry()

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)
    collapsedHeight = Property(int, lambda self: self._collapsed_height, _set_collapsed_height)
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
