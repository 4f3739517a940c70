"""Objects that a box model suggests: its answers to random boxes, followed from slice to slice, in all that may train.

Many boxes are answered on one slab of an image, since encoding a slice takes ten times as long as an answer on it. A
box prompts the slice in its middle; the answer's own box prompts the slices beside it, until sections no longer agree.
nnInteractive (Isensee et al. 2025) takes such pseudo-objects from SAM.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
from scipy import ndimage as ndi

from training.config.loader import check_range
from training.objects.library import Contour, Library, TrainingCase
from training.objects.suggestions import (
    PackedContours,
    Suggestions,
    read_suggestions,
    suggestion_files,
    write_suggestions,
)
from training.sam.plausible import (
    LEAST_CONTRAST,
    LEAST_SECTIONS,
    MOST_CUT,
    MOST_SHARED,
    agreement,
    as_object,
    contrast,
    cut_share,
    goes_on,
    is_new,
    is_stable,
)
from TumorSegLib.engines.box.engine import BoxEngine, interpolated
from TumorSegLib.engines.box.slice_model import BoxCase, SliceModel
from TumorSegLib.engines.box.views import View
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.display_windows import CT_WINDOWS
from TumorSegLib.jobs import Job
from TumorSegLib.protocols import BoxOptions

# Edge in mm of what a slab shows, and the slices it has, at most so far apart.
FIELD_MM, SLICES, STEP_MM = (80.0, 320.0), 24, 4.0
# Slices of a slab that boxes are drawn on, boxes, how often one is tried for, edges in mm, the longest edge over the
# shortest.
STARTS, BOXES, TRIES, EDGES_MM, ASPECT = 4, 40, 30, (8.0, 120.0), 2.5
# Voxels in a box differ by so much of the display window; its sides are moved by up to this share of its edges.
TOLERANCE, JITTER = (0.03, 0.25), 0.1
# They differ by so many deviations from those around, of which so many pixels are looked at.
LEAST_PROMISE, MARGIN = 0.6, 4
# Boxes hold a voxel brighter than this share of the display window; an edge has at least so many voxels.
TISSUE, LEAST_EDGE = 0.06, 4
# A slice is cut along k this often; slices with voxels longer than twice their width are not.
ALONG_K, MOST_ANISOTROPIC = 0.6, 2.0
# The box of a section is grown by this share to prompt the next one.
GROWN = 0.04


@dataclass(frozen=True, eq=False)
class Slab:
    """Slices of an image, encoded when they are asked for.

    Attributes:
        model: encodes and answers.
        case: the image, from 0 to 1.
        view: how slices are cut from it.
        numbers: of the slices, along the view's axis.
        starts: positions in the slab that boxes are drawn on.
        seen: sections found so far, by position.
    """

    model: SliceModel
    case: BoxCase
    view: View
    numbers: range
    starts: Sequence[int]
    seen: dict[int, list[BoolArray]] = field(default_factory=dict)

    def image(self, position: int) -> Float32Array:
        """A slice ``[rows, columns]``, by its position in the slab."""
        image: Float32Array = self.view.stack(self.case.array)[self.numbers[position]]
        return image

    def answer(self, position: int, rectangle: Float64Array) -> Float32Array | None:
        """The model's answer ``[rows, columns]`` on a slice; None where it is unsure or has nothing."""
        number = self.numbers[position]
        embedding = self.model.encode(self.case, self.view, range(number, number + 1), Job())
        answers, scores = self.model.decode(self.case, self.view, embedding, rectangle[None], Job())
        answer: Float32Array = answers[0]
        return answer if (answer > 0.5).any() and is_stable(answer, float(scores[0])) else None


@dataclass(frozen=True)
class SuggestPlan:
    """What to search: slabs of every case, with which seed, and for how many minutes at most."""

    slabs: int
    seed: int
    minutes: float

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "slabs")
        check_range(self, 0, math.inf, "seed")
        if not self.minutes >= 0:
            raise ArgumentError(f"minutes = {self.minutes} must be at least 0")


def suggest(engine: BoxEngine, library: Library, folder: Path, plan: SuggestPlan) -> Counter[str]:
    """Searches every case that may train, in random order, those with the fewest slabs first.

    Returns:
        Objects in the folder, by role.

    Raises:
        ReadError: a file in the folder is damaged, of another case or of another model.
        WriteError: a file cannot be written.
    """
    start, cases = monotonic(), [*library.sarcomas, *library.contours]
    files = suggestion_files(folder, cases)
    found = [_read(engine, file, case) for case, file in zip(cases, files)]
    order = np.random.default_rng(plan.seed).permutation(len(cases))
    for slabs in range(plan.slabs):
        for number in order:
            if monotonic() - start >= 60 * plan.minutes:
                return _counts(found)
            if found[number].slabs > slabs:
                continue
            found[number] = _searched(engine, cases[number], found[number], plan.seed)
            write_suggestions(files[number], found[number])
            counts = ", ".join(f"{role} {count}" for role, count in _counts(found).items())
            print(f"{cases[number].name}: slab {slabs + 1}, {monotonic() - start:.0f} s, in all {counts}", flush=True)
    return _counts(found)


def _read(engine: BoxEngine, file: Path, case: TrainingCase) -> Suggestions:
    """What the folder has of a case."""
    name, weights = engine.spec.name, engine.spec.weights_sha256
    if not file.exists():
        return Suggestions(case.name, case.grid, name, weights, 0, PackedContours())
    found = read_suggestions(file, case)
    if found.weights != weights:
        raise ReadError(f"{file}: was made with other weights than those of {name!r}; name another folder")
    return found


def _searched(engine: BoxEngine, case: TrainingCase, found: Suggestions, seed: int) -> Suggestions:
    """The objects of a case with those of one more slab."""
    rng = np.random.default_rng([seed, zlib.crc32(case.name.encode()), found.slabs])
    contours = list(found.contours)
    slab = draw_slab(engine, case, rng)
    if slab is not None:
        for _ in range(BOXES):
            contour = _answered(slab, rng)
            if contour is not None and is_new(contour, contours):
                contours.append(contour)
    return Suggestions(case.name, case.grid, found.model, found.weights, found.slabs + 1, PackedContours(contours))


def _counts(found: Sequence[Suggestions]) -> Counter[str]:
    return Counter(role for one in found for role in one.contours.roles)


def draw_slab(engine: BoxEngine, case: TrainingCase, rng: np.random.Generator) -> Slab | None:
    """A random slab of a random image of a case; None where the image shows nothing."""
    role, window = str(rng.choice(list(case.images))), str(rng.choice(list(CT_WINDOWS)))
    prepared = engine.prepare({role: case.images[role]}, BoxOptions(role, ct_window=window))
    tissue = np.flatnonzero(prepared.array > TISSUE)
    if not tissue.size:
        return None
    place = np.unravel_index(int(tissue[int(rng.integers(tissue.size))]), prepared.array.shape)[::-1]
    spacing, size = case.grid.spacing, case.grid.size
    axes = [axis for axis in range(3) if _is_flat(spacing, axis)]
    axis = 2 if 2 in axes and rng.random() < ALONG_K else int(rng.choice(axes or [2]))
    edge = float(np.exp(rng.uniform(*np.log(FIELD_MM))))
    region = [_window(int(at), max(round(edge / step), 8), n) for at, step, n in zip(place, spacing, size)]
    step = max(1, min(round(0.8 * edge / SLICES / spacing[axis]), int(STEP_MM / spacing[axis])))
    first, end = _window(int(place[axis]), SLICES * step, size[axis])
    region[axis] = (0, size[axis])
    view = View.of(case.grid, (region[0], region[1], region[2]), axis, engine.model.image_size)
    numbers = range(first, end, step)
    starts = rng.choice(len(numbers), min(STARTS, len(numbers)), replace=False).tolist()
    return Slab(engine.model, prepared, view, numbers, starts)


def _is_flat(spacing: tuple[float, float, float], axis: int) -> bool:
    across = [step for n, step in enumerate(spacing) if n != axis]
    return max(across) <= MOST_ANISOTROPIC * min(across)


def _window(middle: int, width: int, n: int) -> tuple[int, int]:
    """A range so wide about a voxel within 0..n, moved inside it."""
    low = max(0, min(middle - width // 2, n - width))
    return low, min(low + width, n)


def draw_rectangle(slab: Slab, rng: np.random.Generator) -> tuple[int, Float64Array] | None:
    """A random box on a slice, round voxels that are about as bright as one of them and brighter or darker than around.

    Boxes anywhere rarely hold one thing, and the model answers with something as large as the box whatever it holds.

    Returns:
        The slice, by its position in the slab, and the rectangle in voxels of the view; None where none was found.
    """
    spacing = np.array([slab.case.grid.spacing[axis] for axis in slab.view.plane])
    for _ in range(TRIES):
        position = int(rng.choice(slab.starts))
        image = slab.image(position)
        tissue = np.flatnonzero(image > TISSUE)
        if not tissue.size:
            continue
        place = np.unravel_index(int(tissue[int(rng.integers(tissue.size))]), image.shape)
        reach = np.exp(rng.uniform(*np.log(EDGES_MM))) / 2 / spacing
        low = np.maximum(np.subtract(place, reach.astype(int) + MARGIN), 0)
        part = image[tuple(slice(n, m + int(r) + MARGIN + 1) for n, m, r in zip(low, place, reach))]
        near = np.subtract(place, low)
        distance = np.linalg.norm((np.indices(part.shape) - near[:, None, None]) / reach[:, None, None], axis=0)
        smooth = ndi.gaussian_filter(part, rng.uniform(0.5, 1.5))
        alike = np.abs(smooth - smooth[tuple(near)]) < np.exp(rng.uniform(*np.log(TOLERANCE)))
        region = _piece(alike & (distance <= 1), tuple(near))
        if region is None or abs(contrast(part, region)[1]) < LEAST_PROMISE:
            continue
        ends = _ends(region) + low[:, None]
        edges = np.diff(ends)[:, 0]
        aspect = float(np.max(edges * spacing) / np.min(edges * spacing))
        fits = (edges * spacing >= EDGES_MM[0]).all() and (edges * spacing <= EDGES_MM[1]).all()
        inside = (ends[:, 0] > 0).all() and (ends[:, 1] < image.shape).all()
        if fits and inside and aspect <= ASPECT and edges.min() >= LEAST_EDGE:
            moved = ends + rng.uniform(-JITTER, JITTER, (2, 2)) * edges[:, None]
            return position, np.clip(moved, 0, np.array(image.shape)[:, None]).ravel()
    return None


def _piece(inside: BoolArray, place: tuple[int, ...]) -> BoolArray | None:
    """The piece at a pixel, without threads; None where it is one."""
    parts, _ = ndi.label(inside)
    opened, count = ndi.label(ndi.binary_opening(parts == parts[place]))
    if not count:
        return None
    return np.asarray(ndi.binary_fill_holes(opened == 1 + np.argmax(np.bincount(opened.ravel())[1:])))


def _ends(section: BoolArray) -> Float64Array:
    """First row and end of rows, first column and end of columns ``[2, 2]`` of a section that is not empty."""
    hits = [np.flatnonzero(section.any(axis=1 - axis)) for axis in range(2)]
    return np.array([[hit[0], hit[-1] + 1] for hit in hits], dtype=float)


def _answered(slab: Slab, rng: np.random.Generator) -> Contour | None:
    """The object that the model finds from a random box, if it is plausible."""
    drawn = draw_rectangle(slab, rng)
    if drawn is None:
        return None
    sections = followed(slab, *drawn)
    if len(sections) < LEAST_SECTIONS:
        return None
    view, numbers = slab.view, [slab.numbers[position] for position in sorted(sections)]
    ranges = list(view.region)
    ranges[view.axis] = (numbers[0], numbers[-1] + 1)
    box: Box = (ranges[0], ranges[1], ranges[2])
    stack = np.stack([sections[position] for position in sorted(sections)])
    inside: BoolArray = interpolated(view, stack, numbers, box) > 0.5
    if cut_share(inside, 2 - view.axis) > MOST_CUT:
        return None
    contour = as_object(slab.case.array[slices(box)], inside, slab.case.role)
    if contour is None:
        return None
    i, j, k = (low + at for (low, _), at in zip(box, contour.corner))
    return Contour(contour.array, (i, j, k), contour.role)


def followed(slab: Slab, position: int, rectangle: Float64Array) -> dict[int, Float32Array]:
    """What a rectangle on a slice is part of, followed up and down until sections no longer agree.

    Returns:
        Probabilities ``[rows, columns]`` by position in the slab; none where the first section is not plausible, or
        part of what was found before.
    """
    first = slab.answer(position, rectangle)
    if first is None:
        return {}
    image, inside = slab.image(position), first > 0.5
    difference, relative = contrast(image, inside)
    if abs(relative) < LEAST_CONTRAST or any(
        agreement(inside, other) > MOST_SHARED for other in slab.seen.get(position, ())
    ):
        return {}
    start = float(image[inside].mean()), difference
    found = {position: first}
    for ahead in (range(position + 1, len(slab.numbers)), range(position - 1, -1, -1)):
        last = inside
        for number in ahead:
            answer = slab.answer(number, _next_box(last))
            if answer is None or not goes_on(answer > 0.5, last, slab.image(number), start):
                break
            found[number], last = answer, answer > 0.5
    for number, answer in found.items():
        slab.seen.setdefault(number, []).append(answer > 0.5)
    return found


def _next_box(section: BoolArray) -> Float64Array:
    """The rectangle that prompts the slice after a section."""
    ends = _ends(section)
    margins = GROWN * np.diff(ends) * (-1, 1)
    return np.clip(ends + margins, 0, np.array(section.shape)[:, None]).ravel()
