"""The module's logic without a window: measurements, overlays, uncertain regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
    assert sorted(measured()) == sorted([*before, "Tumour 2 measurements"])
    case.click((20, 10, 10))
    assert measured() == before
    paint_box(case, (2, 2, 2), (3, 3, 3), first)
    assert measured() == []


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
