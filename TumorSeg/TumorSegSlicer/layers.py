"""What the slice views show over the images, and giving back what they showed before."""

from __future__ import annotations

import slicer


class Foreground:
    """Lays one volume over the images in all slice views; what lay there before, a PET over a CT, comes back after."""

    def __init__(self) -> None:
        """Begins with nothing laid over."""
        self._shownId: str | None = None
        self._former: dict[str, tuple[str | None, float]] = {}  # composite node to volume and opacity

    def show(self, volume: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
        """Lays a volume over the images, or takes it instead of the one laid over so far."""
        showing = self._showing()
        for composite in [each for each in _composites() if each not in showing]:
            self._former[composite.GetID()] = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
        self._shownId = volume.GetID()
        slicer.util.setSliceViewerLayers(foreground=volume, foregroundOpacity=opacity)

    def setOpacity(self, opacity: float) -> None:
        """How much of the images it hides, 0 to 1; of no effect where nothing is laid over."""
        for composite in self._showing():
            composite.SetForegroundOpacity(opacity)

    def hide(self) -> None:
        """Gives back what lay there before, save in views where the user has chosen something else since."""
        for composite in self._showing():
            volumeId, opacity = self._former.get(composite.GetID(), (None, composite.GetForegroundOpacity()))
            known = volumeId is not None and slicer.mrmlScene.GetNodeByID(volumeId) is not None
            composite.SetForegroundVolumeID(volumeId if known else None)
            composite.SetForegroundOpacity(opacity)
        self._shownId, self._former = None, {}

    def _showing(self) -> list[slicer.vtkMRMLSliceCompositeNode]:
        shown = self._shownId
        return [each for each in _composites() if shown is not None and each.GetForegroundVolumeID() == shown]


def _composites() -> list[slicer.vtkMRMLSliceCompositeNode]:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))
