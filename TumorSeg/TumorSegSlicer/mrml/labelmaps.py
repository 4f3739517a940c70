"""Voxels of segments as numpy arrays: label maps that segments may share, each on a lattice of its own.

A lattice is a float64 matrix ``(4, 4)`` from voxels ``(i, j, k)`` to the local RAS mm of the segmentation; boxes are
half-open voxel ranges on it. Nothing here changes another segment than the one that it is asked to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

if TYPE_CHECKING:
    from TumorSegLib.geometry.grid import Box

#: The representation that voxels are kept in. Slicer's function that says so is not there while modules are loaded.
BINARY = "Binary labelmap"


@dataclass(frozen=True, eq=False)
class LiveVoxels:
    """Voxels of a segment as they lie in the scene: nothing was copied yet, so that another thread may do that.

    What is painted meanwhile may be in the copy or not.

    Attributes:
        box: half-open voxel range that holds all voxels of the segment, and more; of no size where it has none.
        labels: a view of the label map ``[k, j, i]`` in the box, of any integer type.
        value: that of the segment in it.
    """

    box: Box
    labels: np.ndarray
    value: int

    def copied(self) -> np.ndarray:
        """The segment in the box, uint8 0 or 1 ``[k, j, i]``."""
        copy: np.ndarray = np.equal(self.labels, self.value).view(np.uint8)
        return copy


_NO_VOXELS = LiveVoxels(((0, 0), (0, 0), (0, 0)), np.zeros((0, 0, 0), dtype=np.uint8), 1)


def liveVoxels(node: slicer.vtkMRMLSegmentationNode, segmentId: str, lattice: np.ndarray, box: Box) -> LiveVoxels:
    """The voxels of a segment in a box of a lattice; the scene stays as it is.

    A segment on another lattice, or one that only has a surface, is resampled to the nearest voxel.

    Raises:
        TumorSegError: Slicer cannot turn its surface into voxels.
    """
    from TumorSegLib.geometry.boxes import intersection

    segment, reference = node.GetSegmentation().GetSegment(segmentId), _image(lattice, box)
    labelmap, value = segment.GetRepresentation(BINARY), segment.GetLabelValue()
    if labelmap is None:
        labelmap, value = _voxelised(node, segmentId, lattice, box), 1
    if labelmap.IsEmpty():
        return _NO_VOXELS
    if not _onLattice(labelmap, reference):
        resampled, resampler = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageDataResample
        resampler.ResampleOrientedImageToReferenceOrientedImage(labelmap, reference, resampled, False)
        labelmap = resampled
    inner = intersection(_extent(labelmap), box)
    if not all(low < high for low, high in inner):
        return _NO_VOXELS
    return LiveVoxels(inner, _view(labelmap, inner), value)


def readVoxels(node: slicer.vtkMRMLSegmentationNode, segmentId: str, lattice: np.ndarray, box: Box) -> np.ndarray:
    """As :func:`liveVoxels`, in the whole box, uint8 0 or 1 ``[k, j, i]``, a copy."""
    from TumorSegLib.geometry.boxes import slices, within

    live = liveVoxels(node, segmentId, lattice, box)
    mask = np.zeros([high - low for low, high in box[::-1]], dtype=np.uint8)
    if live.labels.size:
        mask[slices(within(live.box, box))] = live.copied()
    return mask


def ownLiveVoxels(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> tuple[LiveVoxels, np.ndarray]:
    """The voxels of a segment on the lattice of its own label map, and that lattice; none where it has no label map."""
    segment = node.GetSegmentation().GetSegment(segmentId)
    labelmap = segment.GetRepresentation(BINARY)
    if labelmap is None or labelmap.IsEmpty():
        return _NO_VOXELS, np.eye(4)
    matrix, box = vtk.vtkMatrix4x4(), _extent(labelmap)
    labelmap.GetImageToWorldMatrix(matrix)
    return LiveVoxels(box, _view(labelmap, box), segment.GetLabelValue()), slicer.util.arrayFromVTKMatrix(matrix)


def holdsVoxels(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
    """Whether a segment has any voxel in its label map; False where it has no label map."""
    live, _lattice = ownLiveVoxels(node, segmentId)
    return any((each == live.value).any() for each in live.labels)  # slice by slice: mostly the first ones tell


def cropped(live: LiveVoxels, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of a segment, see :func:`ownLiveVoxels`, cropped to their box, and the place of that box.

    Returns:
        Bool ``[k, j, i]``, of no size where the segment holds nothing, and the local RAS mm of its first voxel.
    """
    from TumorSegLib.geometry.boxes import bounding_box, origin, slices

    voxels = live.copied().view(bool)
    box = bounding_box(voxels)
    if box is None:
        return np.zeros((0, 0, 0), dtype=bool), np.zeros(3)
    first = origin(box) + np.array([low for low, _high in live.box])
    return voxels[slices(box)], (lattice @ [*first, 1.0])[:3]


def isKeptAsVoxels(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the voxels of a segmentation can be written: they are what it is kept as, not contours or surfaces."""
    return bool(node.GetSegmentation().GetSourceRepresentationName() == BINARY)


def keepAsVoxels(node: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Converts all segments, contours or surfaces, to voxels on the lattice of a volume; this cannot be undone.

    Raises:
        TumorSegError: Slicer cannot; the segmentation stays as it was.
    """
    from TumorSegLib import TumorSegError

    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    if not node.GetSegmentation().CreateRepresentation(BINARY, True):
        source = node.GetSegmentation().GetSourceRepresentationName()
        raise TumorSegError(f"Slicer could not turn segmentation '{node.GetName()}', kept as '{source}', into voxels")
    node.GetSegmentation().SetSourceRepresentationName(BINARY)


def writeVoxels(
    node: slicer.vtkMRMLSegmentationNode, segmentId: str, lattice: np.ndarray, box: Box, values: np.ndarray
) -> None:
    """Adds voxels to a segment and removes others, and reports the change to views and observers.

    Args:
        node, segmentId: the segment, of a segmentation whose source representation is label maps.
        lattice, box: where; a segment on another lattice is resampled to this one, alone.
        values: int8 ``[k, j, i]`` of the box, 1 to add a voxel, -1 to remove it, 0 to leave it as it is.

    Raises:
        TumorSegError: Slicer cannot write the segment.
    """
    from TumorSegLib.geometry.boxes import intersection

    segment = node.GetSegmentation().GetSegment(segmentId)
    labelmap, value = segment.GetRepresentation(BINARY), segment.GetLabelValue()
    onLattice = _onLattice(labelmap, _image(lattice, box))
    # Slicer's own way copies whole label maps: 100 ms where a shared one spans 512 x 512 x 200 voxels.
    if onLattice and intersection(_extent(labelmap), box) == box and _hasOnlyLabelmaps(node):
        voxels = _view(labelmap, box)
        if not ((values > 0) & (voxels != 0) & (voxels != value)).any():
            voxels[values > 0] = value
            voxels[(values < 0) & (voxels == value)] = 0
            _announce(node, segmentId, labelmap)
            return
    if not onLattice and not labelmap.IsEmpty():  # or Slicer would resample all segments that share the label map
        node.GetSegmentation().SeparateSegmentLabelmap(segmentId)
    _writeThroughLogic(node, segmentId, lattice, box, values)


def _writeThroughLogic(
    node: slicer.vtkMRMLSegmentationNode, segmentId: str, lattice: np.ndarray, box: Box, values: np.ndarray
) -> None:
    """Writes by Slicer's own means, which enlarge the label map, move the segment to another layer where it would
    enter one that shares its label map, and renew its surface."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if (values > 0).any():
        _merge(node, segmentId, _image(lattice, box, values > 0), logic.MODE_MERGE_MASK, [])
    if (values < 0).any():
        # A minimum leaves the others' voxels as they are; naming them keeps Slicer from making a layer for nothing.
        sharing: list[str] = []
        node.GetSegmentation().GetSegmentIDsSharingBinaryLabelmapRepresentation(segmentId, sharing, False)
        _merge(node, segmentId, _image(lattice, box, values >= 0), logic.MODE_MERGE_MIN, sharing)


def _merge(
    node: slicer.vtkMRMLSegmentationNode,
    segmentId: str,
    image: slicer.vtkOrientedImageData,
    mode: int,
    others: list[str],
) -> None:
    from TumorSegLib import TumorSegError

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.SetBinaryLabelmapToSegment(image, node, segmentId, mode, image.GetExtent(), False, others):
        raise TumorSegError(f"Slicer could not write segment '{segmentId}' of segmentation '{node.GetName()}'")


def _announce(node: slicer.vtkMRMLSegmentationNode, segmentId: str, labelmap: slicer.vtkOrientedImageData) -> None:
    """What Slicer's own code does after writing."""
    labelmap.GetPointData().GetScalars().Modified()
    segmentation = node.GetSegmentation()
    segmentation.InvokeEvent(segmentation.SourceRepresentationModified, segmentId)
    segmentation.InvokeEvent(segmentation.RepresentationModified, segmentId)


def _voxelised(
    node: slicer.vtkMRMLSegmentationNode, segmentId: str, lattice: np.ndarray, box: Box
) -> slicer.vtkOrientedImageData:
    """The label map of a segment that has none, made in a copy."""
    from TumorSegLib import TumorSegError

    copy, converter = slicer.vtkSegmentation(), slicer.vtkSegmentationConverter
    copy.SetSourceRepresentationName(node.GetSegmentation().GetSourceRepresentationName())
    copy.CopySegmentFromSegmentation(node.GetSegmentation(), segmentId)
    copy.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(_image(lattice, box))
    )
    if not copy.CreateRepresentation(BINARY):
        raise TumorSegError(f"Slicer could not turn segment '{segmentId}' of '{node.GetName()}' into voxels")
    return copy.GetSegment(segmentId).GetRepresentation(BINARY)


def _hasOnlyLabelmaps(node: slicer.vtkMRMLSegmentationNode) -> bool:
    names: list[str] = []
    node.GetSegmentation().GetContainedRepresentationNames(names)
    return names == [BINARY]


def _onLattice(image: slicer.vtkOrientedImageData, reference: slicer.vtkOrientedImageData) -> bool:
    return bool(slicer.vtkOrientedImageDataResample.DoGeometriesMatch(image, reference))


def _image(lattice: np.ndarray, box: Box, values: np.ndarray | None = None) -> slicer.vtkOrientedImageData:
    """An image of a box, with a copy of values ``[k, j, i]`` as uint8, or without voxels."""
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    matrix.DeepCopy(lattice.ravel().tolist())
    image.SetGeometryFromImageToWorldMatrix(matrix)
    image.SetExtent([limit for low, high in box for limit in (low, high - 1)])
    if values is not None:
        image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values.astype(np.uint8).ravel(), deep=True))
    return image


def _extent(image: slicer.vtkOrientedImageData) -> Box:
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    return (i0, i1 + 1), (j0, j1 + 1), (k0, k1 + 1)


def _view(image: slicer.vtkOrientedImageData, box: Box) -> np.ndarray:
    """The live voxels of a box within an image, ``[k, j, i]``."""
    from TumorSegLib.geometry.boxes import slices, within

    voxels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    part: np.ndarray = voxels[slices(within(box, _extent(image)))]
    return part
