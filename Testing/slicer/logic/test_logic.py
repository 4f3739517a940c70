"""The module's logic without a window: segment, correct, undo, other segments."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer.desk import Case, bounds_of, paint_box
from Testing.slicer.module import segment_ids
from TumorSegLib import ArgumentError

# Segment and correct


def test_segment_adds_a_tumour_segment(case: Case) -> None:
    import slicer
    import vtk

    mask = case.find()
    expected = slicer.util.arrayFromVolume(case.volumes["pet"]) > 3.0
    np.testing.assert_array_equal(mask, expected)
    assert expected.sum() > 50
    segment = case.node.GetSegmentation().GetSegment(case.segment)
    assert segment.GetName() == "Tumour"
    tag = vtk.reference("")
    segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag)
    assert "Neoplasm" in str(tag)
    assert ("auto", "sts-auto", "auto", "auto") in case.engines.asked


def test_segment_takes_model_and_segmentation_as_arguments(case: Case) -> None:
    first = case.find()
    node, other = case.logic.segment(case.inputs, model="mine", segmentation=case.node)
    assert node is case.node
    assert segment_ids(node) == [case.segment, other]
    assert ("auto", "mine", "auto", "auto") in case.engines.asked
    case.engines.engines["auto"].rule = lambda images: images["pet"].array > 5.0
    assert case.logic.segment(case.inputs, segmentation=node, segmentId=case.segment) == (node, case.segment)
    assert 0 < case.mask().sum() < first.sum()
    case.logic.undo(node, case.segment)
    np.testing.assert_array_equal(case.mask(), first)


def test_clicks_change_the_voxels_at_their_point_and_only_there(case: Case) -> None:
    before = case.find()
    case.click((5, 6, 7))
    added = case.mask()
    assert added[7, 6, 5] == 1
    changed = np.argwhere(added != before)
    assert np.abs(changed - [7, 6, 5]).max() <= 3
    case.click((5, 6, 7), positive=False)
    assert case.mask()[7, 6, 5] == 0


def test_undo_and_redo_of_every_kind_of_edit(case: Case) -> None:
    masks = [case.find()]
    edits = (
        lambda: case.click((5, 6, 7)),
        lambda: case.logic.addScribble(case.node, case.segment, [case.ras(20, 20, 9), case.ras(26, 23, 9)]),
        lambda: case.logic.addBox(case.node, case.segment, bounds_of(case, (30, 30, 20), (40, 38, 26))),
        lambda: paint_box(case, (2, 2, 2), (3, 3, 3)),
        lambda: case.logic.reset(case.node, case.segment),
    )
    for edit in edits:
        edit()
        masks.append(case.mask())
    sums = [int(mask.sum()) for mask in masks]
    assert len({mask.tobytes() for mask in masks}) == len(masks), sums
    assert sums[-1] == 0
    assert masks[2][9, 20, 20:].any()
    assert masks[2][9, 23, 26] == 1
    for expected in reversed(masks[:-1]):
        assert case.logic.undo(case.node, case.segment) is not None
        np.testing.assert_array_equal(case.mask(), expected)
    for expected in masks[1:]:
        assert case.logic.redo(case.node, case.segment) is not None
        np.testing.assert_array_equal(case.mask(), expected)
    assert case.logic.redo(case.node, case.segment) is None
    for _ in masks:
        case.logic.undo(case.node, case.segment)
    assert case.logic.undo(case.node, case.segment) is None
    assert not case.mask().any()


def test_box_from_a_roi_or_bounds(case: Case) -> None:
    import slicer

    case.find()
    bounds = bounds_of(case, (30, 30, 20), (40, 38, 26))
    case.logic.parameters.boxModel = "lite-medsam"
    case.logic.addBox(case.node, case.segment, bounds, role="pet")
    by_bounds = case.mask()
    case.logic.undo(case.node, case.segment)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    roi.SetXYZ([sum(pair) / 2 for pair in zip(bounds[::2], bounds[1::2])])
    roi.SetRadiusXYZ([(high - low) / 2 for low, high in zip(bounds[::2], bounds[1::2])])
    case.logic.addBox(case.node, case.segment, roi, model="other", role="pet")
    np.testing.assert_array_equal(case.mask(), by_bounds)
    assert by_bounds[23, 34, 35] == 1
    assert case.engines.engines["box"].prepared[-1].role == "pet"
    assert ("box", "other", "auto", "auto") in case.engines.asked
    with pytest.raises(ArgumentError, match="each pair rising"):
        case.logic.addBox(case.node, case.segment, [0, 10, 20, 10, 0, 5])


def test_a_box_is_answered_by_the_model_for_clicks_where_no_other_was_chosen(case: Case) -> None:
    case.find()
    bounds = bounds_of(case, (30, 30, 20), (40, 38, 26))
    case.logic.addBox(case.node, case.segment, bounds, model="lite-medsam")
    case.logic.undo(case.node, case.segment)
    boxes = len(case.engines.engines["box"].segmented)
    edit = case.logic.addBox(case.node, case.segment, bounds)
    assert edit.info.model == "balls"
    assert len(case.engines.engines["box"].segmented) == boxes == 1
    with pytest.raises(ArgumentError, match=r"role: only models of kind 'box' see one image alone: .* got 'pet'"):
        case.logic.addBox(case.node, case.segment, bounds, role="pet")


def test_clicks_on_an_empty_new_segment(case: Case) -> None:
    case.node, case.segment = case.logic.addSegment(case.inputs)
    assert not case.mask().any()
    case.click((30, 30, 16))
    assert case.mask()[16, 30, 30] == 1
    node, second = case.logic.addSegment(case.inputs, case.node)
    assert (node, len(segment_ids(node))) == (case.node, 2)
    assert second != case.segment


# Other segments


@pytest.mark.parametrize(
    ("mode", "visible", "loses"),
    [
        ("ALLOW", True, False),
        ("OVERWRITE_VISIBLE", True, True),
        ("OVERWRITE_VISIBLE", False, False),
        ("OVERWRITE_ALL", False, True),
    ],
)
def test_overwrite_mode_and_undo_of_other_segments(case: Case, mode: str, visible: bool, loses: bool) -> None:
    from TumorSegSlicer.parameters import OverwriteMode

    first = case.find()
    other = case.segment
    case.node.GetDisplayNode().SetSegmentVisibility(other, visible)
    _, case.segment = case.logic.addSegment(case.inputs, case.node)
    case.logic.parameters.overlap = OverwriteMode[mode]
    k, j, i = np.argwhere(first)[len(np.argwhere(first)) // 2].tolist()
    case.click((i, j, k))
    mine = case.mask()
    assert (mine & first).any()
    np.testing.assert_array_equal(case.mask(other), first & ~mine if loses else first)
    case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(other), first)
    assert not case.mask().any()
    case.logic.redo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(other), first & ~mine if loses else first)
    np.testing.assert_array_equal(case.mask(), mine)


def test_completed_segments_do_not_change(case: Case) -> None:
    import slicer

    before = case.find()
    status = slicer.vtkSlicerSegmentationsModuleLogic
    segment = case.node.GetSegmentation().GetSegment(case.segment)
    status.SetSegmentStatus(segment, status.Completed)
    for act in (
        lambda: case.click((5, 6, 7)),
        lambda: case.logic.reset(case.node, case.segment),
        lambda: case.logic.segment(case.inputs, segmentation=case.node, segmentId=case.segment),
        lambda: case.logic.undo(case.node, case.segment),
    ):
        with pytest.raises(ArgumentError, match="marked as completed"):
            act()
        np.testing.assert_array_equal(case.mask(), before)
    status.SetSegmentStatus(segment, status.InProgress)
    case.click((5, 6, 7))
    assert case.mask()[7, 6, 5] == 1
    case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), before)
