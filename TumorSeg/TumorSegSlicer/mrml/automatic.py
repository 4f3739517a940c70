"""Which segments hold what the automatic model marked and nobody has changed since, so that they may be replaced."""

from __future__ import annotations

import zlib

import numpy as np
import slicer
import vtk

from TumorSegSlicer.mrml.labelmaps import BINARY, ownVoxels

#: Tag of a segment, saved with it: a checksum of the voxels that the model marked.
TAG = "TumorSeg.Automatic"


def note(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Notes that a segment holds just now what the automatic model marked."""
    node.GetSegmentation().GetSegment(segmentId).SetTag(TAG, _checksum(node, segmentId))


def isReplaceable(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
    """Whether nobody's work is lost with what a segment holds: nothing, or what the automatic model marked."""
    segment = node.GetSegmentation().GetSegment(segmentId)
    if segment.GetRepresentation(BINARY) is None:
        return False  # a surface or contours, from elsewhere
    checksum, noted = _checksum(node, segmentId), vtk.reference("")
    return checksum == _EMPTY or (segment.GetTag(TAG, noted) and str(noted) == checksum)


def _checksum(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> str:
    """Tells apart what segments hold and where, whatever they share a label map with and however that is cut."""
    voxels, corner = ownVoxels(node, segmentId)
    where = " ".join(f"{round(coordinate, 1) + 0.0:.1f}" for coordinate in corner)
    return f"{zlib.crc32(np.packbits(voxels)):08x} {voxels.shape} {where}" if voxels.size else _EMPTY


_EMPTY = "empty"
