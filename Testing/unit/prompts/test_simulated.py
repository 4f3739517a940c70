"""The simulated user."""

from __future__ import annotations

import numpy as np

from TumorSegLib.prompts.simulated import random_correction


def test_clicks_go_to_wrong_voxels_of_both_kinds_and_say_which() -> None:
    truth, mask = np.zeros((2, 4, 5, 6), dtype=bool)
    truth[1, 2, 3] = truth[0, 0, 0] = mask[0, 0, 0] = mask[3, 4, 5] = True
    rng = np.random.default_rng(0)
    clicks = [random_correction(mask, truth, rng) for _ in range(20)]
    assert {(click.ijk, click.positive) for click in clicks if click} == {((3, 2, 1), True), ((5, 4, 3), False)}


def test_a_mask_without_errors_gets_no_click() -> None:
    mask = np.ones((2, 2, 2), dtype=bool)
    assert random_correction(mask, mask, np.random.default_rng(0)) is None
