"""One object in one patch: what every source of objects gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from TumorSegLib.geometry.arrays import BoolArray, Float32Array

# Fewer voxels of a patch show no shape; more than this share of it no outside.
LEAST_VOXELS, LARGEST_SHARE = 20, 0.95
# A boundary is seen where means on both sides of it, over about so many voxels, differ by this many network units.
SIDE_VOXELS, SEEN = 1.5, 0.35


@dataclass(frozen=True, eq=False)
class ObjectSample:
    """An object in a patch of cubic voxels.

    Attributes:
        images: float32 ``[channels, k, j, i]``, network input, 0 in channels that are not given.
        truth: bool ``[k, j, i]``, the object.
    """

    images: Float32Array
    truth: BoolArray


def is_visible(truth: BoolArray) -> bool:
    """Whether a patch shows enough of an object, and of what is outside it."""
    return bool(LEAST_VOXELS <= int(truth.sum()) <= LARGEST_SHARE * truth.size)


def edge_seen(images: Float32Array, truth: BoolArray) -> float:
    """The share of an object's surface where an image shows a step; of several images that of the best.

    Args:
        images: network input ``[channels, k, j, i]``.
        truth: the object, bool ``[k, j, i]``.
    """
    surface = truth & ~ndi.binary_erosion(truth, border_value=1)
    if not surface.any():
        return 0.0
    inside = truth.astype(np.float32)
    weight = np.clip(_near(inside)[surface], 1e-3, 1 - 1e-3)
    shares = [0.0]
    for image in images:
        if np.ptp(image[::2, ::2, ::2]) > 0:
            within, all_around = _near(image * inside)[surface], _near(image)[surface]
            step = within / weight - (all_around - within) / (1 - weight)
            shares.append(float((np.abs(step) > SEEN).mean()))
    return max(shares)


def _near(image: Float32Array) -> Float32Array:
    result: Float32Array = ndi.gaussian_filter(image, SIDE_VOXELS)
    return result
