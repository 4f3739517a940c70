"""The command ``tumorseg evaluate``."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from TumorSegLib.cli.common import MASK_SUFFIXES, check_outputs, read_segments
from TumorSegLib.errors import ArgumentError
from TumorSegLib.evaluation.labels import Pair, evaluate_labels, pair_segments
from TumorSegLib.evaluation.metrics import evaluate
from TumorSegLib.files import write_text
from TumorSegLib.images.labels import Segment, Segmentation
from TumorSegLib.measurements.report import to_json

Values: TypeAlias = Mapping[str, float | None]
#: Endings of mask files that folders are searched for, longest first.
SUFFIXES = (*MASK_SUFFIXES, ".nhdr", ".mhd")
SHOWN = ("dice", "nsd", "hd95_mm", "sensitivity", "precision", "volume_error_ml")


@dataclass(frozen=True)
class Compared:
    """A case: its files, the metrics of all its segments together, and those of each."""

    prediction: str
    reference: str
    together: Values
    each: Sequence[tuple[Segment, Values]]


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("prediction", help="mask or segmentation, or a folder with one per case")
    parser.add_argument("reference", help="the same on the same grid, or a folder with files of the same names")
    parser.add_argument("--json", metavar="FILE", help="write the metrics here, too")
    parser.add_argument("--csv", metavar="FILE", help="write a row per case and label here, too")


def run_evaluate(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` for bad input, before anything is written."""
    files = _files(options.prediction, options.reference)
    check_outputs(
        [((options.json,), (".json",)), ((options.csv,), (".csv",))], [path for pair in files for path in pair]
    )
    folders = Path(options.prediction).is_dir()
    cases = [_compare(*pair, f"{_case(pair[1])}: " if folders else "") for pair in files]
    if folders:
        _print_cases(cases)
    else:
        each = {segment.name: values for segment, values in cases[0].each}
        _print_metrics({"all labels": cases[0].together, **each})
    if options.json:
        report = {"cases": {_case(one.reference): _report(one) for one in cases}} if folders else _report(cases[0])
        write_text(options.json, to_json(report))
    if options.csv:
        write_text(options.csv, _csv(cases))


def _files(prediction: str, reference: str) -> list[tuple[str, str]]:
    """The files to compare: the two given, or those of two folders that have one name but for their ending."""
    folders = [path for path in (prediction, reference) if Path(path).is_dir()]
    if not folders:
        return [(prediction, reference)]
    if len(folders) == 1:
        raise ArgumentError(f"{folders[0]} is a folder, and the other is not; give two files or two folders")
    found, wanted = _masks(prediction), _masks(reference)
    if not found.keys() & wanted.keys():
        raise ArgumentError(f"no mask in {prediction} has the name of one in {reference}")
    for one, other, folder in ((found, wanted, reference), (wanted, found, prediction)):
        if alone := sorted(one.keys() - other.keys()):
            print(f"note: not in {folder}: {', '.join(alone)}", file=sys.stderr)
    return [(found[name], wanted[name]) for name in found if name in wanted]


def _masks(folder: str) -> dict[str, str]:
    """The mask files of a folder by case; raises :class:`ArgumentError` where a case has two."""
    found: dict[str, str] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith(".") or not path.name.endswith(SUFFIXES):  # macOS puts ._NAME beside files
            continue
        case = _case(str(path))
        if case in found:
            raise ArgumentError(f"{folder}: {Path(found[case]).name} and {path.name} are both of case {case}; keep one")
        found[case] = str(path)
    return found


def _case(path: str) -> str:
    """A file's name without its ending."""
    name = Path(path).name
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.endswith(suffix)), name)


def _compare(prediction_path: str, reference_path: str, before_notes: str) -> Compared:
    prediction, reference = read_segments(prediction_path), read_segments(reference_path)
    together = evaluate(prediction.foreground, reference.foreground).to_dict()
    pairs = pair_segments(prediction, reference)
    for note in _notes(prediction, reference, pairs):
        print(f"note: {before_notes}{note}", file=sys.stderr)
    if max(len(prediction.segments), len(reference.segments)) < 2:
        return Compared(prediction_path, reference_path, together, [])
    each = evaluate_labels(prediction, reference)
    values = [(pair.shown, each[pair.shown.name].to_dict()) for pair in pairs]
    return Compared(prediction_path, reference_path, together, values)


def _notes(prediction: Segmentation, reference: Segmentation, pairs: Sequence[Pair]) -> Iterator[str]:
    """Notes on labels that only one has, or that seem to be swapped."""
    if prediction.segments and reference.segments and any(None in (each.prediction, each.reference) for each in pairs):
        yield f"the prediction has labels {_list(prediction)}, the reference {_list(reference)}"
    if len(reference.segments) < 2 or len(prediction.layers) + len(reference.layers) > 2:
        return  # of segments that overlap, the largest is met most
    there = [pair for pair in pairs if pair.reference is not None]
    for pair in (each for each in pairs if each.prediction is not None):
        mask = prediction.mask_of_segment(pair.prediction).array
        met = {each.shown.name: int((mask & reference.mask_of_segment(each.reference).array).sum()) for each in there}
        best = max(met, key=lambda name: met[name])
        if met[best] > met.get(pair.shown.name, 0):
            overlap = (
                f"{_words(pair.shown)} of the prediction overlaps {_words(_of(there, best))} of the reference most"
            )
            yield f"{overlap}; are the labels swapped?"


def _of(pairs: Sequence[Pair], name: str) -> Segment:
    return next(pair.shown for pair in pairs if pair.shown.name == name)


def _words(segment: Segment) -> str:
    """ "label 3", or a name in quotes."""
    return repr(segment.name) if segment.named else segment.name


def _key(segment: Segment) -> str:
    """The name, or the label of a segment without one."""
    return segment.name if segment.named else str(segment.label)


def _list(segmentation: Segmentation) -> str:
    return ", ".join(map(_key, segmentation.segments))


def _report(compared: Compared) -> dict[str, Any]:
    return {**compared.together, "labels": {_key(segment): values for segment, values in compared.each}}


def _csv(cases: Sequence[Compared]) -> str:
    """A line per case and label, and one per case for all labels together."""
    rows = []
    for one in cases:
        case = {"case": _case(one.reference), "prediction": one.prediction, "reference": one.reference}
        rows.append({**case, "label": "all", "name": "", **one.together})
        for segment, values in one.each:
            rows.append({**case, "label": segment.label, "name": segment.name if segment.named else "", **values})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _print_metrics(columns: Mapping[str, Values]) -> None:
    """A row for each metric and a column for all labels together, and where there are several for each of them."""
    widths = [max(len(heading) + 2, 14) for heading in columns]
    if len(columns) > 1:
        print(" " * 32 + "".join(heading.ljust(width) for heading, width in zip(columns, widths)).rstrip())
    for name in next(iter(columns.values())):
        cells = (_text(one[name]).ljust(width) for one, width in zip(columns.values(), widths))
        print(f"{name:<32}{''.join(cells).rstrip()}")


def _print_cases(cases: Sequence[Compared]) -> None:
    """A row for each case and label, with the metrics that are asked for most; the files have all."""
    rows: list[tuple[str, ...]] = [("case", "label", *SHOWN)]
    for one in cases:
        for name, values in (("all labels", one.together), *((segment.name, values) for segment, values in one.each)):
            rows.append((_case(one.reference), name, *(_text(values[metric]) for metric in SHOWN)))
    widths = [max(map(len, column)) + 2 for column in zip(*rows)]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
