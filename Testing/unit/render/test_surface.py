"""Surfaces on oblique and mirrored grids: closed, facing outwards, of the right size and place, and so in the files."""

from __future__ import annotations

import math
import os
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersCore import vtkFeatureEdges, vtkMassProperties
from vtkmodules.vtkIOGeometry import vtkSTLReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from TumorSegLib.errors import ArgumentError, ResourceError, TumorSegError, WriteError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.render import surface as surface_module
from TumorSegLib.render.surface import RenderedSurface, render, surface_from_probability, view_directions, write_surface

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
SPACING = (1.5, 1.0, 2.0)
RADIUS = 14.0
TRUE_MM3 = 4 / 3 * math.pi * RADIUS**3


def gaussian_ball(direction) -> tuple[Volume, np.ndarray]:
    """exp(-d^2 ln 2 / r^2), which is 0.5 at distance r from a centre off the voxels; and the centre's RAS."""
    grid = Grid.from_spacing((30, 56, 40), SPACING, (-31.0, 112.5, 80.0), direction)
    k, j, i = np.indices(grid.shape)
    centre = grid.to_ras((20.3, 27.1, 14.6))
    distance2 = ((grid.to_ras(np.stack([i, j, k], axis=-1)) - centre) ** 2).sum(axis=-1)
    return Volume(grid, np.exp(-distance2 * math.log(2) / RADIUS**2).astype(np.float32), "probability"), centre


def triangles(surface) -> np.ndarray:
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    return points[vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)]


def signed_volume(surface) -> float:
    """Positive when the triangles face outwards."""
    corners = triangles(surface)
    corners = corners - corners.mean(axis=(0, 1))
    return float(np.einsum("nc,nc->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))) / 6


def open_edges(surface) -> int:
    edges = vtkFeatureEdges()
    edges.SetInputData(surface)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.Update()  # boundary and non-manifold edges stay
    return edges.GetOutput().GetNumberOfCells()


def centre_of(surface) -> np.ndarray:
    """Centroid of the enclosed volume."""
    corners = triangles(surface)
    middle = corners.mean(axis=(0, 1))
    corners = corners - middle
    weights = np.einsum("nc,nc->n", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return middle + (weights[:, None] * corners.sum(axis=1) / 4).sum(axis=0) / weights.sum()


@pytest.mark.parametrize("mirror", list(product((1, -1), repeat=3)))
def test_gaussian_ball_on_an_oblique_grid(mirror):
    volume, centre = gaussian_ball(OBLIQUE * mirror)
    surface = surface_from_probability(volume)
    assert open_edges(surface) == 0
    mass = vtkMassProperties()
    mass.SetInputData(surface)
    assert mass.GetVolume() == pytest.approx(TRUE_MM3, rel=0.01)
    assert mass.GetSurfaceArea() == pytest.approx(4 * math.pi * RADIUS**2, rel=0.01)
    assert signed_volume(surface) == pytest.approx(TRUE_MM3, rel=0.01)
    assert centre_of(surface) == pytest.approx(centre, abs=0.02)
    points = vtk_to_numpy(surface.GetPoints().GetData())
    assert np.linalg.norm(points - centre, axis=1) == pytest.approx(RADIUS, abs=0.2)
    outwards = (points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True)
    normals = vtk_to_numpy(surface.GetPointData().GetNormals())
    assert (normals * outwards).sum(axis=1).min() > 0.99


def test_level_moves_the_surface():
    volume, _ = gaussian_ball(np.eye(3))
    radius = RADIUS * math.sqrt(-math.log(0.3) / math.log(2))
    assert signed_volume(surface_from_probability(volume, 0.3)) == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.01)


def test_surface_closes_half_a_voxel_beyond_the_image_border():
    grid = Grid.from_spacing((10, 20, 30), (2.0, 1.0, 3.0))
    surface = surface_from_probability(Volume(grid, np.ones(grid.shape, np.float32)))
    assert open_edges(surface) == 0
    assert signed_volume(surface) == pytest.approx(60 * 20 * 30, rel=0.02)
    assert surface.GetBounds() == pytest.approx((-1, 59, -0.5, 19.5, -1.5, 28.5), abs=0.4)


def test_binary_mask_of_random_blobs_is_closed():
    blobs = gaussian_filter(np.random.default_rng(2).standard_normal((24, 25, 26)), 1.5) > 0
    grid = Grid.from_spacing(blobs.shape, (1.0, 1.2, 2.5))
    surface = surface_from_probability(Volume(grid, blobs))
    corners = triangles(surface)
    assert abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(axis=0)).max() < 0.5
    assert signed_volume(surface) == pytest.approx(blobs.sum() * 3.0, rel=0.05)


def test_no_surface_names_the_maximum():
    grid = Grid.from_spacing((4, 4, 4), (1, 1, 1))
    with pytest.raises(TumorSegError, match=r"level 0\.5.*0\.25"):
        surface_from_probability(Volume(grid, np.full(grid.shape, 0.25, np.float32)))


@pytest.mark.parametrize("level", [0, -0.5, math.nan, math.inf])
def test_bad_level_is_refused(level):
    volume, _ = gaussian_ball(np.eye(3))
    with pytest.raises(ArgumentError, match=f"level.*{level}"):
        surface_from_probability(volume, level)


def read_stl(path):
    reader = vtkSTLReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput(), reader.GetHeader()


def read_vtp(path):
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    surface = reader.GetOutput()
    return surface, surface.GetFieldData().GetAbstractArray("SPACE").GetValue(0)


@pytest.mark.parametrize(("suffix", "read", "note"), [("stl", read_stl, "SPACE=LPS"), ("vtp", read_vtp, "LPS")])
@pytest.mark.parametrize("mirror", [(1, 1, 1), (1, 1, -1)])
def test_files_are_in_lps_and_say_so(tmp_path, suffix, read, note, mirror):
    volume, centre = gaussian_ball(OBLIQUE * mirror)
    path = tmp_path / f"tumour.{suffix}"
    write_surface(volume, path)
    surface, header = read(path)
    assert note in header
    assert centre_of(surface) == pytest.approx(centre * (-1, -1, 1), abs=0.02)
    assert signed_volume(surface) == pytest.approx(TRUE_MM3, rel=0.01)
    assert open_edges(surface) == 0
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_vtp_keeps_normals_outwards_in_lps(tmp_path):
    volume, centre = gaussian_ball(OBLIQUE)
    write_surface(volume, tmp_path / "tumour.vtp")
    surface, _ = read_vtp(tmp_path / "tumour.vtp")
    outwards = vtk_to_numpy(surface.GetPoints().GetData()) - centre * (-1, -1, 1)
    normals = vtk_to_numpy(surface.GetPointData().GetNormals())
    assert ((normals * outwards).sum(axis=1) / RADIUS).min() > 0.97


def test_other_suffix_is_refused(tmp_path):
    volume, _ = gaussian_ball(np.eye(3))
    with pytest.raises(WriteError, match=r"tumour\.obj.*\.stl or \.vtp"):
        write_surface(volume, tmp_path / "tumour.obj")
    assert not list(tmp_path.iterdir())


def test_missing_folder_and_failed_write_leave_nothing(tmp_path):
    volume, _ = gaussian_ball(np.eye(3))
    with pytest.raises(WriteError, match="does not exist"):
        write_surface(volume, tmp_path / "absent" / "tumour.stl")
    old = tmp_path / "tumour.stl"
    old.write_text("old")
    with pytest.raises(TumorSegError):
        write_surface(volume, old, level=1.5)
    assert old.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["tumour.stl", "tumour.vtp"])
def test_full_disk_is_a_write_error(tmp_path, name):
    resource = pytest.importorskip("resource")
    volume, _ = gaussian_ball(np.eye(3))
    (tmp_path / name).write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(WriteError, match=rf"{name}: cannot be written: File too large"):
            write_surface(volume, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / name).read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.skipif(not surface_module.sys.platform.startswith("linux"), reason="other systems allow UTF-8 names only")
@pytest.mark.parametrize("suffix", [".stl", ".vtp"])
def test_names_that_are_not_utf_8_are_written(tmp_path, suffix):
    volume, _ = gaussian_ball(np.eye(3))
    folder = tmp_path / os.fsdecode(b"\xfc")
    folder.mkdir()
    write_surface(volume, folder / f"{os.fsdecode(bytes([0xE4]))}{suffix}")
    write_surface(volume, tmp_path / f"plain{suffix}")
    (written,) = folder.iterdir()
    assert written.read_bytes() == (tmp_path / f"plain{suffix}").read_bytes()


def test_render_shows_a_ball_in_the_middle():
    volume, _ = gaussian_ball(OBLIQUE)
    pixels = render([RenderedSurface(surface_from_probability(volume), (1.0, 0.2, 0.1))], (160, 120))
    assert pixels.shape == (120, 160, 3)
    red = pixels[..., 0].astype(int) - pixels[..., 2] > 40
    rows, columns = np.nonzero(red)
    assert (rows.mean(), columns.mean()) == pytest.approx((59.5, 79.5), abs=1.5)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    assert not red[0].any()
    assert not red[:, 0].any()


def test_render_looks_from_the_front_with_the_patient_left_on_the_right():
    """A red ball to the patient's left (-R), a green one above (S)."""
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    k, j, i = np.indices(grid.shape)
    drawn = []
    for (x, y, z), colour in (((8, 20, 10), (1.0, 0, 0)), ((30, 20, 10), (0, 0, 1.0)), ((30, 20, 30), (0, 1.0, 0))):
        ball = np.exp(-((i - x) ** 2 + (j - y) ** 2 + (k - z) ** 2) / 20.0)
        drawn.append(RenderedSurface(surface_from_probability(Volume(grid, ball)), colour))
    pixels = render(drawn, (150, 150)).astype(int)
    places = []
    for channel in (0, 2, 1):
        others = [c for c in range(3) if c != channel]
        rows, columns = np.nonzero(pixels[..., channel] - pixels[..., others].max(axis=-1) > 60)
        places.append((rows.mean(), columns.mean()))
    (_, red_column), (blue_row, blue_column), (green_row, _) = places
    assert red_column > blue_column + 20
    assert green_row < blue_row - 20


def test_view_directions_are_orthonormal():
    right, up, towards = view_directions()
    assert np.stack([right, up, towards]) @ np.stack([right, up, towards]).T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.cross(right, up) == pytest.approx(towards)


def test_glass_lets_what_is_inside_shine_through():
    volume, _ = gaussian_ball(np.eye(3))
    inside = RenderedSurface(surface_from_probability(volume, 0.8), (1.0, 0.2, 0.1))
    skin = RenderedSurface(surface_from_probability(volume, 0.2), (0.8, 0.8, 0.8), glass=True)
    pixels = render([inside, skin], (120, 120)).astype(int)
    assert pixels[60, 60, 0] - pixels[60, 60, 2] > 60
    solid = render([inside, RenderedSurface(skin.surface, skin.colour)], (120, 120)).astype(int)
    assert abs(solid[60, 60, 0] - solid[60, 60, 2]) < 20


def test_no_display_and_old_vtk_is_a_resource_error(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(surface_module.sys, "platform", "linux")
    monkeypatch.setattr(surface_module, "_vtk_version", lambda: (9, 3))
    volume, _ = gaussian_ball(np.eye(3))
    with pytest.raises(ResourceError, match="without a display"):
        render([RenderedSurface(surface_from_probability(volume), (1, 0, 0))], (50, 50))
