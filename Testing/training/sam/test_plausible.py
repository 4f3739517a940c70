"""What looks like an object among the answers of a box model."""

from __future__ import annotations

import numpy as np
import pytest

from training.objects.library import Contour
from training.sam.plausible import as_object, contrast, cut_share, goes_on, is_new, is_stable

SHAPE = (20, 24, 28)


def ball(radius: float, middle: tuple[int, int, int] = (10, 12, 14)) -> np.ndarray:
    distance = np.linalg.norm(np.indices(SHAPE) - np.reshape(middle, (3, 1, 1, 1)), axis=0)
    return np.asarray(distance <= radius)


def image_of(inside: np.ndarray, step: float = 0.4) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.05, inside.shape)
    return (0.3 + step * inside + noise).astype(np.float32)


def test_a_section_must_be_sure() -> None:
    sharp = np.where(ball(6)[10], 0.95, 0.05).astype(np.float32)
    vague = np.clip(0.9 - 0.06 * np.linalg.norm(np.indices((24, 28)) - 12.0, axis=0), 0, 1).astype(np.float32)
    assert is_stable(sharp, 0.9)
    assert not is_stable(sharp, 0.4)
    assert not is_stable(vague, 0.9)


def test_a_section_goes_on_where_shape_and_intensity_do() -> None:
    inside = ball(6)
    image = image_of(inside)
    section, other = inside[10], np.roll(inside[10], 7, axis=1)
    first = float(image[10][section].mean()), contrast(image[10], section)[0]
    assert goes_on(inside[11], section, image[11], first)
    assert not goes_on(other, section, image[11], first)
    assert not goes_on(section, section, image[1], first)  # a slice beyond the ball, where nothing is bright


def test_contrast_is_to_the_shell() -> None:
    inside = ball(6)
    difference, relative = contrast(image_of(inside), inside)
    assert difference == pytest.approx(0.4, abs=0.02)
    assert relative == pytest.approx(8, rel=0.2)
    assert contrast(image_of(inside, -0.2), inside)[1] < -3
    assert contrast(image_of(inside), np.zeros(SHAPE, bool)) == (0, 0)


def test_the_largest_piece_is_an_object_if_it_stands_out() -> None:
    inside = ball(6)
    found = as_object(image_of(inside), inside | ball(1, (2, 2, 2)), "ct")
    assert found is not None
    assert (found.corner, found.array.shape, found.role) == ((8, 6, 4), (13, 13, 13), "ct")
    assert np.array_equal(found.array, inside[4:17, 6:19, 8:21])
    assert as_object(image_of(inside, 0.0), inside, "ct") is None
    assert as_object(image_of(ball(1)), ball(1), "ct") is None  # 7 voxels
    assert as_object(image_of(inside), np.zeros(SHAPE, bool), "ct") is None
    thread = np.zeros(SHAPE, bool)
    thread[2, 2:22, 2] = thread[2, 2, 2:26] = thread[2:18, 2, 2] = True
    assert as_object(image_of(thread), thread, "ct") is None


def test_what_the_border_cuts_is_told_but_for_the_ends_of_the_stack() -> None:
    assert cut_share(ball(6), 0) == 0
    assert cut_share(ball(9, (10, 2, 14)), 0) > 0.1
    assert cut_share(ball(6, (0, 12, 14)), 0) == 0
    assert cut_share(ball(6, (0, 12, 14)), 1) > 0.2


def test_nearly_the_same_object_is_not_new() -> None:
    one = Contour(ball(6)[4:17, 6:19, 8:21], (8, 6, 4))
    near, far = Contour(one.array, (9, 6, 4)), Contour(one.array, (12, 6, 4))
    assert not is_new(near, [far, one])
    assert is_new(far, [one])
    assert is_new(Contour(one.array, (40, 6, 4)), [one])
    assert is_new(one, [])
