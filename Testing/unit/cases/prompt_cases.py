"""Lattices and distances for the tests of prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

SHAPE = (5, 6, 8)
SPACING = (0.7, 1.6, 3.2)


def distances(points: Any, shape: Any, spacing: Any) -> np.ndarray:
    """Distance in mm from every voxel centre ``[k, j, i]`` to the nearest point, each pair computed by itself."""
    voxels, table = np.moveaxis(np.indices(shape), 0, -1)[..., ::-1], np.full(shape, np.inf)
    for point in np.reshape(points, (-1, 3)):
        np.minimum(table, np.linalg.norm((voxels - point) * spacing, axis=-1), out=table)
    return table
