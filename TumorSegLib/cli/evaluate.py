"""The command ``tumorseg evaluate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from TumorSegLib.cli.common import check_outputs, read_label_map
from TumorSegLib.evaluation.metrics import evaluate
from TumorSegLib.files import write_text
from TumorSegLib.images.volume import Mask
from TumorSegLib.measurements.report import to_json


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("prediction", help="mask file")
    parser.add_argument("reference", help="mask file on the same grid")
    parser.add_argument("--json", metavar="FILE", help="write the metrics here, too")


def run_evaluate(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` for bad input, before anything is written."""
    check_outputs([((options.json,), (".json",))], (options.prediction, options.reference))
    prediction, reference = read_label_map(options.prediction), read_label_map(options.reference)
    together = evaluate(prediction, reference).to_dict()
    found, wanted = _labels(prediction), _labels(reference)
    several = sorted({*found, *wanted}) if max(len(found), len(wanted)) > 1 else []
    each = {label: evaluate(_one(prediction, label), _one(reference, label)).to_dict() for label in several}
    for note in _notes(prediction, reference):
        print(f"note: {note}", file=sys.stderr)
    _print_metrics({"all labels": together, **{f"label {label}": one for label, one in each.items()}})
    if options.json:
        write_text(options.json, to_json({**together, "labels": {str(label): one for label, one in each.items()}}))


def _labels(mask: Mask) -> list[int]:
    return [int(label) for label in np.unique(mask.array) if label]


def _one(mask: Mask, label: int) -> Mask:
    return Mask(mask.grid, (mask.array == label).astype(np.uint8))


def _notes(prediction: Mask, reference: Mask) -> Iterator[str]:
    """Notes on labels that differ between the masks, or seem to be swapped."""
    found, wanted = _labels(prediction), _labels(reference)
    if found and wanted and found != wanted:
        yield f"the prediction has labels {_list(found)}, the reference {_list(wanted)}"
    for label in (label for label in found if len(wanted) > 1):
        counts = np.bincount(reference.array[prediction.array == label], minlength=256)[1:]
        best = int(counts.argmax()) + 1
        if counts[best - 1] > counts[label - 1]:
            overlap = f"label {label} of the prediction overlaps label {best} of the reference most"
            yield f"{overlap}; are the labels swapped?"


def _list(labels: Sequence[int]) -> str:
    return ", ".join(map(str, labels))


def _print_metrics(columns: Mapping[str, Mapping[str, float | None]]) -> None:
    """A row for each metric and a column for all labels together, and where there are several for each of them."""
    if len(columns) > 1:
        print(" " * 32 + "".join(f"{heading:<14}" for heading in columns).rstrip())
    for name in next(iter(columns.values())):
        values = (one[name] for one in columns.values())
        cells = ("undefined" if value is None else f"{value:.4f}" for value in values)
        print(f"{name:<32}{''.join(f'{cell:<14}' for cell in cells).rstrip()}")
