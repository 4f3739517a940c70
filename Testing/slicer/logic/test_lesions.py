"""Segments split into lesions, merged and deleted, by the logic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, paint_box
from Testing.slicer.module import segment_ids
from TumorSegLib import ArgumentError, Mask, TumorSegError, measure, split_lesions

# Low corner and size of boxes that do not touch, in voxels, the largest first; the last one is a speck.
BOXES = (
    ((5, 5, 5), (6, 6, 6)),
    ((20, 20, 10), (5, 5, 5)),
    ((40, 40, 20), (3, 3, 3)),
    ((55, 10, 25), (1, 1, 2)),
)


def painted(case: Case, boxes: Any = BOXES) -> np.ndarray:
    """Boxes painted into a new segment of the case by Slicer's own means."""
    case.node, case.segment = case.logic.addSegment(case.inputs, case.node)
    for low, size in boxes:
        paint_box(case, low, size)
    return case.mask()


def name_of(case: Case, segment: str) -> str:
    return str(case.node.GetSegmentation().GetSegment(segment).GetName())


def lock(case: Case, segment: str) -> None:
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(case.node.GetSegmentation().GetSegment(segment), logic.Completed)


def test_split_makes_a_segment_of_each_lesion_and_none_of_a_speck(case: Case) -> None:
    whole, notices = painted(case), []
    case.logic.bench.notice = notices.append
    ids = case.logic.splitSegment(case.node, case.segment)
    assert ids == segment_ids(case.node)
    assert ids[0] == case.segment
    assert [name_of(case, each) for each in ids] == ["Tumour", "Tumour 2", "Tumour 3"]
    assert [int(case.mask(each).sum()) for each in ids] == [216 + 2, 125, 27]
    np.testing.assert_array_equal(sum(case.mask(each) for each in ids), whole)
    assert notices == ["Regions left in it, too small or too many to be lesions of their own: 1."]
    colours = {case.node.GetSegmentation().GetSegment(each).GetColor() for each in ids}
    assert len(colours) == 3


def test_split_is_one_step_of_the_segment_and_new_segments_can_be_clicked_at_once(case: Case) -> None:
    whole = painted(case)
    _, second, third = case.logic.splitSegment(case.node, case.segment)
    largest = case.mask()
    case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), whole)
    case.logic.redo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), largest)
    for segment, size in ((second, 125), (third, 27)):
        assert list(case.logic.inputs(case.node, segment)) == ["ct", "pet"]
        assert case.logic.volumeMl(case.node, segment) == pytest.approx(size * 0.08)
        assert case.logic.possibleSteps(case.node, segment) == (False, False, False)
    before = case.mask(second)
    case.logic.addClick(case.node, second, case.ras(40, 10, 15))
    assert case.mask(second)[15, 10, 40]
    case.logic.undo(case.node, second)
    np.testing.assert_array_equal(case.mask(second), before)


def test_split_says_which_lesions_the_library_finds(case: Case) -> None:
    from TumorSegSlicer.mrml import volumes

    grid = volumes.gridFromVolume(case.volumes["ct"])
    whole = Mask(grid, painted(case))
    ids = case.logic.splitSegment(case.node, case.segment)
    for segment, lesion in zip(ids, split_lesions(whole), strict=True):
        np.testing.assert_array_equal(case.mask(segment), lesion.array)


def test_a_segment_of_one_lesion_stays_as_it_is(case: Case) -> None:
    whole = painted(case, BOXES[:1])
    assert case.logic.splitSegment(case.node, case.segment) == [case.segment]
    np.testing.assert_array_equal(case.mask(), whole)
    case.logic.undo(case.node, case.segment)
    assert not case.mask().any()  # the stroke was undone: the split was no step


def test_parts_of_an_automatic_result_are_so_and_the_part_that_was_split_is_not(case: Case) -> None:
    from TumorSegSlicer.mrml import segments

    case.engines.engines["auto"].rule = lambda images: (
        np.isin(np.arange(32), (4, 5, 12))[:, None, None] & (images["ct"].array > -5000)
    )
    case.find()
    ids = case.logic.splitSegment(case.node, case.segment)
    assert len(ids) == 2
    assert [segments.isReplaceable(case.node, each) for each in ids] == [False, True]


def test_number_at_the_end_of_a_name_is_not_repeated(case: Case) -> None:
    painted(case)
    case.node.GetSegmentation().GetSegment(case.segment).SetName("Lymph node 1")
    ids = case.logic.splitSegment(case.node, case.segment)
    assert [name_of(case, each) for each in ids] == ["Lymph node 1", "Lymph node 2", "Lymph node 3"]


def test_sixty_lesions_have_colours_of_their_own(case: Case) -> None:
    places = [(4 * i + 1, 4 * j + 1, 4 * k + 1) for k in range(4) for j in range(5) for i in range(4)]
    painted(case, [(low, (2, 2, 2)) for low in places[:65]])
    ids = case.logic.splitSegment(case.node, case.segment)
    assert len(ids) == 60
    assert int(case.mask().sum()) == 8 * 6
    colours = {tuple(round(c, 2) for c in case.node.GetSegmentation().GetSegment(each).GetColor()) for each in ids}
    assert len(colours) == 60


def test_merged_segments_join_the_first_as_one_step(case: Case) -> None:
    whole = painted(case)
    ids = case.logic.splitSegment(case.node, case.segment)
    paint_box(case, (20, 30, 10), (3, 3, 3), ids[1])  # counts without being imported first
    expected = whole.copy()
    expected[10:13, 30:33, 20:23] = 1
    largest = case.mask()
    assert case.logic.mergeSegments(case.node, ids) is not None
    assert segment_ids(case.node) == [case.segment]
    np.testing.assert_array_equal(case.mask(), expected)
    case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), largest)
    case.logic.redo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), expected)
    assert not case.logic.hasSession(case.node, ids[1])


def test_merge_of_what_the_first_holds_already_deletes_the_others(case: Case) -> None:
    painted(case, BOXES[:1])
    first = case.segment
    painted(case, (((6, 6, 6), (2, 2, 2)),))
    assert case.logic.mergeSegments(case.node, [first, case.segment]) is None
    assert segment_ids(case.node) == [first]


def test_completed_segments_are_neither_split_nor_merged_nor_deleted(case: Case) -> None:
    painted(case)
    first = case.segment
    painted(case, BOXES[1:2])
    lock(case, first)
    before = [case.mask(first), case.mask()]
    for act in (
        lambda: case.logic.splitSegment(case.node, first),
        lambda: case.logic.mergeSegments(case.node, [first, case.segment]),
        lambda: case.logic.mergeSegments(case.node, [case.segment, first]),
        lambda: case.logic.deleteSegment(case.node, first),
    ):
        with pytest.raises(TumorSegError, match="'Tumour' is marked as completed"):
            act()
    assert segment_ids(case.node) == [first, case.segment]
    for mask, segment in zip(before, (first, case.segment)):
        np.testing.assert_array_equal(case.mask(segment), mask)


def test_what_cannot_be_merged_is_named(case: Case) -> None:
    painted(case)
    for ids, words in (
        ([case.segment], "at least two different segments"),
        ([case.segment, case.segment], "at least two different segments"),
        (case.segment, "at least two different segments"),
        ([case.segment, "none"], "no segment with the id 'none'"),
        ([case.segment, 3], "which is text"),
    ):
        with pytest.raises(ArgumentError, match=words):
            case.logic.mergeSegments(case.node, ids)


def test_a_failed_split_leaves_no_segment_behind(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from TumorSegSlicer.mrml import segments

    whole, write, calls = painted(case), segments.applyEdit, []

    def once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise TumorSegError("no room")
        write(*arguments)

    monkeypatch.setattr(segments, "applyEdit", once)
    case.logic.importBrush(case.node, case.segment)
    calls.clear()
    with pytest.raises(TumorSegError, match="no room"):
        case.logic.splitSegment(case.node, case.segment)
    monkeypatch.undo()
    assert segment_ids(case.node) == [case.segment]
    np.testing.assert_array_equal(case.mask(), whole)
    assert case.logic.volumeMl(case.node, case.segment) == pytest.approx(whole.sum() * 0.08)
    assert len(case.logic.splitSegment(case.node, case.segment)) == 3


def test_deleting_a_segment_takes_its_diameter_lines_along(case: Case) -> None:
    import slicer

    painted(case)
    case.logic.measure(case.node, case.segment, diameterLines=True)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 2
    case.logic.deleteSegment(case.node, case.segment)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 0
    assert segment_ids(case.node) == []
    with pytest.raises(ArgumentError, match="no segment with the id"):
        case.logic.deleteSegment(case.node, case.segment)


def test_brief_figures_are_those_of_measure_and_their_stamp_changes_with_the_segment(case: Case) -> None:
    from TumorSegSlicer.mrml import volumes
    from TumorSegSlicer.mrml.session_nodes import Input
    from TumorSegSlicer.work.lesions.figures import MeasureBriefly, stampOf, volumeNow
    from TumorSegSlicer.work.runner import complete

    whole, pet = painted(case, BOXES[:2]), {"pet": Input(case.volumes["pet"])}
    target = case.node, case.segment
    assert volumeNow(case.logic.bench.sessions, *target) is None  # the session does not know the strokes yet
    case.logic.importBrush(*target)
    found = complete(MeasureBriefly(*target, pet))
    image = volumes.volumeFromNode(case.volumes["pet"], "pet")
    expected = measure(Mask(image.grid, whole), {"pet": image})
    assert expected.axial is not None
    assert expected.pet is not None
    assert found.volumeMl == pytest.approx(expected.volume_ml) == volumeNow(case.logic.bench.sessions, *target)
    assert found.diameterMm == pytest.approx(expected.axial.longest.length_mm)
    assert found.suvMax == pytest.approx(expected.pet.suv_max)
    assert found.stamp == stampOf(*target, pet)
    assert found.stamp != stampOf(*target, {})
    paint_box(case, (30, 30, 10), (2, 2, 2))
    assert found.stamp != stampOf(*target, pet)
    case.node, case.segment = case.logic.addSegment(case.inputs, case.node)
    empty = complete(MeasureBriefly(case.node, case.segment, {}))
    assert (empty.volumeMl, empty.diameterMm, empty.suvMax, empty.middle) == (0, None, None, None)
