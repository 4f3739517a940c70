"""Geometry: round trips on random oblique and mirrored grids, agreement with SimpleITK, refusal of impossible grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from Testing.unit.cases.grids import grids
from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.grid import Grid, NiftiForms

fast = settings(max_examples=40, deadline=None)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


points = st.lists(st.tuples(*[st.floats(-1000, 1000)] * 3), min_size=1, max_size=5)


@fast
@given(grids(), points)
def test_to_ras_agrees_with_simpleitk_and_to_ijk_leads_back(grid: Grid, ijk: Any) -> None:
    image = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    image.SetSpacing(grid.spacing)
    image.SetOrigin((RAS_TO_LPS @ grid.origin).tolist())
    image.SetDirection((RAS_TO_LPS @ grid.direction).ravel().tolist())
    lps = np.array([image.TransformContinuousIndexToPhysicalPoint(point) for point in ijk])
    assert np.allclose(grid.to_ras(ijk) @ RAS_TO_LPS, lps, atol=1e-6)
    assert np.allclose(grid.to_ijk(grid.to_ras(ijk)), ijk, atol=1e-6)


@fast
@given(grids(), st.data())
def test_crop_keeps_the_position_of_voxels(grid: Grid, data: st.DataObject) -> None:
    box = []
    for size in grid.size:
        low = data.draw(st.integers(0, size - 1))
        box.append((low, data.draw(st.integers(low + 1, size))))
    crop = grid.crop((box[0], box[1], box[2]))
    assert crop.size == tuple(high - low for low, high in box)
    assert np.allclose(crop.to_ras((0, 0, 0)), grid.to_ras([low for low, _ in box]), atol=1e-6)
    last = np.asarray(crop.size) - 1
    assert np.allclose(crop.to_ras(last), grid.to_ras([high - 1 for _, high in box]), atol=1e-6)


@fast
@given(grids(), st.tuples(*[st.floats(0.3, 6)] * 3))
def test_with_spacing_keeps_corner_and_direction_and_covers_the_grid(grid: Grid, spacing: Any) -> None:
    other = grid.with_spacing(spacing)
    assert np.allclose(other.spacing, spacing)
    assert np.allclose(other.direction, grid.direction, atol=1e-9)
    assert np.allclose(other.to_ras((-0.5, -0.5, -0.5)), grid.to_ras((-0.5, -0.5, -0.5)), atol=1e-6)
    extent, covered = np.multiply(grid.size, grid.spacing), np.multiply(other.size, spacing)
    assert (covered >= extent - 2e-3 * np.asarray(spacing)).all()
    assert (covered < extent + np.asarray(spacing)).all()


def test_with_spacing_gains_no_voxel_on_an_exact_multiple() -> None:
    assert Grid.from_spacing((30, 30, 30), (0.1, 0.1, 0.1)).with_spacing((0.3, 0.3, 0.3)).shape == (10, 10, 10)


@fast
@given(grids())
def test_a_grid_equals_itself_and_its_copy_through_float32(grid: Grid) -> None:
    copy = Grid(grid.shape, grid.affine.astype(np.float32).astype(float))
    assert grid == copy
    assert hash(grid) == hash(copy)


@fast
@given(grids(), st.sampled_from([0, 1, 2]), st.sampled_from([-1, 1]))
def test_equality_tolerates_a_hundredth_of_the_finest_edge(grid: Grid, axis: int, sign: int) -> None:
    def moved(share: float) -> Grid:
        affine = grid.affine.copy()
        affine[axis, 3] += sign * share * min(grid.spacing)
        return Grid(grid.shape, affine)

    assert grid == moved(0.009)
    assert grid != moved(0.011)


def test_equality_sees_shape_spacing_and_mirroring() -> None:
    grid = Grid.from_spacing((4, 5, 6), (1, 1, 2))
    assert grid != Grid.from_spacing((4, 5, 7), (1, 1, 2))
    assert grid != Grid.from_spacing((4, 5, 6), (1, 1, 2.01))
    assert grid != Grid.from_spacing((4, 5, 6), (1, 1, 2), (5, 0, 0), np.diag([-1, 1, 1]))
    assert grid != "grid"


def test_difference_of_two_grids_as_text() -> None:
    grid = Grid.from_spacing((8, 20, 20), (1, 1, 3), (5, 6, 7))
    moved = Grid.from_spacing((8, 20, 20), (1, 1, 3), (5.02, 6, 7))
    assert grid.difference(moved) == "first voxels 0.02 mm apart, corners up to 0.02 mm apart; 0.01 mm are allowed"
    larger = Grid.from_spacing((8, 20, 20), (1, 1, 3.01), (5, 6, 7))
    assert "voxels of 1 x 1 x 3 and 1 x 1 x 3.01 mm, corners up to 0.07" in grid.difference(larger)
    turned = Rotation.from_euler("z", 0.2, degrees=True).as_matrix()
    words = grid.difference(Grid.from_spacing((8, 20, 20), (1, 1, 3), (5, 6, 7), turned))
    assert words.startswith("axes turned by up to 0.2 degrees, corners up to 0.09")
    mirrored = Grid.from_spacing((8, 20, 20), (1, 1, 3), (5, 6, 7), np.diag([1, -1, 1]))
    assert "axes turned by up to 180 degrees" in grid.difference(mirrored)
    assert grid.difference(grid.crop(((0, 19), (0, 20), (0, 8)))) == (
        "one has 20 x 20 x 8 voxels, the other 19 x 20 x 8"
    )


@fast
@given(grids(), grids())
def test_every_difference_of_grids_has_its_own_text(grid: Grid, other: Grid) -> None:
    assert grid == other or "apart" in grid.difference(other) or "the other" in grid.difference(other)


def test_nifti_forms_do_not_make_grids_differ() -> None:
    forms = NiftiForms(2, 1, np.diag([2.0, 2, 2, 1]))
    assert Grid((2, 3, 4), np.eye(4), forms) == Grid((2, 3, 4), np.eye(4))


def test_overlap_counts_shared_volume_not_touching_faces() -> None:
    grid = Grid.from_spacing((10, 10, 10), (1, 1, 1))
    assert grid.overlaps(Grid.from_spacing((10, 10, 10), (1, 1, 1), (9.5, 0, 0)))
    assert not grid.overlaps(Grid.from_spacing((10, 10, 10), (1, 1, 1), (10, 0, 0)))
    assert not grid.overlaps(Grid.from_spacing((10, 10, 10), (1, 1, 1), (0, 0, -10.5)))


def test_corners_are_voxel_edges() -> None:
    corners = Grid.from_spacing((2, 3, 4), (1, 2, 3), (10, 20, 30)).corners_ras()
    assert corners.shape == (8, 3)
    assert corners.min(axis=0).tolist() == [9.5, 19, 28.5]
    assert corners.max(axis=0).tolist() == [13.5, 25, 34.5]


def test_voxel_volume_and_size() -> None:
    grid = Grid.from_spacing((2, 3, 4), (1, 2, 5))
    assert grid.voxel_volume_ml == pytest.approx(0.01)
    assert grid.size == (4, 3, 2)
    assert "4 x 3 x 2" in str(grid)


def test_the_affine_cannot_be_changed_from_outside() -> None:
    affine = np.eye(4)
    grid = Grid((1, 1, 1), affine)
    affine[0, 3] = 9
    assert grid.origin.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


def sheared(amount: float) -> Any:
    affine = np.eye(4)
    affine[0, 1] = amount
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((0, 1, 1), np.eye(4), "three positive"),
        ((1, 1), np.eye(4), "three positive"),
        ((1, 1, 1), np.eye(3), "4 x 4"),
        ((1, 1, 1), np.ones((4, 4)), "last row"),
        ((1, 1, 1), np.diag([np.nan, 1, 1, 1]), "not finite"),
        ((1, 1, 1), np.diag([0.0, 1, 1, 1]), "positive"),
        ((1, 1, 1), sheared(0.01), "orthonormal"),
    ],
)
def test_impossible_grids_are_refused(shape: Any, affine: Any, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        Grid(shape, affine)


def test_rounding_of_the_direction_is_tolerated() -> None:
    assert Grid((1, 1, 1), sheared(0.0009)).spacing[0] == 1


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, -1, 1), (1, 1, np.nan), (np.inf, 1, 1)])
def test_spacing_that_is_not_positive_is_refused_without_a_warning(spacing: Any) -> None:
    with pytest.raises(GeometryError, match="spacing must be positive"):
        Grid.from_spacing((1, 1, 1), spacing)
    with pytest.raises(GeometryError, match="spacing must be positive"):
        Grid.from_spacing((1, 1, 1), (1, 1, 1)).with_spacing(spacing)


@pytest.mark.parametrize("low_high", [(2, 2), (-1, 2), (3, 7), (4, 2)])
def test_crop_refuses_empty_and_outside_boxes(low_high: Any) -> None:
    with pytest.raises(GeometryError, match="range j"):
        Grid.from_spacing((6, 6, 6), (1, 1, 1)).crop(((0, 6), low_high, (0, 6)))
