"""Models with several labels in the logic, with trainings of nnU-Net and the shipped model for clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.slicer.desk import Case
from Testing.slicer.label_case import load_case
from Testing.slicer.module import FakeEngines, ras_of, segment_ids, voxels
from Testing.unit.cases.label_models import LABELS, REGIONS, LabelModel, label_model
from TumorSegLib import ArgumentError, Cancelled, TumorSegError, load_engine
from TumorSegLib.images.labels import label_colour


class Labels:
    """A logic with the images of a model with several labels, and its engine."""

    def __init__(self, case: Case, model: LabelModel) -> None:
        self.logic, self.model = case.logic, model
        engines = FakeEngines()
        engines.engines["auto"] = model.engine
        engines.engines["clicks"] = load_engine("lesion-clicks", "cpu", "float32", "torch", kind="clicks")
        self.logic.bench.engineSource = engines
        self.notices: list[str] = []
        self.logic.bench.notice = self.notices.append
        self.inputs = load_case(model)
        self.first = next(iter(self.inputs.values()))
        result = model.result()
        self.expected = {name: result.mask_of(name).array for name in result.labels}

    def segment(self, node: Any = None, replaced: Any = None) -> tuple[Any, str]:
        found: tuple[Any, str] = self.logic.segment(self.inputs, "organs", node, replaced)
        return found

    def mask(self, node: Any, segment: str) -> np.ndarray:
        return voxels(node, segment, self.first)

    def masks(self, node: Any) -> dict[str, np.ndarray]:
        return {name(node, each): self.mask(node, each) for each in segment_ids(node)}


def name(node: Any, segment: str) -> str:
    return str(node.GetSegmentation().GetSegment(segment).GetName())


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[each], second[each]) for each in first)


@pytest.fixture(params=[LABELS, REGIONS])
def labels(case: Case, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Labels:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path))
    return Labels(case, label_model(request.param, "organs"))


@pytest.fixture
def organs(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Labels:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path))
    return Labels(case, label_model(LABELS, "organs"))


def middle(mask: np.ndarray) -> tuple[int, int, int]:
    found = np.argwhere(mask)
    k, j, i = found[np.linalg.norm(found - found.mean(axis=0), axis=1).argmin()]
    return int(i), int(j), int(k)


def test_each_label_is_a_segment_with_name_and_colour_and_is_corrected_by_itself(labels: Labels) -> None:
    node, first = labels.segment()
    assert same(labels.masks(node), labels.expected)
    assert first == segment_ids(node)[0]
    for number, segment in enumerate(segment_ids(node), start=1):
        assert node.GetSegmentation().GetSegment(segment).GetColor() == pytest.approx(label_colour(number), abs=1e-3)
    before = labels.masks(node)
    for segment in segment_ids(node):
        own = name(node, segment)
        at = middle(before[own])
        labels.logic.addClick(node, segment, ras_of(labels.first, at), positive=False)
        now = labels.masks(node)
        assert not now[own][at[::-1]]
        assert all(np.array_equal(now[each], before[each]) for each in now if each != own)
        labels.logic.undo(node, segment)
        assert same(labels.masks(node), before)
        labels.logic.undo(node, segment)
        assert not labels.mask(node, segment).any()
        assert labels.logic.undo(node, segment) is None
        labels.logic.redo(node, segment)
    assert same(labels.masks(node), before)


def test_a_second_answer_gets_names_of_its_own_unless_it_replaces(labels: Labels) -> None:
    node, _ = labels.segment()
    ids = segment_ids(node)
    names = [name(node, each) for each in ids]
    labels.segment(node)
    assert [name(node, each) for each in segment_ids(node)] == [*names, *(f"{each} 2" for each in names)]
    for each in segment_ids(node)[len(ids) :]:
        labels.logic.deleteSegment(node, each)
    at = middle(labels.expected[names[0]])
    labels.logic.addClick(node, ids[0], ras_of(labels.first, at), positive=False)
    corrected = labels.masks(node)
    labels.segment(node, dict(zip(names, ids)))
    assert segment_ids(node) == ids
    assert same(labels.masks(node), labels.expected)
    labels.logic.undo(node, ids[0])
    assert same(labels.masks(node), corrected)


@pytest.mark.parametrize("mode", ["ALLOW", "OVERWRITE_ALL"])
def test_labels_of_one_answer_do_not_take_voxels_from_each_other(labels: Labels, mode: str) -> None:
    from TumorSegSlicer.parameters import OverwriteMode

    labels.logic.parameters.overlap = OverwriteMode[mode]
    from Testing.slicer.scene import paint, volumes

    node, drawn = labels.logic.addSegment(labels.inputs)
    node.GetSegmentation().GetSegment(drawn).SetName("mine")
    paint(node, drawn, volumes.gridFromVolume(labels.first), (0, 0, 0), (20, 20, 10))
    before = labels.mask(node, drawn)
    labels.segment(node)
    found = labels.masks(node)
    mine = found.pop(name(node, drawn))
    assert same(found, labels.expected)
    taken = np.any(list(labels.expected.values()), axis=0)
    np.testing.assert_array_equal(mine, before if mode == "ALLOW" else before * (1 - taken))
    for each in segment_ids(node):
        if each != drawn:
            labels.logic.undo(node, each)
    np.testing.assert_array_equal(labels.mask(node, drawn), before)


def test_labels_that_were_not_found_get_no_segment(organs: Labels) -> None:
    engine = organs.model.engine

    class WithoutVessel:
        """The training's engine on images that show nothing of the last label."""

        spec = engine.spec

        def segment(self, images: Any, **options: Any) -> Any:
            from dataclasses import replace

            from TumorSegLib import Mask

            result = engine.segment(images, **options)
            array = np.where(result.mask.array == 3, 0, result.mask.array)
            return replace(result, mask=Mask(result.mask.grid, array))

    organs.logic.bench.engineSource.engines["auto"] = WithoutVessel()
    node, _ = organs.segment()
    assert [name(node, each) for each in segment_ids(node)] == ["liver", "tumour"]
    assert organs.notices == ["Not found: vessel."]


def test_one_label_that_is_no_tumour_gives_its_name(case: Case) -> None:
    from dataclasses import replace

    engine = case.engines.engines["auto"]
    engine.spec = replace(engine.spec, labels={"spleen": 1})
    assert case.find().any()
    assert name(case.node, case.segment) == "spleen"
    _, again = case.logic.segment(case.inputs, None, case.node)
    assert name(case.node, again) == "spleen 2"
    engine.spec = replace(engine.spec, labels={"tumour": 1})
    _, tumour = case.logic.segment(case.inputs, None, case.node)
    assert name(case.node, tumour) == "Tumour"


def test_what_the_result_says_is_said_once(organs: Labels) -> None:
    engine = organs.model.engine

    class Noting:
        """The training's engine, with a note."""

        spec = engine.spec

        def segment(self, images: Any, **options: Any) -> Any:
            from dataclasses import replace

            result = engine.segment(images, **options)
            return replace(result, info=replace(result.info, notes=("ran on the CPU",)))

    organs.logic.bench.engineSource.engines["auto"] = Noting()
    organs.segment()
    assert organs.notices == ["ran on the CPU"]


def test_wrong_segments_are_refused_and_nothing_is_left(organs: Labels) -> None:
    import slicer

    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    node, liver = organs.segment()
    before = organs.masks(node)
    with pytest.raises(ArgumentError, match=r"'organs' has several labels \(liver, tumour, vessel\); say which"):
        organs.segment(node, liver)
    with pytest.raises(ArgumentError, match="has no label 'node'; it has liver, tumour, vessel"):
        organs.segment(node, {"node": liver})
    with pytest.raises(TumorSegError):
        organs.segment(node, {"liver": "absent"})
    assert same(organs.masks(node), before)
    with pytest.raises(Cancelled):
        organs.logic.segment(organs.inputs, "organs", cancel=lambda: True)
    with pytest.raises(Cancelled):
        organs.logic.segment(organs.inputs, "organs", node, cancel=lambda: True)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == count + 1
    assert same(organs.masks(node), before)
    # all can be edited again
    organs.segment(node, dict(zip(before, segment_ids(node))))


def test_nothing_changes_where_one_of_the_labels_cannot_be_written(
    organs: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    from TumorSegSlicer.work.segment_session import SegmentSession

    node, _ = organs.segment()
    ids = segment_ids(node)
    for each in ids[:2]:
        at = middle(organs.mask(node, each))
        organs.logic.addClick(node, each, ras_of(organs.first, at), positive=False)
    before, write = organs.masks(node), SegmentSession.apply

    def failing(self: SegmentSession, *arguments: Any) -> None:
        if self.segmentId == ids[1]:
            raise TumorSegError("full")
        write(self, *arguments)

    monkeypatch.setattr(SegmentSession, "apply", failing)
    with pytest.raises(TumorSegError, match="full"):
        organs.segment(node, dict(zip(before, ids)))
    assert same(organs.masks(node), before)
    monkeypatch.undo()
    assert all(organs.logic.resume(node, each) for each in ids)
