"""Tags of a DICOM PET series as numbers, texts and moments; each complaint names the tag and its number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from TumorSegLib.errors import SuvError

# DICOM TM may leave out minutes and seconds, DT also gives an offset from UTC; ACR-NEMA wrote 2006.01.28 and 11:20:11.
DATE_TIME = re.compile(r"(\d{8})(\d\d)(\d\d)?(\d\d)?(\.\d{1,6})?([+-]\d{4})?")


def tag(keyword: str) -> str:
    """``(gggg,eeee)`` of a keyword of the DICOM dictionary."""
    number = tag_for_keyword(keyword) or 0
    return f"({number >> 16:04x},{number & 0xFFFF:04x})"


def text(dataset: Dataset, name: str) -> str:
    """The value as text without the padding; empty where there is none."""
    value = dataset.get(name)
    return "" if value is None else str(value).strip("\0 ")


def check_present(needed: Iterable[tuple[Dataset, str]]) -> None:
    """Raises SuvError with the names of all tags that are missing or empty."""
    missing = [f"{name} {tag(name)}" for dataset, name in needed if dataset.get(name) in (None, "", [])]
    if missing:
        raise SuvError(f"the PET series cannot be converted to SUV, it lacks {', '.join(dict.fromkeys(missing))}")


def check_same(datasets: Sequence[Dataset], names: Iterable[str]) -> None:
    """Raises SuvError where slices of one series state different values of a tag."""
    for name in names:
        stated = sorted({_plain(one[name].value) for one in datasets if one.get(name) not in (None, "", [])})
        if len(stated) > 1:
            raise SuvError(f"{name} {tag(name)} differs between the slices: {' and '.join(stated[:3])}; one is needed")


def _plain(value: object) -> str:
    """Text that is the same for ``70`` and ``70.0``."""
    try:
        return f"{float(str(value)):.12g}"
    except ValueError:
        return str(value)


def number(dataset: Dataset, name: str, allowed: tuple[float, float], unit: str) -> float:
    """The value as a number; SuvError where it is none or outside the allowed range."""
    try:
        value = float(dataset[name].value)
    except (TypeError, ValueError) as error:
        raise SuvError(f"{name} {tag(name)} is {dataset[name].value!r}; a number in {unit} is needed") from error
    if not allowed[0] <= value <= allowed[1]:
        raise SuvError(f"{name} {tag(name)} is {value:g} {unit}; {allowed[0]:g} to {allowed[1]:g} {unit} is plausible")
    return value


def optional_number(dataset: Dataset, name: str) -> float | None:
    """The value as a number; None where there is none."""
    try:
        return float(text(dataset, name))
    except ValueError:
        return None


def private_text(dataset: Dataset, block: tuple[int, str], element: int) -> str:
    """Text of a private element; the usual block 10 when anonymisation removed the private creator."""
    group, creator = block
    try:
        value = dataset.private_block(group, creator)[element].value
    except KeyError:
        value = dataset[group, 0x1000 + element].value if (group, 0x1000 + element) in dataset else ""
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")).strip("\0 ")


def moment(stamp: str, what: str) -> tuple[datetime, timedelta | None]:
    """A DICOM date and time, and its offset from UTC where it states one.

    Raises:
        SuvError: it is none; or it is midnight to the second, what anonymisation leaves of a time.
    """
    match = DATE_TIME.fullmatch(stamp.replace(":", "").replace(" ", "").replace(".", "", 2 if stamp[4:5] == "." else 0))
    if not match:
        raise SuvError(f"{what}: {stamp!r} is not a DICOM date and time (YYYYMMDD and HHMMSS)")
    date, hour, minute, second, fraction, zone = match.groups()
    try:
        parsed = datetime.strptime(date + hour + (minute or "00") + min(second or "00", "59"), "%Y%m%d%H%M%S")
    except ValueError as error:
        raise SuvError(f"{what}: {stamp!r} is not a valid date and time") from error
    parsed += timedelta(seconds=float(fraction or 0))
    if parsed == datetime(parsed.year, parsed.month, parsed.day):
        raise SuvError(
            f"{what}: {stamp!r} is midnight to the second, as if the time was removed; the true one is needed"
        )
    offset = timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:])) if zone else None
    return parsed, offset


def date_and_time(dataset: Dataset, date: str, time: str) -> datetime:
    """The moment that two tags, a date and a time, state; SuvError as :func:`moment`."""
    return moment(text(dataset, date) + text(dataset, time), f"{date} {tag(date)} and {time} {tag(time)}")[0]
