"""Normalisation against numbers worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TumorSegLib.errors import ModelError
from TumorSegLib.images.normalisation import METHODS, Normalisation, mr_tissue_threshold

CT = Normalisation("linear", low=-160, high=240, offset=-20, scale=100, outside=-1000)
PET = Normalisation("log1p", low=0, high=30, offset=1, scale=2)
MR = Normalisation("zscore")

finite = st.floats(-1e3, 1e3, allow_nan=False)


def rules():
    return st.builds(
        Normalisation,
        method=st.sampled_from(METHODS),
        low=st.floats(0, 10),
        high=st.floats(11, 50) | st.just(math.inf),
        offset=finite,
        scale=st.floats(0.01, 100),
        outside=finite,
    )


def test_linear_clips_shifts_and_scales():
    assert CT(np.array([-3000, -160, -20, 80, 240, 9000])) == pytest.approx([-1.4, -1.4, 0, 1, 2.6, 2.6])
    assert Normalisation("linear")(np.array([-7.5, 0, 1e6])).tolist() == [-7.5, 0, 1e6]


def test_log1p_takes_the_logarithm_after_clipping():
    expected = [-0.5, 0, (math.log(31) - 1) / 2, (math.log(31) - 1) / 2]
    assert PET(np.array([-4, math.e - 1, 30, 500])) == pytest.approx(expected, abs=1e-6)


def test_zscore_takes_mean_and_deviation_of_tissue_only():
    # 99th percentile 29.4, so tissue is what exceeds 2.94: 10, 20, 30 with mean 20 and deviation sqrt(200 / 3).
    result = MR(np.array([[0, 0, 0, 1], [10, 20, 30, 0]]))
    deviation = math.sqrt(200 / 3)
    assert result.reshape(-1) == pytest.approx([0, 0, 0, -19 / deviation, -10 / deviation, 0, 10 / deviation, 0])
    assert Normalisation("zscore", outside=-1)(np.array([-1.0, -1.0, 100, 300, 0])) == pytest.approx([0, 0, -1, 1, -2])


def test_zscore_limits_outliers_to_five():
    values = np.tile([99.0, 101.0], 500)
    values[0], values[1] = 1e5, 50
    assert MR(values).max() == 5
    values[0] = 99
    assert MR(values).min() == -5


@pytest.mark.parametrize("array", [np.zeros(8), np.full(8, 7.0), np.array([0, 0, 0, 5.0]), np.zeros((0, 2, 2))])
def test_zscore_of_an_image_without_contrast_is_zero(array):
    for rule in (MR, MR.fitted(array)):
        result = rule(array)
        assert result.shape == array.shape
        assert (np.abs(result) < 1e-20).all()  # nothing that any network could tell from 0


def test_a_fitted_rule_gives_parts_what_they_have_in_the_whole():
    image = np.random.default_rng(0).gamma(2, 100, size=(6, 7, 8)).astype(np.float32)
    image[0] = 0
    rule, result = MR.fitted(image), MR(image)
    assert rule.method == "fitted_zscore"
    tissue = image[image > mr_tissue_threshold(image)]
    assert (rule.offset, rule.scale) == pytest.approx((tissue.mean(), tissue.std()))
    assert np.array_equal(rule(image), result)
    assert np.array_equal(rule(image[2:4]), result[2:4])
    assert np.array_equal(rule.fitted(image[2:4])(image[2:4]), result[2:4])  # it is fitted once and for all
    assert not np.allclose(MR(image[2:4]), result[2:4], atol=1e-3)
    assert rule.fill == 0
    assert (CT.fitted(image), PET.fitted(image)) == (CT, PET)  # they need no statistics


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("rule", [CT, PET, MR], ids=lambda rule: rule.method)
def test_any_real_type_gives_float32_and_is_left_unchanged(rule, dtype):
    array = np.array([0, 1, 1, 0, 1, 1], dtype=dtype)
    before = array.copy()
    result = rule(array)
    assert result.dtype == np.float32
    assert np.array_equal(array, before)
    assert result == pytest.approx(rule(before.astype(np.float64)))


def test_an_image_with_values_below_zero_is_seen_as_the_same_image_shifted():
    """Logarithms, maps, subtractions: their 0 is no air, and their 99th percentile may be negative."""
    image = np.random.default_rng(0).gamma(4, 30, size=(20, 20, 20)).astype(np.float32) + 40
    image[:8] = 0
    expected = MR(image)
    assert expected[8:].std() == pytest.approx(1, abs=0.05)
    for shift in (200, 1000, 1e4):
        result = MR(image - np.float32(shift))
        np.testing.assert_allclose(result, expected, atol=0.01)
        assert not result[:8].any()
    slightly = image.copy()
    slightly[0, 0, :5] = -2  # what resampling leaves beside an edge changes nothing
    assert np.array_equal(MR(slightly)[1:], expected[1:])


def test_fill_is_the_network_value_of_outside():
    assert CT.fill == pytest.approx(-1.4)
    assert PET.fill == pytest.approx(-0.5)
    assert MR.fill == 0
    assert Normalisation("zscore", outside=500).fill == 0


def test_tissue_threshold_is_a_tenth_of_the_99th_percentile():
    assert mr_tissue_threshold(np.arange(101.0)) == pytest.approx(9.9)
    assert mr_tissue_threshold(np.array([])) == 0
    values = np.random.default_rng(0).gamma(2, 100, size=2_500_000).astype(np.float32)
    assert mr_tissue_threshold(values) == pytest.approx(0.1 * np.percentile(values, 99), rel=5e-3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"method": "minmax"}, "'minmax'.*linear, log1p, zscore"),
        ({"method": "linear", "low": 5, "high": 5}, "low < high.*low=5, high=5"),
        ({"method": "linear", "low": math.nan}, "low < high.*nan"),
        ({"method": "linear", "scale": 0}, "scale > 0.*scale=0"),
        ({"method": "linear", "scale": -1}, "scale=-1"),
        ({"method": "linear", "scale": math.inf}, "finite.*scale=inf"),
        ({"method": "linear", "offset": math.nan}, "finite.*offset=nan"),
        ({"method": "linear", "outside": -math.inf}, "finite.*outside=-inf"),
        ({"method": "log1p"}, "log1p needs low >= 0, got -inf"),
        ({"method": "log1p", "low": -0.5}, "got -0.5"),
    ],
)
def test_an_impossible_rule_is_refused_by_name(arguments, named):
    with pytest.raises(ModelError, match=named):
        Normalisation(**arguments)


@settings(deadline=None)  # a busy machine is no failure
@given(rules())
def test_survives_json(rule):
    text = json.dumps(rule.to_dict(), allow_nan=False)
    assert Normalisation(**json.loads(text)) == rule
    assert not math.isinf(json.loads(text).get("high", 0))  # infinite limits are left out


@settings(deadline=None)  # a busy machine is no failure
@given(rules(), st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=30))
def test_output_is_finite_and_keeps_the_order_of_intensities(rule, values):
    values = np.sort(np.array(values))
    result = rule(values)
    assert np.isfinite(result).all()
    inside = values != rule.outside  # in a z-scored image what lies outside is set to the mean
    clipped = np.clip(values, rule.low, rule.high).astype(np.float32)
    inside &= clipped != np.float32(rule.outside)
    assert (np.diff(result[inside]) >= 0).all()
