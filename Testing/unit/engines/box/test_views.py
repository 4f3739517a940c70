"""Views: pixels and boxes move together, along every axis, on every grid, and come back where they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from Testing.unit.engines.click_cases import GRIDS, block
from TumorSegLib.engines.box.views import View
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box, Grid

SIZE = 64


def region_of(grid: Grid, name: str) -> Box:
    ranges = [(n // 6, n - n // 8) if name == "inner" else (0, n) for n in grid.size]
    return ranges[0], ranges[1], ranges[2]


def block_in(region: Box) -> Box:
    """A block off the middle, so that no swapped or mirrored axis puts it in the same place."""
    ranges = []
    for (low, high), share in zip(region, (0.1, 0.25, 0.4)):
        n = high - low
        first = low + int(share * n)
        ranges.append((first, min(first + max(n // 3, 1), high)))
    return ranges[0], ranges[1], ranges[2]


def rectangle(view: View, box: Box) -> np.ndarray:
    rows, columns = view.plane
    return np.array([[limit - view.region[axis][0] for axis in (rows, columns) for limit in box[axis]]], dtype=float)


def inside(pixels: torch.Tensor) -> np.ndarray:
    """The pixels whose centres lie in a rectangle of left, top, right, bottom."""
    left, top, right, bottom = pixels.tolist()
    at = np.arange(SIZE) + 0.5
    return ((at >= top) & (at < bottom))[:, None] & ((at >= left) & (at < right))[None]


CASES = [(name, part, axis) for name in GRIDS for part in ("inner", "whole") for axis in range(3)]


@pytest.mark.parametrize(("name", "part", "axis"), CASES)
def test_a_bright_block_lies_in_its_rectangle(name: str, part: str, axis: int) -> None:
    grid = GRIDS[name]
    region = region_of(grid, part)
    box = block_in(region)
    view = View.of(grid, region, axis, SIZE)
    images = view.to_input(view.stack(block(grid, *box).astype(np.float32)))
    assert images.shape == (region[axis][1] - region[axis][0], 1, SIZE, SIZE)
    assert images.dtype == torch.float32
    wanted = inside(view.to_pixels(rectangle(view, box))[0])
    assert wanted.any()
    low, high = (limit - region[axis][0] for limit in box[axis])
    for number, bright in enumerate(images[:, 0].numpy() > 0.5):
        if low <= number < high:
            # Corners are rounded by interpolation, by a third of a voxel at most.
            rounded = max(1, round(max(np.divide(view.pixels, view.shape[1:])) / 3))
            assert not (bright & ~binary_dilation(wanted, iterations=1)).any()
            assert not (~bright & binary_erosion(wanted, iterations=rounded)).any()
            assert bright.any()
        else:
            assert not bright.any()


@pytest.mark.parametrize(("name", "part", "axis"), CASES)
@pytest.mark.parametrize("share", [1, 4])
def test_logits_of_a_rectangle_become_the_block_of_voxels(name: str, part: str, axis: int, share: int) -> None:
    """Logits of the resolution of the input, or of a quarter of it as SAM's; the latter within a voxel."""
    grid = GRIDS[name]
    region = region_of(grid, part)
    box = block_in(region)
    view = View.of(grid, region, axis, SIZE)
    painted = torch.from_numpy(np.where(inside(view.to_pixels(rectangle(view, box))[0]), 8.0, -8.0))
    logits = torch.full((view.shape[0], SIZE, SIZE), -8.0, dtype=torch.float64)
    low, high = (limit - region[axis][0] for limit in box[axis])
    logits[low:high] = painted
    logits = torch.nn.functional.avg_pool2d(logits, share)
    answer = view.from_logits(logits)
    assert answer.shape == view.shape
    assert answer.dtype == torch.float32
    found = np.zeros(grid.shape, dtype=bool)
    found[slices(region)] = view.unstack(answer.numpy()) > 0
    wanted = block(grid, *box)
    if share == 1:
        assert np.array_equal(found, wanted)
    cross = np.ones((3, 3, 3), dtype=bool)
    assert found.any()
    assert not (found & ~binary_dilation(wanted, cross)).any()
    assert not (~found & binary_erosion(wanted, cross)).any()


@pytest.mark.parametrize(
    ("shape", "spacing", "pixels"), [((5, 10, 40), (1, 2, 3), (SIZE // 2, SIZE)), ((4, 1, 30), (1, 1, 1), (2, SIZE))]
)
def test_the_rest_of_the_input_is_0(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], pixels: tuple[int, int]
) -> None:
    """Also of a region one voxel wide."""
    grid = Grid.from_spacing(shape, spacing)
    view = View.of(grid, ((0, shape[2]), (0, shape[1]), (0, shape[0])), 2, SIZE)
    assert view.pixels == pixels
    images = view.to_input(view.stack(np.ones(grid.shape, np.float32)))
    assert torch.allclose(images[:, :, : pixels[0]], torch.ones(()))
    assert (images[:, :, pixels[0] :] == 0).all()
    assert view.from_logits(torch.full((shape[0], 16, 16), 3.0)).shape == shape


@pytest.mark.parametrize(("name", "part", "axis"), CASES)
def test_pixels_are_square_in_mm_and_the_longest_side_fills_the_input(name: str, part: str, axis: int) -> None:
    grid = GRIDS[name]
    view = View.of(grid, region_of(grid, part), axis, SIZE)
    lengths = [(view.region[n][1] - view.region[n][0]) * grid.spacing[n] for n in view.plane]
    assert max(view.pixels) == SIZE
    assert np.argmax(view.pixels) == np.argmax(lengths)
    millimetres = np.divide(lengths, view.pixels)
    assert min(view.pixels) == pytest.approx(min(lengths) / millimetres[np.argmax(lengths)], abs=0.51)
