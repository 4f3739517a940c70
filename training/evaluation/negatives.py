"""What an automatic model marks in images without a sarcoma, in ml: organs, or tumours of other kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.data.cases import Case
from training.evaluation.summary import provenance, run_settings
from training.objects.negatives import read_negatives
from TumorSegLib.errors import RoleError
from TumorSegLib.jobs import progress_bar, timed
from TumorSegLib.protocols import AutoSegmenter


def evaluate_negatives(engine: AutoSegmenter, root: Path, use: str) -> dict[str, Any]:
    """Segments every negative from every subset of its images that the model can work from, as a whole.

    Args:
        engine: of the model.
        root: folder with ``suite.json`` and the data folders it names.
        use: ``validate`` or ``test``.

    Returns:
        JSON-ready: ``cases``, with ``case``, ``roles``, ``marked_ml``, ``seconds`` and ``run``; ``summary``, with the
        ``median_ml`` and ``largest_ml`` of ``marked_ml`` over them; and what the figures hold for.

    Raises:
        ReadError: a file is missing or damaged.
        RoleError: the model can work from none of the images.
    """
    spec = engine.spec
    negatives = read_negatives(root, use, spec.roles)
    able = [(one.case, roles) for one in negatives for roles in spec.role_subsets if set(roles) <= set(one.case.images)]
    if not able:
        raise RoleError(f"{root}: model {spec.name!r} can work from none of the {len(negatives)} negatives")
    rows: list[dict[str, Any]] = []
    with progress_bar("Evaluating") as progress:
        for done, (case, roles) in enumerate(able, start=1):
            row = _evaluate(engine, case, roles)
            rows.append(row)
            progress(done, len(able), f"{case.name} {row['roles']}: {row['marked_ml']:.1f} ml")
    volumes = [row["marked_ml"] for row in rows]
    summary = {"median_ml": float(np.median(volumes)), "largest_ml": max(volumes)}
    return {**provenance(spec, rows), "use": use, "summary": summary, "cases": rows}


def _evaluate(engine: AutoSegmenter, case: Case, roles: Sequence[str]) -> dict[str, Any]:
    result, seconds = timed(lambda: engine.segment({role: case.images[role] for role in roles}))
    marked = float((result.mask.array > 0).sum() * result.mask.grid.voxel_volume_ml)
    settings = run_settings(result.info)
    return {"case": case.name, "roles": "+".join(roles), "marked_ml": marked, "seconds": seconds, "run": settings}


def format_negatives(report: Mapping[str, Any]) -> str:
    """The report of :func:`evaluate_negatives` as lines of text."""
    width = max(len(row["case"]) for row in report["cases"]) + 2
    lines = [f"{'case':<{width}}{'roles':<10}{'marked ml':>10}"]
    lines += [f"{row['case']:<{width}}{row['roles']:<10}{row['marked_ml']:>10.1f}" for row in report["cases"]]
    summary = report["summary"]
    lines.append(f"median {summary['median_ml']:.1f} ml, largest {summary['largest_ml']:.1f} ml")
    return "\n".join(lines)
