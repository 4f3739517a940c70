"""Selectors of images that do not offer overlays, which are volumes like any other to Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from TumorSegSlicer.observers import Listener
from TumorSegSlicer.overlays import isOverlay


class OverlayFilter:
    """Keeps overlays out of node selectors, whoever makes or loads them; elsewhere in Slicer they stay to be seen."""

    def __init__(self, selectors: Sequence[Any]) -> None:
        """Begins with the overlays that the scene has; ``selectors`` are of class ``qMRMLNodeComboBox``."""
        self._selectors, self._listener, scene = selectors, Listener(), slicer.mrmlScene
        self._listener.listen((scene, scene.NodeAddedEvent, self._update))
        self._update(scene)

    def close(self) -> None:
        """Follows the scene no more."""
        self._listener.listen()

    def _update(self, _scene: slicer.vtkMRMLScene) -> None:
        # All anew, as a new node may have got the id of an overlay that was removed.
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        overlays = [volume.GetID() for volume in volumes if isOverlay(volume)]
        for selector in self._selectors:
            selector.sortFilterProxyModel().hiddenNodeIDs = overlays
