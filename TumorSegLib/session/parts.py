"""New values for a part of a segment: from masks made elsewhere, and from the answers of engines."""

from __future__ import annotations

from typing import Any

import numpy as np

from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import (
    EMPTY_BOX,
    bounding_box,
    clip_additions,
    full_box,
    origin,
    slices,
    translate,
    union,
)
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import CERTAIN, EMPTY, TUMOUR, from_mask, to_uint8
from TumorSegLib.images.volume import Mask
from TumorSegLib.jobs import Cancel
from TumorSegLib.prompts.constraints import MaskEdit, apply_constraints
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.types import BoxPrompt, Prompts
from TumorSegLib.protocols import ClickSegmenter, Refinement, Result

# Probabilities below 2 % are set to 0, so that an undo step has the size of the tumour, not of the body.
FAINT = 5


def check_grid(mask: Mask, grid: Grid) -> None:
    """Raises :class:`GeometryError` unless a mask lies on the grid of a session."""
    if mask.grid != grid:
        difference = grid.difference(mask.grid)
        raise GeometryError(f"the mask is not on the grid of the first image ({grid}): {difference}")


def initial_part(mask: Mask | None, grid: Grid) -> tuple[Box, UInt8Array]:
    """What a segment begins with: half-open voxel box and probability, uint8 ``[k, j, i]``; both empty for no mask.

    Args:
        mask: on the grid or on a part of it, outside of which it is empty.
        grid: of the segment.

    Raises:
        GeometryError: the mask lies on another grid.
    """
    if mask is None:
        return EMPTY_BOX, EMPTY
    part = grid.box_of(mask.grid)
    if part is None:
        check_grid(mask, grid)
    box = mask.bounding_box()
    if part is None or box is None:
        return EMPTY_BOX, EMPTY
    return translate(box, origin(part)), from_mask(mask.array[slices(box)])


def part_from_result(result: Result) -> tuple[Box, UInt8Array]:
    """What an automatic engine found: the box of the whole grid and the probability, uint8 ``[k, j, i]``."""
    values = to_uint8(result.probability.array)
    values[values < FAINT] = 0
    return full_box(values.shape), values


def part_from_mask(
    current: UInt8Array, mask: Mask, prompts: Prompts, reach_mm: float
) -> tuple[Box, UInt8Array, Prompts]:
    """The part of a segment that a mask edited with other tools changes, and the prompts that this leaves.

    Args:
        current: probability of the segment, uint8 ``[k, j, i]`` of the mask's grid.
        mask: the segment from now on; every label but background is tumour.
        prompts: of the segment; clicks and scribbles that the edit contradicts are dropped.
        reach_mm: how far these decide.

    Returns:
        Half-open voxel box, its new values, uint8 ``[k, j, i]``, and the prompts that remain.
    """
    box = bounding_box((mask.array > 0) != (current >= TUMOUR)) or EMPTY_BOX
    new, values = mask.array[slices(box)] > 0, current[slices(box)].copy()
    changed = new != (values >= TUMOUR)
    values[changed] = from_mask(new[changed])
    edit = MaskEdit(box, changed & ~new, changed & new, mask.grid.spacing, reach_mm)
    return box, values, prompts.without_conflicts(edit)


def constrained(
    current: UInt8Array, answer: Refinement, prompts: Prompts, grid: Grid, add: bool, reach_mm: float
) -> Refinement:
    """An engine's answer combined with a segment, with the constraints of the prompts applied.

    Args:
        current: probability of the segment, uint8 ``[k, j, i]`` of the grid.
        answer: replaces the segment in its box.
        prompts: voxels that clicks and scribbles decide get their value, also outside the answer's box.
        grid: of the segment.
        add: the answer is added to the segment instead.
        reach_mm: how far clicks and scribbles decide.
    """
    points, reach = prompts.point_prompts(), np.ceil(reach_mm / np.array(grid.spacing)) + 1
    boxes = [answer.box]
    for each in points:
        low = np.maximum(each.points.min(axis=0) - reach, 0).astype(int).tolist()
        high = np.minimum(each.points.max(axis=0) + reach + 1, grid.size).astype(int).tolist()
        boxes.append(((low[0], high[0]), (low[1], high[1]), (low[2], high[2])))
    box = union(boxes)
    first = origin(box)
    values = current[slices(box)].copy()
    at = slices(translate(answer.box, [-n for n in first]))
    values[at] = np.maximum(values[at], answer.probability) if add else answer.probability
    shifted = [PointPrompt(each.points - first, each.positive) for each in points]
    apply_constraints(values, shifted, grid.spacing, certain=CERTAIN, radius_mm=reach_mm)
    return Refinement(box, values, answer.info)


def corrected(
    current: UInt8Array,
    part: Refinement,
    refiner: tuple[ClickSegmenter[Any], Any],
    prompts: Prompts,
    within: BoxPrompt | None,
    cancel: Cancel | None,
) -> Refinement:
    """What a box engine found, as a click engine corrects it.

    Args:
        current: probability of the segment, uint8 ``[k, j, i]``.
        part: what the box engine found.
        refiner: the click engine and the images prepared for it.
        prompts: of the segment.
        within: nothing is added outside this region; None for no limit.
        cancel: asked often; True stops the correction.
    """
    engine, prepared = refiner
    start = current.copy()
    start[slices(part.box)] = part.probability
    answer = engine.refine(prepared, start, prompts, cancel)
    at, box, values = slices(answer.box), union([part.box, answer.box]), answer.probability
    start[at] = clip_additions(start[at], values, answer.box, within.box) if within else values
    return Refinement(box, start[slices(box)], part.info.with_details(refined=dict(answer.info)))
