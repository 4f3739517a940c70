"""A training per fold, each without that fold, and what each marks in the cases that it has not seen.

``run/fold_0`` and so on are runs as :func:`training.loop.train.train` leaves them, each with its model and its report.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.config.train import Configuration, with_test_fold
from training.data.cases import read_cases
from training.data.layout import read_folds
from training.evaluation.automatic import evaluate_case
from training.evaluation.summary import provenance
from training.export import export
from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from training.loop.train import train
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ArgumentError
from TumorSegLib.files import write_text

MODEL, REPORT, SUMMARY = "model", "report.json", "cross_validation.json"
#: Of the cases of each label, and of those of each size: the mean, and of distances and volume errors the median.
MEASURES = ("dice", "nsd", "hd95_mm", "sensitivity", "precision", "relative_volume_error")
# Cases are parted by the volume of the reference into as many sizes, with as many cases each.
SIZES = ("small", "medium", "large")


def cross_validate(
    configuration: Configuration,
    data: Path,
    run: Path,
    device: str = "auto",
    precision: str = "auto",
    minutes: float = math.inf,
) -> dict[str, Any] | None:
    """Trains a model per fold, or goes on with it, and measures each on the fold that it did not see.

    Args:
        configuration: of an automatic model; its ``test_fold`` is each fold in turn.
        data: data folder, see :mod:`training.data.layout`.
        run: folder for the runs and the summary.
        device, precision: as for ``load_engine``.
        minutes: after which it stops with a checkpoint; the same call goes on.

    Returns:
        JSON-ready, also written as ``cross_validation.json``: ``labels``, per label the figures of all cases and of
        each size, and ``cases``, the metrics of every case from the model that did not see it; None where the minutes
        did not suffice.

    Raises:
        ArgumentError: the model is not automatic, or the minutes are not above 0.
        ReadError, GeometryError, ModelError, WriteError: as for training and evaluation.
    """
    if configuration.model.kind != "auto":
        raise ArgumentError(f"cross-validate is for models of kind 'auto'; this one's is {configuration.model.kind!r}")
    if not minutes > 0:
        raise ArgumentError(f"--minutes {minutes:g} must be above 0")
    end = time.monotonic() + 60 * minutes
    folds, reports = read_folds(data), []
    for fold in range(len(folds)):
        print(f"fold_{fold}, one of {len(folds)}", flush=True)
        folder = run / f"fold_{fold}"
        of_fold = with_test_fold(configuration, fold)
        if _steps_done(folder) < of_fold.optimisation.steps:
            left = (end - time.monotonic()) / 60
            if left > 0:
                train(of_fold, data, folder, device, precision, left)
            if _steps_done(folder) < of_fold.optimisation.steps:
                return None
        reports.append(_measured(folder, data, fold, device, precision))
    summary = summarise_folds(reports, configuration.model.labels)
    write_text(run / SUMMARY, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return summary


def _steps_done(folder: Path) -> int:
    return int(load_checkpoint(folder)["step"]) if (folder / CHECKPOINT).is_file() else 0


def _measured(folder: Path, data: Path, fold: int, device: str, precision: str) -> dict[str, Any]:
    """The report of a fold's model on that fold, every case with all images it has that the model takes."""
    engine = load_engine(export(folder, folder / MODEL), device, precision, "torch", kind="auto")
    rows = [evaluate_case(engine, case, tuple(case.images)) for case in read_cases(data, fold, engine.spec.roles)]
    report = {**provenance(engine.spec, rows), "fold": fold, "cases": rows}
    write_text(folder / REPORT, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return report


def summarise_folds(reports: Sequence[Mapping[str, Any]], labels: Mapping[str, int]) -> dict[str, Any]:
    """Figures over the cases of all folds, per label and size.

    Args:
        reports: one per fold, whose ``cases`` are rows of :func:`training.evaluation.automatic.evaluate_case`.
        labels: of the model.
    """
    rows = [row for report in reports for row in report["cases"]]
    by_label = {name: [row["labels"][name] if "labels" in row else row for row in rows] for name in labels}
    return {
        "labels": {name: {"all": _figures(some), **_by_size(some)} for name, some in by_label.items()},
        "cases": rows,
    }


def _by_size(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of small, medium and large objects, with the volumes between which they lie."""
    present = sorted((row for row in rows if row["reference_volume_ml"] > 0), key=lambda r: r["reference_volume_ml"])
    if len(present) < len(SIZES):
        return {}
    parts = np.array_split(np.arange(len(present)), len(SIZES))
    result = {}
    for name, numbers in zip(SIZES, parts):
        some = [present[number] for number in numbers]
        volumes = [some[0]["reference_volume_ml"], some[-1]["reference_volume_ml"]]
        result[name] = {**_figures(some), "volumes_ml": volumes}
    return result


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many cases, and of each measure the mean, or the median where few cases would decide the mean."""
    figures: dict[str, Any] = {"cases": len(rows)}
    for measure in MEASURES:
        values = [math.inf if row[measure] is None else float(row[measure]) for row in rows]
        middle = np.median(values) if measure in ("hd95_mm", "relative_volume_error") else np.mean(values)
        figures[measure] = float(middle) if math.isfinite(middle) else None
    return figures


def format_folds(summary: Mapping[str, Any]) -> str:
    """The summary of :func:`cross_validate` as lines of text."""
    lines = [
        f"{'label':<20}{'ml':>16}{'cases':>7}{'Dice':>8}{'NSD':>8}{'HD95 mm':>9}{'sens.':>8}{'prec.':>8}{'volume':>9}"
    ]
    for label, sizes in summary["labels"].items():
        for size, figures in sizes.items():
            name = label if size == "all" else f"  {size}"
            low, high = figures.get("volumes_ml", (None, None))
            volumes = "" if low is None else f"{low:.3g} to {high:.3g}"
            shown = [_number(figures[measure], ".3f") for measure in ("dice", "nsd")]
            shown += [_number(figures["hd95_mm"], ".1f"), *(_number(figures[m], ".3f") for m in MEASURES[3:5])]
            volume = _number(figures["relative_volume_error"], "+.1%")
            dice, nsd, distance, sensitivity, precision = shown
            lines.append(
                f"{name:<20}{volumes:>16}{figures['cases']:>7}{dice:>8}{nsd:>8}{distance:>9}"
                f"{sensitivity:>8}{precision:>8}{volume:>9}"
            )
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "inf" if value is None else format(value, form)
