"""What VTK draws off screen, as a Qt widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - these register what vtk's factories make
from PySide6 import QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy


class RenderedView(QtWidgets.QWidget):
    """A renderer with Slicer's displayable managers in it, drawn anew after they or what is followed have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumSize(60, 60)
        self._picture: Any = None
        self._tags: list[tuple[Any, int]] = []
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetShowWindow(False)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()

    def add_managers(self, application_logic: Any, factory: Any, managers: Sequence[str]) -> Any:
        """The group of displayable managers, by the names of their classes, that draw into this view."""
        factory.SetMRMLApplicationLogic(application_logic)
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self._renderer)
        group.Initialize(factory, self._renderer)
        self.follow(group, vtk.vtkCommand.UpdateEvent)
        return group

    def follow(self, thing: Any, event: int) -> None:
        """Draws anew after an event."""
        self._tags.append((thing, thing.AddObserver(event, self._changed)))

    def _changed(self, *_: Any) -> None:
        self._picture = None
        self.update()

    def close_view(self) -> None:
        """Ends the drawing; the view is of no use afterwards."""
        for thing, tag in self._tags:
            thing.RemoveObserver(tag)
        self._window.Finalize()

    # As in Slicer

    def renderWindow(self) -> Any:
        return self._window

    def scheduleRender(self) -> None:
        self._changed()

    def forceRender(self) -> None:
        self._window.Render()
        width, height = self._window.GetSize()
        pixels = vtk.vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 0, pixels)
        self._picture = np.ascontiguousarray(vtk_to_numpy(pixels).reshape(height, width, 4)[::-1])

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
        self._interactor.InvokeEvent("ConfigureEvent")
        self._changed()
