"""The voxels of an image that a slice at any angle passes."""

from __future__ import annotations

import numpy as np

from TumorSegLib.geometry.arrays import Float64Array, IntArray
from TumorSegLib.geometry.boxes import EMPTY_BOX, from_corners
from TumorSegLib.geometry.grid import Box, Grid

# A slice halfway between two layers of voxels is one of them, in spite of rounding.
ROUNDING = 1e-6


def half_thickness(grid: Grid, normal: Float64Array) -> float:
    """Half of what a voxel measures along the normal of a slice, in mm: centres no farther from the slice are on it."""
    return float(np.abs(normal @ grid.direction) @ grid.spacing) / 2


def reached(grid: Grid, points: Float64Array, distance: float) -> Box:
    """The box of voxels whose centres may lie within a distance in mm of points ``[n, 3]`` or of lines between them.

    Empty where they lie outside the grid.
    """
    ijk, margin = grid.to_ijk(points), distance / np.asarray(grid.spacing)
    low = np.maximum(np.ceil(ijk.min(axis=0) - margin - ROUNDING), 0).astype(int)
    high = np.minimum(np.floor(ijk.max(axis=0) + margin + ROUNDING) + 1, grid.size).astype(int)
    return from_corners(low, high) if (low < high).all() else EMPTY_BOX


def layer(grid: Grid, box: Box, centre: Float64Array, normal: Float64Array) -> IntArray:
    """The voxels ``[n, 3]`` of a box that a slice passes: whose centres lie within half a voxel of it.

    Args:
        grid: of the image.
        box: half-open range of voxels.
        centre: a point of the slice, RAS mm.
        normal: of the slice, of length 1.
    """
    (i0, i1), (j0, j1), (k0, k1) = box
    half = half_thickness(grid, normal)
    step_i, step_j, step_k = normal @ (grid.direction * grid.spacing)
    first = normal @ (grid.to_ras((0, 0, 0)) - centre)
    across = first + np.arange(j0, j1)[:, None] * step_j + np.arange(i0, i1) * step_i
    found = [np.zeros((0, 3), dtype=np.int64)]
    for k in range(k0, k1):  # slice by slice: on an oblique slice the box may be the whole image
        distance = (across + k * step_k) / half
        j, i = np.nonzero((distance > -1 + ROUNDING) & (distance <= 1 + ROUNDING))
        found.append(np.stack([i + i0, j + j0, np.full_like(i, k)], axis=1))
    return np.concatenate(found)
