"""The simulated user: the protocol's click against tables drawn by hand and a naive count, and what chance may do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from training.clicks.simulate import (
    ErrorRegion,
    click_on,
    draw_scribble,
    largest_error,
    next_click,
    shifted,
    signed_distance,
    warped,
)
from TumorSegLib.prompts.encoding import PointPrompt

#: So coarse along k that slices above and below, where nothing is wrong, are never the nearest boundary.
FLAT = (1.0, 1.0, 100.0)


def table(*rows: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of one slice, rows along j: ``m`` missed, ``w`` wrongly included, ``t`` right."""
    cells = np.array([list(row) for row in rows])[None]
    return np.isin(cells, ["w", "t"]), np.isin(cells, ["m", "t"])


def where(prompt: PointPrompt | None) -> tuple[tuple[float, ...], bool]:
    assert prompt is not None
    assert prompt.points.shape == (1, 3)
    assert prompt.points.dtype == np.float64
    return tuple(prompt.points[0].tolist()), prompt.positive


@pytest.mark.parametrize(
    ("rows", "point", "positive"),
    [
        pytest.param([".......", ".mmmmm.", ".mmmmm.", ".mmmmm.", ".mmmmm.", ".mmmmm."], (3, 3, 0), True, id="missed"),
        pytest.param([".......", ".wwwww.", ".wwwww.", ".wwwww.", ".wwwww.", ".wwwww."], (3, 3, 0), False, id="wrong"),
        pytest.param(["mmm....", "mmm....", "mmm....", ".......", "......."], (1, 1, 0), True, id="border is boundary"),
        pytest.param(["mmmmm", "mmmmm", "mmmmm"], (1, 1, 0), True, id="whole image, first of three that tie"),
        pytest.param(
            ["ttttttt", "tmmmtww", "tmmmtww", "tmmmttt"], (2, 2, 0), True, id="what is right is boundary, too"
        ),
        pytest.param(["m......", "....ww.", "....ww.", "m......"], (4, 1, 0), False, id="largest, first voxel of four"),
        pytest.param(["mm.....", "..mmm..", ".......", "..wwww."], (2, 3, 0), False, id="corners do not connect"),
        pytest.param(["mmmwwww"], (3, 0, 0), False, id="missed and wrong do not connect"),
        pytest.param(["www.mmm"], (4, 0, 0), True, id="of equal sizes the missed one"),
        pytest.param(["mm.mm"], (0, 0, 0), True, id="of equal components the first"),
        pytest.param([".m.....", "mmmww..", ".m.ww.."], (1, 1, 0), True, id="five beside four"),
    ],
)
def test_click_by_hand(rows: list[str], point: tuple[int, int, int], positive: bool) -> None:
    assert where(next_click(*table(*rows), FLAT)) == (point, positive)


def test_no_click_where_all_agree() -> None:
    for rows in (["....", "...."], ["tttt", "tttt"], [".tt.", "t..t"]):
        assert next_click(*table(*rows), FLAT) is None
        assert largest_error(*table(*rows)) is None


def components(wrong: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Voxels ``(k, j, i)`` of each component joined by faces."""
    numbers, count = label(wrong)
    return [set(zip(*(at.tolist() for at in np.nonzero(numbers == n)))) for n in range(1, count + 1)]


def depth(voxel: tuple[int, ...], region: set[tuple[int, ...]], shape: Sequence[int], steps: np.ndarray) -> float:
    """Distance in mm to the closest of all voxels outside the region, those just outside the image included."""
    outside = [place for place in product(*(range(-1, n + 1) for n in shape)) if place not in region]
    return float(np.linalg.norm((np.array(outside) - voxel) * steps, axis=1).min())


@pytest.mark.parametrize("seed", range(8))
def test_click_agrees_with_a_naive_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spacing_mm = rng.uniform(0.5, 4, 3)
    prediction, truth = rng.random((2, 3, 5, 6)) < rng.uniform(0.2, 0.8, (2, 1, 1, 1))
    (i, j, k), positive = where(next_click(prediction, truth, spacing_mm))
    found = [(region, True) for region in components(truth & ~prediction)]
    found += [(region, False) for region in components(prediction & ~truth)]
    most = max(len(region) for region, _ in found)
    region, missed = next(one for one in found if (int(k), int(j), int(i)) in one[0])
    assert (len(region), positive) == (most, missed)
    depths = {voxel: depth(voxel, region, truth.shape, spacing_mm[::-1]) for voxel in region}
    assert depths[int(k), int(j), int(i)] == pytest.approx(max(depths.values()))


def test_error_region_has_the_place_and_shape_of_the_largest_error() -> None:
    prediction, truth = np.zeros((2, 4, 5, 6), dtype=bool)
    truth[1:3, 2:5, 4] = truth[1, 2, 3] = True
    error = largest_error(prediction, truth)
    assert error is not None
    assert error.missed
    assert error.corner.tolist() == [3, 2, 1]
    assert error.region.shape == (2, 3, 2)
    assert np.array_equal(error.on(truth.shape), truth)
    prediction[0, 0, 0] = True  # a smaller error elsewhere is no part of it
    again = largest_error(prediction, truth)
    assert again is not None
    assert np.array_equal(again.on(truth.shape), truth)


def test_error_region_excludes_another_that_it_surrounds() -> None:
    prediction, truth = table("mmmmm", "m...m", "m.m.m", "m...m", "mmmmm")
    error = largest_error(prediction, truth)
    assert error is not None
    truth[0, 2, 2] = False
    assert np.array_equal(error.on(truth.shape), truth)


def ring() -> ErrorRegion:
    """A frame of 7 x 5 voxels with a hole of 3 x 1, at (10, 20, 30)."""
    region = np.ones((1, 5, 7), dtype=bool)
    region[0, 2, 2:5] = False
    return ErrorRegion(region, np.array([10, 20, 30]), missed=False)


def in_region(error: ErrorRegion, points: np.ndarray) -> np.ndarray:
    i, j, k = (points - error.corner).astype(int).T
    assert np.array_equal(points, np.round(points))
    return np.asarray(error.region[k, j, i])


def test_random_clicks_are_likelier_where_the_error_is_deeper() -> None:
    """Three voxels in a row are 1, 2 and 1 mm deep."""
    error = ErrorRegion(np.ones((1, 1, 3), dtype=bool), np.array([5, 0, 2]), missed=True)
    rng = np.random.default_rng(0)
    clicks = [click_on(error, (1.0, 100.0, 100.0), rng) for _ in range(2000)]
    assert all(click.positive for click in clicks)
    places, counts = np.unique([click.points[0] for click in clicks], axis=0, return_counts=True)
    assert places.tolist() == [[5, 0, 2], [6, 0, 2], [7, 0, 2]]
    np.testing.assert_allclose(counts / 2000, [0.25, 0.5, 0.25], atol=0.04)
    assert click_on(error, (1.0, 100.0, 100.0)).points.tolist() == [[6, 0, 2]]


def test_random_clicks_cover_the_error_alone() -> None:
    error, rng = ring(), np.random.default_rng(1)
    clicks = [click_on(error, FLAT, rng) for _ in range(600)]
    assert all(in_region(error, click.points).all() and not click.positive for click in clicks)
    assert len({tuple(click.points[0]) for click in clicks}) == error.region.sum()


def test_scribble_contains_its_click_and_stays_in_the_error() -> None:
    error, rng = ring(), np.random.default_rng(2)
    lengths, gaps = [], 0
    for _ in range(60):
        click = click_on(error, FLAT, rng)
        drawn = draw_scribble(error, click, rng)
        assert drawn.positive is False
        assert drawn.points.dtype == np.float64
        assert (drawn.points == click.points).all(axis=1).any()
        assert in_region(error, drawn.points).all()
        assert len(np.unique(drawn.points, axis=0)) == len(drawn.points)
        lengths.append(len(drawn.points))
        gaps += bool(np.ptp(drawn.points, axis=0).max() + 1 > len(drawn.points))
    assert max(lengths) == 7
    assert min(lengths) == 1
    assert gaps  # some crossed the hole, and left it out


def test_scribble_is_a_straight_line_where_the_error_is_convex() -> None:
    error, rng = ErrorRegion(np.ones((5, 6, 9), dtype=bool), np.array([1, 2, 3]), missed=True), np.random.default_rng(3)
    for _ in range(40):
        points = draw_scribble(error, click_on(error, FLAT, rng), rng).points
        extent = np.ptp(points, axis=0)
        assert len(points) == extent.max() + 1  # one voxel for each step along the longest axis
        ends = points[[points[:, extent.argmax()].argmin(), points[:, extent.argmax()].argmax()]]
        if extent.max():
            along = (points[:, extent.argmax()] - ends[0, extent.argmax()])[:, None] / extent.max()
            assert np.abs(ends[0] + along * (ends[1] - ends[0]) - points).max() <= 0.5 + 1e-9


def ball(shape: tuple[int, int, int] = (16, 20, 24), spacing_mm: Sequence[float] = (1.0, 1.5, 2.0)) -> np.ndarray:
    place = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij"), axis=-1)
    return np.asarray(np.linalg.norm(place * spacing_mm[::-1], axis=-1) < 9)


def test_signed_distance_by_hand() -> None:
    mask = np.array([0, 1, 1, 1, 0, 0], dtype=bool).reshape(1, 1, 6)
    distance = signed_distance(mask, (2.0, 1.0, 1.0))
    assert (distance.dtype, distance.ravel().tolist()) == (np.float32, [-2, 2, 4, 2, -2, -4])
    assert (signed_distance(np.ones((2, 2, 2), dtype=bool), (1.0, 1.0, 1.0)) == 1000).all()


def test_warping_by_0_mm_changes_nothing() -> None:
    mask, spacing_mm = ball(), (1.0, 1.5, 2.0)
    distance = warped(mask, spacing_mm, np.random.default_rng(0), 0.0, 30.0)
    assert np.array_equal(distance > 0, mask)
    np.testing.assert_array_equal(distance, signed_distance(mask, spacing_mm))


@pytest.mark.parametrize("most_mm", [2.0, 6.0])
def test_warping_moves_the_boundary_smoothly_and_by_no_more_than_asked(most_mm: float) -> None:
    mask, spacing_mm = ball(), (1.0, 1.5, 2.0)
    changes = []
    for seed in range(4):
        distance = warped(mask, spacing_mm, np.random.default_rng(seed), most_mm, 10.0)
        assert (distance.dtype, distance.shape) == (np.float32, mask.shape)
        moved = distance - signed_distance(mask, spacing_mm)
        assert most_mm / 2 < np.abs(moved).max() <= most_mm * (1 + 1e-5)
        # Control points are at least 5 mm apart, so neighbours 2 mm apart differ by no more than 2/5 of the range.
        assert all(np.abs(np.diff(moved, axis=axis)).max() < 2 / 5 * 2 * most_mm for axis in range(3))
        changes.append((distance > 0) != mask)
        assert np.array_equal(distance, warped(mask, spacing_mm, np.random.default_rng(seed), most_mm, 10.0))
    assert all(changed.any() for changed in changes)
    assert not any(np.array_equal(*pair) for pair in combinations(changes, 2))


def test_warping_of_an_empty_mask_is_empty() -> None:
    assert (warped(np.zeros((3, 4, 5), dtype=bool), (1, 1, 1), np.random.default_rng(0), 9.0, 30.0) == -1000).all()


def translated(mask: np.ndarray, by: Sequence[int]) -> np.ndarray:
    """Voxel by voxel; what leaves the image is lost."""
    result = np.zeros_like(mask)
    for voxel in np.argwhere(mask):
        if all(0 <= n < size for n, size in zip(voxel + by, mask.shape)):
            result[tuple(voxel + by)] = True
    return result


def test_shifted_mask_is_translated_dilated_or_eroded() -> None:
    """Steps of 2 mm along i, 1.5 along j and 1 along k: at most 1, 1 and 2 voxels for 2.2 mm."""
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[3:8, 2:6, 4:9] = True
    before = mask.copy()
    allowed = list(product((-2, -1, 0, 1, 2), (-1, 0, 1), (-1, 0, 1)))
    moves = {by: translated(mask, by) for by in allowed}
    seen = set()
    for seed in range(40):
        result = shifted(mask, (2.0, 1.5, 1.0), np.random.default_rng(seed), 2.2)
        matches = [
            (by, kind)
            for by, moved in moves.items()
            for kind, other in (("same", moved), ("more", binary_dilation(moved)), ("less", ~binary_dilation(~moved)))
            if np.array_equal(result, other)
        ]
        assert len(matches) == 1, f"seed {seed}"
        seen.add(matches[0])
    assert np.array_equal(mask, before)
    assert {kind for _, kind in seen} == {"same", "more", "less"}
    assert {by[0] for by, _ in seen} == {-2, -1, 0, 1, 2}


def test_mask_shifted_out_of_the_image_is_empty() -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[1, 1, 1] = True
    left = [shifted(mask, (1.0, 1.0, 1.0), np.random.default_rng(seed), 500.0).any() for seed in range(10)]
    assert not any(left)
