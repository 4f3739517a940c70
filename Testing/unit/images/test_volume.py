"""Volumes and masks: checked on creation, read-only afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume, number_text

GRID = Grid.from_spacing((2, 3, 4), (1, 2, 5))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (0.004, "0.004"), (0.0333, "0.033"), (0.774, "0.77"), (1.0, "1.0"), (18.849, "18.8")],
)
def test_small_volumes_have_two_digits(value: float, text: str) -> None:
    assert number_text(value) == text


def test_arrays_are_read_only_contiguous_views() -> None:
    source = np.zeros(GRID.shape[::-1], np.int16).T
    volume = Volume(GRID, source)
    assert volume.array.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    source[0, 0, 0] = 1  # the caller's own array stays writable


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_volume_refuses_values_that_are_not_finite_and_says_where(bad: float) -> None:
    array = np.zeros(GRID.shape, np.float32)
    array[1, 2, 3] = bad
    with pytest.raises(ArgumentError, match=r"1 voxels that are NaN or infinite, the first at ijk \(3, 2, 1\)"):
        Volume(GRID, array)


@pytest.mark.parametrize("kind", [complex, "U1", object])
def test_a_volume_refuses_what_is_not_a_real_number(kind: Any) -> None:
    with pytest.raises(ArgumentError, match="real numbers"):
        Volume(GRID, np.zeros(GRID.shape, kind))


@pytest.mark.parametrize("make", [Volume, Mask])
def test_array_and_grid_must_agree(make: Any) -> None:
    with pytest.raises(GeometryError, match=r"shape \(4, 3, 2\), its grid \(2, 3, 4\)"):
        make(GRID, np.zeros((4, 3, 2), np.uint8))


@pytest.mark.parametrize("kind", [np.int64, np.float32, bool, np.uint16])
def test_a_mask_becomes_uint8(kind: Any) -> None:
    mask = Mask(GRID, np.ones(GRID.shape, kind))  # type: ignore[arg-type]
    assert mask.array.dtype == np.uint8
    assert mask.volume_ml == pytest.approx(24 * 0.01)


@pytest.mark.parametrize("bad", [0.5, -1.0, 256.0, np.nan, np.inf])
def test_a_mask_refuses_what_is_no_label(bad: float) -> None:
    array = np.zeros(GRID.shape)
    array[0, 0, 0] = bad
    with pytest.raises(ArgumentError, match="whole numbers from 0 to 255"):
        Mask(GRID, array)  # type: ignore[arg-type]


def test_bounding_box_is_half_open_in_ijk() -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[1, 0:2, 2] = 1
    assert Mask(GRID, array).bounding_box() == ((2, 3), (0, 2), (1, 2))
    empty = Mask(GRID, np.zeros(GRID.shape, np.uint8))
    assert (empty.bounding_box(), empty.volume_ml) == (None, 0)
