"""DICOM series as SimpleITK images: GDCM decodes the pixels, pydicom reads the tags.

A series is read only if it is one regular stack of slices; everything else is refused with the reason. PET becomes SUV
(:mod:`TumorSegLib.suv`). Images stay in DICOM's LPS here; :mod:`TumorSegLib.volume_io` turns them to RAS.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info

from TumorSegLib.errors import GeometryError, ReadError, ResourceError, RoleError
from TumorSegLib.memory import is_out_of_memory
from TumorSegLib.suv import suv_factor

FloatArray: TypeAlias = npt.NDArray[np.float64]

#: What pydicom raises for a value cut off or of the wrong type, when it is first used; and for a file, on reading.
VALUE_ERRORS = (BytesLengthException, IndexError, TypeError, ValueError)
FILE_ERRORS = (*VALUE_ERRORS, AttributeError, EOFError, InvalidDicomError, KeyError, OSError, struct.error)
#: DICOM modality that a role (up to its first underscore) stands for.
MODALITIES = {"ct": "CT", "pet": "PT", "mr": "MR"}
# Largest deviation of one gap from the usual one. Positions rounded to 0.1 mm at a spacing of 0.6 mm reach 0.17; one
# missing slice gives 1.
GAP_TOLERANCE = 0.2
# Slices closer than this (mm) lie at one position.
SAME_POSITION = 0.01
# Largest sideways drift of a slice, in pixels, that an image without shear can leave out.
DRIFT_PIXELS = 0.5
# What GDCM chooses the number type of a slice by.
PIXEL_TAGS = ("RescaleSlope", "RescaleIntercept", "BitsAllocated", "BitsStored", "PixelRepresentation")
# Largest difference of direction cosines within one stack; as in TumorSegLib.geometry.
COSINE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Series:
    """One image series of a folder.

    Attributes:
        uid: SeriesInstanceUID.
        modality: e.g. ``CT``, ``PT``, ``MR``.
        description: SeriesDescription, may be empty.
        files: its slices, in the order of their position along the slice normal.
        tags: the tags of each file, without pixels.
    """

    uid: str
    modality: str
    description: str
    files: tuple[Path, ...]
    tags: tuple[Dataset, ...]

    def __str__(self) -> str:
        return f'{self.uid}  {self.modality}  "{self.description}"  {len(self.files)} slices'


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keeps ITK's warnings from standard error; what matters in them is checked here and raised."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Keeps pydicom from warning of every value that breaks the standard, on reading and on first use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def is_dicom(path: Path) -> bool:
    """Whether the file starts like a DICOM file (PS3.10: ``DICM`` after a preamble of 128 bytes)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from error


@_quiet_pydicom()
def list_series(folder: str | os.PathLike[str]) -> list[Series]:
    """All image series in a folder and its subfolders, ordered by modality, description and UID.

    RTSTRUCT, SEG, reports and files that are not DICOM are left out. A truncated slice counts where its tags still tell
    its series; :func:`read_series` refuses it.

    Raises:
        ReadError: no such folder, or a DICOM file in it is so damaged that its series cannot be told.
    """
    found, damaged = _scan(Path(folder))
    if damaged:
        raise next(iter(damaged.values()))
    return found


def _scan(root: Path) -> tuple[list[Series], dict[Path, ReadError]]:
    """The image series below a folder, and what is wrong with each file whose series cannot be told."""
    if not root.is_dir():
        raise ReadError(f"{root}: no such folder")
    names = sorted(Path(parent, name) for parent, _, files in os.walk(root) for name in files)
    groups: dict[str, list[tuple[Path, Dataset]]] = {}
    damaged = {}
    for path in names:
        try:
            tags = None if path.name.startswith(".") else _image_tags(path)
        except ReadError as error:
            damaged[path] = error
            continue
        if tags is not None:
            groups.setdefault(str(tags.get("SeriesInstanceUID") or "without UID"), []).append((path, tags))
    found = [_series(uid, group) for uid, group in groups.items()]
    return sorted(found, key=lambda series: (series.modality, series.description, series.uid)), damaged


@_quiet_pydicom()
def read_series(path: str | os.PathLike[str], uid: str | None = None, role: str = "ct") -> sitk.Image:
    """Reads one series as a 3D image in LPS.

    Args:
        path: a folder, searched with its subfolders; or one slice file, which stands for its series in its folder.
        uid: SeriesInstanceUID; needed where the folder holds several series.
        role: what the image is for; ``ct``, ``pet`` and ``mr_*`` must have the modality CT, PT and MR.

    Returns:
        CT in HU, PET as float32 SUV (body weight, g/ml), others in the file's units; an integer type that suits the
        files where the rescale slope and intercept are whole numbers, the same in all slices, or else float32.

    Raises:
        ReadError: nothing to read, several series without ``uid``, slices missing or doubled, a truncated file. One
            of another series does no harm; one whose series cannot be told does in the folder of the slices.
        ResourceError: not enough memory.
        GeometryError: slices of different size or orientation, gantry tilt.
        RoleError: the modality is not that of the role.
        SuvError: PET that cannot be converted to SUV.
    """
    source = Path(path)
    if source.is_file():
        uid, source = _uid_of(source), source.parent
    series = _pick(source, uid)
    wanted = MODALITIES.get(role.partition("_")[0], series.modality)
    if series.modality != wanted:
        raise RoleError(
            f"{source}: series {series.uid} has modality {series.modality}, but role {role!r} needs {wanted}"
        )
    try:
        _check_stack(series, source)
        image = _pixels(series)
        if role.partition("_")[0] == "pet":
            image = sitk.Cast(image, sitk.sitkFloat32) * suv_factor(*series.tags)
    except VALUE_ERRORS as error:
        raise ReadError(f"{source}: series {series.uid} has damaged tags: {error}") from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(f"{source}: not enough memory to read series {series.uid}") from error
    return image


def _image_tags(path: Path) -> Dataset | None:
    """Tags of an image slice; None for anything else. An image cut off before its series is told is an error."""
    if not is_dicom(path):
        if path.suffix.lower() == ".dcm":
            raise ReadError(f"{path}: not a DICOM file, or truncated ({path.stat().st_size} bytes)")
        return None
    try:
        kind = read_file_meta_info(path).get("MediaStorageSOPClassUID")
        named = kind.name if kind is not None else "unknown Image Storage"
        if named.endswith("Storage") and not named.endswith("Image Storage"):
            return None  # RTSTRUCT, SEG, dose, reports; contours can take a second to read
        tags = pydicom.dcmread(path, stop_before_pixels=True)
        told = _tells_series(tags)
    except FILE_ERRORS as error:
        raise ReadError(f"{path}: truncated or damaged DICOM file: {error}") from error
    if not told:
        raise ReadError(f"{path}: truncated DICOM file: a {named[:-8]} without Rows (0028,0010)")
    return tags


def _tells_series(tags: Dataset) -> bool:
    """Whether the series of a slice is known: the last tag of a truncated file may be cut off itself."""
    if tags.get("Rows"):
        return True
    return bool(tags.get("SeriesInstanceUID")) and max(tags.keys()) > (tag_for_keyword("SeriesInstanceUID") or 0)


def _series(uid: str, group: Sequence[tuple[Path, Dataset]]) -> Series:
    ordered = sorted(group, key=lambda item: (_height(item[1]), item[0]))
    first = ordered[0][1]
    return Series(
        uid,
        str(first.get("Modality") or "unknown modality"),
        str(first.get("SeriesDescription") or ""),
        tuple(path for path, _ in ordered),
        tuple(tags for _, tags in ordered),
    )


def _height(tags: Dataset) -> float:
    """Position along the slice normal in mm; 0 where the slice states none, so that such series can be listed."""
    try:
        row, column = np.asarray(tags.ImageOrientationPatient, float).reshape(2, 3)
        return float(np.cross(row, column) @ np.asarray(tags.ImagePositionPatient, float))
    except (AttributeError, *VALUE_ERRORS):
        return 0.0


def _uid_of(file: Path) -> str:
    tags = _image_tags(file)
    if tags is None:
        raise ReadError(f"{file}: not a DICOM image; give an image file or a folder with a series")
    return str(tags.get("SeriesInstanceUID") or "without UID")


def _pick(folder: Path, uid: str | None) -> Series:
    found, damaged = _scan(folder)
    matching = [series for series in found if uid in (None, series.uid)]
    if len(matching) == 1:
        _check_none_lost(matching[0], damaged, picked=uid is not None)
        return matching[0]
    if not found:
        raise next(iter(damaged.values()), ReadError(f"{folder}: holds no DICOM images (CT, PT, MR ...)"))
    listed = "\n".join(f"  {folder}#{series}" for series in found)
    problem = f"holds no series {uid}" if uid else f"holds {len(found)} series"
    raise ReadError(f"{folder}: {problem}; pick one as PATH#UID:\n{listed}")


def _check_none_lost(series: Series, damaged: dict[Path, ReadError], picked: bool) -> None:
    """Raises where a damaged file could be a slice of the series; if it is the first or the last, no gap would show."""
    folders = {path.parent for path in series.files}
    for path, error in damaged.items():
        if not picked or path.parent in folders:
            raise ReadError(
                f"{error}; it may be a slice of series {series.uid}: replace it, or take it out of the folder"
            ) from error


def _check_stack(series: Series, folder: Path) -> None:
    """Raises unless the slices are one regular, gap-free stack."""
    where = f"{folder}: series {series.uid}"
    for path, tags in zip(series.files, series.tags):
        _check_slice(path, tags)
    if len(series.files) < 2:
        raise ReadError(f"{where} has a single slice ({series.files[0].name}); a 3D stack of slices is needed")
    _check_alike(series, where)
    row, column = np.split(np.asarray(series.tags[0].ImageOrientationPatient, float), 2)
    positions = np.array([tags.ImagePositionPatient for tags in series.tags], float)
    normal = np.cross(row, column)
    _check_gaps(series, positions @ normal, where)
    drift = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    largest = float(np.linalg.norm(drift, axis=1).max())
    if largest > DRIFT_PIXELS * float(min(series.tags[0].PixelSpacing)):
        raise GeometryError(
            f"{where}: slices drift sideways by up to {largest:.2f} mm (gantry tilt); straighten the stack first"
        )


def _check_slice(path: Path, tags: Dataset) -> None:
    if not tags.get("Rows"):
        raise ReadError(f"{path}: truncated DICOM file, without Rows (0028,0010)")
    if int(tags.get("NumberOfFrames") or 1) > 1:
        raise ReadError(
            f"{path}: multi-frame DICOM ({tags.NumberOfFrames} frames); convert it to single slices or NIfTI"
        )
    if int(tags.get("SamplesPerPixel") or 1) != 1:
        raise ReadError(f"{path}: {tags.SamplesPerPixel} values per pixel (colour); one is needed")
    for name, length in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        value: Any = tags.get(name)
        if value is None or len(value) != length or not np.isfinite(np.asarray(value, float)).all():
            raise ReadError(f"{path}: {name} is {value}; {length} numbers are needed for a 3D image")
    if float(min(tags.PixelSpacing)) <= 0:
        raise GeometryError(f"{path}: PixelSpacing is {list(tags.PixelSpacing)} mm; it must be positive")
    row, column = np.split(np.asarray(tags.ImageOrientationPatient, float), 2)
    if max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)) > COSINE_TOLERANCE:
        raise GeometryError(f"{path}: ImageOrientationPatient {list(tags.ImageOrientationPatient)} is not orthonormal")


def _check_alike(series: Series, where: str) -> None:
    first = series.tags[0]
    for path, tags in zip(series.files, series.tags):
        if (tags.Rows, tags.Columns) != (first.Rows, first.Columns):
            sizes = f"{first.Columns} x {first.Rows} and {tags.Columns} x {tags.Rows}"
            raise GeometryError(f"{where}: slices of different size, {sizes} ({series.files[0].name}, {path.name})")
        for name in ("ImageOrientationPatient", "PixelSpacing"):
            one, other = np.asarray(first[name].value, float), np.asarray(tags[name].value, float)
            if np.abs(one - other).max() > COSINE_TOLERANCE:
                raise GeometryError(
                    f"{where}: {name} differs, {one} ({series.files[0].name}) and {other} ({path.name})"
                )


def _check_gaps(series: Series, heights: FloatArray, where: str) -> None:
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    doubled = np.flatnonzero(gaps < SAME_POSITION)
    if doubled.size:
        pair = " and ".join(path.name for path in series.files[doubled[0] : doubled[0] + 2])
        raise ReadError(
            f"{where}: {doubled.size} of {len(gaps) + 1} slices share a position with another, first {pair}"
            f" at {heights[doubled[0]]:.2f} mm (copies, or several phases or echoes in one series)"
        )
    uneven = np.flatnonzero(np.abs(gaps - usual) > GAP_TOLERANCE * usual)
    if uneven.size:
        n = int(uneven[np.argmax(np.abs(gaps[uneven] - usual))])
        raise ReadError(
            f"{where}: slices are missing or unevenly spaced, {gaps[n]:.2f} mm instead of {usual:.2f} mm between"
            f" {series.files[n].name} and {series.files[n + 1].name} ({heights[n]:.2f} and {heights[n + 1]:.2f} mm)"
        )


def _pixels(series: Series) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in series.files])
    # The series reader takes the number type that suits the first slice for all; values of other slices would be cut
    # off or wrap round in it.
    scales = {tuple(float(tags.get(name) or 0) for name in PIXEL_TAGS) for tags in series.tags}
    if len(scales) > 1 or any(number % 1 for number in scales.pop()):
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with quiet_itk():
            return reader.Execute()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise ReadError(f"{_unreadable(series)}: truncated DICOM file, or pixels that cannot be decoded") from error


def _unreadable(series: Series) -> Path:
    """The file that the series reader, which does not say, stumbled over."""
    return next((path for path in series.files if not _decodes(path)), series.files[0].parent)


def _decodes(path: Path) -> bool:
    try:
        with quiet_itk():
            sitk.ReadImage(str(path))
    except RuntimeError:
        return False
    return True
