"""Constraints of clicks and scribbles: which voxels, and their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM, apply_constraints, constrained_voxels
from TumorSegLib.prompts.encoding import (
    MOST_POINTS,
    PointPrompt,
)

fast = settings(max_examples=60, deadline=None)
SHAPE = (5, 6, 8)
SPACING = (0.7, 1.6, 3.2)


def distances(points: Any, shape: Any, spacing: Any) -> np.ndarray:
    """Distance in mm from every voxel centre ``[k, j, i]`` to the nearest point, the slow way."""
    table = np.empty(shape)
    for k, j, i in np.ndindex(*shape):
        away = (np.array([i, j, k]) - np.reshape(points, (-1, 3))) * spacing
        table[k, j, i] = np.sqrt((away**2).sum(axis=1)).min()
    return table


@st.composite
def lattices(draw: st.DrawFn) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    # Thick slices, thin ones, and edges that divide 3 mm.
    edges = st.one_of(st.floats(0.4, 8), st.sampled_from([0.5, 0.6, 0.75, 1.0, 1.5, 3.0]))
    return shape, draw(st.tuples(edges, edges, edges))


@st.composite
def scenes(draw: st.DrawFn) -> Any:
    shape, spacing = draw(lattices())
    points = st.lists(st.tuples(*[st.floats(-4, n + 3) for n in shape[::-1]]), min_size=1, max_size=3)
    hints = draw(st.lists(st.tuples(points, st.booleans()), max_size=4))
    return shape, spacing, [PointPrompt(np.array(at), positive) for at, positive in hints]


# Maps


@fast
@given(scenes())
def test_voxels_near_points_are_constrained(scene: Any) -> None:
    shape, spacing, prompts = scene
    before = np.full(shape, 0.3, dtype=np.float32)
    after = before.copy()
    apply_constraints(after, prompts, spacing)
    for k, j, i in np.ndindex(*shape):
        allowed = {0.3}
        for prompt in prompts:
            away = np.sqrt((((np.array([i, j, k]) - prompt.points) * spacing) ** 2).sum(axis=1)).min()
            own = (np.floor(prompt.points + 0.5) == (i, j, k)).all(axis=1).any()
            if own or away <= CONSTRAINT_RADIUS_MM * (1 - 1e-5):
                allowed = {float(prompt.positive)}
            elif away <= CONSTRAINT_RADIUS_MM * (1 + 1e-5):  # on the sphere itself rounding decides
                allowed = allowed | {float(prompt.positive)}
        assert round(float(after[k, j, i]), 6) in allowed


def test_voxels_exactly_at_the_radius_are_constrained() -> None:
    line = np.full((1, 1, 9), 0.5, dtype=np.float32)
    apply_constraints(line, [PointPrompt(np.array([[4.0, 0.0, 0.0]]), True)], (1.0, 1.0, 1.0))
    assert line[0, 0].tolist() == [0.5, 1, 1, 1, 1, 1, 1, 1, 0.5]


def test_later_prompts_override_earlier_ones() -> None:
    at, beside = np.array([[2.0, 0.0, 0.0]]), np.array([[6.0, 0.0, 0.0]])
    line = np.full((1, 1, 9), 0.5, dtype=np.float32)
    apply_constraints(line, [PointPrompt(at, True), PointPrompt(beside, False)], (1.0, 1.0, 1.0))
    assert line[0, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    apply_constraints(line, [PointPrompt(beside, False), PointPrompt(at, True)], (1.0, 1.0, 1.0))
    assert line[0, 0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_the_voxel_that_contains_a_point_is_constrained() -> None:
    column = np.full((3, 1, 1), 0.5, dtype=np.float32)
    apply_constraints(
        column, [PointPrompt(np.array([[0.0, 0.0, 1.45]]), True)], (1.0, 1.0, 10.0)
    )  # 4.5 mm from the centre
    assert column[:, 0, 0].tolist() == [0.5, 1, 0.5]


def test_a_point_outside_the_lattice_constrains_voxels_within_the_radius() -> None:
    line = np.full((1, 1, 4), 0.5, dtype=np.float32)
    apply_constraints(line, [PointPrompt(np.array([[-2.0, 0.0, 0.0]]), False)], (1.0, 1.0, 1.0))
    assert line[0, 0].tolist() == [0, 0, 0.5, 0.5]
    assert constrained_voxels(np.array([[-4.0, 0.0, 0.0]]), (1, 1, 4), (1.0, 1.0, 1.0)) == []


@fast
@given(lattices(), st.integers(0, 2**32 - 1), st.booleans())
def test_voxels_near_scribbles_are_constrained(lattice: Any, seed: int, positive: bool) -> None:
    shape, spacing = lattice
    size = np.array(shape[::-1])
    points = np.random.default_rng(seed).integers(-6, size + 6, (MOST_POINTS + 1, 3)).astype(float)
    after = np.full(shape, 0.3, dtype=np.float32)
    apply_constraints(after, [PointPrompt(points, positive)], spacing)
    away = distances(points, shape, spacing)
    clear = np.abs(away - CONSTRAINT_RADIUS_MM) > 1e-5 * CONSTRAINT_RADIUS_MM
    expected = np.where(away <= CONSTRAINT_RADIUS_MM, float(positive), np.float32(0.3))
    assert np.array_equal(after[clear], expected[clear])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.7, 3.5), (0.45, 4.0, 1.2)])
@pytest.mark.parametrize("shape", ["ball", "disc", "dust", "hollow", "line"])
def test_a_scribble_constrains_what_each_of_its_voxels_would(spacing: Any, shape: str) -> None:
    lattice, away = (14, 17, 19), np.stack(np.meshgrid(*map(np.arange, (19, 17, 14)), indexing="ij"), axis=-1)
    distance = np.linalg.norm(away - (11, 8, 5), axis=-1)
    voxels = away[
        {
            "ball": distance < 5,
            "disc": (distance < 6) & (away[..., 2] == 5),
            "dust": np.random.default_rng(0).random(distance.shape) < 0.02,
            "hollow": (distance < 6) & (distance > 3),
            "line": (away[..., 1] == 4) & (away[..., 2] == 13),
        }[shape]
    ]
    outside = voxels - (4, 0, 9)  # some of it beyond the lattice, and partly out of reach
    for points in (voxels, np.tile(voxels, (2, 1)), outside, np.concatenate([voxels, [[50, 5, 5]]])):
        reached = distances(points, lattice, spacing) <= CONSTRAINT_RADIUS_MM
        ruled = np.zeros(lattice, dtype=bool)
        for at, inside in constrained_voxels(
            np.resize(points, (max(len(points), MOST_POINTS + 1), 3)), lattice, spacing
        ):
            ruled[at] |= inside
        np.testing.assert_array_equal(ruled, reached)


def test_a_scribble_out_of_reach_constrains_nothing() -> None:
    for low, high in [((-30, 0, 0), (-9, 6, 5)), ((0, 0, 0), (8, 6, 5))]:
        points = np.floor(np.random.default_rng(0).uniform(low, high, (MOST_POINTS + 1, 3)))
        points[:, 0] -= 20
        assert constrained_voxels(points, SHAPE, SPACING) == []
