"""Constraints of clicks and scribbles: which voxels, and their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Testing.unit.cases.prompt_cases import SHAPE, SPACING, distances
from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM, apply_constraints, constrained_voxels
from TumorSegLib.prompts.encoding import MOST_POINTS, PointPrompt

fast = settings(max_examples=60, deadline=None)


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
    prompts = draw(st.lists(st.tuples(points, st.booleans()), max_size=4))
    return shape, spacing, [PointPrompt(np.array(at), positive) for at, positive in prompts]


@fast
@given(scenes())
def test_voxels_near_points_are_constrained(scene: Any) -> None:
    shape, spacing, prompts = scene
    before = np.full(shape, 0.3, dtype=np.float32)
    after = before.copy()
    apply_constraints(after, prompts, spacing)
    lowest, highest = before.copy(), before.copy()  # on the sphere itself rounding decides
    for prompt in prompts:
        away = distances(prompt.points, shape, spacing)
        for i, j, k in np.floor(prompt.points + 0.5).astype(int):
            if (np.array([k, j, i]) >= 0).all() and (np.array([k, j, i]) < shape).all():
                away[k, j, i] = 0
        inside, on_sphere = away <= 3 * (1 - 1e-5), np.abs(away / 3 - 1) < 1e-5
        lowest[inside] = highest[inside] = float(prompt.positive)
        (highest if prompt.positive else lowest)[on_sphere] = float(prompt.positive)
    assert ((lowest <= after) & (after <= highest) & np.isin(after, np.float32([0, 0.3, 1]))).all()


AT, BESIDE = ((4.0, 0.0, 0.0), True), ((8.0, 0.0, 0.0), False)


@pytest.mark.parametrize(
    ("prompts", "spacing", "line"),
    [
        pytest.param([AT], 1.0, [0.5, 1, 1, 1, 1, 1, 1, 1, 0.5], id="voxels exactly at the radius"),
        pytest.param([AT, BESIDE], 1.0, [0.5, 1, 1, 1, 1, 0, 0, 0, 0], id="later prompts override earlier ones"),
        pytest.param([BESIDE, AT], 1.0, [0.5, 1, 1, 1, 1, 1, 1, 1, 0], id="in the order they were given"),
        pytest.param([((1.45, 0, 0), True)], 10.0, [0.5, 1, 0.5], id="the voxel that contains a point"),
        pytest.param([((-2.0, 0, 0), False)], 1.0, [0, 0, 0.5, 0.5], id="a point outside the lattice"),
        pytest.param([((-4.0, 0, 0), False)], 1.0, [0.5, 0.5, 0.5], id="out of reach"),
    ],
)
def test_constraints_by_hand(prompts: list, spacing: float, line: list[float]) -> None:
    values = np.full((1, 1, len(line)), 0.5, dtype=np.float32)
    apply_constraints(values, [PointPrompt(np.array([at]), positive) for at, positive in prompts], (spacing, 1.0, 1.0))
    assert values[0, 0].tolist() == line


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
        constrained = np.zeros(lattice, dtype=bool)
        many = np.resize(points, (max(len(points), MOST_POINTS + 1), 3))
        for at, inside in constrained_voxels(many, lattice, spacing):
            constrained[at] |= inside
        np.testing.assert_array_equal(constrained, reached)


def test_a_scribble_out_of_reach_constrains_nothing() -> None:
    for low, high in [((-30, 0, 0), (-9, 6, 5)), ((0, 0, 0), (8, 6, 5))]:
        points = np.floor(np.random.default_rng(0).uniform(low, high, (MOST_POINTS + 1, 3)))
        points[:, 0] -= 20
        assert constrained_voxels(points, SHAPE, SPACING) == []
