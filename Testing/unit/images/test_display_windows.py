"""Intensity windows: their limits, what they do with zeros, and values that stay between 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.display_windows import window_of
from TumorSegLib.images.volume import Volume


def image(values: Any, role: str, dtype: Any = np.float32) -> Volume:
    array = np.asarray(values, dtype=dtype).reshape(1, 1, -1)
    return Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array, role)


def windowed(volume: Volume, **options: Any) -> np.ndarray:
    return window_of(volume, **options)(volume.array).ravel()


@pytest.mark.parametrize(
    ("name", "level", "width"),
    [(None, 40, 400), ("soft-tissue", 40, 400), ("lung", -600, 1500), ("bone", 400, 1800), ("liver", 60, 160)],
)
def test_limits_of_ct_windows(name: str | None, level: int, width: int) -> None:
    low, high = level - width / 2, level + width / 2
    volume = image([-3000, low - 1, low, level, high, high + 1, 3000], "ct", np.int16)
    options = {"ct_window": name} if name else {}
    assert np.allclose(windowed(volume, **options), [0, 0, 0, 0.5, 1, 1, 1])
    assert window_of(volume, **options).fill == 0


def test_pet_from_suv_0_to_10_whatever_the_ct_window() -> None:
    volume = image([0, 2.5, 10, 40], "pet")
    assert np.allclose(windowed(volume, ct_window="lung"), [0, 0.25, 1, 1])


@pytest.mark.parametrize("role", ["mr_t1", "mr_flair", "anything"])
def test_percentiles_of_mr_leave_zeros_out(role: str) -> None:
    tissue = np.arange(1001, 2002)
    volume = image([*np.zeros(5000), *tissue], role)
    low, high = 1001 + 0.005 * 1000, 1001 + 0.995 * 1000
    values = windowed(volume)
    assert (values[:5000] == 0).all()
    assert np.allclose(values[5000:], np.clip((tissue - low) / (high - low), 0, 1), atol=1e-5)


def test_percentiles_of_a_large_image_are_those_of_all_its_voxels() -> None:
    values = np.random.default_rng(0).gamma(2, 100, 2_500_000)
    rule = window_of(image(values, "mr_t1"))
    assert rule.low == pytest.approx(np.percentile(values, 0.5), rel=0.02)
    assert rule.high == pytest.approx(np.percentile(values, 99.5), rel=0.02)


@pytest.mark.parametrize("value", [0, 7, -7, 1e-9, 123456.78, -3e6])
def test_an_image_of_one_value_is_black(value: float) -> None:
    assert (windowed(image(np.full(50, value), "mr_t1")) == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float16, np.float64, bool])
def test_any_number_type(dtype: Any) -> None:
    values = windowed(image([0, 1, 1, 1, 1], "mr_t1", dtype))
    assert values.dtype == np.float32
    assert 0 <= values.min() <= values.max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e7, 1e7, width=32), min_size=1, max_size=30),
    st.floats(-1e7, 1e7, width=32),
    st.sampled_from(["ct", "pet", "mr_t2"]),
)
def test_values_lie_between_0_and_1(values: list[float], around: float, role: str) -> None:
    """Values close together around a large one, too, where float32 has few numbers left."""
    for volume in (image(values, role), image(around + np.array(values) / 1e7 * max(abs(around), 1e-3) * 1e-5, role)):
        seen = windowed(volume)
        assert seen.min() >= 0
        assert seen.max() <= 1


@pytest.mark.parametrize("role", ["ct", "mr_t1"])
def test_an_unknown_window_is_named_with_those_there_are(role: str) -> None:
    with pytest.raises(ArgumentError, match="CT window 'brain' is not one of soft-tissue, lung, bone, liver"):
        window_of(image([1, 2], role), "brain")
