"""SUV factors of hand-computed cases for every branch of the QIBA rule, and a public patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from Testing.unit.cases.pet_slices import HALF_LIFE, UNDECAYED, pet, philips, with_private
from TumorSegLib.errors import SuvError
from TumorSegLib.io.dicom.suv.factor import suv_conversion, suv_factor

DECAYED = "body weight, dose and decay"


def test_images_in_g_per_ml_are_suv_already() -> None:
    assert suv_factor(pet(Units="GML")) == 1
    assert suv_factor(pet(Units="GML", SUVType="BW")) == 1


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ([pet(Units="GML")], "factor 1, from Units GML"),
        ([pet()], f"factor {2 * UNDECAYED:.4g}, from {DECAYED}"),
        ([pet(DecayCorrection="ADMIN")], f"factor {UNDECAYED:.4g}, from body weight and dose"),
        ([pet(Units="CM2ML", PatientWeight="70", PatientSize="1.75")], "factor 3.788, from SUVType and body"),
        ([philips(0x00, "0.5")], "factor 0.5, from the Philips factor to SUV"),
        ([philips(0x09, "2")], f"factor {4 * UNDECAYED:.4g}, from the Philips factor to Bq/ml, {DECAYED}"),
        (
            [philips(0x09, each) for each in ("2", "4")],
            f"factors {4 * UNDECAYED:.4g} to {8 * UNDECAYED:.4g}, from the Philips factor to Bq/ml, {DECAYED}",
        ),
    ],
)
def test_factor_and_source_are_told(slices: list[Dataset], words: str) -> None:
    assert suv_conversion(slices).factor_text == words


def test_start_decays_the_dose_to_the_series_time() -> None:
    assert suv_factor(pet()) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_admin_takes_the_dose_as_injected_and_needs_no_times() -> None:
    dataset = pet({"RadionuclideHalfLife": None}, DecayCorrection="ADMIN", SeriesTime=None)
    assert suv_factor(dataset) == pytest.approx(UNDECAYED, rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "sex", "mass"),
    [  # 70 kg and 1.75 m, by hand
        ("LBM", "M", 57.8),
        ("LBM", "F", 51.22),
        ("LBMJAMES128", "M", 56.52),
        ("LBMJAMES128", "F", 51.22),
        ("LBMJANMA", "M", 55.857),
        ("LBMJANMA", "F", 45.197),
        ("IBW", "M", 72.38),
        ("IBW", "F", 66.43),
        ("IBW", "O", 69.405),
    ],
)
def test_suv_by_another_mass_becomes_suv_by_weight(kind: str, sex: str, mass: float) -> None:
    body = {"PatientWeight": "70", "PatientSize": "1.75", "PatientSex": sex}
    conversion = suv_conversion([pet(Units="GML", SUVType=kind, **body)] * 2)
    assert conversion.factors == pytest.approx((70 / mass,) * 2, rel=1e-4)
    assert f"70 kg / {mass:.2f} kg" in conversion.note


@pytest.mark.parametrize("kind", [None, "BSA"])
def test_suv_by_body_surface_becomes_suv_by_weight(kind: str | None) -> None:
    dataset = pet(Units="CM2ML", SUVType=kind, PatientWeight="70", PatientSize="1.75")
    assert suv_factor(dataset) == pytest.approx(70000 / 18481, rel=1e-4)
    assert "body surface area" in suv_conversion([dataset]).note


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Units": "GML", "SUVType": "BSA"}, "SUVType .0054,1006. is BSA and Units .0054,1001. GML; GML goes with BW"),
        ({"Units": "CM2ML", "SUVType": "BW"}, "is BW and Units .0054,1001. CM2ML"),
        ({"Units": "GML", "SUVType": "FOO"}, "SUVType .0054,1006. is FOO"),
        ({"Units": "GML", "SUVType": "IBW"}, "lacks PatientSize .0010,1020., PatientSex .0010,0040."),
        ({"Units": "CM2ML", "PatientWeight": None}, "lacks PatientWeight .0010,1030., PatientSize .0010,1020."),
        ({"Units": "CM2ML", "PatientSize": "175"}, "PatientSize .0010,1020. is 175 m; 0.2 to 2.6 m"),
        ({"Units": "GML", "SUVType": "LBM", "PatientSize": "1.75", "PatientSex": "U"}, "is U; LBM needs M, F or O"),
        ({"Units": "GML", "SUVType": "LBM", "PatientSize": "0.5", "PatientSex": "F"}, "must be positive"),
    ],
)
def test_suv_of_another_kind_needs_its_tags(tags: Any, words: str) -> None:
    with pytest.raises(SuvError, match=words):
        suv_factor(pet(**tags))


def test_a_dose_that_can_only_be_in_megabecquerel_is_taken_so() -> None:
    conversion = suv_conversion([pet({"RadionuclideTotalDose": "400"})])
    assert conversion.factors == pytest.approx((2 * UNDECAYED,), rel=1e-12)
    assert "taken as 400 MBq" in conversion.note
    assert suv_conversion([pet()]).note == ""


@pytest.mark.parametrize(("weight", "dose"), [("0.025", "1e7"), ("3", "1.4e7"), ("80", "4.1e6"), ("70", "2e9")])
def test_small_and_large_doses_of_mice_infants_and_water_are_becquerel(weight: str, dose: str) -> None:
    dataset = pet({"RadionuclideTotalDose": dose}, PatientWeight=weight, DecayCorrection="ADMIN")
    assert suv_factor(dataset) == pytest.approx(float(weight) * 1000 / float(dose))


def uncorrected(**tags: Any) -> Dataset:
    """A frame of ten minutes, not corrected for decay."""
    corrections = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN", "SCAT"], "ActualFrameDuration": "600000"}
    return pet(**(corrections | tags))


def test_decay_is_corrected_here_slice_by_slice() -> None:
    slices = [uncorrected(AcquisitionTime=time) for time in ("110000", "113000")]
    conversion = suv_conversion(slices)
    decay = np.log(2) / HALF_LIFE
    for factor, start in zip(conversion.factors, (3600, 5400)):
        counted = (np.exp(-decay * start) - np.exp(-decay * (start + 600))) / (600 * decay)  # mean over the frame
        assert factor == pytest.approx(UNDECAYED / counted, rel=1e-9)
    assert "corrected here, from the injection to each slice's mean count-rate time" in conversion.note
    with pytest.raises(SuvError, match="different factors"):
        suv_factor(*slices)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"DecayCorrection": "FOO"}, "is FOO; START or ADMIN"),
        ({"CorrectedImage": ["ATTN", "DECY"]}, "but DecayCorrection .0054,1102. is NONE; they must agree"),
        ({"CorrectedImage": ["SCAT"]}, "without ATTN"),
        ({"ActualFrameDuration": None}, "lacks ActualFrameDuration"),
        ({"ActualFrameDuration": "0"}, "a positive duration"),
        ({"AcquisitionTime": None}, "lacks AcquisitionTime"),
        ({"AcquisitionTime": "000000"}, "midnight in a slice"),
        ({"DecayFactor": "1.5"}, "DecayFactor .0054,1321. is 1.5 .* a factor of 1"),
    ],
)
def test_decay_is_not_corrected_on_a_guess(tags: Any, words: str) -> None:
    with pytest.raises(SuvError, match=words):
        suv_conversion([uncorrected(**({"AcquisitionTime": "110000"} | tags))])


def test_frames_without_a_time_of_their_own_are_not_corrected() -> None:
    """Three beds, all with the time of the scan; their reference times tell it."""
    beds = [uncorrected(AcquisitionTime="110000", FrameReferenceTime=str(time)) for time in (300e3, 900e3, 1500e3)]
    with pytest.raises(SuvError, match=r"AcquisitionTime .* and FrameReferenceTime .* place the frames differently"):
        suv_conversion(beds)
    times = (("110000", "300000"), ("111000", "900000"))
    own = [uncorrected(AcquisitionTime=time, FrameReferenceTime=reference) for time, reference in times]
    assert len(set(suv_conversion(own).factors)) == 2
    by_ge = [uncorrected(AcquisitionTime="110000", Manufacturer="GE MEDICAL SYSTEMS") for _ in range(2)]
    with pytest.raises(SuvError, match=r"in all slices; with GE .* FrameReferenceTime .0054,1300. is needed"):
        suv_conversion(by_ge)
    for one in by_ge:
        one.FrameReferenceTime = "300000"
    assert len(set(suv_conversion(by_ge).factors)) == 1


def test_the_day_of_a_frame_matters_for_long_half_lives() -> None:
    zirconium = {"RadionuclideHalfLife": "282240", "RadiopharmaceuticalStartDateTime": "20240131100000"}
    frame = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"], "ActualFrameDuration": "600000"}
    assert suv_factor(pet(zirconium, **frame)) > UNDECAYED
    with pytest.raises(SuvError, match=r"AcquisitionDate .0008,0022. is missing or doubtful"):
        suv_factor(pet(zirconium, AcquisitionDate=None, **frame))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("Units", "BQML", "CNTS"), ("PatientWeight", "80", "8"), ("DecayCorrection", "START", "ADMIN")],
)
def test_slices_that_contradict_each_other_are_refused(name: str, one: str, other: str) -> None:
    with pytest.raises(SuvError, match=f"{name} .* differs between the slices: "):
        suv_conversion([pet(**{name: one}), pet(**{name: other})])
    with pytest.raises(SuvError, match=r"RadionuclideTotalDose .* differs between the slices: 300000000 and 400000000"):
        suv_conversion([pet(), pet({"RadionuclideTotalDose": "3e8"})])
    assert len(suv_conversion([pet(PatientWeight="80"), pet(PatientWeight="80.0")]).factors) == 2


@pytest.mark.parametrize(
    ("listed", "lacking"), [(["DECY", "SCAT"], "ATTN"), (["ATTN", "SCAT"], "DECY"), ("ATTN", "DECY")]
)
def test_an_uncorrected_image_is_refused(listed: Any, lacking: str) -> None:
    with pytest.raises(SuvError, match=f"without {lacking}"):
        suv_factor(pet(CorrectedImage=listed))


def test_philips_counts_take_the_private_suv_factor() -> None:
    assert suv_factor(philips(0x00, "0.000123")) == pytest.approx(0.000123)


def test_philips_counts_fall_back_to_the_factor_to_becquerel() -> None:
    assert suv_factor(philips(0x09, "1.5")) == pytest.approx(3 * UNDECAYED, rel=1e-12)
    zero = with_private(philips(0x09, "1.5"), 0x7053, "Philips PET Private Group", 0x00, "0", "DS")
    assert suv_factor(zero) == pytest.approx(3 * UNDECAYED, rel=1e-12)


def test_philips_factors_that_contradict_each_other_are_refused() -> None:
    def both(to_suv: float) -> Dataset:
        return with_private(philips(0x09, "1.5"), 0x7053, "Philips PET Private Group", 0x00, str(to_suv), "DS")

    assert suv_factor(both(3.03 * UNDECAYED)) == pytest.approx(3.03 * UNDECAYED)
    with pytest.raises(SuvError, match=r"\(7053,1000\) is 1.1 times what"):
        suv_factor(both(3.3 * UNDECAYED))


@pytest.mark.parametrize("stated", ["inf", "nan", "one"])
def test_philips_factors_that_are_no_numbers_are_refused(stated: str) -> None:
    with pytest.raises(SuvError, match=rf"must be numbers, got '{stated}'"):
        suv_factor(with_private(pet(Units="CNTS"), 0x7053, "Philips PET Private Group", 0x00, stated, "LO"))


def test_philips_slices_that_are_corrected_differently_are_refused() -> None:
    with pytest.raises(SuvError, match=r"CorrectedImage .0028,0051. differs between the slices"):
        suv_conversion([philips(0x00, "0.001"), philips(0x00, "0.001", CorrectedImage=["DECY"])])


def test_philips_factors_may_differ_between_slices() -> None:
    assert suv_conversion([philips(0x00, "0.001"), philips(0x00, "0.002")]).factors == (0.001, 0.002)


def test_counts_without_a_factor_are_refused() -> None:
    with pytest.raises(SuvError, match=r"\(7053,1000\) and \(7053,1009\) are both missing or zero"):
        suv_factor(philips(0x00, "0"))
    with pytest.raises(SuvError, match="both missing"):
        suv_factor(pet(Units="CNTS"))


@pytest.mark.parametrize("units", ["PROPCNTS", "PROPCPS"])
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
        ({"RadionuclideTotalDose": "400000"}, {}, r"is 400000 Bq, 5e\+03 Bq/kg .*it may be in kBq"),
        ({"RadionuclideTotalDose": "10.8"}, {}, "is 10.8 Bq.*it may be in mCi"),
        ({"RadionuclideTotalDose": "10800"}, {}, "is 10800 Bq.*it may be in uCi"),
        ({"RadionuclideTotalDose": "50"}, {}, "is 50 Bq.*it may be in MBq or mCi"),
        ({"RadionuclideTotalDose": "10"}, {"PatientWeight": "0.025"}, "is 10 Bq"),  # a mouse
        ({"RadionuclideHalfLife": "0"}, {}, "is 0 s"),
        ({"RadiopharmaceuticalStartTime": "000000"}, {}, "midnight to the second, as if the time was removed"),
        ({"RadiopharmaceuticalStartDateTime": "20240131000000.00"}, {}, "midnight to the second"),
        ({}, {"SeriesTime": "000000.000"}, "midnight to the second"),
        ({"RadiopharmaceuticalStartTime": "114948"}, {}, "same time, .* as if times were removed"),
        ({"RadiopharmaceuticalStartTime": "noon"}, {}, "20240131noon"),
        ({"RadiopharmaceuticalStartDateTime": "20240201100000"}, {}, "-79812 s apart"),
        ({"RadiopharmaceuticalStartDateTime": "20230131100000"}, {}, "half-lives"),
        ({"RadiopharmaceuticalStartDateTime": "20241331100000"}, {}, "not a valid date"),
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


@pytest.mark.data
def test_public_patient_in_becquerel(data_root: Path) -> None:
    """STS_001 of the Soft-tissue-Sarcoma collection: 1 SUV = 4116.87 Bq/ml, as the IBSI's SUV images show."""
    folder = data_root / "other" / "sts_001_raw_dicom" / "pet" / "image"
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())[::40]]
    assert 1 / suv_factor(*slices) == pytest.approx(4116.87, rel=1e-4)


@pytest.mark.parametrize(("code", "name"), [("C-105A1", "carbon-11"), ("35337001", "gallium-68")])
def test_a_half_life_of_another_nuclide_is_refused(code: str, name: str) -> None:
    one = pet()
    nuclide = Dataset()
    nuclide.CodeValue = "C-111A1"
    injection = one.RadiopharmaceuticalInformationSequence[0]
    injection.RadionuclideCodeSequence = [nuclide]
    assert suv_factor(one) == pytest.approx(2 * UNDECAYED)
    nuclide.CodeValue = code
    with pytest.raises(SuvError, match=rf"RadionuclideHalfLife \(0018,1075\) is 6588 s, but .* names {name}"):
        suv_factor(one)
