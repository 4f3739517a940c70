"""Bringing an image from one grid to another with SimpleITK.

RAS coordinates are handed to SimpleITK as they are: it takes any orthonormal frame, and resampling does not depend on
the sign of the world axes as long as both grids use the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.arrays import Float32Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume

# Linear interpolation uses two neighbours along an axis. From this ratio of voxel sizes on it would skip voxels and
# keep their noise, so whole blocks are averaged first.
AVERAGE_FROM = 2
SLICES_AT_ONCE = 64


def resample(volume: Volume, grid: Grid, outside: float = 0.0) -> Volume:
    """The image on another grid, linearly interpolated, averaged over blocks first where the new voxels are larger.

    Args:
        volume: any grid.
        grid: the grid of the result; may differ in direction, spacing and extent.
        outside: value, in the unit of the image, where the image does not reach.

    Returns:
        A float32 volume on ``grid``; the same object where the grids are equal.

    Raises:
        GeometryError: the two do not overlap.
    """
    if volume.grid == grid:
        return volume
    _check_overlap(volume.grid, grid, f"the {volume.role} image")
    volume = average_blocks(volume, grid)
    array = volume.array.astype(np.float32, copy=False)
    return Volume(grid, _run(_to_image(array, volume.grid), grid, sitk.sitkLinear, outside), volume.role, volume.notes)


def average_blocks(volume: Volume, grid: Grid) -> Volume:
    """The image with whole blocks of voxels averaged, where voxels of ``grid`` are at least twice as long as its own.

    Blocks are the largest that are not longer than a voxel of ``grid``; a last block that is not full is filled up
    with the edge. Below twice, one voxel is a share of two neighbours in any case and nothing is averaged.

    Returns:
        A float32 volume on its own, coarser grid; the same object where nothing is to be averaged.
    """
    blocks = _blocks(volume.grid, grid)
    if max(blocks) == 1:
        return volume
    affine = volume.grid.affine.copy()
    affine[:3, :3] *= blocks
    affine[:3, 3] = volume.grid.to_ras((np.asarray(blocks) - 1) / 2)
    means = _block_means(volume.array, blocks)
    return Volume(Grid(means.shape, affine), means, volume.role, volume.notes)


def _block_means(array: npt.NDArray[Any], blocks: Sequence[int]) -> Float32Array:
    """Means of blocks ``(i, j, k)``, without a copy of the image: one layer of blocks after the other."""
    i, j, k = blocks
    layers = []
    for first in range(0, len(array), k):
        rows = _block_sums(array[first : first + k], 1, j)
        layers.append(_block_sums(_block_sums(rows, 0, k), 2, i))
    means: Float32Array = np.concatenate(layers)
    means /= i * j * k
    return means


def _block_sums(array: npt.NDArray[Any], axis: int, block: int) -> Float32Array:
    """Sums of blocks along an axis, float32; a last block that is not full is filled up with its last element."""
    along = np.moveaxis(array, axis, 0)
    sums: Float32Array = along[::block].astype(np.float32)
    for offset in range(1, block):
        part = along[offset::block]
        sums[: len(part)] += part
        if len(part) < len(sums):
            sums[-1] += along[-1]
    return np.moveaxis(sums, 0, axis)


def resample_mask(mask: Mask, grid: Grid) -> Mask:
    """The labels on another grid, nearest voxel; background where the mask does not reach.

    Raises:
        GeometryError: the two do not overlap.
    """
    if mask.grid == grid:
        return mask
    _check_overlap(mask.grid, grid, "the mask")
    return Mask(grid, _run(_to_image(mask.array, mask.grid), grid, sitk.sitkNearestNeighbor, 0), mask.notes)


def resample_probability(probability: Float32Array, source: Grid, target: Grid) -> Float32Array:
    """A map ``[k, j, i]`` float32 on ``source`` linearly interpolated on ``target``.

    Within half a voxel outside the outermost centres the edge value holds, so that a map does not fade at the border
    of its image; farther out it is 0.
    """
    if source == target:
        return probability
    result: Float32Array = _run(_to_image(probability, source), target, sitk.sitkLinear, 0)
    return result


def _blocks(source: Grid, target: Grid) -> list[int]:
    """How many source voxels (i, j, k) one target voxel is as long as, where that is two or more; else 1."""
    turned = source.direction.T @ target.direction
    ratio = np.sqrt(turned**2 @ np.square(target.spacing)) / source.spacing
    return [int(r + 0.01) if r >= AVERAGE_FROM - 0.01 else 1 for r in ratio]


def _check_overlap(source: Grid, target: Grid, what: str) -> None:
    if not source.overlaps(target):
        raise GeometryError(f"{what} ({source}) does not overlap the target grid ({target})")


def _to_image(array: npt.NDArray[Any], grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(_direction(grid))
    return image


def _direction(grid: Grid) -> list[float]:
    direction = grid.direction
    # ITK inverts this with a singular value decomposition that fails, with a mere warning on the console and a result
    # that lies wholly outside, where products of entries underflow (seen at 1e-299).
    return [float(x) for x in np.where(np.abs(direction) < 1e-30, 0, direction).reshape(-1)]


def _run(image: sitk.Image, grid: Grid, interpolator: int, outside: float) -> npt.NDArray[Any]:
    """An image of ITK on a grid, some slices at a time: the result is not in memory twice."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetOutputSpacing(grid.spacing)
    resampler.SetOutputDirection(_direction(grid))
    resampler.SetInterpolator(interpolator)
    resampler.SetDefaultPixelValue(float(outside))  # SimpleITK refuses numpy's float32
    i, j, k = grid.size
    result: npt.NDArray[Any] = np.empty(grid.shape, sitk.GetArrayViewFromImage(image).dtype)
    for first in range(0, k, SLICES_AT_ONCE):
        slab = grid.crop(((0, i), (0, j), (first, min(first + SLICES_AT_ONCE, k))))
        resampler.SetSize(slab.size)
        resampler.SetOutputOrigin(slab.origin.tolist())
        done = resampler.Execute(image)  # to be kept: the view has no reference to it
        result[first : first + slab.shape[0]] = sitk.GetArrayViewFromImage(done)
    return result
