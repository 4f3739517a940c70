"""Sessions saved in the scene and resumed in another one, or refused where what was saved is damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.cases import Case, Input, Sessions, engines
from Testing.slicer.scene import (
    OBLIQUE,
    PLAIN,
    add_volume,
    empty_scene,
    paint,
    saved_steps,
    segments,
    session_nodes,
)
from TumorSegLib import Cancelled, Click


@pytest.fixture
def case(scene: Any, store: Any) -> Case:
    return Case(scene, store)


def reload(scene: Any, tmp_path: Path, other: Any, kind: str) -> None:
    path = tmp_path / "saved" / f"case.{kind}"
    path.parent.mkdir(exist_ok=True)
    if kind == "mrb":
        assert scene.WriteToMRB(str(path), None)
        assert other.ReadFromMRB(str(path), False)
    else:
        for name in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"):
            for number in range(scene.GetNumberOfNodesByClass(name)):
                node = scene.GetNthNodeByClass(number, name)
                suffix = "seg.nrrd" if "Segmentation" in name else "nrrd"
                node.AddDefaultStorageNode(str(path.parent / f"{node.GetID()}.{suffix}"))
                assert node.GetStorageNode().WriteData(node)
        scene.SetURL(str(path))
        scene.SetRootDirectory(str(path.parent))
        assert scene.Commit()
        other.SetURL(str(path))
        other.SetRootDirectory(str(path.parent))
        assert other.Import()


@pytest.mark.parametrize("kind", ["mrb", "mrml"])
def test_saved_session_continues_in_another_scene(
    request: pytest.FixtureRequest, scene: Any, tmp_path: Path, case: Case, kind: str
) -> None:
    for click in ((8, 8, 8), (11, 8, 8), (4, 4, 4)):
        case.click(click)
    case.store.of(case.node, case.segment).noteModel("clicks", case.engines["clicks"].spec)
    case.store.of(case.node, case.segment).apply(case.session.undo())
    case.store.save()
    with empty_scene(tmp_path) as other:
        # Ids are taken there, so those of the nodes that come in change.
        in_the_way = [add_volume(other, OBLIQUE), other.AddNewNodeByClass("vtkMRMLSegmentationNode", "Other")]
        other.AddNewNodeByClass("vtkMRMLTextNode")
        reload(scene, tmp_path, other, kind)
        # No file that might be left out.
        assert session_nodes.textNode(case.node, case.segment).GetStorageNode() is None
        again = Sessions(other)
        request.addfinalizer(again.close)
        (saved,) = again.saved()
        assert saved.problem == ""
        assert saved.segmentationNode.GetName() == "Segmentation"
        assert saved.segmentationNode is not in_the_way[1]
        assert saved.segmentId == case.segment
        assert saved.models["clicks"] == {"name": "balls", "version": "1.2.3"}
        assert saved.inputs["ct"].node.GetName() == "CT"
        assert saved.inputs["ct"].node is not in_the_way[0]

        opened = again.open(saved.segmentationNode, saved.segmentId)
        opened.session.use_engines(**engines())
        assert opened.problem == ""
        np.testing.assert_array_equal(opened.session.mask.array, case.session.mask.array)
        assert opened.session.prompts == case.session.prompts
        assert again.of(saved.segmentationNode, saved.segmentId).changedMask() is None
        for session, store, node in (
            (opened.session, again, saved.segmentationNode),
            (case.session, case.store, case.node),
        ):
            store.of(node, case.segment).apply(session.redo())
            store.of(node, case.segment).apply(session.add_click(Click((2, 12, 3))))
        np.testing.assert_array_equal(opened.session.mask.array, case.session.mask.array)
        np.testing.assert_array_equal(
            segments.maskFromSegment(saved.segmentationNode, case.segment, opened.session.grid), case.mask()
        )
        for _ in range(4):
            opened.session.undo()
        assert not opened.session.mask.array.any()


def test_several_sessions_of_several_segmentations_are_saved(scene: Any, store: Any, case: Case) -> None:
    other = segments.addTumourSegment(case.node, case.volume)
    case.open(other)
    elsewhere = Case(scene, store, OBLIQUE)
    case.click()
    for _ in range(2):  # what is there is replaced
        store.save()
    saved = [(each.segmentationNode.GetID(), each.segmentId) for each in store.saved()]
    keys = [(case.node.GetID(), case.segment), (case.node.GetID(), other), (elsewhere.node.GetID(), elsewhere.segment)]
    assert sorted(saved) == sorted(keys)


def test_brush_strokes_after_saving_are_found_when_a_session_resumes(scene: Any, case: Case) -> None:
    case.click()
    case.store.save()
    case.store.close()
    paint(case.node, case.segment, PLAIN, (0, 0, 0), (2, 2, 2))
    case.store = Sessions(scene)
    assert case.open().problem == ""
    assert len(case.session.prompts) == 1
    painted = case.store.of(case.node, case.segment).changedMask()
    assert painted.array.sum() == case.session.mask.array.sum() + 8
    case.store.close()


def test_confirmed_suv_is_saved_with_the_session(scene: Any, store: Any, case: Case) -> None:
    pet = add_volume(scene, PLAIN, np.ones(PLAIN.shape, np.float32), name="PET")
    store.open(case.node, case.segment, {"ct": Input(case.volume), "pet": Input(pet, assumeSuv=True)})
    store.save()
    (saved,) = store.saved()
    assert list(saved.inputs) == ["ct", "pet"]
    assert [each.assumeSuv for each in saved.inputs.values()] == [False, True]
    scene.RemoveNode(pet)
    assert list(store.saved()[0].inputs) == ["ct"]


HEAD, RECORD = session_nodes.HEAD_ATTRIBUTE, session_nodes.RECORD_ATTRIBUTE


def reopen(case: Case) -> None:
    """Reads the sessions of the scene anew."""
    case.store.close()
    case.store = Sessions(case.scene)


def damaged_head(text: Any, spoil: Any) -> None:
    text.SetAttribute(HEAD, spoil(text.GetAttribute(HEAD)))


@pytest.mark.parametrize(
    ("spoil", "is_head"),
    [
        (lambda text: damaged_head(text, lambda head: head[:-20]), True),
        (lambda text: damaged_head(text, lambda head: head.replace('"version": 2', '"version": 99', 1)), True),
        (lambda text: damaged_head(text, lambda head: head.replace('"reference": 0', '"reference": "x"')), True),
        (lambda text: damaged_head(text, lambda head: head.replace("tumorseg-session", "session")), False),
        (lambda text: text.RemoveAttribute(f"{RECORD}1"), False),
        (lambda text: text.SetAttribute(f"{RECORD}1", text.GetAttribute(f"{RECORD}0")), False),
        (lambda text: text.SetAttribute(f"{RECORD}1", text.GetAttribute(f"{RECORD}1")[:-20]), False),
    ],
    ids=["head cut", "head newer", "no number", "no session", "step missing", "another step", "step cut"],
)
def test_damaged_session_is_reported_and_begins_with_the_segment(case: Case, spoil: Any, is_head: bool) -> None:
    case.click()
    before = case.mask()
    case.store.save()
    spoil(session_nodes.textNode(case.node, case.segment))
    reopen(case)
    (saved,) = case.store.saved()
    assert ("damaged" in saved.problem) == is_head
    opened = case.open()
    assert re.search("damaged|not a session", opened.problem)
    assert len(opened.session.prompts) == 0
    np.testing.assert_array_equal(opened.session.mask.array, before)
    case.click((3, 3, 3))
    case.store.save()  # nothing of the damaged one is left
    assert len(saved_steps(case.node, case.segment)) == 1
    reopen(case)
    assert case.open().problem == ""
    case.store.close()


def test_session_of_scene_version_1_is_opened(case: Case) -> None:
    case.click()
    case.click((3, 3, 3))
    case.store.save()
    text = session_nodes.textNode(case.node, case.segment)
    head = json.loads(text.GetAttribute(HEAD))
    for name in text.GetAttributeNames():
        if name != session_nodes.SEGMENT_ATTRIBUTE:
            text.RemoveAttribute(name)
    # As version 1 wrote it: head and session in one text.
    head = {**head, "version": 1, "settings": {"device": "auto", "precision": "auto"}}
    del head["session"]
    text.SetText(f'{json.dumps(head)[:-1]}, "session": {json.dumps(case.session.to_json())}}}')
    reopen(case)
    (saved,) = case.store.saved()
    assert (saved.problem, list(saved.inputs), saved.roles) == ("", ["ct"], ("ct",))
    assert case.open().problem == ""
    assert len(case.session.prompts) == 2
    case.store.of(case.node, case.segment).apply(case.session.undo())
    assert case.mask()[8, 8, 8] == 1
    case.store.save()
    assert (text.GetText(), saved_steps(case.node, case.segment)) == ("", [1, 2])
    assert json.loads(text.GetAttribute(HEAD))["version"] == 2
    case.store.close()


def test_session_head_is_read_without_steps(case: Case) -> None:
    case.click()
    case.store.save()
    text = session_nodes.textNode(case.node, case.segment)
    for number in (0, 1):
        text.SetAttribute(f"{RECORD}{number}", "no step")
    assert session_nodes.readHead(case.node, text).problem == ""
    reopen(case)
    assert list(case.store.inputs(case.node, case.segment)) == ["ct"]


def test_saving_a_session_encodes_only_new_steps_and_drops_lost_ones(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    from TumorSegLib.session import storage

    encoded: list[int] = []
    plain = storage._record
    monkeypatch.setattr(storage, "_record", lambda number, *given: encoded.append(number) or plain(number, *given))
    for ijk in ((8, 8, 8), (11, 8, 8)):
        case.click(ijk)
        case.store.save()
    assert encoded == [0, 1, 2]
    case.store.of(case.node, case.segment).apply(case.session.undo())
    case.store.save()
    assert (encoded, saved_steps(case.node, case.segment)) == ([0, 1, 2], [1, 2])
    case.click((3, 3, 3))  # the step that was undone cannot be done again
    case.store.save()
    assert (encoded, saved_steps(case.node, case.segment)) == ([0, 1, 2, 3], [1, 3])
    reopen(case)
    case.open()
    case.click((12, 12, 4))
    case.store.save()
    assert (encoded, saved_steps(case.node, case.segment)) == ([0, 1, 2, 3, 4], [1, 3, 4])
    case.scene.RemoveNode(session_nodes.textNode(case.node, case.segment))  # by whomever
    case.store.save()
    assert saved_steps(case.node, case.segment) == [1, 3, 4]
    before = case.mask()
    reopen(case)
    assert case.open().problem == ""
    np.testing.assert_array_equal(case.session.mask.array, before)
    case.store.close()


def test_saving_a_session_continues_after_cancel(case: Case) -> None:
    from TumorSegSlicer.work.runner import complete
    from TumorSegSlicer.work.saving import SaveSession

    for ijk in ((8, 8, 8), (11, 8, 8), (3, 3, 3)):
        case.click(ijk)
    action, asked = SaveSession(case.store, case.node, case.segment), iter([False, False, True])
    with pytest.raises(Cancelled):
        complete(action, cancel=lambda: next(asked))
    assert sorted(action.records) == [0, 1]
    assert session_nodes.textNode(case.node, case.segment) is None
    action = SaveSession(case.store, case.node, case.segment)
    complete(action)
    assert sorted(action.records) == [2, 3]
    assert saved_steps(case.node, case.segment) == [1, 2, 3]


def clone(case: Case, added_first: bool = True) -> Case:
    """The segmentation copied as Slicer's subject hierarchy does; its references are copied, too."""
    copy = object.__new__(Case)
    copy.__dict__.update(case.__dict__)
    copy.node = case.scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    copy.node.UnRegister(None)
    if added_first:
        case.scene.AddNode(copy.node)
    copy.node.Copy(case.node)
    copy.node.SetName("Copy")
    if not added_first:
        case.scene.AddNode(copy.node)
    return copy


def texts(case: Case) -> int:
    return int(case.scene.GetNumberOfNodesByClass("vtkMRMLTextNode"))


@pytest.mark.parametrize("added_first", [True, False])
def test_a_cloned_segmentation_has_a_session_of_its_own(
    request: pytest.FixtureRequest, tmp_path: Path, case: Case, added_first: bool
) -> None:
    case.click()
    case.store.save()
    copy = clone(case, added_first)
    case.click((3, 3, 3))
    case.store.save()
    assert copy.open().problem == ""
    assert [click.ijk for click in copy.session.prompts.of(Click)] == [(8, 8, 8)]  # as when it was copied
    copy.click((12, 12, 8))
    case.store.save()
    case.click((4, 8, 3))
    case.store.save()
    assert texts(case) == 2
    expected = {each.node.GetName(): (each.session.prompts, each.mask()) for each in (case, copy)}
    assert [[click.ijk for click in prompts.of(Click)] for prompts, _mask in expected.values()] == [
        [(8, 8, 8), (3, 3, 3), (4, 8, 3)],
        [(8, 8, 8), (12, 12, 8)],
    ]
    with empty_scene(tmp_path) as other:
        reload(case.scene, tmp_path, other, "mrb")
        again = Sessions(other)
        request.addfinalizer(again.close)
        assert len(again.saved()) == 2
        for saved in again.saved():
            opened = again.open(saved.segmentationNode, saved.segmentId)
            prompts, mask = expected[saved.segmentationNode.GetName()]
            assert (opened.problem, opened.session.prompts) == ("", prompts)
            np.testing.assert_array_equal(opened.session.mask.array, mask)
            assert again.of(saved.segmentationNode, saved.segmentId).changedMask() is None


@pytest.mark.parametrize("edited", [True, False])
@pytest.mark.parametrize("what", ["segmentation", "segment"])
@pytest.mark.parametrize("removed", ["copy", "original"])
def test_removing_a_clone_or_its_original_leaves_the_other_ones_session(
    case: Case, removed: str, what: str, edited: bool
) -> None:
    case.click()
    case.store.save()
    copy = clone(case)
    if edited:
        copy.open()
        copy.click((12, 12, 8))
        case.store.save()
    gone, left = (copy, case) if removed == "copy" else (case, copy)
    if what == "segmentation":
        case.scene.RemoveNode(gone.node)
    else:
        gone.node.GetSegmentation().RemoveSegment(gone.segment)
        assert session_nodes.textNode(gone.node, gone.segment) is None
    case.store.close()
    left.store = Sessions(case.scene)
    assert [each.segmentationNode.GetID() for each in left.store.saved()] == [left.node.GetID()]
    assert left.open().problem == ""
    assert len(left.session.prompts) == (2 if left is copy and edited else 1)
    case.scene.RemoveNode(left.node)
    assert texts(case) == 0
    left.store.close()


@pytest.mark.parametrize("change", ["click", "undo"])
def test_saving_never_replaces_a_newer_session_by_an_older_one(case: Case, change: str) -> None:
    from TumorSegSlicer.work.saving import SaveSession

    case.click()
    case.click((3, 3, 3))
    action = SaveSession(case.store, case.node, case.segment)
    action.begin()
    action.work(lambda _done, _total: None, lambda: False)
    if change == "click":
        case.click((12, 12, 4))
    else:
        case.store.of(case.node, case.segment).apply(case.session.undo())
    case.store.save()  # by a script, while the panel saves
    action.finish(None)
    prompts, before = case.session.prompts, case.mask()
    assert saved_steps(case.node, case.segment) == ([1, 2, 3] if change == "click" else [1, 2])
    reopen(case)
    assert case.open().problem == ""
    assert case.session.prompts == prompts
    np.testing.assert_array_equal(case.session.mask.array, before)
    case.click((5, 12, 4))
    case.store.save()
    reopen(case)
    assert case.open().problem == ""
    case.store.close()


def test_state_nodes_are_hidden_and_saved_with_the_scene(case: Case) -> None:
    case.store.save()
    text = session_nodes.textNode(case.node, case.segment)
    assert text.GetHideFromEditors()
    assert text.GetSaveWithScene()
