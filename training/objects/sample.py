"""One object in one patch: what every source of objects gives."""

from __future__ import annotations

from dataclasses import dataclass

from TumorSegLib.geometry.arrays import BoolArray, Float32Array

# Fewer voxels of a patch show no shape; more than this share of it no outside.
LEAST_VOXELS, LARGEST_SHARE = 20, 0.95


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
