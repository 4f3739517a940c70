"""Random smooth fields and blobs, arrays ``[k, j, i]``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from TumorSegLib.geometry.arrays import Float32Array, Float64Array
from TumorSegLib.prompts.encoding import Shape

# Radii in voxels of objects that a patch holds, of those that it is too near to, and how often the latter are drawn:
# only who has seen too little of large objects knows when to look from farther away.
HELD, TOO_NEAR, NEAR = (1.7, 29.0), (26.0, 70.0), 0.25


def smooth_noise(shape: Shape, cells: Sequence[float], rng: np.random.Generator) -> Float32Array:
    """A smooth random field of about unit variance, with so many bumps along each axis, float32."""
    control = torch.from_numpy(rng.standard_normal([int(n) + 3 for n in cells], dtype=np.float32))
    field = F.interpolate(control[None, None], size=shape, mode="trilinear", align_corners=True)[0, 0]
    result: Float32Array = (field / field.std().clamp(min=1e-6)).numpy()
    return result


def draw_radii(rng: np.random.Generator) -> Float64Array:
    """Radii ``(k, j, i)`` of an object in voxels."""
    radius = np.exp(rng.uniform(*np.log(TOO_NEAR if rng.random() < NEAR else HELD)))
    return np.asarray(radius * rng.uniform(0.65, 1.5, 3))


def blob(shape: Shape, centre: Float64Array, radii: Float64Array, rng: np.random.Generator) -> Float32Array:
    """Depth below the surface of a bumpy ellipsoid as a share of its radii, positive inside, float32.

    Args:
        shape: of the result.
        centre, radii: ``(k, j, i)`` in voxels.
        rng: source of randomness.
    """
    k, j, i = (((np.arange(n) - c) / r) ** 2 for n, c, r in zip(shape, centre, radii))
    distance = np.sqrt(k[:, None, None] + j[None, :, None] + i[None, None, :]).astype(np.float32)
    cells = np.clip(np.divide(shape, radii) * rng.uniform(0.7, 2.0), 1, 16)
    result: Float32Array = 1 - distance + np.float32(rng.uniform(0, 0.35)) * smooth_noise(shape, cells.tolist(), rng)
    return result
