"""Slices of an image as input of a 2D model, and its output as voxels: one object converts pixels and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from TumorSegLib.geometry.arrays import Float32Array, Float64Array
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box, Grid

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class View:
    """All slices of a region along one axis, brought to square pixels that fill the longest side of a model's input.

    Rows and columns of a slice are the two other axes in the order of arrays: (j, i), (k, i) or (k, j).

    Attributes:
        axis: 0, 1 or 2 for slices along i, j or k.
        region: half-open voxel box.
        pixels: rows and columns of a slice in the input.
        size: rows and columns of the input; what a slice does not fill is 0.
    """

    axis: int
    region: Box
    pixels: tuple[int, int]
    size: int

    @classmethod
    def of(cls, grid: Grid, region: Box, axis: int, size: int) -> View:
        """The view of a region of a grid."""
        across = [(high - low) * step for (low, high), step in zip(region, grid.spacing)]
        rows, columns = (across[n] for n in _in_plane(axis))
        scale = size / max(rows, columns)
        return cls(axis, region, (max(round(rows * scale), 1), max(round(columns * scale), 1)), size)

    @property
    def plane(self) -> tuple[int, int]:
        """The axes (0, 1 or 2 for i, j or k) that rows and columns run along."""
        return _in_plane(self.axis)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns in voxels."""
        counts = [high - low for low, high in self.region]
        rows, columns = _in_plane(self.axis)
        return counts[self.axis], counts[rows], counts[columns]

    def stack(self, array: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """The slices ``[n, rows, columns]`` of an array ``[k, j, i]`` of the whole grid; a view of it."""
        return np.moveaxis(array[slices(self.region)], 2 - self.axis, 0)

    def unstack(self, stack: Float32Array) -> Float32Array:
        """The reverse: slices ``[n, rows, columns]`` as the region ``[k, j, i]``."""
        return np.moveaxis(stack, 0, 2 - self.axis)

    def to_input(self, stack: Float32Array) -> torch.Tensor:
        """Slices as input of a model, float32 ``[n, 1, size, size]``."""
        images = torch.from_numpy(np.ascontiguousarray(stack))[:, None]
        images = F.interpolate(images, self.pixels, mode="bilinear", antialias=True)
        return F.pad(images, (0, self.size - self.pixels[1], 0, self.size - self.pixels[0]))

    def to_pixels(self, ranges: Float64Array) -> torch.Tensor:
        """Rectangles in pixels of the input.

        Args:
            ranges: ``[n, 4]`` as first row, end of rows, first column, end of columns, in voxels of the region.

        Returns:
            float32 ``[n, 4]`` as left, top, right, bottom.
        """
        _, rows, columns = self.shape
        down, right = self.pixels[0] / rows, self.pixels[1] / columns
        return torch.tensor(ranges[:, [2, 0, 3, 1]] * (right, down, right, down), dtype=torch.float32)

    def from_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, q, q]`` of the input, at any resolution, to those of slices, float32 ``[n, rows, columns]``."""
        whole = F.interpolate(logits[:, None].float(), (self.size, self.size), mode="bilinear")
        inside = whole[:, :, : self.pixels[0], : self.pixels[1]]
        return F.interpolate(inside, self.shape[1:], mode="bilinear", antialias=True)[:, 0]


def _in_plane(axis: int) -> tuple[int, int]:
    """The axes (of i, j, k) of rows and columns."""
    columns, rows = (n for n in range(3) if n != axis)
    return rows, columns
