"""Small components, the largest component, and holes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.measure import label

from Testing.unit.cases.grids import mask_of
from TumorSegLib.errors import ArgumentError
from TumorSegLib.images.cleanup import fill_holes, largest_component, number_regions, remove_small


def islands() -> np.ndarray:
    """A tumour of 27 voxels with a core of label 2, an island of 4 voxels, one of 1."""
    array = np.zeros((6, 8, 12))
    array[1:4, 1:4, 1:4] = 1
    array[2, 2, 2] = 2
    array[2, 5:7, 8:10] = 1
    array[5, 7, 11] = 3
    return array


@pytest.mark.parametrize(
    ("min_volume_ml", "voxels"), [(0, 32), (0.008, 32), (0.0081, 31), (0.032, 31), (0.033, 27), (0.216, 27), (0.217, 0)]
)
def test_remove_small(min_volume_ml, voxels):
    mask = mask_of(islands(), (2.0, 2.0, 2.0))
    kept = remove_small(mask, min_volume_ml)
    assert np.count_nonzero(kept.array) == voxels
    assert np.array_equal(kept.array[kept.array != 0], mask.array[kept.array != 0])  # labels stay, the core with them
    assert kept.grid == mask.grid


@pytest.mark.parametrize("volume", [-0.1, math.nan, math.inf])
def test_remove_small_refuses_a_bad_volume(volume):
    with pytest.raises(ArgumentError, match=f"min_volume_ml.*{volume}"):
        remove_small(mask_of(islands()), volume)


def test_largest_component_keeps_labels_inside():
    kept = largest_component(mask_of(islands())).array
    expected = islands()
    expected[:, 5:] = 0
    assert np.array_equal(kept, expected)


def test_fill_holes():
    array = np.zeros((9, 9, 9))
    array[1:8, 1:8, 1:8] = 1
    closed = array.copy()
    array[3:6, 3:6, 3:6] = 0
    assert np.array_equal(fill_holes(mask_of(array)).array, closed)
    array[4, 4, 0:4] = 0  # a tunnel to the outside
    assert np.array_equal(fill_holes(mask_of(array)).array, array)
    array = np.ones((5, 5, 5))
    array[0:3, 2, 2] = 0  # open at the border of the image
    assert np.array_equal(fill_holes(mask_of(array)).array, array)


def test_fill_holes_takes_the_nearest_label_in_mm():
    array = np.ones((5, 5, 5))
    array[:, :, 3:] = 2
    array[2, 2, 1:3] = 0  # in voxels label 1 is as near to both; in mm label 2 is nearest to the second
    filled = fill_holes(mask_of(array, (1.0, 3.0, 3.0))).array
    assert (filled[2, 2, 1], filled[2, 2, 2]) == (1, 2)


def test_empty_masks_stay_empty():
    empty = mask_of(np.zeros((3, 4, 5)))
    for tidied in (remove_small(empty, 1.0), largest_component(empty), fill_holes(empty)):
        assert tidied.array.shape == (3, 4, 5)
        assert not tidied.array.any()


@pytest.mark.parametrize("values", [1, 3])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
def test_regions_are_numbered_as_by_scikit_image(values: int, share: float) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.integers(1, values + 1, (9, 20, 30)) * (rng.random((9, 20, 30)) < share)).astype(np.uint8)
    numbers = number_regions(labels)
    assert numbers.dtype == np.int32
    assert np.array_equal(numbers, label(labels, background=0, connectivity=3))
