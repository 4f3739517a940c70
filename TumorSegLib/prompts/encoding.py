"""The encoding of prompts for networks; the same code serves training and inference.

Points are fractional voxel coordinates ``(i, j, k)`` of the lattice at hand; distances are millimetres, so a click
means the same at every spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from TumorSegLib.geometry.arrays import Float32Array, Float64Array

#: Channels that a refinement network takes after those of its roles: the previous probability, and the distance maps of
#: positive and of negative prompts.
GUIDANCE = ("previous", "positive", "negative")
# Distance at which a distance map is 1/e.
REACH_MM = 10.0
# Points farther than this outside a lattice are left out: their maps are below exp(-5) = 0.007 in it.
FADED_MM = 5 * REACH_MM
# Beyond this many points one distance transform is cheaper than a distance to every point.
MOST_POINTS = 24

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PointPrompt:
    """A click or a scribble on one lattice.

    Attributes:
        points: float64 ``[n, 3]`` as ``(i, j, k)``; one for a click.
        positive: whether the points lie in the tumour.
    """

    points: Float64Array
    positive: bool


def distance_map(points: Float64Array, shape: Shape, spacing_mm: Sequence[float]) -> Float32Array:
    """``exp(-distance / 10 mm)`` to the closest point: 1 at a point, 0 everywhere without points.

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
            np.minimum(squared, squared_distance(point, shape, spacing_mm), out=squared)
        distance = np.sqrt(squared, out=squared)
    result: Float32Array = np.exp(distance / np.float32(-REACH_MM))
    return result


def guidance_maps(prompts: Sequence[PointPrompt], shape: Shape, spacing_mm: Sequence[float]) -> Float32Array:
    """The :func:`distance_map` of positive and that of negative prompts, float32 ``[2, k, j, i]``."""
    maps = np.empty((2, *shape), dtype=np.float32)
    for number, positive in enumerate((True, False)):
        points = [prompt.points for prompt in prompts if prompt.positive == positive]
        maps[number] = distance_map(np.concatenate([np.empty((0, 3)), *points]), shape, spacing_mm)
    return maps


def squared_distance(point: Float64Array, shape: Shape, spacing_mm: Sequence[float]) -> Float32Array:
    """Squared distance in mm of every voxel to a point ``(i, j, k)``, float32 ``[k, j, i]``."""
    i, j, k = (
        (((np.arange(n) - at) * step) ** 2).astype(np.float32) for n, at, step in zip(shape[::-1], point, spacing_mm)
    )
    result: Float32Array = k[:, None, None] + j[None, :, None] + i[None, None, :]
    return result


def _distance_transform(points: Float64Array, shape: Shape, spacing_mm: Sequence[float]) -> Float32Array:
    """Distance in mm to the voxels that contain the points; infinite where all lie too far outside."""
    from scipy.ndimage import distance_transform_edt

    size, margin = np.array(shape[::-1]), np.ceil(FADED_MM / np.asarray(spacing_mm, dtype=float)).astype(int)
    voxels = np.floor(points + 0.5).astype(int)
    voxels = voxels[((voxels >= -margin) & (voxels < size + margin)).all(axis=1)]
    if len(voxels) == 0:
        return np.full(shape, np.inf, dtype=np.float32)
    # The lattice is extended to contain the points outside: moved to its border they would be too near.
    low, high = np.minimum(voxels.min(axis=0), 0), np.maximum(voxels.max(axis=0) + 1, size)
    background = np.ones((high - low)[::-1], dtype=bool)
    background[tuple((voxels - low)[:, ::-1].T)] = False
    part = tuple(slice(int(a), int(a + n)) for a, n in zip(-low[::-1], shape))
    distance = distance_transform_edt(background, tuple(spacing_mm)[::-1])[part]
    result: Float32Array = distance.astype(np.float32, order="C")
    return result
