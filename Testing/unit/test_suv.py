"""SUV factors of hand-computed cases for every branch of the QIBA rule, and a public patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from TumorSegLib.errors import SuvError
from TumorSegLib.suv import check_suv, suv_factor

HALF_LIFE = 6588.0
WEIGHT, DOSE = 80.0, 4e8
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
    dataset.private_block(group, creator, create=True).add_new(element, kind, value)
    return dataset


def philips(element: int, value: str, **tags: Any) -> Dataset:
    return with_private(pet(Units="CNTS", **tags), 0x7053, "Philips PET Private Group", element, value, "DS")


def ge(**tags: Any) -> Dataset:
    return with_private(pet(**tags), 0x0009, "GEMS_PETD_01", 0x0D, "20240131114948.00", "DT")


def test_images_in_g_per_ml_are_suv_already() -> None:
    assert suv_factor(pet(Units="GML")) == 1
    assert suv_factor(pet(Units="GML", SUVType="BW")) == 1


@pytest.mark.parametrize("kind", ["LBM", "BSA", "IBW", "LBMJANMA"])
def test_suv_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(SuvError, match=f"SUVType .0054,1006. is {kind}; only BW"):
        suv_factor(pet(Units="GML", SUVType=kind))


def test_start_decays_the_dose_to_the_series_time() -> None:
    assert suv_factor(pet()) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_admin_takes_the_dose_as_injected_and_needs_no_times() -> None:
    dataset = pet({"RadionuclideHalfLife": None}, DecayCorrection="ADMIN", SeriesTime=None)
    assert suv_factor(dataset) == pytest.approx(UNDECAYED, rel=1e-12)


@pytest.mark.parametrize("correction", ["NONE", "FOO"])
def test_without_decay_correction_it_is_refused(correction: str) -> None:
    with pytest.raises(SuvError, match=f"is {correction}; START or ADMIN"):
        suv_factor(pet(DecayCorrection=correction))


@pytest.mark.parametrize(
    ("listed", "lacking"), [(["DECY", "SCAT"], "ATTN"), (["ATTN", "SCAT"], "DECY"), ("ATTN", "DECY")]
)
def test_an_uncorrected_image_is_refused(listed: Any, lacking: str) -> None:
    with pytest.raises(SuvError, match=f"without {lacking}"):
        suv_factor(pet(CorrectedImage=listed))


def test_an_injection_before_midnight_is_found_from_the_time_alone() -> None:
    dataset = pet({"RadiopharmaceuticalStartTime": "230000"}, SeriesTime="004948", AcquisitionTime="004948")
    assert suv_factor(dataset) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_the_full_injection_date_goes_before_the_time_of_day() -> None:
    dataset = pet(
        {"RadiopharmaceuticalStartDateTime": "20240129100000", "RadionuclideHalfLife": "282240"},  # zirconium-89
        DecayCorrection="START",
    )
    elapsed = 2 * 86400 + HALF_LIFE
    assert suv_factor(dataset) == pytest.approx(UNDECAYED * 2 ** (elapsed / 282240), rel=1e-12)


def test_offsets_from_utc_are_compared_where_both_are_known() -> None:
    injection = {"RadiopharmaceuticalStartDateTime": "20240131090000+0000"}
    assert suv_factor(pet(injection, TimezoneOffsetFromUTC="+0100")) == pytest.approx(2 * UNDECAYED, rel=1e-12)
    injection = {"RadiopharmaceuticalStartDateTime": "20240131100000+0100"}
    assert suv_factor(pet(injection)) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_a_post_processed_series_uses_the_earliest_acquisition() -> None:
    late = {"SeriesTime": "150000"}
    slices = [pet(**late, AcquisitionTime="115500"), pet(**late, AcquisitionTime="114948")]
    assert suv_factor(*slices) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_a_post_processed_ge_series_uses_the_private_scan_time() -> None:
    assert suv_factor(ge(SeriesTime="150000", AcquisitionTime="120000")) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_the_private_scan_time_is_not_used_when_the_series_time_is_right() -> None:
    later = ge(SeriesTime="100000", AcquisitionTime="120000")
    assert suv_factor(later) == pytest.approx(UNDECAYED, rel=1e-12)


def test_private_values_survive_the_loss_of_creator_and_type() -> None:
    dataset = pet(SeriesTime="150000", AcquisitionTime="120000")
    dataset.add_new((0x0009, 0x100D), "UN", b"20240131114948.00 ")
    assert suv_factor(dataset) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_philips_counts_take_the_private_suv_factor() -> None:
    assert suv_factor(philips(0x00, "0.000123")) == pytest.approx(0.000123)


def test_philips_counts_fall_back_to_the_factor_to_becquerel() -> None:
    assert suv_factor(philips(0x09, "1.5")) == pytest.approx(3 * UNDECAYED, rel=1e-12)
    zero = with_private(philips(0x09, "1.5"), 0x7053, "Philips PET Private Group", 0x00, "0", "DS")
    assert suv_factor(zero) == pytest.approx(3 * UNDECAYED, rel=1e-12)


def test_counts_without_a_factor_are_refused() -> None:
    with pytest.raises(SuvError, match=r"\(7053,1000\) and \(7053,1009\) are both missing or zero"):
        suv_factor(philips(0x00, "0"))
    with pytest.raises(SuvError, match="both missing"):
        suv_factor(pet(Units="CNTS"))


@pytest.mark.parametrize("units", ["PROPCNTS", "CM2ML"])
def test_other_units_are_refused_by_name(units: str) -> None:
    with pytest.raises(SuvError, match=f"is {units}; only BQML, GML"):
        suv_factor(pet(Units=units))


def test_every_missing_tag_is_named() -> None:
    dataset = pet(
        {"RadionuclideTotalDose": None, "RadionuclideHalfLife": None, "RadiopharmaceuticalStartTime": ""},
        PatientWeight=None,
        SeriesTime="",
        CorrectedImage=None,
    )
    with pytest.raises(SuvError) as caught:
        suv_factor(dataset)
    for tag in (
        "PatientWeight (0010,1030)",
        "RadionuclideTotalDose (0018,1074)",
        "RadionuclideHalfLife (0018,1075)",
        "RadiopharmaceuticalStartTime (0018,1072)",
        "SeriesTime (0008,0031)",
        "CorrectedImage (0028,0051)",
    ):
        assert tag in str(caught.value)
    assert "SeriesDate" not in str(caught.value)


@pytest.mark.parametrize("name", ["Units", "DecayCorrection", "RadiopharmaceuticalInformationSequence"])
def test_a_single_missing_tag_is_named(name: str) -> None:
    with pytest.raises(SuvError, match=name):
        suv_factor(pet(**{name: None}))


@pytest.mark.parametrize(
    ("injection", "tags", "words"),
    [
        ({}, {"PatientWeight": "0"}, "PatientWeight .0010,1030. is 0 kg"),
        ({}, {"PatientWeight": "80000"}, "is 80000 kg; 0.01 to 500 kg"),
        ({}, {"PatientWeight": "-80"}, "is -80 kg"),
        ({"RadionuclideTotalDose": "0"}, {}, "RadionuclideTotalDose .0018,1074. is 0 Bq"),
        ({"RadionuclideTotalDose": "388.8"}, {}, "is 388.8 Bq"),  # megabecquerel
        ({"RadionuclideHalfLife": "0"}, {}, "is 0 s"),
        ({"RadiopharmaceuticalStartTime": "noon"}, {}, "20240131noon"),
        ({"RadiopharmaceuticalStartDateTime": "20240201100000"}, {}, "-79812 s apart"),
        ({"RadiopharmaceuticalStartDateTime": "20230131100000"}, {}, "half-lives"),
        ({"RadiopharmaceuticalStartDateTime": "20241331100000"}, {}, "no valid date"),
        ({"RadiopharmaceuticalStartTime": "120000"}, {}, "half-lives"),  # by the clock, 24 h earlier
    ],
)
def test_implausible_values_are_refused_with_the_value(injection: Any, tags: Any, words: str) -> None:
    with pytest.raises(SuvError, match=words):
        suv_factor(pet(injection, **tags))


def test_a_weight_that_is_no_number_is_refused() -> None:
    dataset = pet()
    tag = Tag("PatientWeight")
    dataset[tag] = RawDataElement(tag, "DS", 4, b"much", 0, False, True)  # as read from a file
    with pytest.raises(SuvError, match=r"PatientWeight \(0010,1030\) is 'much'; a number in kg"):
        suv_factor(dataset)


def test_two_injections_are_refused() -> None:
    dataset = pet()
    dataset.RadiopharmaceuticalInformationSequence = [*dataset.RadiopharmaceuticalInformationSequence, Dataset()]
    with pytest.raises(SuvError, match="2 injections"):
        suv_factor(dataset)


def test_no_slices_are_refused() -> None:
    with pytest.raises(SuvError, match="at least one"):
        suv_factor()


@pytest.mark.parametrize("time", ["114948.000000", "114948.0 ", "11:49:48"])
def test_time_notations_of_dicom_and_its_forerunner(time: str) -> None:
    dataset = pet(AcquisitionTime=None)
    dataset["SeriesTime"] = DataElement("SeriesTime", "SH", time)
    assert suv_factor(dataset) == pytest.approx(2 * UNDECAYED, rel=1e-9)


@pytest.mark.parametrize("side", [40, 250])  # looked at whole, and thinned out
def test_an_image_far_above_any_suv_is_refused(side: int) -> None:
    image = np.zeros((side, side, side), np.float32)
    image[side // 4 : side // 2, side // 4 : side // 2, side // 4 : side // 2] = 3000.0
    with pytest.raises(SuvError, match=r"99\.9th percentile of the voxels is 3000, more than 100"):
        check_suv(image)
    check_suv(image / 100)


def test_few_hot_or_noisy_voxels_are_no_reason() -> None:
    image = np.full((40, 40, 40), 2.0)
    image[:2, :4, :7] = 5000.0  # 56 of 64000 voxels
    check_suv(image)


@pytest.mark.data
def test_public_patient_in_becquerel(data_root: Path) -> None:
    """STS_001 of the Soft-tissue-Sarcoma collection: 1 SUV = 4116.87 Bq/ml, as the IBSI's SUV images show."""
    folder = data_root / "other" / "sts_001_raw_dicom" / "pet" / "image"
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())[::40]]
    assert 1 / suv_factor(*slices) == pytest.approx(4116.87, rel=1e-4)
