"""Closed triangle surfaces of a tumour: as VTK data in RAS, and as files for 3D Slicer and CAD.

Files follow what 3D Slicer itself writes by default (vtkMRMLModelStorageNode): points in LPS millimetres, and a note
that says so, ``SPACE=LPS`` in the header of an STL file and a field data string array ``SPACE`` holding ``LPS`` in a
VTP file. Slicer, reading the note, shows the surface where the tumour is; other software takes the LPS of DICOM.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Registers the OpenGL implementation that vtkRenderWindow needs.
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkLogger, vtkPoints, vtkStringArray
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
from vtkmodules.vtkFiltersCore import (
    vtkFlyingEdges3D,
    vtkPolyDataNormals,
    vtkReverseSense,
    vtkWindowedSincPolyDataFilter,
)
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

from TumorSegLib.errors import ArgumentError, TumorSegError, WriteError
from TumorSegLib.files import replacing
from TumorSegLib.geometry.arrays import Float32Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, grown, origin, slices
from TumorSegLib.geometry.grid import LPS_TO_RAS, Grid
from TumorSegLib.images.volume import Volume

# Takes off the steps of the voxels and keeps the volume: of a ball of 12, 6 and 3 voxels radius it loses 0.05, 0.2 and
# 1.3 %, less than the flat triangles do (0.4, 1.5 and 5.9 %); a pass band of 0.01 would lose 0.2, 2 and 24 %.
SMOOTHING_ITERATIONS = 20
SMOOTHING_PASS_BAND = 0.1


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


def _padded_crop(array: npt.NDArray[Any], level: float) -> tuple[Float32Array, tuple[int, int, int]]:
    """The part above the level with its neighbours and a closing layer of 0, and the ``(i, j, k)`` of its corner."""
    box = grown(bounding_box(array > level) or EMPTY_BOX, (1, 1, 1), (array.shape[0], array.shape[1], array.shape[2]))
    i, j, k = origin(box)
    return np.pad(array[slices(box)].astype(np.float32), 1), (i - 1, j - 1, k - 1)


def _isosurface(array: Float32Array, corner_ijk: tuple[int, ...], level: float) -> vtkPolyData:
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


# Encoded here and written by Python: VTK's writers end the process if a file name is not UTF-8.
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
    with quiet_vtk():
        writer.Write()
    return str(writer.GetOutputString()).encode("utf-8")


_FORMATS: dict[str, Callable[[vtkPolyData], bytes]] = {".stl": _as_stl, ".vtp": _as_vtp}


@contextmanager
def quiet_vtk() -> Iterator[None]:
    """Suppresses VTK's messages on stderr: errors are raised, and a missing display is usual on a cluster.

    The verbosity is of the whole process, as VTK has no other; of surfaces drawn at the same time in two threads some
    messages may appear, results do not depend on it.
    """
    before = vtkLogger.GetCurrentVerbosityCutoff()
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtkLogger.SetStderrVerbosity(before)
