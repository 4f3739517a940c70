"""Closed triangle surfaces of a tumour: as VTK data in RAS, as files for 3D Slicer and CAD, and rendered to a picture.

Files follow what 3D Slicer itself writes by default (vtkMRMLModelStorageNode): points in LPS millimetres, and a note
that says so, ``SPACE=LPS`` in the header of an STL file and a field data string array ``SPACE`` holding ``LPS`` in a
VTP file. Slicer, reading the note, shows the surface where the tumour is; other software takes the LPS of DICOM.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Registers the OpenGL implementation that vtkRenderWindow needs.
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkLogger, vtkPoints, vtkStringArray, vtkVersion
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
from vtkmodules.vtkFiltersCore import (
    vtkFlyingEdges3D,
    vtkPolyDataNormals,
    vtkReverseSense,
    vtkWindowedSincPolyDataFilter,
)
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from TumorSegLib.errors import ArgumentError, ResourceError, TumorSegError, WriteError
from TumorSegLib.files import replacing
from TumorSegLib.geometry.grid import LPS_TO_RAS, FloatArray, Grid
from TumorSegLib.images.volume import Volume

# Takes off the steps of the voxels and keeps the volume: of a ball of 12, 6 and 3 voxels radius it loses 0.05, 0.2 and
# 1.3 %, less than the flat triangles do (0.4, 1.5 and 5.9 %); a pass band of 0.01 would lose 0.2, 2 and 24 %.
SMOOTHING_ITERATIONS = 20
SMOOTHING_PASS_BAND = 0.1

Colour = tuple[float, float, float]
_ROOM = 1.08  # round what is drawn
_LARGEST_SCENE = 2.4  # times the size of what is solid; a body beyond that leaves the picture
_BACKGROUND: Colour = (0.055, 0.067, 0.086)


@dataclass(frozen=True)
class RenderedSurface:
    """A surface to draw.

    Attributes:
        surface: points in RAS mm with outward point normals, as from :func:`surface_from_probability`.
        colour: red, green, blue from 0 to 1.
        glass: drawn see-through, faint where it faces the viewer and denser towards its outline.
    """

    surface: vtkPolyData
    colour: Colour
    glass: bool = False


def surface_from_probability(probability: Volume, level: float = 0.5) -> vtkPolyData:
    """The smoothed isosurface of a probability, closed also where the tumour is cut off by the border of the image.

    Flying edges (Schroeder et al. 2015, doi:10.1109/LDAV.2015.7348069) on the probabilities, so that the surface lies
    between voxels, then windowed-sinc smoothing (Taubin et al. 1996, doi:10.1007/BFb0015544).

    Args:
        probability: real ``[k, j, i]``, larger inside; a 0/1 mask does too, with steps.
        level: value at the surface, greater than 0 (outside the image counts as 0).

    Returns:
        Triangles with points in RAS mm and outward unit point normals, on mirrored grids too.

    Raises:
        ArgumentError: the level is not a finite number above 0.
        TumorSegError: no voxel is above the level.
    """
    if not (math.isfinite(level) and level > 0):
        raise ArgumentError(f"level of a surface must be a finite number above 0, got {level}")
    array = probability.array
    if not (array > level).any():
        raise TumorSegError(
            f"no surface at level {level:g}: the largest value is {float(array.max()):.4g}; choose a level below that"
        )
    return _smooth(_in_ras(_isosurface(*_padded_crop(array, level), level), probability.grid))


def write_surface(probability: Volume, path: str | os.PathLike[str], level: float = 0.5) -> None:
    """Writes the surface of a probability for 3D Slicer and others: points in LPS mm, see the module's docstring.

    Args:
        probability: real ``[k, j, i]``, larger inside.
        path: ``.stl`` (binary) or ``.vtp`` (compressed, with point normals); an existing file is replaced in one step.
        level: value at the surface, greater than 0.

    Raises:
        ArgumentError: a level that is not a finite number above 0.
        TumorSegError: no voxel is above the level.
        WriteError: another suffix, or the file cannot be written.
    """
    encode = _FORMATS.get(Path(path).suffix.lower())
    if encode is None:
        raise WriteError(f"{path}: a surface is written as {' or '.join(_FORMATS)}, not '{Path(path).suffix}'")
    content = encode(_to_lps(surface_from_probability(probability, level)))
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def without_border_faces(surface: vtkPolyData, grid: Grid) -> vtkPolyData:
    """The surface without the flat parts that close it at the border of the image: a body becomes an open tube.

    Args:
        surface: triangles with points in RAS mm, of an image on ``grid``.
        grid: geometry of that image.
    """
    points = grid.to_ijk(vtk_to_numpy(surface.GetPoints().GetData()))
    # Half a voxel inside the outermost voxel centres, beyond where smoothing rounds the edges of the closing faces.
    inside = np.asarray(((points > 0.5) & (points < np.asarray(grid.size) - 1.5)).all(axis=1))
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    kept = vtkCellArray()
    kept.SetData(
        3, numpy_to_vtkIdTypeArray(triangles[inside[triangles].all(axis=1)].astype(np.int64).ravel(), deep=True)
    )
    opened = vtkPolyData()
    opened.ShallowCopy(surface)
    opened.SetPolys(kept)
    return opened


def render(surfaces: Sequence[RenderedSurface], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Draws surfaces without a screen, seen from the front, 30 degrees from the patient's left and 15 from above.

    Args:
        surfaces: at least one, in RAS mm.
        size: width and height in pixels.

    Returns:
        uint8 ``(height, width, 3)`` red, green, blue.

    Raises:
        ResourceError: OpenGL cannot draw here, not even in software.
    """
    if sys.platform.startswith("linux") and not _has_display() and _vtk_version() < (9, 4):
        # Older wheels know only X and end the process when there is none.
        raise ResourceError(f"VTK {vtkVersion.GetVTKVersion()} cannot draw without a display; VTK 9.4 or later can")
    with _quiet_vtk():
        renderer = _scene(surfaces, size[0] / size[1])
        pixels = _draw(renderer, size)
    if (pixels == pixels[0, 0]).all():
        raise ResourceError("OpenGL drew nothing: no working graphics driver and no software fallback (OSMesa)")
    return pixels


def view_directions() -> tuple[FloatArray, FloatArray, FloatArray]:
    """RAS unit vectors to the right, upwards and towards the viewer in :func:`render`'s picture."""
    azimuth, elevation = math.radians(30), math.radians(15)
    level = math.cos(elevation)
    towards = np.array([-math.sin(azimuth) * level, math.cos(azimuth) * level, math.sin(elevation)])
    right = np.cross((0.0, 0.0, 1.0), towards)
    right /= np.linalg.norm(right)
    return right, np.cross(towards, right), towards


def _padded_crop(array: npt.NDArray[Any], level: float) -> tuple[npt.NDArray[np.float32], tuple[int, ...]]:
    """The part above the level with its neighbours and a closing layer of 0, and the ``(i, j, k)`` of its corner."""
    window, corner = [], []
    for axis in range(3):
        hit = np.flatnonzero((array > level).any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = max(int(hit[0]) - 1, 0), min(int(hit[-1]) + 2, array.shape[axis])
        window.append(slice(low, high))
        corner.append(low - 1)
    return np.pad(array[tuple(window)].astype(np.float32), 1), tuple(corner[::-1])


def _isosurface(array: npt.NDArray[np.float32], corner_ijk: tuple[int, ...], level: float) -> vtkPolyData:
    """Triangles in voxel coordinates ``(i, j, k)``, facing the smaller values."""
    image = vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.SetOrigin(*corner_ijk)
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, level)
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    result: vtkPolyData = edges.GetOutput()
    return result


def _in_ras(surface: vtkPolyData, grid: Grid) -> vtkPolyData:
    """Moves points from voxel coordinates to RAS mm; a mirrored grid turns triangles inside out, so turn them back."""
    moved = _with_points(surface, grid.to_ras(vtk_to_numpy(surface.GetPoints().GetData())))
    if np.linalg.det(grid.direction) > 0:
        return moved
    reverse = vtkReverseSense()
    reverse.SetInputData(moved)
    reverse.ReverseCellsOn()
    reverse.Update()
    result: vtkPolyData = reverse.GetOutput()
    return result


def _smooth(surface: vtkPolyData) -> vtkPolyData:
    smooth = vtkWindowedSincPolyDataFilter()
    smooth.SetInputData(surface)
    smooth.SetNumberOfIterations(SMOOTHING_ITERATIONS)
    smooth.SetPassBand(SMOOTHING_PASS_BAND)
    smooth.BoundarySmoothingOff()
    smooth.FeatureEdgeSmoothingOff()
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    normals = vtkPolyDataNormals()
    normals.SetInputConnection(smooth.GetOutputPort())
    # The triangles already face outwards; guessing again could only turn a cavity's wall round.
    normals.ConsistencyOff()
    normals.SplittingOff()
    normals.Update()
    result: vtkPolyData = normals.GetOutput()
    return result


def _with_points(surface: vtkPolyData, points: npt.NDArray[Any]) -> vtkPolyData:
    """A shallow copy with other coordinates, ``(n, 3)``."""
    moved = vtkPolyData()
    moved.ShallowCopy(surface)
    holder = vtkPoints()
    holder.SetData(numpy_to_vtk(np.ascontiguousarray(points, dtype=np.float32), deep=True))
    moved.SetPoints(holder)
    return moved


def _to_lps(surface: vtkPolyData) -> vtkPolyData:
    """Points and normals from RAS to LPS; half a turn keeps triangles facing outwards."""
    half_turn = LPS_TO_RAS.diagonal()[:3].astype(np.float32)
    moved = _with_points(surface, vtk_to_numpy(surface.GetPoints().GetData()) * half_turn)
    normals = numpy_to_vtk(vtk_to_numpy(surface.GetPointData().GetNormals()) * half_turn, deep=True)
    normals.SetName("Normals")
    moved.GetPointData().SetNormals(normals)
    return moved


# Bytes, for Python to write: VTK's writers end the process where the name of a file is no UTF-8.
_STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])


def _as_stl(surface: vtkPolyData) -> bytes:
    triangles = np.zeros(surface.GetNumberOfPolys(), _STL_TRIANGLE)
    corners = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    triangles["corners"] = vtk_to_numpy(surface.GetPoints().GetData())[corners]
    normals = np.cross(*np.diff(triangles["corners"], axis=1).transpose(1, 0, 2))
    triangles["normal"] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return struct.pack("<80sI", b"TumorSeg output. SPACE=LPS", len(triangles)) + triangles.tobytes()


def _as_vtp(surface: vtkPolyData) -> bytes:
    space = vtkStringArray()
    space.SetName("SPACE")
    space.InsertNextValue("LPS")
    surface.GetFieldData().AddArray(space)
    writer = vtkXMLPolyDataWriter()
    writer.SetInputData(surface)
    writer.WriteToOutputStringOn()
    writer.SetDataModeToBinary()
    with _quiet_vtk():
        writer.Write()
    return str(writer.GetOutputString()).encode("utf-8")


_FORMATS: dict[str, Callable[[vtkPolyData], bytes]] = {".stl": _as_stl, ".vtp": _as_vtp}


@contextmanager
def _quiet_vtk() -> Iterator[None]:
    """Keeps VTK off stderr: what went wrong is raised instead, and no display is no news on a cluster."""
    before = vtkLogger.GetCurrentVerbosityCutoff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtkLogger.SetStderrVerbosity(before)


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _vtk_version() -> tuple[int, int]:
    return vtkVersion.GetVTKMajorVersion(), vtkVersion.GetVTKMinorVersion()


def _scene(surfaces: Sequence[RenderedSurface], aspect: float) -> vtkRenderer:
    """All surfaces in a parallel view; ``aspect`` is width by height of the picture."""
    renderer = vtkRenderer()
    renderer.SetBackground(*_BACKGROUND)
    for item in surfaces:
        renderer.AddActor(_glass_actor(item) if item.glass else _solid_actor(item))
    _, up, towards = view_directions()
    middle, half_height, half_depth = _frame(surfaces, aspect)
    camera = renderer.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + towards * (half_depth + 100)))
    camera.SetViewUp(*up)
    camera.SetParallelScale(half_height)
    renderer.ResetCameraClippingRange()
    return renderer


def _frame(surfaces: Sequence[RenderedSurface], aspect: float) -> tuple[FloatArray, float, float]:
    """Middle (RAS), half the height and half the depth (mm) of the view: everything, or what is solid if that is small.

    A tumour of a few millimetres in a whole body would not be seen; it gets two fifths of the picture.
    """

    def fit(items: Sequence[RenderedSurface]) -> tuple[FloatArray, float, float]:
        axes = np.stack(view_directions())
        points = np.concatenate([vtk_to_numpy(item.surface.GetPoints().GetData()) for item in items]) @ axes.T
        low, high = points.min(axis=0), points.max(axis=0)
        half_width, half_height, half_depth = (high - low) / 2
        return (low + high) / 2 @ axes, _ROOM * max(half_height, half_width / aspect), float(half_depth)

    everything = fit(surfaces)
    solid = [item for item in surfaces if not item.glass]
    if not solid:
        return everything
    middle, half_height, half_depth = fit(solid)
    if everything[1] <= _LARGEST_SCENE * half_height:
        return everything
    return middle, _LARGEST_SCENE * half_height, half_depth


def _solid_actor(item: RenderedSurface) -> vtkActor:
    actor = _actor(item.surface)
    look = actor.GetProperty()
    look.SetColor(*item.colour)
    look.SetAmbient(0.15)
    look.SetDiffuse(0.85)
    look.SetSpecular(0.35)
    look.SetSpecularPower(30)
    look.SetInterpolationToPhong()
    return actor


def _glass_actor(item: RenderedSurface) -> vtkActor:
    """Opacity per point by how far the surface turns away from the viewer, front faces only: no sorting needed."""
    right, up, towards = view_directions()
    normals = vtk_to_numpy(item.surface.GetPointData().GetNormals())
    lit = np.clip(normals @ (towards + up - 0.5 * right) / 1.5, 0, 1)
    opacity = 0.13 + 0.47 * (1 - np.abs(normals @ towards)) ** 2
    shades = np.outer(0.3 + 0.7 * lit, item.colour)
    colours = np.round(np.column_stack([shades, opacity]) * 255).astype(np.uint8)
    surface = vtkPolyData()
    surface.ShallowCopy(item.surface)
    surface.GetPointData().SetScalars(numpy_to_vtk(colours, deep=True))
    actor = _actor(surface)
    actor.ForceTranslucentOn()
    look = actor.GetProperty()
    look.BackfaceCullingOn()
    look.LightingOff()
    return actor


def _actor(surface: vtkPolyData) -> vtkActor:
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(surface)
    actor = vtkActor()
    actor.SetMapper(mapper)
    return actor


def _draw(renderer: vtkRenderer, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(8)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    width, height, _ = grab.GetOutput().GetDimensions()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()
    window.Finalize()
    return np.asarray(pixels, np.uint8)
