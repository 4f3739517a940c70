"""Images and masks: an array that travels with its geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import bounding_box
from TumorSegLib.geometry.grid import Box, Grid


def _read_only(array: npt.NDArray[Any], grid: Grid, what: str) -> npt.NDArray[Any]:
    if array.shape != grid.shape:
        raise GeometryError(f"{what} array has shape {array.shape}, its grid {grid.shape} (k, j, i)")
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def number_text(value: float) -> str:
    """A volume in ml, or another measure that is not negative, as text: one decimal, below 1 two digits."""
    return f"{value:.2g}" if 0 < value < 1 else f"{value:.1f}"


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image of one role.

    Attributes:
        grid: its geometry.
        array: real-valued ``[k, j, i]``, read-only, in the unit of its role: HU for ``ct``, SUV (g/ml) for ``pet``,
            arbitrary units for ``mr_*``.
        role: what the image is, e.g. ``ct``, ``pet``, ``mr_t1``; it decides what the values mean. Without it they
            are taken as HU, windowed and normalised as CT: state the role of every PET and MR.
        notes: sentences about how the image was read that its user must know; empty for most.

    Raises:
        GeometryError: array and grid differ in shape.
        ArgumentError: the array is not of real numbers, or holds NaN or infinity.
    """

    grid: Grid
    array: npt.NDArray[Any]
    role: str = "ct"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.dtype.kind not in "iufb":
            raise ArgumentError(f"{self.role} image has dtype {array.dtype}; real numbers are needed")
        # Slice by slice: in half the time, without another array of this size.
        if array.dtype.kind == "f" and not all(np.isfinite(each).all() for each in np.atleast_1d(array)):
            bad = int(array.size - np.isfinite(array).sum())
            where = tuple(int(n) for n in np.argwhere(~np.isfinite(array))[0][::-1])
            raise ArgumentError(
                f"{self.role} image has {bad} voxels that are NaN or infinite, the first at ijk {where}"
            )
        object.__setattr__(self, "array", _read_only(array, self.grid, f"{self.role} image"))


@dataclass(frozen=True, eq=False)
class Mask:
    """A label map: 0 is background.

    Attributes:
        grid: its geometry.
        array: uint8 ``[k, j, i]``, read-only.
        notes: sentences about how the mask was read that its user must know; empty for most.

    Raises:
        GeometryError: array and grid differ in shape.
        ArgumentError: values are not whole numbers from 0 to 255.
    """

    grid: Grid
    array: UInt8Array
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.dtype != np.uint8:
            with np.errstate(invalid="ignore"):  # NaN and values out of range are found by the comparison
                labels = array.astype(np.uint8)
            if not np.array_equal(labels, array):
                where = tuple(int(n) for n in np.argwhere(labels != array)[0])
                raise ArgumentError(
                    f"mask values must be whole numbers from 0 to 255, got {array.min()} to {array.max()}, and"
                    f" {array[where]} at ijk {where[::-1]}"
                )
            array = labels
        object.__setattr__(self, "array", _read_only(array, self.grid, "mask"))

    @property
    def volume_ml(self) -> float:
        """Volume of all voxels that are not background, in millilitres."""
        return int(np.count_nonzero(self.array)) * self.grid.voxel_volume_ml

    def bounding_box(self) -> Box | None:
        """Smallest half-open voxel box around what is not background; None when the mask is empty."""
        return bounding_box(self.array)


#: Role to image; the first entry's grid is the one results are given on.
Images: TypeAlias = Mapping[str, Volume]
