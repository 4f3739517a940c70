"""Half-open voxel boxes ``((i0, i1), (j0, j1), (k0, k1))`` of arrays ``[k, j, i]``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from TumorSegLib.geometry.arrays import BoolArray, Float64Array, IntArray, UInt8Array
from TumorSegLib.geometry.grid import Box, Grid

# Tolerance in voxels for points exactly between two voxels; they belong to neither.
ROUNDING = 1e-3
#: The box without a voxel.
EMPTY_BOX: Box = ((0, 0), (0, 0), (0, 0))


def full_box(shape: tuple[int, int, int]) -> Box:
    """The box of all voxels of an array of shape ``(k, j, i)``."""
    return (0, shape[2]), (0, shape[1]), (0, shape[0])


def slices(box: Box) -> tuple[slice, slice, slice]:
    """The box as an index ``[k, j, i]``."""
    (i0, i1), (j0, j1), (k0, k1) = box
    return slice(k0, k1), slice(j0, j1), slice(i0, i1)


def bounding_box(array: BoolArray | UInt8Array) -> Box | None:
    """The smallest box that holds all non-zero voxels; None where all are 0."""
    ranges: list[tuple[int, int]] = []
    for axis in (0, 1, 2):  # the array shrinks with each range, which speeds up the next
        hit = np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis)))
        if not hit.size:
            return None
        low, high = int(hit[0]), int(hit[-1]) + 1
        ranges.append((low, high))
        array = array[(*[slice(None)] * axis, slice(low, high))]
    return ranges[2], ranges[1], ranges[0]


def from_corners(low: IntArray, high: IntArray) -> Box:
    """The half-open box from the first voxel ``(i, j, k)`` to ``high``, exclusive."""
    i, j, k = ((int(first), int(end)) for first, end in zip(low, high))
    return i, j, k


def around_points(ijk: Float64Array, grid: Grid) -> Box:
    """The smallest box of whole voxels of a grid round points.

    Args:
        ijk: voxel coordinates ``[n, 3]``; a voxel reaches half a voxel to either side of its centre.
        grid: the box is cut to it; some range is empty where all points lie outside.
    """
    first = np.floor(ijk.min(axis=0) + 0.5 + ROUNDING)
    last = np.maximum(np.ceil(ijk.max(axis=0) + 0.5 - ROUNDING), first + 1)
    return from_corners(np.maximum(first, 0).astype(int), np.minimum(last, grid.size).astype(int))


def intersection(first: Box, second: Box) -> Box:
    """The intersection of two boxes; a range is empty if they do not overlap."""
    i, j, k = ((max(a, c), min(b, d)) for (a, b), (c, d) in zip(first, second))
    return i, j, k


def grown(box: Box, margin: Sequence[int], shape: tuple[int, int, int]) -> Box:
    """The box grown by a margin in voxels ``(i, j, k)`` on either side, cut to an array of shape ``(k, j, i)``."""
    i, j, k = ((low - n, high + n) for (low, high), n in zip(box, margin))
    return intersection((i, j, k), full_box(shape))


def within(box: Box, outer: Box) -> Box:
    """The box in the voxel coordinates of another box that contains it."""
    return translate(box, [-n for n in origin(outer)])


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all boxes."""
    i, j, k = ((min(low for low, _ in axis), max(high for _, high in axis)) for axis in zip(*boxes))
    return i, j, k


def translate(box: Box, by: Sequence[int]) -> Box:
    """The box translated by an offset in voxels ``(i, j, k)``."""
    i, j, k = ((low + n, high + n) for (low, high), n in zip(box, by))
    return i, j, k


def origin(box: Box) -> tuple[int, int, int]:
    """First voxel ``(i, j, k)``."""
    return box[0][0], box[1][0], box[2][0]


def clip_additions(before: UInt8Array, after: UInt8Array, box: Box, region: Box) -> UInt8Array:
    """``after`` of a box, limited to ``before`` outside a region."""
    kept: UInt8Array = np.minimum(before, after)
    k, j, i = (
        slice(max(low - first, 0), max(high - first, 0)) for (first, _), (low, high) in zip(box[::-1], region[::-1])
    )
    kept[k, j, i] = after[k, j, i]
    return kept
