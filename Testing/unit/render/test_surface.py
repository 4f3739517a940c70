"""Surfaces on oblique and mirrored grids: closed, facing outwards, of the right size and place, and so in the files."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersCore import vtkFeatureEdges, vtkMassProperties
from vtkmodules.vtkIOGeometry import vtkSTLReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from Testing.unit.cases.surface_cases import OBLIQUE, RADIUS, TRUE_MM3, gaussian_ball
from TumorSegLib.errors import ArgumentError, TumorSegError, WriteError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.render.surface import surface_from_probability, write_surface


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


def test_surfaces_that_cannot_be_written_leave_the_old_file(tmp_path):
    volume, _ = gaussian_ball(np.eye(3))
    old = tmp_path / "tumour.stl"
    old.write_text("old")
    for name, level, words in (
        ("tumour.obj", 0.5, r"tumour\.obj.*\.stl or \.vtp"),
        ("absent/tumour.stl", 0.5, "does not exist"),
        ("tumour.stl", 1.5, r"level 1\.5"),
    ):
        with pytest.raises(TumorSegError, match=words):
            write_surface(volume, tmp_path / name, level=level)
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "old"


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
