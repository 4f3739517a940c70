"""Standardised uptake values (SUV, body weight) from the tags of a DICOM PET series; whether an image can be in SUV.

The rule is the vendor-neutral one of the RSNA Quantitative Imaging Biomarkers Alliance: QIBA Profile "FDG-PET/CT as an
imaging biomarker measuring response to cancer therapy" (2013), with the pseudo-code of
https://qibawiki.rsna.org/index.php/Standardized_Uptake_Value_(SUV). Tags are those of DICOM PS3.3 C.8.9 (PET modules).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from TumorSegLib.errors import SuvError

# Outside these ranges a value is in a wrong unit (g for kg, MBq for Bq) rather than true.
WEIGHT_KG = (0.01, 500.0)
DOSE_BQ = (1e5, 1e11)
HALF_LIFE_SECONDS = (10.0, 1e7)
# After ten half-lives a thousandth of the dose is left: then the two clocks or dates do not belong together.
MOST_HALF_LIVES = 10.0
# Bladder and brain reach 30 and noise 100 in single voxels; tissue holds thousands of Bq/ml an hour after injection.
LARGEST_SUV = 100.0
LARGEST_SUV_PERCENTILE = 99.9
# More voxels than these are thinned out: a percentile of 400^3 voxels takes seconds.
PLAUSIBILITY_VOXELS = 1e6
# DICOM TM may leave out minutes and seconds, DT also gives an offset from UTC; ACR-NEMA wrote 2006.01.28 and 11:20:11.
DATE_TIME = re.compile(r"(\d{8})(\d\d)(\d\d)?(\d\d)?(\.\d{1,6})?([+-]\d{4})?")
PHILIPS = (0x7053, "Philips PET Private Group")
GE = (0x0009, "GEMS_PETD_01")


def suv_factor(*slices: Dataset) -> float:
    """The factor that turns the rescaled pixel values of a PET series into SUV (body weight, g/ml).

    Args:
        slices: the tags of the slices of one series; pixels are not needed. One slice is enough, unless the series was
            post-processed (SeriesTime later than AcquisitionTime): then the earliest AcquisitionTime of all slices
            is the time that the decay was corrected to.

    Returns:
        1 for Units GML; the Philips SUV factor (7053,1000) for CNTS; otherwise body weight in g over the injected dose
        in Bq, decayed to the time that the image was corrected to.

    Raises:
        SuvError: tags are missing (all are named), contradictory or implausible; the SUV is not that of body weight;
            the image is not corrected for decay and attenuation.
    """
    if not slices:
        raise SuvError("SUV needs the tags of at least one PET slice, none was given")
    units = str(slices[0].get("Units") or "").upper()
    if units == "GML":
        return _already_suv(slices[0])
    if units == "BQML":
        return _per_becquerel(slices)
    if units == "CNTS":
        return _per_count(slices)
    _check_present([(slices[0], "Units")])
    raise SuvError(f"Units {_tag('Units')} is {units}; only BQML, GML and (Philips) CNTS can be converted to SUV")


def check_suv(array: npt.NDArray[Any]) -> None:
    """Checks that a PET image from a file that states no unit can be in SUV: in Bq/ml its values are far too large.

    Args:
        array: real ``[k, j, i]``; of large images only every n-th voxel along each axis is looked at.

    Raises:
        SuvError: the 99.9th percentile is above 100.
    """
    step = max(1, round((array.size / PLAUSIBILITY_VOXELS) ** (1 / 3)))
    value = float(np.percentile(array[::step, ::step, ::step], LARGEST_SUV_PERCENTILE))
    if value > LARGEST_SUV:
        raise SuvError(
            f"PET must be in SUV (g/ml), but the {LARGEST_SUV_PERCENTILE:g}th percentile of the voxels is {value:.4g},"
            f" more than {LARGEST_SUV:g}: probably Bq/ml; convert it, or read the DICOM series"
        )


def _already_suv(dataset: Dataset) -> float:
    kind = str(dataset.get("SUVType") or "BW").upper()  # absent means body weight (PS3.3 C.8.9.1.1.3)
    if kind != "BW":
        raise SuvError(f"SUVType {_tag('SUVType')} is {kind}; only BW (body weight) is supported")
    return 1.0


def _per_count(slices: tuple[Dataset, ...]) -> float:
    """Philips stores counts, with a private factor either to SUV or to Bq/ml."""
    try:
        to_suv, to_becquerel = (float(_private(slices[0], PHILIPS, element) or 0) for element in (0x00, 0x09))
    except ValueError as error:
        raise SuvError(f"the Philips factors (7053,1000) and (7053,1009) must be numbers: {error}") from error
    if to_suv > 0:
        _check_corrections(slices[0])
        return to_suv
    if to_becquerel > 0:
        return to_becquerel * _per_becquerel(slices)
    raise SuvError("Units is CNTS, but the Philips factors (7053,1000) and (7053,1009) are both missing or zero")


def _per_becquerel(slices: tuple[Dataset, ...]) -> float:
    dataset = slices[0]
    injection = _injection(dataset)
    decays = str(dataset.get("DecayCorrection") or "").upper() == "START"
    needed = [(dataset, name) for name in ("PatientWeight", "DecayCorrection", "CorrectedImage")]
    needed.append((injection, "RadionuclideTotalDose"))
    if decays:
        needed += [(injection, "RadionuclideHalfLife"), (dataset, "SeriesDate"), (dataset, "SeriesTime")]
        if not injection.get("RadiopharmaceuticalStartDateTime"):
            needed.append((injection, "RadiopharmaceuticalStartTime"))
    _check_present(needed)
    _check_corrections(dataset)
    weight = _number(dataset, "PatientWeight", WEIGHT_KG, "kg")
    dose = _number(injection, "RadionuclideTotalDose", DOSE_BQ, "Bq")
    if decays:
        half_life = _number(injection, "RadionuclideHalfLife", HALF_LIFE_SECONDS, "s")
        dose *= 2.0 ** -_half_lives(slices, injection, half_life)
    return weight * 1000.0 / dose


def _injection(dataset: Dataset) -> Dataset:
    _check_present([(dataset, "RadiopharmaceuticalInformationSequence")])
    items = dataset.RadiopharmaceuticalInformationSequence
    if len(items) != 1:
        raise SuvError(f"the PET series lists {len(items)} injections; the SUV needs exactly one")
    return items[0]


def _check_corrections(dataset: Dataset) -> None:
    _check_present([(dataset, "DecayCorrection"), (dataset, "CorrectedImage")])
    correction = str(dataset.DecayCorrection).upper()
    if correction not in ("START", "ADMIN"):
        raise SuvError(f"DecayCorrection {_tag('DecayCorrection')} is {correction}; START or ADMIN is needed")
    value = dataset.CorrectedImage
    corrected = {value} if isinstance(value, str) else set(value)
    lacking = {"ATTN": "attenuation", "DECY": "decay"}.keys() - corrected
    if lacking:
        raise SuvError(
            f"CorrectedImage {_tag('CorrectedImage')} lists {', '.join(sorted(corrected))} without"
            f" {' and '.join(sorted(lacking))}; SUV needs the series corrected for attenuation and decay"
        )


def _scan_start(slices: tuple[Dataset, ...]) -> datetime:
    """The time that DecayCorrection START corrects to (QIBA pseudo-code).

    It is the series time, unless that is later than the acquisition: then the series was written afterwards, and GE
    keeps the true start in a private tag; for others it is the earliest acquisition.
    """
    series = _date_time(slices[0], "SeriesDate", "SeriesTime")
    acquired = [
        _date_time(one, "AcquisitionDate" if one.get("AcquisitionDate") else "SeriesDate", "AcquisitionTime")
        for one in slices
        if one.get("AcquisitionTime")
    ]
    if not acquired or series <= min(acquired):
        return series
    private = _private(slices[0], GE, 0x0D)
    return _parse(private, "GE scan date and time (0009,100d)")[0] if private else min(acquired)


def _half_lives(slices: tuple[Dataset, ...], injection: Dataset, half_life: float) -> float:
    """Half-lives from the injection to the start of the scan."""
    scan = _scan_start(slices)
    stamp = str(injection.get("RadiopharmaceuticalStartDateTime") or "")
    if stamp:
        injected = _local(stamp, str(slices[0].get("TimezoneOffsetFromUTC") or ""))
    else:
        time = f"RadiopharmaceuticalStartTime {_tag('RadiopharmaceuticalStartTime')}"
        injected, _ = _parse(f"{scan:%Y%m%d}{injection.RadiopharmaceuticalStartTime}", time)
        if injected > scan:  # only the time of day is known: the injection was before midnight
            injected -= timedelta(days=1)
    elapsed = (scan - injected).total_seconds()
    if not 0 <= elapsed <= MOST_HALF_LIVES * half_life:
        raise SuvError(
            f"the injection at {injected} and the scan at {scan} are {elapsed:.0f} s apart;"
            f" 0 to {MOST_HALF_LIVES:g} half-lives of {half_life:g} s were expected"
        )
    return elapsed / half_life


def _local(stamp: str, series_zone: str) -> datetime:
    """The injection in the local time of the series, whose dates and times carry no offset of their own."""
    injected, offset = _parse(stamp, f"RadiopharmaceuticalStartDateTime {_tag('RadiopharmaceuticalStartDateTime')}")
    if offset is None or not series_zone:
        return injected
    zone = _parse(f"2000010100{series_zone}", f"TimezoneOffsetFromUTC {_tag('TimezoneOffsetFromUTC')}")[1]
    return injected - offset + (zone or timedelta(0))


def _date_time(dataset: Dataset, date: str, time: str) -> datetime:
    return _parse(f"{dataset[date].value}{dataset[time].value}", f"{date} {_tag(date)} and {time} {_tag(time)}")[0]


def _parse(text: str, what: str) -> tuple[datetime, timedelta | None]:
    """A DICOM date and time, and its offset from UTC where it states one."""
    match = DATE_TIME.fullmatch(text.replace(":", "").replace(" ", "").replace(".", "", 2 if text[4:5] == "." else 0))
    if not match:
        raise SuvError(f"{what}: {text!r} is no DICOM date and time (YYYYMMDD and HHMMSS)")
    date, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime.strptime(date + hour + (minute or "00") + min(second or "00", "59"), "%Y%m%d%H%M%S")
    except ValueError as error:
        raise SuvError(f"{what}: {text!r} is no valid date and time") from error
    offset = timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:])) if zone else None
    return moment + timedelta(seconds=float(fraction or 0)), offset


def _private(dataset: Dataset, block: tuple[int, str], element: int) -> str:
    """Text of a private element; the usual block 10 when anonymisation removed the private creator."""
    group, creator = block
    try:
        value = dataset.private_block(group, creator)[element].value
    except KeyError:
        value = dataset[group, 0x1000 + element].value if (group, 0x1000 + element) in dataset else ""
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")).strip("\0 ")


def _tag(keyword: str) -> str:
    number = tag_for_keyword(keyword) or 0
    return f"({number >> 16:04x},{number & 0xFFFF:04x})"


def _check_present(needed: Iterable[tuple[Dataset, str]]) -> None:
    missing = [f"{name} {_tag(name)}" for dataset, name in needed if dataset.get(name) in (None, "", [])]
    if missing:
        raise SuvError(f"the PET series cannot be converted to SUV, it lacks {', '.join(missing)}")


def _number(dataset: Dataset, name: str, allowed: tuple[float, float], unit: str) -> float:
    try:
        value = float(dataset[name].value)
    except (TypeError, ValueError) as error:
        raise SuvError(f"{name} {_tag(name)} is {dataset[name].value!r}; a number in {unit} is needed") from error
    if not allowed[0] <= value <= allowed[1]:
        raise SuvError(f"{name} {_tag(name)} is {value:g} {unit}; {allowed[0]:g} to {allowed[1]:g} {unit} is plausible")
    return value
