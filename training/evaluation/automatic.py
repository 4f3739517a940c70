"""Measuring a model by the evaluation protocol: per case and subset of roles, in the windows that hide the crop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from training.data.cases import Case, read_case, read_folds
from TumorSegLib import __version__
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.evaluation.metrics import evaluate as compare
from TumorSegLib.images.volume import Mask
from TumorSegLib.jobs import progress_bar
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import AutoSegmenter

MEASURES = ("dice", "iou", "hd95_mm", "assd_mm", "nsd", "balanced_average_hausdorff_mm", "sensitivity", "precision")
RUN_SETTINGS = ("device", "precision", "overlap")


def role_subsets(spec: ModelSpec) -> list[tuple[str, ...]]:
    """All subsets of roles a model accepts, the fullest first."""
    required = set(spec.roles) - set(spec.optional)
    sizes = range(len(spec.roles), 0, -1)
    return [subset for n in sizes for subset in combinations(spec.roles, n) if required <= set(subset)]


def evaluate_case(engine: AutoSegmenter, case: Case, roles: Sequence[str], mirror: bool = False) -> dict[str, Any]:
    """Segments a case from some of its roles, as if nothing outside its window existed, and compares.

    Returns:
        All metrics of :func:`TumorSegLib.evaluation.metrics.evaluate`, with ``case``, ``seconds`` (of the segmentation)
        and ``run``: what the engine tells of ``RUN_SETTINGS``.
    """
    part = case.cropped(case.window)
    started = time.perf_counter()
    result = engine.segment({role: part.images[role] for role in roles}, mirror=mirror)
    seconds = round(time.perf_counter() - started, 3)
    reference = Mask(part.reference.grid, (part.reference.array > 0).astype(np.uint8))
    run = {name: result.info[name] for name in RUN_SETTINGS if name in result.info}
    return {"case": case.name, "seconds": seconds, "run": run, **compare(result.mask, reference).to_dict()}


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean, median and worst of every measure over cases.

    An undefined distance (None) counts as infinite; figures that are infinite become None, as JSON has no infinity.
    """
    summary: dict[str, dict[str, float | None]] = {}
    for measure in MEASURES:
        values = [math.inf if row[measure] is None else float(row[measure]) for row in rows]
        lower_is_worse = not measure.endswith("_mm")
        worst = min(values) if lower_is_worse else max(values)
        figures = {"mean": float(np.mean(values)), "median": float(np.median(values)), "worst": worst}
        summary[measure] = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    return summary


def evaluate_folder(
    engine: AutoSegmenter, data: Path, fold: int | None, subsets: Sequence[Sequence[str]], mirror: bool = False
) -> dict[str, Any]:
    """Evaluates on one fold of a data folder, or on all its cases.

    A case counts for the subsets of which it has all roles.

    Returns:
        JSON-ready: ``subsets``, which has per subset of roles (names joined with ``+``) the summary and the row of
        every case, and what the figures hold for: model, its version and weights, TumorSeg's version, fold, mirror,
        and ``RUN_SETTINGS`` (a list where cases differ, since an engine short of memory goes to the CPU).

    Raises:
        ArgumentError: there is no such fold.
        RoleError: the model cannot work from one of the subsets, or no case has all roles of any.
        ReadError: the data folder or a case cannot be read.
    """
    for roles in subsets:
        check_subset(engine.spec, roles)
    cases = named_cases(data, fold, engine.spec.roles)
    able = [(roles, case) for roles in subsets for case in cases if set(roles) <= set(case.images)]
    if not able:
        wanted = " nor ".join("+".join(roles) for roles in subsets)
        raise RoleError(f"{data}: none of the {len(cases)} cases has {wanted}")
    rows: dict[str, list[dict[str, Any]]] = {}
    with progress_bar("Evaluating") as progress:
        for done, (roles, case) in enumerate(able, start=1):
            row = evaluate_case(engine, case, roles, mirror)
            rows.setdefault("+".join(roles), []).append(row)
            progress(done, len(able), f"{case.name} {'+'.join(roles)}: Dice {row['dice']:.3f}")
    report = {name: {"summary": summarise(some), "cases": some} for name, some in rows.items()}
    return {**origin(engine.spec, list(chain(*rows.values()))), "fold": fold, "mirror": mirror, "subsets": report}


def named_cases(data: Path, fold: int | None, roles: Sequence[str]) -> list[Case]:
    """The cases of one fold of a data folder, or all, with those of the roles they have.

    Raises:
        ArgumentError: there is no such fold.
        ReadError: the data folder or a case cannot be read.
    """
    folds = read_folds(data)
    if fold is not None and not 0 <= fold < len(folds):
        raise ArgumentError(f"fold {fold} does not exist; {data} has folds 0 to {len(folds) - 1}")
    names = folds[fold] if fold is not None else [name for one in folds for name in one]
    return [read_case(data, name, roles) for name in names]


def origin(spec: ModelSpec, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What made the figures: model, program and the settings the rows share."""
    shared: dict[str, Any] = {
        "model": spec.name,
        "version": spec.version,
        "weights_sha256": spec.weights_sha256,
        "tumorseg_version": __version__,
    }
    for name in RUN_SETTINGS:
        values = list(dict.fromkeys(row["run"][name] for row in rows if name in row["run"]))
        if values:
            shared[name] = values[0] if len(values) == 1 else values
    return shared


def check_subset(spec: ModelSpec, roles: Sequence[str]) -> None:
    """Raises :class:`RoleError` unless a model can work from these roles alone."""
    able = role_subsets(spec)
    if not any(sorted(roles) == sorted(subset) for subset in able):
        known = ", ".join("+".join(subset) for subset in able)
        raise RoleError(f"model {spec.name!r} cannot work from {'+'.join(roles)!r}; it can from {known}")


def format_table(report: Mapping[str, Any]) -> str:
    """The report of :func:`evaluate_folder` as lines of text: Dice, HD95 (mm) and surface Dice by subset of roles."""
    head = ("roles", "cases", "Dice: median", "mean", "worst", "HD95 mm: median", "NSD: median")
    lines = ["{:<16}{:>6}{:>14}{:>8}{:>8}{:>18}{:>13}".format(*head)]
    for roles, entry in report["subsets"].items():
        dice, distance, surface = (entry["summary"][measure] for measure in ("dice", "hd95_mm", "nsd"))
        median = math.inf if distance["median"] is None else distance["median"]
        lines.append(
            f"{roles:<16}{len(entry['cases']):>6}{dice['median']:>14.3f}{dice['mean']:>8.3f}{dice['worst']:>8.3f}"
            f"{median:>18.1f}{surface['median']:>13.3f}"
        )
    return "\n".join(lines)


def validate(spec: ModelSpec, network: nn.Module, cases: Sequence[Case], runtime: Runtime) -> dict[str, float]:
    """Median Dice on the held-out cases, for the log: with all roles, and with all but the last."""
    engine = AutoEngine(spec, copy.deepcopy(network), runtime)
    scores = {}
    for roles in role_subsets(spec)[:2]:
        rows = [evaluate_case(engine, case, roles) for case in cases if set(roles) <= set(case.images)]
        if rows:
            scores["dice " + "+".join(roles)] = float(np.median([row["dice"] for row in rows]))
    return scores
