"""The moment that the decay was corrected to: told by every account there is, and refused where they contradict."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from Testing.unit.cases.pet_slices import HALF_LIFE, UNDECAYED, ge, pet
from TumorSegLib.errors import SuvError
from TumorSegLib.io.dicom.suv.factor import suv_conversion, suv_factor
from TumorSegLib.io.dicom.suv.frames import mean_count_rate_seconds

DURATION = 240.0
#: Seconds from the start of a frame to its mean count-rate time: 240 / 2 - ln 2 * 240^2 / (24 * 6588).
MEAN = 119.747


def clock(seconds: float) -> str:
    """A time of day, in seconds after the injection at 10:00."""
    seconds += 36000
    return f"{int(seconds) // 3600 % 24:02d}{int(seconds) % 3600 // 60:02d}{seconds % 60:09.6f}"


def frame(start: float, correction: float, *, factor: bool = True, reference: bool = True, **tags: Any) -> Dataset:
    """A frame that begins ``start`` s after the injection and was corrected to ``correction`` s after it.

    Its frame reference time has the meaning of the standard; ``GE`` as manufacturer gives it that of GE.
    """
    starts = str(tags.get("Manufacturer", "")).startswith("GE")
    accounts: dict[str, Any] = {"AcquisitionTime": clock(start), "ActualFrameDuration": str(int(DURATION * 1000))}
    if factor:
        accounts["DecayFactor"] = f"{2 ** ((start + MEAN - correction) / HALF_LIFE):.6f}"
    if reference:
        accounts["FrameReferenceTime"] = f"{1000 * (start + (0 if starts else MEAN) - correction):.1f}"
    return pet(**({"Manufacturer": "SIEMENS"} | accounts | tags))


def decayed(seconds: float) -> float:
    return UNDECAYED * 2 ** (seconds / HALF_LIFE)


def test_the_mean_count_rate_time_is_where_the_activity_is_its_mean() -> None:
    assert mean_count_rate_seconds(DURATION, HALF_LIFE) == pytest.approx(MEAN, abs=1e-3)
    assert mean_count_rate_seconds(0, HALF_LIFE) == 0


@pytest.mark.parametrize("accounts", [{}, {"factor": False}, {"reference": False}])
@pytest.mark.parametrize("maker", ["SIEMENS", "GE MEDICAL SYSTEMS", "Philips", "Synthetic"])
def test_the_scan_start_of_a_resaved_series_is_found_from_its_frames(maker: str, accounts: Any) -> None:
    slices = [frame(start, 3600, SeriesTime="150000", Manufacturer=maker, **accounts) for start in (3750, 3990)]
    conversion = suv_conversion(slices)
    assert conversion.factors == pytest.approx([decayed(3600)] * 2, rel=1e-5)
    assert "later than the acquisition" in conversion.note


@pytest.mark.parametrize("series", ["105430", "150000"])  # that of the scan, or saved anew
def test_a_late_window_is_corrected_to_the_start_of_its_scan(series: str) -> None:
    slices = [frame(6588, 3270, SeriesTime=series)] * 2
    assert suv_factor(*slices) == pytest.approx(decayed(3270), rel=1e-5)


def test_a_late_window_is_refused_where_the_series_time_is_that_of_the_window() -> None:
    """Either the series time or what the frames say is wrong: a factor of 1.42 between them."""
    for accounts, tag in (({}, "DecayFactor .0054,1321."), ({"factor": False}, "FrameReferenceTime .0054,1300.")):
        with pytest.raises(SuvError, match=rf"do not determine the time .*by {tag} it would be 2024-01-31 10:54:30"):
            suv_factor(frame(6588, 3270, **accounts))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factor": False, "reference": False}, "FrameReferenceTime .0054,1300. or DecayFactor .0054,1321. are needed"),
        ({"ActualFrameDuration": None}, "ActualFrameDuration .0018,1242.* are needed"),
        ({"factor": False, "FrameReferenceTime": "0"}, "are needed to determine"),
        ({"factor": False, "Manufacturer": None}, "has another meaning for GE"),
        ({"FrameReferenceTime": "900000"}, "DecayFactor .* leads back to .*, FrameReferenceTime .* to"),
    ],
)
def test_a_resaved_series_without_a_scan_start_in_its_frames_is_refused(changes: Any, words: str) -> None:
    with pytest.raises(SuvError, match=words):
        suv_factor(frame(3750, 3600, **({"SeriesTime": "150000"} | changes)))


def test_frames_with_contradicting_scan_starts_are_refused() -> None:
    with pytest.raises(SuvError, match="lead back to different moments"):
        suv_factor(frame(3600, 3600, SeriesTime="150000"), frame(3900, 3900, SeriesTime="150000"))
    with pytest.raises(SuvError, match="no common moment"):
        suv_factor(frame(3600, 3600, SeriesTime=clock(3600)), frame(3900, 3900, SeriesTime=clock(3600)))


def test_a_decay_factor_of_one_is_ignored() -> None:
    assert suv_factor(pet(DecayFactor="1", ActualFrameDuration="240000")) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_ge_frames_may_all_have_the_time_of_the_series() -> None:
    times = {"AcquisitionTime": "114948", "Manufacturer": "GE MEDICAL SYSTEMS"}
    slices = [frame(HALF_LIFE + later, HALF_LIFE, **times) for later in (0, 243, 486)]
    assert suv_factor(*slices) == pytest.approx(2 * UNDECAYED, rel=1e-12)
    assert suv_factor(*slices[2:]) == pytest.approx(2 * UNDECAYED, rel=1e-12)  # the first beds are left out


def test_frames_with_the_time_of_the_scan_need_the_first_frame() -> None:
    for maker in ("GE MEDICAL SYSTEMS", "Philips"):
        times = {"AcquisitionTime": "114948", "SeriesTime": "150000", "Manufacturer": maker}
        slices = [frame(HALF_LIFE + later, HALF_LIFE, **times) for later in (0, 243, 486)]
        assert suv_factor(*slices) == pytest.approx(2 * UNDECAYED, rel=1e-5)
        with pytest.raises(SuvError, match="can be that of the frame or of the scan"):
            suv_factor(*slices[1:])
    with pytest.raises(SuvError, match="can be that of the frame or of the scan"):
        suv_factor(frame(HALF_LIFE, 3600, SeriesTime="150000", Manufacturer="GE MEDICAL SYSTEMS"))


def test_frames_with_the_time_of_the_series_are_distinguished_by_decay_factors() -> None:
    times = {"AcquisitionTime": "114948", "Manufacturer": "Philips"}
    slices = [frame(HALF_LIFE + later, HALF_LIFE, **times) for later in (0, 243, 486)]
    assert suv_factor(*slices[1:]) == pytest.approx(2 * UNDECAYED, rel=1e-12)
    with pytest.raises(SuvError, match="do not determine the time"):  # one bed, or a late window
        suv_factor(*slices[2:])


def test_a_series_time_hours_from_the_acquisition_is_refused() -> None:
    with pytest.raises(SuvError, match="lie far apart"):
        suv_factor(pet(SeriesTime="103000", AcquisitionTime="170000"))


def test_a_series_without_acquisition_times_is_refused() -> None:
    for time in (None, "", "000000.00"):
        with pytest.raises(SuvError, match="no slice states AcquisitionTime"):
            suv_factor(pet(AcquisitionTime=time))


NIGHT = {"RadiopharmaceuticalStartTime": "220000"}


@pytest.mark.parametrize("date", [None, "", "20240131"])
def test_a_scan_across_midnight_goes_on_the_next_day(date: str | None) -> None:
    """The scan began at 23:50; the slices after midnight do not say that it is another day."""
    series = {"SeriesTime": "235000", "AcquisitionDate": date}
    slices = [pet(NIGHT, AcquisitionTime=time, **series) for time in ("235000", "235500", "000500")]
    assert suv_factor(*slices) == pytest.approx(decayed(6600), rel=1e-12)
    late = {"Manufacturer": "SIEMENS", "ActualFrameDuration": "240000", "FrameReferenceTime": "1019747"}
    assert suv_factor(pet(NIGHT, AcquisitionTime="000500", **series, **late)) == pytest.approx(decayed(6600), rel=1e-12)
    with pytest.raises(SuvError, match="on an unknown day"):
        suv_factor(pet(NIGHT, AcquisitionTime="000500", **series))


@pytest.mark.parametrize("date", [None, "20240131"])
def test_a_series_saved_after_midnight_is_not_dated_to_the_next_evening(date: str | None) -> None:
    saved = {"SeriesTime": "002000", "AcquisitionTime": "233000", "AcquisitionDate": date}
    with pytest.raises(SuvError, match="later than the acquisition at 2024-01-30 23:30:00"):
        suv_factor(pet(NIGHT, **saved))


def test_an_injection_on_one_of_several_days_is_refused() -> None:
    zirconium = {"RadionuclideHalfLife": "282240"}
    with pytest.raises(SuvError, match=r"several days are possible, so RadiopharmaceuticalStartDateTime .0018,1078."):
        suv_factor(pet(zirconium))
    dated = zirconium | {"RadiopharmaceuticalStartDateTime": "20240131100000"}
    assert suv_factor(pet(dated)) == pytest.approx(UNDECAYED * 2 ** (HALF_LIFE / 282240), rel=1e-12)


def test_two_times_of_injection_are_refused() -> None:
    with pytest.raises(SuvError, match=r"is 10:00:00, but RadiopharmaceuticalStartDateTime .* one time of injection"):
        suv_factor(pet({"RadiopharmaceuticalStartDateTime": "20240131103000"}))


def test_decay_factors_that_contradict_a_correction_to_the_injection_are_refused() -> None:
    assert suv_factor(frame(3600, 0, DecayCorrection="ADMIN")) == pytest.approx(UNDECAYED, rel=1e-12)
    with pytest.raises(SuvError, match=r"is ADMIN, but DecayFactor .0054,1321. covers 120 s of decay, not the 3720 s"):
        suv_factor(frame(3600, 3600, DecayCorrection="ADMIN"))


def test_the_ge_scan_time_is_checked_against_the_others() -> None:
    with pytest.raises(SuvError, match="contradict each other"):
        suv_factor(ge(SeriesTime="100500", AcquisitionTime="120000"))
    told = {"ActualFrameDuration": "240000", "Manufacturer": "GE MEDICAL SYSTEMS"}
    right = ge(SeriesTime="150000", AcquisitionTime="120000", FrameReferenceTime="612000", **told)
    assert suv_factor(right) == pytest.approx(2 * UNDECAYED, rel=1e-12)
    with pytest.raises(SuvError, match="contradict each other"):
        suv_factor(ge(SeriesTime="150000", AcquisitionTime="120000", FrameReferenceTime="3000000", **told))
    with pytest.raises(SuvError, match="contradict each other"):
        suv_factor(ge(AcquisitionTime="123000", DecayFactor="1.5", **told))


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


def test_an_injection_with_a_contradicting_or_unknown_utc_offset_is_refused() -> None:
    injection: dict[str, str | None] = {"RadiopharmaceuticalStartDateTime": "20240131080000+0000"}
    with pytest.raises(SuvError, match=r"RadiopharmaceuticalStartTime .* is 10:00:00, but"):
        suv_factor(pet(injection))
    with pytest.raises(SuvError, match="in UTC, and the series states no TimezoneOffsetFromUTC"):
        suv_factor(pet(injection | {"RadiopharmaceuticalStartTime": None}))
    injection["RadiopharmaceuticalStartDateTime"] = "20240131100000+0000"
    assert suv_factor(pet(injection)) == pytest.approx(2 * UNDECAYED, rel=1e-12)


@pytest.mark.parametrize("day", ["00010101", "99991231"])
@pytest.mark.parametrize("acquired", [True, False])
def test_dates_at_the_ends_of_the_calendar_from_anonymisation_are_accepted(day: str, acquired: bool) -> None:
    dataset = pet(SeriesDate=day, AcquisitionDate=day if acquired else None)
    assert suv_factor(dataset) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_times_beyond_the_calendar_are_refused() -> None:
    injection = {"RadiopharmaceuticalStartDateTime": "00010101005900+0100", "RadiopharmaceuticalStartTime": None}
    with pytest.raises(SuvError, match="beyond any that a scan can have"):
        suv_factor(pet(injection, TimezoneOffsetFromUTC="-0100"))


def test_a_post_processed_ge_series_uses_the_private_scan_time() -> None:
    assert suv_factor(ge(SeriesTime="150000", AcquisitionTime="120000")) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_private_values_survive_the_loss_of_creator_and_type() -> None:
    dataset = pet(SeriesTime="150000", AcquisitionTime="120000")
    dataset.add_new((0x0009, 0x100D), "UN", b"20240131114948.00 ")
    assert suv_factor(dataset) == pytest.approx(2 * UNDECAYED, rel=1e-12)


@pytest.mark.parametrize("time", ["114948.000000", "114948.0 ", "11:49:48"])
def test_time_notations_of_dicom_and_its_forerunner(time: str) -> None:
    dataset = pet()
    dataset["SeriesTime"] = DataElement("SeriesTime", "SH", time)
    assert suv_factor(dataset) == pytest.approx(2 * UNDECAYED, rel=1e-9)
