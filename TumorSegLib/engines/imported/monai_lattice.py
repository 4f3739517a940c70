"""Lattices on the way from an image to a network, as MONAI's transforms change them, and the way back.

Every change acts on each axis alone, so that a voxel of the image finds what the network answers for it by three short
tables, whatever turns, new spacings and crops lie between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from TumorSegLib.geometry.arrays import Float32Array, Float64Array, IntArray

# Spacings and lattices that differ by less are the same to MONAI (AFFINE_TOL).
TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Taps:
    """Where the voxels along one axis lie along another: the weighted sum of two of its voxels.

    Attributes:
        at: int ``(n, 2)``.
        weights: float64 ``(n, 2)``, 0 for a voxel that is not there.
    """

    at: IntArray
    weights: Float64Array

    @classmethod
    def identity(cls, length: int) -> Taps:
        """Each voxel is itself."""
        numbers = np.arange(length)
        return cls(np.stack([numbers, numbers], 1), np.stack([np.ones(length), np.zeros(length)], 1))

    @classmethod
    def at_places(cls, places: Float64Array, length: int, nearest: bool) -> Taps:
        """Linear between the voxels of an axis, or the nearest one; beyond its ends the last one counts."""
        inside = np.clip(places, 0, length - 1)
        low = np.rint(inside).astype(np.int_) if nearest else np.floor(inside).astype(np.int_)
        share = np.zeros(len(inside)) if nearest else inside - low
        return cls(np.stack([low, np.minimum(low + 1, length - 1)], 1), np.stack([1 - share, share], 1))

    def then_places(self, scale: float, length: int, nearest: bool) -> Taps:
        """On an axis of other voxels, where voxel n lies at ``n * scale``; done once only."""
        found = Taps.at_places(np.asarray(self.at[:, 0] * scale, np.float64), length, nearest)
        return replace(found, weights=found.weights * self.weights[:, :1])

    def flipped(self, length: int) -> Taps:
        """On the axis run the other way."""
        return replace(self, at=length - 1 - self.at)

    def cut(self, start: int, length: int) -> Taps:
        """On the part of an axis that begins at a voxel, which may lie before the axis."""
        moved = self.at - start
        there = (moved >= 0) & (moved < length)
        return Taps(np.clip(moved, 0, length - 1), self.weights * there)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        own = Taps.identity(len(self.at))
        return np.array_equal(self.at[:, 0], own.at[:, 0]) and np.array_equal(self.weights, own.weights)

    def applied(self, array: Float32Array, axis: int) -> Float32Array:
        """An array with this axis replaced by the sums, float32."""
        shape = [-1 if number == axis else 1 for number in range(array.ndim)]
        weights = self.weights.astype(np.float32)
        result: Float32Array = np.take(array, self.at[:, 0], axis) * weights[:, 0].reshape(shape)
        if self.weights[:, 1].any():
            result += np.take(array, self.at[:, 1], axis) * weights[:, 1].reshape(shape)
        return result


@dataclass(frozen=True, eq=False)
class TapRestoring:
    """Brings an answer to the voxels of the image by the taps of each axis.

    Attributes:
        taps: from the image's axes, in the network's order, to the network's lattice.
    """

    taps: tuple[Taps, Taps, Taps]

    def slices(self, logits: torch.Tensor) -> Iterator[torch.Tensor]:
        """See :class:`TumorSegLib.engines.imported.case.Restoring`."""
        first, *others = self.taps
        for (low, high), (one, two) in zip(first.at.tolist(), first.weights.tolist()):
            blended = logits[:, low].float() * one
            if two:
                blended = blended + logits[:, high].float() * two
            for axis, taps in enumerate(others, start=1):
                blended = blended if taps.is_identity else _summed(blended, taps, axis)
            yield blended


def _summed(values: torch.Tensor, taps: Taps, axis: int) -> torch.Tensor:
    at, weights = torch.from_numpy(taps.at), torch.from_numpy(taps.weights).float()
    shape = [-1 if number == axis else 1 for number in range(values.ndim)]
    result = values.index_select(axis, at[:, 0]) * weights[:, 0].reshape(shape)
    return result + values.index_select(axis, at[:, 1]) * weights[:, 1].reshape(shape)


def new_lengths(lengths: Sequence[int], ratios: Sequence[float]) -> list[int]:
    """Voxels per axis when they are ``ratios`` times as long, the first staying where it is, as MONAI counts them."""
    return [int(np.round((n - 1) / ratio + 1)) for n, ratio in zip(lengths, ratios)]
