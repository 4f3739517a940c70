"""A slice view that is drawn in: where the mouse is on its slice, and the ink in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import qt
import vtk

from TumorSegSlicer.mrml.volumes import arrayFromMatrix

#: Points of the ring that shows the pen.
RING = 32
THIN_PIXELS = 2.0
OPACITY = 0.6

Pixel = tuple[float, float]
Colour = tuple[float, float, float]


class Canvas:
    """One slice view, of any orientation, while something is drawn in it."""

    def __init__(self, sliceWidget: Any) -> None:
        """Begins empty; ``sliceWidget`` is of class ``qMRMLSliceWidget``."""
        self._view = sliceWidget.sliceView()
        self.interactor = self._view.interactor()
        self._renderer = self._view.renderWindow().GetRenderers().GetFirstRenderer()
        self._ink, self._ring = _Line(), _Line()
        for line in (self._ink, self._ring):
            self._renderer.AddViewProp(line.actor)

    def remove(self) -> None:
        """Leaves the view as it was."""
        for line in (self._ink, self._ring):
            self._renderer.RemoveViewProp(line.actor)
        self._view.unsetViewCursor()
        self._view.scheduleRender()

    def mouse(self) -> Pixel:
        """Where the mouse is, in pixels of the view."""
        x, y = self.interactor.GetEventPosition()
        return float(x), float(y)

    def toRas(self, pixels: Sequence[Pixel]) -> list[tuple[float, float, float]]:
        """Places of the slice that is shown, RAS mm of the world."""
        flat = np.array([(x, y, 0.0, 1.0) for x, y in pixels])
        return [(r, a, s) for r, a, s, _one in (flat @ arrayFromMatrix(self._node.GetXYToRAS()).T).tolist()]

    def slice(self) -> tuple[float, ...]:
        """Which slice is shown, and how: what changes when the user scrolls, turns, pans or zooms."""
        return tuple(arrayFromMatrix(self._node.GetXYToRAS()).ravel().tolist())

    def normal(self) -> tuple[float, float, float]:
        """Of the slice that is shown, RAS, of length 1."""
        r, a, s = arrayFromMatrix(self._node.GetSliceToRAS())[:3, 2].tolist()
        return r, a, s

    def draw(self, pixels: Sequence[Pixel], colour: Colour, widthMm: float = 0.0, closed: bool = False) -> None:
        """Shows a line through some places, as wide as a pen, and no other."""
        self._ink.show([*pixels, *pixels[:1]] if closed else pixels, colour, max(self._pixels(widthMm), THIN_PIXELS))
        self._view.scheduleRender()

    def showPen(self, at: Pixel | None, colour: Colour, widthMm: float) -> None:
        """Shows the rim of a pen; None hides it."""
        turns = [2 * math.pi * n / RING for n in range(RING + 1)] if at is not None else []
        (x, y), radius = at or (0.0, 0.0), self._pixels(widthMm) / 2
        self._ring.show([(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns], colour, 1.0)
        self._view.scheduleRender()

    def setCursor(self, cursor: qt.QCursor) -> None:
        """Shows the mouse so."""
        self._view.setViewCursor(cursor)

    @property
    def _node(self) -> Any:
        return self._view.mrmlSliceNode()

    def _pixels(self, mm: float) -> float:
        """So many mm of the slice in pixels of the view."""
        return float(mm / np.linalg.norm(arrayFromMatrix(self._node.GetXYToRAS())[:3, 0]))


class _Line:
    """A line in pixels of a view."""

    def __init__(self) -> None:
        self._data = vtk.vtkPolyData()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self._data)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(mapper)
        self.actor.GetProperty().SetOpacity(OPACITY)
        self.actor.SetVisibility(False)

    def show(self, pixels: Sequence[Pixel], colour: Colour, width: float) -> None:
        points, lines = vtk.vtkPoints(), vtk.vtkCellArray()
        lines.InsertNextCell(len(pixels))
        for x, y in pixels:
            lines.InsertCellPoint(points.InsertNextPoint(x, y, 0.0))
        self._data.SetPoints(points)
        self._data.SetLines(lines)
        self.actor.GetProperty().SetColor(colour)
        self.actor.GetProperty().SetLineWidth(width)
        self.actor.SetVisibility(len(pixels) > 1)
