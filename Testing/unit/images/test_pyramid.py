"""Levels of an image: blocks by hand, and never coarser than asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Testing.fakes import rotation
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.pyramid import Pyramid
from TumorSegLib.images.volume import Volume


def pyramid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Pyramid:
    grid = Grid.from_spacing(shape, spacing, (7, -3, 20), rotation((0.3, -0.2, 0.5), mirror=True))
    values = np.random.default_rng(0).integers(0, 100, shape).astype(np.float32)
    return Pyramid(Volume(grid, values, "ct"))


@pytest.mark.parametrize(
    ("spacing_mm", "blocks"),
    [
        (0.5, (1, 1, 1)),
        (1.0, (1, 1, 1)),
        (1.99, (1, 1, 1)),
        (2.0, (2, 1, 1)),
        (3.99, (2, 1, 1)),
        (4.0, (4, 2, 1)),
        (6.5, (4, 2, 2)),
        (8.0, (8, 4, 2)),
    ],
)
def test_blocks_of_an_anisotropic_image(spacing_mm: float, blocks: tuple[int, int, int]) -> None:
    """Voxels of 1 x 2 x 3 mm: along each axis the largest power of two of them that is not longer than asked for."""
    image = pyramid((8, 8, 8), (1, 2, 3))
    level = image.level(spacing_mm)
    assert level.grid.spacing == pytest.approx(np.multiply(blocks, (1, 2, 3)))
    b = np.array(blocks[::-1])
    parts = image.volume.array.reshape(np.stack([8 // b, b], axis=1).ravel())
    np.testing.assert_allclose(level.array, parts.mean(axis=(1, 3, 5)), rtol=1e-5)
    # A block is where its voxels are.
    middle = image.volume.grid.to_ras((np.array(blocks) - 1) / 2)
    np.testing.assert_allclose(level.grid.to_ras((0, 0, 0)), middle, atol=1e-5)


def test_the_finest_level_is_the_image_itself_and_levels_are_kept() -> None:
    image = pyramid((6, 6, 6), (1, 1, 1))
    assert image.level(1.2) is image.volume
    assert image.level(2.1) is image.level(3.9)
    assert image.level(2.1) is not image.level(4.1)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.floats(0.3, 7)] * 3), st.floats(0.3, 8))
def test_no_level_is_coarser_than_asked_for_or_than_the_image(
    spacing: tuple[float, float, float], wanted_mm: float
) -> None:
    level = pyramid((5, 6, 7), spacing).level(wanted_mm)
    for edge, own in zip(level.grid.spacing, spacing):
        assert edge <= max(wanted_mm * 1.01, own * 1.0001)
        assert 2 * edge > wanted_mm * 0.98
