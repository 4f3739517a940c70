"""The module's logic without a window: saved scenes, bad input, deleted nodes, engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, bounds_of, paint_box
from Testing.slicer.module import load_phantom, segment_ids
from TumorSegLib import ArgumentError, Cancelled, ModelError, RoleError, SuvError, TumorSegError

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


def scene_nodes() -> set[str]:
    import slicer

    return {node.GetID() for node in slicer.mrmlScene.GetNodes()}


# Save and resume


@pytest.mark.parametrize("ending", ["mrb", "mrml"])
def test_a_saved_scene_goes_on_where_it_was(host: Host, case: Case, tmp_path: Path, ending: str) -> None:
    import slicer

    case.find()
    case.click((5, 6, 7))
    case.click((50, 50, 20))
    case.logic.undo(case.node, case.segment)
    before = case.mask()
    case.logic.save()
    for node in (*case.inputs.values(), case.volumes["mr_t1"], case.node):  # as Slicer's dialog does for .mrml
        suffix = "seg.nrrd" if node is case.node else "nrrd"
        if ending == "mrml":
            assert slicer.util.saveNode(node, str(tmp_path / f"{node.GetID()}.{suffix}"))
    assert slicer.util.saveScene(str(tmp_path / f"scene.{ending}"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / f"scene.{ending}"))
    (saved,) = case.logic.saved()
    assert (saved.problem, saved.segmentId) == ("", case.segment)
    case.node, case.volumes["ct"] = saved.segmentationNode, saved.inputs["ct"].node
    np.testing.assert_array_equal(case.mask(), before)
    case.logic.redo(case.node, case.segment)
    assert case.mask()[20, 50, 50] == 1
    for _ in range(3):
        case.logic.undo(case.node, case.segment)
    assert not case.mask().any()


# Bad input


def test_bad_input_leaves_the_scene_as_it_was(case: Case) -> None:
    import slicer

    case.find()
    pet = slicer.util.addVolumeFromArray(np.ones((32, 64, 64), np.float32), name="PET")
    before, nodes = case.mask(), scene_nodes()
    bare = case.logic.segment
    for act, error, words in (
        (lambda: bare({}), ArgumentError, "no volume was chosen"),
        (lambda: bare({"ct": None}), ArgumentError, "no volume was chosen"),
        (lambda: bare({**case.inputs, "pet": pet}), SuvError, "does not say the unit"),
        (lambda: bare({**case.inputs, "pet": pet}, segmentation=case.node), SuvError, "does not say the unit"),
        (lambda: case.click((500, 0, 0)), ArgumentError, "outside"),
        (lambda: case.logic.addClick(case.node, "gone", (0, 0, 0)), ArgumentError, "no segment with the id .gone."),
        (lambda: case.logic.addScribble(case.node, case.segment, []), ArgumentError, "at least one point"),
    ):
        with pytest.raises(error, match=words):
            act()
        assert scene_nodes() - nodes == set()
        assert segment_ids(case.node) == [case.segment]
        np.testing.assert_array_equal(case.mask(), before)


def test_a_failing_engine_leaves_nothing_behind(case: Case) -> None:
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
    from TumorSegSlicer.logic import done

    before = case.find()
    with pytest.raises(Cancelled):
        case.logic.addClick(case.node, case.segment, case.ras(5, 6, 7), run=lambda each: done(each, None, lambda: True))
    np.testing.assert_array_equal(case.mask(), before)
    assert case.click((5, 6, 7)) is not None


def test_a_model_chosen_for_one_call_is_not_that_of_the_next(case: Case) -> None:
    case.node, case.segment = case.logic.segment(case.inputs, model="mine")
    case.logic.addBox(case.node, case.segment, bounds_of(case, (30, 30, 20), (40, 38, 26)), model="other")
    case.engines.asked.clear()
    case.find()
    case.logic.addBox(case.node, case.segment, bounds_of(case, (30, 30, 20), (40, 38, 26)))
    assert {(kind, name) for kind, name, *_ in case.engines.asked} == {("auto", "sts-auto"), ("box", "lite-medsam")}


def test_a_click_reads_no_model_folders(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from TumorSegLib.engines.lazy import EngineCache
    from TumorSegLib.models import registry

    case.find()
    case.logic.bench.engineSource = EngineCache(lambda *_key: case.engines.engines["clicks"])
    case.click((5, 6, 7))
    monkeypatch.setattr(registry, "find_model", lambda *_: pytest.fail("the folders of models were read"))
    case.click((8, 8, 8))
    assert len(case.logic.clickPoints(case.node, case.segment)) == 2


def test_a_pet_without_unit_is_taken_as_suv_only_when_told(case: Case) -> None:
    from TumorSegSlicer.mrml.session_nodes import Input
    from TumorSegSlicer.mrml.volumes import UNIT_ATTRIBUTE

    pet = case.volumes["pet"]
    assert case.logic.suvProblem(pet) == ""
    pet.RemoveAttribute(UNIT_ATTRIBUTE)
    assert "does not say the unit" in case.logic.suvProblem(pet)
    with pytest.raises(SuvError):
        case.find()
    case.inputs["pet"] = Input(pet, assumeSuv=True)
    assert case.find().any()
    pet.SetAttribute(UNIT_ATTRIBUTE, "Bq/ml")
    with pytest.raises(SuvError, match="is in Bq/ml"):
        case.logic.suvProblem(pet)


def test_a_box_model_that_is_not_there_is_named_and_the_rest_works(case: Case) -> None:
    def without_box(kind: str, *rest: str) -> Any:
        if kind == "box":
            raise ModelError("no model 'lite-medsam'")
        return case.engines(kind, *rest)

    case.logic.bench.engineSource = without_box
    before = case.find()
    with pytest.raises(ModelError, match="lite-medsam"):
        case.logic.addBox(case.node, case.segment, bounds_of(case, (30, 30, 20), (40, 38, 26)))
    np.testing.assert_array_equal(case.mask(), before)
    case.click((5, 6, 7))
    case.logic.bench.engineSource = case.engines  # it was downloaded meanwhile
    case.logic.addBox(case.node, case.segment, bounds_of(case, (30, 30, 20), (40, 38, 26)))
    for _ in range(2):
        case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), before)


def test_a_deleted_volume_does_not_end_the_session(case: Case) -> None:
    import slicer

    case.find()
    slicer.mrmlScene.RemoveNode(case.volumes["pet"])
    case.click((5, 6, 7))
    assert case.mask()[7, 6, 5] == 1


def test_deleted_segments_and_a_closed_scene_are_forgotten(case: Case) -> None:
    import slicer

    dropped: list[tuple[str, str]] = []
    case.logic.onDropped = lambda *key: dropped.append(key)
    case.find()
    key = (case.node.GetID(), case.segment)
    case.node.GetSegmentation().RemoveSegment(case.segment)
    assert dropped == [key]
    with pytest.raises(TumorSegError):
        case.click((5, 6, 7))
    slicer.mrmlScene.Clear(False)
    case.volumes = load_phantom()
    case.inputs = {"ct": case.volumes["ct"], "pet": case.volumes["pet"]}
    assert case.find().any()


# Engines and models


def test_what_was_painted_is_compared_by_the_worker(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_completed_segment_as_its_session_has_it_is_looked_at(case: Case) -> None:
    import slicer

    case.find()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(case.node.GetSegmentation().GetSegment(case.segment), logic.Completed)
    case.logic._sessions._entries[case.node.GetID(), case.segment].segment = None  # as after a scene was read
    assert case.logic.uncertainPositions(case.node, case.segment) == []
