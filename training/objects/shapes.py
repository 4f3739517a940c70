"""Random smooth fields and blobs, arrays ``[k, j, i]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from TumorSegLib.geometry.arrays import Float32Array, Float64Array
from TumorSegLib.prompts.encoding import Shape

# Radii in voxels of objects that a patch holds, of those that it is too near to, and how often the latter are drawn:
# only who has seen too little of large objects knows when to look from farther away.
HELD, TOO_NEAR, NEAR = (1.7, 29.0), (26.0, 70.0), 0.25
# How bright an object that fades is at its surface, of its contrast in the middle.
FADES_TO = (0.35, 0.9)
# How often a patch shows thick slices, of how many voxels, and how often these lie across k.
THICK, THICKNESS, ACROSS_K = 0.45, (2, 6), 0.8
# Axis ``(k, j, i)``, thickness in voxels and the first border of slices in a patch.
Slices: TypeAlias = tuple[int, int, int]


def smooth_noise(shape: Shape, cells: Sequence[float], rng: np.random.Generator) -> Float32Array:
    """A smooth random field of about unit variance, with so many bumps along each axis, float32."""
    control = torch.from_numpy(rng.standard_normal([int(n) + 3 for n in cells], dtype=np.float32))
    field = F.interpolate(control[None, None], size=shape, mode="trilinear", align_corners=True)[0, 0]
    result: Float32Array = (field / field.std().clamp(min=1e-6)).numpy()
    return result


def fading(depth: Float32Array, rng: np.random.Generator) -> Float32Array:
    """A factor that falls from 1 at the middle of a blob towards its surface, float32: lesions often fade outwards.

    Args:
        depth: as :func:`blob` gives it.
        rng: source of randomness.
    """
    at_surface = rng.uniform(*FADES_TO)
    deepest = max(float(depth.max()), 1e-3)
    share = np.clip(depth / np.float32(deepest * rng.uniform(0.4, 1.0)), 0, 1)
    result: Float32Array = np.float32(at_surface) + np.float32(1 - at_surface) * share
    return result


def sliced(image: Float32Array, slices: Slices) -> Float32Array:
    """A patch as one of thick slices shows it: averages over slices, linearly interpolated, float32 ``[k, j, i]``."""
    axis, thickness, first = slices
    patch = np.moveaxis(image, axis, 0)
    size = len(patch)
    starts = np.arange(first - thickness, size, thickness)
    means = np.stack([patch[max(s, 0) : max(s + thickness, 1)].mean(axis=0) for s in starts if s + thickness > 0])
    centres = [s + (thickness - 1) / 2 for s in starts if s + thickness > 0]
    place = np.interp(np.arange(size), centres, np.arange(len(centres)))
    low = np.minimum(place.astype(int), len(centres) - 1)
    high = np.minimum(low + 1, len(centres) - 1)
    share = (place - low).astype(np.float32)[:, None, None]
    result: Float32Array = (means[low] * (1 - share) + means[high] * share).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


def draw_slices(rng: np.random.Generator) -> Slices | None:
    """Axis, thickness in voxels and first border of thick slices; None for cubes, as often as not."""
    if rng.random() > THICK:
        return None
    thickness = int(rng.integers(THICKNESS[0], THICKNESS[1] + 1))
    axis = 0 if rng.random() < ACROSS_K else int(rng.integers(1, 3))
    return axis, thickness, int(rng.integers(thickness))


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
