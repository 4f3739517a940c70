"""Sessions whose segmentation and images were moved in the world by one and the same transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from TumorSegLib import Grid


def carriedAlong(data: Any, then: Sequence[Sequence[float]] | np.ndarray, now: np.ndarray, grid: Grid) -> Any:
    """The data of a session whose segmentation and first image were moved in the world by one and the same transform.

    Args:
        data: of the library's session; comes back as it is where that is not so.
        then, now: the segmentation's place, a matrix ``(4, 4)`` to RAS mm of the world.
        grid: of the first image now.
    """
    from TumorSegLib import GeometryError, Grid

    try:
        former = Grid(tuple(data["grid"]["shape"]), np.array(data["grid"]["affine"], dtype=float))
        moved = movedGrid(former, np.array(then, dtype=float), now)
    except (LookupError, TypeError, ValueError, np.linalg.LinAlgError, GeometryError):
        return data  # damaged, which reading it tells in words, or written before places were
    return {**data, "grid": {**data["grid"], "affine": grid.affine.tolist()}} if moved == grid else data


def movedGrid(grid: Grid, then: np.ndarray, now: np.ndarray) -> Grid:
    """A grid that moves along with a segmentation from one place in the world to another, matrices ``(4, 4)``."""
    from TumorSegLib import Grid

    return Grid(grid.shape, now @ np.linalg.inv(then) @ grid.affine)
