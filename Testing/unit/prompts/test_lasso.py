"""Lassos: the voxels inside a closed curve on a slice at any angle, and curves that are none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from Testing.fakes import rotation
from Testing.unit.cases.grids import voxel_centres
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.prompts.lasso import lasso

PLAIN = Grid.from_spacing((20, 30, 40), (1.0, 2.0, 3.0), (-7, 9, 12))
OBLIQUE = Grid.from_spacing((20, 30, 40), (1.0, 2.0, 3.0), (9, 8, 7), rotation((0.4, -0.2, 0.9)))
MIRRORED = Grid.from_spacing((20, 30, 40), (1.0, 2.0, 3.0), (-9, 80, 70), rotation((-0.7, 0.3, 2.0), mirror=True))
ONE_SLICE = Grid.from_spacing((1, 30, 40), (1.0, 1.0, 5.0))
GRIDS = {"plain": PLAIN, "oblique": OBLIQUE, "mirrored": MIRRORED}


def rectangle(axis: int, number: float, low: float, high: float) -> np.ndarray:
    """A square of the voxels whose other coordinates lie between two limits, ``[4, 3]`` as ``(i, j, k)``."""
    corners = np.array([[low, low], [high, low], [high, high], [low, high]])
    return np.insert(corners, axis, number, axis=1)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("off", [0.0, 0.5, -0.49])
def test_a_lasso_along_the_axes_holds_the_voxels_inside_on_one_slice(name: str, axis: int, off: float) -> None:
    grid = GRIDS[name]
    drawn = lasso(grid, grid.to_ras(rectangle(axis, 7 + off, 3.6, 11.4)), positive=False)
    found = np.argwhere(drawn.mask.array)[:, ::-1]
    numbers = np.unique(found[:, axis])
    assert len(numbers) == 1
    assert numbers[0] in ([7] if off != 0.5 else [7, 8])  # halfway between two it is one of them
    expected = {(a, b) for a in range(4, 12) for b in range(4, 12)}
    assert {tuple(each) for each in np.delete(found, axis, axis=1).tolist()} == expected
    assert not drawn.positive


def test_a_lasso_on_a_slice_at_an_angle_is_one_layer_without_gaps() -> None:
    normal, u, v = rotation((0.5, 0.3, 0.2)).T
    centre = PLAIN.to_ras((20, 15, 10))
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)[:, None]
    found = lasso(PLAIN, centre + 12 * (np.cos(turn) * u + np.sin(turn) * v)).mask.array > 0
    offsets = voxel_centres(PLAIN) - centre
    distance, across = (
        np.abs(offsets @ normal),
        np.linalg.norm(offsets - (offsets @ normal)[..., None] * normal, axis=-1),
    )
    half = np.abs(normal) @ PLAIN.spacing / 2
    assert not (found & ((distance > half + 1e-6) | (across > 12))).any()
    assert found[(distance < half - 1e-6) & (across < 11.9)].all()
    for place in np.random.default_rng(0).uniform(-8, 8, (200, 2)):  # a point of the slice lies in a voxel of the layer
        i, j, k = np.floor(PLAIN.to_ijk(centre + place[0] * u + place[1] * v) + 0.5).astype(int)
        assert found[k, j, i]


def test_what_crosses_itself_or_leaves_the_image_is_cut() -> None:
    bow = np.array([[5, 5, 7], [15, 15, 7], [15, 5, 7], [5, 15, 7]], dtype=float)  # two triangles that meet at (10, 10)
    found = lasso(PLAIN, PLAIN.to_ras(bow)).mask.array[7]
    assert found[10, 6]
    assert found[10, 14]
    assert not found[6, 10]
    over = lasso(PLAIN, PLAIN.to_ras(rectangle(2, 7, -20.5, 3.5)))
    assert over.box == ((0, 4), (0, 4), (7, 8))


def test_an_image_of_one_slice_takes_a_lasso() -> None:
    drawn = lasso(ONE_SLICE, ONE_SLICE.to_ras(rectangle(2, 0, 3.6, 6.4)))
    assert drawn.box == ((4, 7), (4, 7), (0, 1))


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        (rectangle(2, 7, 3, 9)[:2], "needs at least three points round an area, got 2"),
        (np.zeros((0, 3)), "needs at least three points round an area, got 0"),
        (np.array([[3, 3, 7], [5, 5, 7], [9, 9, 7], [4, 4, 7]]), "needs an area, the points of this one lie on a line"),
        (np.array([[3, 3, 7]] * 4), "needs an area"),
        (rectangle(2, 7, 3.1, 3.4), "needs a voxel of the image inside it, this one lies between the centres"),
        (rectangle(2, 70, 3, 9), "needs a voxel of the image inside it, this one lies outside the image"),
        (rectangle(2, 7, 3, 9) + np.diag([0, 0, 4, 0])[:, :3], r"on one slice, .* \d+\.\d mm apart"),
        (np.array([[3, 3, 7], [np.nan, 5, 7], [9, 5, 7]]), "three finite numbers each, in mm, got"),
    ],
)
def test_curves_that_are_no_lasso(curve: np.ndarray, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        lasso(PLAIN, PLAIN.to_ras(curve) if len(curve) else curve)


@pytest.mark.parametrize("curve", [[[1, 2], [3, 4], [5, 6]], "curve", [[1, 2, 3], [4, 5]], 7])
def test_points_that_are_none_are_named(curve: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"points of a lasso are .*got {re.escape(repr(curve))}"):
        lasso(PLAIN, curve)
