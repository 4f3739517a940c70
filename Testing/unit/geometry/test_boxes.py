"""Boxes of voxels against plain loops and argwhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from TumorSegLib.geometry.boxes import (
    EMPTY_BOX,
    around_points,
    bounding_box,
    clip_additions,
    full_box,
    grown,
    intersection,
    origin,
    slices,
    translate,
    union,
    within,
)
from TumorSegLib.geometry.grid import Box, Grid

fast = settings(max_examples=100, deadline=None)
ranges = st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda pair: (pair[0], pair[0] + pair[1]))
boxes = st.tuples(ranges, ranges, ranges)
shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=6)


@fast
@given(hnp.arrays(np.uint8, shapes, elements=st.sampled_from([0, 0, 0, 0, 1, 255])))
def test_bounding_box_of_nonzero_voxels(array: np.ndarray) -> None:
    hits = np.argwhere(array)
    expected = tuple((int(n.min()), int(n.max()) + 1) for n in hits.T[::-1]) if len(hits) else None
    assert bounding_box(array) == expected
    assert bounding_box(array > 0) == expected


def test_slices_index_k_j_i() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    part = array[slices(((3, 5), (2, 3), (1, 4)))]
    assert part.shape == (3, 1, 2)
    assert part[0, 0].tolist() == [array[1, 2, 3], array[1, 2, 4]]


def test_full_box_is_the_array_and_empty_box_has_no_voxel() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert full_box((4, 5, 6)) == ((0, 6), (0, 5), (0, 4))
    np.testing.assert_array_equal(array[slices(full_box((4, 5, 6)))], array)
    assert array[slices(EMPTY_BOX)].size == 0


@fast
@given(st.lists(boxes, min_size=1, max_size=5))
def test_union_is_the_smallest_box_around_all(several: list) -> None:
    offset, array = 9, np.zeros((27, 27, 27), dtype=bool)
    for box in several:
        array[slices(translate(box, (offset,) * 3))] = True
    assert translate(union(several), (offset,) * 3) == bounding_box(array)


@fast
@given(boxes, st.tuples(*[st.integers(-9, 9)] * 3))
def test_translate_moves_both_ends_and_back(box: tuple, by: tuple) -> None:
    there = translate(box, by)
    assert origin(there) == tuple(n + low for n, (low, _) in zip(by, box))
    assert [high - low for low, high in there] == [high - low for low, high in box]
    assert translate(there, [-n for n in by]) == box


def test_clip_additions_adds_nothing_outside_the_region() -> None:
    rng = np.random.default_rng(3)
    before, after = (rng.integers(0, 256, (4, 5, 6), dtype=np.uint8) for _ in range(2))
    box: Box = ((10, 16), (20, 25), (30, 34))
    fence: Box = ((8, 13), (22, 40), (31, 33))
    kept = clip_additions(before, after, box, fence)
    inside = np.zeros((4, 5, 6), dtype=bool)
    inside[1:3, 2:, :3] = True
    assert np.array_equal(kept[inside], after[inside])
    assert np.array_equal(kept[~inside], np.minimum(before, after)[~inside])
    far: Box = ((0, 5), (0, 5), (0, 5))
    assert np.array_equal(clip_additions(before, after, box, far), np.minimum(before, after))


@fast
@given(boxes, boxes)
def test_intersection_holds_the_voxels_of_both(first: Box, second: Box) -> None:
    def voxels(box: Box) -> set[tuple[int, ...]]:
        return {(i, j, k) for i in range(*box[0]) for j in range(*box[1]) for k in range(*box[2])}

    assert voxels(intersection(first, second)) == voxels(first) & voxels(second)


def test_grown_stops_at_the_border_and_within_counts_from_the_outer_box() -> None:
    outer = grown(((3, 5), (0, 4), (6, 9)), (2, 1, 3), (10, 8, 6))
    assert outer == ((1, 6), (0, 5), (3, 10))
    assert within(((3, 5), (0, 4), (6, 9)), outer) == ((2, 4), (0, 4), (3, 6))


def test_box_around_points_takes_whole_voxels_and_forgives_rounding() -> None:
    grid = Grid.from_spacing((10, 10, 10), (1, 1, 1))
    corners = np.array([(1.5, 2.2, -3), (4.5 + 1e-4, 2.3, 4)])
    assert around_points(corners, grid) == ((2, 5), (2, 3), (0, 5))
    low, high = around_points(corners + np.array([20, 0, 0]), grid)[0]
    assert low >= high
