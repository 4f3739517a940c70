"""Synthetic images of single lesions: reproducible, and with a lesion that is where the mask says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from TumorSegLib.errors import ArgumentError
from TumorSegLib.phantom.lesions import LesionPhantom, make_brain_lesion, make_lung_nodules

MAKERS = pytest.mark.parametrize("make", [make_lung_nodules, make_brain_lesion])


@MAKERS
def test_same_seed_same_image_other_seed_another(make: Callable[[int], LesionPhantom]) -> None:
    first, again, other = make(4), make(4), make(5)
    np.testing.assert_array_equal(first.image.array, again.image.array)
    assert np.mean(first.image.array != other.image.array) > 0.3
    assert not np.array_equal(first.lesions.array, other.lesions.array)


@MAKERS
@pytest.mark.parametrize("seed", range(4))
def test_each_lesion_is_one_piece_brighter_than_around(make: Callable[[int], LesionPhantom], seed: int) -> None:
    phantom = make(seed)
    labels = phantom.lesions.array
    assert labels.max() == (2 if make is make_lung_nodules else 1)
    for label in range(1, int(labels.max()) + 1):
        inside = labels == label
        assert ndimage.label(inside)[1] == 1
        assert 0.3 < inside.sum() * phantom.lesions.grid.voxel_volume_ml < 15
        near = ndimage.binary_dilation(inside, iterations=2)
        shell = ndimage.binary_dilation(near, iterations=2) & ~near
        core = ndimage.binary_erosion(inside)
        values = phantom.image.array.astype(float)
        assert values[core].mean() > values[shell].mean() + 2 * values[core].std()


def test_units() -> None:
    nodule, brain = make_lung_nodules(0), make_brain_lesion(0)
    assert (nodule.image.role, nodule.image.array.dtype) == ("ct", np.int16)
    assert -900 < np.median(nodule.image.array) < -800
    assert (brain.image.role, brain.image.array.dtype) == ("mr_flair", np.float32)
    assert brain.image.array.min() >= 0


@MAKERS
@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_a_seed_is_a_whole_number_from_0(make: Callable[[object], LesionPhantom], seed: object) -> None:
    with pytest.raises(ArgumentError, match="seed must be"):
        make(seed)
