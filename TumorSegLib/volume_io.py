"""Images and masks from and to files: NIfTI, NRRD, MetaImage, 3D Slicer segmentations; images also from DICOM.

The one place of the library where images turn from ITK's LPS world to RAS and back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from TumorSegLib.dicom import is_dicom, quiet_itk, read_series_and_notes
from TumorSegLib.errors import GeometryError, ReadError, ResourceError, TumorSegError, WriteError
from TumorSegLib.files import replacing
from TumorSegLib.geometry import LPS_TO_RAS, Grid
from TumorSegLib.integrity import check_metaimage, check_nifti
from TumorSegLib.memory import is_out_of_memory
from TumorSegLib.suv import check_suv
from TumorSegLib.volume import Mask, Volume

#: Suffix to ITK's reader and writer; the first that fits counts.
FORMATS = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
#: Formats of a single file; a pair cannot take the place of an old pair in one step.
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
SEGMENTATION_SUFFIX = ".seg.nrrd"
# "Neoplasm, Primary" of DICOM CID 7159, in the notation of 3D Slicer's terminology entries.
TUMOUR_TAGS = (
    "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^86049000^Neoplasm, Primary~^^"
    "~Anatomic codes - DICOM master list~^^~^^|"
)
# The first is what Slicer's terminology recommends for a mass.
COLOURS = ("0.564706 0.933333 0.564706", "0.854902 0.286275 0.286275", "0.945098 0.839216 0.568627")


def read_volume(path: str | os.PathLike[str], role: str = "ct") -> Volume:
    """Reads a 3D image.

    Args:
        path: a file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd), a folder with a DICOM series, or one slice of it.
            ``FOLDER#SeriesInstanceUID`` picks one of several series.
        role: what the image is: ``ct`` (HU), ``pet`` (SUV, g/ml; DICOM PET is converted, other files must hold SUV),
            ``mr_t1`` ...

    Returns:
        The image in the file's number type and unit; a 4D file with a single time point counts as 3D.

    Raises:
        ReadError: missing, unreadable, truncated, of an unknown format, or not one 3D image of one value per voxel.
        GeometryError: spacing that is not positive, or a direction that is not orthonormal.
        ArgumentError: NaN or infinite voxels.
        RoleError: a DICOM series of another modality than the role's.
        SuvError: a DICOM PET series that cannot be converted to SUV; another PET file with values far above any SUV.
        ResourceError: not enough memory.
    """
    source, uid = _split(path)
    from_dicom = _holds_dicom(source)
    if from_dicom:
        image, notes = read_series_and_notes(source, uid, role)
    elif uid is not None:
        raise ReadError(f"{source}: '#{uid}' picks a series of a DICOM folder; no such folder")
    else:
        image, notes = _read_image(source), ()
    with _naming(source):
        _check_scalar(image)
        volume = Volume(grid_from_image(image), _array(image), role, notes)
        if role.partition("_")[0] == "pet" and not from_dicom:
            check_suv(volume.array)
        return volume


def read_mask(path: str | os.PathLike[str]) -> Mask:
    """Reads a label map, or a 3D Slicer segmentation (.seg.nrrd).

    Slicer stores segments that overlap, or could, in several layers; these are merged. Labels stay as they are unless
    two layers use the same one: then the segments get the labels 1, 2, ... in the order of the file.

    Args:
        path: a file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd) with whole numbers from 0 to 255.

    Raises:
        ReadError: as :func:`read_volume`; segments that overlap, or are not stored as binary label maps.
        GeometryError: as :func:`read_volume`.
        ArgumentError: values that are not whole numbers from 0 to 255.
        ResourceError: not enough memory.
    """
    source = Path(path)
    if _holds_dicom(source):
        raise ReadError(
            f"{source}: masks are read from label maps, not from DICOM; save it as .seg.nrrd or NIfTI first"
        )
    image = _read_image(source)
    with _naming(source):
        _check_representation(image)
        if image.GetNumberOfComponentsPerPixel() > 1 and image.HasMetaDataKey("Segment0_ID"):
            return Mask(grid_from_image(image), _merge_layers(image))
        _check_scalar(image)
        return Mask(grid_from_image(image), _array(image))


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Writes an image in one step, compressed where the format allows.

    Args:
        volume: written in its number type (a probability map as float32); bool becomes uint8, float16 float32.
        path: .nii.gz, .nii, .nrrd or .mha. What was there before is replaced only when all is written.

    Raises:
        WriteError: another suffix; the folder is missing or not writable; the disk is full.
    """
    if str(path).lower().endswith(SEGMENTATION_SUFFIX):
        raise WriteError(f"{path}: {SEGMENTATION_SUFFIX} is for masks; write an image as {', '.join(WRITABLE)}")
    kind = {"bool": np.uint8, "float16": np.float32}.get(volume.array.dtype.name, volume.array.dtype)
    _write(image_from_array(volume.array.astype(kind, copy=False), volume.grid), path)


def write_mask(mask: Mask, path: str | os.PathLike[str]) -> None:
    """Writes a label map in one step as uint8, compressed where the format allows.

    Args:
        mask: what to write.
        path: .nii.gz, .nii, .nrrd or .mha; or .seg.nrrd, which opens in 3D Slicer as a segmentation with one segment
            "Tumour" (several labels: "Tumour 1", "Tumour 2" ...).

    Raises:
        WriteError: as :func:`write_volume`.
    """
    image = image_from_array(mask.array, mask.grid)
    if str(path).lower().endswith(SEGMENTATION_SUFFIX):
        for key, value in _segmentation_fields(mask).items():
            image.SetMetaData(key, value)
    _write(image, path)


def grid_from_image(image: sitk.Image) -> Grid:
    """The grid (RAS) of an image (LPS) of at least three axes; further axes are left out.

    Raises:
        GeometryError: the direction is not orthonormal.
    """
    dimension = image.GetDimension()
    direction = np.asarray(image.GetDirection(), float).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.asarray(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    i, j, k = image.GetSize()[:3]
    return Grid((k, j, i), LPS_TO_RAS @ affine)


def image_from_array(array: npt.NDArray[Any], grid: Grid) -> sitk.Image:
    """An image (LPS) of an array ``[k, j, i]`` of real numbers on a grid (RAS); the voxels are copied."""
    image = sitk.GetImageFromArray(array.astype(array.dtype.newbyteorder("="), copy=False))
    image.SetSpacing(grid.spacing)
    image.SetOrigin((LPS_TO_RAS[:3, :3] @ grid.origin).tolist())
    image.SetDirection((LPS_TO_RAS[:3, :3] @ grid.direction).ravel().tolist())
    return image


def _split(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """Path and series UID of ``PATH#UID``; a '#' in the name of an existing file is left alone."""
    text = os.fspath(path)
    if "#" in text and not Path(text).exists():
        folder, _, uid = text.rpartition("#")
        return Path(folder), uid
    return Path(text), None


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in FORMATS if path.name.lower().endswith(suffix)), None)


def _holds_dicom(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and _suffix(path) is None and is_dicom(path))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the file in front of what is wrong with its content, or names it where memory does not suffice."""
    try:
        yield
    except TumorSegError as error:
        raise type(error)(f"{path}: {error}") from error
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory to read it ({error})") from error


def _array(image: sitk.Image) -> npt.NDArray[Any]:
    return np.asarray(sitk.GetArrayFromImage(image)).reshape(image.GetSize()[2::-1])


def _read_image(path: Path) -> sitk.Image:
    suffix = _suffix(path)
    if not path.exists():
        raise ReadError(f"{path}: no such file")
    if suffix is None:
        raise ReadError(f"{path}: unknown image format; known are {', '.join(FORMATS)} and DICOM")
    try:
        if path.stat().st_size == 0:
            raise ReadError(f"{path}: the file is empty")
        if FORMATS[suffix] == "NiftiImageIO":
            check_nifti(path)
        elif FORMATS[suffix] == "MetaImageIO":
            check_metaimage(path)
        with quiet_itk(), _alone(path, suffix) as file:
            return _execute(file, FORMATS[suffix], path)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _alone(path: Path, suffix: str) -> Iterator[Path]:
    """The file where no namesake is: with ``a.nii`` beside ``a.nii.gz``, ITK takes the voxels of the former."""
    if suffix != ".nii.gz" or not path.with_suffix("").exists():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copyfile(path, Path(folder, "image.nii.gz")))


def _execute(file: Path, reader_name: str, path: Path) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.SetImageIO(reader_name)
    try:
        reader.ReadImageInformation()
        _check_shape(reader, path)
        return reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error) or "determinant" in str(error):
            problem = "direction is not orthonormal; sheared or gantry-tilted images must be resampled first"
            raise GeometryError(f"{path}: {problem}") from error
        reason = str(error).strip().splitlines()[-1].strip()
        # The NIfTI library names no cause, but check_nifti has just read the whole file.
        if is_out_of_memory(error) or "nifti_image_load failed" in reason:
            raise ResourceError(f"{path}: not enough memory to read it ({reason})") from error
        raise ReadError(f"{path}: truncated, damaged, or no {reader_name[:-7]} file ({reason})") from error


def _check_shape(reader: sitk.ImageFileReader, path: Path) -> None:
    size, spacing = reader.GetSize(), reader.GetSpacing()[:3]
    shape = f"a {len(size)}D image of {' x '.join(map(str, size))} voxels"
    if len(size) < 3:
        raise ReadError(f"{path}: {shape}; a 3D image is needed")
    if max(size[3:], default=1) > 1:
        raise ReadError(f"{path}: {shape}; a 3D image is needed, so save a single time point")
    if not np.isfinite(spacing).all() or min(spacing) <= 0:
        # ITK itself would turn a negative spacing into a mirrored axis, and refuse zero with a riddle.
        raise GeometryError(f"{path}: voxel spacing must be positive, got {spacing} mm")


def _check_scalar(image: sitk.Image) -> None:
    components, kind = image.GetNumberOfComponentsPerPixel(), image.GetPixelIDTypeAsString()
    if components > 1 or "complex" in kind:
        raise ReadError(f"{components} value(s) per voxel ({kind}); an image of one real value per voxel is needed")


def _check_representation(image: sitk.Image) -> None:
    for key in ("Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation"):
        kind = image.GetMetaData(key) if image.HasMetaDataKey(key) else "Binary labelmap"
        if kind != "Binary labelmap":
            raise ReadError(f"the segmentation is stored as {kind!r}; save it as 'Binary labelmap'")


def _merge_layers(image: sitk.Image) -> npt.NDArray[Any]:
    layers = np.asarray(sitk.GetArrayFromImage(image))
    segments = _segments(image)
    covered = np.count_nonzero(layers, axis=-1)
    if covered.max() > 1:
        where = tuple(int(n) for n in np.argwhere(covered > 1)[0][::-1])
        names = ", ".join(name for name, _, _ in segments)
        raise ReadError(
            f"segments ({names}) overlap in {np.count_nonzero(covered > 1)} voxels, the first at ijk {where};"
            " a label map holds one label per voxel, so save the segment that is wanted on its own"
        )
    present = [(n, int(label)) for n in range(layers.shape[-1]) for label in np.unique(layers[..., n]) if label]
    if len({label for _, label in present}) == len(present):
        return np.asarray(layers.max(axis=-1))
    listed = [(layer, label) for _, layer, label in segments if layer < layers.shape[-1]]
    numbered = np.zeros(layers.shape[:-1], np.int32)
    for number, (layer, label) in enumerate(listed + sorted(set(present) - set(listed)), start=1):
        numbered[layers[..., layer] == label] = number
    return numbered


def _segments(image: sitk.Image) -> list[tuple[str, int, int]]:
    """Name, layer and label of each segment that a Slicer segmentation lists."""
    found: list[tuple[str, int, int]] = []
    while image.HasMetaDataKey(f"Segment{len(found)}_ID"):
        keys = [f"Segment{len(found)}_{field}" for field in ("Name", "Layer", "LabelValue")]
        name, layer, label = (image.GetMetaData(key) if image.HasMetaDataKey(key) else "" for key in keys)
        if not (layer.isdigit() and label.isdigit()):
            raise ReadError(f"{keys[1]} and {keys[2]} are {layer!r} and {label!r}; whole numbers are needed")
        found.append((name, int(layer), int(label)))
    return found


def _segmentation_fields(mask: Mask) -> dict[str, str]:
    """What 3D Slicer's vtkMRMLSegmentationStorageNode writes into the header of a segmentation of one layer."""
    fields = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    labels = [int(label) for label in np.unique(mask.array) if label] or [1]
    for n, label in enumerate(labels):
        box = Mask(mask.grid, mask.array == label).bounding_box() or ((0, 0), (0, 0), (0, 0))
        segment = {
            "ID": f"Segment_{label}",
            "Name": "Tumour" if len(labels) == 1 else f"Tumour {label}",
            "NameAutoGenerated": "0",
            "Color": COLOURS[n % len(COLOURS)],
            "ColorAutoGenerated": "0",
            "LabelValue": str(label),
            "Layer": "0",
            "Extent": " ".join(f"{low} {high - 1}" for low, high in box),
            "Tags": TUMOUR_TAGS,
        }
        fields |= {f"Segment{n}_{key}": value for key, value in segment.items()}
    return fields


def _write(image: sitk.Image, path: str | os.PathLike[str]) -> None:
    suffix = _suffix(Path(path))
    if suffix not in WRITABLE or not str(path).endswith(suffix):  # ITK writes lower-case suffixes only
        raise WriteError(f"{path}: no format to write; give one of {', '.join(WRITABLE)} (masks also .seg.nrrd)")
    with replacing(path) as temporary:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(temporary))
        writer.SetImageIO(FORMATS[suffix])
        writer.UseCompressionOn()
        try:
            with quiet_itk():
                writer.Execute(image)
            # The NIfTI writer says nothing of a full disk, and others miss what fails on closing: so read it back.
            complete = np.array_equal(_array(_read_image(temporary)), _array(image))
        except ResourceError:
            raise
        except (RuntimeError, TumorSegError) as error:
            raise WriteError(_why_not(path, str(error).strip().splitlines()[-1].strip())) from error
        if not complete:
            raise WriteError(_why_not(path, "other voxels were read back"))


def _why_not(path: str | os.PathLike[str], reason: str) -> str:
    folder = Path(path).parent
    if not os.access(folder, os.W_OK):
        return f"{path}: cannot be written, the folder {folder} is not writable"
    free = shutil.disk_usage(folder).free / 1e6
    return f"{path}: could not be written whole, {free:.0f} MB are free on the disk ({reason})"
