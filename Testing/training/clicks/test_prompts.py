"""Simulated prompts on objects: they lie where people would put them, imprecise within bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt

from training.clicks.prompts import DrawnPrompts, draw_box, draw_lasso, draw_line, loose_box, measured_line
from training.clicks.simulate import ErrorRegion, largest_error

SHAPE = (24, 28, 32)
SEEDS = range(25)


def ellipsoid(k: float = 6, j: float = 8, i: float = 11) -> np.ndarray:
    grid = np.indices(SHAPE) - np.array([11, 13, 15])[:, None, None, None]
    return np.asarray((grid[0] / k) ** 2 + (grid[1] / j) ** 2 + (grid[2] / i) ** 2 <= 1)


TRUTH = ellipsoid()
NOTHING = np.zeros(SHAPE, dtype=bool)


def error_of(missed: bool = True) -> ErrorRegion:
    error = largest_error(NOTHING if missed else TRUTH, TRUTH if missed else NOTHING)
    assert error is not None
    return error


def drawn(points: np.ndarray) -> np.ndarray:
    voxels = points.astype(int)
    inside = ((voxels >= 0) & (voxels < SHAPE[::-1])).all(axis=1)
    array = NOTHING.copy()
    array[tuple(voxels[inside].T[::-1])] = True
    return array


@pytest.mark.parametrize("missed", [True, False])
def test_a_lasso_lies_on_one_slice_about_the_section_of_the_error(missed: bool) -> None:
    wide = binary_dilation(TRUTH, np.ones((3, 3, 3)), iterations=2)
    covered = []
    for seed in SEEDS:
        lasso = draw_lasso(error_of(missed), np.random.default_rng(seed))
        assert lasso.positive == missed
        assert np.array_equal(lasso.points, np.floor(lasso.points))
        (axis,) = [n for n in range(3) if np.ptp(lasso.points[:, n]) == 0]
        array = drawn(lasso.points)
        assert not (array & ~wide).any()
        section = np.take(TRUTH, int(lasso.points[0, axis]), 2 - axis)
        assert section.sum() >= 0.6 * max(np.take(TRUTH, n, 2 - axis).sum() for n in range(SHAPE[2 - axis]))
        covered.append((array & TRUTH).sum() / section.sum())
    assert min(covered) > 0.4
    assert np.median(covered) > 0.8
    assert len(set(covered)) > 10


def test_the_ends_of_a_line_are_near_the_outline_and_its_length_within_a_tenth() -> None:
    """By hand: the longest diameter across k is 2 * 11 voxels; on the smallest slice taken, 0.77 of it."""
    lengths, slices = [], set()
    depth = distance_transform_edt(TRUTH) - distance_transform_edt(~TRUTH)
    for seed in SEEDS:
        line = draw_line(TRUTH, np.random.default_rng(seed))
        assert line.shape == (2, 3)
        for end in line:
            k, j, i = np.clip(np.rint(end[::-1]).astype(int), 0, np.array(SHAPE) - 1)
            assert abs(depth[k, j, i]) < 3.5
        lengths.append(np.linalg.norm(line[1] - line[0]))
        slices.add(round(float(line[0, 2])))
    assert max(lengths) <= 22 * 1.1 + 2
    assert min(lengths) >= 12 * 0.9 - 2  # a section across i has 16 x 12 voxels, at least 0.77 of them
    assert np.median(lengths) > 15
    assert len(slices) > 3


def test_a_box_contains_the_object_and_is_at_most_30_percent_too_large() -> None:
    """Whole voxels: rounding makes it at most half a voxel larger or smaller on each side."""
    extra = []
    for seed in SEEDS:
        first, last = draw_box(TRUTH, np.random.default_rng(seed), on_slice=False)
        where = np.argwhere(TRUTH)[:, ::-1]
        low, high = where.min(axis=0), where.max(axis=0)
        assert (first <= low).all()
        assert (last >= high).all()
        size = high - low + 1
        assert (low - first <= 0.15 * size + 0.5).all()
        assert (last - high <= 0.15 * size + 0.5).all()
        extra.append(float(np.mean((last - first + 1) / size)))
    assert max(extra) > 1.15
    assert min(extra) < 1.15


def test_a_box_on_a_slice_is_about_a_section() -> None:
    for seed in SEEDS:
        first, last = draw_box(TRUTH, np.random.default_rng(seed), on_slice=True)
        assert first[2] == last[2]
        section = TRUTH[int(first[2])]
        assert section.sum() >= 0.6 * TRUTH.sum(axis=(1, 2)).max()
        where = np.argwhere(section)[:, ::-1]
        assert (first[:2] <= where.min(axis=0)).all()
        assert (last[:2] >= where.max(axis=0)).all()


@pytest.mark.parametrize("on_slice", [True, False])
def test_a_box_needs_an_object(on_slice: bool) -> None:
    with pytest.raises(ValueError, match="a box needs an object"):
        draw_box(NOTHING, np.random.default_rng(0), on_slice)
    with pytest.raises(ValueError, match="a box needs an object"):
        loose_box(NOTHING)


def test_clicks_and_scribbles_lie_in_the_error_but_for_what_strays() -> None:
    near = binary_dilation(TRUTH, np.ones((3, 3, 3)))
    for seed in SEEDS:
        rng, prompts = np.random.default_rng(seed), DrawnPrompts()
        prompts.add_correction("click", error_of(), False, rng)
        prompts.add_correction("click", error_of(), True, rng)
        prompts.add_correction("scribble", error_of(False), True, rng)
        centre, anywhere, stroke = prompts.points
        np.testing.assert_array_equal(centre.points, [[15, 13, 11]])
        assert (drawn(anywhere.points) & TRUTH).any()
        assert [each.positive for each in prompts.points] == [True, True, False]
        assert not (drawn(stroke.points) & ~near).any()
    assert len(prompts) == 3


def test_shapes_are_kept_beside_points_and_shown_to_the_network() -> None:
    prompts, rng = DrawnPrompts(), np.random.default_rng(0)
    for kind in ("line", "box", "slice_box"):
        prompts.add_shape(kind, TRUTH, rng)
    prompts.add_correction("lasso", error_of(), False, rng)
    shown = prompts.for_network()
    assert (len(prompts), len(shown.points), len(shown.boxes), len(shown.lines)) == (4, 1, 2, 1)
    assert np.ptp(shown.boxes[1][:, 2]) == 0


def test_the_measured_line_is_the_longest_in_mm_on_the_largest_slice() -> None:
    start, end = measured_line(TRUTH, (1, 1, 5))
    assert start[2] == end[2] == 11
    assert sorted([tuple(start), tuple(end)]) == [(4, 13, 11), (26, 13, 11)]
    # Voxels twice as long along j make that the longest: 16 of 2 mm.
    start, end = measured_line(TRUTH, (1, 2, 5))
    assert sorted([tuple(start), tuple(end)]) == [(15, 5, 11), (15, 21, 11)]


def test_a_loose_box_is_by_hand_15_percent_larger() -> None:
    """The object spans 23 x 17 x 13 voxels: 0.075 of these, rounded up, are 2, 2 and 1 on each side."""
    assert loose_box(TRUTH) == ((2, 29), (3, 24), (4, 19))
    corner = NOTHING.copy()
    corner[:3, :3, :3] = True
    assert loose_box(corner) == ((0, 4), (0, 4), (0, 4))  # cut to the image
    flat = np.zeros((1, 20, 20), dtype=bool)
    flat[0, 5:10, 5:10] = True
    assert loose_box(flat) == ((4, 11), (4, 11), (0, 1))
