"""Propagating a tumour from slice to slice, with a model whose every answer is scripted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from TumorSegLib.engines.box.propagation import (
    LEAST_AREA_MM2,
    LEAST_AREA_SHARE,
    LEAST_SCORE,
    MOST_GROWTH,
    REACH,
    SlicePrediction,
    propagate,
)
from TumorSegLib.engines.box.rectangles import LEAST_SECTION

ROWS, COLUMNS = 60, 80
#: From slice to slice, of rows, of columns; so thin that no tumour of these tests ends by its reach.
THIN = (0.25, 1.0, 0.5)
LIMITS = (0, 40)
BOX = np.array([8.0, 52, 10, 70])


def disc(radius_mm: float, centre: tuple[float, float] = (30, 40)) -> np.ndarray:
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    return np.hypot((rows - centre[0]) * THIN[1], (columns - centre[1]) * THIN[2]) < radius_mm


class Script:
    """A mask per slice, with ``cut`` only within the rectangle; records slices and rectangles."""

    def __init__(
        self,
        masks: Callable[[int], np.ndarray],
        score: Callable[[int], float] = lambda number: 1.0,
        cut: bool = False,
    ) -> None:
        self.masks, self.score, self.cut = masks, score, cut
        self.rectangles: dict[int, np.ndarray] = {}
        self.order: list[int] = []

    def __call__(self, number: int, rectangle: np.ndarray) -> SlicePrediction:
        self.rectangles[number] = rectangle
        self.order.append(number)
        (top, bottom), (left, right) = np.rint(rectangle).astype(int).reshape(2, 2)
        visible = np.full((ROWS, COLUMNS), not self.cut)
        visible[top:bottom, left:right] = True
        return SlicePrediction(np.where(self.masks(number) & visible, 0.9, 0.1).astype(np.float32), self.score(number))


def propagated(
    script: Script, limits: tuple[int, int] = LIMITS, steps: tuple[float, float, float] = THIN
) -> dict[int, np.ndarray]:
    found = propagate(script, 20, BOX, limits, steps)
    for number, probability in found.items():
        assert probability.shape == (ROWS, COLUMNS)
        assert probability.dtype == np.float32
        assert ((probability > 0.5) <= script.masks(number)).all()
    assert len(script.order) == len(set(script.order))
    return found


@pytest.mark.parametrize("cut", [False, True])
def test_a_ball_is_propagated_to_its_ends(cut: bool) -> None:
    """Of 14 mm radius, in slices of 2 mm."""

    def ball(number: int) -> np.ndarray:
        return disc(np.sqrt(max(14**2 - (2 * (number - 20)) ** 2, 0)))

    found = propagated(Script(ball, cut=cut), steps=(2.0, 1.0, 0.5))
    assert sorted(found) == list(range(14, 27))
    for number, probability in found.items():
        assert (probability > 0.5).sum() > 0.85 * ball(number).sum()


def test_prompts_are_sections_of_an_ellipsoid_as_long_as_the_reach() -> None:
    script = Script(lambda number: disc(9), cut=True)
    propagated(script, steps=(1.0, 1.0, 0.5))
    assert np.array_equal(script.rectangles[20], BOX)
    section = disc(9)
    reach = REACH * np.sqrt(section.sum() * 0.5 / np.pi)
    for number, rectangle in script.rectangles.items():
        if number != 20:
            share = max(np.sqrt(1 - ((number - 20) / reach) ** 2), LEAST_SECTION)
            wanted = [30.5 - 8.5 * share, 30.5 + 8.5 * share, 40.5 - 17.5 * share, 40.5 + 17.5 * share]
            assert np.allclose(rectangle, wanted)


def test_propagation_ends_at_the_reach() -> None:
    """As for a vessel. No more slices are predicted."""
    script = Script(lambda number: disc(6))
    found = propagated(script, steps=(1.0, 1.0, 0.5))
    reach = REACH * np.sqrt(disc(6).sum() * 0.5 / np.pi)
    assert sorted(found) == sorted(script.rectangles) == [n for n in range(40) if abs(n - 20) < reach]
    assert 10 < reach < 12


def test_prompts_follow_a_larger_section_found_on_the_way() -> None:
    """Boxed near its end; from its middle the tumour reaches farther than from there."""

    def tumour(number: int) -> np.ndarray:
        return disc(np.sqrt(max(12**2 - (number - 30) ** 2, 0)), (30, 40 + number - 20))

    script = Script(tumour)
    found = propagated(script, limits=(0, 60), steps=(1.0, 1.0, 0.5))
    assert sorted(found) == list(range(19, 42))
    top, bottom, left, right = script.rectangles[35]
    assert (left + right) / 2 == pytest.approx(50, abs=0.5)  # as large as the largest, to the voxel
    assert (top + bottom) / 2 == pytest.approx(30.5)


@pytest.mark.parametrize("limits", [(20, 21), (17, 21), (20, 26), (18, 22), (0, 40)])
@pytest.mark.parametrize("growth", [1.0, 1.15])
def test_propagation_of_a_section_that_grows_slowly_ends_at_the_limits(limits: tuple[int, int], growth: float) -> None:
    script = Script(lambda number: disc(5 * growth ** min(abs(number - 20), 8)))
    assert sorted(propagated(script, limits)) == sorted(script.rectangles) == list(range(*limits))


@pytest.mark.parametrize(("gap", "kept"), [(0, True), (1, True), (2, False)])
def test_components_apart_from_the_previous_section_are_no_tumour(gap: int, kept: bool) -> None:
    """A second, larger spot: taken where it touches the section before (rows 30 to 40), left out where it does not."""

    def masks(number: int) -> np.ndarray:
        mask = np.zeros((ROWS, COLUMNS), dtype=bool)
        mask[30:41, 30:50] = True
        if number == 22:
            mask[35:41] = False
            mask[40 + gap : 50 + gap, 30:50] = True
        return mask

    found = propagated(Script(masks))
    spot = np.zeros((ROWS, COLUMNS), dtype=bool)
    spot[40 + gap : 50 + gap, 30:50] = True
    assert (found[22] > 0.5)[spot].all() == kept
    assert (found[22] > 0.5).any()
    if not kept:
        assert np.array_equal(found[22] > 0.5, masks(22) & ~spot)
        assert (found[22][spot] < 0.5).all()


def test_an_empty_first_slice_gives_no_tumour() -> None:
    script = Script(lambda number: disc(9) & (number != 20))
    assert propagated(script) == {}
    assert script.order == [20]


@pytest.mark.parametrize(("score", "ends"), [(LEAST_SCORE, False), (LEAST_SCORE - 0.01, True)])
def test_a_low_score_ends_propagation_on_that_side_only(score: float, ends: bool) -> None:
    script = Script(lambda number: disc(9), lambda number: score if number == 24 else 1.0)
    assert sorted(propagated(script)) == list(range(24 if ends else 40))
    assert 25 not in script.rectangles or not ends


@pytest.mark.parametrize("side", [-1, 1])
def test_a_sudden_growth_of_the_area_ends_propagation(side: int) -> None:
    """Into an organ beside the tumour: the answer more than doubles."""

    def masks(number: int) -> np.ndarray:
        return disc(9 if (number - 20) * side > 3 else 5)

    assert disc(9).sum() > MOST_GROWTH * disc(5).sum()
    assert sorted(propagated(Script(masks))) == (list(range(24)) if side == 1 else list(range(17, 40)))


def test_an_area_below_the_minimum_ends_propagation() -> None:
    pixels = int(LEAST_AREA_MM2 / (THIN[1] * THIN[2]))
    large = disc(7)

    def masks(number: int) -> np.ndarray:
        mask = np.zeros((ROWS, COLUMNS), dtype=bool)
        mask[30, 32 : 32 + pixels - (number == 23)] = True
        return mask if number > 21 else large

    assert sorted(propagated(Script(masks), (18, 40))) == [18, 19, 20, 21, 22]


def test_the_area_share_refers_to_the_largest_section_on_that_side() -> None:
    """A tumour that has shrunk to a twentieth of its largest section has ended, even above the least area."""

    def masks(number: int) -> np.ndarray:
        return disc(14 * 0.75 ** abs(number - 20))

    areas = {number: masks(number).sum() for number in range(*LIMITS)}
    found = sorted(propagated(Script(masks)))
    assert found == [number for number, area in areas.items() if area >= LEAST_AREA_SHARE * areas[20]]
    assert areas[max(found) + 1] * THIN[1] * THIN[2] > LEAST_AREA_MM2
