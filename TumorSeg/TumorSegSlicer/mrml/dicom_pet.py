"""PETs that Slicer loaded from DICOM, which says of them neither SUV nor a unit: made SUV by the tags of their files.

The volume itself stays as it is; a copy beside it holds the SUV. Slicer's reader notes which slices a volume was made
of, and the DICOM database knows where their files lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk

from TumorSegSlicer.mrml.nodes import placeBeside
from TumorSegSlicer.mrml.volumes import SLICES_ATTRIBUTE

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from TumorSegLib.io.dicom.files import Slice

#: Attribute of a copy in SUV: the factor, and what it comes from.
FACTOR_ATTRIBUTE = "TumorSeg.SuvFactor"
#: Reference from a PET to its copy in SUV.
SUV_ROLE = "TumorSegSuv"
#: Unit and quantity as DICOM codes them (PS3.16, CID 85 and 7180): SUV of body weight.
SUV_UNIT = ("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight")
SUV_QUANTITY = ("126400", "DCM", "Standardized Uptake Value")
#: Window that tumours show well in.
SUV_WINDOW = (0, 10)
# A slice may lie so far, in voxels, from where its file says: positions in files have few digits.
PLACE_TOLERANCE = 0.1
# Slicer keeps whole numbers where the first slice has them, so that the others are rounded.
ROUNDING = 1.0
RELATIVE_TOLERANCE = 1e-3


def files(node: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    """The DICOM files that a volume was loaded from, one a slice; none where the database lacks some of them."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    uids = (node.GetAttribute(SLICES_ATTRIBUTE) or "").split()
    found = [database.fileForInstance(uid) for uid in uids]
    return found if all(each and Path(each).is_file() for each in found) else []


def suvCopy(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[slicer.vtkMRMLScalarVolumeNode, str]:
    """A copy of a PET in SUV (body weight), made where there is none yet, and a text on what was done for it.

    Raises:
        SuvError: its DICOM files are not in the database, do not say enough, or do not hold the volume's values; or the
            SUV are implausible.
    """
    from TumorSegLib import SuvError, TumorSegError
    from TumorSegLib.images.plausibility import check_suv
    from TumorSegLib.io.dicom.series import checked_series
    from TumorSegLib.io.dicom.suv.factor import suv_conversion

    paths, name = files(node), node.GetName()
    if not paths:
        raise SuvError(f"PET '{name}': the DICOM files that it was loaded from are not in Slicer's DICOM database")
    try:
        series = checked_series(paths)
        conversion = suv_conversion(series.tags)
    except TumorSegError as error:
        raise SuvError(f"PET '{name}' cannot be converted to SUV: {error}") from error
    order = _order(node, series.tags)
    values = slicer.util.arrayFromVolume(node)
    _checkValues(node, values, [series.slices[number] for number in order])
    factors = np.array([conversion.factors[number] for number in order], dtype=np.float32)
    suv = values.astype(np.float32) * factors[:, None, None]
    check_suv(suv)
    copy = node.GetNodeReference(SUV_ROLE) or _newCopy(node)
    slicer.util.updateVolumeFromArray(copy, suv)
    copy.SetAttribute(FACTOR_ATTRIBUTE, conversion.factor_text)
    return copy, conversion.note


def _order(node: slicer.vtkMRMLScalarVolumeNode, slices: Sequence[Dataset]) -> list[int]:
    """For each slice ``k`` of a volume the number of the file that it was loaded from."""
    from TumorSegLib import SuvError

    depth = node.GetImageData().GetDimensions()[2]
    if len(slices) != depth:
        raise SuvError(
            f"PET '{node.GetName()}' has {depth} slices and was loaded from {len(slices)} DICOM files; one file a "
            "slice is needed (for other series there is the extension PETDICOMExtension)"
        )
    toIjk = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(toIjk)
    numbers: dict[int, int] = {}
    for number, each in enumerate(slices):
        x, y, z = (float(coordinate) for coordinate in each.get("ImagePositionPatient") or (np.nan,) * 3)
        place = np.array(toIjk.MultiplyPoint([-x, -y, z, 1.0])[:3])  # DICOM is LPS
        k = round(place[2]) if np.isfinite(place).all() else -1
        if np.abs(place - (0, 0, k)).max() <= PLACE_TOLERANCE:
            numbers[k] = number
    if sorted(numbers) != list(range(depth)):
        raise SuvError(
            f"PET '{node.GetName()}' does not lie where its DICOM files say; it was cropped, resampled or moved since "
            "it was loaded: load it again"
        )
    return [numbers[k] for k in range(depth)]


def _checkValues(node: slicer.vtkMRMLScalarVolumeNode, values: np.ndarray, slices: list[Slice]) -> None:
    """Some slices must be what the library reads from their files, or factors would be applied to something else."""
    import SimpleITK as sitk

    from TumorSegLib import SuvError, TumorSegError
    from TumorSegLib.io.dicom.files import series_of
    from TumorSegLib.io.dicom.pixels import read_pixels

    for k in sorted({0, len(slices) // 2, len(slices) - 1}):
        try:
            stored = sitk.GetArrayFromImage(read_pixels(series_of([slices[k]])))[0].astype(np.float64)
        except TumorSegError as error:
            raise SuvError(f"PET '{node.GetName()}' cannot be compared with its DICOM files: {error}") from error
        allowed = RELATIVE_TOLERANCE * np.abs(stored).max() + (0.0 if values.dtype.kind == "f" else ROUNDING)
        if stored.shape != values[k].shape or np.abs(values[k] - stored).max() > allowed:
            raise SuvError(
                f"PET '{node.GetName()}' does not hold the values of its DICOM files; it was changed since it was "
                "loaded, or is one that Slicer's reader inverts (MONOCHROME1): load it again, or confirm what its "
                "values are by setting their unit"
            )


def _newCopy(node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeNode:
    copy, matrix = slicer.vtkMRMLScalarVolumeNode(), vtk.vtkMatrix4x4()
    copy.SetName(f"{node.GetName()} (SUV)")
    node.GetIJKToRASMatrix(matrix)
    copy.SetIJKToRASMatrix(matrix)
    copy.SetAttribute(SLICES_ATTRIBUTE, node.GetAttribute(SLICES_ATTRIBUTE))
    for method, words in ((copy.SetVoxelValueUnits, SUV_UNIT), (copy.SetVoxelValueQuantity, SUV_QUANTITY)):
        code = slicer.vtkCodedEntry()
        code.SetValueSchemeMeaning(*words)
        method(code)
    slicer.mrmlScene.AddNode(copy)
    copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    copy.CreateDefaultDisplayNodes()
    display = copy.GetDisplayNode()
    former = node.GetDisplayNode()
    if former is not None:
        display.SetAndObserveColorNodeID(former.GetColorNodeID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*SUV_WINDOW)
    node.SetNodeReferenceID(SUV_ROLE, copy.GetID())
    placeBeside(copy, node)
    return copy
