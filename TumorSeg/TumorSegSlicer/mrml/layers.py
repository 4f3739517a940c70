"""What the slice views show over the images, and giving back what they showed before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import slicer

from TumorSegSlicer.mrml.overlays import isOverlay


class Foreground:
    """Lays overlays over the images in all slice views; what lay there before, a PET over a CT, comes back after.

    Whether a view shows an overlay is read from the view: a scene that was saved with one shows it when it is opened.
    """

    def __init__(self) -> None:
        """Begins with nothing to give back."""
        self._former: dict[str, tuple[slicer.vtkMRMLVolumeNode | None, float]] = {}  # of composite nodes by id

    def show(self, overlay: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
        """Lays an overlay over the images, or takes it instead of the one laid over so far."""
        showing = _showing()
        for composite in [each for each in _composites() if each not in showing]:
            self._former[composite.GetID()] = _foreground(composite), composite.GetForegroundOpacity()
        slicer.util.setSliceViewerLayers(foreground=overlay, foregroundOpacity=opacity)

    def setOpacity(self, opacity: float) -> None:
        """How much of the images overlays hide, 0 to 1; of no effect where nothing is laid over."""
        for composite in _showing():
            composite.SetForegroundOpacity(opacity)

    def hide(self) -> None:
        """Gives back what lay there before, save in views where the user has chosen something else since."""
        for composite in _showing():
            volume, opacity = self._former.get(composite.GetID(), (None, composite.GetForegroundOpacity()))
            there = volume is not None and slicer.mrmlScene.IsNodePresent(volume)
            composite.SetForegroundVolumeID(volume.GetID() if there else None)
            composite.SetForegroundOpacity(opacity)
        self._former = {}


@contextmanager
def labelLayersKept() -> Iterator[None]:
    """Gives the views back the label maps that are taken out of them meanwhile, as Slicer's Segment Editor does."""
    shown = {composite: composite.GetLabelVolumeID() for composite in _composites()}
    yield
    for composite, volumeId in shown.items():
        if volumeId and not composite.GetLabelVolumeID():
            composite.SetLabelVolumeID(volumeId)


def _composites() -> list[slicer.vtkMRMLSliceCompositeNode]:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def _showing() -> list[slicer.vtkMRMLSliceCompositeNode]:
    return [each for each in _composites() if isOverlay(_foreground(each))]


def _foreground(composite: slicer.vtkMRMLSliceCompositeNode) -> slicer.vtkMRMLVolumeNode | None:
    volumeId = composite.GetForegroundVolumeID()
    return slicer.mrmlScene.GetNodeByID(volumeId) if volumeId else None
