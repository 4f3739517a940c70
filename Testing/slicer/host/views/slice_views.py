"""Real slice views: Slicer's slice logic and displayable managers, rendered off screen into Qt widgets.

Mouse and keyboard events of Qt go to VTK's interactor as in Slicer, so a click in place mode makes a markups point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.slicer.host.views.rendered_view import RenderedView

MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
#: Name of the view, its orientation, its place in the grid and its colour, as in the application.
VIEWS = (
    ("Red", "Axial", (0, 0), "#f34a33"),
    ("Green", "Coronal", (1, 0), "#6eb04b"),
    ("Yellow", "Sagittal", (1, 1), "#edd54c"),
)
BUTTONS = {
    QtCore.Qt.MouseButton.LeftButton: "LeftButton",
    QtCore.Qt.MouseButton.MiddleButton: "MiddleButton",
    QtCore.Qt.MouseButton.RightButton: "RightButton",
}


class SliceView(RenderedView):
    """``qMRMLSliceView``: one slice, drawn by VTK."""

    def __init__(self, application_logic: Any, scene: Any, name: str, orientation: str) -> None:
        super().__init__()
        self.setMouseTracking(True)
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._image = _image_actor()
        self._renderer.AddViewProp(self._image)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._group = self.add_managers(application_logic, factory, MANAGERS)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetDisplayableManagers(self._group)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self._interactor)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._style.SetSliceLogic(self._logic)
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.AddSliceNode(name)
        self._node.SetOrientation(orientation)
        self._group.SetMRMLDisplayableNode(self._node)
        self.follow(self._logic, vtk.vtkCommand.ModifiedEvent)

    def close_view(self) -> None:
        """Lets go of the scene; the view is of no use afterwards."""
        self._style.SetInteractor(None)
        self._group.SetMRMLDisplayableNode(None)
        self._logic.SetMRMLScene(None)
        super().close_view()

    # As in Slicer

    def mrmlSliceNode(self) -> Any:
        return self._node

    def interactor(self) -> Any:
        return self._interactor

    def setViewCursor(self, cursor: QtGui.QCursor) -> None:
        if not isinstance(cursor, QtGui.QCursor):
            raise ValueError(f"qMRMLSliceView.setViewCursor takes a QCursor, got {cursor!r}")
        self.setCursor(cursor)

    def unsetViewCursor(self) -> None:
        self.unsetCursor()

    def forceRender(self) -> None:
        if self._logic.GetImageDataConnection():
            self._image.GetMapper().SetInputConnection(self._logic.GetImageDataConnection())
        self._image.SetVisibility(bool(self._logic.GetImageDataConnection()))
        super().forceRender()

    def convertXYZToRAS(self, xyz: Sequence[float]) -> list[float]:
        return list(self._node.GetXYToRAS().MultiplyPoint([*xyz, 1.0])[:3])

    def convertRASToXYZ(self, ras: Sequence[float]) -> list[float]:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        return list(inverse.MultiplyPoint([*ras, 1.0])[:3])

    # Qt's events

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self._logic.ResizeSliceNode(event.size().width(), event.size().height())
        super().resizeEvent(event)

    def _mouse(self, event: QtGui.QMouseEvent | QtGui.QEnterEvent, name: str) -> None:
        held, at = event.modifiers(), event.position()
        control = int(bool(held & QtCore.Qt.KeyboardModifier.ControlModifier))
        shift = int(bool(held & QtCore.Qt.KeyboardModifier.ShiftModifier))
        row = self._window.GetSize()[1] - 1 - int(at.y())  # VTK counts rows from below
        self._interactor.SetEventInformation(int(at.x()), row, control, shift, "\0", 0, None)
        self._interactor.InvokeEvent(name)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, BUTTONS[event.button()] + "PressEvent")

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:
        """Comes in place of the second press of a double click."""
        self._mouse(event, BUTTONS[event.button()].removesuffix("Button") + "ButtonDoubleClickEvent")

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, BUTTONS[event.button()] + "ReleaseEvent")

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, "MouseMoveEvent")

    def enterEvent(self, event: QtGui.QEnterEvent) -> None:
        self._mouse(event, "EnterEvent")

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self._interactor.InvokeEvent("LeaveEvent")


def _image_actor() -> Any:
    """Draws an image of 8 bits as it is, behind all else."""
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    image = vtk.vtkActor2D()
    image.SetMapper(mapper)
    image.GetProperty().SetDisplayLocationToBackground()
    return image


class SliceWidget(QtWidgets.QWidget):
    """``qMRMLSliceWidget``: a view under a bar of its colour."""

    def __init__(self, view: SliceView, colour: str) -> None:
        super().__init__()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        bar = QtWidgets.QFrame()
        bar.setFixedHeight(6)
        bar.setStyleSheet(f"background: {colour}")
        layout.addWidget(bar)
        layout.addWidget(view, 1)
        self._view = view

    def sliceView(self) -> SliceView:
        return self._view

    def sliceLogic(self) -> Any:
        return self._view._logic

    def mrmlSliceNode(self) -> Any:
        return self._view.mrmlSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self.sliceLogic().GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self.sliceLogic().FitSliceToBackground()
