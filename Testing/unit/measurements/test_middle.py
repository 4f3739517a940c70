"""A point in the middle of a tumour, inside it."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.fakes import rotation
from TumorSegLib import Grid, Mask
from TumorSegLib.measurements.middle import middle_of

SHAPE = (12, 15, 17)
SAGITTAL = np.array(
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
)  # columns: where i, j and k lead; j is superior


def place_of(array: np.ndarray, grid: Grid) -> list[int]:
    found = middle_of(Mask(grid, array))
    assert found is not None
    return [int(n) for n in np.rint(grid.to_ijk(found))]


def test_middle_of_a_box_is_its_middle_in_any_orientation() -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[3:6, 4:9, 6:13] = 1
    for direction in (np.eye(3), rotation((0.1, -0.2, 0.3))):
        i, j, k = place_of(array, Grid.from_spacing(SHAPE, (1, 1, 1), (5, -3, 2), direction))
        assert (i, j, k) == (9, 6, 4)


def test_the_largest_axial_section_counts() -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[1:9, 5:8, 5:8] = 1
    array[7, 2:11, 2:11] = 2
    assert place_of(array, Grid.from_spacing(SHAPE, (1, 1, 3)))[2] == 7
    array = np.zeros(SHAPE, np.uint8)
    array[2:9, 3, 2:9] = 1
    array[4:7, 3:12, 4:7] = 1
    assert place_of(array, Grid.from_spacing(SHAPE, (1, 1, 1), (0, 0, 0), SAGITTAL))[1] == 3


def test_middle_of_a_ring_lies_in_the_ring() -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[5, 2:13, 2:13] = 1
    array[5, 4:11, 4:11] = 0
    i, j, k = place_of(array, Grid.from_spacing(SHAPE, (1, 1, 1)))
    assert array[k, j, i]


@pytest.mark.parametrize("spacing", [(1.0, 3.0, 1.0), (3.0, 1.0, 1.0)])
def test_depth_is_measured_in_mm(spacing: tuple[float, float, float]) -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[5, 2:5, 2:13] = 1  # thin in j
    array[5, 2:13, 2:5] = 1  # thin in i
    i, j, _k = place_of(array, Grid.from_spacing(SHAPE, spacing))
    assert (j == 3) if spacing[1] > spacing[0] else (i == 3), (i, j)


def test_an_empty_mask_has_no_middle() -> None:
    assert middle_of(Mask(Grid.from_spacing(SHAPE, (1, 1, 1)), np.zeros(SHAPE, np.uint8))) is None
