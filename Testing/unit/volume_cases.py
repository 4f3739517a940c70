"""A small image and small masks, for the tests of reading and writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from TumorSegLib.geometry import Grid
from TumorSegLib.volume import Mask, Volume

REPOSITORY = Path(__file__).resolve().parents[2]
GRID = Grid.from_spacing(
    (5, 6, 7), (1.5, 2.0, 3.0), (10, -20, 30), Rotation.from_euler("z", 30, degrees=True).as_matrix()
)
KINDS = ["uint8", "int16", "uint16", "int32", "float32", "float64"]


def volume(grid: Grid = GRID, kind: Any = "int16") -> Volume:
    values = np.random.default_rng(0).integers(0, 200, grid.shape)
    return Volume(grid, values.astype(kind), "mr_t1")


def mask(*labels: int) -> Mask:
    """A voxel row per label, on GRID."""
    array = np.zeros(GRID.shape, np.uint8)
    for n, label in enumerate(labels):
        array[n + 1, 2, 1:4] = label
    return Mask(GRID, array)
