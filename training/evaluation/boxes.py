"""Measuring a box model: from a loose box round the tumour, and from a box on its middle slice.

The box of the reference is grown by 5 mm and, on every side, by up to 5 mm more at random (seeded by case), as a user
would draw it. Beside it stand what the ellipsoid inscribed in that box scores (a lower bound that ignores the
image), and what the model makes of every slice's own exact box, which no user would draw.

One session answers all methods of a case, each from nothing; slices embedded for one serve the next, which takes less
time than it would alone.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.cases import Case
from training.evaluation.automatic import RUN_SETTINGS, named_cases, origin
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.errors import RoleError
from TumorSegLib.evaluation.metrics import evaluate as compare
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.jobs import Job, progress_bar
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions
from TumorSegLib.session.session import Session

MARGIN_MM, JITTER_MM, SEED = 5.0, 5.0, 0
#: Images looked at unless others are asked for.
ROLES = ("ct", "pet", "mr_t1")
ELLIPSOID, EXACT, VOLUME, ALL_AXES, SLICE = "ellipsoid", "exact boxes", "box", "box, three axes", "middle slice"
REFINED, SLICE_REFINED = "three axes, refined", "middle slice, refined"


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    boxes: BoxEngine
    refiner: ClickEngine | None = None

    def methods(self) -> list[str]:
        """Their names."""
        return [ELLIPSOID, EXACT, VOLUME, ALL_AXES, SLICE, *([REFINED, SLICE_REFINED] if self.refiner else [])]


def loose_box(reference: Mask, case: str) -> BoxPrompt:
    """The reference's box as a user would draw it; the name of the case seeds the jitter."""
    rng = np.random.default_rng([SEED, zlib.crc32(case.encode())])
    return BoxPrompt(grown_box(_box_of(reference), reference.grid, (MARGIN_MM, JITTER_MM), rng))


def grown_box(box: Box, grid: Grid, margins_mm: tuple[float, float], rng: np.random.Generator) -> Box:
    """A box grown within the image, on every side by the first margin and at random by up to the second one more."""
    margin, jitter = margins_mm
    ranges = []
    for (low, high), step, n in zip(box, grid.spacing, grid.size):
        before, behind = margin + rng.uniform(0, jitter, 2)
        ranges.append((max(round(low - before / step), 0), min(round(high + behind / step), n)))
    return ranges[0], ranges[1], ranges[2]


def middle_slice(box: BoxPrompt, reference: Mask) -> BoxPrompt:
    """The box of the reference on the slice half way up, with the same margins: a user boxes what shows there."""
    (i0, i1), (j0, j1), (k0, k1) = _box_of(reference)
    shown = np.flatnonzero(reference.array.any(axis=(1, 2)))  # not every slice between two parts of a tumour
    middle = int(shown[np.abs(shown - (k0 + k1) // 2).argmin()])
    outer = box.box
    part = reference.array[middle] > 0
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    i = (max(int(columns[0]) - (i0 - outer[0][0]), 0), int(columns[-1]) + 1 + (outer[0][1] - i1))
    j = (max(int(rows[0]) - (j0 - outer[1][0]), 0), int(rows[-1]) + 1 + (outer[1][1] - j1))
    size = reference.grid.size
    return BoxPrompt(((i[0], min(i[1], size[0])), (j[0], min(j[1], size[1])), (middle, middle + 1)))


def inscribed_ellipsoid(box: BoxPrompt, grid: Grid) -> Mask:
    """The ellipsoid that touches all sides of a box."""
    array = np.zeros(grid.shape, dtype=np.uint8)
    axes = [((np.arange(high - low) + 0.5) / (high - low) * 2 - 1) ** 2 for low, high in box.box]
    array[slices(box.box)] = axes[2][:, None, None] + axes[1][:, None] + axes[0] <= 1
    return Mask(grid, array)


def exact_boxes(engine: BoxEngine, case: Case, truth: Mask, role: str) -> Mask:
    """What the model makes of every slice along k, given the box of the reference on that slice."""
    prepared = engine.prepare(case.images, BoxOptions(role))
    view = engine.view(prepared, _box_of(truth), 2)
    numbers = [int(number) for number in np.flatnonzero(truth.array.any(axis=(1, 2)))]
    rectangles = []
    for part in view.stack(truth.array)[numbers]:
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        rectangles.append([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1])
    job = Job()
    embeddings = engine.model.encode(prepared, view, numbers, job)
    answers, _ = engine.model.decode(prepared, view, embeddings, np.array(rectangles, dtype=float), job)
    array = np.zeros(truth.grid.shape, dtype=np.uint8)
    view.stack(array)[numbers] = answers > 0.5
    return Mask(truth.grid, array)


def evaluate_boxes(plan: Plan, data: Path, fold: int | None, roles: Sequence[str]) -> dict[str, Any]:
    """Evaluates a box model on one fold of a data folder, or all its cases.

    Args:
        plan: what to measure.
        data: data folder, see :mod:`training.data.cases`.
        fold: number of the fold; all if None.
        roles: images looked at, one after the other; the refiner is shown all that a case has of those it takes.

    Returns:
        JSON-ready: ``roles``: per role and method the median, mean and worst Dice and the row of every case; and what
        the figures hold for, as of :func:`training.evaluation.automatic.evaluate_folder`.

    Raises:
        ArgumentError: there is no such fold.
        RoleError: no case has any of the roles.
        ReadError: the data folder or a case cannot be read.
    """
    wanted = list(dict.fromkeys([*roles, *(plan.refiner.spec.roles if plan.refiner else ())]))
    cases = named_cases(data, fold, wanted)
    able = [(role, number) for role in roles for number, case in enumerate(cases) if role in case.images]
    if not able:
        raise RoleError(f"{data}: none of the {len(cases)} cases has {' or '.join(roles)}")
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with progress_bar("Boxing") as progress:
        for done, (role, number) in enumerate(able, start=1):
            for method, row in _evaluate_case(plan, cases[number], role).items():
                rows.setdefault(role, {}).setdefault(method, []).append(row)
            progress(done, len(able), f"{cases[number].name} {role}")
    runs = [row for methods in rows.values() for row in methods[VOLUME]]
    return {
        **origin(plan.boxes.spec, runs),
        "refiner": plan.refiner.spec.name if plan.refiner else None,
        "fold": fold,
        "roles": {
            role: {method: {**_summary(some), "cases": some} for method, some in methods.items()}
            for role, methods in rows.items()
        },
    }


def _evaluate_case(plan: Plan, case: Case, role: str) -> dict[str, dict[str, Any]]:
    truth = Mask(case.reference.grid, (case.reference.array > 0).astype(np.uint8))
    box = loose_box(truth, case.name)
    whole, slice_, every = box, middle_slice(box, truth), BoxOptions(role, axes=(0, 1, 2))
    session = Session(case.images, box=plan.boxes, clicks=plan.refiner)

    def found(prompt: BoxPrompt, options: BoxOptions, refine: bool = False) -> Mask:
        session.add_box(prompt, options=options, refine=refine)
        mask = session.mask
        session.undo()
        return mask

    answers: dict[str, Callable[[], Mask]] = {
        ELLIPSOID: lambda: inscribed_ellipsoid(whole, truth.grid),
        EXACT: lambda: exact_boxes(plan.boxes, case, truth, role),
        VOLUME: lambda: found(whole, BoxOptions(role)),
        ALL_AXES: lambda: found(whole, every),
        SLICE: lambda: found(slice_, BoxOptions(role)),
        REFINED: lambda: found(whole, every, refine=True),
        SLICE_REFINED: lambda: found(slice_, BoxOptions(role), refine=True),
    }
    run = {name: plan.boxes.info[name] for name in RUN_SETTINGS if name in plan.boxes.info}
    rows = {}
    for method in plan.methods():
        started = time.perf_counter()
        mask = answers[method]()
        seconds = round(time.perf_counter() - started, 2)
        rows[method] = {"case": case.name, "run": run, "seconds": seconds, **compare(mask, truth).to_dict()}
    return rows


def _box_of(reference: Mask) -> Box:
    box = reference.bounding_box()
    if box is None:
        raise RoleError("a case without tumour has no box")
    return box


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    dice = np.array([row["dice"] or 0.0 for row in rows])
    return {"median": float(np.median(dice)), "mean": float(dice.mean()), "worst": float(dice.min())}


def format_boxes(report: Mapping[str, Any]) -> str:
    """The report of :func:`evaluate_boxes` as lines of text."""
    lines = [f"{'Dice from a box':<28}{'median':>8}{'mean':>8}{'worst':>8}{'seconds':>9}"]
    for role, methods in report["roles"].items():
        for method, figures in methods.items():
            seconds = float(np.median([row["seconds"] for row in figures["cases"]]))
            numbers = "".join(f"{figures[name]:>8.3f}" for name in ("median", "mean", "worst"))
            lines.append(f"{role + ': ' + method:<28}{numbers}{seconds:>9.1f}")
    return "\n".join(lines)
