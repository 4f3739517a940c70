"""Resampling: linear fields must come through exactly, noise must be averaged, and SimpleITK in LPS must agree."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from Testing.fakes import noise_volume, rotation
from Testing.unit.cases.grids import voxel_centres
from Testing.unit.cases.volume_cases import image_from_array
from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.resample import average_blocks, resample, resample_mask, resample_probability
from TumorSegLib.images.volume import Mask, Volume

sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the images are tiny
SLOPE, CONSTANT = np.array([1.5, -0.7, 2.1]), 40.0


@st.composite
def grids(draw, low=1.0, high=1.1, size=range(9, 15), centre=3.0):
    """Oblique, perhaps mirrored, centred near the world's origin.

    With voxels this alike no block is averaged, however the grids are turned: 1.1 times sqrt(3) is below 2.
    """
    shape = draw(st.tuples(*[st.sampled_from(size)] * 3))
    spacing = draw(st.tuples(*[st.floats(low, high)] * 3))
    direction = rotation(draw(st.tuples(*[st.floats(-3.1, 3.1)] * 3)), draw(st.booleans()))
    middle = np.array(draw(st.tuples(*[st.floats(-centre, centre)] * 3)))
    origin = middle - direction @ ((np.array(shape[::-1]) - 1) / 2 * spacing)
    return Grid.from_spacing(shape, spacing, origin, direction)


def linear_field(grid: Grid) -> np.ndarray:
    return voxel_centres(grid) @ SLOPE + CONSTANT


def depth(source: Grid, target: Grid) -> np.ndarray:
    """How many source voxels each target centre lies inside the outermost source centres; negative outside."""
    ijk = source.to_ijk(voxel_centres(target))
    return np.minimum(ijk, np.array(source.size) - 1 - ijk).min(axis=-1)


@settings(max_examples=40, deadline=None)
@given(grids(), grids())
def test_resampling_a_linear_field_is_exact_and_fills_outside(source, target):
    assume(source != target)
    result = resample(Volume(source, linear_field(source), "pet"), target, outside=-999)
    inside = depth(source, target)
    assert result.grid is target
    assert result.role == "pet"
    assert result.array.dtype == np.float32
    assert np.allclose(result.array[inside >= 0], linear_field(target)[inside >= 0], atol=1e-3)
    assert (result.array[inside < -0.51] == -999).all()


@settings(max_examples=30, deadline=None)
@given(grids(low=0.5, high=0.7, size=[24, 30]), grids(low=2.0, high=3.2))
def test_a_linear_field_survives_averaging(source, target):
    result = resample(Volume(source, linear_field(source)), target, outside=-999)
    # Blocks of up to 11 voxels per axis (an oblique coarse voxel spans more); their outermost centres lie 5 deeper.
    inside = depth(source, target) >= 11
    assert np.allclose(result.array[inside], linear_field(target)[inside], atol=1e-3)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("angles", [(0, 0, 0), (0.3, -0.2, 0.5), (1.2, 0.4, -2.0)])
def test_agrees_with_simpleitk_in_lps(angles, mirror):
    turn = rotation(angles, mirror)
    source = Grid.from_spacing((12, 14, 16), (1, 1.2, 1.5), turn @ (-8, -8, -9), turn)
    target_origin = rotation((0.1, 0.7, 0.2)) @ (-8, -7, -6)
    target = Grid.from_spacing((15, 13, 11), (1.1, 1, 1), target_origin, rotation((0.1, 0.7, 0.2)))
    volume = noise_volume(source)
    result = resample(volume, target, outside=-1000)
    reference = image_from_array(np.zeros(target.shape, np.float32), target)
    image = image_from_array(volume.array, source)
    expected = sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, -1000.0))
    assert 0 < (expected == -1000).mean() < 1
    assert np.allclose(result.array, expected, atol=1e-2)


def test_whole_blocks_are_averaged_where_voxels_grow():
    source = Grid.from_spacing((24, 24, 24), (1, 1, 1), (5, -3, 2), rotation((0.2, 0.1, -0.4)))
    noise = np.random.default_rng(0).normal(10, 1, source.shape)
    result = resample(Volume(source, noise), source.with_spacing((4, 4, 4))).array
    assert np.allclose(result, noise.reshape(6, 4, 6, 4, 6, 4).mean(axis=(1, 3, 5)), atol=1e-4)
    assert result.mean() == pytest.approx(noise.mean(), abs=1e-4)
    assert result.var() == pytest.approx(1 / 64, rel=0.3)


def test_only_the_axes_that_grow_are_averaged_whatever_their_order():
    source = Grid.from_spacing((8, 24, 24), (1, 1, 4))
    noise = np.random.default_rng(0).normal(size=source.shape)
    # The same box with its axes in another order: i, j, k of the target run along z, x, y.
    turned = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=float)
    target = Grid.from_spacing((12, 8, 8), (4, 3, 2), source.to_ras((1, 0.5, 0)), turned)
    blocks = noise.reshape(8, 12, 2, 8, 3).mean(axis=(2, 4))
    assert np.allclose(resample(Volume(source, noise), target).array, blocks.transpose(1, 2, 0), atol=1e-5)


def test_less_than_twice_as_large_voxels_are_not_averaged():
    source = Grid.from_spacing((1, 1, 9), (1, 1, 1))
    spike = np.zeros(source.shape)
    spike[0, 0, 4] = 1
    target = Grid.from_spacing((1, 1, 5), (1.9, 1, 1), (0.2, 0, 0))  # its third centre lies on 4
    assert resample(Volume(source, spike), target).array[0, 0].tolist() == pytest.approx([0, 0, 1, 0, 0], abs=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float64, np.bool_])
def test_any_real_type_is_taken(dtype):
    volume = Volume(Grid.from_spacing((4, 4, 4), (1, 1, 1)), np.ones((4, 4, 4), dtype))
    result = resample(volume, Grid.from_spacing((2, 2, 2), (1, 1, 1), (0.5, 0.5, 0.5)))
    assert result.array.dtype == np.float32
    assert (result.array == 1).all()


def test_the_same_grid_gives_the_same_object():
    grid = Grid.from_spacing((4, 5, 6), (1, 2, 3))
    same = Grid.from_spacing((4, 5, 6), (1, 2, 3), (0.0001, 0, 0))
    volume, mask = noise_volume(grid), Mask(grid, np.ones(grid.shape, np.uint8))
    probability = volume.array
    assert resample(volume, same) is volume
    assert resample_mask(mask, same) is mask
    assert resample_probability(probability, grid, same) is probability


def test_grids_apart_are_refused_and_both_named():
    here = Grid.from_spacing((4, 5, 6), (1, 1, 1))
    there = Grid.from_spacing((7, 8, 9), (1, 1, 1), (100, 0, 0))
    named = r"(?s)pet image \(6 x 5 x 4 voxels.*does not overlap.*\(9 x 8 x 7 voxels.*\(100\.0, 0\.0, 0\.0\)"
    with pytest.raises(GeometryError, match=named):
        resample(noise_volume(here, "pet"), there)
    with pytest.raises(GeometryError, match=r"the mask .*does not overlap"):
        resample_mask(Mask(here, np.ones(here.shape, np.uint8)), there)


def test_oblique_grids_that_share_only_a_bounding_box_are_refused():
    cube = Grid.from_spacing((10, 10, 10), (1, 1, 1))
    # A thin bar past the cube's edge at (9.5, 9.5), along (1, -1): their boxes along x, y, z overlap, they do not.
    turn = rotation((0, 0, -np.pi / 4))
    bar = Grid.from_spacing((10, 1, 40), (1, 1, 1), np.array([11, 11, 0]) - turn @ (20, 0, 0), turn)
    seen = cube.to_ijk(bar.corners_ras())
    assert (seen.max(axis=0) > -0.5).all()
    assert (seen.min(axis=0) < 9.5).all()
    assert not cube.overlaps(bar)
    assert not bar.overlaps(cube)
    with pytest.raises(GeometryError, match="does not overlap"):
        resample(noise_volume(bar), cube)
    with pytest.raises(GeometryError, match="does not overlap"):
        resample(noise_volume(cube), bar)


@settings(max_examples=30, deadline=None)
@given(grids(), grids(low=0.4, high=4), st.integers(0, 1000))
def test_a_mask_takes_the_nearest_voxel(source, target, seed):
    labels = np.random.default_rng(seed).integers(0, 4, source.shape).astype(np.uint8)
    result = resample_mask(Mask(source, labels), target).array
    ijk = source.to_ijk(voxel_centres(target))
    nearest = np.rint(ijk).astype(int)
    # Voxels too near to a face between two voxels may go either way by rounding.
    certain = (np.abs(ijk - np.floor(ijk) - 0.5) > 1e-6).all(axis=-1)
    inside = (nearest >= 0).all(axis=-1) & (nearest < source.size).all(axis=-1)
    i, j, k = np.clip(nearest, 0, np.array(source.size) - 1)[certain].T
    assert np.array_equal(result[certain], np.where(inside[certain], labels[k, j, i], 0))


def test_a_probability_holds_its_edge_value_for_half_a_voxel_and_is_zero_beyond():
    source = Grid.from_spacing((1, 1, 3), (2, 2, 2), (1, 0, 0))  # centres at 1, 3, 5; faces at 0 and 6
    target = Grid.from_spacing((1, 1, 9), (1, 1, 1), (-1.1, 0, 0))
    result = resample_probability(np.array([[[0.8, 0.4, 0.6]]], np.float32), source, target)
    # x:                                -1.1 -0.1 0.9  1.9   2.9   3.9   4.9   5.9  6.9
    assert result[0, 0] == pytest.approx([0, 0, 0.8, 0.62, 0.42, 0.49, 0.59, 0.6, 0], abs=1e-6)


def test_directions_with_entries_next_to_nothing_are_taken():
    turn = rotation((0, 1, 0))
    turn[0, 1], turn[1, 0], turn[1, 2] = -9.2e-299, 5.0e-299, 7.7e-299
    grid = Grid.from_spacing((9, 9, 9), (1, 1, 1), (-5.5, -4, 1.2), turn)
    covering = grid.with_spacing((3, 3, 3))
    assert resample_probability(np.ones(covering.shape, np.float32), covering, grid) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(grids())
def test_a_probability_of_one_on_the_covering_grid_is_one_everywhere(grid):
    for spacing in ((3, 3, 3), (0.9, 1.7, 2.5)):
        covering = grid.with_spacing(spacing)
        result = resample_probability(np.ones(covering.shape, np.float32), covering, grid)
        assert np.allclose(result, 1, atol=1e-5)


def test_last_block_that_is_not_full_still_counts() -> None:
    source = Grid.from_spacing((2, 7, 9), (1.0, 1.0, 1.0))
    target = source.with_spacing((4.0, 4.0, 4.0))
    image = Volume(source, np.full(source.shape, 7, np.float32), "ct")
    assert np.array_equal(resample(image, target, outside=-1000).array, np.full(target.shape, 7, np.float32))


def test_turned_voxels_of_the_same_size_are_not_averaged() -> None:
    source = Grid.from_spacing((20, 20, 20), (1.0, 1.0, 1.0))
    target = Grid.from_spacing((8, 8, 8), (1.4, 1.4, 1.4), (6, 8, 8), rotation((0, 0, np.pi / 4)))
    noise = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    image, empty = image_from_array(noise, source), image_from_array(np.zeros(target.shape, np.float32), target)
    direct = sitk.Resample(image, empty, sitk.Transform(), sitk.sitkLinear)
    assert np.allclose(resample(Volume(source, noise, "ct"), target).array, sitk.GetArrayFromImage(direct), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("blocks", [(2, 1, 1), (1, 3, 2), (4, 3, 2), (1, 1, 6)])
def test_blocks_are_averaged_as_by_simpleitk(blocks: tuple[int, int, int], dtype: type) -> None:
    grid = Grid.from_spacing((7, 13, 18), (1, 1, 1), (3, -2, 5), rotation((0.2, 0.1, -0.4)))
    array = np.random.default_rng(0).normal(0, 300, grid.shape).astype(dtype)
    averaged = average_blocks(Volume(grid, array), grid.with_spacing(blocks))
    missing = [(0, -n % block) for n, block in zip(grid.shape, reversed(blocks))]
    whole = image_from_array(np.pad(array, missing, mode="edge").astype(np.float32), grid)
    expected = sitk.BinShrink(whole, blocks)
    assert np.allclose(averaged.array, sitk.GetArrayFromImage(expected), atol=1e-3)
    assert averaged.array.dtype == np.float32
    assert np.allclose(averaged.grid.origin * (-1, -1, 1), expected.GetOrigin())
    assert np.allclose(averaged.grid.spacing, blocks)


def test_an_image_of_many_slices_is_resampled_as_one_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.from_spacing((9, 10, 11), (1.1, 1, 1.3), (3, -2, 5), rotation((0.2, 0.1, -0.4)))
    target, volume = grid.with_spacing((0.7, 0.8, 0.3)), noise_volume(grid)
    mask = Mask(grid, (volume.array > 0).astype(np.uint8))
    whole, labels = resample(volume, target).array, resample_mask(mask, target).array
    monkeypatch.setattr("TumorSegLib.images.resample.SLICES_AT_ONCE", 4)
    assert target.shape[0] > 2 * 4
    assert np.allclose(resample(volume, target).array, whole, atol=1e-2)
    assert (resample_mask(mask, target).array != labels).mean() < 0.01
