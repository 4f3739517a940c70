"""What the slice views show: the images, and over them the probability or the uncertainty of a segment.

Uncertainty is the entropy of the probability in bits: 0 where it is 0 or 1, 1 where it is a half.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk

if TYPE_CHECKING:
    from TumorSegLib import Grid, Volume

#: Opacity of a PET over a CT or MR.
PET_OPACITY = 0.4
#: Slice views that show an image of their own, the second one of two side by side.
SECOND_VIEWS = ("TumorSegAxial", "TumorSegCoronal")
#: Kind of overlay to its name.
NAMES = {"probability": "Tumour probability (%)", "uncertainty": "Uncertainty (%)"}
#: References from a segmentation to its overlays begin so; an attribute of the volume has the segment's id.
ROLE = "TumorSegOverlay."
SEGMENT_ATTRIBUTE = "TumorSeg.SegmentID"
# From black and violet over blue, green and yellow to red, as on workstations for PET. Slicer has it without any file.
COLOURS = "vtkMRMLPETProceduralColorNodePET-Rainbow2"
# Percentages below are not drawn, or the overlay would darken the whole image.
FAINTEST_PERCENT = 5
# Uncertain positions: entropy is averaged over about this length, so that the thin rim of a clear tumour does not
# count, and positions nearer to each other than that distance are one.
SMOOTHING_MM, DISTANCE_MM = 4.0, 15.0
LEAST_UNCERTAINTY = 0.2


def percentages(probability: np.ndarray, kind: str) -> np.ndarray:
    """Values of an overlay, uint8 0 to 100 ``[k, j, i]``.

    Args:
        probability: float from 0 to 1 ``[k, j, i]``.
        kind: ``probability`` or ``uncertainty``.

    Raises:
        ArgumentError: there is no such kind.
    """
    from TumorSegLib import ArgumentError
    from TumorSegLib.images.probability import to_uint8

    if kind not in NAMES:
        raise ArgumentError(f"there is no overlay '{kind}'; there are {', '.join(NAMES)}")
    levels = np.linspace(0, 1, 256)
    table = np.rint(100 * (levels if kind == "probability" else _entropy(levels))).astype(np.uint8)
    percent: np.ndarray = table[to_uint8(probability)]
    return percent


def showAsVolume(
    percent: np.ndarray, grid: Grid, node: slicer.vtkMRMLSegmentationNode, segmentId: str, kind: str
) -> slicer.vtkMRMLScalarVolumeNode:
    """Writes percentages into the overlay volume of a segmentation, which is made where there is none."""
    volume = node.GetNodeReference(ROLE + kind) or _made(node, kind)
    volume.SetAttribute(SEGMENT_ATTRIBUTE, segmentId)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(grid.affine.ravel().tolist())
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, percent)
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(COLOURS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 100)
    display.SetLowerThreshold(FAINTEST_PERCENT)
    display.SetUpperThreshold(100)
    display.SetApplyThreshold(True)
    return volume


def isOverlay(node: slicer.vtkMRMLNode | None) -> bool:
    """Whether a node is an overlay made here, in this session or in the one that saved the scene."""
    return node is not None and node.GetAttribute(SEGMENT_ATTRIBUTE) is not None


def _made(node: slicer.vtkMRMLSegmentationNode, kind: str) -> slicer.vtkMRMLScalarVolumeNode:
    volume = slicer.vtkMRMLScalarVolumeNode()
    volume.SetName(slicer.mrmlScene.GenerateUniqueName(NAMES[kind]))
    volume.SetAttribute(SEGMENT_ATTRIBUTE, "")  # observers of new nodes can see that it is an overlay
    slicer.mrmlScene.AddNode(volume)
    volume.CreateDefaultDisplayNodes()
    node.SetNodeReferenceID(ROLE + kind, volume.GetID())
    return volume


def uncertainPositions(probability: Volume, most: int = 10) -> list[tuple[float, float, float]]:
    """Where a segment is least certain over a few millimetres.

    Args:
        probability: of a segment, from 0 to 1.
        most: how many at most.

    Returns:
        RAS mm of voxel centres, the least certain first; empty where all is clear.
    """
    from scipy import ndimage

    from TumorSegLib.geometry.boxes import bounding_box, origin, slices

    box = bounding_box((probability.array > 0.02) & (probability.array < 0.98))
    if box is None:
        return []
    spacing = np.array(probability.grid.spacing[::-1])
    entropy = ndimage.gaussian_filter(_entropy(probability.array[slices(box)]), SMOOTHING_MM / spacing, mode="constant")
    reach = 2 * np.ceil(DISTANCE_MM / 2 / spacing).astype(int) + 1
    peaks = (entropy == ndimage.maximum_filter(entropy, reach)) & (entropy >= LEAST_UNCERTAINTY)
    found = np.argwhere(peaks)
    found = found[np.argsort(-entropy[peaks], kind="stable")][:most]
    r_a_s = probability.grid.to_ras(found[:, ::-1] + origin(box))
    return [(float(r), float(a), float(s)) for r, a, s in r_a_s]


def _entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy in bits."""
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    bits: np.ndarray = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    return bits


def showImages(anatomy: slicer.vtkMRMLVolumeNode | None, pet: slicer.vtkMRMLVolumeNode | None) -> None:
    """Shows an image in all slice views but :data:`SECOND_VIEWS`, and a PET over it, or alone.

    A view that shows an image already keeps how it does so; one in which a probability is laid over keeps that.
    """
    below = anatomy or pet
    over = pet if pet is not below else None
    fit = False
    for composite in _firstComposites():
        if below is not None and composite.GetBackgroundVolumeID() != below.GetID():
            composite.SetBackgroundVolumeID(below.GetID())
            fit = True
        overId = composite.GetForegroundVolumeID()
        laid = slicer.mrmlScene.GetNodeByID(overId) if overId else None
        if over is not None and laid is not over and not isOverlay(laid):
            composite.SetForegroundVolumeID(over.GetID())
            composite.SetForegroundOpacity(PET_OPACITY)
        elif laid is below and laid is not None:
            composite.SetForegroundVolumeID(None)
    if fit and slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(fit=True)


def shownImages() -> list[slicer.vtkMRMLVolumeNode]:
    """What the slice views show, first what lies below; the only volume of the scene where they show none.

    :data:`SECOND_VIEWS` do not count.
    """
    for composite in _firstComposites():
        below = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        over = _foreground(composite) if composite.GetForegroundOpacity() > 0 else None
        found = [each for each in (below, over) if each is not None and not isOverlay(each)]
        if found:
            return found
    volumes = [each for each in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if _isImage(each)]
    return volumes if len(volumes) == 1 else []


def _isImage(volume: slicer.vtkMRMLVolumeNode) -> bool:
    return not (isOverlay(volume) or volume.GetHideFromEditors() or volume.IsA("vtkMRMLLabelMapVolumeNode"))


class Foreground:
    """Lays overlays over the images in all slice views but :data:`SECOND_VIEWS`.

    What lay there before, a PET over a CT, comes back after.

    Whether a view shows an overlay is read from the view: a scene that was saved with one shows it when it is opened.
    """

    def __init__(self) -> None:
        """Begins with nothing to give back."""
        self._former: dict[str, tuple[slicer.vtkMRMLVolumeNode | None, float]] = {}  # of composite nodes by id

    def show(self, overlay: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
        """Lays an overlay over the images, or takes it instead of the one laid over so far."""
        showing = _showing()
        for composite in _firstComposites():
            if composite not in showing:
                self._former[composite.GetID()] = _foreground(composite), composite.GetForegroundOpacity()
            composite.SetForegroundVolumeID(overlay.GetID())
            composite.SetForegroundOpacity(opacity)

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


def _firstComposites() -> list[slicer.vtkMRMLSliceCompositeNode]:
    return [each for each in _composites() if each.GetLayoutName() not in SECOND_VIEWS]


def _showing() -> list[slicer.vtkMRMLSliceCompositeNode]:
    return [each for each in _composites() if isOverlay(_foreground(each))]


def _foreground(composite: slicer.vtkMRMLSliceCompositeNode) -> slicer.vtkMRMLVolumeNode | None:
    volumeId = composite.GetForegroundVolumeID()
    return slicer.mrmlScene.GetNodeByID(volumeId) if volumeId else None
