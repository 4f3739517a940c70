"""Measurements against Slicer's own: the filters of its module Segment Statistics, set up as its plugins do.

The module is a scripted one and not in the wheel; the C++ that does its work is. What both have is volume, voxels,
centre, the longest diameter in 3D, and the values of an image in the segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.fakes import rotation
from Testing.slicer.module import SMALL, TUMORSEG, FakeEngines, load_phantom
from TumorSegLib import Grid, Measurements, make_phantom, measure
from TumorSegLib.geometry.boxes import slices

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: Axes of the phantom's voxels where it lies oblique, 2, 3 and 5 mm.
OBLIQUE = Grid.from_spacing(SMALL["shape"], (2.0, 3.0, 5.0), (-30, 20, 110), rotation((0.3, -0.4, 0.7)))
# Another lattice over the same place, so that a voxel of the PET holds parts of several voxels of the segment.
COARSE = Grid.from_spacing((34, 34, 34), (6.1, 5.3, 7.7), (-73, -45, -74), rotation((0.1, 0.2, -0.1)))
MOTION = np.eye(4)
MOTION[:3, :3], MOTION[:3, 3] = rotation((0.5, 0.2, -0.3)), (40, -7, 12)


@dataclass
class Case:
    """The phantom's tumour as a segment, with the logic to measure it."""

    logic: Any
    volumes: dict[str, Any]
    node: Any
    segment: str

    def rows(self) -> dict[str, str]:
        """What the table says: measurement to value."""
        table = self.logic.measure(self.node, self.segment)
        return {table.GetCellText(row, 0): table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())}

    def measured(self) -> Measurements:
        """What the library says, with all decimals."""
        from TumorSegSlicer.mrml import tables, volumes

        images = {role: volumes.volumeFromNode(node, role) for role, node in self.volumes.items()}
        grid = images["ct"].grid
        return measure(tables.ownMask(self.node, self.segment, lambda: grid)(), images)


def plain(_volumes: Mapping[str, Any]) -> None:
    """The phantom as it is made: 4 x 4 x 5 mm, along the axes of the body."""


def oblique(volumes: Mapping[str, Any]) -> None:
    """All images on an oblique lattice of three spacings, and moved by a transform, as the segmentation is."""
    from Testing.slicer.scene import add_transform, vtk_matrix

    moved = add_transform(volumes["ct"].GetScene(), MOTION)
    for volume in volumes.values():
        volume.SetIJKToRASMatrix(vtk_matrix(OBLIQUE.affine))
        volume.SetAndObserveTransformNodeID(moved)


def other_grid(volumes: Mapping[str, Any]) -> None:
    """The PET in coarse voxels of another direction, and moved by a transform that the segmentation does not have."""
    import slicer

    from Testing.slicer.scene import add_transform, vtk_matrix

    values = np.random.default_rng(2).gamma(2.0, 2.0, COARSE.shape).astype(np.float32)
    slicer.util.updateVolumeFromArray(volumes["pet"], values)
    volumes["pet"].SetIJKToRASMatrix(vtk_matrix(np.linalg.inv(MOTION) @ COARSE.affine))
    volumes["pet"].SetAndObserveTransformNodeID(add_transform(volumes["pet"].GetScene(), MOTION))


@pytest.fixture(params=[plain, oblique, other_grid])
def case(host: Host, request: pytest.FixtureRequest) -> Case:
    logic = host.load_module(TUMORSEG, with_panel=False).TumorSegLogic(FakeEngines())
    volumes = load_phantom()
    volumes.pop("mr_t1")
    request.param(volumes)
    node, segment = logic.addSegment(volumes)
    put_tumour(node, segment, volumes["ct"])
    logic.importBrush(node, segment)
    return Case(logic, volumes, node, segment)


def put_tumour(node: Any, segment: str, ct: Any) -> None:
    """Puts the phantom's tumour into a segment by Slicer's means; its label map begins where the tumour does."""
    import slicer
    import vtk

    from Testing.slicer.scene import as_array, box_image

    tumour, matrix = make_phantom(**SMALL).tumour, vtk.vtkMatrix4x4()
    box = tumour.bounding_box()
    assert box is not None
    ct.GetIJKToRASMatrix(matrix)
    low, size = [edge[0] for edge in box], [edge[1] - edge[0] for edge in box]
    image = box_image(Grid(tumour.grid.shape, as_array(matrix)), low, size)
    vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = tumour.array[slices(box)].ravel()
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segment)


def test_shape_as_slicer_s_segment_statistics(case: Case) -> None:
    found, rows, slicers = case.measured(), case.rows(), slicers_shape(case.node, case.segment)
    assert found.voxels == slicers["voxel_count"] > 100
    assert found.volume_ml * 1000 == pytest.approx(slicers["volume_mm3"], rel=1e-6)
    assert float(rows["Volume"]) == pytest.approx(slicers["volume_cm3"], abs=0.0051)
    assert found.centroid_ras == pytest.approx(slicers["centroid_ras"], abs=1e-4)
    # Feret's diameter joins centres of voxels, ours goes on to their faces: it is longer, by one edge at most.
    assert found.maximum_diameter is not None
    longer = found.maximum_diameter.length_mm - slicers["feret_diameter_mm"]
    assert 0 < longer <= max(slicers["spacing_mm"])
    assert float(rows["Longest diameter in 3D"]) == pytest.approx(slicers["feret_diameter_mm"] + longer, abs=0.051)


def test_values_as_slicer_s_segment_statistics(case: Case) -> None:
    found, rows = case.measured(), case.rows()
    ct, pet = (slicers_values(case.node, case.segment, case.volumes[role]) for role in ("ct", "pet"))
    values, uptake = found.intensities["ct"], found.pet
    assert uptake is not None
    assert (values.voxels, uptake.voxels) == (ct["voxel_count"], pet["voxel_count"])
    assert (values.minimum, values.maximum) == (ct["min"], ct["max"])
    assert values.mean == pytest.approx(ct["mean"])
    assert values.median == pytest.approx(ct["median"], abs=1)  # Slicer's is the limit of a bin of 1 HU
    assert values.standard_deviation == pytest.approx(ct["stdev"])
    assert float(rows["CT mean"]) == pytest.approx(ct["mean"], abs=0.051)
    assert float(rows["CT standard deviation"]) == pytest.approx(ct["stdev"], abs=0.051)
    assert (uptake.suv_max, uptake.suv_mean) == (pytest.approx(pet["max"]), pytest.approx(pet["mean"]))
    assert float(rows["SUVmax"]) == pytest.approx(pet["max"], abs=0.0051)
    assert float(rows["SUVmean"]) == pytest.approx(pet["mean"], abs=0.0051)
    volume_cm3 = slicers_shape(case.node, case.segment)["volume_cm3"]
    assert float(rows["TLG"]) == pytest.approx(pet["mean"] * volume_cm3, abs=0.051)


# As in Modules/Scripted/SegmentStatistics/SegmentStatisticsPlugins of Slicer


def slicers_shape(node: Any, segment: str) -> dict[str, Any]:
    """As ``LabelmapSegmentStatisticsPlugin`` computes it; ``centroid_ras`` in the world."""
    import slicer
    import vtk

    labelmap, directions = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    node.GetBinaryLabelmapRepresentation(segment, labelmap)
    labelmap.GetDirectionMatrix(directions)
    binary = as_binary(labelmap)
    count = accumulated(binary, binary).GetVoxelCount()
    volume = count * float(np.prod(labelmap.GetSpacing()))
    statistics = slicer.vtkITKLabelShapeStatistics()
    statistics.SetInputData(binary)
    statistics.SetDirections(directions)
    for name in ("Centroid", "FeretDiameter"):
        statistics.SetComputeShapeStatistic(name, True)
    statistics.Update()
    table, to_world = statistics.GetOutput(), vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, to_world)
    return {
        "voxel_count": count,
        "volume_mm3": volume,
        "volume_cm3": volume * 0.001,
        "centroid_ras": to_world.TransformPoint(table.GetColumnByName("Centroid").GetTuple(0)),
        "feret_diameter_mm": table.GetColumnByName("FeretDiameter").GetTuple(0)[0],
        "spacing_mm": labelmap.GetSpacing(),
    }


def slicers_values(node: Any, segment: str, volume: Any) -> dict[str, float]:
    """As ``ScalarVolumeSegmentStatisticsPlugin`` computes it: the segment is brought to the lattice of the image."""
    import slicer
    import vtk

    image, matrix = volume.GetImageData(), vtk.vtkMatrix4x4()
    lattice, labelmap, there = (slicer.vtkOrientedImageData() for _ in range(3))
    lattice.SetExtent(image.GetExtent())
    volume.GetIJKToRASMatrix(matrix)
    lattice.SetGeometryFromImageToWorldMatrix(matrix)
    between, parents = vtk.vtkGeneralTransform(), (node.GetParentTransformNode(), volume.GetParentTransformNode())
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, between)
    node.GetBinaryLabelmapRepresentation(segment, labelmap)
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    assert resample(labelmap, lattice, there, False, False, between)  # to the nearest, no padding
    binary = as_binary(there)
    found = accumulated(image, binary)
    medians = vtk.vtkImageHistogramStatistics()
    medians.SetInputData(image)
    medians.SetStencilData(stencil_of(binary))
    medians.Update()
    values = {"min": found.GetMin(), "max": found.GetMax(), "mean": found.GetMean()}
    values["stdev"] = found.GetStandardDeviation()
    first = {name: value[0] for name, value in values.items()}
    return {"voxel_count": found.GetVoxelCount(), "median": medians.GetMedian(), **first}


def as_binary(labelmap: Any) -> Any:
    """0 and 1, whatever the value of the label."""
    import vtk

    threshold = vtk.vtkImageThreshold()
    threshold.SetInputData(labelmap)
    threshold.ThresholdByLower(0)
    threshold.SetInValue(0)
    threshold.SetOutValue(1)
    threshold.SetOutputScalarType(vtk.VTK_UNSIGNED_CHAR)
    threshold.Update()
    return threshold.GetOutput()


def stencil_of(binary: Any) -> Any:
    import vtk

    stencil = vtk.vtkImageToImageStencil()
    stencil.SetInputData(binary)
    stencil.ThresholdByUpper(1)
    stencil.Update()
    return stencil.GetOutput()


def accumulated(image: Any, binary: Any) -> Any:
    """Statistics of the values of an image where a label map is 1."""
    import vtk

    statistics = vtk.vtkImageAccumulate()
    statistics.SetInputData(image)
    statistics.SetStencilData(stencil_of(binary))
    statistics.Update()
    return statistics
