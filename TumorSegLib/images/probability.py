"""Probabilities in steps of 1/255, as sessions store them: uint8, 255 for 1, tumour from 128 on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.geometry.arrays import Float32Array, UInt8Array

#: An array without voxels.
EMPTY: UInt8Array = np.zeros((0, 0, 0), dtype=np.uint8)
#: The value that stands for a probability of 1.
CERTAIN = 255
#: A voxel is tumour from this value on.
TUMOUR = 128


def to_uint8(probability: npt.NDArray[Any]) -> UInt8Array:
    """The nearest steps to probabilities, which are limited to 0..1; any float type and shape.

    A probability of exactly one half becomes 127, which is not tumour, since tumour is what exceeds one half.
    """
    values: npt.NDArray[Any] = probability * np.float32(CERTAIN)
    values -= np.float32(0.5)
    np.ceil(values, out=values)
    np.clip(values, 0, CERTAIN, out=values)
    steps: UInt8Array = values.astype(np.uint8)
    return steps


def nearest_steps(values: npt.NDArray[Any]) -> UInt8Array:
    """The nearest whole steps to values from 0 to 255, which are limited to these; any float type and shape.

    Unlike :func:`to_uint8` this rounds half to even, so that a change of exactly one half makes a voxel tumour.
    """
    steps: UInt8Array = np.clip(np.rint(values), 0, CERTAIN).astype(np.uint8)
    return steps


def to_float(values: UInt8Array) -> Float32Array:
    """Probabilities from 0 to 1, float32 of the same shape."""
    return np.divide(values, CERTAIN, dtype=np.float32)


def from_mask(mask: npt.NDArray[Any]) -> UInt8Array:
    """Probabilities 0 and 1 of a mask of the same shape, bool or labels; what is not 0 is tumour."""
    return np.where(mask != 0, CERTAIN, 0).astype(np.uint8)
