"""Resampling as nnU-Net v2 does it: splines, and the axis of the thickest voxels apart where voxels are anisotropic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import map_coordinates
from skimage.transform import resize
from torch.nn import functional

from TumorSegLib.errors import ModelError
from TumorSegLib.geometry.arrays import Float32Array
from TumorSegLib.models.nnunet import NnunetResampling

# An axis is resampled apart where voxels are more than this many times as long as along another one.
ANISOTROPY = 3.0

Shape = tuple[int, int, int]


def new_shape(shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]) -> Shape:
    """The number of voxels at another spacing, all in the same order of axes."""
    a, b, c = (max(round(n * edge / other), 1) for n, edge, other in zip(shape, spacing, target))
    return a, b, c


def separate_axis(spacing: Sequence[float], target: Sequence[float], rule: NnunetResampling) -> int | None:
    """The axis that is resampled apart; None where none is.

    It is that of the longest edge of a voxel, of the array itself or, where only the other spacing is anisotropic, of
    that; none where two edges are the longest.
    """
    if rule.separate_z is False:
        return None
    for edges in (spacing, target):
        if rule.separate_z or max(edges) / min(edges) > ANISOTROPY:
            longest = [axis for axis, edge in enumerate(edges) if np.isclose(edge, max(edges), rtol=1e-6, atol=0)]
            return longest[0] if len(longest) == 1 else None
    return None


def resample_image(
    array: npt.NDArray[np.float32], shape: Shape, rule: NnunetResampling, axis: int | None
) -> Float32Array:
    """An image, float32, on another lattice of the same extent.

    Args:
        array: of three axes.
        shape: the new number of voxels.
        rule: orders of the splines.
        axis: that is resampled apart, see :func:`separate_axis`.
    """
    if array.shape == shape:
        return array
    exact = array.astype(np.float64)
    if axis is None:
        return _resized(exact, shape, rule.order).astype(np.float32)
    plane = tuple(n for number, n in enumerate(shape) if number != axis)
    slices: npt.NDArray[Any] = np.stack(
        [_resized(each, plane, rule.order) for each in np.moveaxis(exact, axis, 0)], axis
    )
    if slices.shape[axis] != shape[axis]:
        places = np.indices(shape, dtype=np.float64, sparse=True)
        along = _places(slices.shape[axis], shape[axis])
        at = [along.reshape([-1 if n == axis else 1 for n in range(3)]) if n == axis else places[n] for n in range(3)]
        slices = map_coordinates(slices, np.broadcast_arrays(*at), order=rule.order_z, mode="nearest")
    result: Float32Array = slices.astype(np.float32)
    return result


def _resized(array: npt.NDArray[Any], shape: tuple[int, ...], order: int) -> npt.NDArray[Any]:
    result: npt.NDArray[Any] = resize(array, shape, order, mode="edge", anti_aliasing=False)
    return result


def _places(length: int, new_length: int) -> npt.NDArray[np.float64]:
    """Where the centres of new voxels lie along an axis, in voxels."""
    places: npt.NDArray[np.float64] = (np.arange(new_length, dtype=np.float64) + 0.5) * (length / new_length) - 0.5
    return places


@dataclass(frozen=True)
class LogitResampling:
    """Logits on the lattice of the network brought to that of the image, slice by slice.

    Attributes:
        source, shape: voxels per axis before and after.
        nearest: axes along which the nearest voxel counts; along the others it is linear.
    """

    source: Shape
    shape: Shape
    nearest: tuple[int, ...]

    @classmethod
    def of(cls, source: Shape, shape: Shape, rule: NnunetResampling, axis: int | None) -> LogitResampling:
        """As a rule says; raises :class:`ModelError` for splines, which need all of the image at once."""
        orders = {number: rule.order_z if number == axis else rule.order for number in range(3)}
        if max(orders.values()) > 1:
            raise ModelError(f"logits resampled with order {max(orders.values())} are not supported; 0 and 1 are")
        return cls(source, shape, tuple(number for number, order in orders.items() if order == 0))

    def slices(self, logits: torch.Tensor) -> Iterator[torch.Tensor]:
        """The new slices along the first axis, float32 ``[labels, second axis, third axis]``.

        Args:
            logits: ``[labels, *source]``, float32 or float16.
        """
        if self.source == self.shape:
            yield from (logits[:, number].float() for number in range(self.shape[0]))
            return
        places = _places(self.source[0], self.shape[0])
        if 0 in self.nearest:
            places = np.floor(places + 0.5)
        picks = [torch.from_numpy(self._nearest(axis)) if axis in self.nearest else None for axis in (1, 2)]
        for place in np.clip(places, 0, self.source[0] - 1):
            first = int(place)
            blended = logits[:, first].float()
            if place > first:
                blended = torch.lerp(blended, logits[:, first + 1].float(), float(place - first))
            for axis, pick in enumerate(picks, start=1):
                blended = blended if pick is None else blended.index_select(axis, pick)
            if tuple(blended.shape[1:]) != self.shape[1:]:
                blended = functional.interpolate(blended[None], self.shape[1:], mode="bilinear")[0]
            yield blended

    def _nearest(self, axis: int) -> npt.NDArray[np.int64]:
        places = np.floor(_places(self.source[axis], self.shape[axis]) + 0.5)
        return np.clip(places, 0, self.source[axis] - 1).astype(np.int64)
