"""Which windows show the body: air, noise and couch need no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from TumorSegLib.geometry.arrays import BoolArray

Size = tuple[int, int, int]
# What is thinner along any axis is no body but couch, blanket or noise, unless there is nothing thicker. Voxels: 9 mm
# at 3 mm, thinner than a finger.
THINNEST = 3
# A voxel also needs the next windows where it lies within this many voxels of being nearer to their centres. Farther
# away they have less than 5 % of the weight at an overlap of 0.25 and 64 voxels. Of 0, 2, 4, 6 and 8, four is the least
# from which on Dice in the body stays the same.
MARGIN = 4
# A window needs this share of body around its centre to be worth its time: at 3 mm and 48 x 64 x 64 voxels 5 ml. The
# windows beside it cover the little body of a skipped one as far as they overlap.
LEAST_BODY = 0.001


def find_body(tissue: BoolArray) -> BoolArray:
    """Tissue, bool ``[k, j, i]``, without what is thinner than ``THINNEST`` voxels; all of it where all is that thin.

    What the border of the image cuts off counts as thick.
    """
    body = tissue
    for axis in range(3):
        body = _opened(body, axis)
    return body if body.any() else tissue


def windows_on_body(body: BoolArray, starts: Sequence[Sequence[int]], size: Size) -> BoolArray:
    """Which windows of a lattice are to be computed.

    A window is computed where the body comes near its centre: where enough of the body is nearer to this centre than to
    those of other windows, or nearly so (``MARGIN``), since there the weight of the window counts; and if such windows
    enclose it along two axes, as in the lungs.

    Args:
        body: bool ``[k, j, i]``.
        starts: first voxels of the windows along each axis, see
            :func:`TumorSegLib.engines.auto.sliding_window.window_starts`.
        size: of a window, ``(k, j, i)`` voxels.

    Returns:
        Bool ``[windows along k, along j, along i]``.
    """
    counts = body
    for axis, (firsts, length) in enumerate(zip(starts, size)):
        lines = np.moveaxis(counts, axis, 0)
        counts = np.stack([lines[part].sum(axis=0, dtype=np.int32) for part in _cores(firsts, length)], axis)
    needed: BoolArray = counts >= max(LEAST_BODY * math.prod(size), 1)
    needed |= np.sum([_between(needed, axis) for axis in range(3)], axis=0) >= 2
    return needed


def _cores(starts: Sequence[int], size: int) -> list[slice]:
    """The voxels along an axis that are nearest to the centre of each window, or nearly so."""
    middles = [(first + second + size) // 2 for first, second in pairwise(starts)]
    ends = zip([starts[0], *middles], [*middles, starts[-1] + size])
    return [
        slice(max(low - MARGIN, first), min(high + MARGIN, first + size)) for first, (low, high) in zip(starts, ends)
    ]


def _between(marked: BoolArray, axis: int) -> BoolArray:
    """Where there is a mark on both sides along an axis, or at the place itself."""
    before = np.logical_or.accumulate(marked, axis)
    after = np.flip(np.logical_or.accumulate(np.flip(marked, axis), axis), axis)
    between: BoolArray = before & after
    return between


def _opened(marked: BoolArray, axis: int) -> BoolArray:
    """Morphological opening along an axis with ``THINNEST`` voxels; beyond the border everything is marked."""
    lines = np.moveaxis(marked, axis, 0)
    reach = THINNEST - 1
    padded = np.pad(lines, [(reach, reach), (0, 0), (0, 0)], constant_values=True)
    length = len(lines) + reach
    runs = padded[:length].copy()  # whether a run of marks begins here
    for shift in range(1, THINNEST):
        runs &= padded[shift : shift + length]
    opened = runs[reach:].copy()
    for shift in range(reach):
        opened |= runs[shift : shift + len(lines)]
    return np.ascontiguousarray(np.moveaxis(opened, 0, axis))
