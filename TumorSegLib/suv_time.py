"""The moment that the decay of a PET series was corrected to, and the half-lives between it and the injection.

DICOM PS3.3 C.8.9 names the series time. A series saved anew has a later one; then the QIBA rule (see
:mod:`TumorSegLib.suv`) goes back from the frames: a frame began at its acquisition time, and at one moment within it,
its mean count-rate time, the activity was its mean over the frame. From there the decay factor, or the frame reference
time, leads to the moment sought. Two accounts that contradict each other are refused, never guessed between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from TumorSegLib.errors import SuvError
from TumorSegLib.suv_tags import date_and_time, moment, optional_number, private_text, tag, text

# After ten half-lives a thousandth of the dose is left: then the two clocks or dates do not belong together.
MOST_HALF_LIVES = 10.0
# Two accounts of a moment agree when the SUV they lead to differ by at most this; times are rounded to seconds, too.
AGREEMENT = 0.01
AGREEMENT_SECONDS = 2.0
# A scan lasts shorter than this; of times of day further apart, one belongs to another day.
LONGEST_SCAN = timedelta(hours=6)
DAY = timedelta(days=1)
GE = (0x0009, "GEMS_PETD_01")
FRAME_TAGS = (
    f"AcquisitionTime {tag('AcquisitionTime')}, ActualFrameDuration {tag('ActualFrameDuration')} and"
    f" FrameReferenceTime {tag('FrameReferenceTime')} or DecayFactor {tag('DecayFactor')}"
)


@dataclass(frozen=True)
class Frame:
    """One slice in time.

    Attributes:
        start: when its frame began, if the clock of the slice says so.
        mean: its mean count-rate time; None without a frame duration.
        decay: seconds from the moment of correction to ``mean``, by the decay factor; None where that is 1 or missing.
        reference: the frame reference time in seconds; None where it is missing.
        day: whether its day is ``stated``, or taken to be that of the ``series`` or one ``beside`` it.
    """

    start: datetime
    mean: datetime | None
    decay: float | None
    reference: float | None
    day: str = "stated"


def mean_count_rate_seconds(duration: float, half_life: float) -> float:
    """Seconds into a frame at which the activity equals the mean over the frame (QIBA SUV pseudo-code).

    Args:
        duration: of the frame, s.
        half_life: of the radionuclide, s.
    """
    decays = math.log(2) * duration / half_life
    return half_life / math.log(2) * math.log(decays / -math.expm1(-decays)) if decays > 0 else 0.0


def corrected_to(slices: Sequence[Dataset], half_life: float) -> tuple[datetime, str]:
    """The moment that DecayCorrection START corrects to, and a sentence where it is not simply the series time.

    Args:
        slices: the tags of the slices of one series.
        half_life: of the radionuclide, s.

    Raises:
        SuvError: tags are missing or contradict each other, so that the moment would have to be guessed.
    """
    series = date_and_time(slices[0], "SeriesDate", "SeriesTime")
    stated = acquired(slices, half_life)
    frames = _first_to_last(stated)
    if not frames:
        raise SuvError(
            f"no slice states AcquisitionTime {tag('AcquisitionTime')}; without it SeriesTime {tag('SeriesTime')}"
            " may be that of a later saving"
        )
    scanner = private_text(slices[0], GE, 0x0D)
    if scanner:
        scan = moment(scanner, "GE scan date and time (0009,100d)")[0]
        return _by_scanner(scan, series, frames, slices[0], half_life)
    if series <= frames[0].start + _tolerance(half_life):
        # GE may give all frames the time of the series, also where the first ones are left out; so do others, it shows.
        of_series = len(frames) < len(stated) or _is_made_by_ge(slices[0])
        return _by_series(series, frames, slices[0], half_life, of_series)
    implied = _implied(frames, slices[0], half_life)
    return implied, (
        f"the series time {series} is later than the acquisition at {frames[0].start}; the decay was corrected to"
        f" {_words(implied)} by {_source(frames[0])}"
    )


def check_undecayed(slices: Sequence[Dataset], injection: Dataset, half_life: float) -> None:
    """Raises SuvError where decay factors deny that the decay was corrected to the injection (ADMIN)."""
    for one in slices:
        try:
            frame = next(iter(acquired([one], half_life)))
            elapsed = seconds_since(injection, one, frame.mean or frame.start, half_life)
        except (SuvError, StopIteration):
            continue  # without times, which ADMIN does not need, there is nothing to compare
        if frame.decay is not None and abs(elapsed - frame.decay) > _tolerance(half_life).total_seconds():
            raise SuvError(
                f"DecayCorrection {tag('DecayCorrection')} is ADMIN, but DecayFactor {tag('DecayFactor')} covers"
                f" {frame.decay:.0f} s of decay, not the {elapsed:.0f} s between the injection and the acquisition"
            )


def seconds_since(injection: Dataset, dataset: Dataset, scan: datetime, half_life: float) -> float:
    """Seconds from the injection to a moment of the scan.

    Where only the time of day of the injection is known, its day is the one that leaves a plausible decay.

    Args:
        injection: the item of RadiopharmaceuticalInformationSequence.
        dataset: tags of a slice, for its offset from UTC.
        scan: the moment, in the local time of the series.
        half_life: of the radionuclide, s.

    Raises:
        SuvError: the injection is later, implausibly early, on one of several possible days, or has two times.
    """
    longest = MOST_HALF_LIVES * half_life
    stamp = text(injection, "RadiopharmaceuticalStartDateTime")
    if stamp:
        injected = _local(stamp, text(dataset, "TimezoneOffsetFromUTC"))
        _check_same_time(injection, injected, half_life, zoned=stamp[-5:-4] in ("+", "-"))
        elapsed = (scan - injected).total_seconds()
    else:
        named = f"RadiopharmaceuticalStartTime {tag('RadiopharmaceuticalStartTime')}"
        injected = moment(f"{scan:%Y%m%d}{text(injection, 'RadiopharmaceuticalStartTime')}", named)[0]
        elapsed = (scan - injected).total_seconds() % DAY.total_seconds()
        if elapsed + DAY.total_seconds() <= longest:
            raise SuvError(
                f"{named} is a time of day; with a half-life of {half_life:g} s several days are possible, so"
                f" RadiopharmaceuticalStartDateTime {tag('RadiopharmaceuticalStartDateTime')} is needed"
            )
        injected = scan - timedelta(seconds=elapsed)
    if not 0 <= elapsed <= longest:
        raise SuvError(
            f"the injection at {injected} and the scan at {scan} are {elapsed:.0f} s apart;"
            f" 0 to {MOST_HALF_LIVES:g} half-lives of {half_life:g} s were expected"
        )
    return elapsed


def acquired(slices: Sequence[Dataset], half_life: float) -> list[Frame]:
    """The frame of each slice that states when it was acquired, in the order given.

    The day of an acquisition that states none, or that of the series, is the one beside the series time: a scan across
    midnight goes on the next day.
    """
    return [
        _frame(one, *_start(one), half_life)
        for one in slices
        if text(one, "AcquisitionTime").strip("0:.")  # zeros are what anonymisation leaves
    ]


def _start(dataset: Dataset) -> tuple[datetime, str]:
    """The start of a frame, and where its day comes from."""
    date = text(dataset, "AcquisitionDate")
    day = "stated" if date else "series"
    start = date_and_time(dataset, "AcquisitionDate" if date else "SeriesDate", "AcquisitionTime")
    if date in ("", text(dataset, "SeriesDate")):
        series = date_and_time(dataset, "SeriesDate", "SeriesTime")
        for beside in (start + DAY, start - DAY):
            if abs(beside - series) <= LONGEST_SCAN:
                return beside, "beside"
    return start, day


def _frame(dataset: Dataset, start: datetime, day: str, half_life: float) -> Frame:
    milliseconds = optional_number(dataset, "ActualFrameDuration")
    reference = optional_number(dataset, "FrameReferenceTime")
    factor = optional_number(dataset, "DecayFactor") or 1.0
    mean = None
    if milliseconds is not None and milliseconds > 0:
        mean = start + timedelta(seconds=mean_count_rate_seconds(milliseconds / 1000, half_life))
    return Frame(
        start,
        mean,
        half_life * math.log2(factor) if factor > 1 else None,
        None if reference is None else reference / 1000,
        day,
    )


def _first_to_last(frames: list[Frame]) -> list[Frame]:
    """Frames by their start. Where all state the start of the scan, only those count that did begin with it."""
    ordered = sorted(frames, key=lambda frame: frame.start)
    if len({frame.start for frame in ordered}) == 1:
        offsets = [frame.decay if frame.decay is not None else frame.reference or 0.0 for frame in ordered]
        return [frame for frame, offset in zip(ordered, offsets) if offset < min(offsets) + AGREEMENT_SECONDS]
    return ordered


def _tolerance(half_life: float) -> timedelta:
    return timedelta(seconds=max(AGREEMENT_SECONDS, half_life * math.log2(1 + AGREEMENT)))


def _by_scanner(
    stated: datetime, series: datetime, frames: list[Frame], dataset: Dataset, half_life: float
) -> tuple[datetime, str]:
    """The scan time that a GE scanner keeps privately, unless the other accounts speak against it."""
    tolerance = _tolerance(half_life)
    first = frames[0]
    accounts = _accounts(first, dataset)
    same = abs(stated - series) <= tolerance
    if any(abs(account - stated) <= tolerance for account in accounts):
        agreed = True
    elif same:
        agreed = first.decay is None or abs(first.start - series) <= tolerance
    else:
        agreed = not accounts and first.start + tolerance < series
    if not agreed:
        raise SuvError(
            f"the GE scan date and time (0009,100d) {stated}, the series time {series} and the acquisition at"
            f" {first.start} contradict each other; which one the decay was corrected to cannot be told"
        )
    return stated, "" if same else f"the decay was corrected to {stated}, the scan date and time of GE (0009,100d)"


def _by_series(
    series: datetime, frames: list[Frame], dataset: Dataset, half_life: float, of_series: bool
) -> tuple[datetime, str]:
    """The series time, unless the first frame denies that it is the moment sought.

    Where the acquisition time is one ``of_series``, and not of the frame, a later frame can say nothing against it.
    """
    tolerance = _tolerance(half_life)
    first = frames[0]
    accounts = _accounts(first, dataset)
    if any(abs(account - series) <= tolerance for account in accounts):
        _check_later_frames(series, frames, tolerance)
        return series, ""
    sure = first.day != "beside" and first.start - series <= LONGEST_SCAN
    if not accounts and sure:
        return series, ""
    if sure and of_series and abs(first.start - series) <= tolerance:
        return series, ""
    raise SuvError(
        f"the series time {series} and the acquisition at {first.start} do not tell the moment that the decay was"
        f" corrected to: {_claim(accounts, first)}"
    )


def _check_later_frames(series: datetime, frames: list[Frame], tolerance: timedelta) -> None:
    """Raises where a later frame has a decay factor that does not reach back to the series time."""
    if len({frame.start for frame in frames}) == 1:
        return
    for frame in frames:
        if frame.decay is not None and frame.mean is not None:
            back = frame.mean - timedelta(seconds=frame.decay)
            if abs(back - series) > tolerance:
                raise SuvError(
                    f"DecayFactor {tag('DecayFactor')} of the frame at {frame.start} corrects to {_words(back)}, that of"
                    f" others to the series time {series}; the series has no common moment"
                )


def _claim(accounts: list[datetime], first: Frame) -> str:
    if not accounts:
        return f"they lie far apart, or on an unknown day, and {FRAME_TAGS} do not settle it"
    return f"by {_source(first)} it would be {_words(accounts[0])}"


def _source(frame: Frame) -> str:
    if frame.decay is not None:
        return f"DecayFactor {tag('DecayFactor')}"
    return f"FrameReferenceTime {tag('FrameReferenceTime')}"


def _accounts(frame: Frame, dataset: Dataset) -> list[datetime]:
    """Moments of correction that one frame can mean; none where it does not say.

    The decay factor has one meaning. The frame reference time belongs to the mean count-rate time (PS3.3 C.8.9.4), with
    GE to the start of the frame.
    """
    if frame.decay is not None:
        return [(frame.mean or frame.start) - timedelta(seconds=frame.decay)]
    if frame.reference is None or (frame.reference <= 0 and not _is_made_by_ge(dataset)):
        return []
    offset = timedelta(seconds=frame.reference)
    by_start = [frame.start - offset]
    by_mean = [] if frame.mean is None else [frame.mean - offset]
    return by_start + by_mean if _is_made_by_ge(dataset) else by_mean + by_start


def _implied(frames: list[Frame], dataset: Dataset, half_life: float) -> datetime:
    """The one moment that all frames lead back to.

    Raises:
        SuvError: they do not say, or lead to different ones.
    """
    if frames[0].day == "series" and MOST_HALF_LIVES * half_life > DAY.total_seconds():
        raise SuvError(
            f"AcquisitionDate {tag('AcquisitionDate')} is missing; with a half-life of {half_life:g} s the day of the"
            " acquisition matters"
        )
    moments = [_exact(frame, dataset, half_life) for frame in frames]
    if max(moments) - min(moments) > _tolerance(half_life):
        raise SuvError(
            f"the frames lead back to different moments, {_words(min(moments))} to {_words(max(moments))}, by {FRAME_TAGS}; which one"
            " the decay was corrected to cannot be told"
        )
    return moments[0]


def _exact(frame: Frame, dataset: Dataset, half_life: float) -> datetime:
    """The moment by the frame reference time, in the sense that the decay factor or the manufacturer tells."""
    made_by_ge = _is_made_by_ge(dataset)
    if frame.mean is None or not _accounts(frame, dataset):
        raise SuvError(
            f"SeriesTime {tag('SeriesTime')} is later than the acquisition at {frame.start}, as in a series saved anew;"
            f" {FRAME_TAGS} are needed to tell the moment that the decay was corrected to"
        )
    if frame.decay is None:
        if not text(dataset, "Manufacturer"):
            raise SuvError(
                f"FrameReferenceTime {tag('FrameReferenceTime')} has another meaning for GE than for others, and the"
                f" series states neither Manufacturer {tag('Manufacturer')} nor DecayFactor {tag('DecayFactor')}"
            )
        return _accounts(frame, dataset)[0]
    by_factor = frame.mean - timedelta(seconds=frame.decay)
    by_reference = _accounts(replace(frame, decay=None), dataset)
    if not by_reference or (frame.reference == 0 and made_by_ge):
        return by_factor
    nearest = min(by_reference, key=lambda account: abs(account - by_factor))
    if abs(nearest - by_factor) > _tolerance(half_life):
        raise SuvError(
            f"DecayFactor {tag('DecayFactor')} leads back to {_words(by_factor)}, FrameReferenceTime"
            f" {tag('FrameReferenceTime')} to {_words(nearest)}; which one the decay was corrected to cannot be told"
        )
    return nearest


def _words(when: datetime) -> str:
    """To the nearest second."""
    return f"{when + timedelta(seconds=0.5):%Y-%m-%d %H:%M:%S}"


def _is_made_by_ge(dataset: Dataset) -> bool:
    return text(dataset, "Manufacturer").upper().startswith("GE") or bool(private_text(dataset, GE, 0x0D))


def _check_same_time(injection: Dataset, injected: datetime, half_life: float, zoned: bool) -> None:
    """Raises where the time of day beside the full moment of the injection is another one."""
    time = text(injection, "RadiopharmaceuticalStartTime")
    if not time or zoned:
        return
    named = f"RadiopharmaceuticalStartTime {tag('RadiopharmaceuticalStartTime')}"
    other = moment(f"{injected:%Y%m%d}{time}", named)[0]
    if abs(other - injected) > _tolerance(half_life):
        raise SuvError(
            f"{named} is {other:%H:%M:%S}, but RadiopharmaceuticalStartDateTime"
            f" {tag('RadiopharmaceuticalStartDateTime')} is {injected}; one time of injection is needed"
        )


def _local(stamp: str, series_zone: str) -> datetime:
    """The injection in the local time of the series, whose dates and times carry no offset of their own."""
    injected, offset = moment(stamp, f"RadiopharmaceuticalStartDateTime {tag('RadiopharmaceuticalStartDateTime')}")
    if offset is None or not series_zone:
        return injected
    zone = moment(f"2000010101{series_zone}", f"TimezoneOffsetFromUTC {tag('TimezoneOffsetFromUTC')}")[1]
    return injected - offset + (zone or timedelta(0))
