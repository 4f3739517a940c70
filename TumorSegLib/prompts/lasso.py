"""Lassos: the voxels of one slice inside a closed curve, as a scribble."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import BoolArray, Float64Array, IntArray
from TumorSegLib.geometry.boxes import EMPTY_BOX, from_corners
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.prompts.types import Scribble

# A curve narrower than this share of its length is a line.
LEAST_WIDTH = 1e-3
# A slice halfway between two layers of voxels is one of them, in spite of rounding.
ROUNDING = 1e-6


def lasso(grid: Grid, curve: npt.ArrayLike, positive: bool = True) -> Scribble:
    """The voxels inside a closed curve on one slice, which may lie at any angle to the image.

    A voxel is inside where its centre is, seen along the normal of the slice, by the even-odd rule; what lies outside
    the image is left out.

    Args:
        grid: of the image.
        curve: RAS mm ``[n, 3]``, in order; the last point is joined to the first.
        positive: whether what is inside belongs to the tumour.

    Raises:
        ArgumentError: fewer than three points, or points that are not three finite numbers; they are not on one slice,
            or lie on a line; no voxel of the image lies inside.
    """
    points = _checked(curve)
    centre = points.mean(axis=0)
    _left, widths, axes = np.linalg.svd(points - centre, full_matrices=False)
    if widths[1] <= LEAST_WIDTH * widths[0]:
        raise ArgumentError("a lasso needs an area, the points of this one lie on a line")
    half = float(np.abs(axes[2] @ grid.direction) @ grid.spacing) / 2
    apart = float(np.ptp((points - centre) @ axes[2]))
    if apart > 2 * half:
        raise ArgumentError(f"a lasso lies on one slice, the points of this one are {apart:.1f} mm apart across it")
    box = _reached(grid, np.concatenate([points - half * axes[2], points + half * axes[2]]))
    voxels = _layer(grid, box, centre, axes[2], half)
    outline = (points - centre) @ axes[:2].T
    inside = _inside((grid.to_ras(voxels) - centre) @ axes[:2].T, outline)
    if not inside.any():
        ijk = grid.to_ijk(points)
        touches = ((ijk > -0.5) & (ijk < np.array(grid.size) - 0.5)).all(axis=1).any()
        where = "between the centres of its voxels" if touches else "outside the image"
        raise ArgumentError(f"a lasso needs a voxel of the image inside it, this one lies {where}")
    return Scribble.of_voxels(grid, voxels[inside], positive)


def _checked(curve: npt.ArrayLike) -> Float64Array:
    try:
        points = np.asarray(curve, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"the points of a lasso are three numbers each, got {curve!r}") from error
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ArgumentError(f"the points of a lasso are three finite numbers each, in mm, got {curve!r}")
    if len(points) < 3:
        raise ArgumentError(f"a lasso needs at least three points round an area, got {len(points)}")
    return points


def _reached(grid: Grid, points: Float64Array) -> Box:
    """The box of voxels whose centres may lie among points; empty where they lie outside the grid."""
    ijk = grid.to_ijk(points)
    low = np.maximum(np.ceil(ijk.min(axis=0) - ROUNDING), 0).astype(int)
    high = np.minimum(np.floor(ijk.max(axis=0) + ROUNDING) + 1, grid.size).astype(int)
    return from_corners(low, high) if (low < high).all() else EMPTY_BOX


def _layer(grid: Grid, box: Box, centre: Float64Array, normal: Float64Array, half: float) -> IntArray:
    """The voxels ``[n, 3]`` of a box that a slice passes: whose centres lie within half a voxel of it."""
    (i0, i1), (j0, j1), (k0, k1) = box
    step_i, step_j, step_k = normal @ (grid.direction * grid.spacing)
    first = normal @ (grid.to_ras((0, 0, 0)) - centre)
    across = first + np.arange(j0, j1)[:, None] * step_j + np.arange(i0, i1) * step_i
    found = [np.zeros((0, 3), dtype=np.int64)]
    for k in range(k0, k1):  # slice by slice: on an oblique slice the box may be the whole image
        distance = (across + k * step_k) / half
        j, i = np.nonzero((distance > -1 + ROUNDING) & (distance <= 1 + ROUNDING))
        found.append(np.stack([i + i0, j + j0, np.full_like(i, k)], axis=1))
    return np.concatenate(found)


def _inside(points: Float64Array, outline: Float64Array) -> BoolArray:
    """Which points ``[n, 2]`` lie inside a polygon ``[m, 2]``, by the even-odd rule."""
    inside = np.zeros(len(points), dtype=bool)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0)):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    return inside
