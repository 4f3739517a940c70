"""The module's logic without a window: saved scenes, bad input, deleted nodes, engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, bounds_of, paint_box
from Testing.slicer.module import segment_ids
from TumorSegLib import Cancelled, RoleError, TumorSegError


def scene_nodes() -> set[str]:
    import slicer

    return {node.GetID() for node in slicer.mrmlScene.GetNodes()}


# Bad input


def test_failed_segment_action_leaves_the_scene_unchanged(case: Case) -> None:
    def fails(images: Any) -> Any:
        raise RoleError("model 'painter' takes ct")

    case.engines.engines["auto"].rule = fails
    nodes = scene_nodes()
    with pytest.raises(RoleError):
        case.logic.segment(case.inputs)
    assert {n for n in scene_nodes() - nodes if "Segmentation" in n} == set()
    case.node, case.segment = case.logic.addSegment(case.inputs)
    with pytest.raises(RoleError):
        case.logic.segment(case.inputs, model="broken", segmentation=case.node)
    assert segment_ids(case.node) == [case.segment]
    assert case.logic.parameters.autoModel == "sts-auto"


def test_a_cancelled_action_changes_nothing(case: Case) -> None:
    from TumorSegSlicer.work.runner import done

    before = case.find()
    with pytest.raises(Cancelled):
        case.logic.addClick(case.node, case.segment, case.ras(5, 6, 7), run=lambda each: done(each, None, lambda: True))
    np.testing.assert_array_equal(case.mask(), before)
    assert case.click((5, 6, 7)) is not None


def test_segment_in_a_script_reports_progress_and_can_be_cancelled(case: Case) -> None:
    engine, told = case.engines.engines["auto"], []
    plain = engine.segment

    def segment(images: Any, *, progress: Any, cancel: Any, **_named: Any) -> Any:
        progress(1, 4)
        if cancel():
            raise Cancelled("stopped")
        return plain(images)

    engine.segment = segment
    case.logic.segment(case.inputs, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4)]
    before = scene_nodes()
    with pytest.raises(Cancelled):
        case.logic.segment(case.inputs, cancel=lambda: True)
    assert {n for n in scene_nodes() - before if "Segmentation" in n} == set()


@pytest.mark.parametrize("ended", ["finish", "fail"])
@pytest.mark.parametrize("script", ["undo", "redo", "reset", "click", "brush", "segment", "open"])
def test_script_edit_of_a_segment_being_edited_is_refused(case: Case, script: str, ended: str) -> None:
    case.find()
    case.click((5, 6, 7))
    case.click((30, 6, 7))
    logic, target = case.logic, (case.node, case.segment)
    logic.undo(*target)
    before = case.mask()
    edit = logic.addClick(*target, case.ras(50, 50, 20), run=lambda action: action)  # as the panel does it
    assert edit.begin() is None
    result = edit.work(lambda _done, _total: None, lambda: False) if ended == "finish" else None
    acts = {
        "undo": lambda: logic.undo(*target),
        "redo": lambda: logic.redo(*target),
        "reset": lambda: logic.reset(*target),
        "click": lambda: case.click((12, 6, 7)),
        "brush": lambda: logic.importBrush(*target),
        "segment": lambda: logic.segment(case.inputs, segmentation=case.node, segmentId=case.segment),
        "open": lambda: logic.openSegment({"ct": case.volumes["ct"]}, *target),
    }
    with pytest.raises(TumorSegError, match="is being edited"):
        acts[script]()
    np.testing.assert_array_equal(case.mask(), before)
    edit.finish(result) if ended == "finish" else edit.fail()
    np.testing.assert_array_equal(case.mask(), logic.bench.sessions.get(*target).mask.array)
    if ended == "finish":
        logic.undo(*target)
        np.testing.assert_array_equal(case.mask(), before)
    acts[script]()
    np.testing.assert_array_equal(case.mask(), logic.bench.sessions.get(*target).mask.array)


def test_overlay_of_a_segment_being_edited_leaves_the_session_to_the_edit(case: Case) -> None:
    """The images have changed meanwhile, so that the session would go on with them, without the edit."""
    before, logic, target = case.find(), case.logic, (case.node, case.segment)
    edit = logic.addClick(*target, case.ras(50, 50, 20), run=lambda action: action)  # as the panel does it
    edit.begin()
    case.volumes["ct"].GetImageData().Modified()
    logic.probabilityVolume(*target)
    edit.finish(edit.work(lambda _done, _total: None, lambda: False))
    np.testing.assert_array_equal(case.mask(), logic.bench.sessions.get(*target).mask.array)
    logic.undo(*target)
    np.testing.assert_array_equal(case.mask(), before)


def test_segment_of_an_abandoned_edit_can_be_edited(case: Case) -> None:
    case.find()
    edit = case.logic.addClick(case.node, case.segment, case.ras(50, 50, 20), run=lambda action: action)
    edit.begin()
    del edit
    assert case.click((5, 6, 7)) is not None


def test_model_argument_applies_to_one_call_only(case: Case) -> None:
    case.node, case.segment = case.logic.segment(case.inputs, model="mine")
    case.logic.addBox(case.node, case.segment, bounds_of(case, (30, 30, 20), (40, 38, 26)), model="other")
    case.engines.asked.clear()
    case.find()
    case.logic.addBox(case.node, case.segment, bounds_of(case, (30, 30, 20), (40, 38, 26)))
    assert {(kind, name) for kind, name, *_ in case.engines.asked} == {
        ("auto", "sts-auto"),
        ("clicks", "lesion-clicks"),
    }


def test_a_click_reads_no_model_folders(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from TumorSegLib.engines.lazy import EngineCache
    from TumorSegLib.models import registry

    case.find()
    case.logic.bench.engineSource = EngineCache(lambda *_key: case.engines.engines["clicks"])
    case.click((5, 6, 7))
    monkeypatch.setattr(registry, "find_model", lambda *_: pytest.fail("the folders of models were read"))
    case.click((8, 8, 8))
    assert len(case.logic.clickPoints(case.node, case.segment)) == 2


# Engines and models


def test_import_brush_compares_voxels_on_the_worker_thread(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow part of every action that follows a stroke: in large images it takes a second."""
    from TumorSegLib import Session

    case.find()
    paint_box(case, (2, 2, 2), (4, 4, 4))
    read: list[None] = []
    mask = Session.mask
    monkeypatch.setattr(Session, "mask", property(lambda session: read.append(None) or mask.fget(session)))

    def run(action: Any) -> Any:
        action.begin()
        assert read == []
        edit = action.work(None, lambda: False)
        assert read
        return action.finish(edit)

    assert case.logic.importBrush(case.node, case.segment, run=run).after.any()
    assert case.logic.refineFromBrush(case.node, case.segment) is None


def test_uncertain_positions_of_a_completed_segment(case: Case) -> None:
    import slicer

    case.find()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(case.node.GetSegmentation().GetSegment(case.segment), logic.Completed)
    case.logic._sessions._entries[case.node.GetID(), case.segment].segment = None  # as after a scene was read
    assert case.logic.uncertainPositions(case.node, case.segment) == []
