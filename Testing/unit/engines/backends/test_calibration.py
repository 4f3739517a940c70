"""The inputs that the ranges of a network in int8 are taken from are those that it meets in use."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib.engines.backends.calibration import Examples, example_inputs
from TumorSegLib.engines.inputs import prepare
from TumorSegLib.errors import ArgumentError

IMAGES = {"ct": noise_volume(CUBE)}


def test_the_sample_does_not_depend_on_the_order() -> None:
    windows = torch.arange(20.0)[:, None, None, None, None]
    first, second = Examples(5), Examples(5)
    for number in range(20):
        first.add(windows[number : number + 1])
    second.add(windows.flip(0))
    assert len(first.windows) == 5
    np.testing.assert_array_equal(first.windows, second.windows)
    assert [float(window[0, 0, 0, 0]) for window in first.windows] != [0, 1, 2, 3, 4]


def test_an_automatic_model_is_calibrated_with_windows_of_the_images() -> None:
    spec = tiny_spec()
    windows = example_inputs(spec, tiny_network(spec), IMAGES, None, 7)
    (channel,) = prepare(IMAGES, spec).array
    assert len(windows) == 7
    starts = range(0, 40 - 16 + 1, 8)
    for window in windows:
        at = [channel[k : k + 16, j : j + 16, i : i + 16] for k in starts for j in starts for i in starts]
        assert any(np.array_equal(window[0], each) for each in at)
    np.testing.assert_array_equal(windows, example_inputs(spec, tiny_network(spec), IMAGES, None, 7))


def test_a_click_model_is_calibrated_with_clicks_on_the_tumour_and_its_own_answers() -> None:
    spec = tiny_spec(kind="clicks")
    truth = np.zeros(CUBE.shape, dtype=bool)
    truth[18:22, 18:22, 18:22] = True
    windows = example_inputs(spec, tiny_network(spec), IMAGES, truth, 50)
    assert {window.shape for window in windows} == {(4, 16, 16, 16)}
    assert len(windows) >= 4
    assert sum(not window[1].any() for window in windows) >= 1  # begun from nothing
    assert any(window[1].any() for window in windows)
    assert all(window[2].any() or window[3].any() for window in windows)


def test_clicks_need_a_contour() -> None:
    spec = tiny_spec(kind="clicks")
    with pytest.raises(ArgumentError, match="'tiny' is for clicks, and a case has no contour"):
        example_inputs(spec, tiny_network(spec), IMAGES, None, 7)
