"""The moment that the decay of a PET series was corrected to, and the half-lives between it and the injection.

DICOM PS3.3 C.8.9 names the series time. A series saved anew has a later one; then the QIBA rule (see
:mod:`TumorSegLib.io.dicom.suv.factor`) goes back from the frames: a frame began at its acquisition time, and at one
moment within it, its mean count-rate time, the activity was its mean over the frame. From there the decay factor, or
the frame reference time, leads to the moment sought. Two accounts that contradict each other are refused, never guessed
between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from TumorSegLib.errors import SuvError
from TumorSegLib.io.dicom.suv.frames import (
    DAY,
    GE,
    LONGEST_SCAN,
    MOST_HALF_LIVES,
    Frame,
    check_days,
    first_to_last,
    frames_with_times,
    is_made_by_ge,
    tolerance,
)
from TumorSegLib.io.dicom.suv.tags import date_and_time, moment, private_text, tag, text

FRAME_TAGS = (
    f"AcquisitionTime {tag('AcquisitionTime')}, ActualFrameDuration {tag('ActualFrameDuration')} and"
    f" FrameReferenceTime {tag('FrameReferenceTime')} or DecayFactor {tag('DecayFactor')}"
)


def corrected_to(slices: Sequence[Dataset], half_life: float) -> tuple[datetime, str]:
    """The moment that DecayCorrection START corrects to, and a sentence where it is not simply the series time.

    Args:
        slices: the tags of the slices of one series.
        half_life: of the radionuclide, s.

    Raises:
        SuvError: tags are missing or contradict each other, so that the moment would have to be guessed.
    """
    series = date_and_time(slices[0], "SeriesDate", "SeriesTime")
    stated = frames_with_times(slices, half_life)
    frames = first_to_last(stated)
    if not frames:
        raise SuvError(
            f"no slice states AcquisitionTime {tag('AcquisitionTime')}; without it SeriesTime {tag('SeriesTime')}"
            " may be the time of a later save"
        )
    scanner = private_text(slices[0], GE, 0x0D)
    if scanner:
        scan = moment(scanner, "GE scan date and time (0009,100d)")[0]
        return _by_scanner(scan, series, frames, slices[0], half_life)
    # GE may give all frames the time of the scan, also where the first ones are left out; with others it shows.
    of_scan = len(frames) < len(stated) or (is_made_by_ge(slices[0]) and len({one.start for one in stated}) == 1)
    if series <= frames[0].start + tolerance(half_life):
        return _by_series(series, frames, slices[0], half_life, of_scan)
    implied = _implied(frames, slices[0], half_life)
    if of_scan and abs(implied - frames[0].start) > tolerance(half_life):
        raise SuvError(
            f"the acquisition time {frames[0].start} can be that of the frame or of the scan, and the series time"
            f" {series} is later; the time of the decay correction is ambiguous"
        )
    return implied, (
        f"the series time {series} is later than the acquisition at {frames[0].start}; the decay was corrected to"
        f" {_words(implied)} by {_source(frames[0])}"
    )


def check_undecayed(slices: Sequence[Dataset], injection: Dataset, half_life: float) -> None:
    """Raises SuvError where decay factors deny that the decay was corrected to the injection (ADMIN)."""
    for one in slices:
        try:
            frame = next(iter(frames_with_times([one], half_life)))
            elapsed = seconds_since(injection, one, frame.mean or frame.start, half_life)
        except (SuvError, StopIteration):
            continue  # without times, which ADMIN does not need, there is nothing to compare
        if frame.decay is not None and abs(elapsed - frame.decay) > tolerance(half_life).total_seconds():
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
        injected = _local(
            stamp, text(dataset, "TimezoneOffsetFromUTC"), text(injection, "RadiopharmaceuticalStartTime")
        )
        _check_same_time(injection, injected, half_life)
        elapsed = (scan - injected).total_seconds()
    else:
        named = f"RadiopharmaceuticalStartTime {tag('RadiopharmaceuticalStartTime')}"
        injected = moment(_day(scan) + text(injection, "RadiopharmaceuticalStartTime"), named)[0]
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


def _by_scanner(
    stated: datetime, series: datetime, frames: list[Frame], dataset: Dataset, half_life: float
) -> tuple[datetime, str]:
    """The scan time in a private tag of GE scanners, unless the other tags contradict it."""
    allowed = tolerance(half_life)
    first = frames[0]
    accounts = _accounts(first, dataset)
    same = abs(stated - series) <= allowed
    if any(abs(account - stated) <= allowed for account in accounts):
        agreed = True
    elif same:
        agreed = first.decay is None or abs(first.start - series) <= allowed
    else:
        agreed = not accounts and first.start + allowed < series
    if not agreed:
        raise SuvError(
            f"the GE scan date and time (0009,100d) {stated}, the series time {series} and the acquisition at"
            f" {first.start} contradict each other; the time of the decay correction is ambiguous"
        )
    return stated, "" if same else f"the decay was corrected to {stated}, the scan date and time of GE (0009,100d)"


def _by_series(
    series: datetime, frames: list[Frame], dataset: Dataset, half_life: float, of_scan: bool
) -> tuple[datetime, str]:
    """The series time, unless the first frame denies that it is the moment sought.

    Where the acquisition time is one ``of_scan``, and not of the frame, a later frame can say nothing against it.
    """
    allowed = tolerance(half_life)
    first = frames[0]
    accounts = _accounts(first, dataset)
    if any(abs(account - series) <= allowed for account in accounts):
        _check_later_frames(series, frames, allowed)
        return series, ""
    sure = first.day != "beside" and first.start - series <= LONGEST_SCAN
    if not accounts and sure:
        return series, ""
    if sure and of_scan and abs(first.start - series) <= allowed:
        return series, ""
    raise SuvError(
        f"the series time {series} and the acquisition at {first.start} do not determine the time that the decay was"
        f" corrected to: {_claim(accounts, first)}"
    )


def _check_later_frames(series: datetime, frames: list[Frame], allowed: timedelta) -> None:
    """Raises where a later frame has a decay factor that does not reach back to the series time."""
    if len({frame.start for frame in frames}) == 1:
        return
    for frame in frames:
        if frame.decay is not None and frame.mean is not None:
            back = frame.mean - timedelta(seconds=frame.decay)
            if abs(back - series) > allowed:
                raise SuvError(
                    f"DecayFactor {tag('DecayFactor')} of the frame at {frame.start} corrects to {_words(back)}, that"
                    f" of others to the series time {series}; the series has no common moment"
                )


def _claim(accounts: list[datetime], first: Frame) -> str:
    if not accounts:
        return f"they lie far apart, or on an unknown day, and {FRAME_TAGS} do not resolve it"
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
    if frame.reference is None or (frame.reference <= 0 and not is_made_by_ge(dataset)):
        return []
    offset = timedelta(seconds=frame.reference)
    by_start = [frame.start - offset]
    by_mean = [] if frame.mean is None else [frame.mean - offset]
    return by_start + by_mean if is_made_by_ge(dataset) else by_mean + by_start


def _implied(frames: list[Frame], dataset: Dataset, half_life: float) -> datetime:
    """The one moment that all frames lead back to.

    Raises:
        SuvError: they do not say, or lead to different ones.
    """
    check_days(frames, half_life)
    moments = [_exact(frame, dataset, half_life) for frame in frames]
    if max(moments) - min(moments) > tolerance(half_life):
        raise SuvError(
            f"the frames lead back to different moments, {_words(min(moments))} to {_words(max(moments))}, by"
            f" {FRAME_TAGS}; the time of the decay correction is ambiguous"
        )
    return moments[0]


def _exact(frame: Frame, dataset: Dataset, half_life: float) -> datetime:
    """The moment by the frame reference time, with the meaning that follows from decay factor or manufacturer."""
    made_by_ge = is_made_by_ge(dataset)
    if frame.mean is None or not _accounts(frame, dataset):
        raise SuvError(
            f"SeriesTime {tag('SeriesTime')} is later than the acquisition at {frame.start}, as in a series that was"
            f" saved again; {FRAME_TAGS} are needed to determine the time of the decay correction"
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
    if abs(nearest - by_factor) > tolerance(half_life):
        raise SuvError(
            f"DecayFactor {tag('DecayFactor')} leads back to {_words(by_factor)}, FrameReferenceTime"
            f" {tag('FrameReferenceTime')} to {_words(nearest)}; the time of the decay correction is ambiguous"
        )
    return nearest


def _words(when: datetime) -> str:
    """To the nearest second."""
    return f"{when + timedelta(seconds=0.5):%Y-%m-%d %H:%M:%S}"


def _day(when: datetime) -> str:
    """YYYYMMDD; ``%Y`` would drop the zeros of the year 0001, which anonymisation leaves."""
    return f"{when.year:04d}{when:%m%d}"


def _check_same_time(injection: Dataset, injected: datetime, half_life: float) -> None:
    """Raises where the time of day beside the full moment of the injection is another one."""
    time = text(injection, "RadiopharmaceuticalStartTime")
    if not time:
        return
    named = f"RadiopharmaceuticalStartTime {tag('RadiopharmaceuticalStartTime')}"
    other = moment(_day(injected) + time, named)[0]
    if abs(other - injected) > tolerance(half_life):
        raise SuvError(
            f"{named} is {other:%H:%M:%S}, but RadiopharmaceuticalStartDateTime"
            f" {tag('RadiopharmaceuticalStartDateTime')} is {injected}; one time of injection is needed"
        )


def _local(stamp: str, series_zone: str, time_of_day: str) -> datetime:
    """The injection in the local time of the series, whose dates and times carry no offset of their own.

    Where the series does not state its offset it is that of the injection, but UTC only if the time of day confirms it.
    """
    named = f"RadiopharmaceuticalStartDateTime {tag('RadiopharmaceuticalStartDateTime')}"
    injected, offset = moment(stamp, named)
    if offset is None:
        return injected
    if not series_zone:
        if not offset and not time_of_day:
            raise SuvError(
                f"{named} is {stamp}, in UTC, and the series states no TimezoneOffsetFromUTC"
                f" {tag('TimezoneOffsetFromUTC')}; so the local time of the injection is unknown"
            )
        return injected
    zone = moment(f"2000010101{series_zone}", f"TimezoneOffsetFromUTC {tag('TimezoneOffsetFromUTC')}")[1]
    return injected - offset + (zone or timedelta(0))
