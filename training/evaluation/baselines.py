"""Baselines for interactive refinement: established tools, given the same clicks.

Each answers from all clicks given so far and from nothing else; without a positive click the answer is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData

from training.data.cases import AIR_HU
from TumorSegLib.errors import ArgumentError, RoleError, TumorSegError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, UInt8Array
from TumorSegLib.geometry.boxes import from_corners, slices
from TumorSegLib.geometry.grid import Box, Grid, Voxel, check_inside, voxel_at
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.resample import resample, resample_mask
from TumorSegLib.images.roles import is_ct
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.prompts.constraints import apply_constraints, constrained_voxels
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.types import Click

BACKGROUND, TUMOUR = 1, 2
# The default "Seed locality" of Slicer's effect. At 0 a path costs its differences in intensity alone.
SEED_LOCALITY = 0.0
# The best for this baseline on the 32 sarcomas outside fold 0: mean Dice over clicks 1 to 5 is 0.57, 0.59, 0.64, 0.65,
# 0.60, 0.56 at 5, 10, 15, 20, 30, 40 mm. Farther away a hotter organ may set the threshold.
PEAK_WITHIN_MM = 20.0
# The random walker's window reaches so far from every click, in cubes of at least so many mm: its system of equations
# has a row per voxel.
WINDOW_MM, WALKED_MM = 30.0, 1.2


def grow_cut(images: Images, clicks: Sequence[Click]) -> Mask:
    """3D Slicer's "Grow from seeds": its own filter with its default settings, every click a dab of the brush.

    Fast GrowCut: Zhu et al., "An effective interactive medical image segmentation method using fast GrowCut", MICCAI
    workshop on interactive medical image computing 2014. Seeds are balls of 3 mm round the clicks; where they overlap,
    later clicks override earlier ones. The effect needs background, which a user would paint: the outermost layer of
    voxels is background except where a positive ball lies.

    Args:
        images: role to image. The effect grows on one volume: the PET where there is one, else the CT, else the first.
            Brought to the grid of the first where it lies on another.
        clicks: voxels ``(i, j, k)`` of the first image, in the order they were given.

    Returns:
        Tumour as 1 on the grid of the first image.

    Raises:
        ArgumentError: there is no image, or a click lies outside the first.
        GeometryError: the image to grow on does not overlap the first.
        TumorSegError: see :func:`check_installed`.
    """
    check_installed()
    grid = _checked_grid(images, clicks)
    if not any(click.positive for click in clicks):
        return Mask(grid, np.zeros(grid.shape, dtype=np.uint8))
    labels = _grow_from_seeds(_single(images, grid), _seeds(clicks, grid), grid.spacing)
    return Mask(grid, (labels == TUMOUR).astype(np.uint8))


def check_installed() -> None:
    """Raises :class:`TumorSegError` unless the package is there that has the filter :func:`grow_cut` runs."""
    try:
        from slicer import vtkImageGrowCutSegment  # noqa: F401 - an unrelated package of that name has none
    except ImportError as error:
        raise TumorSegError("Grow from seeds is a filter of 3D Slicer: python -m pip install slicer-core") from error


def pet_threshold(images: Images, clicks: Sequence[Click], share: float = 0.41) -> Mask:
    """The uptake at 41 % or more of SUVmax round every positive click, then all clicks as hard constraints.

    Boellaard et al., "FDG PET/CT: EANM procedure guidelines for tumour imaging: version 2.0", Eur J Nucl Med Mol
    Imaging 2015, doi:10.1007/s00259-014-2961-x. SUVmax here is the largest SUV within 20 mm of the click, and the
    uptake all voxels at or above the threshold that are connected through faces to the click's voxel or, where that
    one is below the threshold, to the hottest. Last, balls of 3 mm round positive clicks are put in and round negative
    ones taken out, in the order of the clicks. Where SUVmax is not positive there is no uptake but the ball.

    Args:
        images: role to image; only ``pet`` (SUV, g/ml) is used, brought to the grid of the first where it lies on
            another.
        clicks: voxels ``(i, j, k)`` of the first image, in the order they were given.
        share: threshold as a share of SUVmax, above 0 and at most 1.

    Returns:
        Tumour as 1 on the grid of the first image.

    Raises:
        RoleError: there is no ``pet``.
        ArgumentError: the share is outside its range, or a click lies outside the first image.
        GeometryError: the PET does not overlap the first image.
    """
    if "pet" not in images:
        raise RoleError(f"a threshold of SUV needs the role 'pet', got {', '.join(images) or 'no image'}")
    if not 0 < share <= 1:
        raise ArgumentError(f"share of SUVmax must be above 0 and at most 1, got {share}")
    grid = _checked_grid(images, clicks)
    answer = np.zeros(grid.shape, dtype=np.float32)
    positive = [click for click in clicks if click.positive]
    if positive:
        suv = resample(images["pet"], grid).array
        for click in positive:
            answer[_uptake(suv, click.ijk, grid, share)] = 1
        _constrain(answer, clicks, grid)
    return Mask(grid, answer.astype(np.uint8))


def random_walk(images: Images, clicks: Sequence[Click]) -> Mask:
    """scikit-image's random walker with its default settings, in a window of 60 mm around the clicks.

    Grady, "Random walks for image segmentation", IEEE Trans Pattern Anal Mach Intell 2006. Seeds are balls of 3 mm
    around the clicks; the outermost layer of the window is background, as a user would have to paint it.

    Args:
        images, clicks: as for :func:`grow_cut`; an image without contrast in the window gives the balls alone.

    Returns:
        Tumour as 1 on the grid of the first image.

    Raises:
        ArgumentError: there is no image, or a click lies outside the first.
        GeometryError: the image to walk on does not overlap the first.
    """
    from skimage.segmentation import random_walker

    grid = _checked_grid(images, clicks)
    answer = np.zeros(grid.shape, dtype=np.float32)
    if any(click.positive for click in clicks):
        box, window = _window(grid, clicks)
        image = resample(Volume(grid.crop(box), _single(images, grid)[slices(box)]), window).array
        seen = [Click(voxel_at(window, grid.to_ras(click.ijk).tolist(), "a click"), click.positive) for click in clicks]
        if np.ptp(image):
            # In noise probabilities leave the range from 0 to 1 a little; the larger of two still decides.
            labels = random_walker(
                image, _seeds(seen, window), mode="cg_j", spacing=window.spacing[::-1], prob_tol=np.inf
            )
            walked = Mask(window, (labels == TUMOUR).astype(np.uint8))
            answer[slices(box)] = resample_mask(walked, grid.crop(box)).array
        _constrain(answer, clicks, grid)
    return Mask(grid, answer.astype(np.uint8))


def _window(grid: Grid, clicks: Sequence[Click]) -> tuple[Box, Grid]:
    """The voxels of a grid around clicks, and the lattice that is walked on there."""
    points, reach = np.array([click.ijk for click in clicks]), np.ceil(WINDOW_MM / np.array(grid.spacing))
    low = np.maximum(points.min(axis=0) - reach, 0).astype(int)
    high = np.minimum(points.max(axis=0) + reach + 1, grid.size).astype(int)
    box = from_corners(low, high)
    return box, grid.crop(box).with_spacing([max(edge, WALKED_MM) for edge in grid.spacing])


def _single(images: Images, grid: Grid) -> Float32Array:
    """The one image a method works on, on a grid: the PET where there is one, else the CT, else the first."""
    role = next((role for role in ("pet", "ct") if role in images), ImageSet.of(images).reference)
    image: Float32Array = resample(images[role], grid, AIR_HU if is_ct(role) else 0.0).array.astype(np.float32)
    return image


def _constrain(answer: Float32Array, clicks: Sequence[Click], grid: Grid) -> None:
    points = [PointPrompt(np.array([click.ijk], dtype=float), click.positive) for click in clicks]
    apply_constraints(answer, points, grid.spacing)


def _checked_grid(images: Images, clicks: Sequence[Click]) -> Grid:
    grid = ImageSet.of(images).grid
    for number, click in enumerate(clicks, start=1):
        check_inside(click.ijk, grid, f"click {number}")
    return grid


def _seeds(clicks: Sequence[Click], grid: Grid) -> UInt8Array:
    seeds = np.full(grid.shape, BACKGROUND, dtype=np.uint8)
    seeds[1:-1, 1:-1, 1:-1] = 0
    for click in clicks:
        for at, inside in constrained_voxels(np.array([click.ijk], dtype=float), grid.shape, grid.spacing):
            seeds[at][inside] = TUMOUR if click.positive else BACKGROUND
    return seeds


def _grow_from_seeds(intensity: Float32Array, seeds: UInt8Array, spacing_mm: Sequence[float]) -> UInt8Array:
    """The seeds' labels on every voxel, uint8 ``[k, j, i]``."""
    from slicer import vtkImageGrowCutSegment

    # The filter grows nothing from or through the border of what it gets: that must not be the layer of background.
    padded = np.pad(seeds, 1)
    grow = vtkImageGrowCutSegment()
    grow.SetIntensityVolume(_to_vtk(np.pad(intensity, 1), spacing_mm))
    grow.SetSeedLabelVolume(_to_vtk(padded, spacing_mm))
    grow.SetDistancePenalty(SEED_LOCALITY)
    grow.Update()
    labels = vtk_to_numpy(grow.GetOutput().GetPointData().GetScalars()).reshape(padded.shape)
    result: UInt8Array = labels[1:-1, 1:-1, 1:-1].copy()
    return result


def _to_vtk(array: npt.NDArray[Any], spacing_mm: Sequence[float]) -> vtkImageData:
    image = vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.SetSpacing(*spacing_mm)
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
    return image


def _uptake(suv: npt.NDArray[Any], ijk: Voxel, grid: Grid, share: float) -> BoolArray:
    """The connected uptake at a click, bool ``[k, j, i]``."""
    own = ijk[::-1]
    hottest = _hottest_near(suv, own, grid.spacing[::-1])
    if suv[hottest] <= 0:
        return np.zeros(grid.shape, dtype=bool)
    threshold = share * float(suv[hottest])
    numbers, _ = label(suv >= threshold)
    result: BoolArray = numbers == numbers[own if suv[own] >= threshold else hottest]
    return result


def _hottest_near(suv: npt.NDArray[Any], own: Voxel, steps_mm: Sequence[float]) -> tuple[int, ...]:
    """Voxel ``(k, j, i)`` of the largest SUV within 20 mm of another; the first in array order of several."""
    axes = np.ogrid[tuple(slice(n) for n in suv.shape)]
    squared = sum(((axis - at) * step) ** 2 for axis, at, step in zip(axes, own, steps_mm))
    flat = int(np.where(squared <= PEAK_WITHIN_MM**2, suv, -np.inf).argmax())
    return tuple(int(n) for n in np.unravel_index(flat, suv.shape))
