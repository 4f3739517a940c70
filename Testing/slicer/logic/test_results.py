"""The module's logic without a window: measurements, overlays, uncertain regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, paint_box
from Testing.slicer.module import ras_of
from TumorSegLib import ArgumentError
from TumorSegLib.disclaimer import DISCLAIMER

# Measure


def test_measurements_are_those_of_the_library(case: Case) -> None:
    import slicer
    from TumorSegSlicer.mrml import volumes

    from TumorSegLib import Mask, measure

    mask = case.find()
    case.node.GetSegmentation().GetSegment(case.segment).SetName("Thigh")
    table = case.logic.measure(case.node, case.segment, diameterLines=True)
    rows = {table.GetCellText(row, 0): table.GetCellText(row, 1) for row in range(table.GetNumberOfRows())}
    images = {role: volumes.volumeFromNode(case.inputs[role], role) for role in ("ct", "pet")}
    found = measure(Mask(images["ct"].grid, mask), images)
    assert float(rows["Volume"]) == pytest.approx(mask.sum() * 0.08, abs=0.006)
    assert rows["Longest axial diameter (RECIST 1.1)"] == f"{found.axial.longest.length_mm:.1f}"
    assert rows["SUVmax"] == f"{found.pet.suv_max:.2f}"
    assert rows["TLG"] == f"{found.pet.tlg_g:.1f}"
    assert rows["CT mean"] == f"{found.intensities['ct'].mean:.1f}"
    assert rows["Segment"] == "Thigh"
    assert rows["Note"] == DISCLAIMER
    lines = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
    assert [line.GetName() for line in lines] == ["Thigh longest axial diameter", "Thigh perpendicular diameter"]
    lengths = [line.GetLineLengthWorld() for line in lines]
    np.testing.assert_allclose(lengths, [found.axial.longest.length_mm, found.axial.perpendicular.length_mm], atol=1e-3)
    case.logic.measure(case.node, case.segment)  # lines are no longer wanted
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []
    case.logic.reset(case.node, case.segment)
    table = case.logic.measure(case.node, case.segment, diameterLines=True)
    assert [table.GetCellText(row, 1) for row in (1, 3)] == ["0.00", ""]
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []


def measured() -> list[str]:
    """Names of the tables and lines in the scene."""
    import slicer

    kinds = ("vtkMRMLTableNode", "vtkMRMLMarkupsLineNode")
    return [node.GetName() for kind in kinds for node in slicer.util.getNodesByClass(kind)]


def remove_segmentation(case: Case) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(case.node)


CHANGES: dict[str, Callable[[Case], object]] = {
    "click": lambda case: case.click((50, 50, 20)),
    "undo": lambda case: case.logic.undo(case.node, case.segment),
    "painted elsewhere": lambda case: paint_box(case, (2, 2, 2), (6, 6, 6)),
    "segment deleted": lambda case: case.logic.deleteSegment(case.node, case.segment),
    "segment deleted elsewhere": lambda case: case.node.GetSegmentation().RemoveSegment(case.segment),
    "segmentation deleted": remove_segmentation,
}


@pytest.mark.parametrize("change", CHANGES)
def test_old_measurements_leave_the_scene(case: Case, change: str) -> None:
    case.find()
    case.logic.measure(case.node, case.segment, diameterLines=True)
    assert len(measured()) == 3
    CHANGES[change](case)
    assert measured() == []


def test_measurements_stay_while_other_segments_change(case: Case) -> None:
    case.find()
    case.logic.measure(case.node, case.segment, diameterLines=True)
    first, before = case.segment, measured()
    case.segment = case.logic.addSegment(case.inputs, case.node)[1]
    case.click((10, 10, 10))
    paint_box(case, (2, 2, 2), (3, 3, 3))
    case.logic.measure(case.node, case.segment)
    case.node.GetSegmentation().GetSegment(first).SetName("Thigh")
    before = [name.replace("Tumour", "Thigh") for name in before]
    assert sorted(measured()) == sorted([*before, "Tumour 2 measurements"])
    case.click((20, 10, 10))
    assert measured() == before
    paint_box(case, (2, 2, 2), (3, 3, 3), first)
    assert measured() == []


def test_table_and_lines_have_the_name_of_their_segment(case: Case) -> None:
    import slicer

    case.find()
    table = case.logic.measure(case.node, case.segment, diameterLines=True)
    segment, told = case.node.GetSegmentation().GetSegment(case.segment), []
    tag = table.AddObserver("ModifiedEvent", lambda *_: told.append(None))
    segment.SetName("Thigh")
    assert measured() == ["Thigh measurements", "Thigh longest axial diameter", "Thigh perpendicular diameter"]
    assert (table.GetCellText(0, 1), bool(told)) == ("Thigh", True)
    table.RemoveObserver(tag)
    lines = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
    labels = [[line.GetNthControlPointLabel(end) for end in (0, 1)] for line in lines]
    lengths = [f"{line.GetLineLengthWorld():.1f} mm" for line in lines]
    assert labels == [["", f"Thigh: {lengths[0]}"], ["", lengths[1]]]
    ends = [np.array(line.GetNthControlPointPositionWorld(1)) for line in lines]
    assert ends[0][1] < ends[1][1] - 10  # mm, so that the labels do not lie over each other in an axial view
    for line in lines:  # Slicer's own label stands in the middle, where the lines cross
        display = line.GetDisplayNode()
        assert (display.GetPropertiesLabelVisibility(), display.GetPointLabelsVisibility()) == (False, True)
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Copy")
    copy.Copy(case.node)
    copy.GetSegmentation().GetSegment(case.segment).SetName("Shin")
    assert measured()[0] == "Thigh measurements"


def shift(transform: Any, r: float, scale: float = 1.0) -> None:
    """Makes a transform move along R, and lengthen all axes."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    for axis in range(3):
        matrix.SetElement(axis, axis, scale)
    matrix.SetElement(0, 3, r)
    transform.SetMatrixTransformToParent(matrix)


def test_lines_move_with_the_study_and_leave_where_the_segment_leaves_its_image(case: Case) -> None:
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Study")
    for each in case.inputs.values():
        each.SetAndObserveTransformNodeID(transform.GetID())
    case.find()  # lies under the transform of its image
    case.logic.measure(case.node, case.segment, diameterLines=True)
    (line, _perpendicular) = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
    before, label = np.array(line.GetNthControlPointPositionWorld(0)), line.GetNthControlPointLabel(1)
    shift(transform, 30.0)
    assert len(measured()) == 3
    np.testing.assert_allclose(line.GetNthControlPointPositionWorld(0), np.add(before, (30, 0, 0)), atol=1e-3)
    assert line.GetNthControlPointLabel(1) == label
    case.logic.measure(case.node, case.segment, diameterLines=True)  # where it is now
    np.testing.assert_allclose(line.GetNthControlPointPositionWorld(0), np.add(before, (30, 0, 0)), atol=1e-3)
    case.node.SetAndObserveTransformNodeID(None)
    assert measured() == []


@pytest.mark.parametrize("what", ["alone", "longer", "bent"])
def test_measurements_of_a_segment_that_lies_elsewhere_now_leave_the_scene(case: Case, what: str) -> None:
    import slicer

    case.find()
    case.logic.measure(case.node, case.segment, diameterLines=True)
    kind = "vtkMRMLBSplineTransformNode" if what == "bent" else "vtkMRMLLinearTransformNode"
    transform = slicer.mrmlScene.AddNewNodeByClass(kind, "Move")
    if what == "longer":
        for each in case.inputs.values():
            each.SetAndObserveTransformNodeID(transform.GetID())
    case.node.SetAndObserveTransformNodeID(transform.GetID())
    if what != "bent":
        assert len(measured()) == 3  # an identity moves nothing
        shift(transform, 5.0, 2.0 if what == "longer" else 1.0)
    assert measured() == []


def test_a_segment_is_shown_in_the_slice_of_its_diameters(case: Case) -> None:
    from TumorSegSlicer.mrml import volumes
    from TumorSegSlicer.work.lesions.figures import middleNow

    case.node, case.segment = case.logic.addSegment(case.inputs)
    for low, size in (((10, 10, 10), (12, 12, 6)), ((10, 15, 12), (40, 2, 1)), ((2, 40, 20), (18, 18, 1))):
        paint_box(case, low, size)  # the last section is the largest, and has a shorter diameter
    ras = middleNow(case.node, case.segment)
    i, j, k = (round(n) for n in volumes.gridFromVolume(case.volumes["ct"]).to_ijk(ras))
    assert k == 12
    assert case.mask()[k, j, i] == 1


def test_a_copy_of_a_segmentation_that_changes_leaves_the_measurements_of_the_original(case: Case) -> None:
    import slicer

    case.find()
    case.logic.measure(case.node, case.segment)
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Copy")
    copy.Copy(case.node)
    copy.SetName("Copy")
    original, case.node = case.node, copy
    paint_box(case, (2, 2, 2), (6, 6, 6))
    assert measured() == ["Tumour measurements"]
    case.node = original
    paint_box(case, (2, 2, 2), (6, 6, 6))
    assert measured() == []


def test_a_scene_is_opened_with_its_measurements(case: Case, tmp_path: Path) -> None:
    import slicer

    case.find()
    case.logic.measure(case.node, case.segment, diameterLines=True)
    case.logic.save()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert len(measured()) == 3
    case.node = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    case.segment = case.node.GetSegmentation().GetNthSegmentID(0)
    case.node.GetSegmentation().GetSegment(case.segment).SetName("Thigh")
    assert len(measured()) == 3
    case.click((50, 50, 20))
    assert measured() == []


def test_a_segment_from_elsewhere_is_measured_on_its_own_voxels(case: Case) -> None:
    import slicer

    from Testing.slicer.scene import OBLIQUE, RIGID, add_segment, add_transform, paint

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn")
    node.SetAndObserveTransformNodeID(add_transform(slicer.mrmlScene, RIGID))
    segment = add_segment(node, "Lesion")
    paint(node, segment, OBLIQUE, (3, 4, 5), (4, 3, 2))
    table = case.logic.measure(node, segment)
    assert [table.GetCellText(row, 1) for row in (0, 1)] == ["Lesion", f"{24 * OBLIQUE.voxel_volume_ml:.2f}"]
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    empty = add_segment(other, "Empty")
    with pytest.raises(ArgumentError, match="no voxels and no volume"):
        case.logic.measure(other, empty)
    with pytest.raises(ArgumentError, match="no segment"):
        case.logic.measure(node, "gone", case.volumes["pet"])


# See


def test_overlays_lie_on_the_images(case: Case) -> None:
    import slicer

    mask = case.find()
    volume = case.logic.probabilityVolume(case.node, case.segment)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), 100 * mask)
    k, j, i = np.argwhere(mask)[0].tolist()
    np.testing.assert_allclose(ras_of(volume, (i, j, k)), case.ras(i, j, k))
    case.click((50, 50, 20))
    assert case.logic.probabilityVolume(case.node, case.segment) is volume
    assert slicer.util.arrayFromVolume(volume)[20, 50, 50] == 100
    uncertainty = slicer.util.arrayFromVolume(case.logic.uncertaintyVolume(case.node, case.segment))
    assert uncertainty[20, 50, 50] == 0
    assert uncertainty.max() > 50  # the engine paints noise


def test_uncertainty_is_entropy_in_bits(case: Case) -> None:
    from TumorSegSlicer.mrml.overlays import percentages

    probability = np.array([[[0.0, 0.25, 0.5, 0.75, 1.0]]])
    np.testing.assert_array_equal(percentages(probability, "probability"), [[[0, 25, 50, 75, 100]]])
    np.testing.assert_array_equal(percentages(probability, "uncertainty"), [[[0, 81, 100, 81, 0]]])
    with pytest.raises(ArgumentError, match="no overlay 'variance'; there are probability, uncertainty"):
        percentages(probability, "variance")


def test_uncertain_regions_are_where_the_probability_is_near_a_half(case: Case) -> None:
    from TumorSegSlicer.mrml.overlays import uncertainPositions

    from TumorSegLib import Grid, Volume

    grid = Grid.from_spacing((30, 40, 40), (2, 2, 2), origin=(10, 20, 30))
    array = np.zeros(grid.shape, np.float32)
    array[5:15, 5:15, 5:15] = 1.0  # clear, however large its rim
    array[20:25, 28:33, 28:33] = 0.5
    array[5:9, 30:34, 30:34] = 0.3
    places = uncertainPositions(Volume(grid, array, "probability"))
    np.testing.assert_allclose(places, [grid.to_ras((30, 30, 22)), grid.to_ras((31.5, 31.5, 6.5))], atol=2.1)
    assert uncertainPositions(Volume(grid, np.zeros(grid.shape, np.float32), "probability")) == []
    case.find()
    assert case.logic.uncertainPositions(case.node, case.segment) == []  # all 0 or 1
