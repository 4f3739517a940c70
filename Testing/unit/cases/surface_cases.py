"""A tumour that is a ball, for surfaces and pictures."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
SPACING = (1.5, 1.0, 2.0)
RADIUS = 14.0
TRUE_MM3 = 4 / 3 * math.pi * RADIUS**3


def gaussian_ball(direction) -> tuple[Volume, np.ndarray]:
    """exp(-d^2 ln 2 / r^2), which is 0.5 at distance r from a centre off the voxels; and the centre's RAS."""
    grid = Grid.from_spacing((30, 56, 40), SPACING, (-31.0, 112.5, 80.0), direction)
    k, j, i = np.indices(grid.shape)
    centre = grid.to_ras((20.3, 27.1, 14.6))
    distance2 = ((grid.to_ras(np.stack([i, j, k], axis=-1)) - centre) ** 2).sum(axis=-1)
    return Volume(grid, np.exp(-distance2 * math.log(2) / RADIUS**2).astype(np.float32), "probability"), centre
