"""Tags of PET slices, as a scanner would write them, for the tests of the SUV."""

from __future__ import annotations

from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

HALF_LIFE = 6588.0
WEIGHT, DOSE = 80.0, 4e8
#: SUV per Bq/ml at the time of injection.
UNDECAYED = WEIGHT * 1000 / DOSE


def pet(injection: dict[str, Any] | None = None, **tags: Any) -> Dataset:
    """A PET slice in Bq/ml, injected at 10:00, scanned one half-life later; None removes a tag."""
    item = Dataset()
    defaults = {
        "RadiopharmaceuticalStartTime": "100000.00",
        "RadionuclideTotalDose": str(DOSE),
        "RadionuclideHalfLife": str(HALF_LIFE),
    }
    for name, value in (defaults | (injection or {})).items():
        if value is not None:
            item.add(DataElement(name, dictionary_VR(name), value, validation_mode=pydicom.config.IGNORE))
    dataset = Dataset()
    series = {
        "Units": "BQML",
        "PatientWeight": str(WEIGHT),
        "DecayCorrection": "START",
        "CorrectedImage": ["DECY", "ATTN", "SCAT"],
        "SeriesDate": "20240131",
        "SeriesTime": "114948",  # 10:00:00 + 6588 s
        "AcquisitionDate": "20240131",
        "AcquisitionTime": "114948",
        "RadiopharmaceuticalInformationSequence": [item],
    }
    for name, value in (series | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    return dataset


def with_private(dataset: Dataset, group: int, creator: str, element: int, value: Any, kind: str) -> Dataset:
    """The slice with one more private element."""
    dataset.private_block(group, creator, create=True).add_new(element, kind, value)
    return dataset


def philips(element: int, value: str, **tags: Any) -> Dataset:
    """A slice in counts with one of the factors of Philips: 0x00 to SUV, 0x09 to Bq/ml."""
    return with_private(pet(Units="CNTS", **tags), 0x7053, "Philips PET Private Group", element, value, "DS")


def ge(scan: str = "20240131114948.00", **tags: Any) -> Dataset:
    """A slice with the scan date and time that GE keeps privately."""
    return with_private(pet(**tags), 0x0009, "GEMS_PETD_01", 0x0D, scan, "DT")
