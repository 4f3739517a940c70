"""The command ``tumorseg measure``."""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from TumorSegLib import __version__
from TumorSegLib.cli.common import check_outputs, parse_inputs, read_images, read_segments
from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.files import write_text
from TumorSegLib.images.labels import Segment, Segmentation
from TumorSegLib.images.volume import Images
from TumorSegLib.measurements.report import to_json
from TumorSegLib.measurements.rows import columns, measurement_rows
from TumorSegLib.measurements.tumour import Measurements, measure

#: A segment, None for a mask without any, and what was measured of it.
Found: TypeAlias = Sequence[tuple[Segment | None, Measurements]]


WIDEST_TABLE = 1000


def add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument(
        "--segmentation",
        required=True,
        metavar="FILE",
        help="mask or segmentation (.seg.nrrd); each label in it is measured by itself, whole where others overlap it",
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
    segmentation = read_segments(options.segmentation)
    images = read_images(inputs)
    found = list(_each_label(segmentation, images))
    if options.csv:
        write_text(options.csv, _csv(options.segmentation, found))
    if options.json:
        notes = [*segmentation.notes, *(f"{role}: {note}" for role, volume in images.items() for note in volume.notes)]
        write_text(options.json, to_json(_report(options.segmentation, inputs, notes, found)))
    for note in _notes(segmentation, images, found):
        print(note)
    if options.csv or options.json:
        print(f"{len(found)} label(s) measured, written to {', '.join(filter(None, (options.csv, options.json)))}")
    else:
        _print_table(found)
        print(DISCLAIMER)


def _each_label(segmentation: Segmentation, images: Images) -> Iterator[tuple[Segment | None, Measurements]]:
    for segment in segmentation.segments or (None,):
        yield segment, measure(segmentation.mask_of_segment(segment), images)


def _label(segment: Segment | None) -> dict[str, Any]:
    """Label and name; None where there is none."""
    if segment is None:
        return {"label": None, "name": None}
    return {"label": segment.label, "name": segment.name if segment.named else None}


def _csv(path: str, found: Found) -> str:
    """A line per label; the disclaimer is the last column."""
    rows = [{"segmentation": path, **_label(each), **columns(one), "notice": DISCLAIMER} for each, one in found]
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
        "labels": [{**_label(segment), **measurements.to_dict()} for segment, measurements in found],
    }


def _notes(segmentation: Segmentation, images: Images, found: Found) -> Iterator[str]:
    """Notes on how the values were measured."""
    if not any(measurements.voxels for _, measurements in found):
        yield "the mask is empty"
    elsewhere = [role for role, volume in images.items() if volume.grid != segmentation.grid]
    if elsewhere:
        yield f"measured on their own grid, to which the mask was resampled: {', '.join(elsewhere)}"
    for segment, measurements in found:
        for role in images:
            values = measurements.pet if role == "pet" else measurements.intensities[role]
            if values is not None and values.covered is not None and values.covered < 1:
                yield f"{segment.name if segment else 'mask'}: the {role} image covers only {values.covered:.0%} of it"


def _print_table(found: Found) -> None:
    """Names and units as headings, and a line for each label."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("label\n", justify="right")
    named = any(segment is not None and segment.named for segment, _ in found)
    if named:
        table.add_column("name\n", no_wrap=True)
    for row in measurement_rows(found[0][1]):
        table.add_column(f"{row.heading}\n{row.unit}", justify="right", no_wrap=True)
    table.add_column("slice\n", justify="right")
    for segment, measurements in found:
        axial = measurements.axial
        cells = [
            *list(_label(segment).values())[: 1 + named],
            *(row.text for row in measurement_rows(measurements)),
            axial.slice if axial else None,
        ]
        table.add_row(*("-" if cell in (None, "") else str(cell) for cell in cells))
    # A narrow terminal then breaks the lines; rich would cut figures off.
    Console(width=WIDEST_TABLE, highlight=False).print(table)
