"""Small DICOM series, written slice by slice, for the tests of reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from TumorSegLib.images.volume import Volume

SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
}


def voxels(slices: int = 5) -> Any:
    """Stored values ``[k, j, i]`` from 0 to 1999."""
    return np.random.default_rng(0).integers(0, 2000, (slices, 6, 7)).astype(np.uint16)


def write_slice(path: Path, pixels: Any, position: Any, modality: str = "CT", **tags: Any) -> None:
    """One file; ``tags`` override what a plain slice has, None removes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SOP_CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
    plain = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": "1.2.3",
        "Modality": modality,
        "SeriesDescription": "plain",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelSpacing": [2.0, 1.5],
        "SliceThickness": 3,
        "ImagePositionPatient": [round(float(x), 6) for x in position],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": pixels.tobytes(),
    }
    for name, value in (plain | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.save_as(path)


def write_series(folder: Path, heights: Any = (0, 3, 6, 9, 12), names: Any = None, **tags: Any) -> Any:
    """A series along the slice normal; returns its stored values ``[k, j, i]``."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = voxels(len(heights))
    row, column = np.split(np.asarray(tags.get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), float), 2)
    for n, height in enumerate(heights):
        name = f"{n:02d}.dcm" if names is None else names[n]
        write_slice(folder / name, stored[n], np.array([10, 20, 30]) + height * np.cross(row, column), **tags)
    return stored


def pet_tags(**changes: Any) -> dict[str, Any]:
    """What makes a slice one of a PET in Bq/ml: 400 MBq, 80 kg, decay corrected to the injection."""
    injection = Dataset()
    injection.RadiopharmaceuticalStartTime = "100000"
    injection.RadionuclideTotalDose = "4e8"
    injection.RadionuclideHalfLife = "6588"
    return {
        "modality": "PT",
        "Units": "BQML",
        "PatientWeight": "80",
        "DecayCorrection": "ADMIN",
        "CorrectedImage": ["DECY", "ATTN"],
        "RadiopharmaceuticalInformationSequence": [injection],
        "RescaleIntercept": 0,
    } | changes


def write_image(folder: Path, image: Volume) -> None:
    """A CT or a PET along the axes of the patient; the PET in Bq/ml, of which 5000 are SUV 1 for 400 MBq in 80 kg."""
    folder.mkdir()
    is_pet = image.role == "pet"
    tags = pet_tags() if is_pet else {"BitsStored": 12, "HighBit": 11}
    spacing = image.grid.spacing
    place: dict[str, Any] = {"PixelSpacing": [spacing[1], spacing[0]], "RescaleSlope": 50 if is_pet else 1}
    place["SliceThickness"] = spacing[2]
    for k, layer in enumerate(image.array):
        pixels = np.rint(layer * 5000 / 50 if is_pet else layer + 1024.0).astype(np.uint16)
        position = image.grid.to_ras((0, 0, k)) * (-1, -1, 1)
        write_slice(folder / f"{k:03d}.dcm", pixels, position, **{**place, **tags})


def cut_off(path: Path, kept: int) -> None:
    """Leaves only the first bytes of a file."""
    data = path.read_bytes()
    assert kept < len(data)
    path.write_bytes(data[:kept])
