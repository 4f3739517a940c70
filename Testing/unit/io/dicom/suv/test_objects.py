"""SUV of the 17 public reference objects, and of a series written here.

The objects are of M. Vácha and the authors of the manual "Standardizing SUV Computation" (OncoRay, CC BY 4.0): in SUV
by body weight each has a maximum of 4.00 and, in its mask, a minimum of 0.20 and a median of 1.00.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from Testing.unit.cases.dicom_series import pet_tags, write_slice
from TumorSegLib.io.dicom.files import scan
from TumorSegLib.io.dicom.series import read_series_and_notes

#: Name of each object, and a word of the note about it; empty where nothing but the plain rule is used.
OBJECTS = {
    "0_0": "",  # Bq/ml, corrected to the start
    "1_0": "",  # a slope for each slice
    "2_0": "",  # SUV by body weight
    "2_1": "lean body mass (James)",
    "2_2": "ideal body weight",
    "2_3": "body surface area",
    "2_4": "",  # the factor of Philips to SUV
    "2_5": "",  # that to Bq/ml
    "3_0": "taken as 368.08 MBq",
    "3_1": "",  # corrected to the injection
    "3_2": "by FrameReferenceTime (0054,1300)",  # saved anew
    "3_3": "",  # the scan time of GE
    "3_4": "the decay was corrected here",
    "4_0": "",  # date and time of the injection
    "4_1": "",  # the time alone
    "4_2": "",  # across midnight
    "5_0": "",  # gallium-68
}


@pytest.mark.data
def test_the_public_objects_have_their_suv(data_root: Path, tmp_path: Path) -> None:
    with tarfile.open(data_root / "suv_dro" / "DRO.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(tmp_path)
    for name, word in OBJECTS.items():
        folder = tmp_path / "DRO" / f"DRO_{name}"
        image, notes = read_series_and_notes(folder / "PT", role="pet")
        suv = sitk.GetArrayFromImage(image)
        (mask_file,) = (folder / "mask").iterdir()
        inside = sitk.GetArrayFromImage(sitk.ReadImage(str(mask_file))) > 0
        found = suv.max(), suv[inside].min(), np.median(suv[inside])
        assert found == pytest.approx((4.0, 0.2, 1.0), abs=one_step(folder / "PT", suv)), name
        assert word in " ".join(notes)
        assert bool(notes) == bool(word), name


def one_step(folder: Path, suv: Any) -> float:
    """SUV of one stored grey level: the objects are cut off to whole ones; 0.038 where they are in cm2/ml."""
    (series,) = scan(folder)[0]
    slice_number = int(np.unravel_index(suv.argmax(), suv.shape)[0])
    return 1.02 * float(suv.max()) / float(pydicom.dcmread(series.files[slice_number]).pixel_array.max())


def test_uncorrected_slices_with_times_and_slopes_of_their_own_become_suv(tmp_path: Path) -> None:
    """Of a dose of 5000 Bq/g; frames of 603 s have their mean count rate after 299.9 s at a half-life of 6588 s."""
    suv = np.random.default_rng(0).choice([0.0, 0.2, 1.0, 4.0], (5, 8, 8))
    frame = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"], "ActualFrameDuration": "603000"}
    for n, (seconds, slope) in enumerate(zip((3600, 3600, 3900, 3900, 3900), (1.0, 0.5, 0.25, 2.0, 4.0))):
        becquerel = suv[n] * 5000 * 2 ** (-(seconds + 299.9) / 6588)
        time = {"SeriesTime": "110000", "AcquisitionTime": f"11{seconds // 60 - 60:02d}00"}
        dates = {"SeriesDate": "20250101", "AcquisitionDate": "20250101"}
        tags = pet_tags(RescaleSlope=slope, **frame, **time, **dates)
        write_slice(tmp_path / f"{n}.dcm", np.round(becquerel / slope).astype(np.uint16), (0, 0, 4 * n), **tags)
    image, notes = read_series_and_notes(tmp_path, role="pet")
    assert sitk.GetArrayFromImage(image) == pytest.approx(suv, rel=3e-3)
    assert "the decay was corrected here" in " ".join(notes)
