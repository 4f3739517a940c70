"""A scene of Slicer's own MRML library with the logics that the module's core needs; no application and no Qt."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="the wheel slicer-core is not installed", exc_type=ImportError)

import slicer
import vtk

# Slicer puts a scripted module's own folder on the path.
MODULE = Path(__file__).resolve().parents[2] / "TumorSeg"
if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))

from TumorSegSlicer.mrml import prompts, segments, session_nodes, volumes  # noqa: E402, F401 - for the tests, which must not be first
from TumorSegSlicer.work import failures, runner, sessions  # noqa: E402, F401 - for the tests, which must not be first

from Testing.fakes import rotation  # noqa: E402
from TumorSegLib.geometry.grid import Grid  # noqa: E402
from TumorSegLib.session.edit import Edit  # noqa: E402

LOGICS = (
    "vtkSlicerVolumesLogic",
    "vtkSlicerMarkupsLogic",
    "vtkSlicerTransformLogic",
    "vtkSlicerSegmentationsModuleLogic",
    "vtkSlicerTextsLogic",
)


@contextmanager
def empty_scene(folder: Path) -> Iterator[Any]:
    """An empty scene that unpacks .mrb files in a folder."""
    made = _Scene(folder)
    try:
        yield made.scene
    finally:
        made.close()


class _Scene:
    """Keeps the logics that a scene depends on."""

    def __init__(self, folder: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        application = slicer.vtkSlicerApplicationLogic()
        application.SetMRMLScene(self.scene)
        self.logics = [application]
        for name in LOGICS:
            logic = getattr(slicer, name)()
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(self.scene)
            self.logics.append(logic)
        # .mrb files are unpacked into the cache of the remote input and output.
        remote = slicer.vtkMRMLRemoteIOLogic()
        remote.SetMRMLScene(self.scene)
        remote.GetCacheManager().SetRemoteCacheDirectory(str(folder))
        data = slicer.vtkDataIOManagerLogic()
        data.SetMRMLScene(self.scene)
        data.SetAndObserveDataIOManager(remote.GetDataIOManager())
        remote.AddDataIOToScene()
        self.logics += [remote, data]

    def close(self) -> None:
        self.scene.Clear(True)
        for logic in reversed(self.logics):
            logic.SetMRMLScene(None)


OBLIQUE = Grid.from_spacing((14, 16, 18), (1.0, 1.5, 2.5), (-30, 20, 110), rotation((0.3, -0.4, 0.7)))
MIRRORED = Grid.from_spacing((14, 16, 18), (2.0, 0.8, 3.0), (5, -60, 7), rotation((-0.2, 0.9, 0.1), mirror=True))
PLAIN = Grid.from_spacing((14, 16, 18), (1.0, 1.0, 1.0))
GRIDS = {"plain": PLAIN, "oblique": OBLIQUE, "mirrored": MIRRORED}

# A rigid motion, one that also scales, and none.
RIGID = np.eye(4)
RIGID[:3, :3], RIGID[:3, 3] = rotation((0.5, 0.2, -0.3)), (40, -7, 12)
SCALING = RIGID @ np.diag([2.0, 2.0, 2.0, 1.0])
TRANSFORMS = {"none": None, "rigid": RIGID, "scaling": SCALING}


def vtk_matrix(array: np.ndarray) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, float).ravel().tolist())
    return matrix


def add_transform(scene: Any, array: np.ndarray | None) -> str | None:
    """The id of a new linear transform; None for none."""
    if array is None:
        return None
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "motion")
    node.SetMatrixTransformToParent(vtk_matrix(array))
    return str(node.GetID())


def add_volume(
    scene: Any, grid: Grid, array: np.ndarray | None = None, transform: np.ndarray | None = None, name: str = "CT"
) -> Any:
    """A scalar volume of a grid under a transform; random int16 unless values are given."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    if array is None:
        array = np.random.default_rng(0).integers(-200, 200, grid.shape).astype(np.int16)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(vtk_matrix(grid.affine))
    node.SetAndObserveTransformNodeID(add_transform(scene, transform))
    return node


def moved(grid: Grid, transform: np.ndarray | None) -> Grid:
    """The grid in the world, computed without Slicer."""
    return grid if transform is None else Grid(grid.shape, transform @ grid.affine)


def box_image(grid: Grid, low: Sequence[int], size: Sequence[int], value: int = 1) -> Any:
    """An image of a box of a grid, filled."""
    image = slicer.vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(grid.affine))
    image.SetExtent([limit for n, edge in zip(low, size) for limit in (n, n + edge - 1)])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(value)
    return image


def paint(node: Any, segment_id: str, grid: Grid, low: Sequence[int], size: Sequence[int]) -> None:
    """Adds a box to a segment by Slicer's own means, as the Segment Editor's brush does."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    image = box_image(grid, low, size)
    assert logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_MERGE_MASK, image.GetExtent())


def world_points(node: Any, segment_id: str) -> np.ndarray:
    """RAS of the voxels of a segment in the world ``[n, 3]``, sorted, read from its label map by VTK alone."""
    labelmap = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, labelmap)
    if labelmap.IsEmpty():
        return np.empty((0, 3))
    voxels = vtk.util.numpy_support.vtk_to_numpy(labelmap.GetPointData().GetScalars())
    k, j, i = np.nonzero(voxels.reshape(labelmap.GetDimensions()[::-1]))
    extent, matrix = labelmap.GetExtent(), vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    local = np.stack([i + extent[0], j + extent[2], k + extent[4], np.ones_like(i)])
    parent = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, parent)
    points = (as_array(parent) @ as_array(matrix) @ local)[:3].T
    return points[np.lexsort(np.round(points, 3).T)]


def as_array(matrix: Any) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def add_segmentation(scene: Any, transform: np.ndarray | None = None) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.SetAndObserveTransformNodeID(add_transform(scene, transform))
    return node


def add_segment(node: Any, name: str) -> str:
    return str(node.GetSegmentation().AddEmptySegment(name, name))


def box_edit(grid: Grid, low: tuple[int, int, int], size: tuple[int, int, int], erase: bool = False) -> Edit:
    """An edit that fills a box, or empties it."""
    box = tuple((n, n + edge) for n, edge in zip(low, size))
    full, empty = np.ones(size[::-1], np.uint8), np.zeros(size[::-1], np.uint8)
    return Edit("tumour", box, full if erase else empty, empty if erase else full)


def layers(node: Any) -> int:
    return int(node.GetSegmentation().GetNumberOfLayers())


def saved_steps(node: Any, segment_id: str) -> list[int]:
    """The numbers of the steps in the saved session of a segment."""
    data, problem = session_nodes.readSession(session_nodes.textNode(node, segment_id))
    assert problem == ""
    steps: list[int] = data["history"]["steps"]
    assert set(data["records"]) == {str(number) for number in (0, *steps)}
    return steps
