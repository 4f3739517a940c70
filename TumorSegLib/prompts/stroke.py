"""Strokes of a pen of some width on one slice, as scribbles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import BoolArray, Float64Array, IntArray
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.prompts.layer import half_thickness, layer, reached
from TumorSegLib.prompts.types import Scribble

# Voxels on the rim of the pen are in the stroke, in spite of rounding; in mm.
ROUNDING = 1e-6


def stroke(
    grid: Grid, line: npt.ArrayLike, width_mm: float, normal: Sequence[float], positive: bool = True
) -> Scribble:
    """The voxels that a pen passes on one slice, which may lie at any angle to the image.

    These are the voxels that the line itself passes, and those of the slice whose centre lies within half the width of
    the line, seen along the normal of the slice; what lies outside the image is left out.

    Args:
        grid: of the image.
        line: RAS mm ``[n, 3]`` on the slice, one point at least.
        width_mm: of the pen; 0 for the line alone.
        normal: of the slice, in RAS, of any length.
        positive: whether what the pen passes belongs to the tumour.

    Raises:
        ArgumentError: points or normal are not three finite numbers, the width is none, or no voxel is passed.
    """
    points, along = _points("the points of a stroke", line), _points("the normal of a slice", [normal])[0]
    length = float(np.linalg.norm(along))
    if length == 0:
        raise ArgumentError("the normal of a slice has a length, got 0, 0, 0")
    if not 0 <= width_mm < math.inf:
        raise ArgumentError(f"the width of a pen is a number of mm, 0 or more, got {width_mm!r}")
    along = along / length
    # Of a slice halfway between two layers of voxels the line is on the one that the layer is, too.
    passed = _passed(grid, points + ROUNDING * along)
    voxels = np.unique(np.concatenate([passed, _near(grid, points, width_mm / 2, along)]), axis=0)
    if len(voxels) == 0:
        raise ArgumentError("a stroke needs a voxel of the image on its way, this one lies outside the image")
    return Scribble.of_voxels(grid, voxels, positive)


def _points(what: str, given: npt.ArrayLike) -> Float64Array:
    try:
        points = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{what} are three numbers each, got {given!r}") from error
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0 or not np.isfinite(points).all():
        raise ArgumentError(f"{what} are three finite numbers each, one point at least, got {given!r}")
    return points


def _passed(grid: Grid, points: Float64Array) -> IntArray:
    """The voxels ``[n, 3]`` of the image that a line through points passes, without a gap."""
    corners = grid.to_ijk(points)
    parts = [corners[:1]]
    for start, end in pairwise(corners):
        parts.append(np.linspace(start, end, int(np.abs(end - start).max()) + 2))
    voxels = np.rint(np.concatenate(parts)).astype(np.int64)
    return voxels[((voxels >= 0) & (voxels < np.array(grid.size))).all(axis=1)]


def _near(grid: Grid, points: Float64Array, radius: float, normal: Float64Array) -> IntArray:
    """The voxels ``[n, 3]`` of a slice whose centres lie within a radius of a line through points, all in mm."""
    box = reached(grid, points, radius + half_thickness(grid, normal))
    voxels = layer(grid, box, points[0], normal)
    centres = grid.to_ras(voxels) - points[0]
    flat = points - points[0]
    centres, flat = (each - np.outer(each @ normal, normal) for each in (centres, flat))
    near = np.zeros(len(voxels), dtype=bool)
    for start, end in zip(flat, flat[1:] if len(flat) > 1 else flat):
        near |= _within(centres, start, end, radius + ROUNDING)
    return voxels[near]


def _within(centres: Float64Array, start: Float64Array, end: Float64Array, radius: float) -> BoolArray:
    """Which points ``[n, 3]`` lie within a radius of a line from one point to another."""
    low, high = np.minimum(start, end) - radius, np.maximum(start, end) + radius
    inside = (centres >= low) & (centres <= high)
    within: BoolArray = inside[:, 0] & inside[:, 1] & inside[:, 2]
    way, offset = end - start, centres[within] - start
    share = np.clip(offset @ way / max(float(way @ way), ROUNDING**2), 0, 1)
    away: Float64Array = np.linalg.norm(offset - share[:, None] * way, axis=1)
    within[within] = away <= radius
    return within
