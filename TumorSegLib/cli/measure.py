"""The command ``tumorseg measure``."""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np

from TumorSegLib import __version__
from TumorSegLib.cli.common import check_outputs, parse_inputs, read_images, read_label_map
from TumorSegLib.files import write_text
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.measurements.report import DISCLAIMER, to_json
from TumorSegLib.measurements.tumour import Intensities, Measurements, Uptake, measure

#: Label, None for an empty mask, and what was measured of it.
Found: TypeAlias = Sequence[tuple[int | None, Measurements]]

# Columns of the table on the terminal: column of the file, heading, unit, decimals.
_COLUMNS = (
    ("label", "label", "", 0),
    ("volume_ml", "volume", "ml", 2),
    ("lesions", "lesions", "", 0),
    ("longest_axial_mm", "longest", "mm", 1),
    ("perpendicular_axial_mm", "perpend.", "mm", 1),
    ("product_mm2", "product", "mm2", 0),
    ("slice", "slice", "", 0),
    ("maximum_3d_mm", "3D max.", "mm", 1),
    ("pet_suv_max", "SUVmax", "g/ml", 2),
    ("pet_suv_mean", "SUVmean", "g/ml", 2),
    ("pet_suv_peak", "SUVpeak", "g/ml", 2),
    ("pet_mtv_ml", "MTV", "ml", 2),
    ("pet_tlg_g", "TLG", "g", 1),
)


def add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "--segmentation", required=True, metavar="FILE", help="mask; each label in it is measured by itself"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="ROLE=PATH",
        help="an image to measure in the mask, and its role; once per role. pet=PATH, in SUV, gives SUVmax, SUVmean, "
        "SUVpeak, MTV and TLG; another, e.g. ct=PATH, mean, standard deviation and more. PATH is a NIfTI, NRRD or MHA "
        "file or a DICOM folder, on any grid; FOLDER#SeriesInstanceUID picks one of several series",
    )
    parser.add_argument("--csv", metavar="FILE", help="write a row per label here, and no table on the terminal")
    parser.add_argument("--json", metavar="FILE", help="write it here with the ends of the diameters, and no table")


def run_measure(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` for bad input, before anything is written."""
    inputs = parse_inputs(options.input)
    read = [options.segmentation, *inputs.values()]
    check_outputs([((options.csv,), (".csv",)), ((options.json,), (".json",))], read)
    mask = read_label_map(options.segmentation)
    images = read_images(inputs)
    found = list(_each_label(mask, images))
    if options.csv:
        write_text(options.csv, _csv(options.segmentation, found))
    if options.json:
        notes = [*mask.notes, *(f"{role}: {note}" for role, volume in images.items() for note in volume.notes)]
        write_text(options.json, to_json(_report(options.segmentation, inputs, notes, found)))
    for note in _notes(mask, images, found):
        print(note)
    if options.csv or options.json:
        print(f"{len(found)} label(s) measured, written to {', '.join(filter(None, (options.csv, options.json)))}")
    else:
        print("\n".join(_table([_row(label, measurements) for label, measurements in found])))
        print(DISCLAIMER)


def _each_label(mask: Mask, images: Images) -> Iterator[tuple[int | None, Measurements]]:
    box = mask.bounding_box()
    if box is None:
        yield None, measure(mask, images)
        return
    for label in np.unique(mask.array[slices(box)]):
        if label:
            yield int(label), measure(Mask(mask.grid, mask.array == label), images)


def _row(label: int | None, measurements: Measurements) -> dict[str, Any]:
    """Column to value; the same columns for the same roles, whatever was found."""
    axial, maximum = measurements.axial, measurements.maximum_diameter
    row: dict[str, Any] = {
        "label": label,
        "volume_ml": measurements.volume_ml,
        "voxels": measurements.voxels,
        "lesions": measurements.lesions,
        "longest_axial_mm": axial.longest.length_mm if axial else None,
        "perpendicular_axial_mm": axial.perpendicular.length_mm if axial else None,
        "product_mm2": axial.product_mm2 if axial else None,
        "slice_axis": axial.axis if axial else None,
        "slice": axial.slice if axial else None,
        "maximum_3d_mm": maximum.length_mm if maximum else None,
    }
    row |= dict(zip(("centroid_r", "centroid_a", "centroid_s"), measurements.centroid_ras or (None,) * 3))
    ranges = measurements.box or ((None, None),) * 3
    row |= {f"box_{axis}{n}": limits[n] for axis, limits in zip("ijk", ranges) for n in (0, 1)}
    images: dict[str, Uptake | Intensities] = dict(measurements.intensities)
    if measurements.pet:
        images = {"pet": measurements.pet, **images}
    return row | {f"{role}_{name}": value for role, values in images.items() for name, value in asdict(values).items()}


def _csv(path: str, found: Found) -> str:
    """A line per label; what it is not for stands in the last column, where no spreadsheet stumbles over it."""
    rows = [{"segmentation": path, **_row(*one), "notice": DISCLAIMER} for one in found]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _report(path: str, inputs: Mapping[str, str], notes: Sequence[str], found: Found) -> dict[str, Any]:
    return {
        "notice": DISCLAIMER,
        "tumorseg_version": __version__,
        "segmentation": os.path.abspath(path),
        "inputs": {role: os.path.abspath(path) for role, path in inputs.items()},
        "notes": list(notes),
        "labels": [{"label": label, **measurements.to_dict()} for label, measurements in found],
    }


def _notes(mask: Mask, images: Images, found: Found) -> Iterator[str]:
    """What a reader of the numbers should know of how they came about."""
    if found[0][0] is None:
        yield "the mask is empty"
    elsewhere = [role for role, volume in images.items() if volume.grid != mask.grid]
    if elsewhere:
        yield f"measured on their own grid, to which the mask was brought: {', '.join(elsewhere)}"
    for label, measurements in found:
        for role in images:
            values = measurements.pet if role == "pet" else measurements.intensities[role]
            if values is not None and values.covered is not None and values.covered < 1:
                yield f"label {label}: the {role} image reaches only {values.covered:.0%} of it"


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Two lines of headings and one for each row, in columns as wide as need be."""
    columns = [column for column in _COLUMNS if column[0] in rows[0]]
    for name in rows[0]:
        role, _, value = name.rpartition("_standard_deviation")
        if role and not value:
            columns += [(f"{role}_mean", role, "mean", 2), (name, role, "SD", 2)]
    cells = [
        [heading, unit, *(_cell(row[name], decimals) for row in rows)] for name, heading, unit, decimals in columns
    ]
    widths = [max(map(len, column)) for column in cells]
    for line in zip(*cells):
        yield "  ".join(text.rjust(width) for text, width in zip(line, widths)).rstrip()


def _cell(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
