"""What a list says of a segment, each figure only as long as it is that of the segment as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from TumorSegSlicer.mrml import tables, volumes
from TumorSegSlicer.mrml.arguments import checkSegment
from TumorSegSlicer.mrml.labelmaps import BINARY
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.work.runner import Action, complete
from TumorSegSlicer.work.segment_session import imageStamp, segmentStamp
from TumorSegSlicer.work.sessions import Sessions

if TYPE_CHECKING:
    from TumorSegLib import Grid, Mask
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegLib.measurements.diameters import AxialDiameters


@dataclass(frozen=True)
class Figures:
    """Figures of a segment.

    Attributes:
        stamp: of the segment and the PET that they are of, see :func:`stampOf`.
        volumeMl: volume of its voxels.
        diameterMm: longest axial diameter (RECIST 1.1); None where it is empty.
        suvMax: the highest voxel of the PET in it; None where there is no PET, or none of it lies there.
        middle: RAS mm in the world of a voxel in its middle, in the axial section of that diameter; None where it is
            empty.
    """

    stamp: tuple[Any, ...]
    volumeMl: float
    diameterMm: float | None
    suvMax: float | None
    middle: tuple[float, float, float] | None


class MeasureBriefly(Action):
    """Measures what a list says of a segment with a label map; its outcome is :class:`Figures`."""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, pet: Mapping[str, Input]) -> None:
        """Keeps the segment, and the PET in SUV as the only input; empty for none."""
        self.node, self.segmentId, self.pet = node, segmentId, pet

    def begin(self) -> Action | None:
        """Takes the voxels from the scene, without a copy."""
        checkSegment(self.node, self.segmentId)
        self.stamp = stampOf(self.node, self.segmentId, self.pet)
        self.images = [volumes.volumeFromNode(each.node, role, each.assumeSuv) for role, each in self.pet.items()]
        self.mask = tables.ownMask(self.node, self.segmentId, _oneVoxel)
        return None

    def work(self, _progress: Progress, _cancel: Cancel) -> Figures:
        """Measures."""
        from TumorSegLib.measurements.diameters import axial_diameters
        from TumorSegLib.measurements.middle import middle_of
        from TumorSegLib.measurements.uptake import sample_image

        mask = self.mask()
        axial = axial_diameters(mask)
        values = [sample_image(mask, each).values for each in self.images]
        highest = [float(each.max()) for each in values if each.size]
        if axial is None:
            return Figures(self.stamp, mask.volume_ml, None, None, None)
        middle = middle_of(_section(mask, axial))
        return Figures(self.stamp, mask.volume_ml, axial.longest.length_mm, max(highest, default=None), middle)


def _section(mask: Mask, axial: AxialDiameters) -> Mask:
    """The slice of a mask that its longest axial diameter lies in, where the diameters are drawn."""
    from TumorSegLib import Mask
    from TumorSegLib.geometry.boxes import slices

    size = zip("ijk", mask.grid.size)
    i, j, k = ((axial.slice, axial.slice + 1) if axis == axial.axis else (0, count) for axis, count in size)
    return Mask(mask.grid.crop((i, j, k)), mask.array[slices((i, j, k))])


def stampOf(node: slicer.vtkMRMLSegmentationNode, segmentId: str, pet: Mapping[str, Input]) -> tuple[Any, ...]:
    """Differs once a segment, its place in the world or the PET does; takes no time."""
    return *segmentStamp(node, segmentId), *imageStamp(pet)


def middleNow(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> tuple[float, float, float] | None:
    """RAS mm in the world of the middle of a segment as it is now; of its box where it is contours or a surface."""
    if isMeasured(node, segmentId):
        middle: tuple[float, float, float] | None = complete(MeasureBriefly(node, segmentId, {})).middle
        return middle
    bounds = [0.0] * 6
    node.GetSegmentation().GetSegment(segmentId).GetBounds(bounds)
    if bounds[0] > bounds[1]:
        return None
    r, a, s, _one = volumes.toWorld(node) @ [*((low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2])), 1.0]
    return float(r), float(a), float(s)


def isMeasured(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
    """Whether a segment is measured for the list: to turn contours into voxels takes the window's thread seconds."""
    return node.GetSegmentation().GetSegment(segmentId).GetRepresentation(BINARY) is not None


def volumeNow(sessions: Sessions, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> float | None:
    """Volume in ml of a segment whose session holds what the segment shows now, at once; None for any other."""
    if not sessions.isOpen(node, segmentId):
        return None
    opened = sessions.of(node, segmentId)
    return opened.session.volume_ml if opened.segment == segmentStamp(node, segmentId) else None


def _oneVoxel() -> Grid:
    """A grid for a segment without voxels."""
    from TumorSegLib import Grid

    return Grid((1, 1, 1), np.eye(4))
