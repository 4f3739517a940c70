"""Measuring a box model: from a loose box round the tumour, and from a box on its middle slice.

The box of the reference is grown by 5 mm and, on every side, by up to 5 mm more at random (seeded by case), as a user
would draw it. Beside it stand what the ellipsoid inscribed in that box scores (a lower bound that ignores the
image), and what the model makes of every slice's own exact box, which no user would draw.

One session answers all methods of a case, each from nothing; slices embedded for one serve the next, which takes less
time than it would alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.cases import Case, read_case, read_cases
from training.evaluation.summary import provenance, run_settings, summarise
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.clicks.any_image import AnyImageEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.errors import RoleError
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.evaluation.metrics import evaluate as compare
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import TUMOUR
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.jobs import Job, progress_bar, timed
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions
from TumorSegLib.session.session import Session

MARGIN_MM, JITTER_MM, SEED = 5.0, 5.0, 0
#: Slices run along k, as contours are drawn.
AXIS = 2
#: Images that are read unless others are asked for.
EVALUATED_ROLES = ("ct", "pet", "mr_t1")
ELLIPSOID, EXACT, VOLUME, ALL_AXES, SLICE = "ellipsoid", "exact boxes", "box", "box, three axes", "middle slice"
REFINED, SLICE_REFINED = "three axes, refined", "middle slice, refined"


@dataclass(frozen=True)
class BoxPlan:
    """What to measure."""

    boxes: BoxEngine
    refiner: ClickEngine | AnyImageEngine | None = None

    def methods(self) -> list[str]:
        """Names of the methods."""
        return [ELLIPSOID, EXACT, VOLUME, ALL_AXES, SLICE, *([REFINED, SLICE_REFINED] if self.refiner else [])]


def loose_box(case: Case) -> BoxPrompt:
    """The tumour's box as a user would draw it; the name of the case seeds the jitter."""
    rng = np.random.default_rng([SEED, zlib.crc32(case.name.encode())])
    return BoxPrompt(grown_box(case.tumour_box, case.reference.grid, (MARGIN_MM, JITTER_MM), rng))


def grown_box(box: Box, grid: Grid, margins_mm: tuple[float, float], rng: np.random.Generator) -> Box:
    """A box grown within the image, on every side by the first margin and at random by up to the second one more."""
    margin, jitter = margins_mm
    ranges = []
    for (low, high), step, n in zip(box, grid.spacing, grid.size):
        before, behind = margin + rng.uniform(0, jitter, 2)
        ranges.append((max(round(low - before / step), 0), min(round(high + behind / step), n)))
    return ranges[0], ranges[1], ranges[2]


def middle_slice(box: BoxPrompt, case: Case) -> BoxPrompt:
    """The box of the tumour on the slice half way up, with the margins of the box in 3D."""
    (i0, i1), (j0, j1), (k0, k1) = case.tumour_box
    array = case.reference.array
    sampled = np.flatnonzero(array.any(axis=(1, 2)))  # not every slice between two parts of a tumour
    middle = int(sampled[np.abs(sampled - (k0 + k1) // 2).argmin()])
    part, outer = array[middle] > 0, box.box
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    i = (max(int(columns[0]) - (i0 - outer[0][0]), 0), int(columns[-1]) + 1 + (outer[0][1] - i1))
    j = (max(int(rows[0]) - (j0 - outer[1][0]), 0), int(rows[-1]) + 1 + (outer[1][1] - j1))
    size = case.reference.grid.size
    return BoxPrompt(((i[0], min(i[1], size[0])), (j[0], min(j[1], size[1])), (middle, middle + 1)))


def inscribed_ellipsoid(box: BoxPrompt, grid: Grid) -> Mask:
    """The ellipsoid that touches all sides of a box."""
    array = np.zeros(grid.shape, dtype=np.uint8)
    axes = [((np.arange(high - low) + 0.5) / (high - low) * 2 - 1) ** 2 for low, high in box.box]
    array[slices(box.box)] = axes[2][:, None, None] + axes[1][:, None] + axes[0] <= 1
    return Mask(grid, array)


def exact_boxes(engine: BoxEngine, images: Images, truth: Mask, role: str) -> Mask:
    """What the model makes of every slice along k, given the box of an object on that slice."""
    prepared, box = engine.prepare(images, BoxOptions(role)), bounding_box(truth.array) or EMPTY_BOX
    view = engine.view(prepared, box, AXIS)
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


def evaluate_boxes(plan: BoxPlan, data: Path, fold: int | None, roles: Sequence[str]) -> dict[str, Any]:
    """Evaluates a box model on one fold of a data folder, or all its cases.

    Args:
        plan: what to measure.
        data: data folder, see :mod:`training.data.cases`.
        fold: number of the fold; all if None.
        roles: images to segment, one after the other; the refiner reads all that a case has of those it takes.

    Returns:
        JSON-ready: ``roles``: per role and method the median, mean and worst Dice and the row of every case; and what
        the figures hold for, as of :func:`training.evaluation.automatic.evaluate_folder`.

    Raises:
        ArgumentError: there is no such fold.
        RoleError: no case has any of the roles.
        ReadError: the data folder or a case cannot be read.
    """
    wanted = list(dict.fromkeys([*roles, *(plan.refiner.spec.roles if plan.refiner else ())]))
    cases = read_cases(data, fold, wanted)
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
        **provenance(plan.boxes.spec, runs),
        "refiner": plan.refiner.spec.name if plan.refiner else None,
        "fold": fold,
        "roles": {
            role: {method: {**summarise(some), "cases": some} for method, some in methods.items()}
            for role, methods in rows.items()
        },
    }


def _evaluate_case(plan: BoxPlan, case: Case, role: str) -> dict[str, dict[str, Any]]:
    truth, whole, every = case.tumour, loose_box(case), BoxOptions(role, axes=(0, 1, 2))
    slice_ = middle_slice(whole, case)
    session = Session(case.images, box=plan.boxes, clicks=plan.refiner)

    def found(prompt: BoxPrompt, options: BoxOptions, refine: bool = False) -> Mask:
        session.add_box(prompt, options=options, refine=refine)
        mask = session.mask
        session.undo()
        return mask

    answers: dict[str, Callable[[], Mask]] = {
        ELLIPSOID: lambda: inscribed_ellipsoid(whole, truth.grid),
        EXACT: lambda: exact_boxes(plan.boxes, case.images, case.tumour, role),
        VOLUME: lambda: found(whole, BoxOptions(role)),
        ALL_AXES: lambda: found(whole, every),
        SLICE: lambda: found(slice_, BoxOptions(role)),
        REFINED: lambda: found(whole, every, refine=True),
        SLICE_REFINED: lambda: found(slice_, BoxOptions(role), refine=True),
    }
    rows = {}
    for method in plan.methods():
        mask, seconds = timed(answers[method])
        metrics = compare(mask, truth).to_dict()
        rows[method] = {"case": case.name, "run": run_settings(plan.boxes.info), "seconds": seconds, **metrics}
    return rows


def measure_loose_boxes(
    engines: Mapping[str, BoxEngine], data: Path, names: Sequence[str], roles: Sequence[str], ct_window: str
) -> dict[str, Any]:
    """Dice from loose boxes of engines that share an image encoder, so that slices are encoded once for all.

    Args:
        engines: by name of the method.
        data: data folder, see :mod:`training.data.cases`.
        names: of the cases.
        roles: images to segment, one after the other.
        ct_window: name of the display window of a CT.

    Returns:
        Per role and method, the ellipsoid inscribed in the box among them: ``median``, ``mean``, ``worst``, and
        ``cases``: the Dice of every case.
    """
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with progress_bar("Evaluating") as progress:
        for done, name in enumerate(names, start=1):
            case = read_case(data, name, roles)
            for role in case.images:
                for method, mask in _loose_box_masks(engines, case, BoxOptions(role, (AXIS,), ct_window)):
                    row = {"case": name, "dice": dice(mask.array, case.tumour.array)}
                    rows.setdefault(role, {}).setdefault(method, []).append(row)
            progress(done, len(names), name)
    return {
        role: {
            method: {**summarise(some), "cases": {row["case"]: row["dice"] for row in some}}
            for method, some in methods.items()
        }
        for role, methods in rows.items()
    }


def _loose_box_masks(engines: Mapping[str, BoxEngine], case: Case, options: BoxOptions) -> Iterator[tuple[str, Mask]]:
    box, grid = loose_box(case), case.reference.grid
    yield ELLIPSOID, inscribed_ellipsoid(box, grid)
    prepared = next(iter(engines.values())).prepare(case.images, options)
    for method, engine in engines.items():
        refinement = engine.segment(prepared, box, options)
        array = np.zeros(grid.shape, dtype=np.uint8)
        array[slices(refinement.box)] = refinement.probability >= TUMOUR
        yield method, Mask(grid, array)


def format_boxes(report: Mapping[str, Any]) -> str:
    """The report of :func:`evaluate_boxes` as lines of text."""
    lines = [f"{'Dice from a box':<28}{'median':>8}{'mean':>8}{'worst':>8}{'seconds':>9}"]
    for role, methods in report["roles"].items():
        for method, figures in methods.items():
            seconds = float(np.median([row["seconds"] for row in figures["cases"]]))
            numbers = "".join(f"{figures[name]:>8.3f}" for name in ("median", "mean", "worst"))
            lines.append(f"{role + ': ' + method:<28}{numbers}{seconds:>9.1f}")
    return "\n".join(lines)
