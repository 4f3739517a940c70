"""Strokes of a pen: the voxels within half its width on one slice at any angle, and strokes that are none."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from Testing.fakes import rotation
from Testing.unit.cases.grids import voxel_centres
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.prompts.stroke import stroke

PLAIN = Grid.from_spacing((20, 30, 40), (1.0, 2.0, 3.0), (-7, 9, 12))
OBLIQUE = Grid.from_spacing((20, 30, 40), (1.0, 2.0, 3.0), (9, 8, 7), rotation((0.4, -0.2, 0.9)))
GRIDS = {"plain": PLAIN, "oblique": OBLIQUE}


def distances(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """From points ``[..., 3]`` to a line, the slow way: to many places on it."""
    shares = np.linspace(0, 1, 400)[:, None]
    places = np.concatenate([start + shares * (end - start) for start, end in pairwise(line)])
    return np.array(np.min([np.linalg.norm(points - place, axis=-1) for place in places], axis=0))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("width", [6.0, 9.5])
def test_a_pen_on_a_slice_of_the_image_takes_the_voxels_within_half_its_width(name: str, width: float) -> None:
    grid = GRIDS[name]
    line = grid.to_ras([(6, 6, 9), (20, 10, 9), (22, 20, 9)])
    drawn = stroke(grid, line, width, grid.direction[:, 2], positive=False)
    found = drawn.mask.array > 0
    assert np.flatnonzero(found.any(axis=(1, 2))).tolist() == [9]
    away = distances(voxel_centres(grid)[9], line)
    assert found[9][away < width / 2 - 0.02].all()
    assert not found[9][away > width / 2 + 1.2].any()  # but for voxels that the line itself passes
    assert found[9].sum() == pytest.approx(width * distances_along(line) / 2 + np.pi * (width / 2) ** 2 / 2, rel=0.12)
    assert not drawn.positive


def distances_along(line: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def test_a_pen_on_a_slice_at_an_angle_stays_in_its_layer() -> None:
    normal, u, v = rotation((0.5, 0.3, 0.2)).T
    centre = PLAIN.to_ras((20, 15, 10))
    line = np.array([centre - 9 * u, centre + 2 * v, centre + 8 * u + 3 * v])
    found = stroke(PLAIN, line, 5.0, 3 * normal).mask.array > 0
    offsets = voxel_centres(PLAIN) - centre
    across = np.abs(offsets @ normal)
    flat = centre + offsets - (offsets @ normal)[..., None] * normal
    half = np.abs(normal) @ PLAIN.spacing / 2
    away = distances(flat, line)
    assert not found[across > half + 1e-4].any()
    assert found[(across < half - 1e-4) & (away < 2.48)].all()


def test_a_pen_without_width_leaves_the_voxels_of_its_line_without_a_gap() -> None:
    line = PLAIN.to_ras([(3, 3, 4), (33, 21, 4)])
    found = np.argwhere(stroke(PLAIN, line, 0.0, (0, 0, 1)).mask.array)[:, ::-1]
    assert len(found) == 31
    assert np.abs(np.diff(found[np.argsort(found[:, 0])], axis=0)).max() == 1


def test_a_dot_is_a_disc() -> None:
    found = stroke(PLAIN, [PLAIN.to_ras((20, 15, 10))], 8.0, (0, 0, -2)).mask.array > 0
    j, i = np.nonzero(found[10])
    assert found.sum() == found[10].sum()
    assert set(zip(i.tolist(), j.tolist())) == {
        (20 + a, 15 + b) for a in range(-4, 5) for b in range(-2, 3) if a**2 + (2 * b) ** 2 <= 16
    }


@pytest.mark.parametrize("width", [0.0, 4.0])
def test_a_slice_halfway_between_two_layers_is_one_of_them(width: float) -> None:
    for normal in ((0, 0, 1), (0, 0, -1)):
        found = stroke(PLAIN, PLAIN.to_ras([(5, 5, 7.5), (12, 9, 7.5)]), width, normal).mask.array
        assert np.flatnonzero(found.any(axis=(1, 2))).tolist() in ([7], [8])


def test_what_lies_outside_the_image_is_left_out() -> None:
    found = stroke(PLAIN, PLAIN.to_ras([(35, 15, 3), (60, 15, 3)]), 2.0, (0, 0, 1)).mask.array
    assert found[3, 15, 35:].all()
    assert found[3, 15, :33].sum() == 0


@pytest.mark.parametrize(
    ("line", "width", "normal", "words"),
    [
        ([(900, 0, 0), (910, 0, 0)], 5.0, (0, 0, 1), "outside the image"),
        ([], 5.0, (0, 0, 1), "one point at least"),
        ([(0, 0)], 5.0, (0, 0, 1), "three finite numbers"),
        ([(0, 0, np.nan)], 5.0, (0, 0, 1), "three finite numbers"),
        ("here", 5.0, (0, 0, 1), "three numbers each"),
        ([(0, 10, 20)], -1.0, (0, 0, 1), "the width of a pen"),
        ([(0, 10, 20)], np.inf, (0, 0, 1), "the width of a pen"),
        ([(0, 10, 20)], 5.0, (0, 0, 0), "the normal of a slice has a length"),
        ([(0, 10, 20)], 5.0, (0, 1), "the normal of a slice"),
    ],
)
def test_strokes_that_are_none_are_refused(line: Any, width: float, normal: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        stroke(PLAIN, line, width, normal)
