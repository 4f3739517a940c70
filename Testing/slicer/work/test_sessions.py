"""Sessions of segments: opened, kept in step with the scene, and dropped with their segments."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from Testing.slicer.cases import Case, Input, Sessions
from Testing.slicer.scene import (
    OBLIQUE,
    PLAIN,
    RIGID,
    add_transform,
    add_volume,
    paint,
    segments,
    slicer,
    volumes,
)
from TumorSegLib import ArgumentError, Click, SuvError


@pytest.fixture
def case(scene: Any, store: Any) -> Case:
    return Case(scene, store)


# In step with the scene


def test_segments_have_sessions_of_their_own(scene: Any, store: Any, case: Case) -> None:
    other = segments.addTumourSegment(case.node, case.volume)
    second = case.open(other).session
    elsewhere = Case(scene, store, OBLIQUE)
    case.click((4, 4, 4))
    elsewhere.click((9, 9, 9))
    store.of(case.node, other).apply(second.add_click(Click((12, 12, 10))))
    assert [len(s.prompts) for s in (case.session, second, elsewhere.session)] == [1, 1, 1]
    np.testing.assert_array_equal(segments.maskFromSegment(case.node, other, second.grid), second.mask.array)
    np.testing.assert_array_equal(case.mask(), case.session.mask.array)
    np.testing.assert_array_equal(elsewhere.mask(), elsewhere.session.mask.array)


def test_a_new_session_begins_with_the_segment(scene: Any, store: Any) -> None:
    volume = add_volume(scene, PLAIN)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segment = segments.addTumourSegment(node, volume)
    paint(node, segment, PLAIN, (2, 2, 2), (4, 4, 4))
    opened = store.open(node, segment, {"ct": Input(volume)})
    assert opened.problem == ""
    assert opened.session.mask.array.sum() == 64
    assert not opened.session.can_undo


def test_brush_strokes_are_found_and_imported(case: Case) -> None:
    case.click()
    paint(case.node, case.segment, PLAIN, (0, 0, 0), (2, 2, 2))
    painted = case.store.of(case.node, case.segment).changedMask()
    assert painted.array[:2, :2, :2].all()
    assert painted.array.sum() == case.session.mask.array.sum() + 8
    # Until it is taken over, it is found again: an action may be cancelled.
    assert case.store.of(case.node, case.segment).changedMask() is not None
    case.store.of(case.node, case.segment).apply(case.session.replace_mask(painted))
    assert case.store.of(case.node, case.segment).changedMask() is None
    np.testing.assert_array_equal(case.mask(), painted.array)


def test_brush_strokes_during_an_edit_are_found_afterwards(case: Case) -> None:
    edit = case.session.add_click(Click((8, 8, 8)))
    paint(case.node, case.segment, PLAIN, (0, 0, 0), (2, 2, 2))
    case.store.of(case.node, case.segment).apply(edit)
    painted = case.store.of(case.node, case.segment).changedMask()
    assert painted.array.sum() == case.session.mask.array.sum() + 8


def test_undo_of_the_segment_editor_and_a_moved_segmentation_are_found(scene: Any, case: Case) -> None:
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(case.node.GetSegmentation())
    history.SaveState()
    case.click()
    history.RestorePreviousState()
    assert case.store.of(case.node, case.segment).changedMask().array.sum() == 0
    history.RestoreNextState()
    assert case.store.of(case.node, case.segment).changedMask() is None
    shift = np.eye(4)
    shift[0, 3] = 2
    case.node.SetAndObserveTransformNodeID(add_transform(scene, RIGID @ shift))
    moved = case.store.of(case.node, case.segment).changedMask().array
    np.testing.assert_array_equal(moved[:, :, 2:], case.session.mask.array[:, :, :-2])


def test_another_first_image_starts_a_new_session_with_a_notice(scene: Any, case: Case) -> None:
    case.click()
    points = case.mask().sum()
    case.volume = add_volume(scene, OBLIQUE, transform=RIGID)
    case.volume.SetAndObserveTransformNodeID(None)
    opened = case.open()
    assert "made on another image" in opened.problem
    assert len(opened.session.prompts) == 0
    np.testing.assert_array_equal(case.mask(), opened.session.mask.array)
    assert points > 0


def test_session_notices_a_moved_or_changed_volume(scene: Any, case: Case) -> None:
    old = case.session
    array = slicer.util.arrayFromVolume(case.volume)
    array[:] = 7
    slicer.util.arrayFromVolumeModified(case.volume)
    assert case.open().session is not old
    assert (case.session.images["ct"].array == 7).all()
    case.volume.SetAndObserveTransformNodeID(None)
    assert "made on another image" in case.open().problem


@pytest.mark.parametrize("saved", [False, True])
def test_session_moves_with_image_and_segmentation_under_one_transform(scene: Any, case: Case, saved: bool) -> None:
    case.click()
    case.click((3, 3, 3))
    before = case.mask()
    if saved:
        case.store.save()
        case.store.close()
        case.store = Sessions(scene)
    further = add_transform(scene, OBLIQUE.affine @ np.diag([*1 / np.array(OBLIQUE.spacing), 1]))
    for transform in {case.node.GetParentTransformNode(), case.volume.GetParentTransformNode()}:
        transform.SetAndObserveTransformNodeID(further)
    opened = case.open()
    assert opened.problem == ""
    assert len(opened.session.prompts) == 2
    assert opened.session.grid == volumes.gridFromVolume(case.volume)
    assert case.store.of(case.node, case.segment).changedMask() is None
    np.testing.assert_array_equal(case.mask(), before)
    case.store.of(case.node, case.segment).apply(opened.session.undo())
    assert 0 < case.mask().sum() < before.sum()
    case.store.close()


def test_edit_of_a_segmentation_moved_meanwhile_is_written_to_its_voxels(scene: Any, case: Case) -> None:
    case.click()
    assert case.store.of(case.node, case.segment).changedMask() is None
    edit = case.session.add_click(Click((3, 3, 3)))
    further = add_transform(scene, RIGID)
    for transform in {case.node.GetParentTransformNode(), case.volume.GetParentTransformNode()}:
        transform.SetAndObserveTransformNodeID(further)
    case.store.of(case.node, case.segment).apply(edit)
    opened = case.open()
    assert opened.problem == ""
    assert case.store.of(case.node, case.segment).changedMask() is None
    mask = case.mask()
    assert mask[3, 3, 3] == mask[8, 8, 8] == 1
    np.testing.assert_array_equal(mask, opened.session.mask.array)
    for _ in range(2):
        case.store.of(case.node, case.segment).apply(opened.session.undo())
    assert not case.mask().any()


def test_bad_input_changes_nothing(scene: Any, store: Any, case: Case) -> None:
    case.click()
    session = case.session
    with pytest.raises(ArgumentError, match="no volume was chosen"):
        store.open(case.node, case.segment, {})
    with pytest.raises(ArgumentError, match="no volume was chosen"):
        store.open(case.node, case.segment, {"ct": Input(None)})
    pet = add_volume(scene, PLAIN, np.ones(PLAIN.shape), name="PET")
    with pytest.raises(SuvError, match="unit"):
        store.open(case.node, case.segment, {"ct": Input(case.volume), "pet": Input(pet)})
    with pytest.raises(ArgumentError, match="no segment with the id 'gone'"):
        store.open(case.node, "gone", {"ct": Input(case.volume)})
    assert case.session is session
    assert store.get(case.node, "gone") is None
    opened = store.open(case.node, case.segment, {"ct": Input(case.volume), "pet": Input(pet, True)})
    assert (opened.problem, len(opened.session.prompts)) == ("", 1)


def test_segments_are_not_read_while_only_the_session_writes_them(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """Reading one of 512 x 512 x 200 voxels takes 20 ms; a click must not pay for that."""
    case.node.GetBinaryLabelmapInternalRepresentation(case.segment).Modified()
    assert case.store.of(case.node, case.segment).changedMask() is None  # read once, as it might have changed
    monkeypatch.setattr(segments, "readVoxels", lambda *_: pytest.fail("the segment was read"))
    for click in ((8, 8, 8), (3, 3, 3)):
        assert case.store.of(case.node, case.segment).changedMask() is None
        case.click(click)
    assert case.store.of(case.node, case.segment).changedMask() is None


# Deleted under us


def test_deleting_a_segment_drops_its_session(case: Case, dropped: list[tuple[str, str]]) -> None:
    other = segments.addTumourSegment(case.node, case.volume)
    case.open(other)
    edit = case.session.add_click(Click((8, 8, 8)))
    case.store.save()
    case.node.GetSegmentation().RemoveSegment(case.segment)
    assert dropped == [(case.node.GetID(), case.segment)]
    assert case.session is None
    assert [each.segmentId for each in case.store.saved()] == [other]
    with pytest.raises(ArgumentError, match="has no open session; it may be deleted"):
        case.store.of(case.node, case.segment).apply(edit)
    assert case.store.get(case.node, other) is not None


@pytest.mark.parametrize("is_open", [True, False])
def test_deleted_segment_passes_no_session_to_another_of_its_id(scene: Any, case: Case, is_open: bool) -> None:
    case.click()
    case.store.save()
    if not is_open:
        case.store.close()
        case.store = Sessions(scene)
        assert len(case.store.saved()) == 1
    case.node.GetSegmentation().RemoveSegment(case.segment)
    case.node.GetSegmentation().AddEmptySegment(case.segment, "new")
    opened = case.open()
    assert len(opened.session.prompts) == 0
    assert not opened.session.mask.array.any()


def test_saved_session_of_a_segment_deleted_while_closed_is_left_out(scene: Any, case: Case) -> None:
    case.store.save()
    case.store.close()
    case.node.GetSegmentation().RemoveSegment(case.segment)
    assert Sessions(scene).saved() == []


def test_deleting_a_segmentation_drops_its_sessions(
    scene: Any, store: Any, case: Case, dropped: list[tuple[str, str]]
) -> None:
    elsewhere = Case(scene, store, OBLIQUE)
    store.save()
    node_id = case.node.GetID()
    scene.RemoveNode(case.node)
    assert dropped == [(node_id, case.segment)]
    assert [each.segmentationNode.GetID() for each in store.saved()] == [elsewhere.node.GetID()]
    assert scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 1
    assert elsewhere.session is not None


def test_a_deleted_volume_leaves_the_session_usable(scene: Any, case: Case) -> None:
    case.click()
    scene.RemoveNode(case.volume)
    case.click((3, 3, 3))
    case.store.save()
    (saved,) = case.store.saved()
    assert saved.inputs == {}
    assert list(saved.roles) == ["ct"]


def test_closing_the_scene_drops_all_sessions(scene: Any, case: Case, dropped: list[tuple[str, str]]) -> None:
    key = (case.node.GetID(), case.segment)
    case.store.save()
    scene.Clear(False)
    assert dropped == [key]
    assert case.store.saved() == []
    again = Case(scene, case.store)
    again.click()
    assert again.mask().any()


def test_closed_sessions_have_no_observers(scene: Any, case: Case, dropped: list[tuple[str, str]]) -> None:
    case.store.close()
    case.node.GetSegmentation().RemoveSegment(case.segment)
    scene.RemoveNode(case.node)
    scene.Clear(False)
    gc.collect()
    assert dropped == []
