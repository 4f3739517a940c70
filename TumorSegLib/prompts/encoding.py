"""How prompts reach a network, and the rule that they are law; the same code serves training and inference.

Points are fractional voxel coordinates ``(i, j, k)`` of the lattice at hand; distances are millimetres, so a click
means the same at every spacing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from TumorSegLib.geometry.grid import FloatArray

#: Channels a refinement network takes after those of its roles: the previous probability, and how near the closest
#: positive and the closest negative prompt are.
GUIDANCE = ("previous", "positive", "negative")
# A prompt's map falls to 1/e at this distance.
REACH_MM = 10.0
#: Within this distance a prompt is obeyed to the letter.
CONSTRAINT_RADIUS_MM = 3.0
# What lies at this distance to the letter must not be lost to rounding.
TOLERANCE = 1 + 1e-6
# Points farther than this outside a lattice may be left out: their maps are below exp(-5) = 0.007 in it.
FADED_MM = 5 * REACH_MM
# Beyond this many points one distance transform is cheaper than a distance to every point.
MOST_POINTS = 24
# Points whose surroundings are marked in one go: bounds the memory of long strokes.
POINTS_AT_ONCE = 4096

Shape = tuple[int, int, int]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class PointPrompt:
    """A click or a stroke on one lattice.

    Attributes:
        points: float64 ``[n, 3]`` as ``(i, j, k)``; one for a click.
        positive: whether it shows tumour, or what is none.
    """

    points: FloatArray
    positive: bool


def distance_map(points: FloatArray, shape: Shape, spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    """How near the closest point is: ``exp(-distance / 10 mm)``, 1 at the point, 0 everywhere without any.

    Distance maps in place of discs or Gaussians as in DeepIGeoS (Wang et al., IEEE TPAMI 2019), in millimetres.

    Args:
        points: ``[n, 3]`` as ``(i, j, k)``; they may lie outside the lattice.
        shape: ``(k, j, i)``.
        spacing_mm: ``(i, j, k)``.

    Returns:
        float32 ``[k, j, i]`` from 0 to 1.
    """
    if len(points) == 0:
        return np.zeros(shape, dtype=np.float32)
    if len(points) > MOST_POINTS:
        distance = _distance_transform(points, shape, spacing_mm)
    else:
        squared = np.full(shape, np.inf, dtype=np.float32)
        for point in points:
            np.minimum(squared, _squared_distance(point, shape, spacing_mm), out=squared)
        distance = np.sqrt(squared, out=squared)
    result: npt.NDArray[np.float32] = np.exp(distance / np.float32(-REACH_MM))
    return result


def guidance_maps(hints: Sequence[PointPrompt], shape: Shape, spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    """The positive and the negative :func:`distance_map` map of prompts, float32 ``[2, k, j, i]``."""
    maps = np.empty((2, *shape), dtype=np.float32)
    for number, positive in enumerate((True, False)):
        points = [hint.points for hint in hints if hint.positive == positive]
        maps[number] = distance_map(np.concatenate([np.empty((0, 3)), *points]), shape, spacing_mm)
    return maps


def apply_constraints(
    probability: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
    hints: Sequence[PointPrompt],
    spacing_mm: Sequence[float],
    certain: int = 1,
) -> None:
    """Makes prompts law, in place: certain within 3 mm of a positive point, 0 of a negative one; the last has its way.

    The voxel a point lies in obeys it even where its centre is farther away.

    Args:
        probability: ``[k, j, i]``.
        hints: in the order they were given; points outside the lattice reach as far into it as they do.
        spacing_mm: ``(i, j, k)``.
        certain: the value that stands for 1, 255 where the probability is uint8.
    """
    for hint in hints:
        for at, inside in constrained_voxels(hint.points, probability.shape, spacing_mm):
            probability[at][inside] = certain if hint.positive else 0


def constrained_voxels(
    points: FloatArray, shape: tuple[int, ...], spacing_mm: Sequence[float]
) -> list[tuple[tuple[slice, ...], npt.NDArray[np.bool_]]]:
    """The parts of a lattice that points rule: slices ``(k, j, i)`` and which of their voxels; none if out of reach.

    One part per point, or, where there are many, one for all, points then being taken for the voxels they lie in.
    """
    if len(points) > MOST_POINTS:
        return _constrained_scribble(points, shape, spacing_mm)
    size, reach = np.array(shape[::-1]), CONSTRAINT_RADIUS_MM * TOLERANCE / np.asarray(spacing_mm, dtype=float)
    balls = []
    for point in points:
        low = np.maximum(np.minimum(np.ceil(point - reach), np.floor(point + 0.5)), 0).astype(int)
        high = np.minimum(np.maximum(np.floor(point + reach), np.floor(point + 0.5)) + 1, size).astype(int)
        if (low >= high).any():
            continue
        at = tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1]))
        part = (int(high[2] - low[2]), int(high[1] - low[1]), int(high[0] - low[0]))
        inside = _squared_distance(point - low, part, spacing_mm) <= (CONSTRAINT_RADIUS_MM * TOLERANCE) ** 2
        own = np.floor(point + 0.5).astype(int) - low
        if ((own >= 0) & (own < high - low)).all():
            inside[own[2], own[1], own[0]] = True
        balls.append((at, inside))
    return balls


def _constrained_scribble(
    points: FloatArray, shape: tuple[int, ...], spacing_mm: Sequence[float]
) -> list[tuple[tuple[slice, ...], npt.NDArray[np.bool_]]]:
    reach = np.floor(CONSTRAINT_RADIUS_MM * TOLERANCE / np.asarray(spacing_mm, dtype=float)).astype(int)
    voxels = np.floor(points + 0.5).astype(int)
    voxels = voxels[((voxels >= -reach) & (voxels < np.add(shape[::-1], reach))).all(axis=1)]
    if not len(voxels):
        return []
    ball = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    ball = ball[((ball * spacing_mm) ** 2).sum(axis=1) <= (CONSTRAINT_RADIUS_MM * TOLERANCE) ** 2]
    first, end = voxels.min(axis=0) - reach, voxels.max(axis=0) + reach + 1
    inside = _grown(voxels - first, ball, end - first)
    low, high = np.maximum(first, 0), np.minimum(end, shape[::-1])
    within = tuple(slice(int(a), int(b)) for a, b in zip((low - first)[::-1], (high - first)[::-1]))
    return [(tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1])), inside[within])]


def _grown(voxels: IntArray, ball: IntArray, size: IntArray) -> npt.NDArray[np.bool_]:
    """Voxels and what lies within a ball of them, bool ``[k, j, i]``; ``size`` ``(i, j, k)`` must have room for it.

    A voxel is asked for an offset of the ball only where the stroke ends in all directions the offset points to: the
    neighbour in such a direction reaches the same place by a shorter one. So the inside of a stroke costs nothing.
    """
    margin = 1  # neighbours of voxels must have a place
    shape = tuple((size + 2 * margin)[::-1].tolist())
    steps = np.array([1, shape[2], shape[1] * shape[2]])
    grown = np.zeros(math.prod(shape), dtype=bool)
    places = np.unique((voxels + margin) @ steps)
    ending = {(axis, sign): _none_of(places, places + sign * steps[axis]) for axis in range(3) for sign in (-1, 1)}
    for signs in product((-1, 0, 1), repeat=3):
        ends = np.ones(len(places), dtype=bool)
        for side in enumerate(signs):
            ends &= ending.get(side, True)
        ends, offsets = places[ends], ball[(np.sign(ball) == signs).all(axis=1)] @ steps
        for first in range(0, len(ends), POINTS_AT_ONCE):
            grown[ends[first : first + POINTS_AT_ONCE, None] + offsets] = True
    return grown.reshape(shape)[margin:-margin, margin:-margin, margin:-margin]


def _none_of(places: IntArray, others: IntArray) -> npt.NDArray[np.bool_]:
    """Which of others are none of some places, which are sorted."""
    found = np.minimum(np.searchsorted(places, others), len(places) - 1)
    return np.asarray(places[found] != others)


def _squared_distance(point: FloatArray, shape: Shape, spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    i, j, k = (
        (((np.arange(n) - at) * step) ** 2).astype(np.float32) for n, at, step in zip(shape[::-1], point, spacing_mm)
    )
    result: npt.NDArray[np.float32] = k[:, None, None] + j[None, :, None] + i[None, None, :]
    return result


def _distance_transform(points: FloatArray, shape: Shape, spacing_mm: Sequence[float]) -> npt.NDArray[np.float32]:
    """Distance in mm to the voxels that hold the points; infinite where all are too far outside to be felt."""
    from scipy.ndimage import distance_transform_edt

    size, margin = np.array(shape[::-1]), np.ceil(FADED_MM / np.asarray(spacing_mm, dtype=float)).astype(int)
    voxels = np.floor(points + 0.5).astype(int)
    voxels = voxels[((voxels >= -margin) & (voxels < size + margin)).all(axis=1)]
    if len(voxels) == 0:
        return np.full(shape, np.inf, dtype=np.float32)
    # The lattice grows until it holds the points outside as well: at its border they would seem nearer than they are.
    low, high = np.minimum(voxels.min(axis=0), 0), np.maximum(voxels.max(axis=0) + 1, size)
    background = np.ones((high - low)[::-1], dtype=bool)
    background[tuple((voxels - low)[:, ::-1].T)] = False
    part = tuple(slice(int(a), int(a + n)) for a, n in zip(-low[::-1], shape))
    distance = distance_transform_edt(background, tuple(spacing_mm)[::-1])[part]
    result: npt.NDArray[np.float32] = distance.astype(np.float32, order="C")
    return result
