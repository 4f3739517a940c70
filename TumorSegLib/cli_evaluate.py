"""The command ``tumorseg evaluate``."""

from __future__ import annotations

import argparse

import numpy as np

from TumorSegLib.cli_support import check_outputs
from TumorSegLib.files import write_text
from TumorSegLib.metrics import evaluate
from TumorSegLib.report import to_json
from TumorSegLib.volume import Mask
from TumorSegLib.volume_io import read_mask


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("prediction", help="mask file")
    parser.add_argument("reference", help="mask file on the same grid")
    parser.add_argument("--json", metavar="FILE", help="write the metrics here, too")


def run_evaluate(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` for bad input, before anything is written."""
    check_outputs([((options.json,), (".json",))], (options.prediction, options.reference))
    prediction, reference = read_mask(options.prediction), read_mask(options.reference)
    metrics = evaluate(_one_label(prediction), _one_label(reference)).to_dict()
    _print_metrics(metrics)
    if options.json:
        write_text(options.json, to_json(dict(metrics)))


def _one_label(mask: Mask) -> Mask:
    return Mask(mask.grid, (mask.array > 0).astype(np.uint8))


def _print_metrics(metrics: dict[str, float | None]) -> None:
    for name, value in metrics.items():
        print(f"{name:<32}{'undefined' if value is None else f'{value:.4f}'}")
