"""Connected regions and shape against analytic values and the digital phantom of IBSI."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from Testing.unit.cases.grids import mask_of
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.measurements.shape import Component, connected_components, shape_measures

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
MIRRORED = OBLIQUE * [1, -1, 1]
GRIDS = [
    pytest.param((1.0, 1.0, 1.0), np.eye(3), id="isotropic"),
    pytest.param((0.8, 1.0, 2.5), np.eye(3), id="anisotropic"),
    pytest.param((0.8, 1.0, 2.5), OBLIQUE, id="oblique"),
    pytest.param((1.2, 0.7, 2.0), MIRRORED, id="mirrored"),
]


def ellipsoid(spacing, direction, semi_axes=(14.0, 10.0, 7.0), axes=None) -> tuple[Mask, np.ndarray]:
    """An ellipsoid with its axes turned by ``axes`` in RAS, and its centre in RAS."""
    size = [math.ceil(2 * (max(semi_axes) + 3) / s) for s in spacing]
    grid = Grid.from_spacing(size[::-1], spacing, (-31.0, 12.5, 80.0), direction)
    k, j, i = np.indices(grid.shape)
    centre = grid.to_ras(np.asarray(size) / 2)
    relative = (grid.to_ras(np.stack([i, j, k], axis=-1)) - centre) @ (np.eye(3) if axes is None else axes)
    return Mask(grid, ((relative / semi_axes) ** 2).sum(axis=-1) <= 1), centre


@pytest.mark.parametrize(("spacing", "direction"), GRIDS)
def test_ball(spacing, direction):
    mask, centre = ellipsoid(spacing, direction, (12.0, 12.0, 12.0))
    true_ml = 4 / 3 * math.pi * 12**3 / 1000
    shape = shape_measures(mask)
    assert shape.volume_ml == pytest.approx(true_ml, rel=0.02)
    assert shape.mesh_volume_ml == pytest.approx(true_ml, rel=0.03)
    axis = 4 * 12 / math.sqrt(5)  # the variance along any axis of a solid ball is r^2 / 5
    lengths = [shape.major_axis_length_mm, shape.minor_axis_length_mm, shape.least_axis_length_mm]
    assert lengths == pytest.approx([axis] * 3, rel=0.03)
    steps = shape.surface_area_mm2 / (4 * math.pi * 12**2)  # a surface round voxels is stepped
    assert 1.06 < steps < 1.16
    assert shape.sphericity == pytest.approx(1 / steps, rel=0.02)
    box_mm3 = np.prod([(high - low) * s for (low, high), s in zip(mask.bounding_box(), spacing)])
    assert shape.extent == pytest.approx(true_ml * 1000 / box_mm3, rel=0.03)
    (component,) = connected_components(mask)
    assert component.centroid_ras == pytest.approx(tuple(centre), abs=0.1)
    assert component.volume_ml == pytest.approx(mask.volume_ml)


@pytest.mark.parametrize(("spacing", "direction"), GRIDS)
def test_ellipsoid_turned_against_the_grid(spacing, direction):
    turned = Rotation.from_euler("zyx", [30, 15, -40], degrees=True).as_matrix()
    mask, _ = ellipsoid(spacing, direction, (18.0, 10.0, 6.0), turned)
    shape = shape_measures(mask)
    assert shape.volume_ml == pytest.approx(4 / 3 * math.pi * 18 * 10 * 6 / 1000, rel=0.02)
    assert shape.major_axis_length_mm == pytest.approx(4 * 18 / math.sqrt(5), rel=0.03)
    assert shape.minor_axis_length_mm == pytest.approx(4 * 10 / math.sqrt(5), rel=0.03)
    assert shape.least_axis_length_mm == pytest.approx(4 * 6 / math.sqrt(5), rel=0.05)
    assert shape.elongation == pytest.approx(10 / 18, rel=0.04)
    assert shape.flatness == pytest.approx(6 / 18, rel=0.06)


@pytest.mark.parametrize(("spacing", "direction"), GRIDS)
def test_box(spacing, direction):
    """n voxels of edge s in a row have variance s^2 (n^2 - 1) / 12; marching cubes shaves edges and corners."""
    grid = Grid.from_spacing((14, 20, 30), spacing, direction=direction)
    array = np.zeros(grid.shape)
    array[2:12, 3:17, 4:28] = 1  # 24 x 14 x 10 voxels
    shape = shape_measures(Mask(grid, array))
    sample = math.sqrt(3360 / 3359)  # a sample's covariance divides by one less than the number of voxels
    edges = sorted(4 * s * sample * math.sqrt((n * n - 1) / 12) for s, n in zip(spacing, (24, 14, 10)))
    got = [shape.least_axis_length_mm, shape.minor_axis_length_mm, shape.major_axis_length_mm]
    assert got == pytest.approx(edges)
    a, b, c = (s * n for s, n in zip(spacing, (24, 14, 10)))
    assert shape.volume_ml == pytest.approx(a * b * c / 1000)
    assert shape.mesh_volume_ml == pytest.approx(a * b * c / 1000, rel=0.01)
    assert shape.surface_area_mm2 == pytest.approx(2 * (a * b + b * c + a * c), rel=0.04)
    assert shape.extent == pytest.approx(1, rel=0.01)


def test_ibsi_digital_phantom():
    """The 74 voxels of 2 mm and the reference values of the IBSI manual (https://ibsi.readthedocs.io)."""
    array = np.ones((4, 4, 5))
    array[1, 2, 0] = array[2, 0, 3:] = array[2, 2, 2] = array[3, 0, 3:] = 0
    shape = shape_measures(mask_of(array, (2.0, 2.0, 2.0)))
    assert shape.volume_ml * 1000 == pytest.approx(592)
    assert shape.mesh_volume_ml * 1000 == pytest.approx(556, abs=0.5)
    assert shape.surface_area_mm2 == pytest.approx(388, abs=0.5)
    assert shape.sphericity == pytest.approx(0.843, abs=5e-4)
    assert shape.major_axis_length_mm == pytest.approx(11.4, abs=0.05)
    assert shape.minor_axis_length_mm == pytest.approx(9.31, abs=0.005)
    assert shape.least_axis_length_mm == pytest.approx(8.54, abs=0.005)
    assert shape.elongation == pytest.approx(0.816, abs=5e-4)
    assert shape.flatness == pytest.approx(0.749, abs=5e-4)
    assert shape.extent == pytest.approx(0.869, abs=5e-4)


def test_shape_of_a_voxel_and_a_plane():
    voxel = np.zeros((3, 3, 3))
    voxel[1, 1, 1] = 1
    shape = shape_measures(mask_of(voxel, (2.0, 2.0, 2.0)))
    assert (shape.major_axis_length_mm, shape.elongation, shape.flatness) == (0, 1, 1)
    plane = shape_measures(mask_of(np.ones((1, 6, 9))))
    assert (plane.least_axis_length_mm, plane.flatness) == pytest.approx((0, 0))
    assert plane.elongation == pytest.approx(math.sqrt((6 * 6 - 1) / (9 * 9 - 1)))


def test_empty_mask_has_no_components_and_no_shape():
    empty = mask_of(np.zeros((3, 4, 5)))
    assert connected_components(empty) == []
    with pytest.raises(ArgumentError, match="empty mask"):
        shape_measures(empty)


def test_components_are_listed_largest_first_with_box_and_label():
    array = np.zeros((6, 7, 8))
    array[0, 0, 0:2] = 5
    array[2:4, 3:6, 4:8] = 2
    grid = Grid.from_spacing(array.shape, (1.0, 2.0, 5.0), (10.0, 20.0, 30.0))
    large, small = connected_components(Mask(grid, array))
    assert large == Component(2, pytest.approx(0.24), ((4, 8), (3, 6), (2, 4)), pytest.approx((15.5, 28.0, 42.5)))
    assert small == Component(5, pytest.approx(0.02), ((0, 2), (0, 1), (0, 1)), pytest.approx((10.5, 20.0, 30.0)))


def test_components_touch_at_corners_but_not_across_labels():
    array = np.zeros((4, 4, 4))
    array[0, 0, 0] = array[1, 1, 1] = 1
    assert len(connected_components(mask_of(array))) == 1
    array[1, 1, 1] = 2
    assert [component.label for component in connected_components(mask_of(array))] == [1, 2]
