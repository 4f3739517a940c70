"""The one place that knows both MRML and TumorSegLib: nodes in, library types out, and edits back into segments.

World coordinates are RAS millimetres with all parent transforms applied. Voxel grids that come out of here are world
grids, so whatever is placed at a point of the world ends up in the voxel at that point, wherever its node hangs.
Errors name nodes, and names may hold patient data: show them, but keep them out of the log.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

from TumorSegSlicer.mrml.arguments import numbers
from TumorSegSlicer.mrml.labelmaps import BINARY, isKeptAsVoxels, readVoxels, writeVoxels

if TYPE_CHECKING:
    from TumorSegLib import BoxPrompt, Click, Edit, Grid, Volume

#: UCUM codes, in small letters, of the SUV of body weight.
SUV_UNITS = ("{suvbw}g/ml", "g/ml{suvbw}", "g/ml")
#: Where Slicer's reader of DICOM real world value maps notes the unit.
UNIT_ATTRIBUTE = "DICOM.MeasurementUnitsCodeValue"
#: Volumes that somebody works with: looking through all voxels of another one for NaN takes a tenth of a second.
_known: weakref.WeakValueDictionary[tuple[Any, ...], Volume] = weakref.WeakValueDictionary()


def gridFromVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Grid:
    """The grid of a volume in the world: its IJKToRAS and all linear parent transforms.

    Raises:
        ArgumentError: no scalar volume with voxels.
        GeometryError: a parent transform is not linear, or shears the volume.
    """
    from TumorSegLib import GeometryError, Grid

    _checkVolume(volumeNode)
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    size = volumeNode.GetImageData().GetDimensions()
    try:
        return Grid((size[2], size[1], size[0]), toWorld(volumeNode) @ _array(matrix))
    except GeometryError as error:
        raise GeometryError(f"volume '{volumeNode.GetName()}': {error}") from error


def volumeFromNode(volumeNode: slicer.vtkMRMLScalarVolumeNode, role: str, assumeSuv: bool = False) -> Volume:
    """A volume of the scene for the library; its array is a read-only view of the node's voxels, not a copy.

    As long as somebody holds it and the node does not change, it is the same one.

    Args:
        volumeNode: a scalar volume; linear parent transforms count.
        role: what the channel is, e.g. ``ct``, ``pet``, ``mr_t1``.
        assumeSuv: take the values of a PET without a unit as SUV (body weight, g/ml), since the user said so.

    Raises:
        ArgumentError: no volume, a label map, several values per voxel, no voxels, or NaN and infinity among them.
        GeometryError: as :func:`gridFromVolume`.
        SuvError: a PET in another unit than SUV, or without any, or with values far above any SUV.
        ArgumentError: a CT with values that cannot be HU.
    """
    from TumorSegLib import ArgumentError, Volume
    from TumorSegLib.images.roles import is_pet

    grid = gridFromVolume(volumeNode)
    if is_pet(role):
        _checkSuv(volumeNode, assumeSuv)
    key = (volumeNode.GetID(), role, volumeNode.GetImageData().GetMTime(), grid.shape, grid.affine.tobytes())
    known = _known.get(key)
    if known is not None:
        return known
    try:
        volume = Volume(grid, slicer.util.arrayFromVolume(volumeNode), role)
    except ArgumentError as error:
        raise ArgumentError(f"volume '{volumeNode.GetName()}': {error}") from error
    _checkPlausible(volumeNode, role)
    _known[key] = volume
    return volume


def clickFromRas(grid: Grid, ras: Sequence[float], positive: bool = True) -> Click:
    """The click on the voxel at a point of the world, RAS mm; raises ``ArgumentError``, outside the grid ``Slip``."""
    from TumorSegLib import ArgumentError, Click
    from TumorSegSlicer.slips import Slip

    try:
        return Click.from_ras(grid, ras, positive)
    except ArgumentError as error:
        point = numbers(ras)
        if len(point) != 3 or not np.isfinite(point).all():
            raise
        place = ", ".join(f"{name} {x:.1f}" for name, x in zip("RAS", point))
        raise Slip(f"the place clicked ({place} mm) lies outside the image that the segment is corrected in") from error


def boxFromRoi(roiNode: slicer.vtkMRMLMarkupsROINode, grid: Grid) -> BoxPrompt:
    """The smallest box of voxels that holds a ROI, rotated ones and parent transforms included, cut to the grid.

    Raises:
        ArgumentError: the ROI was not drawn yet, has no extent along an axis, or lies outside the grid.
        GeometryError: a parent transform of the ROI is not linear.
    """
    from TumorSegLib import BoxPrompt
    from TumorSegLib.geometry.boxes import around_points
    from TumorSegSlicer.slips import Slip

    name, size = roiNode.GetName(), np.array(roiNode.GetSize())
    if roiNode.GetNumberOfControlPoints() == 0 or size.min() <= 0:
        raise Slip(f"ROI '{name}' is {size.tolist()} mm large; draw a box with an extent along every axis")
    toWorld(roiNode)
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * size
    matrix = _array(roiNode.GetObjectToWorldMatrix())
    box = around_points(grid.to_ijk(corners @ matrix[:3, :3].T + matrix[:3, 3]), grid)
    if any(low >= high for low, high in box):
        raise Slip(f"ROI '{name}' lies outside the image that the segment is corrected in")
    return BoxPrompt(box)


def addTumourSegment(
    segmentationNode: slicer.vtkMRMLSegmentationNode, volumeNode: slicer.vtkMRMLScalarVolumeNode, name: str = "Tumour"
) -> str:
    """Adds an empty segment with the terminology of a neoplasm and a colour of its own, and returns its id.

    A segmentation without segments takes over geometry and parent transform of the volume, so that voxels of both
    coincide. A name that is taken gets a number.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    if segmentationNode.GetScene() is not None:
        segmentationNode.CreateDefaultDisplayNodes()
    number = 1
    while segmentation.GetSegmentIdBySegmentName(_numbered(name, number)):
        number += 1
    from TumorSegLib.images.labels import TUMOUR_TERMINOLOGY, label_colour

    segment = slicer.vtkSegment()
    segment.SetName(_numbered(name, number))
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), TUMOUR_TERMINOLOGY)
    segment.SetColor(*label_colour(number))
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    # A label map of its own: to leave one that is shared takes a third of a second where that is large.
    segment.AddRepresentation(BINARY, slicer.vtkOrientedImageData())
    segmentId = str(segmentation.GenerateUniqueSegmentID(segment.GetName()))
    segmentation.AddSegment(segment, segmentId)
    return segmentId


def isLocked(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
    """Whether a segment must not be changed: its status, as shown in Slicer's lists of segments, is "completed"."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return bool(logic.GetSegmentStatus(_segment(segmentationNode, segmentId)) == logic.Completed)


def checkEditable(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Raises ``ArgumentError`` where a segment is locked, ``TumorSegError`` where it is not kept as a label map."""
    from TumorSegLib import TumorSegError
    from TumorSegSlicer.slips import Slip

    if isLocked(node, segmentId):
        name = _segment(node, segmentId).GetName()
        raise Slip(f"segment '{name}' is marked as completed; set its status to 'in progress' to change it")
    if not isKeptAsVoxels(node):
        source = node.GetSegmentation().GetSourceRepresentationName()
        raise TumorSegError(
            f"segmentation '{node.GetName()}' is kept as '{source}'; make '{BINARY}' its source representation "
            "(Segmentations module, or keepAsVoxels(segmentation, volume) in a script) to change it"
        )


def maskFromSegment(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, grid: Grid) -> np.ndarray:
    """A segment on a grid of the world, uint8 0 or 1 ``[k, j, i]``, a copy.

    A segment on another lattice, or one that only has a surface, is resampled to the nearest voxel; the scene stays as
    it is.

    Raises:
        ArgumentError: there is no such segment.
        GeometryError: a parent transform of the segmentation is not linear.
        TumorSegError: Slicer cannot turn the surface of the segment into voxels.
    """
    _segment(segmentationNode, segmentId)
    i, j, k = grid.size
    return readVoxels(segmentationNode, segmentId, _lattice(segmentationNode, grid), ((0, i), (0, j), (0, k)))


def applyEdit(edit: Edit, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, grid: Grid) -> None:
    """Writes the voxels that an edit of the library changed into a segment, and no others.

    Other segments keep their voxels, even where segments share a label map: then this one moves to a layer of its own
    and both hold them. A segment on another lattice than the grid is resampled to the grid, alone.

    Args:
        edit: what changed; its own edits of other segments are not written.
        segmentationNode, segmentId: the segment.
        grid: of the session that made the edit, in the world.

    Raises:
        ArgumentError: there is no such segment, or it is locked; nothing was written.
        GeometryError: the edit does not fit the grid, or a parent transform of the segmentation is not linear.
        TumorSegError: the segmentation is not kept as label maps, or Slicer could not write it.
    """
    from TumorSegLib import GeometryError

    checkEditable(segmentationNode, segmentId)
    lattice = _lattice(segmentationNode, grid)
    if edit.after.size == 0:
        return
    if not edit.before.shape == edit.after.shape == grid.crop(edit.box).shape:
        raise GeometryError(f"values of shape {edit.after.shape} do not fill the box {edit.box}")
    writeVoxels(segmentationNode, segmentId, lattice, edit.box, _changes(edit))


def overwritableSegments(segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, overlap: str) -> list[str]:
    """Ids of the segments that lose voxels where another one grows into them; locked ones never do.

    Args:
        segmentationNode, segmentId: the segment that grows.
        overlap: value of :class:`TumorSegSlicer.parameters.Overlap`.
    """
    display, segmentation = segmentationNode.GetDisplayNode(), segmentationNode.GetSegmentation()
    if overlap == "allow":
        return []
    others = [other for other in segmentation.GetSegmentIDs() if other != segmentId]
    if overlap == "overwrite visible" and display is not None:
        others = [other for other in others if display.GetSegmentVisibility(other)]
    return [other for other in others if not isLocked(segmentationNode, other)]


def lossesOf(
    edit: Edit, segmentationNode: slicer.vtkMRMLSegmentationNode, others: Sequence[str], grid: Grid
) -> list[Edit]:
    """The edits by which other segments lose the voxels that an edit adds to one, on the grid of its session."""
    from TumorSegLib import Edit

    if not others or edit.after.size == 0:
        return []
    added, region = _changes(edit) > 0, grid.crop(edit.box)
    masks = [(other, maskFromSegment(segmentationNode, other, region)) for other in others]
    lost = [(other, mask * added) for other, mask in masks if mask[added].any()]
    return [Edit(other, edit.box, mask, np.zeros_like(mask)) for other, mask in lost]


def unitOf(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The UCUM code of the unit that a volume says its voxels have; empty where it says none."""
    entry = node.GetVoxelValueUnits()
    return (entry.GetCodeValue() if entry is not None else None) or node.GetAttribute(UNIT_ATTRIBUTE) or ""


def toWorld(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """The parent transforms of a node as one matrix, float64 ``(4, 4)``, from its own coordinates to the world.

    Raises:
        GeometryError: one of them is not linear.
    """
    from TumorSegLib import GeometryError

    parent, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise GeometryError(
            f"'{node.GetName()}' lies under the transform '{parent.GetName()}', which is not linear: "
            "harden it (Transforms module) or take the node out from under it"
        )
    parent.GetMatrixTransformToWorld(matrix)
    return _array(matrix)


def _checkVolume(node: slicer.vtkMRMLNode | None) -> None:
    from TumorSegLib import ArgumentError

    if node is None:
        raise ArgumentError("no volume was chosen")
    what = f"'{node.GetName()}' ({node.GetClassName()})"
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ArgumentError(f"{what} is no image; a scalar volume is needed (of a sequence, the volume of one frame)")
    if node.GetImageData() is None or node.GetImageData().GetPointData().GetScalars() is None:
        raise ArgumentError(f"{what} holds no voxels; load the image first")
    components = node.GetImageData().GetNumberOfScalarComponents()
    if components != 1:
        raise ArgumentError(f"{what} has {components} values per voxel; a scalar volume with one is needed")


def _checkSuv(node: slicer.vtkMRMLScalarVolumeNode, assumeSuv: bool) -> None:
    from TumorSegLib import SuvError

    unit = unitOf(node)
    if unit and unit.lower() not in SUV_UNITS:
        raise SuvError(f"PET '{node.GetName()}' is in {unit}; SUV of body weight ({{SUVbw}}g/ml) is needed")
    if not unit and not assumeSuv:
        raise SuvError(
            f"PET '{node.GetName()}' does not say the unit of its voxels, which must be SUV (body weight, g/ml): "
            "load it from DICOM, which TumorSeg converts (in a script: suvVolume), or confirm that the values are SUV"
        )


def _checkPlausible(node: slicer.vtkMRMLScalarVolumeNode, role: str) -> None:
    """Checks the values of a volume even where it states its unit: the unit may be wrong."""
    from TumorSegLib import TumorSegError
    from TumorSegLib.images.plausibility import check_plausible

    try:
        check_plausible(slicer.util.arrayFromVolume(node), role)
    except TumorSegError as error:
        raise type(error)(f"volume '{node.GetName()}': {error}") from error


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} {number}"


def _segment(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkSegment:
    from TumorSegLib import ArgumentError

    segment = node.GetSegmentation().GetSegment(segmentId)
    if segment is None:
        raise ArgumentError(f"segmentation '{node.GetName()}' has no segment with the id '{segmentId}'")
    return segment


def _changes(edit: Edit) -> np.ndarray:
    """1 where a voxel was added, -1 where one was removed, int8 ``[k, j, i]`` of the box."""
    changes: np.ndarray = np.subtract(edit.after > 0, edit.before > 0, dtype=np.int8)
    return changes


def _lattice(node: slicer.vtkMRMLSegmentationNode, grid: Grid) -> np.ndarray:
    """The grid seen from the segmentation, float64 ``(4, 4)`` from voxels to its local RAS mm."""
    return np.linalg.solve(toWorld(node), grid.affine)


def _array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
