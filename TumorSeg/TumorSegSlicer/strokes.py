"""Strokes through points of the world as voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from TumorSegLib import Grid, Scribble


def scribbleFromRas(grid: Grid, points: Sequence[Sequence[float]], positive: bool = True) -> Scribble:
    """The voxels that a line through points of the world passes.

    Args:
        grid: of the session, in the world.
        points: RAS mm, one at least.
        positive: whether the voxels are tumour.

    Raises:
        ArgumentError: there is no point, a point is not three finite numbers, or one lies outside the grid.
    """
    from TumorSegLib import ArgumentError, Click, Scribble

    if len(points) == 0:
        raise ArgumentError("a stroke needs at least one point in RAS mm, got none")
    corners = [np.array(Click.from_ras(grid, point).ijk) for point in points]
    voxels = np.unique(np.concatenate([corners[:1], *map(_between, corners, corners[1:])]), axis=0)
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    values = np.zeros((high - low)[::-1], np.uint8)
    values[tuple((voxels - low).T[::-1])] = 1
    i, j, k = zip(low.tolist(), high.tolist())
    return Scribble.in_box(grid, (i, j, k), values, positive)


def _between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Voxels ``[n, 3]`` from one to another, without a gap."""
    count = int(np.abs(end - start).max()) + 1
    return np.rint(np.linspace(start, end, count)).astype(int)
