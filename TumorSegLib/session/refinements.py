"""Answers of engines put together: with what was there before, with the law of clicks, with a correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from TumorSegLib.geometry.boxes import clip_additions, origin, slices, translate, union
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.probability import CERTAIN, UInt8Array
from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM, apply_constraints
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import Refinement


def obeyed_in(
    held: UInt8Array, answer: Refinement, hints: Sequence[PointPrompt], grid: Grid, added: bool
) -> Refinement:
    """The part that an answer and the law of hints may change, with the answer put into, or added to, what it held."""
    boxes, reach = [answer.box], np.ceil(CONSTRAINT_RADIUS_MM / np.array(grid.spacing)) + 1
    for hint in hints:
        low = np.maximum(hint.points.min(axis=0) - reach, 0).astype(int).tolist()
        high = np.minimum(hint.points.max(axis=0) + reach + 1, grid.size).astype(int).tolist()
        boxes.append(((low[0], high[0]), (low[1], high[1]), (low[2], high[2])))
    box = union(boxes)
    back = [-n for n in origin(box)]
    values, at = held[slices(box)].copy(), slices(translate(answer.box, back))
    values[at] = np.maximum(values[at], answer.probability) if added else answer.probability
    apply_constraints(
        values, [PointPrompt(hint.points + back, hint.positive) for hint in hints], grid.spacing, certain=CERTAIN
    )
    return Refinement(box, values, answer.info)


def with_correction(start: UInt8Array, part: Refinement, refined: Refinement, within: BoxPrompt | None) -> Refinement:
    """A part of a start and its correction, which adds nothing outside the region, as one; the start is overwritten."""
    at, box = slices(refined.box), union([part.box, refined.box])
    values = refined.probability
    start[at] = clip_additions(start[at], values, refined.box, within.box) if within else values
    return Refinement(box, start[slices(box)], part.info.with_details(refined=dict(refined.info)))
