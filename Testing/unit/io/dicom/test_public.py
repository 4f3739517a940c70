"""DICOM series of public patients."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from TumorSegLib.io.dicom.files import scan
from TumorSegLib.io.dicom.series import read_series


@pytest.mark.data
def test_public_pet_in_becquerel_becomes_suv_slice_by_slice(data_root: Path, tmp_path: Path) -> None:
    """STS_001: 1 SUV = 4116.87 Bq/ml; GE PET has another rescale slope in every slice."""
    files = sorted((data_root / "other" / "sts_001_raw_dicom" / "pet" / "image").iterdir())[:30]
    for path in files:
        shutil.copy(path, tmp_path)
    image = read_series(tmp_path, role="pet")
    (series,) = scan(tmp_path)[0]
    slopes = {float(tags.RescaleSlope) for tags in series.tags}
    stored = [pydicom.dcmread(path) for path in series.files]
    becquerel = np.stack([one.pixel_array * float(one.RescaleSlope) for one in stored])
    assert len(slopes) == 30
    assert np.allclose(sitk.GetArrayFromImage(image), becquerel / 4116.87, rtol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "role", "size"),
    [
        ("sts_001_raw_dicom/mr_t2", "mr_t2", (384, 384, 32)),
        ("breast_ucsf_br_06_dicom", "mr_dce", (256, 256, 42)),
    ],
)
def test_public_oblique_and_sagittal_series(data_root: Path, folder: str, role: str, size: Any) -> None:
    image = read_series(data_root / "other" / folder, role=role)
    assert image.GetSize() == size
    (series,) = scan(data_root / "other" / folder)[0]
    for n in (0, size[2] - 1):
        expected = series.tags[n].ImagePositionPatient
        assert image.TransformIndexToPhysicalPoint((0, 0, n)) == pytest.approx(expected, abs=1e-3)
