"""A mask split into lesions, against scikit-image and constructed cases."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from TumorSegLib import ArgumentError, Grid, Mask, split_lesions
from TumorSegLib.lesions.split import find_lesions

GRID = Grid.from_spacing((12, 14, 16), (1.0, 1.5, 2.5))


def mask_of(*boxes: tuple[tuple[int, int, int], tuple[int, int, int]], value: int = 1) -> Mask:
    """A mask of boxes, each its first voxel and its size in ``(k, j, i)``."""
    array = np.zeros(GRID.shape, np.uint8)
    for low, size in boxes:
        array[tuple(slice(n, n + edge) for n, edge in zip(low, size))] = value
    return Mask(GRID, array)


def test_lesions_come_largest_first_on_the_grid_of_the_mask() -> None:
    mask = mask_of(((1, 1, 1), (2, 2, 2)), ((6, 6, 6), (4, 4, 4)), ((1, 8, 8), (3, 3, 3)), value=7)
    found = split_lesions(mask)
    assert [int(each.array.sum()) for each in found] == [64, 27, 8]
    assert all(each.grid is mask.grid and each.array.max() == 1 for each in found)
    np.testing.assert_array_equal(sum(each.array for each in found), mask.array // 7)


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    assert len(split_lesions(mask_of(((1, 1, 1), (2, 2, 2)), ((3, 3, 3), (2, 2, 2))))) == 1
    assert len(split_lesions(mask_of(((1, 1, 1), (2, 2, 2)), ((4, 3, 3), (2, 2, 2))))) == 2


def test_random_masks_are_split_as_by_scikit_image() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        array = (rng.random(GRID.shape) < 0.06).astype(np.uint8)
        numbers = label(array, connectivity=3)
        sizes = np.sort(np.bincount(numbers.ravel())[1:])[::-1]
        found = split_lesions(Mask(GRID, array), smallest_voxels=1, most=10_000)
        assert [int(each.array.sum()) for each in found] == sizes.tolist()
        for each in found:
            inside = np.unique(numbers[each.array > 0])
            assert len(inside) == 1
            np.testing.assert_array_equal(each.array > 0, numbers == inside[0])


def test_specks_and_lesions_beyond_the_limit_stay_with_the_largest() -> None:
    mask = mask_of(((1, 1, 1), (3, 3, 3)), ((6, 6, 6), (1, 1, 3)), ((9, 9, 9), (1, 1, 4)), ((9, 1, 1), (2, 2, 2)))
    first, second, third = split_lesions(mask)
    assert [int(each.array.sum()) for each in (first, second, third)] == [27 + 3, 8, 4]
    assert first.array[6, 6, 6:9].all()
    assert find_lesions(mask).left == 1
    first, second = split_lesions(mask, most=2)
    assert (int(first.array.sum()), int(second.array.sum())) == (27 + 3 + 4, 8)
    assert find_lesions(mask, most=2).left == 2


def test_of_two_lesions_of_one_size_the_first_voxel_decides() -> None:
    first, second = split_lesions(mask_of(((8, 1, 1), (2, 2, 2)), ((1, 8, 8), (2, 2, 2))))
    assert first.array[1, 8, 8]
    assert second.array[8, 1, 1]


def test_a_mask_of_specks_alone_is_one_lesion() -> None:
    mask = mask_of(((1, 1, 1), (1, 1, 2)), ((6, 6, 6), (1, 1, 1)))
    (only,) = split_lesions(mask)
    np.testing.assert_array_equal(only.array, mask.array)


def test_an_empty_mask_has_no_lesions() -> None:
    assert split_lesions(mask_of()) == []


@pytest.mark.parametrize(("name", "number"), [("smallest_voxels", 0), ("most", 0), ("most", -3)])
def test_numbers_below_one_are_refused(name: str, number: int) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be at least 1, got {number}"):
        split_lesions(mask_of(((1, 1, 1), (2, 2, 2))), **{name: number})
