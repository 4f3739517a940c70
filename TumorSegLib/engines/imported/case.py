"""The input of a network of another program, and the way back from its answer to the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from TumorSegLib.geometry.arrays import Float32Array, Float64Array
from TumorSegLib.geometry.grid import Grid

Order = tuple[int, int, int]
# Axis of RAS and the sign along it, by the letter of the direction that an axis runs to.
_DIRECTIONS = {"R": (0, 1), "A": (1, 1), "S": (2, 1), "L": (0, -1), "P": (1, -1), "I": (2, -1)}


def axes_towards(directions: Float64Array, codes: str) -> tuple[Order, tuple[bool, ...]]:
    """The axis of an array that runs nearest to each of three directions, and whether it runs the other way.

    Args:
        directions: unit vectors in RAS, one column per axis of the array.
        codes: three letters of R, L, A, P, S and I, such as ``RAS``.
    """
    axis_of, free = {}, {0, 1, 2}
    for axis in np.argsort(-np.abs(directions).max(axis=0)):  # the axis that is nearest to one of the patient first
        world = max(free, key=lambda each: abs(float(directions[each, axis])))
        free.remove(world)
        axis_of[world] = int(axis)
    wanted = [_DIRECTIONS[letter] for letter in codes]
    a, b, c = (axis_of[world] for world, _ in wanted)
    return (a, b, c), tuple(bool(directions[world, axis_of[world]] * sign < 0) for world, sign in wanted)


@dataclass(frozen=True)
class Turn:
    """The axes of an image ``[k, j, i]`` as the network sees them.

    Attributes:
        order: an axis of the image for each of the network.
        flipped: axes of the network that run the other way.
    """

    order: Order
    flipped: tuple[int, ...] = ()

    @classmethod
    def towards(cls, grid: Grid, codes: str) -> Turn:
        """The turn by which the axes of an image on a grid run nearest to the directions, such as ``RAS``."""
        order, flips = axes_towards(grid.direction[:, ::-1], codes)
        return cls(order, tuple(number for number, flip in enumerate(flips) if flip))

    def __call__(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """An array ``[k, j, i]`` as the network sees it; a view."""
        return np.flip(array.transpose(self.order), self.flipped)

    def back(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """An array as the network sees it as ``[k, j, i]``; a view."""
        return np.flip(array, self.flipped).transpose(np.argsort(self.order))


class Restoring(Protocol):
    """Brings what a network answers to the voxels of the image."""

    def slices(self, logits: torch.Tensor) -> Iterator[torch.Tensor]:
        """The slices along the first axis, float32 ``[channels, second axis, third axis]``.

        Args:
            logits: ``[channels, *lattice]``, or probabilities, float32 or float16.
        """


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """The input of a network, in its axes.

    Attributes:
        array: float32 ``[channels, *lattice]``.
        grid: of the image that results lie on.
        turn: from its axes to those that the answer is restored in.
        crop: half-open ranges, in these axes, of the part that an answer is restored to; the rest is background.
        restoring: of the answer, to the voxels of the crop.
        spacing_mm: that the network sees.
        resampled: roles whose image lay on another grid than the first.
    """

    array: Float32Array
    grid: Grid
    turn: Turn
    crop: tuple[tuple[int, int], ...]
    restoring: Restoring
    spacing_mm: tuple[float, ...]
    resampled: tuple[str, ...]
