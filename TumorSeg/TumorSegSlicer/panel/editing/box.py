"""Boxes that the user draws round a lesion, and whose handles can be moved afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import slicer

from TumorSegSlicer.mrml.arguments import ROI
from TumorSegSlicer.mrml.nodes import placeBeside
from TumorSegSlicer.panel.editing.place import Placement

FILL_OPACITY = 0.1

RoiNode: TypeAlias = slicer.vtkMRMLMarkupsROINode


class BoxTool:
    """Draws one box, into a region of interest (ROI) that stays in the scene."""

    def __init__(self, onDrawn: Callable[[RoiNode], None], onEnded: Callable[[], None]) -> None:
        """Begins without drawing.

        Args:
            onDrawn: called with the ROI once its box is drawn.
            onEnded: called when the user leaves the place mode without having drawn one.
        """
        self._onDrawn, self._onEnded = onDrawn, onEnded
        self._placement = Placement(self._onLeft)
        self._roi: RoiNode | None = None
        self._former: RoiNode | None = None  # what the ROI was before; None where it is new

    @property
    def active(self) -> bool:
        """Whether a box is being drawn."""
        return self._roi is not None

    def begin(self, roi: RoiNode | None, beside: slicer.vtkMRMLNode | None) -> None:
        """Lets the user draw a box in a slice view.

        Args:
            roi: gets the box in place of its own; a new one by default.
            beside: in whose study a new one lies, if there is one.
        """
        self.end()
        self._former = None
        if roi is None:
            roi = slicer.mrmlScene.AddNewNodeByClass(ROI, "Tumour box")
            roi.CreateDefaultDisplayNodes()
            roi.GetDisplayNode().SetFillOpacity(FILL_OPACITY)
            if beside is not None:
                placeBeside(roi, beside)
        else:
            self._former = RoiNode()
            self._former.CopyContent(roi)
            roi.RemoveAllControlPoints()
        self._roi = roi
        self._placement.begin(roi)

    def end(self) -> None:
        """Stops drawing; what the ROI was before comes back."""
        self._placement.end()
        roi, self._roi = self._roi, None
        if roi is None or not slicer.mrmlScene.IsNodePresent(roi):
            return
        if self._former is not None:
            roi.CopyContent(self._former)
        else:
            slicer.mrmlScene.RemoveNode(roi)

    def _onLeft(self) -> None:
        roi = self._roi
        if isDrawn(roi):
            self._roi = None
            self._onDrawn(roi)
        else:
            self.end()
            self._onEnded()


def isDrawn(roi: RoiNode | None) -> bool:
    """Whether a ROI is in the scene and holds a box."""
    return roi is not None and bool(slicer.mrmlScene.IsNodePresent(roi)) and min(roi.GetSize()) > 0
