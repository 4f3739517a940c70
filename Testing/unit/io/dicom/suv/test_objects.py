"""SUV of reference objects: the 17 public ones, and one made here of each kind.

The public ones are of M. Vácha and the authors of the manual "Standardizing SUV Computation" (OncoRay, CC BY 4.0):
in SUV by body weight each has a maximum of 4.00 and, in its mask, a minimum of 0.20 and a median of 1.00.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from Testing.unit.dicom_series import write_slice
from TumorSegLib.io.dicom.series import list_series, read_series_and_notes

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
LEVELS = np.array([0.0, 0.2, 1.0, 4.0])


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
    (series,) = list_series(folder)
    slice_number = int(np.unravel_index(suv.argmax(), suv.shape)[0])
    return 1.02 * float(suv.max()) / float(pydicom.dcmread(series.files[slice_number]).pixel_array.max())


DOSE_PER_GRAM = 368.08e6 / 70e3
DECAYED = DOSE_PER_GRAM * 2 ** (-3600 / 6586.2)
AN_HOUR = {"SeriesTime": "110000", "AcquisitionTime": "110000"}
SAVED_ANEW = {"SeriesTime": "113000", "ActualFrameDuration": "603000", "Manufacturer": "Synthetic"}
UNDECAYED = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"], "ActualFrameDuration": "603000"}
PHILIPS = (0x7053, "Philips PET Private Group")

#: Kind to what one SUV is in the unit of the file (in each slice), tags of the series, of its injection, private ones.
KINDS: dict[str, dict[str, Any]] = {
    "0_0": {"unit": DECAYED},
    "1_0": {"unit": DECAYED, "slopes": [1.0, 0.5, 0.25, 2.0, 4.0]},
    "2_0": {"unit": 1, "tags": {"Units": "GML"}},
    "2_1": {"unit": 56.52 / 70, "tags": {"Units": "GML", "SUVType": "LBMJAMES128", "PatientSex": "M"}},
    "2_2": {"unit": 69.405 / 70, "tags": {"Units": "GML", "SUVType": "IBW"}},
    "2_3": {"unit": 18481 / 70000, "tags": {"Units": "CM2ML", "SUVType": "BSA"}},
    "2_4": {"unit": 2000, "tags": {"Units": "CNTS"}, "private": (*PHILIPS, 0x00, "DS", "0.0005")},
    "2_5": {"unit": 2 * DECAYED, "tags": {"Units": "CNTS"}, "private": (*PHILIPS, 0x09, "DS", "0.5")},
    "3_0": {"unit": DECAYED, "injection": {"RadionuclideTotalDose": "368.08"}},
    "3_1": {"unit": DOSE_PER_GRAM, "tags": {"DecayCorrection": "ADMIN"}},
    "3_2": {
        "unit": DECAYED,
        "tags": SAVED_ANEW,
        # 603 s of a half-life of 6586.2 s have their mean count rate after 299.9 s.
        "each": [{"AcquisitionTime": "110230", "FrameReferenceTime": 450e3}] * 2
        + [{"AcquisitionTime": "110500", "FrameReferenceTime": 600e3}] * 3,
    },
    "3_3": {
        "unit": DECAYED,
        "tags": {"AcquisitionTime": "113000", "Manufacturer": "GE MEDICAL SYSTEMS"},
        "private": (0x0009, "GEMS_PETD_01", 0x0D, "DT", "20250101110000.00"),
    },
    "3_4": {
        "unit": [DOSE_PER_GRAM * 2 ** (-seconds / 6586.2) for seconds in (3899.9, 3899.9, 4199.9, 4199.9, 4199.9)],
        "tags": UNDECAYED,
        "each": [{"AcquisitionTime": time} for time in ("110000", "110000", "110500", "110500", "110500")],
    },
    "4_0": {"unit": DECAYED, "injection": {"RadiopharmaceuticalStartTime": None}},
    "4_1": {"unit": DECAYED, "injection": {"RadiopharmaceuticalStartDateTime": None}},
    "4_2": {
        "unit": DECAYED,
        "tags": {"SeriesTime": "003000", "AcquisitionTime": "003000"},
        "injection": {"RadiopharmaceuticalStartTime": "233000", "RadiopharmaceuticalStartDateTime": None},
    },
    "5_0": {
        "unit": DOSE_PER_GRAM * 2 ** (-3600 / 4057.7),
        "injection": {"RadionuclideHalfLife": "4057.7"},
    },
}


def write_object(folder: Path, kind: dict[str, Any]) -> Any:
    """Five slices with the SUV of :data:`LEVELS`; returns them ``[k, j, i]``."""
    suv = np.random.default_rng(0).choice(LEVELS, (5, 8, 8))
    units = np.broadcast_to(kind["unit"], 5)
    for n in range(5):
        slope = kind.get("slopes", [1.0] * 5)[n] * units[n] / 2000
        tags = (
            {"RescaleSlope": f"{slope:.10g}", "RescaleIntercept": 0} | series_tags(kind) | kind.get("each", [{}] * 5)[n]
        )
        stored = np.round(suv[n] * units[n] / slope).astype(np.uint16)
        write_slice(folder / f"{n}.dcm", stored, (0, 0, 4 * n), "PT", **tags)
        if "private" in kind:
            group, creator, element, vr, value = kind["private"]
            dataset = pydicom.dcmread(folder / f"{n}.dcm")
            dataset.private_block(group, creator, create=True).add_new(element, vr, value)
            dataset.save_as(folder / f"{n}.dcm")
    return suv


def series_tags(kind: dict[str, Any]) -> dict[str, Any]:
    injection = Dataset()
    values = {
        "RadiopharmaceuticalStartTime": "100000",
        "RadiopharmaceuticalStartDateTime": "20250101100000",
        "RadionuclideTotalDose": "368080000",
        "RadionuclideHalfLife": "6586.2",
    } | kind.get("injection", {})
    for name, value in values.items():
        if value is not None:
            setattr(injection, name, value)
    series = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "DECY"],
        "PatientWeight": "70",
        "PatientSize": "1.75",
        "PatientSex": "O",
        "SeriesDate": "20250101",
        "AcquisitionDate": "20250101",
        "RadiopharmaceuticalInformationSequence": [injection],
    }
    return series | AN_HOUR | kind.get("tags", {})


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_of_each_kind_has_its_suv(tmp_path: Path, name: str) -> None:
    suv = write_object(tmp_path, KINDS[name])
    image, notes = read_series_and_notes(tmp_path, role="pet")
    assert sitk.GetArrayFromImage(image) == pytest.approx(suv, rel=5e-4)
    assert OBJECTS[name] in " ".join(notes)
    assert bool(notes) == bool(OBJECTS[name])
