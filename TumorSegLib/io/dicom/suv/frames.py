"""The frames of a PET series in time: when each slice was acquired, and where that leads back to.

A frame began at its acquisition time, and at one moment within it, its mean count-rate time, the activity was its mean
over the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from TumorSegLib.errors import SuvError
from TumorSegLib.io.dicom.suv.tags import date_and_time, optional_number, private_text, tag, text

# After ten half-lives a thousandth of the dose is left: then the two clocks or dates do not belong together.
MOST_HALF_LIVES = 10.0
# Two accounts of a moment agree when the SUV they lead to differ by at most this; times are rounded to seconds, too.
AGREEMENT = 0.01
AGREEMENT_SECONDS = 2.0
# A scan lasts shorter than this; of times of day further apart, one belongs to another day.
LONGEST_SCAN = timedelta(hours=6)
DAY = timedelta(days=1)
GE = (0x0009, "GEMS_PETD_01")


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


def frames_with_times(slices: Sequence[Dataset], half_life: float) -> list[Frame]:
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
        for step in (DAY, -DAY):
            if abs(start - series + step) <= LONGEST_SCAN:
                return start + step, "beside"
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


def uncorrected(slices: Sequence[Dataset], half_life: float) -> list[Frame]:
    """The frames of slices not corrected for decay, each with its mean count-rate time.

    Raises:
        SuvError: a frame lacks its times or has a decay factor; all have the time of the scan instead of their own.
    """
    frames = frames_with_times(slices, half_life)
    if len(frames) < len(slices):
        raise SuvError(f"AcquisitionTime {tag('AcquisitionTime')} is midnight in a slice, as if the time was removed")
    for one, frame in zip(slices, frames):
        if frame.decay is not None or frame.mean is None:
            raise SuvError(
                f"DecayCorrection {tag('DecayCorrection')} is NONE, but DecayFactor {tag('DecayFactor')} is"
                f" {text(one, 'DecayFactor')} and ActualFrameDuration {tag('ActualFrameDuration')}"
                f" {text(one, 'ActualFrameDuration')} ms; a factor of 1 and a positive duration are needed"
            )
    check_days(frames, half_life)
    offsets = [(frame.start, frame.reference) for frame in frames if frame.reference is not None]
    if is_made_by_ge(slices[0]) and len({frame.start for frame in frames}) == 1 and len(offsets) < len(frames) > 1:
        raise SuvError(
            f"AcquisitionTime {tag('AcquisitionTime')} is {frames[0].start} in all slices; with GE it can be that of"
            f" the scan, and FrameReferenceTime {tag('FrameReferenceTime')} is needed to decide"
        )
    if len({reference for _, reference in offsets}) > 1:
        scans = [start - timedelta(seconds=reference) for start, reference in offsets]
        if max(scans) - min(scans) > tolerance(half_life):
            raise SuvError(
                f"AcquisitionTime {tag('AcquisitionTime')} and FrameReferenceTime {tag('FrameReferenceTime')} place the"
                " frames differently; the times of the frames are ambiguous"
            )
    return frames


def is_made_by_ge(dataset: Dataset) -> bool:
    """Whether a scanner of GE made a slice, which may give all frames the acquisition time of the scan."""
    return text(dataset, "Manufacturer").upper().startswith("GE") or bool(private_text(dataset, GE, 0x0D))


def first_to_last(frames: list[Frame]) -> list[Frame]:
    """The frames by their start. Where all state the start of the scan, only those count that did begin with it."""
    ordered = sorted(frames, key=lambda frame: frame.start)
    if len({frame.start for frame in ordered}) == 1:
        offsets = [frame.decay if frame.decay is not None else frame.reference or 0.0 for frame in ordered]
        return [frame for frame, offset in zip(ordered, offsets) if offset < min(offsets) + AGREEMENT_SECONDS]
    return ordered


def tolerance(half_life: float) -> timedelta:
    """How far apart two accounts of one moment may lie."""
    return timedelta(seconds=max(AGREEMENT_SECONDS, half_life * math.log2(1 + AGREEMENT)))


def check_days(frames: list[Frame], half_life: float) -> None:
    """Raises where an acquisition may lie on several days that differ in the decay."""
    if any(frame.day != "stated" for frame in frames) and MOST_HALF_LIVES * half_life > DAY.total_seconds():
        raise SuvError(
            f"AcquisitionDate {tag('AcquisitionDate')} is missing or doubtful; with a half-life of {half_life:g} s the"
            " day of the acquisition matters"
        )
