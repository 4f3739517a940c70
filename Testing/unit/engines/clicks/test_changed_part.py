"""What a correction may change: what hangs together with the prompt, within the user's boxes, and the prompt itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.unit.engines.click_cases import block, mask_of
from TumorSegLib.engines.clicks.changed_part import ChangedPart
from TumorSegLib.engines.clicks.patches import components
from TumorSegLib.engines.clicks.views import endless
from TumorSegLib.geometry.boxes import full_box, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompt, Prompts, Scribble

GRID = Grid.from_spacing((20, 20, 20), (1, 1, 1))
NOTHING = np.zeros(GRID.shape, dtype=bool)


def corrected(grid: Grid, before: np.ndarray, answer: np.ndarray, *prompts: Prompt, seeds: Any = None) -> np.ndarray:
    """The mask after a network has answered for the whole image, bool."""
    last = prompts[-1]
    points = last.point_prompt()
    voxels = np.array(seeds if points is None else points.points, dtype=float)
    start = mask_of(before)
    start.setflags(write=False)
    part = ChangedPart(grid, endless(grid), start, voxels)
    part.cover(grid)
    change = answer.astype(np.float32) - before.astype(np.float32)
    part.add(change, grid, full_box(grid.shape))
    box, values = part.constrained(Prompts(prompts))
    after = start.copy()
    after[slices(box)] = values
    return after >= 128


def test_components_are_those_of_the_points() -> None:
    mask = (
        block(GRID, (2, 5), (2, 5), (2, 5))
        | block(GRID, (5, 7), (5, 7), (5, 7))
        | block(GRID, (10, 12), (3, 9), (1, 2))
    )
    first = block(GRID, (2, 5), (2, 5), (2, 5))  # the second touches it with an edge alone
    assert np.array_equal(components(mask, np.array([[3.0, 3, 3]])), first)
    assert np.array_equal(
        components(mask, np.array([[3.4, 2.6, 3], [10, 8, 1], [0, 0, 0]])), mask & ~block(GRID, (5, 7), (5, 7), (5, 7))
    )
    assert not components(mask, np.array([[0.0, 0, 0], [-5, 3, 3], [3, 3, 20]])).any()


def test_what_is_not_connected_with_the_prompt_stays_as_it_was() -> None:
    kept, other = block(GRID, (2, 6), (2, 6), (2, 6)), block(GRID, (14, 17), (14, 17), (14, 17))
    new, crumb = block(GRID, (2, 9), (2, 6), (2, 6)), block(GRID, (14, 17), (2, 5), (2, 5))
    after = corrected(GRID, kept | other, new | crumb, Click((3, 3, 3)))
    assert np.array_equal(after, new | other)


def test_all_of_a_wrong_part_may_go() -> None:
    wrong, other = block(GRID, (2, 9), (2, 6), (2, 6)), block(GRID, (14, 17), (14, 17), (14, 17))
    assert np.array_equal(corrected(GRID, wrong | other, NOTHING, Click((3, 3, 3), False)), other)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize(
    ("spacing", "neighbours"),
    [
        ((1, 1, 1), [(1, 0, 0), (0, 1, 0), (0, 0, 1)]),
        ((1, 1, 4), [(1, 0, 0), (0, 1, 0)]),
        ((0.5, 2, 2), [(1, 0, 0)]),
    ],
)
def test_a_click_binds_its_voxel_and_the_nearest_neighbours(spacing: Any, neighbours: Any, positive: bool) -> None:
    grid, at = Grid.from_spacing((20, 20, 20), spacing), np.array([8, 9, 10])
    bound = NOTHING.copy()
    for step in [(0, 0, 0), *neighbours, *(tuple(-n for n in each) for each in neighbours)]:
        i, j, k = at + step
        bound[k, j, i] = True
    start = NOTHING if positive else ~NOTHING
    after = corrected(grid, start, start, Click((8, 9, 10), positive))
    assert np.array_equal(after, bound == positive)


def test_on_one_slice_the_nearest_neighbours_lie_in_it() -> None:
    grid = Grid.from_spacing((1, 20, 20), (1, 1, 0.2))
    start = np.zeros(grid.shape, dtype=bool)
    assert corrected(grid, start, start, Click((8, 9, 0))).sum() == 5


def test_earlier_prompts_bind_too_and_later_ones_override() -> None:
    object_ = block(GRID, (2, 12), (2, 12), (2, 12))
    drawn = np.zeros(GRID.shape, np.uint8)
    drawn[5, 5, 4:11] = 1
    stroke = Scribble.from_mask(Mask(GRID, drawn), positive=False)
    after = corrected(GRID, NOTHING, object_, stroke, Click((9, 5, 5)))
    assert not after[5, 5, 4:8].any()  # the click reaches from 8 to 10
    assert after[5, 5, 8:11].all()
    assert after[object_].sum() > 900


@pytest.mark.parametrize(("added", "removed", "kept"), [(4, 3, False), (3, 4, True), (0, 4, True), (4, 0, False)])
def test_a_positive_click_takes_nothing_away_where_that_is_more_than_it_adds(
    added: int, removed: int, kept: bool
) -> None:
    """A network that wavers, of whose answer the part that goes with the click is kept."""
    before = block(GRID, (5, 10), (5, 10), (5, 10))
    lost = block(GRID, (5, 10), (5, 10), (5, 6)) & (np.arange(20) < 5 + removed)
    gained = block(GRID, (5, 5 + added), (5, 10), (10, 11)) if added else NOTHING
    after = corrected(GRID, before, before & ~lost | gained, Click((7, 7, 8)))
    assert np.array_equal(after, before | gained if kept else before & ~lost | gained)


def test_a_negative_click_adds_nothing_where_that_is_more_than_it_takes_away() -> None:
    before = block(GRID, (5, 10), (5, 10), (5, 10))
    corner, gained = block(GRID, (5, 7), (5, 7), (5, 7)), block(GRID, (5, 10), (5, 10), (10, 12))
    after = corrected(GRID, before, before & ~corner | gained, Click((5, 5, 5), False))
    assert np.array_equal(after, before & ~corner)


def test_what_only_a_refused_addition_joins_to_the_prompt_stays() -> None:
    """A negative click; the network joins the part to another, which it takes away. So does one out of the box."""
    mine, other = block(GRID, (3, 6), (3, 6), (3, 6)), block(GRID, (12, 14), (3, 6), (3, 6))
    bridge = block(GRID, (6, 12), (1, 12), (1, 12))
    after = corrected(GRID, mine | other, bridge, Click((4, 4, 4), False))
    assert np.array_equal(after, other)
    after = corrected(GRID, mine | other, bridge, BoxPrompt(BOUNDS), Line(((4, 4, 4), (5, 4, 4))), seeds=[(4, 4, 4)])
    assert np.array_equal(after, other | bridge & block(GRID, *BOUNDS))


BOUNDS = ((3, 9), (3, 9), (3, 9))
SEEDS = [(5, 5, 5)]


def test_nothing_is_added_outside_a_box_but_what_was_there_stays() -> None:
    before, answer = block(GRID, (5, 12), (5, 7), (5, 7)), block(GRID, (1, 15), (1, 15), (1, 15))
    after = corrected(GRID, before, answer, BoxPrompt(BOUNDS), seeds=SEEDS)
    assert np.array_equal(after, block(GRID, *BOUNDS) | before)
    # Of several boxes each may be filled.
    other = BoxPrompt(((3, 9), (3, 9), (9, 13)))
    both = corrected(GRID, NOTHING, answer, BoxPrompt(BOUNDS), other, seeds=SEEDS)
    assert np.array_equal(both, block(GRID, (3, 9), (3, 9), (3, 13)))


def test_a_box_does_not_keep_what_a_correction_removes() -> None:
    before = block(GRID, (5, 12), (5, 7), (5, 7))
    assert not corrected(GRID, before, NOTHING, BoxPrompt(BOUNDS), seeds=SEEDS).any()


@pytest.mark.parametrize(
    ("last", "free", "added"),
    [
        (Click((5, 5, 5)), False, 0),
        (Click((8, 8, 8)), False, 3),  # its neighbours alone
        (Click((9, 8, 8)), True, 0),
        (Line(((4, 5, 5), (8, 5, 5))), False, 0),
    ],
)
def test_a_positive_click_outside_the_box_may_add_there(last: Prompt, free: bool, added: int) -> None:
    answer = block(GRID, (1, 15), (1, 15), (1, 15))
    after = corrected(GRID, block(GRID, (3, 9), (3, 9), (3, 9)), answer, BoxPrompt(BOUNDS), last, seeds=[(4, 5, 5)])
    outside = after & ~block(GRID, *BOUNDS)
    if free:
        assert np.array_equal(after, answer)
    else:
        assert outside.sum() == added


def test_a_negative_click_outside_the_box_adds_nothing_there() -> None:
    before, answer = block(GRID, (5, 13), (5, 7), (5, 7)), block(GRID, (1, 15), (1, 15), (1, 15))
    after = corrected(GRID, before, answer, BoxPrompt(BOUNDS), Click((14, 5, 5), False), Click((12, 5, 5), False))
    assert not (after & ~before)[~block(GRID, *BOUNDS)].any()
    # The same beside a part that the click does not remove wholly.
    after = corrected(GRID, before, answer, BoxPrompt(BOUNDS), drawn_on(before & block(GRID, (11, 13), (5, 7), (5, 6))))
    assert not (after & ~before)[~block(GRID, *BOUNDS)].any()


def drawn_on(voxels: np.ndarray) -> Scribble:
    return Scribble.from_mask(Mask(GRID, voxels.astype(np.uint8)), positive=False)


def test_a_negative_click_beside_an_object_takes_the_neighbours_of_its_voxel() -> None:
    before = block(GRID, (5, 9), (5, 9), (5, 9))
    after = corrected(GRID, before, before, Click((9, 6, 6), False))
    assert np.argwhere(before & ~after).tolist() == [[6, 6, 8]]


def test_a_scribble_that_leaves_the_box_may_add_outside() -> None:
    drawn = np.zeros(GRID.shape, np.uint8)
    drawn[5, 5, 4:11] = 1
    answer = block(GRID, (1, 15), (1, 15), (1, 15))
    after = corrected(GRID, NOTHING, answer, BoxPrompt(BOUNDS), Scribble.from_mask(Mask(GRID, drawn)))
    assert np.array_equal(after, answer)


def test_a_line_that_leaves_the_box_may_add_outside() -> None:
    box = BoxPrompt(((2, 8), (2, 8), (2, 8)))
    inside, outside = block(GRID, (3, 7), (3, 7), (3, 7)), block(GRID, (12, 17), (12, 17), (12, 17))
    beside = Line(((12, 14, 14), (16, 14, 14)))
    after = corrected(GRID, inside, inside | outside, box, beside, seeds=[(n, 14, 14) for n in range(12, 17)])
    assert np.array_equal(after, inside | outside)
    within = Line(((3, 5, 5), (6, 5, 5)))
    grown = inside | block(GRID, (3, 12), (3, 7), (3, 7))
    after = corrected(GRID, NOTHING, grown, box, within, seeds=[(n, 5, 5) for n in range(3, 7)])
    assert np.array_equal(after, grown & block(GRID, (2, 8), (2, 8), (2, 8)))


def test_a_box_on_one_slice_bounds_nothing() -> None:
    answer = block(GRID, (1, 15), (1, 15), (1, 15))
    thin = BoxPrompt(((3, 9), (3, 9), (5, 6)))
    assert np.array_equal(corrected(GRID, NOTHING, answer, thin, seeds=SEEDS), answer)


def test_the_part_grows_with_the_views_and_keeps_their_changes() -> None:
    start = mask_of(block(GRID, (0, 20), (0, 20), (0, 3)))
    part = ChangedPart(GRID, endless(GRID), start, np.array([[10.0, 10, 10]]))
    assert part.box == ((9, 12), (9, 12), (9, 12))
    near = GRID.crop(((8, 13), (8, 13), (8, 13)))
    part.cover(near)
    part.add(np.ones(near.shape, np.float32), near, full_box(near.shape))
    assert np.all(part.values[slices(((3, 4), (3, 4), (3, 4)))] == 255)
    part.cover(GRID)
    assert part.box == full_box(GRID.shape)
    assert np.array_equal(part.values >= 128, (start >= 128) | block(GRID, (8, 13), (8, 13), (8, 13)))
    assert np.array_equal(start >= 128, block(GRID, (0, 20), (0, 20), (0, 3)))  # as it was


def test_of_a_view_beyond_the_image_the_inner_part_is_added() -> None:
    part = ChangedPart(GRID, endless(GRID), mask_of(NOTHING), np.array([[1.0, 1, 1]]))
    view = Grid.from_spacing((8, 8, 8), (1, 1, 1), (-4, -4, -4))
    part.cover(view)
    change = np.zeros(view.shape, np.float32)
    change[:, :, :6] = 1
    part.add(change, view, ((4, 8), (4, 8), (4, 8)))
    (i, _), (j, _), (k, _) = part.box
    assert (i, j, k) == (0, 0, 0)
    assert np.array_equal(np.argwhere(part.values[0, 0] >= 128).ravel(), [0, 1])


@pytest.mark.parametrize("thickness_mm", [0.5, 1, 20])
def test_how_deep_a_negative_click_lies_does_not_depend_on_the_thickness_of_a_single_slice(thickness_mm: float) -> None:
    """A disc of 20 voxels, and a network that wavers on all of it; by hand the click lies 5.1 voxels inside."""
    grid = Grid.from_spacing((1, 60, 60), (1, 1, thickness_mm))
    j, i = np.indices((60, 60))
    disc = ((i - 30) ** 2 + (j - 30) ** 2 <= 20**2)[None]
    after = corrected(grid, disc, np.where(disc, 0.3, 0), Click((45, 30, 0), False))
    gone = np.argwhere(disc & ~after)[:, ::-1] - [45, 30, 0]
    assert np.linalg.norm(gone, axis=1).max() == pytest.approx(3 * 5.1 + max(thickness_mm, 1) / 2, abs=1)


def test_a_positive_click_may_take_away_far_from_it_what_the_network_doubts() -> None:
    """It adds more than it takes away: a contour that lay beside the object moves onto it."""
    old, new = block(GRID, (2, 8), (2, 8), (2, 8)), block(GRID, (6, 18), (2, 8), (2, 8))
    answer = np.where(new, 1, np.where(old, 0.3, 0))
    assert np.array_equal(corrected(GRID, old, answer, Click((16, 5, 5))), new)
