"""Views at any scale: what they show where, on grids of all kinds."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.fakes import any_image_spec, noise_volume, rotation
from Testing.unit.cases.grids import voxel_centres
from Testing.unit.engines.clicks.any_image_cases import CT, CT_WIDE, MR, PET
from TumorSegLib.engines.clicks.views import endless, prepare_views
from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Volume

SPEC = any_image_spec(patch=(8, 10, 12))
SLOPE = np.array([1.1, -0.7, 0.9])  # HU per mm along R, A, S
GRIDS = {
    "cubes": Grid.from_spacing((40, 40, 40), (1, 1, 1)),
    "thick slices": Grid.from_spacing((12, 64, 56), (0.5, 0.6, 4.8), (-4, 7, 12), np.diag([-1.0, -1.0, 1.0])),
    "oblique": Grid.from_spacing((32, 40, 36), (1.1, 0.9, 1.5), (9, 8, 7), rotation((0.4, -0.2, 0.9))),
    "mirrored": Grid.from_spacing((28, 36, 48), (1.4, 0.8, 1.6), (-9, 80, 70), rotation((-0.7, 0.3, 2.0), mirror=True)),
}


def ramp(grid: Grid, around: np.ndarray, role: str = "ct") -> Volume:
    """Values that grow linearly in RAS, 40 at a point."""
    return Volume(grid, ((voxel_centres(grid) - around) @ SLOPE + 40).astype(np.float32), role)


def well_inside(view: Grid, grid: Grid, voxels: float) -> np.ndarray:
    """Which voxels of a view lie so many voxels of the image within its border, bool ``[k, j, i]``."""
    place = grid.to_ijk(voxel_centres(view))
    return np.asarray(((place > voxels) & (place < np.array(grid.size) - 1 - voxels)).all(axis=-1))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("scale_mm", [0.4, 1.0, 2.7])
def test_a_view_shows_the_image_where_it_is(name: str, scale_mm: float) -> None:
    grid = GRIDS[name]
    middle = grid.to_ras((np.array(grid.size) - 1) / 2)
    centre = middle + np.array([1.3, -0.4, 0.8])
    other = Grid.from_spacing((60, 60, 60), (1.3, 1.3, 1.3), middle - 39, rotation((0, 0, 0)))
    view = prepare_views({"ct": ramp(grid, middle), "mr_t1": ramp(other, middle, "mr_t1")}, SPEC).view(centre, scale_mm)
    assert view.images.shape == (1, 4, 8, 10, 12)
    assert view.images.dtype == np.float32
    assert view.grid.spacing == pytest.approx((scale_mm,) * 3)
    np.testing.assert_allclose(view.grid.direction, grid.direction, atol=1e-12)
    np.testing.assert_allclose(view.grid.to_ras((6, 5, 4)), centre, atol=1e-9)
    expected = (voxel_centres(view.grid) - middle) @ SLOPE + 40
    inside = well_inside(view.grid, grid, 4)
    assert inside.sum() > 40
    np.testing.assert_allclose(view.images[0, CT_WIDE][inside], expected[inside] / 500, atol=2e-4)
    np.testing.assert_allclose(view.images[0, CT][inside], (np.clip(expected, -160, 240)[inside] + 20) / 100, atol=0.02)
    assert not view.images[0, PET].any()
    # The second image is read from its own grid: a linear function of the same values.
    inside = well_inside(view.grid, other, 4)
    fit = np.polyfit(expected[inside], view.images[0, MR][inside], 1)
    assert fit[0] > 0
    # Values at the floor of tissue are taken for air.
    seen = inside & (view.images[0, MR] != 0)
    np.testing.assert_allclose(view.images[0, MR][seen], np.polyval(fit, expected[seen]), atol=0.25)


@pytest.mark.parametrize("scale_mm", [0.4, 0.703125, 2.7])
def test_a_prompt_lies_at_the_middle_of_a_voxel_whatever_the_last_digits_of_the_grid(scale_mm: float) -> None:
    """Else rounding would decide which of two voxels was clicked, and one click had two answers."""
    seen = []
    for change in (0, 1e-9, -1e-9, 1e-7):
        grid = Grid.from_spacing((40, 40, 40), (0.703125 * (1 + change),) * 3, (-100.3, 57.1, 3), rotation((1, 2, 3)))
        prepared = prepare_views({"pet": Volume(grid, np.ones(grid.shape, np.float32), "pet")}, SPEC)
        prompt = grid.to_ras((20, 17, 22))
        for centre in (prompt, grid.to_ras((20.5, 17.5, 21.5))):
            place = prepared.view(centre, scale_mm, prompt).grid.to_ijk(prompt)
            np.testing.assert_allclose(place, np.rint(place), atol=1e-6)
            assert np.abs(place - prepared.view(centre, scale_mm).grid.to_ijk(prompt)).max() <= 0.5 + 1e-3
            seen.append(np.rint(place))
    assert all(np.array_equal(place, seen[n % 2]) for n, place in enumerate(seen))


def test_beyond_the_image_is_what_the_rule_says() -> None:
    grid = GRIDS["cubes"]
    images: Images = {role: Volume(grid, np.full(grid.shape, 7, np.float32), role) for role in ("ct", "pet")}
    view = prepare_views(images, SPEC).view(np.array([-20.0, 20, 20]), 1.0)
    assert np.all(view.images[0, CT] == np.float32(-1.4))  # of -1000 HU, limited to -160
    assert np.all(view.images[0, CT_WIDE] == -2)
    assert not view.images[0, PET].any()
    assert not view.images[0, MR].any()


def test_two_mr_sequences_give_two_views_with_the_same_ct() -> None:
    grid = GRIDS["cubes"]
    images = {role: noise_volume(grid, role, n) for n, role in enumerate(("mr_t1", "ct", "mr_flair"))}
    centre = grid.to_ras((20, 20, 20))
    both = prepare_views(images, SPEC).view(centre, 1.0).images
    assert both.shape[0] == 2
    for number, role in enumerate(("mr_t1", "mr_flair")):
        alone = prepare_views({role: images[role], "ct": images["ct"]}, SPEC).view(centre, 1.0).images
        assert np.array_equal(both[number], alone[0])
    assert np.array_equal(both[0, CT], both[1, CT])
    assert not np.array_equal(both[0, MR], both[1, MR])


def test_any_other_image_is_shown_as_mr() -> None:
    grid = GRIDS["cubes"]
    volume = noise_volume(grid, "image", 3)
    shown = prepare_views({"image": volume}, SPEC).view(grid.to_ras((20, 20, 20)), 1.0).images
    as_mr = prepare_views({"mr": Volume(grid, volume.array, "mr")}, SPEC).view(grid.to_ras((20, 20, 20)), 1.0).images
    assert np.array_equal(shown, as_mr)
    assert shown[0, MR].std() > 0.1


def test_a_pet_in_any_unit_is_shown_as_one_in_suv() -> None:
    grid = GRIDS["cubes"]
    suv = np.random.default_rng(0).gamma(4, 0.16, grid.shape).astype(np.float32)
    suv[:, :, :8] = 0
    suv[18:24, 18:24, 18:24] = 9
    centre = grid.to_ras((20, 20, 20))
    expected = prepare_views({"pet": Volume(grid, suv, "pet")}, SPEC).view(centre, 1.0).images
    for unit in (0.02, 1.0, 3e4):
        counts = Volume(grid, suv * np.float32(unit), "image_pet")
        shown = prepare_views({"image_pet": counts}, SPEC).view(centre, 1.0).images
        assert not shown[0, MR].any()
        np.testing.assert_allclose(shown[0, PET], expected[0, PET], atol=0.15)
        np.testing.assert_array_equal(counts.array, suv * np.float32(unit))  # the image of the user stays
    nothing = prepare_views({"image_pet": Volume(grid, np.zeros_like(suv), "image_pet")}, SPEC)
    assert not nothing.view(centre, 1.0).images.any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_fills_the_view_along_its_axis(axis: int) -> None:
    shape = [40, 40, 40]
    shape[2 - axis] = 1
    grid = Grid.from_spacing(shape, (1, 1, 1), (3, 4, 5), rotation((0.1, 0.2, 0.3)))
    volume = noise_volume(grid, "ct", 1)
    prepared = prepare_views({"ct": volume}, SPEC)
    at = np.full(3, 20.0)
    at[axis] = 0
    view = prepared.view(grid.to_ras(at), 1.0)
    shown = view.images[0, CT_WIDE]
    assert np.ptp(shown, axis=2 - axis).max() < 1e-5
    assert shown.std() > 0.01
    assert view.inner[axis] == (0, (12, 10, 8)[axis])
    assert view.goes_on[axis] == (False, False)
    assert all(view.goes_on[other] == (True, True) for other in range(3) if other != axis)
    assert endless(grid).spacing[axis] >= 1000 * 8
    assert prepared.finest_mm == pytest.approx(1)
    # The values are those of the slice: read it in the middle.
    voxels = voxel_centres(view.grid).take(4, axis=2 - axis)
    place = grid.to_ijk(voxels)
    place[..., axis] = 0
    near = np.rint(place).astype(int)
    exact = np.abs(place - near).max(axis=-1) < 1e-6
    values = np.clip(volume.array[near[..., 2], near[..., 1], near[..., 0]], -1000, 1000) / 500
    if exact.any():
        np.testing.assert_allclose(shown.take(4, axis=2 - axis)[exact], values[exact], atol=1e-4)


@pytest.mark.parametrize(
    ("centre", "scale_mm", "inner", "goes_on"),
    [
        # By hand: the view's voxel 0 lies 6, 5, 4 steps before the centre; the image reaches from -0.5 to 39.5.
        ((20, 20, 20), 1, ((0, 12), (0, 10), (0, 8)), ((True, True),) * 3),
        ((20.5, 20.5, 20.5), 8, ((4, 9), (3, 8), (2, 7)), ((False, False),) * 3),
        ((19.5, 19.5, 19.5), 4.01, ((2, 11), (1, 10), (0, 8)), ((False, False), (False, True), (True, True))),
        ((2.2, 20, 37.3), 1, ((4, 12), (0, 10), (0, 7)), ((False, True), (True, True), (True, False))),
    ],
)
def test_which_part_of_a_view_lies_in_the_image_and_where_it_goes_on(
    centre: tuple, scale_mm: float, inner: tuple, goes_on: tuple
) -> None:
    for grid in (GRIDS["cubes"], Grid.from_spacing((40, 40, 40), (1, 1, 1), (5, 6, 7), rotation((1, 2, 3)))):
        prepared = prepare_views({"pet": Volume(grid, np.ones(grid.shape, np.float32), "pet")}, SPEC)
        view = prepared.view(grid.to_ras(centre), scale_mm)
        assert view.inner == inner
        assert view.goes_on == goes_on
        if scale_mm == 8:
            # Exactly the voxels whose centres lie in the image show it.
            shown = np.zeros(view.grid.shape, dtype=bool)
            shown[slices(view.inner)] = True
            place = grid.to_ijk(voxel_centres(view.grid))
            assert np.array_equal(shown, ((place > -0.5) & (place < 39.5)).all(axis=-1))


def test_an_image_elsewhere_is_refused_by_its_role() -> None:
    grid = GRIDS["cubes"]
    far = Grid.from_spacing((40, 40, 40), (1, 1, 1), (500, 0, 0))
    with pytest.raises(GeometryError, match=r"the pet image .* does not overlap the first"):
        prepare_views({"ct": noise_volume(grid), "pet": noise_volume(far, "pet")}, SPEC)
