"""Edits written into segments: other segments, locks, views, surfaces, undo and speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.scene import (
    OBLIQUE,
    PLAIN,
    RIGID,
    add_segment,
    add_segmentation,
    add_volume,
    box_edit,
    layers,
    paint,
    segments,
    slicer,
    volumes,
    vtk,
)
from TumorSegLib import ArgumentError, Edit, GeometryError, Grid
from TumorSegLib.geometry.boxes import EMPTY_BOX

# Other segments


@pytest.fixture
def shared(scene: Any) -> tuple[Any, str, str]:
    """Two segments side by side in one label map; the box of the first ends at i = 8, where the second begins."""
    node = add_segmentation(scene)
    first, second = add_segment(node, "a"), add_segment(node, "b")
    paint(node, first, PLAIN, (3, 3, 3), (5, 5, 5))
    paint(node, second, PLAIN, (8, 3, 3), (5, 5, 5))
    assert layers(node) == 1
    return node, first, second


def mask(node: Any, segment: str) -> np.ndarray:
    return segments.maskFromSegment(node, segment, PLAIN)


def test_edit_leaves_other_segments_unchanged(shared: tuple[Any, str, str]) -> None:
    node, first, second = shared
    other = mask(node, second)
    segments.applyEdit(box_edit(PLAIN, (6, 3, 3), (5, 4, 4)), node, first, PLAIN)
    assert mask(node, first)[3:7, 3:7, 6:11].all()
    np.testing.assert_array_equal(mask(node, second), other)
    segments.applyEdit(box_edit(PLAIN, (3, 3, 3), (10, 5, 5), erase=True), node, first, PLAIN)
    assert not mask(node, first).any()
    np.testing.assert_array_equal(mask(node, second), other)


@pytest.mark.parametrize("low", [(6, 3, 3), (6, 1, 1)], ids=["within", "beyond"])
def test_erasing_beside_a_neighbour_needs_no_layer(shared: tuple[Any, str, str], low: tuple[int, int, int]) -> None:
    node, first, second = shared
    other = mask(node, second)
    edit = box_edit(PLAIN, low, (7, 4, 4), erase=True)
    edit.before[:, :, 2:] = 0  # the neighbour's voxels are in the box, but nothing happens there
    segments.applyEdit(edit, node, first, PLAIN)
    expected = np.zeros(PLAIN.shape, np.uint8)
    expected[3:8, 3:8, 3:8] = 1
    i, j, k = low
    expected[k : k + 4, j : j + 4, i : i + 7] = 0
    np.testing.assert_array_equal(mask(node, first), expected)
    np.testing.assert_array_equal(mask(node, second), other)
    assert layers(node) == 1


@pytest.mark.parametrize("separate", [False, True])
def test_overwritten_segments_lose_exactly_the_added_voxels(shared: tuple[Any, str, str], separate: bool) -> None:
    node, first, second = shared
    if separate:
        node.GetSegmentation().SeparateSegmentLabelmap(second)
    before = mask(node, second)
    edit = box_edit(PLAIN, (6, 3, 3), (5, 4, 4))
    (lost,) = segments.lossesOf(edit, node, first, PLAIN)
    segments.applyEdit(lost, node, second, PLAIN)
    segments.applyEdit(edit, node, first, PLAIN)
    assert mask(node, first)[3:7, 3:7, 6:11].all()
    assert not (mask(node, first) & mask(node, second)).any()
    assert before.sum() - mask(node, second).sum() == 3 * 4 * 4
    assert layers(node) == 1 + separate
    segments.applyEdit(Edit(lost.segment, lost.box, lost.after, lost.before), node, lost.segment, PLAIN)
    np.testing.assert_array_equal(mask(node, second), before)


def test_locked_segments_stay_as_they_are(shared: tuple[Any, str, str]) -> None:
    node, first, second = shared
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(node.GetSegmentation().GetSegment(second), logic.Completed)
    assert (segments.isLocked(node, first), segments.isLocked(node, second)) == (False, True)
    before = mask(node, second)
    edit = box_edit(PLAIN, (6, 3, 3), (5, 4, 4))
    assert segments.lossesOf(edit, node, first, PLAIN) == []
    segments.applyEdit(edit, node, first, PLAIN)
    assert mask(node, first)[3:7, 3:7, 6:11].all()
    with pytest.raises(ArgumentError, match="'b' is marked as completed; set its status"):
        segments.applyEdit(edit, node, second, PLAIN)
    np.testing.assert_array_equal(mask(node, second), before)


def test_bad_edits_are_refused(shared: tuple[Any, str, str]) -> None:
    node, first, _ = shared
    before = mask(node, first)
    with pytest.raises(ArgumentError, match="'Segmentation' has no segment with the id 'gone'"):
        segments.applyEdit(box_edit(PLAIN, (0, 0, 0), (2, 2, 2)), node, "gone", PLAIN)
    with pytest.raises(GeometryError, match="leaves the grid"):
        segments.applyEdit(box_edit(PLAIN, (17, 0, 0), (2, 2, 2)), node, first, PLAIN)
    wrong = box_edit(PLAIN, (0, 0, 0), (2, 2, 2))
    with pytest.raises(GeometryError, match="do not fill the box"):
        segments.applyEdit(Edit("tumour", ((0, 3), (0, 2), (0, 2)), wrong.before, wrong.after), node, first, PLAIN)
    nothing = np.zeros((0, 0, 0), np.uint8)
    segments.applyEdit(Edit("tumour", EMPTY_BOX, nothing, nothing), node, first, PLAIN)
    np.testing.assert_array_equal(mask(node, first), before)


def test_only_voxels_that_changed_are_written(shared: tuple[Any, str, str]) -> None:
    """What somebody painted meanwhile in the box of an edit stays, unless the edit is about that voxel."""
    node, first, _ = shared
    edit = box_edit(PLAIN, (1, 1, 1), (3, 3, 3))
    edit.after[0, 0, 0] = 0
    paint(node, first, PLAIN, (1, 1, 1), (1, 1, 1))
    segments.applyEdit(edit, node, first, PLAIN)
    assert mask(node, first)[1:4, 1:4, 1:4].all()


# What Slicer sees


@pytest.mark.parametrize("low", [(4, 4, 4), (0, 0, 0)], ids=["in place", "enlarged"])
def test_edit_emits_an_event_for_its_segment(shared: tuple[Any, str, str], low: tuple[int, int, int]) -> None:
    node, first, _ = shared
    heard: list[Any] = []

    @vtk.calldata_type(vtk.VTK_STRING)
    def hear(_caller: Any, _event: str, segment: str) -> None:
        heard.append(segment)

    segmentation = node.GetSegmentation()
    segmentation.AddObserver(segmentation.SourceRepresentationModified, hear)
    time_before = segmentation.GetSegment(first).GetRepresentation("Binary labelmap").GetMTime()
    segments.applyEdit(box_edit(PLAIN, low, (2, 2, 2), erase=low == (4, 4, 4)), node, first, PLAIN)
    assert heard == [first]
    assert segmentation.GetSegment(first).GetRepresentation("Binary labelmap").GetMTime() > time_before


def test_edit_updates_the_3d_surface_of_its_segment_only(shared: tuple[Any, str, str]) -> None:
    node, first, second = shared
    node.CreateClosedSurfaceRepresentation()

    def bounds(segment: str) -> Any:
        return np.array(node.GetSegmentation().GetSegment(segment).GetRepresentation("Closed surface").GetBounds())

    before = bounds(first), bounds(second)
    edit = box_edit(PLAIN, (3, 3, 3), (2, 5, 5), erase=True)
    segments.applyEdit(edit, node, first, PLAIN)
    assert bounds(first)[0] == pytest.approx(before[0][0] + 2, abs=0.3)
    np.testing.assert_array_equal(bounds(second), before[1])


def test_an_edit_marks_the_segmentation_as_to_be_saved(shared: tuple[Any, str, str], tmp_path: Path) -> None:
    node, first, _ = shared
    node.AddDefaultStorageNode(str(tmp_path / "s.seg.nrrd"))
    assert node.GetStorageNode().WriteData(node)
    assert not node.GetModifiedSinceRead()
    segments.applyEdit(box_edit(PLAIN, (4, 4, 4), (2, 2, 2), erase=True), node, first, PLAIN)
    assert node.GetModifiedSinceRead()


def test_each_edit_is_one_undo_state_of_slicer(shared: tuple[Any, str, str]) -> None:
    node, first, second = shared
    other, states, history = mask(node, second), [mask(node, first)], slicer.vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    # Within the label map, beyond it, and into the neighbour's voxels.
    for low in ((4, 4, 4), (0, 0, 0), (7, 3, 3)):
        assert history.SaveState()
        segments.applyEdit(box_edit(PLAIN, low, (3, 3, 3), erase=low == (4, 4, 4)), node, first, PLAIN)
        states.append(mask(node, first))
    assert len({state.tobytes() for state in states}) == 4
    for _ in range(2):  # what was restored once must not change what is restored again
        for state in states[2::-1]:
            assert history.RestorePreviousState()
            np.testing.assert_array_equal(mask(node, first), state)
        assert not history.IsRestorePreviousStateAvailable()
        for state in states[1:]:
            assert history.RestoreNextState()
            np.testing.assert_array_equal(mask(node, first), state)
    np.testing.assert_array_equal(mask(node, second), other)
    history.RestorePreviousState()
    history.SaveState()
    segments.applyEdit(box_edit(PLAIN, (4, 4, 4), (3, 3, 3)), node, first, PLAIN)
    history.RestorePreviousState()
    np.testing.assert_array_equal(mask(node, first), states[2])


def test_a_new_segment_has_terminology_colour_and_the_images_voxels(scene: Any) -> None:
    volume = add_volume(scene, OBLIQUE, transform=RIGID)
    node = add_segmentation(scene)
    ids = [segments.addTumourSegment(node, volume) for _ in range(2)]
    first, second = (node.GetSegmentation().GetSegment(each) for each in ids)
    assert (first.GetName(), second.GetName()) == ("Tumour", "Tumour 2")
    assert first.GetColor() != second.GetColor()
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.DeserializeTerminologyEntry(first.GetTerminology(), entry)
    assert entry.GetCategoryObject().GetCodeMeaning() == "Morphologically Altered Structure"
    assert entry.GetTypeObject().GetCodeValue() == "108369006"
    grid = volumes.gridFromVolume(volume)
    segments.applyEdit(box_edit(grid, (1, 2, 3), (4, 4, 4)), node, ids[1], grid)
    assert segments.maskFromSegment(node, ids[1], grid)[3:7, 2:6, 1:5].all()
    labelmap = node.GetBinaryLabelmapInternalRepresentation(ids[1])
    spacing = labelmap.GetSpacing()
    np.testing.assert_allclose(spacing, OBLIQUE.spacing)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_a_small_edit_of_a_large_segmentation_is_quick(scene: Any, kind: str) -> None:
    grid = Grid.from_spacing((200, 512, 512), (0.8, 0.8, 2.0))
    node = add_segmentation(scene)
    body = add_segment(node, "body")
    paint(node, body, grid, (0, 0, 0), (512, 512, 200))
    segment = add_segment(node, "a") if kind == "shared" else segments.addTumourSegment(node, add_volume(scene, PLAIN))
    if kind == "shared":  # the body leaves a gap for it
        segments.applyEdit(box_edit(grid, (150, 150, 80), (150, 150, 60), erase=True), node, body, grid)
    seconds = []
    for n in range(7):
        low = (200 + 3 * n, 220, 100 + n)
        edit = box_edit(grid, low, (30, 30, 15))
        start = time.process_time()  # other programs on the machine do not count
        segments.applyEdit(edit, node, segment, grid)
        seconds.append(time.process_time() - start)
    assert layers(node) == (1 if kind == "shared" else 2)
    assert segments.maskFromSegment(node, segment, grid).sum() > 30 * 30 * 15
    assert max(seconds) < 0.05
