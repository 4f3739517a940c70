"""Selectors of images that do not offer overlays, which are volumes like any other to Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from TumorSegSlicer.mrml.observers import observe
from TumorSegSlicer.mrml.overlays import isOverlay


class OverlayFilter:
    """Keeps overlays out of node selectors, whoever makes or loads them; elsewhere in Slicer they stay to be seen."""

    def __init__(self, selectors: Sequence[Any]) -> None:
        """Begins with the overlays that the scene has; ``selectors`` are of class ``qMRMLNodeComboBox``."""
        self._selectors, scene = selectors, slicer.mrmlScene
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        self._overlays = [volume.GetID() for volume in volumes if isOverlay(volume)]
        self._heard = [
            observe(scene, scene.NodeAddedEvent, self._onAdded, vtk.VTK_OBJECT),
            # Another node may get the id of one that was removed.
            observe(scene, scene.NodeRemovedEvent, self._onRemoved, vtk.VTK_OBJECT),
        ]
        self._hide()

    def close(self) -> None:
        """Follows the scene no more."""
        for observed, tag in self._heard:
            observed.RemoveObserver(tag)
        self._heard = []

    def _onAdded(self, _scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
        """Looks at this node alone: scenes of thousands of volumes are read one node at a time."""
        if isOverlay(node):
            self._overlays.append(node.GetID())
            self._hide()

    def _onRemoved(self, _scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
        if isOverlay(node) and node.GetID() in self._overlays:
            self._overlays.remove(node.GetID())
            self._hide()

    def _hide(self) -> None:
        for selector in self._selectors:
            selector.sortFilterProxyModel().hiddenNodeIDs = self._overlays
