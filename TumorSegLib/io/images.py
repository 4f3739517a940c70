"""Images and masks from and to files: NIfTI, NRRD, MetaImage, 3D Slicer segmentations; images also from DICOM."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from TumorSegLib.errors import ReadError, WriteError
from TumorSegLib.files import readable, replacing
from TumorSegLib.geometry.grid import LPS_TO_RAS, Grid
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.plausibility import check_plausible
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.dicom.series import is_dicom, read_series_and_notes
from TumorSegLib.io.metaimage import read_metaimage, write_metaimage
from TumorSegLib.io.nifti import read_nifti, write_nifti
from TumorSegLib.io.nrrd import read_nrrd, write_nrrd
from TumorSegLib.io.segmentations import check_representation, read_layers, segmentation_fields, tumour_segments
from TumorSegLib.io.stored_image import StoredImage, naming

_READERS: dict[str, Callable[[Path], StoredImage]] = {
    ".nii.gz": read_nifti,
    ".nii": read_nifti,
    ".nrrd": read_nrrd,
    ".nhdr": read_nrrd,
    ".mha": read_metaimage,
    ".mhd": read_metaimage,
}
_WRITERS: dict[str, Callable[[Path, npt.NDArray[Any], Grid], None]] = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".nrrd": write_nrrd,
    ".mha": write_metaimage,
}
#: Formats of a single file; a pair cannot take the place of an old pair in one step.
WRITABLE = tuple(_WRITERS)
SEGMENTATION_SUFFIX = ".seg.nrrd"
# Every file is read and written in one pass: readers check length and checksum of what they unpack, writers raise where
# the disk is full, and nothing is read back. A CT of 512 x 512 x 200 voxels (int16, .nii.gz) is read in 0.39 s, where
# ITK, which misses some damage, takes 0.37 s, and written in 1.85 s, nearly all of it compression.
# How far from whole numbers labels may lie: float32 rounds 1 to 0.99999994, and nibabel spreads labels over the range
# of an integer type, where they are off by up to half the step between neighbours.
LABEL_TOLERANCE = 1e-4
LARGEST_LABEL_TOLERANCE = 0.25
NOTED_LABEL_TOLERANCE = 0.01

_log = logging.getLogger(__name__)


def read_volume(path: str | os.PathLike[str], role: str = "ct") -> Volume:
    """Reads a 3D image.

    Args:
        path: a file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd), a folder with a DICOM series, or one slice of it.
            ``FOLDER#SeriesInstanceUID`` picks one of several series.
        role: what the image is: ``ct`` (HU), ``pet`` (SUV, g/ml; DICOM PET is converted, other files must hold SUV),
            ``mr_t1`` ... Without it the values are taken as HU, windowed and normalised as CT. State the role of every
            PET and MR: in files other than DICOM, only values that no CT can have are noticed.

    Returns:
        The image in the file's number type and unit; a 4D file with a single time point counts as 3D. Its notes say
        what a user must know of how it was read, e.g. which of two places that a NIfTI file states counts.

    Raises:
        ReadError: missing, unreadable, truncated, damaged, of an unknown format, or not one 3D image of one value per
            voxel.
        GeometryError: spacing that is missing or not positive, or a direction that is not orthonormal.
        ArgumentError: NaN or infinite voxels; a CT that cannot be in HU.
        RoleError: a DICOM series of another modality than the role's.
        SuvError: a DICOM PET series that cannot be converted to SUV; another PET file with values far above any SUV.
        ResourceError: not enough memory.
    """
    started = time.perf_counter()
    source, uid = _split(path)
    if dicom := _holds_dicom(source):
        image, notes = read_series_and_notes(source, uid, role)
        with naming(source):
            volume = Volume(grid_from_image(image), sitk.GetArrayFromImage(image), role, notes)
    elif uid is not None:
        raise ReadError(f"{readable(str(source))}: '#{uid}' picks a series of a DICOM folder; no such folder")
    else:
        stored = _read_image(source)
        with naming(source):
            _check_scalar(stored)
            volume = Volume(stored.grid, stored.array, role, stored.notes)
    with naming(source):
        check_plausible(volume.array, role)
    _log_read(f"{role} image", "DICOM" if dicom else _suffix(source), volume, started)
    return volume


def read_mask(path: str | os.PathLike[str]) -> Mask:
    """Reads a label map, or a 3D Slicer segmentation (.seg.nrrd).

    A label map has one label per voxel: where segments overlap, the later one counts, and a note says so. Labels stay
    as they are unless two layers of the file use the same one: then the segments get the labels 1, 2, ... in the order
    of the file. :func:`read_segmentation` gives each segment whole, with its name.

    Args:
        path: a file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd) with whole numbers from 0 to 255, or with numbers that
            the file's own scaling took as far from whole ones as its steps are wide.

    Raises:
        ReadError: as :func:`read_volume`; segments that are not stored as binary label maps.
        GeometryError: as :func:`read_volume`.
        ArgumentError: values that are not whole numbers from 0 to 255.
        ResourceError: not enough memory.
    """
    source, started = Path(path), time.perf_counter()
    stored = _read_labels(source)
    with naming(source):
        layered = stored.array.ndim == 4
        mask = _merged(read_layers(stored)) if layered else Mask(stored.grid, stored.array, stored.notes)
    _log_read("mask", _suffix(source), mask, started)
    return mask


def read_segmentation(path: str | os.PathLike[str]) -> Segmentation:
    """Reads the segments of a 3D Slicer segmentation (.seg.nrrd) with their names and colours, or a label map's labels.

    Segments that overlap are whole. Labels are those of :func:`read_mask`; without a name they are "label 1" and so on.
    Arguments and errors are those of :func:`read_mask`, too.
    """
    source, started = Path(path), time.perf_counter()
    stored = _read_labels(source)
    with naming(source):
        if "Segment0_ID" in stored.fields:
            found = read_layers(stored)
        else:
            found = Segmentation.of_labels(Mask(stored.grid, stored.array, stored.notes))
    _log_read("segmentation", _suffix(source), Mask(found.grid, found.layers[0]), started)
    return found


def _read_labels(source: Path) -> StoredImage:
    """A file of whole numbers: one per voxel, or in a segmentation of Slicer one per voxel and layer."""
    if _holds_dicom(source):
        raise ReadError(
            f"{readable(str(source))}: masks are read from label maps, not from DICOM;"
            " save it as .seg.nrrd or NIfTI first"
        )
    stored = _read_image(source)
    with naming(source):
        check_representation(stored.fields)
        if stored.array.ndim == 4 and "Segment0_ID" in stored.fields:
            return stored
        _check_scalar(stored)
        labels, notes = _whole(stored.array, stored.step)
        return replace(stored, array=labels, notes=stored.notes + notes)


def _merged(segmentation: Segmentation) -> Mask:
    """The label map, with a note where segments overlap."""
    mask = segmentation.label_map()
    if not (shared := segmentation.overlapping_voxels):
        return mask
    note = f"segments ({', '.join(segmentation.names)}) overlap in {shared} voxels, which count for the later one"
    return replace(mask, notes=(*mask.notes, note))


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Writes an image in one step, compressed where the format allows.

    Args:
        volume: written in its number type (a probability map as float32); bool becomes uint8, float16 float32.
        path: .nii.gz, .nii, .nrrd or .mha. What was there before is replaced only when all is written.

    Raises:
        WriteError: another suffix; the folder is missing or not writable; the disk is full.
    """
    if str(path).lower().endswith(SEGMENTATION_SUFFIX):
        raise WriteError(
            f"{readable(str(path))}: {SEGMENTATION_SUFFIX} is for masks; write an image as {', '.join(WRITABLE)}"
        )
    kind = {"bool": np.uint8, "float16": np.float32}.get(volume.array.dtype.name, volume.array.dtype)
    _write(volume.array.astype(kind, copy=False), volume.grid, path)


def write_mask(mask: Mask, path: str | os.PathLike[str]) -> None:
    """Writes a label map in one step as uint8, compressed where the format allows.

    Args:
        mask: what to write.
        path: .nii.gz, .nii, .nrrd or .mha; or .seg.nrrd, which opens in 3D Slicer as a segmentation with one segment
            "Tumour" (several labels: "Tumour 1", "Tumour 2" ...).

    Raises:
        WriteError: as :func:`write_volume`.
    """
    if str(path).endswith(SEGMENTATION_SUFFIX):
        write_segmentation(tumour_segments(mask), path)
    else:
        _write(mask.array, mask.grid, path)


def write_segmentation(segmentation: Segmentation, path: str | os.PathLike[str]) -> None:
    """Writes segments in one step: .seg.nrrd with names and colours, each whole; other formats as a label map.

    Label maps have no names, and of segments that overlap they show of each what no later one covers. Raises
    :class:`WriteError` as :func:`write_volume`.
    """
    if not str(path).endswith(SEGMENTATION_SUFFIX):
        write_mask(segmentation.label_map(), path)
        return
    layers = segmentation.layers
    array = layers[0] if len(layers) == 1 else np.stack(layers, axis=-1)
    _write(array, segmentation.grid, path, partial(write_nrrd, free=segmentation_fields(segmentation)))


def grid_from_image(image: sitk.Image) -> Grid:
    """The grid (RAS) of a 3D image of SimpleITK (LPS).

    Raises:
        GeometryError: the direction is not orthonormal.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    i, j, k = image.GetSize()
    return Grid((k, j, i), LPS_TO_RAS @ affine)


def _split(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Path and series UID of ``PATH#UID``; a '#' in the name of an existing file is left alone."""
    text = os.fspath(path)
    if "#" in text and not os.path.exists(text):
        folder, _, uid = text.rpartition("#")
        return Path(folder), uid
    return Path(text), None


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in _READERS if path.name.lower().endswith(suffix)), None)


def _holds_dicom(path: Path) -> bool:
    if os.path.isdir(path):
        return True
    return os.path.isfile(path) and _suffix(path) is None and is_dicom(path)


def _log_read(what: str, reader: str | None, image: Volume | Mask, started: float) -> None:
    seconds, size, kind = time.perf_counter() - started, image.grid.size, image.array.dtype
    _log.info("read a %s (%s): %s voxels, %s, in %.2f s", what, reader, size, kind, seconds)


def _read_image(path: Path) -> StoredImage:
    suffix = _suffix(path)
    with naming(path):
        if not os.path.exists(path):
            raise ReadError("no such file")
        if suffix is None:
            raise ReadError(f"unknown image format; known are {', '.join(_READERS)} and DICOM")
        try:
            if path.stat().st_size == 0:
                raise ReadError("the file is empty")
            return _READERS[suffix](path)
        except OSError as error:
            raise ReadError(f"cannot be read: {error.strerror or error}") from error


def _check_scalar(stored: StoredImage) -> None:
    if stored.array.ndim == 4:
        raise ReadError(
            f"{stored.array.shape[-1]} value(s) per voxel ({stored.array.dtype}); an image of one real value per voxel"
            " is needed"
        )


def _whole(array: npt.NDArray[Any], step: float) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """The nearest whole numbers where all are as near as storing them explains; else the array, for Mask to refuse."""
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        return array, ()
    nearest = np.rint(array)
    off = float(np.abs(array - nearest).max())
    if off > min(max(LABEL_TOLERANCE, 0.501 * step), LARGEST_LABEL_TOLERANCE):
        return array, ()
    note = f"its labels are stored in steps of {step:.3g}, up to {off:.2g} from whole numbers, and were rounded"
    return nearest, (note,) if off > NOTED_LABEL_TOLERANCE else ()


def _write(
    array: npt.NDArray[Any],
    grid: Grid,
    path: str | os.PathLike[str],
    writer: Callable[[Path, npt.NDArray[Any], Grid], None] | None = None,
) -> None:
    suffix = _suffix(Path(path))
    if suffix not in _WRITERS or not str(path).endswith(suffix):  # so that all programs know the format by it
        raise WriteError(
            f"{readable(str(path))}: no format to write; give one of {', '.join(WRITABLE)} (masks also .seg.nrrd)"
        )
    with replacing(path) as temporary:
        try:
            (writer or _WRITERS[suffix])(temporary, array, grid)
        except OSError as error:
            raise WriteError(_why_not(Path(path), error.strerror or str(error))) from error
        except WriteError as error:
            raise WriteError(f"{readable(str(path))}: {error}") from error


def _why_not(path: Path, reason: str) -> str:
    if not os.access(path.parent, os.W_OK):
        return f"{readable(str(path))}: cannot be written, the folder {readable(str(path.parent))} is not writable"
    free = shutil.disk_usage(path.parent).free / 1e6
    return f"{readable(str(path))}: could not be written completely, {free:.0f} MB are free on the disk ({reason})"
