"""Measurements against analytic values, SimpleITK and samples drawn at random."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

import TumorSegLib as ts
from Testing.fakes import noise_volume, rotation
from Testing.unit.cases.volume_cases import image_from_array
from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.measurements.diameters import axial_diameters, maximum_diameter
from TumorSegLib.measurements.tumour import measure
from TumorSegLib.measurements.uptake import PEAK_RADIUS_MM, Uptake

GRID = Grid.from_spacing((16, 20, 24), (2.0, 2.5, 3.0), (-10, 5, 7), rotation((0.2, -0.1, 0.4)))


def centres(grid: Grid) -> Float64Array:
    """RAS of all voxel centres, ``[k, j, i, 3]``."""
    return grid.to_ras(np.moveaxis(np.indices(grid.shape)[::-1], 0, -1))


def ball(grid: Grid, radius: float, centre: Any = None) -> Mask:
    """Voxels whose centre lies in a ball; by default round the middle of the grid."""
    middle = grid.to_ras((np.asarray(grid.size) - 1) / 2) if centre is None else centre
    return Mask(grid, (np.linalg.norm(centres(grid) - middle, axis=-1) <= radius).astype(np.uint8))


def marked(grid: Grid, *voxels: tuple[int, int, int]) -> Mask:
    array = np.zeros(grid.shape, np.uint8)
    for i, j, k in voxels:
        array[k, j, i] = 1
    return Mask(grid, array)


def pet(grid: Grid, value: Any = 0.0) -> Volume:
    return Volume(grid, np.broadcast_to(np.asarray(value, np.float32), grid.shape), "pet")


def uptake(mask: Mask, volume: Volume) -> Uptake:
    found = measure(mask, {"pet": volume}).pet
    assert found is not None
    return found


def check_against_simpleitk(mask: Mask, images: Images) -> None:
    """All images on the grid of the mask."""
    found = measure(mask, images)
    labels = image_from_array((mask.array > 0).astype(np.uint8), mask.grid)
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.ComputeFeretDiameterOn()
    shape.Execute(labels)
    assert found.volume_ml * 1000 == pytest.approx(shape.GetPhysicalSize(1))
    assert found.voxels == shape.GetNumberOfPixels(1)
    assert np.multiply(found.centroid_ras, (-1, -1, 1)) == pytest.approx(shape.GetCentroid(1))
    low, size = np.split(np.array(shape.GetBoundingBox(1)), 2)
    assert found.box == tuple(zip(low, low + size))
    assert found.axial == axial_diameters(mask)
    assert found.maximum_diameter is not None
    assert found.maximum_diameter == maximum_diameter(mask)
    # ITK's joins centres of voxels, ours goes on to their faces.
    assert 0 < found.maximum_diameter.length_mm - shape.GetFeretDiameter(1) <= max(mask.grid.spacing)
    for role, volume in images.items():
        statistics = SimpleITK.LabelStatisticsImageFilter()
        statistics.Execute(image_from_array(volume.array.astype(np.float64), volume.grid), labels)
        if role == "pet":
            assert found.pet is not None
            assert found.pet.suv_max == pytest.approx(statistics.GetMaximum(1))
            assert found.pet.suv_mean == pytest.approx(statistics.GetMean(1))
            assert found.pet.tlg_g == pytest.approx(statistics.GetSum(1) * mask.grid.voxel_volume_ml)
            assert (found.pet.mtv_ml, found.pet.voxels, found.pet.covered) == (found.volume_ml, found.voxels, 1)
            continue
        values = found.intensities[role]
        assert values.mean == pytest.approx(statistics.GetMean(1))
        assert values.standard_deviation == pytest.approx(statistics.GetSigma(1))
        assert (values.minimum, values.maximum) == pytest.approx((statistics.GetMinimum(1), statistics.GetMaximum(1)))
        assert values.median == pytest.approx(np.median(volume.array[mask.array > 0]))
        assert (values.voxels, values.covered) == (found.voxels, 1)


def test_as_simpleitk_on_an_oblique_grid() -> None:
    images = {role: noise_volume(GRID, role, seed) for seed, role in enumerate(("ct", "pet", "mr_t1"))}
    check_against_simpleitk(ball(GRID, 14, GRID.to_ras((9.2, 8.1, 7.3))), images)


def test_as_simpleitk_on_the_phantom() -> None:
    phantom = ts.make_phantom(3, shape=(40, 80, 80), spacing_mm=(2.5, 2.5, 3.27))
    check_against_simpleitk(phantom.tumour, phantom.images)
    found = ts.measure(phantom.tumour, phantom.images)
    assert isinstance(found, ts.Measurements)
    assert found.lesions == 1
    assert found.pet is not None
    assert found.pet.suv_mean < found.pet.suv_peak < found.pet.suv_max


@pytest.mark.data
@pytest.mark.parametrize("patient", ["STS_001", "STS_020"])
def test_as_simpleitk_on_a_patient(data_root: Path, patient: str) -> None:
    case = data_root / "sts" / patient
    images = {role: ts.read_volume(f"{case}_{role}.nii.gz", role) for role in ("ct", "pet", "mr_t1")}
    mask = ts.read_mask(f"{case}_gtv.nii.gz")
    check_against_simpleitk(mask, images)
    found = ts.measure(mask, images)
    assert found.pet is not None
    assert found.pet.suv_mean < found.pet.suv_peak <= found.pet.suv_max
    assert found.axial is not None
    assert found.maximum_diameter is not None
    assert found.axial.perpendicular.length_mm <= found.axial.longest.length_mm <= found.maximum_diameter.length_mm


def test_a_ball_has_the_measures_of_a_ball() -> None:
    grid = Grid.from_spacing((40, 44, 44), (1.0, 1.0, 1.1), (3, 4, 5), rotation((0.2, -0.1, 0.4), mirror=True))
    found = measure(ball(grid, 18))
    assert found.volume_ml == pytest.approx(4 / 3 * math.pi * 18**3 / 1000, rel=0.01)
    assert found.centroid_ras == pytest.approx(grid.to_ras((21.5, 21.5, 19.5)))
    assert found.axial is not None
    assert found.axial.slice == pytest.approx(19.5, abs=2)  # of slices near the middle the longest as digitised
    assert found.axial.product_mm2 == pytest.approx(36**2, rel=0.05)
    assert found.maximum_diameter is not None
    assert found.maximum_diameter.length_mm == pytest.approx(36, abs=1.1)
    assert (found.pet, found.intensities, found.lesions) == (None, {}, 1)


def test_all_labels_are_measured_together_and_lesions_are_connected_by_corners_too() -> None:
    array = np.zeros(GRID.shape, np.uint8)
    array[2, 3, 4], array[3, 4, 5], array[9, 9, 9:11] = 7, 1, 255
    found = measure(Mask(GRID, array))
    assert (found.voxels, found.lesions, found.box) == (4, 2, ((4, 11), (3, 10), (2, 10)))
    assert found.volume_ml == pytest.approx(4 * 15 / 1000)


def test_suv_peak_of_uniform_uptake_is_that_uptake_even_in_the_corners_of_the_image() -> None:
    assert uptake(ball(GRID, 9), pet(GRID, 5)).suv_peak == pytest.approx(5)
    assert uptake(marked(GRID, (0, 0, 0), (23, 19, 15)), pet(GRID, 5)).suv_peak == pytest.approx(5)


def test_suv_peak_at_the_border_of_the_image_averages_the_part_of_the_sphere_inside() -> None:
    found = uptake(marked(GRID, (0, 10, 8)), pet(GRID, np.where(np.arange(24) >= 2, 8, 0)))
    # Voxels are 2 mm: the image begins 1 mm before the centre of the sphere and the uptake 3 mm behind it.
    hot, inside = (math.pi * (PEAK_RADIUS_MM - h) ** 2 * (2 * PEAK_RADIUS_MM + h) / 3 for h in (3, -1))
    assert found.suv_peak == pytest.approx(8 * hot / inside, rel=0.005)


@pytest.mark.parametrize("edge", [1.0, 2.0, 4.0])
def test_suv_peak_of_one_hot_voxel_is_its_share_of_a_millilitre(edge: float) -> None:
    grid = Grid.from_spacing((25, 25, 25), (edge,) * 3)
    array = np.zeros(grid.shape, np.float32)
    array[12, 12, 12] = 1000
    found = uptake(marked(grid, (12, 12, 12)), pet(grid, array))
    assert found.suv_max == 1000
    assert found.suv_peak == pytest.approx(edge**3, rel=2e-3)


def test_suv_peak_is_centred_in_the_tumour_and_reaches_beyond_it() -> None:
    grid = Grid.from_spacing((21, 21, 41), (2.0, 2.0, 2.0))
    mask = marked(grid, *((i, 10, 10) for i in range(5, 31)))
    assert uptake(mask, pet(grid, np.arange(41))).suv_peak == pytest.approx(30)  # half its sphere lies beyond i = 30
    array = np.zeros(grid.shape)
    array[10, 10, 35] = 100  # not in the sphere of the tumour's last voxel
    assert uptake(mask, pet(grid, array)).suv_peak == 0


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (1.95, 1.95, 3.27)])
def test_suv_peak_as_the_mean_of_points_drawn_in_the_sphere(spacing: tuple[float, float, float]) -> None:
    grid = Grid.from_spacing((22, 26, 24), spacing, direction=rotation((0.3, 0.1, -0.2)))
    volume, mask = noise_volume(grid, "pet", 4), ball(grid, 5)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(100_000, 3))
    points *= (PEAK_RADIUS_MM * rng.random(len(points)) ** (1 / 3) / np.linalg.norm(points, axis=1))[:, None]
    means = []
    for kji in np.argwhere(mask.array):
        i, j, k = np.rint(points / spacing + kji[::-1]).astype(int).T
        means.append(volume.array[k, j, i].mean())
    assert uptake(mask, volume).suv_peak == pytest.approx(max(means), rel=3e-3)


def sphere_by_small_cubes(spacing: tuple[float, float, float]) -> Float64Array:
    """Share of each voxel ``[k, j, i]`` in a sphere of 1 ml, from cubes of at most 0.25 mm whose centre is in it."""
    axes = []
    for edge in spacing[::-1]:
        reach, cubes = math.ceil(PEAK_RADIUS_MM / edge - 0.5), math.ceil(edge / 0.25)
        axes.append(((np.arange((2 * reach + 1) * cubes) + 0.5) / cubes - reach - 0.5).reshape(-1, cubes) * edge)
    k, j, i = axes
    squared = k[:, None, None, :, None, None] ** 2 + j[None, :, None, None, :, None] ** 2 + i[:, None, None, :] ** 2
    return (squared <= PEAK_RADIUS_MM**2).mean(axis=(3, 4, 5))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.0, 2.5)])
def test_suv_peak_of_many_small_voxels_is_that_of_a_plain_correlation(spacing: tuple[float, float, float]) -> None:
    """So many that Fourier transforms give it, over several tiles, some beyond the border, and with tiles of few."""
    grid = Grid.from_spacing((40, 90, 100), spacing)
    array = ball(grid, 24).array.copy()
    array[:, :22, :22] = 1  # a corner of the image
    array[3, 80, 90] = 1
    values = np.random.default_rng(3).gamma(2, 2, grid.shape).astype(np.float32)
    weights = sphere_by_small_cubes(spacing)
    means = ndimage.correlate(values.astype(float), weights, mode="constant")
    means /= ndimage.correlate(np.ones(grid.shape), weights, mode="constant")
    for place in (array == 1, np.indices(grid.shape)[2] < 20, np.indices(grid.shape)[0] > 20):
        part = Mask(grid, array * place)
        wanted = means[part.array > 0].max()
        assert uptake(part, Volume(grid, values, "pet")).suv_peak == pytest.approx(wanted, rel=1e-6)


def test_suv_peak_on_voxels_of_a_small_animal_scanner() -> None:
    grid = Grid.from_spacing((90, 90, 130), (0.4, 0.4, 0.4))
    mask = ball(grid, 11)  # 87,000 voxels, and 15,600 in the sphere: in turn they took half a minute
    ramp = pet(grid, np.arange(130))  # its mean over a sphere is its value in the middle
    last = np.nonzero(mask.array)[2].max()
    assert uptake(mask, ramp).suv_peak == pytest.approx(last, rel=1e-6)


def test_a_pet_on_another_grid_is_measured_in_its_own_voxels() -> None:
    fine = Grid.from_spacing((44, 50, 50), (1.0, 1.0, 1.0), (-25, -25, -22))
    coarse = Grid.from_spacing((24, 30, 30), (3.0, 3.0, 4.0), (-40, -45, -46), rotation((0.1, 0.2, -0.1)))
    centre = np.array([1.0, -2.0, 0.5])
    values = np.random.default_rng(1).random(coarse.shape, dtype=np.float32) * 9
    distance = np.linalg.norm(centres(coarse) - centre, axis=-1)
    # A voxel's centre lies in the mask or not according to that of the nearest voxel of the mask, 0.87 mm off at most.
    surely, possibly = values[distance <= 15 - 0.87], values[distance <= 15 + 0.87]
    found = uptake(ball(fine, 15, centre), pet(coarse, values))
    assert found.suv_max in values
    assert surely.max() <= found.suv_max <= possibly.max()
    assert len(surely) <= found.voxels <= len(possibly)
    assert found.mtv_ml == pytest.approx(4 / 3 * math.pi * 15**3 / 1000, rel=0.01)  # of the contour, not of PET voxels
    assert found.tlg_g == pytest.approx(found.suv_mean * found.mtv_ml)
    assert found.covered == 1


def test_grids_that_differ_by_rounding_only_have_the_same_voxels() -> None:
    mask, volume = ball(GRID, 12), noise_volume(GRID, "pet")
    affine = GRID.affine.copy()
    affine[:3, 3] += 1e-4
    assert uptake(mask, pet(Grid(GRID.shape, affine), volume.array)) == uptake(mask, volume)


def test_a_tumour_between_the_centres_of_a_coarse_image_has_the_value_of_the_voxel_it_lies_in() -> None:
    fine = Grid.from_spacing((40, 40, 40), (0.5, 0.5, 0.5))
    coarse = Grid.from_spacing((4, 4, 4), (5.0, 5.0, 5.0), (2, 2, 2))
    array = np.arange(64.0).reshape(4, 4, 4)
    mask = marked(fine, (0, 0, 0), (1, 0, 0))  # RAS 0 to 0.5 mm: in the coarse voxel (0, 0, 0), whose centre is at 2
    found = measure(mask, {"pet": pet(coarse, array + 3), "ct": Volume(coarse, array, "ct")})
    assert list(asdict(found.intensities["ct"]).values()) == [0, 0, 0, 0, 0, 1, 1]
    assert found.pet is not None
    assert (found.pet.suv_max, found.pet.suv_mean, found.pet.voxels) == (3, 3, 1)
    assert found.pet.mtv_ml == found.volume_ml


def test_voxels_outside_the_pet_are_reported_and_not_measured() -> None:
    half = pet(GRID.crop(((0, 12), (0, 20), (0, 16))), 4)
    array = np.zeros(GRID.shape, np.uint8)
    array[8, 8, 9:19] = 1
    found = measure(Mask(GRID, array), {"pet": half})
    assert found.pet is not None
    assert (found.pet.covered, found.pet.voxels) == (pytest.approx(0.3), 3)
    assert found.pet.mtv_ml == pytest.approx(0.3 * found.volume_ml)
    assert found.pet.tlg_g == pytest.approx(4 * 0.3 * found.volume_ml)
    array[8, 8, :12] = 0
    assert measure(Mask(GRID, array), {"pet": half}).pet == Uptake(None, None, None, None, None, 0, 0.0)


def test_an_empty_mask_measures_nothing_and_raises_nothing() -> None:
    images = {"pet": noise_volume(GRID, "pet"), "ct": noise_volume(GRID)}
    found = measure(Mask(GRID, np.zeros(GRID.shape)), images)
    assert (found.volume_ml, found.voxels, found.lesions) == (0, 0, 0)
    assert (found.centroid_ras, found.box, found.axial, found.maximum_diameter) == (None,) * 4
    assert found.pet == Uptake(None, None, None, 0.0, 0.0, 0, None)
    assert set(asdict(found.intensities["ct"]).values()) == {None, 0}
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_image_of_another_place_is_refused() -> None:
    far = Grid.from_spacing((4, 5, 6), (1, 1, 1), (900, 0, 0))
    for mask in (ball(GRID, 9), Mask(GRID, np.zeros(GRID.shape))):
        with pytest.raises(GeometryError, match=r"the mr_t2 image \(6 x 5 x 4 voxels .* does not overlap the mask"):
            measure(mask, {"mr_t2": Volume(far, np.zeros(far.shape), "mr_t2")})


def test_to_dict_is_json_with_every_number() -> None:
    found = measure(ball(GRID, 14), {"ct": noise_volume(GRID), "pet": noise_volume(GRID, "pet")})
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data == found.to_dict()  # nothing in it changes on the way: no tuples, no numbers of numpy
    assert found.axial is not None
    assert found.maximum_diameter is not None
    assert found.box is not None
    assert data["axial"]["product_mm2"] == found.axial.product_mm2
    assert data["axial"]["longest"]["ends_ras"] == [list(end) for end in found.axial.longest.ends_ras]
    assert data["maximum_diameter"]["length_mm"] == found.maximum_diameter.length_mm
    assert data["box"] == [list(limits) for limits in found.box]
    assert data["pet"] == asdict(found.pet)
    assert data["intensities"] == {"ct": asdict(found.intensities["ct"])}
