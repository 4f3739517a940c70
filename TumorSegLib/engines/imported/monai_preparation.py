"""From the images of a case to the input of a network of a MONAI bundle: the steps of its preparation, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from monai import transforms

from TumorSegLib.engines.imported.case import Order, PreparedCase, Turn, axes_towards
from TumorSegLib.engines.imported.monai_lattice import TOLERANCE, TapRestoring, Taps, new_lengths
from TumorSegLib.engines.inputs import check_roles
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.resample import resample
from TumorSegLib.images.volume import Images
from TumorSegLib.models.monai import CROP, ORIENTATION, SPACING, MonaiInput
from TumorSegLib.models.spec import ModelSpec

#: MONAI's own transforms of the values, by the name of a step.
INTENSITIES: Mapping[str, Callable[..., Any]] = {
    "NormalizeIntensity": transforms.NormalizeIntensity,
    "ScaleIntensity": transforms.ScaleIntensity,
    "ScaleIntensityRange": transforms.ScaleIntensityRange,
    "ScaleIntensityRangePercentiles": transforms.ScaleIntensityRangePercentiles,
    "ThresholdIntensity": transforms.ThresholdIntensity,
}


def prepare(images: Images, spec: ModelSpec) -> PreparedCase:
    """The input of a network for the images of a case.

    Raises:
        RoleError: the images are not what the model takes.
        GeometryError: an image does not overlap the first.
    """
    check_roles(images, spec)
    images, taken = ImageSet.of(images), spec.monai_input
    # MONAI's arrays begin with i.
    arrays = [resample(images[role], images.grid).array.T for role in taken.roles]
    lattice = _Lattice(np.stack(arrays).astype(np.float32), images.grid, taken)
    for step in taken.steps:
        if step.name in INTENSITIES:
            transformed = INTENSITIES[step.name](**step.arguments)(torch.from_numpy(lattice.array))
            lattice.array = np.ascontiguousarray(torch.as_tensor(transformed).numpy(), np.float32)
        else:
            lattice.change(step.name, step.arguments)
    a, b, c = lattice.taps
    whole = tuple((0, images.grid.shape[axis]) for axis in lattice.order)
    array, spacing = np.ascontiguousarray(lattice.array), tuple(lattice.spacing)
    turn, restoring = Turn(lattice.order), TapRestoring((a, b, c))
    return PreparedCase(array, images.grid, turn, whole, restoring, spacing, images.on_other_grids)


class _Lattice:
    """An image and its lattice, which steps change.

    Attributes:
        array: float32 ``[channels, *lattice]``.
        order: axis of the image's array ``[k, j, i]`` for each axis.
        spacing: of each axis, mm.
        taps: where the voxels of the image, along each axis, lie on the lattice.
    """

    def __init__(self, array: Float32Array, grid: Grid, taken: MonaiInput) -> None:
        self.array, self._nearest = array, taken.nearest
        self.order: Order = (2, 1, 0)
        self.spacing = [float(edge) for edge in grid.spacing]
        self.taps = [Taps.identity(n) for n in array.shape[1:]]
        self._directions = grid.direction.copy()

    def change(self, step: str, arguments: Mapping[str, Any]) -> None:
        """Takes a step that moves voxels."""
        changes: dict[str, Callable[..., None]] = {
            ORIENTATION: self._turn,
            SPACING: self._resample,
            CROP: self._crop,
        }
        changes[step](**arguments)

    def _turn(self, axcodes: str) -> None:
        order, flips = axes_towards(self._directions, axcodes)
        flipped = tuple(number + 1 for number, flip in enumerate(flips) if flip)
        self.array = np.ascontiguousarray(np.flip(self.array.transpose(0, *(axis + 1 for axis in order)), flipped))
        a, b, c = (self.order[axis] for axis in order)
        self.order, self.spacing = (a, b, c), [self.spacing[axis] for axis in order]
        taps = [self.taps[axis] for axis in order]
        self.taps = [tap.flipped(n) if flip else tap for tap, n, flip in zip(taps, self.array.shape[1:], flips)]
        self._directions = self._directions[:, order] * np.where(flips, -1, 1)

    def _resample(self, pixdim: tuple[float, float, float], nearest: bool = False) -> None:
        """The first voxel stays where it is, as ``Spacing`` of MONAI has it."""
        new = [own if abs(own - edge) <= TOLERANCE else float(edge) for own, edge in zip(self.spacing, pixdim)]
        ratios = [edge / own for own, edge in zip(self.spacing, new)]
        shape = self.array.shape[1:]
        lengths = new_lengths(shape, ratios)
        if list(shape) == lengths and np.allclose(ratios, 1, atol=TOLERANCE):
            return
        for axis, (ratio, length) in enumerate(zip(ratios, lengths)):
            if ratio != 1:
                places = Taps.at_places(np.arange(length, dtype=np.float64) * ratio, shape[axis], nearest)
                self.array = places.applied(self.array, axis + 1)
                self.taps[axis] = self.taps[axis].then_places(1 / ratio, length, self._nearest)
        self.spacing = new

    def _crop(
        self,
        above: float = 0,
        margin: tuple[int, ...] = (0, 0, 0),
        k_divisible: tuple[int, ...] = (1, 1, 1),
        allow_smaller: bool = False,
        value: float = 0,
    ) -> None:
        """All of an image stays in which nothing exceeds the threshold."""
        shown: BoolArray = np.asarray((self.array > above).any(axis=0))
        for axis, n in enumerate(shown.shape):
            marked = np.flatnonzero(shown.any(axis=tuple(other for other in range(3) if other != axis)))
            first, last = (int(marked[0]), int(marked[-1]) + 1) if marked.size else (0, n)
            first, last = first - margin[axis], last + margin[axis]
            if allow_smaller:
                first, last = max(first, 0), min(last, n)
            length = -(-(last - first) // k_divisible[axis]) * k_divisible[axis]
            first -= (length - (last - first)) // 2
            self._cut(axis, first, length, value)

    def _cut(self, axis: int, start: int, length: int, value: float) -> None:
        n = self.array.shape[axis + 1]
        at = [slice(None)] * 4
        at[axis + 1] = slice(max(start, 0), min(start + length, n))
        margins = [(0, 0)] * 4
        margins[axis + 1] = (max(-start, 0), max(start + length - n, 0))
        self.array = np.pad(self.array[tuple(at)], margins, constant_values=value)
        self.taps[axis] = self.taps[axis].cut(start, length)
