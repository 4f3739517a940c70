"""The channels of prompts in a patch of cubes, by hand: lengths are voxels, whatever the spacing."""

from __future__ import annotations

import numpy as np
import pytest

from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.patch_prompts import PROMPT_CHANNELS, PatchPrompts, likeness, prompt_channels, segment_map

SHAPE = (5, 6, 7)
EMPTY = np.zeros(SHAPE, dtype=np.float32)
NO_IMAGES = np.zeros((2, *SHAPE), dtype=np.float32)


def channel(name: str, prompts: PatchPrompts) -> np.ndarray:
    return prompt_channels(NO_IMAGES, EMPTY, prompts)[PROMPT_CHANNELS.index(name)]


def faded(voxels: float) -> float:
    """What is left of 1 so many voxels away: 1/e at ten thirds of a voxel."""
    return float(np.exp(-voxels * 3 / 10))


def test_without_prompts_only_the_previous_answer_is_shown() -> None:
    previous = np.linspace(0, 1, EMPTY.size, dtype=np.float32).reshape(SHAPE)
    channels = prompt_channels(np.stack([previous, previous]), previous, PatchPrompts())
    assert (channels.shape, channels.dtype) == ((7, *SHAPE), np.float32)
    assert np.array_equal(channels[0], previous)
    assert not channels[1:].any()


def test_points_fade_by_voxels_in_the_channel_of_their_sign() -> None:
    prompts = PatchPrompts(
        [PointPrompt(np.array([[2.0, 1, 3]]), True), PointPrompt(np.array([[6.0, 5, 0], [6, 4, 0]]), False)]
    )
    positive, negative = channel("positive", prompts), channel("negative", prompts)
    assert positive[3, 1, 2] == 1
    assert positive[3, 1, 5] == pytest.approx(faded(3))
    assert positive[3, 5, 2] == pytest.approx(faded(4))
    assert positive[0, 5, 2] == pytest.approx(faded(5))
    assert negative[0, 5, 6] == negative[0, 4, 6] == 1
    assert negative[0, 2, 6] == pytest.approx(faded(2))  # to the nearer of the two
    assert not channel("box", prompts).any()
    assert not channel("line", prompts).any()


def test_a_point_outside_the_patch_shows_from_there() -> None:
    outside = PatchPrompts([PointPrompt(np.array([[-2.0, 0, 0]]), True)])
    assert channel("positive", outside)[0, 0, 1] == pytest.approx(faded(3))


@pytest.mark.parametrize(
    ("first", "last", "inside"),
    [
        ((1, 2, 0), (4, 3, 2), (slice(0, 3), slice(2, 4), slice(1, 5))),
        # Centres between voxels belong to the nearest ones.
        ((1.4, 1.6, 0), (3.6, 3.4, 2), (slice(0, 3), slice(2, 4), slice(1, 5))),
        ((2, 2, 2), (2, 2, 2), (slice(2, 3), slice(2, 3), slice(2, 3))),
        ((-9, 4, 3), (0, 90, 90), (slice(3, 5), slice(4, 6), slice(0, 1))),
        ((8, 0, 0), (9, 5, 4), (slice(0), slice(0), slice(0))),
        ((-9, 0, 0), (-1, 5, 4), (slice(0), slice(0), slice(0))),
    ],
)
def test_a_box_is_filled_from_its_first_to_its_last_voxel(first: tuple, last: tuple, inside: tuple) -> None:
    expected = EMPTY.copy()
    expected[inside] = 1
    assert np.array_equal(channel("box", PatchPrompts(boxes=[np.array([first, last], dtype=float)])), expected)


def test_boxes_and_lines_add_up() -> None:
    one, other = np.array([[0.0, 0, 0], [1, 1, 1]]), np.array([[5.0, 4, 3], [6, 5, 4]])
    both = PatchPrompts(boxes=[one, other], lines=[one, other])
    for name in ("box", "line"):
        alone = [channel(name, PatchPrompts(boxes=[each], lines=[each])) for each in (one, other)]
        assert np.array_equal(channel(name, both), np.maximum(*alone))


def test_a_segment_fades_from_its_closest_point() -> None:
    # Along i at j = 1, k = 2, from i = 1 to i = 4.
    line = segment_map(np.array([1.0, 1, 2]), np.array([4.0, 1, 2]), SHAPE)
    assert np.allclose(line[2, 1, 1:5], 1)
    assert line[2, 4, 3] == pytest.approx(faded(3))  # beside it
    assert line[2, 1, 6] == pytest.approx(faded(2))  # behind its end
    assert line[2, 5, 0] == pytest.approx(faded(np.hypot(1, 4)))  # beside the other end
    assert line[0, 1, 2] == pytest.approx(faded(2))
    reverse = segment_map(np.array([4.0, 1, 2]), np.array([1.0, 1, 2]), SHAPE)
    np.testing.assert_allclose(line, reverse, rtol=1e-5)


AT_DOT = PatchPrompts([PointPrompt(np.array([[2.0, 1, 3]]), True)])


def test_a_slanting_segment_and_one_without_length() -> None:
    slanting = segment_map(np.array([0.0, 0, 0]), np.array([4.0, 4, 0]), SHAPE)
    assert slanting[0, 2, 2] == pytest.approx(1, abs=1e-5)
    assert slanting[0, 0, 4] == pytest.approx(faded(np.sqrt(8)), rel=1e-5)  # half a diagonal of a square of 4
    dot = segment_map(np.array([2.0, 1, 3]), np.array([2.0, 1, 3]), SHAPE)
    np.testing.assert_allclose(dot, channel("positive", AT_DOT), rtol=1e-5)


# What looks like the prompts: exp(-difference / 0.35), the mean over images that are given.

STEPS = np.broadcast_to(np.arange(7, dtype=np.float32) // 3, SHAPE).copy()  # 0, 0, 0, 1, 1, 1, 2 along i
ALIKE = pytest.approx(1)


def unlike(difference: float) -> object:
    return pytest.approx(float(np.exp(-difference / 0.35)), rel=1e-5)


def test_a_click_shows_what_has_the_mean_of_its_neighbourhood() -> None:
    like = likeness([STEPS], np.array([[4.0, 2, 2]]), SHAPE)
    assert like.dtype == np.float32
    assert [like[0, 0, i] for i in (0, 3, 5, 6)] == [unlike(1), ALIKE, ALIKE, unlike(1)]
    # Next to a step: 18 neighbours of 0 and 9 of 1 have the mean 1/3 and the deviation sqrt(2)/3.
    like = likeness([STEPS], np.array([[2.0, 2, 2]]), SHAPE)
    assert [like[0, 0, i] for i in (0, 4, 6)] == [ALIKE, unlike(2 / 3 - 2**0.5 / 3), unlike(5 / 3 - 2**0.5 / 3)]
    # At a corner there are eight voxels.
    assert likeness([STEPS], np.array([[0.0, 0, 0]]), SHAPE)[4, 5, 6] == unlike(2)


def test_a_scribble_shows_what_its_voxels_span() -> None:
    like = likeness([STEPS], np.array([[0.0, 0, 0], [4, 0, 0]]), SHAPE)  # 0 and 1: 0.5 +- 0.5
    assert [like[3, 3, i] for i in (0, 4, 6)] == [ALIKE, ALIKE, unlike(1)]


def test_likeness_is_averaged_over_the_images_that_are_given() -> None:
    point = np.array([[4.0, 2, 2]])
    both = likeness([STEPS, np.ones(SHAPE, np.float32)], point, SHAPE)
    assert both[0, 0, 0] == unlike(0.5)
    prompts = PatchPrompts([PointPrompt(point, False)])
    channels = prompt_channels(np.stack([STEPS, EMPTY]), EMPTY, prompts)  # the second shows nothing: it is not given
    np.testing.assert_array_equal(channels[PROMPT_CHANNELS.index("like negative")], likeness([STEPS], point, SHAPE))
    assert not channels[PROMPT_CHANNELS.index("like positive")].any()


def test_points_outside_the_patch_look_like_nothing() -> None:
    assert not likeness([STEPS], np.array([[-1.0, 0, 0], [7, 0, 0]]), SHAPE).any()
    assert not likeness([], np.array([[1.0, 0, 0]]), SHAPE).any()


def test_the_middle_half_of_a_line_is_looked_at() -> None:
    """From i = 0 to 6 the middle half lies from 1.5 to 4.5, in voxels 2 to 5 (halves go up): 0 once, 1 more often."""
    prompts = PatchPrompts(lines=[np.array([[0.0, 2, 2], [6, 2, 2]])])
    like = prompt_channels(STEPS[None], EMPTY, prompts)[PROMPT_CHANNELS.index("like positive")]
    voxels = np.floor(np.linspace(1.5, 4.5, 4) + 0.5).astype(int)
    expected = likeness([STEPS], np.array([[i, 2.0, 2] for i in voxels]), SHAPE)
    np.testing.assert_allclose(like, expected)
    assert like[0, 0, 6] < 0.2


def test_several_prompts_of_a_sign_keep_the_best_likeness() -> None:
    points = [PointPrompt(np.array([[i, 2.0, 2]]), True) for i in (0, 6)]
    like = prompt_channels(STEPS[None], EMPTY, PatchPrompts(points))[PROMPT_CHANNELS.index("like positive")]
    each = [likeness([STEPS], point.points, SHAPE) for point in points]
    np.testing.assert_array_equal(like, np.maximum(*each))
