"""Guidance maps against distances computed one voxel at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.unit.cases.prompt_cases import SHAPE, SPACING, distances
from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM
from TumorSegLib.prompts.encoding import (
    FADED_MM,
    GUIDANCE,
    MOST_POINTS,
    REACH_MM,
    PointPrompt,
    distance_map,
    guidance_maps,
)


def test_the_constants_are_those_models_were_trained_with() -> None:
    assert GUIDANCE == ("previous", "positive", "negative")
    assert (REACH_MM, CONSTRAINT_RADIUS_MM) == (10.0, 3.0)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([[3, 2, 1]], id="one voxel"),
        pytest.param([[3.4, 2.25, 0.9], [0, 5, 4]], id="fractional"),
        pytest.param([[-2.5, 9.0, 1.0], [3.0, 2.0, 40.0]], id="outside"),
    ],
)
def test_the_distance_map_is_that_of_a_table(points: Any) -> None:
    result = distance_map(np.array(points, dtype=float), SHAPE, SPACING)
    assert result.dtype == np.float32
    assert result == pytest.approx(np.exp(-distances(points, SHAPE, SPACING) / 10), abs=1e-6)


def test_the_distance_map_by_hand() -> None:
    row = distance_map(np.array([[0.0, 0.0, 0.0]]), (1, 1, 3), (5.0, 1.0, 1.0))[0, 0]
    assert row == pytest.approx([1.0, 0.60653, 0.36788], abs=1e-5)


def some_points(count: int, low: Any, high: Any) -> np.ndarray:
    return np.random.default_rng(3).uniform(low, high, (count, 3))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param((-0.5, -0.5, -0.5), (7.49, 5.49, 4.49), id="inside"),
        pytest.param((-6, -6, -6), (-1, 12, 9), id="to one side"),
        pytest.param((9, 7, 6), (12, 9, 7), id="past the far corner"),
        pytest.param((-9, -9, -9), (18, 15, 13), id="all round"),
    ],
)
def test_many_points_are_rounded_to_their_voxels(low: Any, high: Any) -> None:
    points = some_points(MOST_POINTS + 1, low, high)
    result = distance_map(points, SHAPE, SPACING)
    snapped = distances(np.floor(points + 0.5), SHAPE, SPACING)
    assert result == pytest.approx(np.exp(-snapped / 10), abs=1e-6)
    # So both routes agree to the half diagonal of a voxel.
    exact = distances(points, SHAPE, SPACING)
    assert np.abs(-10 * np.log(result) - exact).max() <= np.linalg.norm(SPACING) / 2 + 1e-4


def test_distance_by_points_and_by_transform_agree_for_voxels() -> None:
    points = np.floor(some_points(MOST_POINTS, (0, 0, 0), (8, 6, 5)))
    few = distance_map(points, SHAPE, SPACING)
    many = distance_map(np.concatenate([points, points[:1]]), SHAPE, SPACING)
    assert many == pytest.approx(few, abs=1e-6)


def test_many_points_far_away_have_no_effect() -> None:
    far = np.tile([8 + FADED_MM / SPACING[0] + 1, 2.0, 2.0], (MOST_POINTS + 1, 1))
    assert distance_map(far, SHAPE, SPACING).max() == 0
    mixed = np.concatenate([far, [[3.0, 2.0, 1.0]]])
    assert distance_map(mixed, SHAPE, SPACING) == pytest.approx(distance_map(mixed[-1:], SHAPE, SPACING), abs=1e-6)
    assert distance_map(far[:1], SHAPE, SPACING).max() < 0.007  # what is left out


def test_maps_are_positive_then_negative() -> None:
    inside, outside = np.array([[3.0, 2.0, 1.0], [4.0, 2.0, 1.0]]), np.array([[0.0, 5.0, 4.0]])
    further = np.array([[7.0, 0.0, 0.0]])
    prompts = [PointPrompt(outside, False), PointPrompt(inside, True), PointPrompt(further, np.bool_(False))]
    maps = guidance_maps(prompts, SHAPE, SPACING)
    assert maps.shape == (2, *SHAPE)
    assert maps.dtype == np.float32
    assert np.array_equal(maps[0], distance_map(inside, SHAPE, SPACING))
    assert np.array_equal(maps[1], distance_map(np.concatenate([outside, further]), SHAPE, SPACING))
    assert not guidance_maps([], SHAPE, SPACING).any()
    assert not guidance_maps([PointPrompt(inside, True)], SHAPE, SPACING)[1].any()
