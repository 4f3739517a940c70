"""CT that cannot be in HU, and PET that cannot be in SUV, is refused with the probable reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from TumorSegLib.errors import ArgumentError, SuvError
from TumorSegLib.images.plausibility import check_ct, check_suv, looks_like_ct
from TumorSegLib.io.images import read_volume
from TumorSegLib.phantom.patient import make_phantom

#: What other tools and mistakes make of HU, and what is said of it.
WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "1024 too large": (lambda hu: hu + 1024, "too large"),
    "1000 too large": (lambda hu: hu + 1000, "too large"),
    "0 to 1": (lambda hu: np.clip((hu + 160) / 400, 0, 1), "scaled to a range such as 0 to 1"),
    "0 to 1, wide": (lambda hu: np.clip((hu + 1000) / 2000, 0, 1), "scaled to a range such as 0 to 1"),
    "0 to 255": (lambda hu: np.round(np.clip((hu + 160) / 400, 0, 1) * 255), "grey levels of a window"),
    "z score": (lambda hu: (hu - hu.mean()) / hu.std(), "scaled to a range"),
    "a tenth": (lambda hu: hu * 0.1, "a tenth of HU"),
    "negated": (lambda hu: -hu, "inverted"),
    "inverted": (lambda hu: hu.max() + hu.min() - hu, "too large or inverted"),
    "without intercept": (lambda hu: hu + 8192, "without their intercept"),
}


@pytest.fixture(scope="module")
def limb() -> Any:
    return make_phantom(3, region="limb").images["ct"].array.astype(np.float32)


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_scales_are_refused_with_their_probable_cause(limb: Any, kind: str) -> None:
    change, words = WRONG[kind]
    check_ct(limb)
    with pytest.raises(ArgumentError, match=rf"CT must be in HU \(air -1000, water 0\), but .*probably .*{words}"):
        check_ct(change(limb))


@pytest.mark.parametrize("region", ["limb", "trunk"])
def test_phantoms_pass_whole_and_in_crops(region: str) -> None:
    hu = make_phantom(4, region=region).images["ct"].array
    check_ct(hu)
    rng = np.random.default_rng(0)
    for size in (16, 24):
        for _ in range(20):
            k, j, i = (int(rng.integers(0, n - size)) for n in hu.shape)
            check_ct(hu[k : k + size, j : j + size, i : i + size])


def test_images_of_one_tissue_pass() -> None:
    check_ct(np.full((8, 32, 32), 40, np.int16))
    check_ct(np.zeros((4, 4, 4), np.float32))
    block = np.full((8, 32, 32), -1000, np.int16)
    block[2:6, 8:20, 8:20] = 40
    check_ct(block)
    check_ct(np.random.default_rng(0).normal(40, 12, (8, 32, 32)))
    check_ct(np.clip(np.random.default_rng(0).normal(1200, 150, (8, 8, 8)), 900, 1600) - 300)  # within a bone


@pytest.mark.parametrize("side", [40, 250])  # looked at whole, and thinned out
def test_an_image_far_above_any_suv_is_refused(side: int) -> None:
    image = np.zeros((side, side, side), np.float32)
    image[side // 4 : side // 2, side // 4 : side // 2, side // 4 : side // 2] = 3000.0
    with pytest.raises(SuvError, match=r"99\.9th percentile of the voxels is 3000, more than 100"):
        check_suv(image)
    check_suv(image / 100)


def test_a_few_hot_or_noisy_voxels_are_accepted() -> None:
    image = np.full((40, 40, 40), 2.0)
    image[:2, :4, :7] = 5000.0  # 56 of 64000 voxels
    check_suv(image)


def test_an_image_of_unknown_kind_with_air_is_taken_for_a_ct() -> None:
    block = np.full((8, 32, 32), -1000, np.int16)
    block[2:6, 8:20, 8:20] = 40
    assert looks_like_ct(block)
    assert not looks_like_ct(block + 1000)
    assert not looks_like_ct(np.random.default_rng(0).normal(0, 1, (8, 32, 32)))  # a normalised MR
    assert not looks_like_ct(np.where(np.arange(64) < 16, -1000, 3000) + np.zeros((40, 64, 64)))  # not in HU


@pytest.mark.data
def test_no_real_ct_is_refused_and_each_wrong_scale_is(data_root: Path) -> None:
    hu = read_volume(data_root / "sts" / "STS_002_ct.nii.gz").array.astype(np.float32)
    for change, _ in WRONG.values():
        with pytest.raises(ArgumentError, match="CT must be in HU"):
            check_ct(change(hu))
    paths = [*sorted(data_root.glob("sts/*_ct.nii.gz"))[::4], *sorted(data_root.glob("general/*/*_ct.nii.gz"))[::4]]
    rest = [*data_root.glob("more/*/*_ct.nii.gz"), *data_root.glob("other/*/*_ct*.nii.gz")]
    assert len(paths + rest) > 20
    for path in paths + rest:
        array = read_volume(path, "image").array
        check_ct(array)
        k, j, i = (n // 4 for n in array.shape)
        check_ct(array[k:-k, j:-j, i:-i])
