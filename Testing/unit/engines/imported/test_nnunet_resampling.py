"""Resampling as nnU-Net does it, against libraries that compute the same in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from TumorSegLib.engines.imported.nnunet_resampling import LogitResampling, new_shape, resample_image, separate_axis
from TumorSegLib.errors import ModelError
from TumorSegLib.models.nnunet import NnunetResampling

CUBIC, LINEAR = NnunetResampling(3), NnunetResampling(1)


@pytest.mark.parametrize(
    ("spacing", "target", "forced", "axis"),
    [
        ((1, 1, 1), (2, 2, 2), None, None),
        ((5, 1, 1), (2, 2, 2), None, 0),
        ((1, 1, 3.01), (2, 2, 2), None, 2),
        ((1, 1, 3), (2, 2, 2), None, None),  # strictly more than three times
        ((1, 1, 1), (1, 4, 1), None, 1),  # only the other spacing is anisotropic
        ((5, 1, 1), (1, 4, 1), None, 0),
        ((5, 5, 1), (1, 1, 1), None, None),  # two thick axes
        ((5, 5.00000001, 1), (1, 1, 1), None, None),
        ((2, 1, 1), (1, 1, 1), True, 0),
        ((1, 1, 1), (4, 1, 1), True, None),
        ((9, 1, 1), (1, 1, 1), False, None),
    ],
)
def test_the_axis_of_the_thickest_voxels_is_apart(
    spacing: tuple[float, ...], target: tuple[float, ...], forced: bool | None, axis: int | None
) -> None:
    assert separate_axis(spacing, target, NnunetResampling(separate_z=forced)) == axis


def test_the_new_number_of_voxels_is_rounded() -> None:
    assert new_shape((10, 11, 1), (2.0, 1.0, 1.0), (1.5, 2.0, 9.0)) == (13, 6, 1)


@pytest.mark.parametrize("shape", [(9, 14, 7), (4, 20, 11), (7, 12, 10)])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_images_are_splines_in_the_plane_and_nearest_across(shape: tuple[int, int, int], axis: int | None) -> None:
    image = np.random.default_rng(0).normal(0, 100, (7, 12, 10)).astype(np.float32)
    ours = resample_image(image, shape, CUBIC, axis)
    assert (ours.shape, ours.dtype) == (shape, np.float32)
    if axis is None:
        expected = resize(image.astype(float), shape, 3, mode="edge", anti_aliasing=False)
    else:
        plane = [n for number, n in enumerate(shape) if number != axis]
        slices = [
            resize(each.astype(float), plane, 3, mode="edge", anti_aliasing=False)
            for each in np.moveaxis(image, axis, 0)
        ]
        pick = np.floor((np.arange(shape[axis]) + 0.5) * image.shape[axis] / shape[axis]).astype(int)
        expected = np.stack([slices[number] for number in pick], axis)
    assert np.allclose(ours, expected if shape != image.shape else image, atol=1e-3)


def in_one_piece(logits: np.ndarray, shape: tuple[int, int, int], nearest: int | None) -> np.ndarray:
    """Linear, and along one axis nearest, interpolation of the whole array."""
    factors = [n / new for n, new in zip(logits.shape[1:], shape)]
    at = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) * f - 0.5 for n, f in zip(shape, factors)], indexing="ij"))
    if nearest is not None:
        at[nearest] = np.floor(at[nearest] + 0.5)
    return np.stack([map_coordinates(each.astype(float), at, order=1, mode="nearest") for each in logits])


@pytest.mark.parametrize("shape", [(13, 9, 20), (6, 9, 8), (3, 4, 5), (6, 12, 8)])
@pytest.mark.parametrize("nearest", [None, 0, 1, 2])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_logits_slice_by_slice_are_those_in_one_piece(
    shape: tuple[int, int, int], nearest: int | None, kind: torch.dtype
) -> None:
    logits = torch.from_numpy(np.random.default_rng(1).normal(0, 3, (2, 6, 9, 8)).astype(np.float32)).to(kind)
    rule = LogitResampling.of((6, 9, 8), shape, LINEAR, nearest)
    ours = torch.stack(list(rule.slices(logits)), dim=1)
    assert ours.dtype == torch.float32
    assert np.allclose(ours.numpy(), in_one_piece(logits.float().numpy(), shape, nearest), atol=1e-4)


def test_logits_of_splines_are_refused() -> None:
    with pytest.raises(ModelError, match="order 3 are not supported"):
        LogitResampling.of((2, 2, 2), (3, 3, 3), CUBIC, None)
    with pytest.raises(ModelError, match="order 2 are not supported"):
        LogitResampling.of((2, 2, 2), (3, 3, 3), NnunetResampling(1, 2), 0)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_slices_stay_within_the_image(length: int) -> None:
    """At the border the outermost slices count alone."""
    logits = torch.arange(2.0)[None, :, None, None].expand(1, 2, 3, 3)
    values = [
        float(each[0, 0, 0]) for each in LogitResampling.of((2, 3, 3), (length, 3, 3), LINEAR, None).slices(logits)
    ]
    expected = {1: [0.5], 2: [0, 1], 7: [0, 0, 3 / 14, 0.5, 11 / 14, 1, 1]}[length]
    assert np.allclose(values, expected)
