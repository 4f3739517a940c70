"""Diameters against analytic shapes and brute force over surfaces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import pdist
from skimage.measure import find_contours, marching_cubes

from Testing.fakes import rotation
from Testing.unit.cases.grids import mask_of
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.measurements import diameters
from TumorSegLib.measurements.diameters import AxialDiameters, Line, axial_axis, axial_diameters, maximum_diameter


def voxels(line: Line, grid: Grid) -> list[list[float]]:
    """The ends of a line as ``(i, j, k)``, in order."""
    return sorted(np.round(grid.to_ijk(line.ends_ras), 6).tolist())


def found_in(mask: Mask) -> AxialDiameters:
    found = axial_diameters(mask)
    assert found is not None
    return found


def blobs(shape: tuple[int, ...], seed: int, threshold: float) -> np.ndarray:
    """Smooth random shapes, of several parts, that also touch the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.3, mode="wrap")
    foreground = noise > threshold * noise.std()
    foreground[shape[0] // 2, 0, 0] = True  # never empty
    return foreground


def largest(foreground: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(foreground, np.ones((3, 3, 3)))
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()


def widths(outline: np.ndarray, along: np.ndarray) -> list[float]:
    """Widths of a polygon across a direction at each of its corners, side by side: slow and plain."""
    upright, ends = np.array([-along[1], along[0]]), np.column_stack([outline[:-1], outline[1:]])
    found = []
    for place in outline @ along:
        heights = []
        for side in ends:
            (s0, s1), (h0, h1) = side.reshape(2, 2) @ along, side.reshape(2, 2) @ upright
            if abs(s1 - s0) < 1e-9:
                heights += [h0, h1] if abs(s0 - place) < 1e-9 else []
            elif min(s0, s1) - 1e-9 <= place <= max(s0, s1) + 1e-9:
                heights.append(h0 + (h1 - h0) * (place - s0) / (s1 - s0))
        found.append(max(heights) - min(heights))
    return found


def test_a_single_voxel_has_the_length_of_its_edges() -> None:
    array = np.zeros((3, 4, 5))
    array[1, 2, 3] = 1
    mask = mask_of(array, (2.0, 3.0, 7.0))
    found = found_in(mask)
    assert (found.axis, found.slice) == ("k", 1)
    assert found.longest.length_mm == pytest.approx(3)
    assert found.perpendicular.length_mm == pytest.approx(2)
    assert found.product_mm2 == pytest.approx(6)
    assert voxels(found.longest, mask.grid) == [[3, 1.5, 1], [3, 2.5, 1]]
    assert voxels(found.perpendicular, mask.grid) == [[2.5, 2, 1], [3.5, 2, 1]]
    maximum = maximum_diameter(mask)
    assert maximum is not None
    assert maximum.length_mm == pytest.approx(7)


def test_a_box_is_as_long_as_from_face_to_face() -> None:
    """Its diagonal runs between the middles of the outer faces of its corner voxels."""
    array = np.zeros((9, 12, 20))
    array[2:8, 3:8, 4:16] = 1  # 12 x 5 x 6 voxels
    mask = mask_of(array, (1.0, 2.0, 3.0), origin=(10, -20, 30))
    found = found_in(mask)
    assert found.slice == 2
    assert found.longest.length_mm == pytest.approx(math.hypot(11 * 1, 5 * 2))
    assert voxels(found.longest, mask.grid) in (
        [[4, 2.5, 2], [15, 7.5, 2]],
        [[4, 7.5, 2], [15, 2.5, 2]],
    )
    maximum = maximum_diameter(mask)
    assert maximum is not None
    assert maximum.length_mm == pytest.approx(math.hypot(11 * 1, 4 * 2, 6 * 3))
    assert np.linalg.norm(np.subtract(*maximum.ends_ras)) == pytest.approx(maximum.length_mm)


def test_a_cross_has_its_arms_as_diameters() -> None:
    array = np.zeros((1, 15, 15))
    array[0, 7, 1:14] = array[0, 3:10, 5] = 1
    found = found_in(mask_of(array))
    assert found.longest.length_mm == pytest.approx(13)
    assert found.perpendicular.length_mm == pytest.approx(7)
    assert voxels(found.perpendicular, mask_of(array).grid) == [[5, 2.5, 0], [5, 9.5, 0]]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([-0.3, 0.6, 1.4]),
    spacing=st.tuples(*[st.sampled_from([0.5, 0.97, 1.0, 1.7, 3.0])] * 3),
)
def test_as_brute_force_over_the_surface_of_every_part(seed: int, threshold: float, spacing: tuple[float, ...]) -> None:
    mask = mask_of(blobs((6, 14, 17), seed, threshold), spacing)
    edges = np.array(spacing)
    longest = []
    for number, plane in enumerate(mask.array):
        labels, count = ndimage.label(plane, np.ones((3, 3)))
        for label in range(1, count + 1):
            padded = np.pad(labels == label, 1).astype(float)
            points = np.concatenate(find_contours(padded, 0.5, fully_connected="high")) - 1
            longest.append((pdist(points * edges[[1, 0]]).max(), number))
    found = found_in(mask)
    assert found.longest.length_mm == pytest.approx(max(longest)[0])
    assert max(length for length, number in longest if number == found.slice) == pytest.approx(max(longest)[0])
    labels, count = ndimage.label(mask.array, np.ones((3, 3, 3)))
    whole = []
    for label in range(1, count + 1):
        vertices, *_ = marching_cubes(np.pad(labels == label, 1).astype(float), 0.5, spacing=tuple(edges[::-1]))
        whole.append(pdist(vertices.astype(float)).max())
    maximum = maximum_diameter(mask)
    assert maximum is not None
    assert maximum.length_mm == pytest.approx(max(whole), rel=1e-5)  # vertices are float32


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), spacing=st.tuples(*[st.sampled_from([0.5, 1.0, 1.7])] * 2))
def test_the_perpendicular_is_the_widest_place_across_the_region(seed: int, spacing: tuple[float, float]) -> None:
    region = largest(blobs((1, 18, 18), seed, 0.6))
    mask = mask_of(region, (*spacing, 2.0))
    found = found_in(mask)
    along = np.subtract(*found.longest.ends_ras)[:2] / found.longest.length_mm
    filled = np.pad(ndimage.binary_fill_holes(region[0]), 1)
    (outline,) = find_contours(filled.astype(float), 0.5, fully_connected="high")
    assert found.perpendicular.length_mm == pytest.approx(max(widths((outline[:, ::-1] - 1) * spacing, along)))
    across = np.subtract(*found.perpendicular.ends_ras)[:2]
    assert across @ along == pytest.approx(0, abs=1e-6)
    for end in mask.grid.to_ijk(found.perpendicular.ends_ras):  # half way out of the region
        value = ndimage.map_coordinates(filled.astype(float), end[1::-1, None] + 1, order=1)
        assert value == pytest.approx(0.5, abs=0.26)  # 0.25 where the contour cuts a corner


def test_no_line_joins_two_lesions() -> None:
    array = np.zeros((4, 30, 30))
    array[1, 2:6, 2:6] = array[1, 25:28, 25:28] = array[3, 10:12, 10:20] = 1
    mask = mask_of(array)
    found, maximum = found_in(mask), maximum_diameter(mask)
    assert found.slice == 3
    assert found.longest.length_mm == pytest.approx(math.hypot(10, 1))
    assert maximum is not None
    assert maximum.length_mm == pytest.approx(math.hypot(10, 1))
    array[1, range(5, 26), range(5, 26)] = 1  # now a thread, by corners, joins two of them
    assert found_in(mask_of(array)).longest.length_mm == pytest.approx(math.hypot(26, 25))


def test_a_bent_lesion_is_measured_from_outer_wall_to_outer_wall() -> None:
    array = np.zeros((1, 20, 20))
    array[0, 2:17, 2:4] = array[0, 2:17, 15:17] = array[0, 14:17, 2:17] = 1
    found = found_in(mask_of(array))
    assert found.longest.length_mm == pytest.approx(math.hypot(15, 14))
    ring = np.zeros((1, 20, 20))
    ring[0, 3:17, 3:17] = 1
    filled = found_in(mask_of(ring))
    ring[0, 5:15, 5:15] = 0
    assert found_in(mask_of(ring)) == filled


def test_a_turned_grid_changes_neither_lengths_nor_voxels() -> None:
    array = blobs((9, 16, 18), 3, 0.3)
    straight = mask_of(array, (0.8, 1.2, 2.5))
    for mirror in (False, True):
        turned = mask_of(array, (0.8, 1.2, 2.5), origin=(5, 6, 7), direction=rotation((0.4, -0.25, 0.5), mirror))
        assert axial_axis(turned.grid) == 2
        one, other = found_in(straight), found_in(turned)
        assert (one.axis, one.slice) == (other.axis, other.slice)
        for name in ("longest", "perpendicular"):
            assert getattr(other, name).length_mm == pytest.approx(getattr(one, name).length_mm)
        assert voxels(one.longest, straight.grid) == voxels(other.longest, turned.grid)
        assert np.allclose([end[2] for end in turned.grid.to_ijk(other.perpendicular.ends_ras)], other.slice)


@pytest.mark.parametrize(("axis", "order"), [("j", (1, 0, 2)), ("i", (2, 0, 1))])
def test_slices_of_a_coronal_or_sagittal_image_are_axial_all_the_same(axis: str, order: tuple[int, ...]) -> None:
    """The voxels of an axial image, listed along other axes: the same lines in the world."""
    axial = mask_of(
        blobs((9, 16, 18), 5, 0.3), (0.8, 1.2, 2.5), origin=(1, 2, 3), direction=rotation((0.15, -0.1, 0.1))
    )
    back = np.argsort(order)  # where each axis of the new array comes from in the old one
    columns = [2 - int(back[2 - n]) for n in range(3)]
    affine = axial.grid.affine.copy()
    affine[:, :3] = affine[:, columns]
    array = np.ascontiguousarray(axial.array.transpose(back))
    other = Mask(Grid(array.shape, affine), array)
    one, two = found_in(axial), found_in(other)
    assert (one.axis, two.axis) == ("k", axis)
    assert one.slice == two.slice
    assert sorted(one.longest.ends_ras) == pytest.approx(np.array(sorted(two.longest.ends_ras)))
    assert one.perpendicular.length_mm == pytest.approx(two.perpendicular.length_mm)


def test_half_way_between_two_axes_the_slices_are_those_of_the_acquisition() -> None:
    half = math.sqrt(0.5)
    direction = np.array([[1, 0, 0], [0, half, -half], [0, half, half]])
    for wobble in (-1e-6, 1e-6):
        turned = direction @ rotation((wobble, 0, 0))
        assert axial_axis(Grid.from_spacing((3, 3, 3), (1, 1, 1), direction=turned)) == 2
    steeper = direction @ rotation((0.02, 0, 0))
    flatter = direction @ rotation((-0.02, 0, 0))
    assert {axial_axis(Grid.from_spacing((3, 3, 3), (1, 1, 1), direction=d)) for d in (steeper, flatter)} == {1, 2}


def test_an_empty_mask_has_no_diameter() -> None:
    mask = mask_of(np.zeros((3, 4, 5)))
    assert axial_diameters(mask) is None
    assert maximum_diameter(mask) is None


def test_of_thousands_of_scattered_regions_few_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those whose box could hold a longer line than was found: a hull of each would take seconds."""
    measured = []

    def spy(region: np.ndarray, spacing: np.ndarray) -> np.ndarray:
        measured.append(region.shape)
        return farthest(region, spacing)

    farthest = diameters._farthest
    monkeypatch.setattr(diameters, "_farthest", spy)
    array = np.random.default_rng(0).random((20, 200, 200)) < 0.01
    found = found_in(mask_of(array))
    assert found.longest.length_mm == pytest.approx(math.sqrt(13))  # three voxels in a diagonal row, of 7,000 regions
    assert 0 < len(measured) < 20
