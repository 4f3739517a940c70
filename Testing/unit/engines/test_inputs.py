"""From images to channels: roles, grids, missing channels, and where there is tissue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from Testing.fakes import RULES, noise_volume, rotation, tiny_spec
from TumorSegLib.engines.inputs import check_roles, network_grid, prepare
from TumorSegLib.errors import RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.volume import Volume
from TumorSegLib.models.spec import VolumeInput

GRID = Grid.from_spacing((10, 12, 14), (1, 1, 1), (3, -5, 8), rotation((0.2, -0.1, 0.4)))
SPEC = tiny_spec("three", ["ct", "pet", "mr_t1"], optional=["pet", "mr_t1"])


def images(*roles, grid=GRID):
    return {role: noise_volume(grid, role, seed) for seed, role in enumerate(roles)}


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        (("ct", "dose"), r"model 'three' does not take dose; its roles are ct, pet \(optional\), mr_t1 \(optional\)"),
        (("mr_t2", "us"), r"does not take mr_t2, us; its roles are ct"),
        (("pet",), r"model 'three' needs ct; its roles are ct, pet \(optional\), mr_t1 \(optional\)"),
        ((), r"needs ct; its roles are"),
    ],
)
def test_other_channels_than_the_model_takes_are_refused_with_its_roles(roles, words):
    given = images(*roles)
    with pytest.raises(RoleError, match=words):
        check_roles(given, SPEC)
    with pytest.raises(RoleError, match=words):
        prepare(given, SPEC)


def test_image_given_as_another_role_than_its_own_is_refused():
    with pytest.raises(RoleError, match="given as 'ct' has the role 'pet'"):
        prepare({"ct": noise_volume(GRID, "pet")}, tiny_spec())


def test_a_model_that_needs_no_role_in_particular_still_needs_one():
    spec = tiny_spec("any", ["ct", "pet"], optional=["ct", "pet"])
    with pytest.raises(RoleError, match=r"needs any image; its roles are ct \(optional\), pet \(optional\)"):
        check_roles({}, spec)
    check_roles(images("pet"), spec)


def test_channels_are_normalised_in_the_order_of_the_model():
    given = images("mr_t1", "pet", "ct")
    channels = prepare(given, SPEC)
    for number, role in enumerate(SPEC.roles):
        assert np.array_equal(channels.array[number], RULES[role](given[role].array))
    assert channels.array.dtype == np.float32
    assert channels.grid is GRID
    assert channels.fill == pytest.approx((-1.4, 0, 0))
    assert channels.resampled == ()


def test_a_missing_role_is_zero_and_so_is_its_fill():
    spec = tiny_spec("three", ["ct", "pet", "mr_t1"], optional=["ct", "mr_t1"])
    channels = prepare(images("pet"), spec)
    assert channels.array.shape == (3, *GRID.shape)
    assert not channels.array[[0, 2]].any()
    assert channels.array[1].all()
    assert channels.fill == (0, 0, 0)


def test_images_on_other_grids_are_brought_to_the_first_and_reported():
    pet_grid = Grid.from_spacing((6, 7, 8), (1.6, 1.6, 1.6), GRID.origin, GRID.direction)
    given = {**images("ct"), **images("pet", grid=pet_grid), **images("mr_t1")}
    channels = prepare(given, SPEC)
    assert channels.resampled == ("pet",)
    assert channels.grid is GRID
    reverse = prepare({**images("pet", grid=pet_grid), **images("ct")}, SPEC)
    assert (reverse.grid, reverse.resampled) == (pet_grid.with_spacing((1, 1, 1)), ("ct",))
    # Each PET voxel's centre that falls on a voxel of the CT keeps its value: every 5th voxel is every 8th mm.
    assert channels.array[1][::8, ::8, ::8] == pytest.approx(RULES["pet"](given["pet"].array)[::5, ::5, ::5], abs=1e-4)


def test_voxels_outside_an_image_have_its_fill_value():
    far = Grid.from_spacing(GRID.shape, (1, 1, 1), GRID.to_ras((7, 0, 0)), GRID.direction)
    spec = tiny_spec("two", ["pet", "ct"])
    channels = prepare({**images("pet"), **images("ct", grid=far)}, spec)
    assert channels.array[1][..., :6] == pytest.approx(-1.4)
    assert channels.array[1][..., 7:].min() > -1.35


@pytest.mark.parametrize("factor", [0.9901, 1, 1.0099])
def test_an_image_within_one_percent_of_the_spacing_keeps_its_voxels(factor):
    grid = Grid.from_spacing((5, 6, 7), (3 * factor, 3, 3))
    assert network_grid(grid, tiny_spec(spacing_mm=(3.0, 3.0, 3.0))) is grid


@pytest.mark.parametrize("factor", [0.5, 0.989, 1.011, 2.5])
def test_any_other_image_is_covered_at_the_spacing_of_the_model(factor):
    grid = Grid.from_spacing((5, 6, 7), (3, 3 * factor, 3), (1, 2, 3), rotation((0.3, 0.2, 0.1)))
    result = network_grid(grid, tiny_spec(spacing_mm=(3.0, 3.0, 3.0)))
    assert result.spacing == pytest.approx((3, 3, 3))
    assert result.to_ras((-0.5, -0.5, -0.5)) == pytest.approx(grid.to_ras((-0.5, -0.5, -0.5)))
    corners = result.to_ijk(grid.corners_ras())
    assert (corners <= np.array(result.size) - 0.5 + 0.01).all()
    assert (corners.max(axis=0) > np.array(result.size) - 1.51).all()


@pytest.mark.parametrize(
    ("role", "background", "foreground"),
    [
        ("ct", (-1024, -200, -156), (-150, 0, 300)),
        ("pet", (0, 0.05, 0.1), (0.3, 5, 60)),
        ("mr_t1", (0,), (500, 900)),
        ("mr_t1", (0, 12, 45), (150, 500, 900)),  # noise in the air
    ],
)
def test_tissue_is_where_any_channel_differs_from_its_background(role, background, foreground):
    array = np.full(GRID.shape, background[0], np.float32)
    array[:, :6] = np.resize(foreground, array[:, :6].shape)
    array[:, 6:] = np.resize(background, array[:, 6:].shape)
    empty = {other: Volume(GRID, np.full(GRID.shape, -1000 * (other == "ct")), other) for other in SPEC.roles}
    tissue = prepare({**empty, role: Volume(GRID, array, role)}, SPEC).tissue
    assert tissue.dtype == np.bool_
    assert tissue[:, :6].all()
    assert not tissue[:, 6:].any()


def test_the_air_of_an_image_with_values_far_below_zero_is_its_lowest_value():
    array = np.resize((-100.0, 300.0, 500.0, -40.0), GRID.shape)
    rules = {"image": Normalisation("zscore")}
    spec = replace(tiny_spec("any"), input=VolumeInput(("image",), (), (1.0, 1.0, 1.0), (16, 16, 16), rules))
    tissue = prepare({"image": Volume(GRID, array, "image")}, spec).tissue
    assert np.array_equal(tissue, array > -100)
