"""Measuring a model by the evaluation protocol: per case and subset of roles, in the windows that hide the crop."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from training.data.cases import SARCOMA_ROLES, Case, read_cases
from training.evaluation.summary import provenance, run_settings, summarise
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import RoleError
from TumorSegLib.evaluation.labels import evaluate_labels
from TumorSegLib.evaluation.metrics import evaluate as compare
from TumorSegLib.images.labels import Segment, Segmentation
from TumorSegLib.images.volume import Mask
from TumorSegLib.jobs import progress_bar, timed
from TumorSegLib.models.spec import AnyImageInput, ModelSpec
from TumorSegLib.protocols import AutoSegmenter

MEASURES = ("dice", "iou", "hd95_mm", "assd_mm", "nsd", "balanced_average_hausdorff_mm", "sensitivity", "precision")


def role_subsets(spec: ModelSpec) -> list[tuple[str, ...]]:
    """All subsets of roles a model accepts, the fullest first; of those of sarcomas where it takes any image."""
    if not isinstance(spec.input, AnyImageInput):
        return spec.role_subsets
    return [subset for n in (3, 2, 1) for subset in combinations(SARCOMA_ROLES, n)]


def roles_read(spec: ModelSpec) -> tuple[str, ...]:
    """Roles of the images that are read of a case to measure a model."""
    return SARCOMA_ROLES if isinstance(spec.input, AnyImageInput) else spec.roles


def evaluate_case(engine: AutoSegmenter, case: Case, roles: Sequence[str], mirror: bool = False) -> dict[str, Any]:
    """Segments a case from some of its roles, using only voxels inside the jitter window, and compares.

    Returns:
        All metrics of :func:`TumorSegLib.evaluation.metrics.evaluate` of all labels together, with ``case``,
        ``seconds`` (of the segmentation) and ``run``, see :func:`training.evaluation.summary.run_settings`. Of a model
        with several labels ``labels`` has those of each of its label maps by name. They are compared with the data's
        labels of the same names, or of the same values where no name is the same.
    """
    part = case.in_jitter_window()
    images = {role: part.images[role] for role in roles}
    result, seconds = timed(lambda: engine.segment(images, mirror=mirror))
    metrics = compare(_any(result.mask), part.tumour).to_dict()
    row = {"case": case.name, "seconds": seconds, "run": run_settings(result.info), **metrics}
    if len(engine.spec.labels) > 1:
        own = engine.spec.labels
        named = part.labels if own.keys() & part.labels.keys() else own
        each = evaluate_labels(_segments(result.mask, own), _segments(part.reference, named))
        row["labels"] = {name: each[name].to_dict() for name in own}
    return row


def _segments(mask: Mask, labels: Mapping[str, int]) -> Segmentation:
    """A label map with the names of its labels."""
    return Segmentation.of_labels(mask, [Segment(name, value) for name, value in labels.items()])


def _any(mask: Mask) -> Mask:
    """The mask with 1 for every label."""
    return Mask(mask.grid, (mask.array > 0).astype(np.uint8))


def evaluate_folder(
    engine: AutoSegmenter, data: Path, fold: int | None, subsets: Sequence[Sequence[str]], mirror: bool = False
) -> dict[str, Any]:
    """Evaluates on one fold of a data folder, or on all its cases.

    A case counts for the subsets of which it has all roles.

    Returns:
        JSON-ready: ``subsets``, which has per subset of roles (names joined with ``+``) the summary and the row of
        every case, and what the figures hold for: fold, mirror and :func:`training.evaluation.summary.provenance`.

    Raises:
        ArgumentError: there is no such fold.
        RoleError: the model cannot work from one of the subsets, or no case has all roles of any.
        ReadError: the data folder or a case cannot be read.
    """
    for roles in subsets:
        check_subset(engine.spec, roles)
    able = cases_of_subsets(data, fold, engine.spec, subsets)
    rows: dict[str, list[dict[str, Any]]] = {}
    with progress_bar("Evaluating") as progress:
        for done, (roles, case) in enumerate(able, start=1):
            row = evaluate_case(engine, case, roles, mirror)
            rows.setdefault("+".join(roles), []).append(row)
            progress(done, len(able), f"{case.name} {'+'.join(roles)}: Dice {row['dice']:.3f}")
    report = {name: {**_summary(some), "cases": some} for name, some in rows.items()}
    return {**provenance(engine.spec, list(chain(*rows.values()))), "fold": fold, "mirror": mirror, "subsets": report}


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of cases, and with several labels that of each."""
    result: dict[str, Any] = {"summary": {measure: summarise(rows, measure) for measure in MEASURES}}
    if "labels" in rows[0]:
        by_label = {name: [row["labels"][name] for row in rows] for name in rows[0]["labels"]}
        result["labels"] = {
            name: {measure: summarise(some, measure) for measure in MEASURES} for name, some in by_label.items()
        }
    return result


def cases_of_subsets(
    data: Path, fold: int | None, spec: ModelSpec, subsets: Sequence[Sequence[str]]
) -> list[tuple[Sequence[str], Case]]:
    """Each subset of roles with every case that has all of them; raises :class:`RoleError` where there is none."""
    cases = read_cases(data, fold, roles_read(spec))
    able = [(roles, case) for roles in subsets for case in cases if set(roles) <= set(case.images)]
    if not able:
        wanted = " nor ".join("+".join(roles) for roles in subsets)
        raise RoleError(f"{data}: none of the {len(cases)} cases has {wanted}")
    return able


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
        lines.append(_line(roles, len(entry["cases"]), entry["summary"]))
        lines += [_line(f"  {name}", len(entry["cases"]), one) for name, one in entry.get("labels", {}).items()]
    return "\n".join(lines)


def _line(name: str, cases: int, summary: Mapping[str, Any]) -> str:
    dice, distance, surface = (summary[measure] for measure in ("dice", "hd95_mm", "nsd"))
    median = math.inf if distance["median"] is None else distance["median"]
    return (
        f"{name:<16}{cases:>6}{dice['median']:>14.3f}{dice['mean']:>8.3f}{dice['worst']:>8.3f}"
        f"{median:>18.1f}{surface['median']:>13.3f}"
    )


def validate(spec: ModelSpec, network: nn.Module, cases: Sequence[Case], runtime: Runtime) -> dict[str, float]:
    """Median Dice on the held-out cases, for the log: with all roles, and with all but the last; with several labels
    the mean of each too.
    """
    engine = AutoEngine(spec, copy.deepcopy(network), runtime)
    scores = {}
    for roles in spec.role_subsets[:2]:
        rows = [evaluate_case(engine, case, roles) for case in cases if set(roles) <= set(case.images)]
        if rows:
            scores["dice " + "+".join(roles)] = float(np.median([row["dice"] for row in rows]))
            for name in rows[0].get("labels", {}):
                mean = float(np.mean([row["labels"][name]["dice"] for row in rows]))
                scores[f"mean dice {'+'.join(roles)} {name}"] = mean
    return scores
