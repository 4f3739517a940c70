"""How thick the contours of the chosen segmentation are, and how much their filling hides."""

from __future__ import annotations

import slicer
import vtk

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.shared.context import Context


class Contours:
    """Two sliders for the segmentation's display node, saved with the scene and changed by other panels, too."""

    def __init__(self, context: Context) -> None:
        """Connects the sliders."""
        self._context, self._listener = context, Listener()
        self._display: slicer.vtkMRMLSegmentationDisplayNode | None = None
        context.ui.contourSlider.connect("valueChanged(double)", self._onThickness)
        context.ui.fillSlider.connect("valueChanged(double)", self._onFill)
        context.settings.onChanged.connect(lambda _changed: self.update())
        context.selection.onTarget.connect(self.update)

    def update(self) -> None:
        """Follows the segmentation that is chosen now."""
        node = self._context.parameters.segmentation
        self._display = node.GetDisplayNode() if node is not None else None
        if self._display is None:
            self._listener.listen()
        else:
            self._listener.listen((self._display, vtk.vtkCommand.ModifiedEvent, self._show))
        self._show()

    def close(self) -> None:
        """The panel is going away."""
        self._listener.listen()

    def _show(self, _display: vtk.vtkObject = None) -> None:
        ui, display = self._context.ui, self._display
        ui.contourSlider.enabled = ui.fillSlider.enabled = display is not None
        if display is None:
            return
        for slider, value in (
            (ui.contourSlider, display.GetSliceIntersectionThickness()),
            (ui.fillSlider, display.GetOpacity2DFill()),
        ):
            blocked = slider.blockSignals(True)
            slider.value = value
            slider.blockSignals(blocked)

    def _onThickness(self, value: float) -> None:
        if self._display is not None:
            self._display.SetSliceIntersectionThickness(round(value))

    def _onFill(self, value: float) -> None:
        if self._display is not None:
            self._display.SetOpacity2DFill(value)
