"""Standardised uptake values (SUV, body weight) from the tags of a DICOM PET series.

The rule is the vendor-neutral one of the RSNA Quantitative Imaging Biomarkers Alliance: QIBA Profile "FDG-PET/CT as an
imaging biomarker measuring response to cancer therapy" (2013), with the pseudo-code of
https://qibawiki.rsna.org/index.php/Standardized_Uptake_Value_(SUV). Tags are those of DICOM PS3.3 C.8.9 (PET modules).
A series that leaves the SUV to a guess is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from TumorSegLib.errors import SuvError
from TumorSegLib.io.dicom.suv.body import MASSES, from_mass, from_surface, weight_kg
from TumorSegLib.io.dicom.suv.frames import frames_with_times, uncorrected
from TumorSegLib.io.dicom.suv.tags import check_present, check_same, number, private_text, tag, text
from TumorSegLib.io.dicom.suv.time import check_undecayed, corrected_to, seconds_since

# Outside these ranges a value is in a wrong unit (kBq for Bq) rather than true. The least dose of long-axial-field
# scanners is 0.1 MBq/kg, mice get 500 MBq/kg; 700 MBq in kBq for a man of 60 kg would be 0.012.
DOSE_BQ = (1e5, 1e11)
DOSE_BQ_PER_KG = (5e4, 5e9)
# Doses of people, from zirconium-89 (0.5 MBq/kg) to rubidium-82 and oxygen-15 (30 MBq/kg); others are in another unit.
USUAL_BQ_PER_KG = (5e5, 3e7)
OTHER_UNITS = {"kBq": 1e3, "uCi": 3.7e4, "MBq": 1e6, "mCi": 3.7e7}
HALF_LIFE_SECONDS = (10.0, 1e7)
#: Name and half-life in s of nuclides, by their codes in RadionuclideCodeSequence (DICOM CID 4020, SNOMED CT and SRT).
#: Scanners state slightly different ones, e.g. 6588 s for fluorine-18.
NUCLIDES = {
    code: (name, seconds)
    for codes, name, seconds in (
        (("40565003", "C-105A1"), "carbon-11", 1221.8),
        (("21576001", "C-107A1"), "nitrogen-13", 597.9),
        (("129504001", "C-B1038"), "oxygen-15", 122.2),
        (("77004003", "C-111A1"), "fluorine-18", 6586.2),
        (("3932008", "C-127A2"), "copper-64", 45723.0),
        (("35337001", "C-131A3"), "gallium-68", 4062.6),
        (("79197006", "C-159A2"), "rubidium-82", 75.5),
        (("63360001", "C-168A4"), "zirconium-89", 282276.0),
        (("40937006", "C-114A5"), "iodine-124", 360806.0),
    )
    for code in codes
}
HALF_LIFE_AGREEMENT = 1.05
# Largest ratio of the two factors of Philips, both stated for the same values.
PHILIPS_AGREEMENT = 1.05
PHILIPS = (0x7053, "Philips PET Private Group")
#: What must be the same in all slices; of the injection, in its sequence.
COMMON = ("Units", "SUVType")
COMMON_BODY = ("PatientWeight", "PatientSize", "PatientSex")
COMMON_DECAY = ("PatientWeight", "DecayCorrection", "CorrectedImage", "SeriesDate", "SeriesTime")
COMMON_INJECTION = (
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartTime",
    "RadiopharmaceuticalStartDateTime",
)


@dataclass(frozen=True)
class SuvConversion:
    """How the pixels of a PET series become SUV (body weight, g/ml).

    Attributes:
        factors: one per slice, in the order given; rescaled pixel values times its factor are SUV.
        note: what was done, as text; empty when it was nothing but the plain rule.
        source: what the factors come from, as text.
    """

    factors: tuple[float, ...]
    note: str = ""
    source: str = ""

    @property
    def factor_text(self) -> str:
        """The factor, or the least and the largest, and what they come from, as text."""
        least, most = f"{min(self.factors):.4g}", f"{max(self.factors):.4g}"
        factor = f"factor {least}" if least == most else f"factors {least} to {most}"
        return f"{factor}, from {self.source}"


def suv_conversion(slices: Sequence[Dataset]) -> SuvConversion:
    """The factors that turn the rescaled pixel values of a PET series into SUV (body weight, g/ml).

    Args:
        slices: the tags of all slices of one series; pixels are not needed.

    Returns:
        Units GML: 1, or the ratio of body weight to the lean or ideal mass that SUVType names; CM2ML: the ratio of
        weight to body surface area; CNTS: the Philips SUV factor (7053,1000); BQML (and CNTS with the Philips factor to
        Bq/ml): body weight in g over the injected dose in Bq, decayed to the moment that the image was corrected to. An
        image not corrected for decay is corrected here, each slice from its mean count-rate time.

    Raises:
        SuvError: tags are missing (all are named), contradictory, implausible, or leave a choice; the image is not
            corrected for attenuation.
    """
    if not slices:
        raise SuvError("SUV needs the tags of at least one PET slice, none was given")
    try:
        return _converted(slices)
    except OverflowError as error:
        raise SuvError(
            f"a date, time or duration of the PET series lies beyond any that a scan can have: {error}"
        ) from error


def _converted(slices: Sequence[Dataset]) -> SuvConversion:
    check_same(slices, COMMON)
    first = slices[0]
    units = text(first, "Units").upper()
    if units in ("GML", "CM2ML"):
        factor, note = _from_other_suv(slices, units)
        return SuvConversion((factor,) * len(slices), note, "Units GML" if factor == 1 else "SUVType and body")
    if units == "BQML":
        return _per_becquerel(slices)
    if units == "CNTS":
        return _per_count(slices)
    check_present([(first, "Units")])
    raise SuvError(f"Units {tag('Units')} is {units}; only BQML, GML, CM2ML and (Philips) CNTS can be converted to SUV")


def suv_factor(*slices: Dataset) -> float:
    """The one factor of a series that :func:`suv_conversion` converts with the same factor in all slices.

    Raises:
        SuvError: as :func:`suv_conversion`; or the slices have different factors.
    """
    factors = suv_conversion(slices).factors
    if min(factors) != max(factors):
        raise SuvError(
            f"the slices become SUV by different factors, {min(factors):g} to {max(factors):g}; one for all is needed"
        )
    return factors[0]


def _from_other_suv(slices: Sequence[Dataset], units: str) -> tuple[float, str]:
    dataset = slices[0]
    kind = text(dataset, "SUVType").upper() or {"GML": "BW", "CM2ML": "BSA"}[units]  # absent: PS3.3 C.8.9.1.1.3
    if units == "GML" and kind == "BW":
        return 1.0, ""
    check_same(slices, COMMON_BODY)
    if units == "GML" and kind in MASSES:
        return from_mass(dataset, kind)
    if units == "CM2ML" and kind == "BSA":
        return from_surface(dataset)
    raise SuvError(
        f"SUVType {tag('SUVType')} is {kind} and Units {tag('Units')} {units}; GML goes with BW, {', '.join(MASSES)},"
        " CM2ML with BSA"
    )


def _per_count(slices: Sequence[Dataset]) -> SuvConversion:
    """Philips stores counts, with a private factor to SUV, or one to Bq/ml, or both."""
    to_suv, to_becquerel = ([_philips(one, element) for one in slices] for element in (0x00, 0x09))
    by_becquerel = None
    if min(to_becquerel) > 0:
        try:
            rule = _per_becquerel(slices)
            factors = tuple(a * b for a, b in zip(to_becquerel, rule.factors))
            by_becquerel = SuvConversion(factors, rule.note, f"the Philips factor to Bq/ml, {rule.source}")
        except SuvError:
            if min(to_suv) <= 0:
                raise
    if min(to_suv) > 0:
        check_same(slices, ("DecayCorrection", "CorrectedImage"))
        _check_corrections(slices[0], ("START", "ADMIN"))
        ratios = [a / b for a, b in zip(to_suv, by_becquerel.factors)] if by_becquerel else [1.0]
        if max(*ratios, *(1 / ratio for ratio in ratios)) > PHILIPS_AGREEMENT:
            raise SuvError(
                f"the Philips factor to SUV (7053,1000) is {ratios[0]:.3g} times what the one to Bq/ml (7053,1009),"
                " dose and times lead to; they must agree"
            )
        return SuvConversion(tuple(to_suv), source="the Philips factor to SUV")
    if by_becquerel:
        return by_becquerel
    raise SuvError("Units is CNTS, but the Philips factors (7053,1000) and (7053,1009) are both missing or zero")


def _philips(dataset: Dataset, element: int) -> float:
    stated = private_text(dataset, PHILIPS, element) or "0"
    try:
        factor = float(stated)
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor):
        raise SuvError(f"the Philips factors (7053,1000) and (7053,1009) must be numbers, got {stated!r}")
    return factor


def _per_becquerel(slices: Sequence[Dataset]) -> SuvConversion:
    dataset = slices[0]
    injection = _injection(slices)
    correction = text(dataset, "DecayCorrection").upper()
    needed = [(dataset, name) for name in ("PatientWeight", "DecayCorrection", "CorrectedImage")]
    needed.append((injection, "RadionuclideTotalDose"))
    if correction in ("START", "NONE"):
        needed += [(injection, "RadionuclideHalfLife"), (dataset, "SeriesDate"), (dataset, "SeriesTime")]
        if not injection.get("RadiopharmaceuticalStartDateTime"):
            needed.append((injection, "RadiopharmaceuticalStartTime"))
    if correction == "NONE":
        needed += [(one, name) for one in slices for name in ("AcquisitionTime", "ActualFrameDuration")]
    check_present(needed)
    _check_corrections(dataset, ("START", "ADMIN", "NONE"))
    weight = weight_kg(dataset)
    dose, about_dose = _dose(injection, weight)
    rule = {"START": _decayed_to_start, "ADMIN": _not_decayed, "NONE": _decayed_by_slice}[correction]
    decays, about_decay = rule(slices, injection)
    plain = weight * 1000.0 / dose
    return SuvConversion(
        tuple(plain * 2.0**half_lives for half_lives in decays),
        "; ".join(filter(None, (about_dose, about_decay))),
        "body weight and dose" if correction == "ADMIN" else "body weight, dose and decay",
    )


def _injection(slices: Sequence[Dataset]) -> Dataset:
    found = []
    for one in slices:
        check_present([(one, "RadiopharmaceuticalInformationSequence")])
        items = one.RadiopharmaceuticalInformationSequence
        if len(items) != 1:
            raise SuvError(f"the PET series lists {len(items)} injections; the SUV needs exactly one")
        found.append(items[0])
    check_same(slices, COMMON_DECAY)
    check_same(found, COMMON_INJECTION)
    return found[0]


def _check_corrections(dataset: Dataset, allowed: tuple[str, ...]) -> None:
    check_present([(dataset, "DecayCorrection"), (dataset, "CorrectedImage")])
    correction = text(dataset, "DecayCorrection").upper()
    if correction not in allowed:
        raise SuvError(
            f"DecayCorrection {tag('DecayCorrection')} is {correction}; {' or '.join(allowed[:2])} is needed"
        )
    value = dataset.CorrectedImage
    corrected = {value} if isinstance(value, str) else set(value)
    named = f"CorrectedImage {tag('CorrectedImage')} lists {', '.join(sorted(corrected))}"
    if correction == "NONE" and "DECY" in corrected:
        raise SuvError(f"{named}, but DecayCorrection {tag('DecayCorrection')} is NONE; they must agree on the decay")
    needed = {"ATTN": "attenuation"} | ({} if correction == "NONE" else {"DECY": "decay"})
    lacking = needed.keys() - corrected
    if lacking:
        raise SuvError(
            f"{named} without {' and '.join(sorted(lacking))}; SUV needs the series corrected for"
            f" {' and '.join(needed[name] for name in sorted(lacking))}"
        )


def _dose(injection: Dataset, weight: float) -> tuple[float, str]:
    """The injected dose in Bq, and a sentence where it is plausible in MBq alone."""
    name = "RadionuclideTotalDose"
    stated = number(injection, name, (0.0, float("inf")), "Bq")
    low, high = DOSE_BQ_PER_KG
    if DOSE_BQ[0] <= stated <= DOSE_BQ[1] and low <= stated / weight <= high:
        return stated, ""
    usual = [u for u, size in OTHER_UNITS.items() if USUAL_BQ_PER_KG[0] <= stated * size / weight <= USUAL_BQ_PER_KG[1]]
    if usual == ["MBq"]:
        return stated * 1e6, f"{name} {tag(name)} is {stated:g}, plausible in MBq alone; it was taken as {stated:g} MBq"
    guess = f" (it may be in {' or '.join(usual)})" if usual else ""
    raise SuvError(
        f"{name} {tag(name)} is {stated:g} Bq, {stated / weight:.3g} Bq/kg for {weight:g} kg; {low:g} to {high:g} Bq/kg"
        f" is plausible{guess}"
    )


def _half_life(injection: Dataset) -> float:
    """RadionuclideHalfLife in s, which must be that of the nuclide where the series names one."""
    name = "RadionuclideHalfLife"
    stated = number(injection, name, HALF_LIFE_SECONDS, "s")
    for item in injection.get("RadionuclideCodeSequence") or ():
        nuclide, seconds = NUCLIDES.get(text(item, "CodeValue"), ("", stated))
        if max(stated / seconds, seconds / stated) > HALF_LIFE_AGREEMENT:
            raise SuvError(
                f"{name} {tag(name)} is {stated:g} s, but RadionuclideCodeSequence {tag('RadionuclideCodeSequence')}"
                f" names {nuclide}, whose half-life is {seconds:g} s; they must agree"
            )
    return stated


def _decayed_to_start(slices: Sequence[Dataset], injection: Dataset) -> tuple[list[float], str]:
    """Half-lives of the dose until the one moment that all slices were corrected to."""
    half_life = _half_life(injection)
    scan, note = corrected_to(slices, half_life)
    elapsed = seconds_since(injection, slices[0], scan, half_life)
    if elapsed == 0 and all(frame.start == scan for frame in frames_with_times(slices, half_life)):
        raise SuvError(
            f"injection, series and all acquisitions have the same time, {scan}, as if times were removed; the true"
            " ones are needed"
        )
    return [elapsed / half_life] * len(slices), note


def _not_decayed(slices: Sequence[Dataset], injection: Dataset) -> tuple[list[float], str]:
    """No half-lives: all slices were corrected to the injection, unless their decay factors deny it."""
    if text(injection, "RadionuclideHalfLife"):
        check_undecayed(slices, injection, _half_life(injection))
    return [0.0] * len(slices), ""


def _decayed_by_slice(slices: Sequence[Dataset], injection: Dataset) -> tuple[list[float], str]:
    """Half-lives from the injection to the mean count-rate time of each slice."""
    half_life = _half_life(injection)
    frames = uncorrected(slices, half_life)
    decays = [
        seconds_since(injection, one, frame.mean or frame.start, half_life) / half_life
        for one, frame in zip(slices, frames)
    ]
    return decays, (
        f"the decay was corrected here, from the injection to each slice's mean count-rate time: times"
        f" {2 ** min(decays):.4f} to {2 ** max(decays):.4f}"
    )
