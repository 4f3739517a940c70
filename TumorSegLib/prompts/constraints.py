"""Hard constraints: voxels near a click or scribble get its value, regardless of the network's output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array, IntArray, UInt8Array
from TumorSegLib.geometry.boxes import origin
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.prompts.encoding import MOST_POINTS, PointPrompt, squared_distance

#: Voxels within this distance of a prompt get its value.
CONSTRAINT_RADIUS_MM = 3.0
# Factor on the radius, so that rounding does not exclude voxels exactly at it.
TOLERANCE = 1 + 1e-6
# Points whose neighbourhoods are marked at once: bounds the memory of long scribbles.
POINTS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class MaskEdit:
    """A manual edit of a mask, to be compared with prompts given before.

    Attributes:
        box: half-open voxel box of the edit.
        erased, drawn: bool ``[k, j, i]`` of the box: voxels that are no longer tumour, and that now are.
        spacing_mm: ``(i, j, k)`` of the image.
        reach_mm: how far prompts decide, with the model that answers them.
    """

    box: Box
    erased: BoolArray
    drawn: BoolArray
    spacing_mm: Sequence[float]
    reach_mm: float = CONSTRAINT_RADIUS_MM

    def contradicts(self, prompt: PointPrompt) -> bool:
        """Whether a voxel that a prompt decides, in voxels of the image, was set to the opposite of what it says."""
        opposite = self.erased if prompt.positive else self.drawn
        if not opposite.any():
            return False
        points = prompt.points - origin(self.box)
        parts = constrained_voxels(points, opposite.shape, self.spacing_mm, self.reach_mm)
        return any((opposite[at] & inside).any() for at, inside in parts)


def nearest_mm(grid: Grid) -> float:
    """The distance of the nearest neighbours of a voxel, in mm: so far prompts decide for models of any image."""
    return min(edge for edge, n in zip(grid.spacing, grid.size) if n > 1 or max(grid.size) == 1)


def apply_constraints(
    probability: Float32Array | UInt8Array,
    prompts: Sequence[PointPrompt],
    spacing_mm: Sequence[float],
    certain: int = 1,
    radius_mm: float = CONSTRAINT_RADIUS_MM,
) -> None:
    """Sets voxels within 3 mm, or another radius, of a positive point to certain, of a negative point to 0, in place.

    The voxel that contains a point is set even where its centre is farther away. Later prompts override earlier ones.

    Args:
        probability: ``[k, j, i]``.
        prompts: in the order they were given; points outside the lattice still affect voxels within 3 mm.
        spacing_mm: ``(i, j, k)``.
        certain: the value that stands for 1, 255 where the probability is uint8.
        radius_mm: how far a prompt decides.
    """
    for prompt in prompts:
        for at, inside in constrained_voxels(prompt.points, probability.shape, spacing_mm, radius_mm):
            probability[at][inside] = certain if prompt.positive else 0


def constrained_voxels(
    points: Float64Array, shape: tuple[int, ...], spacing_mm: Sequence[float], radius_mm: float = CONSTRAINT_RADIUS_MM
) -> list[tuple[tuple[slice, ...], BoolArray]]:
    """The voxels of a lattice within 3 mm of points, as parts: slices ``(k, j, i)`` and bool ``[k, j, i]`` of these.

    One part per point in reach; of more than 24 points one part for all, with each point at the centre of its voxel.
    """
    if len(points) > MOST_POINTS:
        return _constrained_scribble(points, shape, spacing_mm, radius_mm)
    size, reach = np.array(shape[::-1]), radius_mm * TOLERANCE / np.asarray(spacing_mm, dtype=float)
    balls = []
    for point in points:
        low = np.maximum(np.minimum(np.ceil(point - reach), np.floor(point + 0.5)), 0).astype(int)
        high = np.minimum(np.maximum(np.floor(point + reach), np.floor(point + 0.5)) + 1, size).astype(int)
        if (low >= high).any():
            continue
        at = tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1]))
        part = (int(high[2] - low[2]), int(high[1] - low[1]), int(high[0] - low[0]))
        inside = squared_distance(point - low, part, spacing_mm) <= (radius_mm * TOLERANCE) ** 2
        own = np.floor(point + 0.5).astype(int) - low
        if ((own >= 0) & (own < high - low)).all():
            inside[own[2], own[1], own[0]] = True
        balls.append((at, inside))
    return balls


def _constrained_scribble(
    points: Float64Array, shape: tuple[int, ...], spacing_mm: Sequence[float], radius_mm: float
) -> list[tuple[tuple[slice, ...], BoolArray]]:
    reach = np.floor(radius_mm * TOLERANCE / np.asarray(spacing_mm, dtype=float)).astype(int)
    voxels = np.floor(points + 0.5).astype(int)
    voxels = voxels[((voxels >= -reach) & (voxels < np.add(shape[::-1], reach))).all(axis=1)]
    if not len(voxels):
        return []
    ball = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    ball = ball[((ball * spacing_mm) ** 2).sum(axis=1) <= (radius_mm * TOLERANCE) ** 2]
    first, end = voxels.min(axis=0) - reach, voxels.max(axis=0) + reach + 1
    inside = _dilated(voxels - first, ball, end - first)
    low, high = np.maximum(first, 0), np.minimum(end, shape[::-1])
    within = tuple(slice(int(a), int(b)) for a, b in zip((low - first)[::-1], (high - first)[::-1]))
    return [(tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1])), inside[within])]


def _dilated(voxels: IntArray, ball: IntArray, size: IntArray) -> BoolArray:
    """Dilation of voxels by a ball, bool ``[k, j, i]``; ``size`` ``(i, j, k)`` must have room for it.

    An offset of the ball is applied to a voxel only if the scribble has no neighbour in any of the offset's directions:
    such a neighbour reaches the same voxel by a shorter offset. So the inside of a scribble costs nothing.
    """
    margin = 1  # so that every voxel has neighbours in the array
    shape = tuple((size + 2 * margin)[::-1].tolist())
    steps = np.array([1, shape[2], shape[1] * shape[2]])
    grown = np.zeros(math.prod(shape), dtype=bool)
    positions = np.unique((voxels + margin) @ steps)
    ending = {
        (axis, sign): _none_of(positions, positions + sign * steps[axis]) for axis in range(3) for sign in (-1, 1)
    }
    for signs in product((-1, 0, 1), repeat=3):
        ends = np.ones(len(positions), dtype=bool)
        for side in enumerate(signs):
            ends &= ending.get(side, True)
        ends, offsets = positions[ends], ball[(np.sign(ball) == signs).all(axis=1)] @ steps
        for first in range(0, len(ends), POINTS_AT_ONCE):
            grown[ends[first : first + POINTS_AT_ONCE, None] + offsets] = True
    return grown.reshape(shape)[margin:-margin, margin:-margin, margin:-margin]


def _none_of(positions: IntArray, others: IntArray) -> BoolArray:
    """Which of the others are not among the sorted positions, bool of the others' length."""
    found = np.minimum(np.searchsorted(positions, others), len(positions) - 1)
    return np.asarray(positions[found] != others)
