"""The pixels of a DICOM series in the unit that its rescale tags give; GDCM decodes them.

What GDCM would change or cannot read is written anew into a temporary folder first, with the same stored values: a
MONOCHROME1 slice, which it inverts although that only concerns the display (PS3.3 C.7.6.3.1.2); a file without the
preamble, with a name that is not UTF-8, or encoded unlike its transfer syntax says; a signed slice that its intercept
lifts above zero (ITK issue 5290).
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from TumorSegLib.errors import ReadError
from TumorSegLib.io.dicom.files import Series, Slice
from TumorSegLib.io.dicom.quiet import quiet_itk
from TumorSegLib.memory import is_out_of_memory

# What GDCM chooses the number type of a slice by.
PIXEL_TAGS = ("RescaleSlope", "RescaleIntercept", "BitsAllocated", "BitsStored", "PixelRepresentation")
# Rescaled values that are not attenuation (PS3.3 C.11.1.1.2): optical or electron density, effective atomic number ...
NOT_HU = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")
# What GDCM needs of a slice.
COPIED = (
    *PIXEL_TAGS,
    *("SOPClassUID", "SOPInstanceUID", "Modality", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns"),
    *("HighBit", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "PixelData"),
)


def check_pixels(series: Series) -> None:
    """Checks that the pixel data are complete and that their rescaling is stated.

    Raises:
        ReadError: pixel data shorter than the tags say; a rescale slope that is missing (PET, or some slices), zero,
            infinite or, for PET, negative; a look-up table instead of it; stored values that do not begin at the lowest
            bit; CT values that are no Hounsfield units by RescaleType.
    """
    for one in series.slices:
        if one.fault:
            raise ReadError(f"{one.path}: {one.fault}")
    _check_rescale(series)
    for one in series.slices:
        kind = str(one.tags.get("RescaleType") or "").upper()
        if series.modality == "CT" and kind in NOT_HU:
            raise ReadError(f"{one.path}: RescaleType (0028,1054) is {kind}; a CT in HU is needed")
        stored, high = one.tags.get("BitsStored"), one.tags.get("HighBit")
        if None not in (stored, high) and high != stored - 1:
            raise ReadError(
                f"{one.path}: HighBit (0028,0102) is {high} with {stored} bits stored; {stored - 1} is needed"
            )
        if one.tags.get("ModalityLUTSequence"):
            raise ReadError(f"{one.path}: a ModalityLUTSequence (0028,3000) gives the values; RescaleSlope is needed")


def read_pixels(series: Series) -> sitk.Image:
    """The slices as a 3D image in LPS.

    Returns:
        Rescaled values; an integer type that suits the files where slope and intercept are whole numbers, the same in
        all slices, or else float32.

    Raises:
        ReadError: a file that GDCM cannot decode.
        RuntimeError, MemoryError: not enough memory.
    """
    lifted = any(_lifted_above_zero(tags) for tags in series.tags)
    with tempfile.TemporaryDirectory() as folder:
        files = [
            _copy(one, Path(folder, f"{n}.dcm"), stored=lifted) if lifted or not _suits_gdcm(one) else str(one.path)
            for n, one in enumerate(series.slices)
        ]
        image = _read(files, series, stored=lifted)
    return _rescaled(image, series) if lifted else image


def _check_rescale(series: Series) -> None:
    for name in ("RescaleSlope", "RescaleIntercept"):
        lacking = [one.path for one in series.slices if one.tags.get(name) in (None, "")]
        needed = series.modality == "PT" and name == "RescaleSlope"
        if lacking and (needed or len(lacking) < len(series.slices)):
            others = "PET needs it" if len(lacking) == len(series.slices) else "other slices have it"
            raise ReadError(f"{lacking[0]}: {name} ({_number(name)}) is missing, but {others}")
    for one in series.slices:
        stated = one.tags.get("RescaleSlope")
        slope = 1.0 if stated in (None, "") else float(stated)
        if slope == 0 or not math.isfinite(slope) or (slope < 0 and series.modality == "PT"):
            allowed = "above" if series.modality == "PT" else "other than"
            raise ReadError(f"{one.path}: RescaleSlope (0028,1053) is {slope:g}; a number {allowed} 0 is needed")


def _number(name: str) -> str:
    return {"RescaleSlope": "0028,1053", "RescaleIntercept": "0028,1052"}[name]


def _scale(tags: Dataset) -> tuple[float, float]:
    """Slope and intercept."""
    return float(tags.get("RescaleSlope") or 1), float(tags.get("RescaleIntercept") or 0)


def _lifted_above_zero(tags: Dataset) -> bool:
    """Whether signed stored values all become positive: GDCM takes an unsigned type for them and then fails."""
    half = 2.0 ** (int(tags.get("BitsStored") or 16) - 1)
    slope, intercept = _scale(tags)
    return bool(tags.get("PixelRepresentation")) and min(-half * slope, (half - 1) * slope) + intercept >= 0


def _suits_gdcm(one: Slice) -> bool:
    try:
        str(one.path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    bare = not getattr(one.tags, "preamble", None)
    syntax = getattr(one.tags, "file_meta", {}).get("TransferSyntaxUID")
    # GDCM can hang where the transfer syntax is wrong about the value types.
    mistyped = None not in (syntax, one.typed) and one.typed == (syntax == ImplicitVRLittleEndian)
    return not bare and not mistyped and one.tags.get("PhotometricInterpretation") != "MONOCHROME1"


def _copy(one: Slice, target: Path, stored: bool) -> str:
    """Writes a slice with the same stored values for GDCM, without its rescaling where ``stored``; returns the path."""
    plain = pydicom.dcmread(one.path, force=True)
    meta = getattr(plain, "file_meta", None) or FileMetaDataset()
    for element in set(plain.keys()) - {Tag(name) for name in COPIED}:
        del plain[element]
    for element in list(plain.keys()):
        _ = plain[element]  # takes a type from the dictionary where the file states none
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian if one.typed else ImplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = plain.SOPClassUID
    meta.MediaStorageSOPInstanceUID = plain.get("SOPInstanceUID") or generate_uid()
    if plain.get("PhotometricInterpretation") == "MONOCHROME1":
        plain.PhotometricInterpretation = "MONOCHROME2"
    if stored:
        plain.RescaleSlope, plain.RescaleIntercept = 1, 0
    plain.file_meta, plain.preamble = meta, b"\0" * 128
    plain.save_as(target)
    return str(target)


def _read(files: list[str], series: Series, stored: bool) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    # The series reader takes the number type that suits the first slice for all; values of other slices would be cut
    # off or wrap round in it.
    names = PIXEL_TAGS[2:] if stored else PIXEL_TAGS
    scales = {tuple(float(tags.get(name) or 0) for name in names) for tags in series.tags}
    if len(scales) > 1 or any(number % 1 for number in scales.pop()):
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with quiet_itk():
            return reader.Execute()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        unreadable = next((one.path for one, file in zip(series.slices, files) if not _decodes(file)), None)
        raise ReadError(
            f"{unreadable or series.files[0].parent}: truncated DICOM file, or pixels that cannot be decoded"
        ) from error


def _decodes(file: str) -> bool:
    try:
        with quiet_itk():
            sitk.ReadImage(file)
    except RuntimeError:
        return False
    return True


def _rescaled(stored: sitk.Image, series: Series) -> sitk.Image:
    """Applies slope and intercept of each slice; whole numbers stay such."""
    scales = np.array([_scale(tags) for tags in series.tags])
    kind = np.int32 if not (scales % 1).any() else np.float32
    values = np.empty(sitk.GetArrayViewFromImage(stored).shape, kind)
    for n, (slope, intercept) in enumerate(scales):
        values[n] = sitk.GetArrayViewFromImage(stored)[n].astype(np.float64) * slope + intercept
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(stored)
    return image
