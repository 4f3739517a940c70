"""Patches: their place, their values as in the prepared image, and changes written back without loss."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.fakes import RULES, noise_volume, rotation, tiny_spec
from Testing.unit.cases.grids import voxel_centres
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib.engines.clicks.patches import (
    COARSE,
    FINE,
    OWN,
    add_change,
    covering_box,
    prepare_patches,
    sample_probability,
)
from TumorSegLib.engines.inputs import prepare
from TumorSegLib.geometry.boxes import full_box, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.models.spec import ModelSpec

sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the images are tiny
OBLIQUE = rotation((0.4, -0.2, 0.9), mirror=True)
ROLES = ("ct", "pet", "mr_t1")


def spec_of(*roles: str, patch: tuple[int, int, int] = (8, 10, 12), spacing: float = 2.0) -> ModelSpec:
    return tiny_spec(roles=roles, optional=roles, kind="clicks", patch=patch, spacing_mm=(spacing, spacing, spacing))


def grid_of(shape: tuple[int, int, int] = (30, 34, 38), spacing: float = 1.0) -> Grid:
    return Grid.from_spacing(shape, (spacing, spacing, spacing), (12.0, -30.0, 7.0), OBLIQUE)


def ramp(grid: Grid, slope: tuple[float, float, float] = (0.006, 0.009, -0.004)) -> np.ndarray:
    """A field linear in RAS, about 0.5 in the middle."""
    middle = grid.to_ras((np.array(grid.size) - 1) / 2)
    return ((voxel_centres(grid) - middle) @ slope + 0.5).astype(np.float32)


def as_bytes(probability: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(probability, 0, 1) * 255).astype(np.uint8)


def changed(values: np.ndarray, grid: Grid, change: np.ndarray | float, patch: Grid) -> np.ndarray:
    """A copy of the probability of a whole grid with a change in a patch."""
    after = values.copy()
    add_change(after, full_box(grid.shape), grid, np.broadcast_to(np.float32(change), patch.shape).copy(), patch)
    return after


def sampled(values: np.ndarray, grid: Grid, patch: Grid) -> np.ndarray:
    return sample_probability(values, full_box(grid.shape), grid, patch)


@pytest.mark.parametrize("seed", range(25))
def test_patch_contains_its_point_and_lies_in_the_image_if_it_fits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turned = rotation(rng.uniform(-3, 3, 3), bool(rng.integers(2)))
    grid = Grid.from_spacing(rng.integers(1, 30, 3).tolist(), rng.uniform(0.5, 4, 3).tolist(), direction=turned)
    prepared = prepare_patches({"ct": Volume(grid, np.full(grid.shape, 40, np.int16))}, spec_of("ct", patch=(6, 8, 10)))
    for ijk, zoom in product(rng.integers(0, grid.size, (4, 3)), (FINE, OWN, COARSE)):
        patch = prepared.patch(grid.to_ras(ijk), zoom)
        assert patch.grid.shape == (6, 8, 10)
        assert patch.grid.spacing == pytest.approx((2 * zoom,) * 3, rel=0.011)
        assert np.allclose(patch.grid.direction, grid.direction)
        voxel = np.floor(patch.grid.to_ijk(grid.to_ras(ijk)) + 0.5)
        assert all(low <= at < high for (low, high), at in zip(patch.inner, voxel))
        outside = np.ones(patch.grid.shape, dtype=bool)
        outside[slices(patch.inner)] = False
        place = grid.to_ijk(voxel_centres(patch.grid))
        inside = ((place > -0.49) & (place < np.array(grid.size) - 0.51)).all(axis=-1)
        # What is not in the image holds what CT is outside of images: -1000 HU, limited to -160.
        assert patch.images[0][inside] == pytest.approx(0.6, abs=1e-5)
        assert patch.images[0][outside] == pytest.approx(-1.4, abs=1e-5)
        assert not (outside & inside).any()
        for (low, high), size, goes_on in zip(patch.inner, patch.grid.size, patch.goes_on):
            assert (low, high) == (0, size) or not any(goes_on)


def test_patch_is_moved_inwards_and_says_where_the_image_goes_on() -> None:
    grid = CUBE
    prepared = prepare_patches({"ct": noise_volume(grid)}, spec_of("ct", patch=(8, 8, 8), spacing=1.0))
    corner = prepared.patch(np.array([0.0, 39.0, 20.0]), OWN)
    assert corner.grid.origin.tolist() == [0, 32, 16]
    assert corner.goes_on == ((False, True), (True, False), (True, True))
    assert corner.inner == ((0, 8), (0, 8), (0, 8))


def test_patch_larger_than_the_image_is_centred_on_it() -> None:
    grid = Grid.from_spacing((5, 6, 20), (1, 1, 1))
    prepared = prepare_patches({"ct": noise_volume(grid)}, spec_of("ct", patch=(8, 8, 8), spacing=1.0))
    patch = prepared.patch(np.array([10.0, 0.0, 4.0]), OWN)
    assert patch.inner == ((0, 8), (1, 7), (1, 6))
    assert patch.goes_on == ((True, True), (False, False), (False, False))
    assert np.array_equal(patch.images[0][1:6, 1:7], prepare(prepared.images, prepared.spec).array[0][:, :, 6:14])


def images_of(*roles: str, grid: Grid, other: Grid | None = None) -> dict[str, Volume]:
    return {
        role: noise_volume(grid if other is None or role != "pet" else other, role, seed)
        for seed, role in enumerate(roles)
    }


@pytest.mark.parametrize("spacing", [0.7, 1.0, 2.0, 3.0])
def test_patches_equal_the_prepared_images_of_training(spacing: float) -> None:
    """At the model's spacing voxel for voxel what :func:`prepare` gives, PET on a turned grid of its own."""
    grid, spec = grid_of(spacing=spacing), spec_of(*ROLES)
    turned = Grid.from_spacing(
        (20, 22, 24), (2.6, 2.6, 3.1), grid.to_ras((-5, -4, -6)), OBLIQUE @ rotation((0, 0, 0.3))
    )
    images = images_of(*ROLES, grid=grid, other=turned)
    prepared, wanted = prepare_patches(images, spec), prepare(images, spec)
    for ijk in ((0, 0, 0), (19, 17, 15), (37, 33, 29), (3, 30, 12)):
        patch = prepared.patch(grid.to_ras(ijk), OWN)
        start = np.rint(wanted.grid.to_ijk(patch.grid.origin)).astype(int)
        (i0, i1), (j0, j1), (k0, k1) = ((int(n + low), int(n + high)) for n, (low, high) in zip(start, patch.inner))
        assert patch.inner[0][1] - patch.inner[0][0] > 2
        assert np.array_equal(patch.images[(slice(None), *slices(patch.inner))], wanted.array[:, k0:k1, j0:j1, i0:i1])


@pytest.mark.parametrize("spacing", [0.8, 2.0, 2.5])
def test_coarse_patch_equals_images_prepared_at_twice_the_spacing(spacing: float) -> None:
    """In training blocks of HU and SUV are averaged too, before any logarithm."""
    grid, spec = Grid.from_spacing((32, 36, 40), (spacing,) * 3), spec_of(*ROLES, patch=(3, 4, 5))
    images = images_of(*ROLES, grid=grid)
    wanted = prepare(images, spec.with_input(spacing_mm=(4.0, 4.0, 4.0)))
    patch = prepare_patches(images, spec).patch(grid.to_ras((20, 18, 16)), COARSE)
    assert patch.inner == ((0, 5), (0, 4), (0, 3))
    i, j, k = np.rint(wanted.grid.to_ijk(patch.grid.origin)).astype(int)
    assert np.array_equal(patch.images, wanted.array[:, k : k + 3, j : j + 4, i : i + 5])


@pytest.mark.parametrize("spacing", [0.8, 1.0, 1.4])
def test_fine_patch_equals_images_prepared_at_half_the_spacing(spacing: float) -> None:
    """Including the z-score of an MR, whose mean and deviation stay those of the whole image."""
    grid, spec = grid_of(spacing=spacing), spec_of(*ROLES)
    images = images_of(*ROLES, grid=grid)
    prepared = prepare_patches(images, spec)
    wanted = prepare(images, spec.with_input(spacing_mm=(1.0, 1.0, 1.0)))
    rule = RULES["mr_t1"].fitted(images["mr_t1"].array)
    for ijk in ((0, 0, 0), (19, 17, 15), (37, 33, 29)):
        patch = prepared.patch(grid.to_ras(ijk), FINE)
        assert patch.inner == ((0, 12), (0, 10), (0, 8))
        i, j, k = np.rint(wanted.grid.to_ijk(patch.grid.origin)).astype(int)
        here = wanted.array[:, k : k + 8, j : j + 10, i : i + 12]
        assert np.allclose(patch.images[:2], here[:2], atol=1e-4)
        if spacing > 1.0:  # finer images are averaged before the model's spacing fits the z-score
            assert np.allclose(patch.images[2], here[2], atol=1e-3)
        assert prepared.rules["ct"] is spec.volume_input.normalisation["ct"]
    if spacing > 1.0:
        assert prepared.rules["mr_t1"] == rule


def test_missing_roles_are_zero_and_outside_of_images_is_not() -> None:
    grid, spec = grid_of((6, 6, 6)), spec_of(*ROLES)
    prepared = prepare_patches({"pet": noise_volume(grid, "pet")}, spec)
    for zoom in (FINE, OWN, COARSE):
        images = prepared.patch(grid.to_ras((3, 3, 3)), zoom).images
        assert images.shape == (3, 8, 10, 12)
        assert not images[[0, 2]].any()
        assert images[1].any()


def test_fine_patch_beside_a_channel_that_ends_early() -> None:
    """Just beside it, not overlapping at all, and overlapping only along the channel's own turned axes."""
    grid, spec = CUBE, spec_of("ct", "pet", patch=(8, 8, 8))
    for direction, origin in ((np.eye(3), (28.7, 0, 0)), (rotation((0, 0, np.pi / 4)), (38.0, 0, 0))):
        other = Grid.from_spacing((10, 10, 10), (4, 4, 4), origin, direction)
        prepared = prepare_patches({"pet": noise_volume(grid, "pet"), "ct": noise_volume(other)}, spec)
        for i in range(4, 36):
            for j in (4, 20, 36):
                patch = prepared.patch(np.array([i, j, 4.0]), FINE)
                beyond = other.to_ijk(voxel_centres(patch.grid)).min(axis=-1) < -0.51
                assert patch.images[0][beyond] == pytest.approx(-1.4, abs=1e-5)  # as of air, where there is no CT


def test_covering_box_contains_every_voxel_that_influences_a_patch() -> None:
    grid = Grid.from_spacing((20, 20, 20), (2, 2, 2))
    part = Grid.from_spacing((4, 4, 4), (1, 1, 1), (10.5, 10.5, 10.5))
    # Outer edges at 10 and 14 mm, which is 5 and 7 in voxels; interpolation at 13.5 mm takes voxel 7.
    assert covering_box(part, grid) == ((5, 8), (5, 8), (5, 8))
    assert covering_box(Grid.from_spacing((4, 4, 4), (1, 1, 1), (-50, 0, 0)), grid) is None
    assert covering_box(Grid.from_spacing((90, 90, 90), (1, 1, 1), (-20, -20, -20)), grid) == full_box(grid.shape)


def test_covering_box_is_of_the_blocks_that_are_averaged() -> None:
    """Counted from the corner of the image, as the blocks of the whole image are: then nothing is smeared."""
    grid = Grid.from_spacing((31, 31, 31), (1, 1, 1))
    coarse = grid.with_spacing((3, 3, 3))
    part = coarse.crop(((2, 5), (0, 4), (6, 11)))
    assert covering_box(part, grid) == ((3, 18), (0, 15), (15, 31))
    probability = np.zeros(grid.shape, np.uint8)
    probability[21:24, 6:9, 9:12] = 255
    values = sampled(probability, grid, part)
    assert values[1, 2, 1] == 1
    assert np.count_nonzero(values) == 1


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_blocks_of_voxels_are_sampled_exactly_on_oblique_grids(ratio: int) -> None:
    """Up to the border of the image: spacings there are 3.0000000000000004 as often as 3."""
    random = np.random.default_rng(ratio)
    for _ in range(10):
        turned = rotation(random.uniform(-3, 3, 3))
        grid = Grid.from_spacing((24, 24, 24), (0.7, 0.7, 0.7), random.uniform(-99, 99, 3), turned)
        coarse = grid.with_spacing((0.7 * ratio,) * 3)
        blocks = random.integers(0, 2, coarse.shape).astype(np.uint8)
        fine = np.kron(blocks * np.uint8(255), np.ones((ratio,) * 3, np.uint8))
        assert sampled(fine, grid, coarse) == pytest.approx(blocks, abs=1e-3)


def patch_in(grid: Grid, spacing: float, shape: tuple[int, int, int] = (10, 12, 14)) -> Grid:
    """A lattice along the axes of a grid in its middle."""
    middle = grid.to_ras((np.array(grid.size) - 1) / 2)
    corner = middle - grid.direction @ ((np.array(shape[::-1]) - 1) / 2 * spacing)
    return Grid.from_spacing(shape, (spacing, spacing, spacing), corner, grid.direction)


@pytest.mark.parametrize("spacing", [0.5, 0.8, 1.0, 1.5, 2.0, 3.0])
def test_sampled_probability_is_that_of_the_place(spacing: float) -> None:
    grid = grid_of((60, 60, 60))
    patch = patch_in(grid, spacing)
    box = covering_box(patch, grid)
    assert box is not None
    part = as_bytes(ramp(grid))[slices(box)]
    wanted = ramp(grid)[30, 30, 30] + (voxel_centres(patch) - grid.to_ras((30, 30, 30))) @ (0.006, 0.009, -0.004)
    for probability, where in ((part, box), (as_bytes(ramp(grid)), full_box(grid.shape))):
        assert sample_probability(probability, where, grid, patch) == pytest.approx(wanted, abs=0.6 / 255)


def test_sampled_probability_goes_on_for_one_voxel_outside_the_image_and_is_zero_then() -> None:
    grid = Grid.from_spacing((4, 4, 4), (1, 1, 1))
    patch = Grid.from_spacing((8, 8, 8), (1, 1, 1), (-2, -2, -2))
    full = np.full(grid.shape, 255, np.uint8)
    expected = np.pad(np.ones((6, 6, 6)), 1)
    assert sampled(full, grid, patch) == pytest.approx(expected)
    assert not sampled(full, grid, Grid.from_spacing((8, 8, 8), (1, 1, 1), (90, 0, 0))).any()
    assert not sampled(np.zeros_like(full), grid, patch).any()


@pytest.mark.parametrize("spacing", [0.5, 0.8, 1.0, 1.5, 2.0, 3.0])
def test_a_written_answer_is_sampled_again(spacing: float) -> None:
    """On lattices finer than, as fine as and coarser than the patch, oblique and mirrored."""
    grid = grid_of((60, 60, 60))
    patch, values = patch_in(grid, spacing), as_bytes(ramp(grid))
    before = sampled(values, grid, patch)
    answer = ramp(patch, (-0.005, 0.004, 0.006))
    inner = (slice(3, -3),) * 3  # farther out a coarser voxel outside the patch influences the sample
    # Half a step of uint8, and changes too small to write.
    off = np.abs(sampled(changed(values, grid, answer - before, patch), grid, patch) - answer)[inner]
    assert off.max() < 0.02 + 1.5 / 255
    assert off[np.abs(answer - before)[inner] > 0.03].max() < 2 / 255


def test_answer_on_the_same_lattice_is_written_exactly() -> None:
    rng = np.random.default_rng(5)
    grid = Grid.from_spacing((12, 12, 12), (1, 1, 1))
    patch = grid.crop(((2, 10), (1, 9), (3, 11)))
    old, answer = rng.integers(0, 256, grid.shape).astype(np.uint8), rng.random(patch.shape).astype(np.float32)
    change = answer - sampled(old, grid, patch)
    values = changed(old, grid, change, patch)
    at = slices(((2, 10), (1, 9), (3, 11)))
    written = np.where(np.abs(change) < 0.02, old[at] / np.float32(255), answer)
    assert np.abs(values[at] / np.float32(255) - written).max() <= 0.51 / 255
    values[at] = old[at]
    assert np.array_equal(values, old)


@pytest.mark.parametrize("spacing", [0.7, 1.0, 3.0])
def test_agreement_leaves_a_hand_drawn_contour_bit_for_bit(spacing: float) -> None:
    grid = grid_of()
    old, patch = np.random.default_rng(1).choice(np.array([0, 170], np.uint8), grid.shape), patch_in(grid, spacing)
    assert np.array_equal(changed(old, grid, 0.019, patch), old)
    change = np.zeros(patch.shape, np.float32)
    change[5, 6, 7] = 0.3
    offsets = voxel_centres(grid)[changed(old, grid, change, patch) != old] - patch.to_ras((7, 6, 5))
    assert len(offsets)
    assert np.abs(offsets @ grid.direction).max() <= spacing  # linear interpolation reaches to the next voxel


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.5])
def test_only_the_part_in_the_box_is_needed(spacing: float) -> None:
    grid = grid_of()
    patch = patch_in(grid, spacing, (6, 6, 6))
    box = covering_box(patch, grid)
    assert box is not None
    values = np.random.default_rng(2).integers(0, 256, grid.shape).astype(np.uint8)
    part = values[slices(box)].copy()
    change = np.random.default_rng(3).uniform(-1, 1, patch.shape).astype(np.float32)
    add_change(part, box, grid, change, patch)
    assert np.array_equal(changed(values, grid, change, patch)[slices(box)], part)


def test_change_does_not_fade_towards_the_border_of_the_patch() -> None:
    grid = Grid.from_spacing((12, 12, 12), (1, 1, 1))
    patch = Grid.from_spacing((4, 4, 4), (3, 3, 3), (1, 1, 1))
    assert (changed(np.zeros(grid.shape, np.uint8), grid, 0.6, patch) == 153).all()


def test_probabilities_stay_within_their_range() -> None:
    grid = Grid.from_spacing((9, 9, 9), (1, 1, 1))
    values = np.random.default_rng(4).integers(0, 256, grid.shape).astype(np.uint8)
    for change, limit in ((1.0, 255), (-1.0, 0)):
        assert (changed(values, grid, change, grid.with_spacing((3, 3, 3))) == limit).all()


@pytest.mark.parametrize(("small", "large"), [(17.2, 26.0), (10.3, 17.2), (11.0, 14.5)])
@pytest.mark.parametrize("grows", [True, False])
def test_no_voxel_of_the_old_contour_remains(small: float, large: float, grows: bool) -> None:
    """Voxels of the patch that were partly tumour change by less than 1, yet all of them must follow the answer."""
    grid = Grid.from_spacing((60, 60, 60), (1, 1, 1))
    middle = np.array([29.7, 29.7, 29.7])
    distance = np.linalg.norm(voxel_centres(grid) - middle, axis=-1)
    patch = grid.with_spacing((3, 3, 3))
    old, new = (small, large) if grows else (large, small)
    before = as_bytes(distance < old)
    answer = 1 / (1 + np.exp(np.linalg.norm(voxel_centres(patch) - middle, axis=-1) - new))
    values = changed(before, grid, answer - sampled(before, grid, patch), patch)
    assert (values[distance < new - 1.5] >= 128).all()
    assert (values[distance > new + 1.5] < 128).all()


@pytest.mark.parametrize("spacing", [(1.2, 1.2, 1.2), (2.0, 2.0, 2.0), (1.0, 1.0, 2.0)])
def test_a_part_of_a_patch_reaches_no_voxel_that_the_patch_does_not(spacing: tuple[float, float, float]) -> None:
    """Rounding on oblique grids must not make the voxels of a part stand out of those of the whole."""
    random = np.random.default_rng(0)
    for _ in range(300):
        grid = Grid.from_spacing((40, 50, 60), spacing, random.uniform(-50, 50, 3), rotation(random.uniform(-3, 3, 3)))
        lattice = grid.with_spacing((3.0, 3.0, 3.0))
        i, j, k = ((int(low), int(low) + 8) for low in random.integers(0, np.array(lattice.size) - 8))
        patch = lattice.crop((i, j, k))
        outer, inner = covering_box(patch, grid), covering_box(patch.crop(((0, 8), (0, 4), (3, 8))), grid)
        assert outer is not None
        assert inner is not None
        assert all(low <= a < b <= high for (low, high), (a, b) in zip(outer, inner))
