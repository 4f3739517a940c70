"""Following a tumour from slice to slice, with a model whose every answer is scripted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from TumorSegLib.engines.propagation import (
    LEAST_AREA_MM2,
    LEAST_SCORE,
    LEAST_SHARE,
    MARGIN_MM,
    MOST_GROWTH,
    Answer,
    follow,
)

ROWS, COLUMNS = 60, 80
SPACING = (1.0, 0.5)
LIMITS = (0, 40)
BOX = np.array([8.0, 52, 10, 70])


def disc(radius_mm: float, centre: tuple[float, float] = (30, 40)) -> np.ndarray:
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    return np.hypot((rows - centre[0]) * SPACING[0], (columns - centre[1]) * SPACING[1]) < radius_mm


class Script:
    """Answers with a mask per slice, cut to the rectangle asked about, and remembers what was asked."""

    def __init__(self, masks: Callable[[int], np.ndarray], score: Callable[[int], float] = lambda number: 1.0) -> None:
        self.masks, self.score = masks, score
        self.asked: dict[int, np.ndarray] = {}
        self.order: list[int] = []

    def __call__(self, number: int, rectangle: np.ndarray) -> Answer:
        self.asked[number] = rectangle
        self.order.append(number)
        (top, bottom), (left, right) = np.rint(rectangle).astype(int).reshape(2, 2)
        held = np.zeros((ROWS, COLUMNS), dtype=bool)
        held[top:bottom, left:right] = True
        probability = np.where(self.masks(number) & held, 0.9, 0.1).astype(np.float32)
        return Answer(probability, self.score(number))


def followed(script: Script, start: int = 20, limits: tuple[int, int] = LIMITS) -> list[int]:
    found = follow(script, start, BOX, limits, SPACING)
    for number, probability in found.items():
        assert probability.shape == (ROWS, COLUMNS)
        assert ((probability > 0.5) <= script.masks(number)).all()
    return sorted(found)


def cone(number: int) -> np.ndarray:
    """A double cone about slice 20 which ends on slices 8 and 32; its axis moves 1 mm per slice."""
    return disc(12 - abs(number - 20), (30 + (number - 20) / 2, 40))


def test_a_double_cone_is_followed_until_it_ends_on_both_sides() -> None:
    script = Script(cone)
    areas = {number: cone(number).sum() * SPACING[0] * SPACING[1] for number in range(*LIMITS)}
    least = max(LEAST_AREA_MM2, LEAST_SHARE * areas[20])
    assert followed(script) == [number for number, area in areas.items() if area >= least]
    assert 8 < min(script.asked) < max(script.asked) < 32  # no slice beyond the first that ends it
    assert len(script.order) == len(set(script.order))


def test_every_slice_is_seen_whole() -> None:
    """The margin is wider than the tumour moves, so nothing of it is cut away by the rectangles."""
    script = Script(cone)
    found = follow(script, 20, BOX, LIMITS, SPACING)
    for number, probability in found.items():
        assert np.array_equal(probability > 0.5, cone(number))


def test_prompts_are_the_last_answer_grown_by_a_margin_in_mm() -> None:
    script = Script(cone)
    found = followed(script)
    assert np.array_equal(script.asked[20], BOX)
    for number, rectangle in script.asked.items():
        if number == 20:
            continue
        before = cone(number - 1 if number > 20 else number + 1)
        assert (number - 1 if number > 20 else number + 1) in found
        rows, columns = np.flatnonzero(before.any(axis=1)), np.flatnonzero(before.any(axis=0))
        down, right = MARGIN_MM / SPACING[0], MARGIN_MM / SPACING[1]
        wanted = [rows[0] - down, rows[-1] + 1 + down, columns[0] - right, columns[-1] + 1 + right]
        assert np.allclose(rectangle, wanted)


def test_prompts_stay_within_the_slice() -> None:
    everything = np.ones((ROWS, COLUMNS), dtype=bool)
    script = Script(lambda number: everything)
    follow(script, 20, np.array([0.0, ROWS, 0, COLUMNS]), (18, 23), SPACING)
    assert all(np.array_equal(asked, [0, ROWS, 0, COLUMNS]) for asked in script.asked.values())


@pytest.mark.parametrize("limits", [(20, 21), (17, 21), (20, 26), (18, 22), (0, 40)])
def test_limits_are_not_left(limits: tuple[int, int]) -> None:
    script = Script(lambda number: disc(9))
    assert followed(script, limits=limits) == list(range(*limits))
    assert sorted(script.asked) == list(range(*limits))


def test_nothing_on_the_first_slice_is_nothing_at_all() -> None:
    script = Script(lambda number: disc(9) & (number != 20))
    assert followed(script) == []
    assert script.order == [20]


@pytest.mark.parametrize(("score", "ends"), [(LEAST_SCORE, False), (LEAST_SCORE - 0.01, True)])
def test_a_low_score_ends_it_on_that_side_only(score: float, ends: bool) -> None:
    script = Script(lambda number: disc(9), lambda number: score if number == 24 else 1.0)
    assert followed(script) == list(range(24 if ends else 40))
    assert 25 not in script.asked or not ends


@pytest.mark.parametrize("side", [-1, 1])
def test_a_leap_in_area_ends_it(side: int) -> None:
    """Into an organ beside the tumour: within the margin the answer more than doubles."""
    small, large = disc(4), disc(9)

    def masks(number: int) -> np.ndarray:
        return large if (number - 20) * side > 3 else small

    asked_about = np.zeros_like(large)
    asked_about[22:39, 24:57] = True  # the small disc and the margin around it
    assert (large & asked_about).sum() > MOST_GROWTH * small.sum()
    found = followed(Script(masks))
    assert found == (list(range(24)) if side == 1 else list(range(17, 40)))


def test_slow_growth_goes_on() -> None:
    script = Script(lambda number: disc(3 * 1.15 ** min(abs(number - 20), 8)))
    assert followed(script) == list(range(*LIMITS))


def test_a_tumour_as_small_as_the_least_area_ends_it() -> None:
    pixels = int(LEAST_AREA_MM2 / (SPACING[0] * SPACING[1]))
    large = disc(5)

    def masks(number: int) -> np.ndarray:
        mask = np.zeros((ROWS, COLUMNS), dtype=bool)
        mask[30, 25 : 25 + pixels - (number == 23)] = True
        return mask if number > 21 else large

    assert followed(Script(masks), limits=(18, 40)) == [18, 19, 20, 21, 22]


def test_the_share_counts_from_the_largest_so_far_on_its_side() -> None:
    """A tumour that has shrunk to a twentieth of its largest section has ended, even above the least area."""

    def masks(number: int) -> np.ndarray:
        return disc(14 * 0.75 ** abs(number - 20))

    areas = {number: masks(number).sum() for number in range(*LIMITS)}
    found = followed(Script(masks))
    assert found == [number for number, area in areas.items() if area >= LEAST_SHARE * areas[20]]
    assert areas[max(found) + 1] * SPACING[0] * SPACING[1] > LEAST_AREA_MM2


def test_what_stops_the_caller_stops_it() -> None:
    class Stopped(Exception):
        pass

    def stop(number: int, rectangle: np.ndarray) -> Answer:
        raise Stopped

    with pytest.raises(Stopped):
        follow(stop, 20, BOX, LIMITS, SPACING)
