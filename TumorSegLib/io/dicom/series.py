"""DICOM series as SimpleITK images: GDCM decodes the pixels, pydicom reads the tags.

A series is read only if it is one regular stack of slices; everything else is refused with the reason. PET becomes SUV
(:mod:`TumorSegLib.io.dicom.suv.factor`). Images stay in DICOM's LPS here; :mod:`TumorSegLib.io.images` turns them to
RAS.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TumorSegLib.errors import ReadError, ResourceError, RoleError, SuvError
from TumorSegLib.images.plausibility import check_suv
from TumorSegLib.images.roles import CT, MR, PET, family, is_pet
from TumorSegLib.io.dicom.files import (
    VALUE_ERRORS,
    Series,
    image_slice,
    is_dicom,
    scan,
    series_of,
    series_uid,
)
from TumorSegLib.io.dicom.pixels import check_pixels, read_pixels
from TumorSegLib.io.dicom.quiet import quiet_pydicom
from TumorSegLib.io.dicom.stack import check_stack
from TumorSegLib.io.dicom.suv.factor import suv_conversion
from TumorSegLib.memory import is_out_of_memory

__all__ = ["Series", "checked_series", "is_dicom", "read_series", "read_series_and_notes"]

#: DICOM modality of each family of roles.
MODALITIES = {CT: "CT", PET: "PT", MR: "MR"}
# So many of the files left out are named.
NAMED = 3


def read_series(path: str | os.PathLike[str], uid: str | None = None, role: str = "ct") -> sitk.Image:
    """The image of :func:`read_series_and_notes`."""
    return read_series_and_notes(path, uid, role)[0]


@quiet_pydicom()
def read_series_and_notes(
    path: str | os.PathLike[str], uid: str | None = None, role: str = "ct"
) -> tuple[sitk.Image, tuple[str, ...]]:
    """Reads one series as a 3D image in LPS.

    Args:
        path: a folder, searched with its subfolders and what is linked into it; or one slice file, which stands for its
            series in its folder.
        uid: SeriesInstanceUID; needed where the folder holds several series.
        role: what the image is for; ``ct``, ``pet`` and ``mr_*`` must have the modality CT, PT and MR.

    Returns:
        CT in HU, PET as float32 SUV (body weight, g/ml), others in the file's units; an integer type that suits the
        files where the rescale slope and intercept are whole numbers, the same in all slices, or else float32. Then
        sentences about how it was read that a user must know: how the SUV came about, what was left out.

    Raises:
        ReadError: nothing to read, several series without ``uid``, slices missing, doubled or of two acquisitions, a
            truncated file, PET without a rescale slope. A truncated file of another series does no harm; one whose
            series cannot be determined does, in the folder of the slices.
        ResourceError: not enough memory.
        GeometryError: slices of different size or orientation, gantry tilt.
        RoleError: the modality is not that of the role.
        SuvError: PET that cannot be converted to SUV, or that would have values far above any SUV.
    """
    source = Path(path)
    if source.is_file():
        uid, source = _uid_of(source), source.parent
    series, notes = _pick(source, uid)
    wanted = MODALITIES.get(family(role), series.modality)
    if series.modality != wanted:
        raise RoleError(
            f"{source}: series {series.uid} has modality {series.modality}, but role {role!r} needs {wanted}"
        )
    try:
        notes += check_stack(series, source)
        check_pixels(series)
        image = read_pixels(series)
        if is_pet(role):
            image, note = _to_suv(image, series, f"{source}: series {series.uid}")
            notes += note
    except VALUE_ERRORS as error:
        raise ReadError(f"{source}: series {series.uid} has damaged tags: {error}") from error
    except OSError as error:  # of a slice that is written anew for GDCM
        raise ResourceError(f"{source}: series {series.uid}: {error.filename}: {error.strerror or error}") from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(f"{source}: not enough memory to read series {series.uid}") from error
    return image, notes


@quiet_pydicom()
def checked_series(files: Sequence[str | os.PathLike[str]]) -> Series:
    """The series that some files make up, checked as :func:`read_series` does, its pixels not yet decoded.

    Raises:
        ReadError: a file that is no DICOM image or is damaged; as :func:`read_series`.
        GeometryError: as :func:`read_series`.
    """
    slices = []
    for file in map(Path, files):
        found = image_slice(file)
        if found is None:
            raise ReadError(f"{file}: not a DICOM image")
        slices.append(found)
    series, folder = series_of(slices), Path(files[0]).parent
    try:
        check_stack(series, folder)
        check_pixels(series)
    except VALUE_ERRORS as error:
        raise ReadError(f"{folder}: series {series.uid} has damaged tags: {error}") from error
    return series


def _to_suv(image: sitk.Image, series: Series, where: str) -> tuple[sitk.Image, tuple[str, ...]]:
    try:
        conversion = suv_conversion(series.tags)
    except SuvError as error:
        raise SuvError(f"{where}: {error}") from error
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    values *= np.asarray(conversion.factors, np.float32)[:, None, None]
    try:
        check_suv(values)
    except SuvError as error:
        raise SuvError(
            f"{where}: more than one voxel in 1000 would have a SUV above 100; Units (0054,1001)"
            f" {series.tags[0].Units}, RescaleSlope (0028,1053), weight, dose or times must be wrong"
        ) from error
    suv = sitk.GetImageFromArray(values)
    suv.CopyInformation(image)
    return suv, (f"PET: {conversion.note}",) if conversion.note else ()


def _uid_of(file: Path) -> str:
    found = image_slice(file)
    if found is None:
        raise ReadError(f"{file}: not a DICOM image; give an image file or a folder with a series")
    return series_uid(found.tags)


def _pick(folder: Path, uid: str | None) -> tuple[Series, tuple[str, ...]]:
    """The one series that fits, and sentences on what could not be read elsewhere."""
    found, damaged = scan(folder)
    matching = [series for series in found if uid in (None, series.uid)]
    if len(matching) == 1:
        return matching[0], _check_none_lost(matching[0], damaged, picked=uid is not None)
    if not found:
        raise next(iter(damaged.values()), ReadError(f"{folder}: contains no DICOM images (CT, PT, MR ...)"))
    listed = "\n".join(f"  {folder}#{series}" for series in found)
    problem = f"contains no series {uid}" if uid else f"contains {len(found)} series"
    raise ReadError(f"{folder}: {problem}; pick one as PATH#UID:\n{listed}")


def _check_none_lost(series: Series, damaged: dict[Path, ReadError], picked: bool) -> tuple[str, ...]:
    """Raises where a damaged file could be a slice of the series; if it is the first or the last, no gap would show."""
    folders = {path.parent for path in series.files}
    for path, error in damaged.items():
        if not picked or path.parent in folders:
            raise ReadError(
                f"{error}; it may be a slice of series {series.uid}: replace it, or take it out of the folder"
            ) from error
    more = (f"{len(damaged) - NAMED} more files or folders cannot be read",) if len(damaged) > NAMED else ()
    return (*(f"left out: {error}" for error in list(damaged.values())[:NAMED]), *more)
