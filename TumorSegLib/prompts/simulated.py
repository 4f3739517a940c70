"""Clicks of a simulated user who corrects a mask."""

from __future__ import annotations

import numpy as np

from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.prompts.types import Click


def random_correction(mask: BoolArray, truth: BoolArray, rng: np.random.Generator) -> Click | None:
    """A click on any voxel where a mask is wrong; None where it is right everywhere. Both are ``[k, j, i]``."""
    wrong = np.flatnonzero(mask != truth)
    if not wrong.size:
        return None
    k, j, i = (int(n) for n in np.unravel_index(wrong[rng.integers(wrong.size)], truth.shape))
    return Click((i, j, k), bool(truth[k, j, i]))
