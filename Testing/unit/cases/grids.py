"""Grids and masks for tests of several packages."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Any size, spacing, origin, rotation and permutation or mirroring of axes."""
    shape = draw(st.tuples(*[st.integers(1, 40)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 8)] * 3))
    origin = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    axes = draw(st.permutations([0, 1, 2]))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[:, axes] * signs
    return Grid.from_spacing(shape, spacing, origin, direction)


def voxel_centres(grid: Grid) -> np.ndarray:
    """RAS of every voxel, ``[k, j, i, 3]``."""
    return grid.to_ras(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)[..., ::-1])


def mask_of(array: Any, spacing: Any = (1.0, 1.0, 1.0), **grid: Any) -> Mask:
    """A mask on a grid of its own; further arguments are those of ``Grid.from_spacing``."""
    array = np.asarray(array, np.uint8)
    return Mask(Grid.from_spacing(array.shape, spacing, **grid), array)
