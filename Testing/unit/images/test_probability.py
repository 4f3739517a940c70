"""Probabilities as uint8: rounding, the threshold, and the way back."""

from __future__ import annotations

import numpy as np

from TumorSegLib.images.probability import CERTAIN, TUMOUR, from_mask, nearest_steps, to_float, to_uint8


def test_uint8_probabilities_are_tumour_exactly_above_one_half() -> None:
    half = np.float32(0.5)
    around = np.array([0, np.nextafter(half, np.float32(0)), half, 0.502, 1], np.float32)
    assert np.array_equal(to_uint8(around), [0, 127, 127, 128, 255])
    assert np.array_equal(to_uint8(around) >= TUMOUR, around > 0.501)
    assert np.array_equal(nearest_steps(255 * around), [0, 127, 128, 128, 255])


def test_uint8_and_float_probabilities_round_trip() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert to_float(every).dtype == np.float32
    assert np.array_equal(to_uint8(to_float(every)), every)
    assert np.array_equal(to_uint8(np.array([-0.2, 1.2])), [0, CERTAIN])  # what interpolation adds is limited
    assert np.array_equal(from_mask(np.array([0, 1, 7], np.uint8)), [0, CERTAIN, CERTAIN])
