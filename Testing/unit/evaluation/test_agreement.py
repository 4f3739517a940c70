"""Engines compared with each other, on rules whose agreement is known."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.fakes import BallEngine, PaintingEngine, noise_volume, tiny_spec
from TumorSegLib.evaluation.agreement import Pair, compare_automatic, compare_clicks, summarise_pairs
from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images
from TumorSegLib.models.int8 import Agreement
from TumorSegLib.prompts.types import Click

GRID = Grid.from_spacing((10, 10, 10), (1, 1, 1))
IMAGES = {"ct": noise_volume(GRID)}


def painting(slices: int) -> PaintingEngine:
    def rule(_: Images) -> np.ndarray:
        mask = np.zeros(GRID.shape)
        mask[:slices] = 1
        return mask

    return PaintingEngine(tiny_spec(), rule)


def test_automatic_engines_are_compared_with_each_other_and_the_truth() -> None:
    truth = np.zeros(GRID.shape, dtype=bool)
    truth[:4] = True
    pair = compare_automatic(painting(4), painting(2), IMAGES, truth)
    assert pair == pytest.approx((2 / 3, 1 - 2 / 3))
    assert compare_automatic(painting(2), painting(4), IMAGES, truth).loss == pytest.approx(2 / 3 - 1)
    assert compare_automatic(painting(4), painting(2), IMAGES, None) == (pytest.approx(2 / 3), None)


def test_click_engines_get_the_clicks_that_correct_the_first() -> None:
    truth, asked = np.zeros(GRID.shape, dtype=bool), []
    truth[4:7, 4:7, 4:7] = True

    def clicker(mask: BoolArray, wanted: BoolArray) -> Click | None:
        asked.append(mask.sum())
        return Click((5, 5, 5), True) if len(asked) < 4 else None

    same = compare_clicks((BallEngine(2), BallEngine(2)), IMAGES, truth, clicker, 10)
    assert same == [(1, 0)] * 3
    assert asked[0] == 0 < asked[1] == asked[2]
    asked.clear()
    other = compare_clicks((BallEngine(2), BallEngine(1)), IMAGES, truth, clicker, 2)
    assert len(other) == 2
    assert all(pair.dice < 0.6 for pair in other)
    assert asked[1] == same_size(2)


def same_size(radius: int) -> int:
    """Voxels in a ball."""
    axis = np.arange(-radius, radius + 1)
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return int((squared <= radius**2).sum())


def test_each_figure_is_that_of_the_worst_group() -> None:
    good, bad = [Pair(1.0, 0.0), Pair(0.98, 0.02)], [Pair(0.9, -0.1), Pair(0.99, 0.1)]
    agreement = summarise_pairs([good, bad, []])
    assert agreement == Agreement(2, pytest.approx(0.945), 0.9, pytest.approx(0.01))
    assert summarise_pairs([[Pair(1.0, None)], good]).dice_loss is None
    assert summarise_pairs([]) == Agreement(0, 0.0, 0.0, None)
