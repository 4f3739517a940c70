"""Checks that the slices of a DICOM series form one regular stack of one acquisition."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from TumorSegLib.errors import GeometryError, ReadError
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.io.dicom.files import Series

# A missing slice makes a gap of 2 of the usual ones. Positions rounded to 0.1 mm reach 1.17 at a spacing of 0.6 mm.
GAP_TOLERANCE = 0.2
# Farthest, as a share of the slice distance, that a slice may lie from where the image has it, which puts slices at
# equal distances from the first to the last: 0.16 mm at 3.27 mm, a twentieth of the voxel's edge. highdicom allows 1 %
# of unevenness of single gaps; of eight public series read with this library, one (FDG-PET, 240 slices, several beds)
# has gaps that are 2.4 % off, and slices 1.2 %, 0.04 mm, the others below 0.0002 %. Rounding of positions, by which
# thin slices come to lie up to half a step off, is allowed beyond that.
UNEVEN_TOLERANCE = 0.05
# From this share on the user gets a note.
NOTED_UNEVEN = 0.01
# Steps, mm, that scanners and archives round positions to, the largest first, and how exactly a multiple must be met.
ROUNDINGS_MM, MULTIPLE_MM = (0.1, 0.01, 0.001), 1e-5
# Slices closer than this (mm) lie at one position.
SAME_POSITION = 0.01
# Largest sideways drift of a slice, in pixels, that an image without shear can leave out.
DRIFT_PIXELS = 0.5
# Largest difference of direction cosines within one stack; as in TumorSegLib.geometry.grid.
COSINE_TOLERANCE = 1e-3
# What distinguishes images of one position, also of two patients or series under one number after anonymisation. In MR,
# slices of one volume are excited in turns.
ACQUISITION_TAGS = (
    *("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "SeriesDescription", "SeriesTime"),
    *("AcquisitionNumber", "AcquisitionDate", "TemporalPositionIdentifier", "EchoTime", "KVP", "ConvolutionKernel"),
    *("ContrastBolusAgent", "ImageType"),
)
ONE_AT_A_TIME = ("CT", "PT")
# Neighbours this many times, and seconds, further apart in time than slices two apart belong to two acquisitions.
WOVEN_RATIO, WOVEN_SECONDS = 3.0, 1.0


def check_stack(series: Series, folder: Path) -> tuple[str, ...]:
    """Checks that the slices are one regular, gap-free stack of one acquisition.

    Args:
        series: its slices in the order of their position.
        folder: what it was read from, for the messages.

    Returns:
        Notes for the user: signs of several acquisitions that prove nothing, and slices that lie 1 % of their
        distance or more from where the image has them.

    Raises:
        ReadError: slices missing, doubled or spaced so unevenly that one would lie more than 5 % of the slice distance,
            and more than the rounding of the positions, from where the image has it; alternating slices of two
            acquisitions; a file without the tags needed.
        GeometryError: slices of different size or orientation, gantry tilt.
    """
    where = f"{folder}: series {series.uid}"
    for path, tags in zip(series.files, series.tags):
        _check_slice(path, tags)
    if len(series.files) < 2:
        raise ReadError(f"{where} has a single slice ({series.files[0].name}); a 3D stack of slices is needed")
    _check_alike(series, where)
    row, column = np.split(np.asarray(series.tags[0].ImageOrientationPatient, float), 2)
    positions = np.array([tags.ImagePositionPatient for tags in series.tags], float)
    normal = np.cross(row, column)
    heights = positions @ normal
    _check_gaps(series, heights, where)
    notes = _check_lattice(heights, _rounding(positions) * float(np.abs(normal).sum()), where)
    drift = positions - positions[0] - np.outer((positions - positions[0]) @ normal, normal)
    largest = float(np.linalg.norm(drift, axis=1).max())
    if largest > DRIFT_PIXELS * float(min(series.tags[0].PixelSpacing)):
        raise GeometryError(
            f"{where}: slices drift sideways by up to {largest:.2f} mm (gantry tilt); straighten the stack first"
        )
    return (*notes, *_check_one_acquisition(series, where), *_fewer_than_stated(series))


def _check_slice(path: Path, tags: Dataset) -> None:
    if not tags.get("Rows"):
        raise ReadError(f"{path}: truncated DICOM file, without Rows (0028,0010)")
    if int(tags.get("NumberOfFrames") or 1) > 1:
        raise ReadError(
            f"{path}: multi-frame DICOM ({tags.NumberOfFrames} frames); convert it to single slices or NIfTI"
        )
    if int(tags.get("SamplesPerPixel") or 1) != 1:
        raise ReadError(f"{path}: {tags.SamplesPerPixel} values per pixel (colour); one is needed")
    for name, length in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        value: Any = tags.get(name)
        if value is None or len(value) != length or not np.isfinite(np.asarray(value, float)).all():
            raise ReadError(f"{path}: {name} is {value}; {length} numbers are needed for a 3D image")
    if float(min(tags.PixelSpacing)) <= 0:
        raise GeometryError(f"{path}: PixelSpacing is {list(tags.PixelSpacing)} mm; it must be positive")
    row, column = np.split(np.asarray(tags.ImageOrientationPatient, float), 2)
    if max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)) > COSINE_TOLERANCE:
        raise GeometryError(f"{path}: ImageOrientationPatient {list(tags.ImageOrientationPatient)} is not orthonormal")


def _check_alike(series: Series, where: str) -> None:
    first = series.tags[0]
    for path, tags in zip(series.files, series.tags):
        if (tags.Rows, tags.Columns) != (first.Rows, first.Columns):
            sizes = f"{first.Columns} x {first.Rows} and {tags.Columns} x {tags.Rows}"
            raise GeometryError(f"{where}: slices of different size, {sizes} ({series.files[0].name}, {path.name})")
        if tags.get("Modality") != first.get("Modality"):
            named = f"{first.get('Modality')} ({series.files[0].name}) and {tags.get('Modality')} ({path.name})"
            raise ReadError(f"{where}: slices of different modality, {named}")
        for name in ("ImageOrientationPatient", "PixelSpacing"):
            one, other = np.asarray(first[name].value, float), np.asarray(tags[name].value, float)
            if np.abs(one - other).max() > COSINE_TOLERANCE:
                raise GeometryError(
                    f"{where}: {name} differs, {one} ({series.files[0].name}) and {other} ({path.name})"
                )


def _check_gaps(series: Series, heights: Float64Array, where: str) -> None:
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    doubled = np.flatnonzero(gaps < SAME_POSITION)
    if doubled.size:
        pair = " and ".join(path.name for path in series.files[doubled[0] : doubled[0] + 2])
        raise ReadError(
            f"{where}: {doubled.size} of {len(gaps) + 1} slices share a position with another, first {pair}"
            f" at {heights[doubled[0]]:.2f} mm (copies, or several phases or echoes in one series)"
        )
    uneven = np.flatnonzero(np.abs(gaps - usual) > GAP_TOLERANCE * usual)
    if uneven.size:
        n = int(uneven[np.argmax(np.abs(gaps[uneven] - usual))])
        raise ReadError(
            f"{where}: slices are missing or unevenly spaced, {gaps[n]:.2f} mm instead of {usual:.2f} mm between"
            f" {series.files[n].name} and {series.files[n + 1].name} ({heights[n]:.2f} and {heights[n + 1]:.2f} mm)"
        )


def _check_lattice(heights: Float64Array, rounding: float, where: str) -> tuple[str, ...]:
    """Checks how far slices lie from where the image has them; ``rounding`` of the heights in mm is allowed anyway."""
    even = np.linspace(heights[0], heights[-1], len(heights))
    off, distance = float(np.abs(heights - even).max()), float(even[1] - even[0])
    note = (
        f"slices are unevenly spaced, up to {off:.2g} mm from where an image of slices {distance:.4g} mm apart has them"
    )
    if off > max(UNEVEN_TOLERANCE * distance, rounding):
        raise ReadError(
            f"{where}: {note}; at most {UNEVEN_TOLERANCE:.0%} of that distance are allowed: resample the series first"
        )
    return (note,) if off > max(NOTED_UNEVEN * distance, rounding) else ()


def _rounding(positions: Float64Array) -> float:
    """The largest step, mm, that all positions are multiples of; 0 where there is none."""
    for step in ROUNDINGS_MM:
        if np.abs(positions - np.rint(positions / step) * step).max() < MULTIPLE_MM:
            return step
    return 0.0


def _check_one_acquisition(series: Series, where: str) -> tuple[str, ...]:
    """Raises where slices of two acquisitions alternate; consecutive ones, as in step-and-shoot CT, are accepted."""
    notes = []
    for name, values in _acquisitions(series):
        runs, kinds = [value for value, _ in groupby(values)], set(values)
        if len(runs) == len(kinds):
            continue
        listed = ", ".join(sorted(kinds)[:4])
        problem = f"slices of {len(kinds)} acquisitions alternate ({name} {listed})"
        if series.modality in ONE_AT_A_TIME and len(runs) > len(kinds) + 1:
            raise ReadError(f"{where}: {problem}; put each acquisition into a folder of its own")
        notes.append(f"{problem}; they were read as one image")
    if _alternate_in_time(series):
        raise ReadError(
            f"{where}: slices of two acquisitions alternate (by AcquisitionTime); put each acquisition into a folder of"
            " its own"
        )
    return tuple(notes)


def _acquisitions(series: Series) -> Iterator[tuple[str, list[str]]]:
    """Each tag with its values in the order of the slices; where some slices lack it, one of a single value only."""
    for name in ACQUISITION_TAGS:
        values = [str(tags.get(name) or "none") for tags in series.tags]
        if "none" not in values or len(set(values)) == 2:
            yield name, values
    times = [str(tags.get("AcquisitionTime") or "") for tags in series.tags]
    if series.modality in ONE_AT_A_TIME and all(times):
        yield "AcquisitionTime", times


def _alternate_in_time(series: Series) -> bool:
    """Whether slices two apart are closer in time than neighbours."""
    times = [_seconds(tags) for tags in series.tags]
    if series.modality not in ONE_AT_A_TIME or len(times) < 6 or None in times:
        return False
    seconds = np.array(times, float)
    neighbours, two_apart = (float(np.median(np.abs(seconds[n:] - seconds[:-n]))) for n in (1, 2))
    return neighbours > WOVEN_RATIO * two_apart + WOVEN_SECONDS


def _seconds(tags: Dataset) -> float | None:
    """AcquisitionTime (HHMMSS.FFFFFF) in seconds after midnight."""
    text = str(tags.get("AcquisitionTime") or "").replace(":", "")
    try:
        return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
    except ValueError:
        return None


def _fewer_than_stated(series: Series) -> tuple[str, ...]:
    stated, found = int(series.tags[0].get("NumberOfSlices") or 0), len(series.slices)
    if found >= stated:
        return ()
    return (f"the series has {stated} slices by its NumberOfSlices (0054,0081), of which {found} were found",)
