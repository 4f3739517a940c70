"""Synthetic lesions: they change their own place alone, and can be seen there; and what patches show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt

from Testing.fakes import any_image_spec, noise_volume
from training.objects import lesions
from training.objects.intensities import channels_of, remapped, standardised, to_channels
from training.objects.lesions import insert_lesion
from training.objects.library import Contour, TrainingCase
from training.objects.patches import Frame, limited, object_scale
from training.objects.regions import _walked, draw_region
from training.objects.shapes import blob, draw_slices, fading, sliced
from TumorSegLib.geometry.grid import Grid

GRID = Grid.from_spacing((32, 32, 32), (1, 1, 1))
RULES = any_image_spec().any_image_input.normalisation
CASE = TrainingCase(
    "case", {role: noise_volume(GRID, role, n) for n, role in enumerate(("ct", "pet", "mr_t1"))}, [], "set"
)
# Blur of the edge reaches four of its deviations, at most 2.6 voxels each.
REACH = 12


def raw(*roles: str) -> dict[str, np.ndarray]:
    return {role: CASE.images[role].array.copy() for role in roles}


@pytest.mark.parametrize("roles", [("ct",), ("pet",), ("mr_t1",), ("ct", "pet"), ("mr_t1", "pet")])
def test_a_lesion_changes_its_own_place_alone_and_is_visible(roles: tuple[str, ...]) -> None:
    contrasts, found = [], 0
    for seed in range(24):
        images = raw(*roles)
        truth = insert_lesion(images, CASE, RULES, np.random.default_rng(seed))
        if truth is None:
            assert all(np.array_equal(image, CASE.images[role].array) for role, image in images.items())
            continue
        found += 1
        for role, image in images.items():
            before = CASE.images[role].array
            assert np.isfinite(image).all()
            far = ~binary_dilation(truth, iterations=REACH)
            np.testing.assert_allclose(image[far], before[far], rtol=1e-3, atol=0.1)
            # The same place before and after, in deviations of the image.
            contrasts.append(np.abs(image - before)[truth].mean() / before.std())
            assert np.abs(image - before)[truth].mean() > 1.5 * np.abs(image - before)[~truth].mean()
    assert found >= 8
    assert np.median(contrasts) > 0.2


def test_hot_lesions_of_given_radii_are_brighter_on_pet() -> None:
    signs, extents = [], []
    for seed in range(12):
        images = raw("pet")
        truth = insert_lesion(images, CASE, RULES, np.random.default_rng(seed), np.array([4.0, 8.0, 8.0]), hot=True)
        if truth is not None:
            signs.append((images["pet"] - CASE.images["pet"].array)[truth].mean() > 0)
            extents.append(np.ptp(np.argwhere(truth), axis=0) + 1)
    assert len(signs) >= 6
    assert all(signs)
    assert np.mean(extents, axis=0) == pytest.approx([8, 16, 16], rel=0.3)


def test_most_lesions_are_brighter_on_pet_where_nobody_asks() -> None:
    signs = []
    for seed in range(60):
        images = raw("pet")
        truth = insert_lesion(images, CASE, RULES, np.random.default_rng(seed), np.array([4.0, 8.0, 8.0]))
        if truth is not None:
            signs.append((images["pet"] - CASE.images["pet"].array)[truth].mean() > 0)
    assert 0.7 < np.mean(signs) < 1


def test_painted_lesions_may_fade_outwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step from before to after falls towards the surface more than where none fades."""
    ratios = []
    monkeypatch.setattr(lesions, "CONTRAST", (20.0, 20.0))
    for often in (0.0, 1.0):
        monkeypatch.setattr(lesions, "FADE", often)
        found = []
        for seed in range(80):
            images = raw("ct")
            truth = insert_lesion(images, CASE, RULES, np.random.default_rng(seed), np.array([10.0, 10.0, 10.0]))
            if truth is not None:
                depth, step = distance_transform_edt(truth), images["ct"] - CASE.images["ct"].array
                outer = truth & (depth > 2) & (depth < 0.4 * depth.max())
                if outer.any():
                    found.append(abs(step[depth > 0.7 * depth.max()].mean()) / abs(step[outer].mean()))
        ratios.append(np.quantile(found, 0.75))
    assert ratios[1] > ratios[0] + 0.05


def test_no_lesion_lies_in_air() -> None:
    images = {"ct": np.full(GRID.shape, -1000, np.float32)}
    images["ct"][0] = 40
    assert all(insert_lesion(images, CASE, RULES, np.random.default_rng(seed)) is None for seed in range(4))
    assert (images["ct"][1:] == -1000).all()


def test_channels_are_those_of_the_family() -> None:
    assert channels_of("ct", RULES) == [0, 1]
    assert channels_of("pet", RULES) == [2]
    assert channels_of("mr_flair", RULES) == channels_of("image", RULES) == [3]
    channels = to_channels(raw("ct", "pet"), CASE, RULES, np.random.default_rng(0))
    assert [bool(channel.any()) for channel in channels] == [True, True, True, False]
    # Altered, but still the image: network units of the rule.
    assert np.corrcoef(channels[2].ravel(), RULES["pet"](CASE.images["pet"].array).ravel())[0, 1] > 0.8


def test_an_image_may_be_shown_as_one_of_another_kind() -> None:
    shown = [to_channels(raw("ct"), CASE, RULES, np.random.default_rng(seed))[3].any() for seed in range(40)]
    assert 2 <= sum(shown) <= 16  # a fifth
    image = remapped(CASE.images["ct"].array, np.random.default_rng(0))
    assert abs(float(image.mean())) < 0.1
    assert 0.8 < float(image.std()) < 1.05
    assert float(np.abs(standardised(image * 100 + 7) - standardised(image)).max()) < 1e-3


def test_a_frame_shows_image_and_contour_in_the_same_place() -> None:
    truth = np.zeros(GRID.shape, dtype=bool)
    truth[10:20, 12:22, 8:24] = True
    contour = Contour(truth[10:20, 12:22, 8:24], (8, 12, 10))
    image = type(CASE.images["ct"])(GRID, np.where(truth, 300, -50).astype(np.float32), "ct")
    for seed in range(6):
        frame = Frame.around(GRID, np.array([16.0, 17, 15]), 1.5, (24, 24, 24), np.random.default_rng(seed))
        inside = frame.truth(contour, GRID)
        assert np.array_equal(inside, frame.sampled(image, -50) > 125)
        assert inside[12, 12, 12]
        # Stretch of up to 1.3 along two axes and back, and a smooth deformation.
        assert 0.4 < inside.sum() * 1.5**3 / truth.sum() < 2.5
        assert frame.sampled(image, -1000)[0, 0, 0] <= -50


def test_scales_fit_the_object_and_the_image() -> None:
    contour = Contour(np.ones((8, 16, 32), dtype=bool), (0, 0, 0))
    rng = np.random.default_rng(0)
    scales = [object_scale(contour, CASE, (16, 16, 16), rng) for _ in range(300)]
    # 32 voxels of 1 mm along an axis of 16: a scale of 2 fits; from 0.4 to 8 times that, at most 8 mm.
    assert 0.5 <= min(scales) < 1.0
    assert 7.9 < max(scales) <= 8.0
    assert limited(0.01, CASE) == 0.5
    assert limited(99, CASE) == 8.0


def test_regions_lie_about_the_middle_and_follow_the_image() -> None:
    image = np.where(np.linalg.norm(np.indices(GRID.shape) - 15.5, axis=0) < 7, 2, 0).astype(np.float32)
    image += np.random.default_rng(0).normal(0, 0.05, GRID.shape).astype(np.float32)
    regions = [draw_region(image, np.random.default_rng(seed)) for seed in range(12)]
    found = [region for region in regions if region is not None]
    assert len(found) >= 3
    inside = image > 1
    overlaps = [2 * (region & inside).sum() / (region.sum() + inside.sum()) for region in found]
    assert max(overlaps) > 0.85
    assert all(region[12:20, 12:20, 12:20].any() for region in found)
    assert draw_region(np.zeros(GRID.shape, np.float32), np.random.default_rng(0)) is None


def test_a_random_walker_stops_at_edges_and_draws_nothing_where_there_are_none() -> None:
    rng = np.random.default_rng(0)
    inside = np.linalg.norm(np.indices(GRID.shape) - 15.5, axis=0) < 7
    noise = rng.normal(0, 0.1, GRID.shape)
    ball = (np.where(inside, 2, 0) + noise).astype(np.float32)
    walks = [_walked(ball, (16, 16, 16), np.random.default_rng(seed)) for seed in range(12)]
    overlaps = [2 * (walk & inside).sum() / (walk.sum() + inside.sum()) for walk in walks if walk is not None]
    assert len(overlaps) >= 6
    assert np.median(overlaps) > 0.8
    flat = [_walked(noise.astype(np.float32), (16, 16, 16), np.random.default_rng(seed)) for seed in range(12)]
    assert sum(walk is not None for walk in flat) <= 2


def test_thick_slices_are_means_with_straight_lines_between_their_middles() -> None:
    image = np.random.default_rng(0).normal(size=(12, 5, 6)).astype(np.float32)
    for axis in range(3):
        patch = np.moveaxis(image, 0, axis)
        shown = np.moveaxis(sliced(patch, (axis, 3, 0)), axis, 0)
        means = image.reshape(4, 3, 5, 6).mean(axis=1)
        np.testing.assert_allclose(shown[1::3], means, atol=1e-5)
        np.testing.assert_allclose(shown[2:10:3], means[:-1] * 2 / 3 + means[1:] / 3, atol=1e-5)
        np.testing.assert_allclose(shown[[0, -1]], means[[0, -1]], atol=1e-5)
    constant = np.full((10, 4, 4), 7, np.float32)
    for first in range(4):
        np.testing.assert_allclose(sliced(constant, (0, 4, first)), 7, rtol=1e-6)


def test_about_half_of_the_patches_have_thick_slices_most_across_k() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_slices(rng) for _ in range(600)]
    thick = [slices for slices in drawn if slices is not None]
    assert 230 < len(thick) < 310
    assert sum(axis == 0 for axis, _, _ in thick) > 0.7 * len(thick)
    assert {thickness for _, thickness, _ in thick} == {2, 3, 4, 5, 6}
    assert all(0 <= first < thickness for _, thickness, first in thick)


def test_a_lesion_that_fades_is_brightest_in_its_middle() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        depth = blob((32, 32, 32), np.array([16.0, 16, 16]), np.array([9.0, 11, 8]), rng)
        factor = fading(depth, rng)
        assert factor.max() == pytest.approx(1)
        assert 0.3 < factor[np.abs(depth) < 0.03].mean() < 0.95
        assert factor[depth > 0.7 * depth.max()].mean() > factor[(depth > 0) & (depth < 0.2)].mean() + 0.03
