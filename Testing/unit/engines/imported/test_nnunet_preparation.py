"""Images as nnU-Net prepares them: turned, cropped, normalised."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from Testing.fakes import tiny_spec
from TumorSegLib.engines.imported.nnunet_preparation import normalise, prepare, turn_of
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.models.nnunet import NnunetChannel, NnunetInput
from TumorSegLib.models.spec import ModelSpec

CT = NnunetChannel("CT", "ct", mean=50, std=20, low=-100, high=200)
MR = NnunetChannel("T1", "zscore", masked=True)


def spec(**changes: object) -> ModelSpec:
    taken = NnunetInput(
        **{"channels": {"ct": CT, "mr_t1": MR}, "spacing_mm": (2.0, 1.0, 1.0), "patch": (8, 8, 8), **changes}
    )
    return replace(tiny_spec(), input=taken, network="PlainConvUNet", labels={"a": 1})


def case(grid: Grid, seed: int = 0) -> dict[str, Volume]:
    """Two images with a border of zeros."""
    rng, images = np.random.default_rng(seed), {}
    for role in ("ct", "mr_t1"):
        array = np.zeros(grid.shape, np.float32)
        array[2:-1, 3:-2, 1:-4] = rng.normal(60, 30, array[2:-1, 3:-2, 1:-4].shape)
        images[role] = Volume(grid, array, role)
    return images


def test_what_is_zero_around_is_cut_off_and_voxels_get_the_spacing() -> None:
    grid = Grid.from_spacing((12, 20, 22), (1.0, 1.0, 2.0))
    images = case(grid)
    prepared = prepare(images, spec())
    assert prepared.crop == ((2, 11), (3, 18), (1, 18))
    assert prepared.array.shape == (2, 9, 15, 17)
    inside = images["ct"].array[2:11, 3:18, 1:18]
    assert np.allclose(prepared.array[0], (np.clip(inside, -100, 200) - 50) / 20, atol=1e-4)
    inside = images["mr_t1"].array[2:11, 3:18, 1:18]
    assert np.allclose(prepared.array[1], (inside - inside.mean()) / inside.std(), atol=1e-3)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_axes_are_turned_there_and_back(order: tuple[int, int, int]) -> None:
    grid = Grid.from_spacing((12, 20, 22), (1.0, 3.0, 2.0))
    taken = spec(transpose=order, spacing_mm=(1.0, 1.0, 1.0))
    prepared = prepare(case(grid), taken)
    crop = ((2, 11), (3, 18), (1, 18))
    assert prepared.crop == tuple(crop[axis] for axis in order)
    size, edges = (9, 15, 17), (2.0, 3.0, 1.0)
    assert prepared.array.shape[1:] == tuple(round(size[axis] * edges[axis]) for axis in order)
    array = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(prepared.turn.back(prepared.turn(array)), array)
    assert np.array_equal(prepared.turn(array), array.transpose(order))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_images_are_turned_to_the_patient_where_the_plan_says_so(
    axes: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    """The first axis then runs to superior, the second to anterior, the third to the right; a little oblique."""
    direction = np.zeros((3, 3))
    for voxel, world in enumerate(axes):
        direction[world, voxel] = signs[voxel]
    angle = 0.2
    tilt = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    grid = Grid.from_spacing((4, 5, 6), (1, 1, 1), (3, 4, 5), tilt @ direction)
    turn = turn_of(grid, replace(spec().nnunet_input, reorient=True))
    for number, world in enumerate((2, 1, 0)):
        place = grid.to_ras(np.indices(grid.shape)[::-1].reshape(3, -1).T)[:, world].reshape(grid.shape)
        along = np.diff(turn(place), axis=number)
        assert (along > 0.5).all()
        assert np.array_equal(turn.back(turn(place)), place)


def test_in_2d_the_slices_stay_as_they_are() -> None:
    grid = Grid.from_spacing((12, 20, 22), (1.0, 1.0, 7.0))
    prepared = prepare(case(grid), spec(spacing_mm=(0.5, 0.5), patch=(1, 16, 16)))
    assert prepared.array.shape[1:] == (9, 30, 34)
    assert prepared.spacing_mm == (7.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (replace(CT, low=0, high=4, mean=1, std=2), [[-0.5, 0.5, 1.5, 1.5]]),
        (NnunetChannel("x", "zscore"), [[-1.166, -0.577, 0.012, 1.732]]),
        (NnunetChannel("x", "zscore", masked=True), [[0, -1.069, -0.267, 1.336]]),
        (NnunetChannel("x", "rescale"), [[0, 2 / 10, 4 / 10, 1]]),
        (NnunetChannel("x", "rgb"), [[0, 2 / 255, 4 / 255, 10 / 255]]),
        (NnunetChannel("x", "none"), [[0, 2, 4, 10]]),
    ],
)
def test_values_are_normalised(channel: NnunetChannel, expected: list[list[float]]) -> None:
    image = np.array([[[0, 2, 4, 10]]], np.float32)
    if channel.scheme == "zscore":
        values = image[image != 0] if channel.masked else image
        expected = [[*((image[0, 0] - values.mean()) / values.std())]]
        expected[0][0] = 0 if channel.masked else expected[0][0]
    assert np.allclose(normalise(image.copy(), image != 0, channel)[0], expected, atol=1e-5)


@pytest.mark.parametrize("scheme", ["ct", "zscore", "rescale", "none"])
@pytest.mark.parametrize("value", [0, 7])
def test_an_image_without_contrast_stays_finite(scheme: str, value: float) -> None:
    image = np.full((3, 3, 3), value, np.float32)
    masked = scheme == "zscore"
    assert np.isfinite(normalise(image, image != 0, replace(CT, scheme=scheme, std=0.0, masked=masked))).all()


def test_colours_outside_their_range_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"channel 'x' needs values from 0 to 255, got 3\.0 to 300\.0"):
        normalise(np.array([[[3, 300]]], np.float32), np.ones((1, 1, 2), bool), NnunetChannel("x", "rgb"))


def test_images_that_the_model_does_not_take_are_refused() -> None:
    images = case(Grid.from_spacing((12, 20, 22), (1, 1, 1)))
    with pytest.raises(RoleError, match="needs mr_t1; its roles are ct, mr_t1"):
        prepare({"ct": images["ct"]}, spec())
    with pytest.raises(RoleError, match="does not take pet; its roles are ct, mr_t1"):
        prepare({**images, "pet": Volume(images["ct"].grid, images["ct"].array, "pet")}, spec())


def test_images_on_other_grids_are_brought_to_the_first() -> None:
    images = case(Grid.from_spacing((12, 20, 22), (1, 1, 2)))
    other = Grid.from_spacing((24, 20, 22), (1, 1, 1))
    prepared = prepare({**images, "mr_t1": Volume(other, np.ones(other.shape, np.float32), "mr_t1")}, spec())
    assert prepared.resampled == ("mr_t1",)
    assert prepared.crop == ((0, 12), (0, 20), (0, 22))
