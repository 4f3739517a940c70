"""Lassos: the voxels of one slice inside a closed curve, as a scribble."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import BoolArray, Float64Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.prompts.layer import half_thickness, layer, reached
from TumorSegLib.prompts.types import Scribble

# A curve narrower than this share of its length is a line.
LEAST_WIDTH = 1e-3


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
    half = half_thickness(grid, axes[2])
    apart = float(np.ptp((points - centre) @ axes[2]))
    if apart > 2 * half:
        raise ArgumentError(f"a lasso lies on one slice, the points of this one are {apart:.1f} mm apart across it")
    voxels = layer(grid, reached(grid, points, half), centre, axes[2])
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


def _inside(points: Float64Array, outline: Float64Array) -> BoolArray:
    """Which points ``[n, 2]`` lie inside a polygon ``[m, 2]``, by the even-odd rule."""
    inside = np.zeros(len(points), dtype=bool)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0)):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    return inside
