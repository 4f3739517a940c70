"""Volumes of the scene as images of the library: their grids in the world, their voxels and their units.

World coordinates are RAS millimetres with all parent transforms applied. Errors name nodes, and names may hold patient
data: show them, but keep them out of the log.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

if TYPE_CHECKING:
    from TumorSegLib import Grid, Volume

#: UCUM codes, in small letters, of the SUV of body weight.
SUV_UNITS = ("{suvbw}g/ml", "g/ml{suvbw}", "g/ml")
#: Where Slicer's reader of DICOM real world value maps notes the unit.
UNIT_ATTRIBUTE = "DICOM.MeasurementUnitsCodeValue"
#: Where Slicer's reader notes the SOP instance UIDs of the slices, separated by spaces, and, in the subject hierarchy,
#: the modality.
SLICES_ATTRIBUTE, MODALITY_ATTRIBUTE = "DICOM.instanceUIDs", "DICOM.Modality"
#: Volumes in use: to search all voxels of a new one for NaN takes a tenth of a second.
_known: weakref.WeakValueDictionary[tuple[Any, ...], Volume] = weakref.WeakValueDictionary()


def gridFromVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Grid:
    """The grid of a volume in the world: its IJKToRAS and all linear parent transforms.

    Raises:
        ArgumentError: no scalar volume with voxels.
        GeometryError: a parent transform is not linear, or shears the volume.
    """
    from TumorSegLib import GeometryError, Grid

    checkVolume(volumeNode)
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    size = volumeNode.GetImageData().GetDimensions()
    try:
        return Grid((size[2], size[1], size[0]), toWorld(volumeNode) @ arrayFromMatrix(matrix))
    except GeometryError as error:
        raise GeometryError(f"volume '{volumeNode.GetName()}': {error}") from error


def volumeFromNode(volumeNode: slicer.vtkMRMLScalarVolumeNode, role: str, assumeSuv: bool = False) -> Volume:
    """A volume of the scene for the library; its array is a read-only view of the node's voxels, not a copy.

    The same object is returned as long as it is referenced and the node does not change.

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
    return volumeLater(volumeNode, role, assumeSuv)()


def volumeLater(volumeNode: slicer.vtkMRMLScalarVolumeNode, role: str, assumeSuv: bool = False) -> Callable[[], Volume]:
    """As :func:`volumeFromNode`; what is returned makes the volume, in any thread, and looks at all its voxels."""
    from TumorSegLib import ArgumentError, Volume
    from TumorSegLib.images.roles import is_pet

    grid = gridFromVolume(volumeNode)
    if is_pet(role):
        _checkSuv(volumeNode, assumeSuv)
    key = (volumeNode.GetID(), role, volumeNode.GetImageData().GetMTime(), grid.shape, grid.affine.tobytes())
    name, array = volumeNode.GetName(), slicer.util.arrayFromVolume(volumeNode)

    def make() -> Volume:
        known = _known.get(key)
        if known is not None:
            return known
        try:
            volume = Volume(grid, array, role)
        except ArgumentError as error:
            raise ArgumentError(f"volume '{name}': {error}") from error
        _checkPlausible(array, name, role)
        _known[key] = volume
        return volume

    return make


def suvProblem(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Why a PET is not known to be in SUV though it may be, as text; empty where its unit says so.

    The voxels are read only if the unit is missing and :func:`volumeFromNode` has not checked them as those of a PET.

    Raises:
        ArgumentError: no scalar volume with voxels.
        SuvError: it cannot be SUV: its unit is another one, or its values are too large.
    """
    from TumorSegLib import SuvError

    checkVolume(node)
    try:
        _checkSuv(node, assumeSuv=False)
    except SuvError as error:
        _checkSuv(node, assumeSuv=True)
        if not _isInUse(node, "pet"):
            _checkPlausible(slicer.util.arrayFromVolume(node), node.GetName(), "pet")
        return str(error)
    return ""


def _isInUse(node: slicer.vtkMRMLScalarVolumeNode, role: str) -> bool:
    """Whether the voxels of a volume, as they are, were checked for a role and are in use."""
    key = (node.GetID(), role, node.GetImageData().GetMTime())
    return any(each[:3] == key for each in list(_known))


def guessRole(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The role that a volume probably has, by its unit, by what DICOM says of it, by its name, and last by its values.

    A PET is ``pet`` only where its unit is SUV, else ``image_pet``; what cannot be a CT in HU is no ``ct``.
    """
    from TumorSegLib import TumorSegError
    from TumorSegLib.images.plausibility import looks_like_ct
    from TumorSegLib.images.roles import CT, IMAGE, PET, PET_WITHOUT_SUV, guess_role

    if isSuv(node):
        return PET
    modality, description = _dicomTexts(node)
    role = guess_role(modality, f"{description} {node.GetName()}")
    try:
        checkVolume(node)
        if role == CT:
            _checkPlausible(slicer.util.arrayFromVolume(node), node.GetName(), CT)
        elif role == IMAGE and not modality and looks_like_ct(slicer.util.arrayFromVolume(node)):
            return CT
    except TumorSegError:  # which is told where the volume is used
        return IMAGE
    return PET_WITHOUT_SUV if role == PET else role


def _dicomTexts(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, str]:
    """Modality and series description of a volume loaded from DICOM; empty where they are not known."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    modality = hierarchy.GetItemAttribute(item, MODALITY_ATTRIBUTE) if item else ""
    database, uids = getattr(slicer, "dicomDatabase", None), (node.GetAttribute(SLICES_ATTRIBUTE) or "").split()
    if database is None or not database.isOpen or not uids:
        return modality, ""
    told, description = (database.instanceValue(uids[0], tag) for tag in ("0008,0060", "0008,103E"))
    return modality or told, description


def bodyPart(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The part of the body that a volume loaded from DICOM shows, as its files say it; empty where they do not."""
    database, uids = getattr(slicer, "dicomDatabase", None), (node.GetAttribute(SLICES_ATTRIBUTE) or "").split()
    if database is None or not database.isOpen or not uids:
        return ""
    return str(database.instanceValue(uids[0], "0018,0015") or "").strip()


def unitOf(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The UCUM code of the unit that a volume says its voxels have; empty where it says none."""
    entry = node.GetVoxelValueUnits()
    return (entry.GetCodeValue() if entry is not None else None) or node.GetAttribute(UNIT_ATTRIBUTE) or ""


def isSuv(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a volume says that it is in SUV (body weight)."""
    return unitOf(node).lower() in SUV_UNITS


def toWorld(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """The parent transforms of a node as one matrix, float64 ``(4, 4)``, from its own coordinates to the world.

    Raises:
        GeometryError: as :func:`checkLinear`.
    """
    parent, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if parent is None:
        return np.eye(4)
    checkLinear(node)
    parent.GetMatrixTransformToWorld(matrix)
    return arrayFromMatrix(matrix)


def checkLinear(node: slicer.vtkMRMLTransformableNode) -> None:
    """Raises ``GeometryError`` where one of the parent transforms of a node is not linear."""
    from TumorSegLib import GeometryError

    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise GeometryError(
            f"'{node.GetName()}' lies under the transform '{parent.GetName()}', which is not linear: "
            "harden it (Transforms module) or take the node out from under it"
        )


def checkVolume(node: slicer.vtkMRMLNode | None) -> None:
    """Raises ``ArgumentError`` unless a node is a scalar volume in 3D with voxels."""
    from TumorSegLib import ArgumentError

    if node is None:
        raise ArgumentError("no volume was chosen")
    what = f"'{node.GetName()}' ({node.GetClassName()})"
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ArgumentError(f"{what} is not an image; a scalar volume is needed (for a sequence, one frame's)")
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


def _checkPlausible(array: np.ndarray, name: str, role: str) -> None:
    """Checks the values of a volume even where it states its unit: the unit may be wrong."""
    from TumorSegLib import TumorSegError
    from TumorSegLib.images.plausibility import check_plausible

    try:
        check_plausible(array, role)
    except TumorSegError as error:
        raise type(error)(f"volume '{name}': {error}") from error


def arrayFromMatrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A matrix of VTK as float64 ``(4, 4)``."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
