"""Real slice views: Slicer's slice logic and displayable managers, rendered off screen into Qt widgets.

Mouse and keyboard events of Qt go to VTK's interactor as in Slicer, so a click in place mode makes a markups point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - these register what vtk's factories make
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

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


class SliceView(QtWidgets.QWidget):
    """``qMRMLSliceView``: one slice, drawn by VTK."""

    def __init__(self, application_logic: Any, scene: Any, name: str, orientation: str) -> None:
        super().__init__()
        self.setMinimumSize(60, 60)
        self.setMouseTracking(True)
        self._picture: Any = None
        self._make_window()
        self._make_managers(application_logic)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._style.SetSliceLogic(self._logic)
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.AddSliceNode(name)
        self._node.SetOrientation(orientation)
        self._group.SetMRMLDisplayableNode(self._node)
        followed = ((self._group, vtk.vtkCommand.UpdateEvent), (self._logic, vtk.vtkCommand.ModifiedEvent))
        self._tags = [(obj, obj.AddObserver(event, self._changed)) for obj, event in followed]

    def _make_window(self) -> None:
        self._renderer = vtk.vtkRenderer()
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetShowWindow(False)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._image)

    def _make_managers(self, application_logic: Any) -> None:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application_logic)
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(factory, self._renderer)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetDisplayableManagers(self._group)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self._interactor)

    def _changed(self, *_: Any) -> None:
        self._picture = None
        self.update()

    def close_view(self) -> None:
        """Lets go of the scene; the view is of no use afterwards."""
        for obj, tag in self._tags:
            obj.RemoveObserver(tag)
        self._style.SetInteractor(None)
        self._group.SetMRMLDisplayableNode(None)
        self._logic.SetMRMLScene(None)
        self._window.Finalize()

    # As in Slicer

    def mrmlSliceNode(self) -> Any:
        return self._node

    def renderWindow(self) -> Any:
        return self._window

    def scheduleRender(self) -> None:
        self._changed()

    def forceRender(self) -> None:
        if self._logic.GetImageDataConnection():
            self._image.GetMapper().SetInputConnection(self._logic.GetImageDataConnection())
        self._image.SetVisibility(bool(self._logic.GetImageDataConnection()))
        self._window.Render()
        width, height = self._window.GetSize()
        pixels = vtk.vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, pixels)
        self._picture = np.ascontiguousarray(vtk_to_numpy(pixels).reshape(height, width, 4)[::-1])

    def convertXYZToRAS(self, xyz: Sequence[float]) -> list[float]:
        return list(self._node.GetXYToRAS().MultiplyPoint([*xyz, 1.0])[:3])

    def convertRASToXYZ(self, ras: Sequence[float]) -> list[float]:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        return list(inverse.MultiplyPoint([*ras, 1.0])[:3])

    # Qt's events

    def picture(self) -> Any:
        """What the view shows, ``[row, column, RGBA]`` uint8, rendered if anything has changed."""
        if self._picture is None:
            self.forceRender()
        return self._picture

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        picture = self.picture()
        height, width, _ = picture.shape
        image = QtGui.QImage(picture.data, width, height, QtGui.QImage.Format.Format_RGBX8888)
        QtGui.QPainter(self).drawImage(0, 0, image)

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        width, height = event.size().width(), event.size().height()
        self._window.SetSize(width, height)
        self._interactor.SetSize(width, height)
        self._logic.ResizeSliceNode(width, height)
        self._interactor.InvokeEvent("ConfigureEvent")
        self._changed()

    def _mouse(self, event: QtGui.QMouseEvent | QtGui.QEnterEvent, name: str) -> None:
        held, at = event.modifiers(), event.position()
        control = int(bool(held & QtCore.Qt.KeyboardModifier.ControlModifier))
        shift = int(bool(held & QtCore.Qt.KeyboardModifier.ShiftModifier))
        row = self._window.GetSize()[1] - 1 - int(at.y())  # VTK counts rows from below
        self._interactor.SetEventInformation(int(at.x()), row, control, shift, "\0", 0, None)
        self._interactor.InvokeEvent(name)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, BUTTONS[event.button()] + "PressEvent")

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, BUTTONS[event.button()] + "ReleaseEvent")

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self._mouse(event, "MouseMoveEvent")

    def enterEvent(self, event: QtGui.QEnterEvent) -> None:
        self._mouse(event, "EnterEvent")

    def leaveEvent(self, event: QtCore.QEvent) -> None:
        self._interactor.InvokeEvent("LeaveEvent")


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


class LayoutManager:
    """``slicer.app.layoutManager()`` with the three slice views of the conventional layout and no 3D view."""

    threeDViewCount = 0

    def __init__(self, application_logic: Any, scene: Any) -> None:
        self._application_logic = application_logic
        self._viewport = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(self._viewport)
        grid.setContentsMargins(2, 2, 2, 2)
        self._widgets: dict[str, SliceWidget] = {}
        for name, orientation, (row, column), colour in VIEWS:
            widget = SliceWidget(SliceView(application_logic, scene, name, orientation), colour)
            grid.addWidget(widget, row, column)
            self._widgets[name] = widget

    def sliceViewNames(self) -> list[str]:
        return list(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._application_logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        """There is none to reset."""

    def viewport(self) -> QtWidgets.QWidget:
        return self._viewport

    def close(self) -> None:
        """Lets go of the scene."""
        for widget in self._widgets.values():
            widget.sliceView().close_view()
