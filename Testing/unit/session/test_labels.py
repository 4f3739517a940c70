"""Sessions of several labels, with a training of nnU-Net and the shipped model for clicks: one segment per label."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from Testing.unit.cases.label_models import LABELS, REGIONS, LabelModel, label_model, middle, same
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError, ResourceError
from TumorSegLib.images.labels import Segment, Segmentation
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Scribble
from TumorSegLib.protocols import ClickSegmenter, Result
from TumorSegLib.session.history import History
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORSEG_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture(scope="module")
def labels(_models: None) -> LabelModel:
    return label_model(LABELS, "organs")


@pytest.fixture(scope="module")
def regions(_models: None) -> LabelModel:
    return label_model(REGIONS, "regions")


@pytest.fixture(scope="module")
def clicks() -> ClickSegmenter[Any]:
    return load_engine("lesion-clicks", "cpu", "float32", "torch", kind="clicks")


def masks(session: Session) -> dict[str, np.ndarray]:
    return {name: session.mask_of(name).array.copy() for name in session.segments}


def of(result: Result) -> dict[str, np.ndarray]:
    return {name: result.mask_of(name).array for name in result.labels}


def test_each_label_becomes_a_segment_and_one_undo_takes_all_back(labels: LabelModel) -> None:
    session = Session(labels.images, auto=labels.engine)
    edit = session.segment()
    expected = of(labels.result())
    assert session.segments == ("liver", "tumour", "vessel")
    assert same(masks(session), expected)
    assert all(mask.any() for mask in expected.values())
    assert (edit.segment, set(edit.others), session.active) == ("liver", {"tumour", "vessel"}, "tumour")
    assert edit.info.model == "organs"
    session.activate("liver")
    probability = session.probability.array
    wanted = labels.result().probability_of("liver").array
    shown = (wanted > 0.02) & ((wanted > 0.5) == (expected["liver"] > 0))
    assert np.abs(probability - wanted)[shown].max() < 0.003
    undone = session.undo()
    assert undone is not None
    assert {undone.segment, *undone.others} == set(session.segments)
    assert not any(mask.any() for mask in masks(session).values())
    assert not session.can_undo
    session.redo()
    assert same(masks(session), expected)


def test_any_label_is_corrected_by_every_prompt_and_all_is_undone(
    labels: LabelModel, clicks: ClickSegmenter[Any]
) -> None:
    session = Session(labels.images, auto=labels.engine, clicks=clicks, overlap="overwrite")
    session.segment()
    found = masks(session)
    states = [found]
    for name in session.segments:
        session.activate(name)
        inside, outside = middle(found[name]), middle(found["liver" if name != "liver" else "tumour"])
        drawn = np.zeros(session.grid.shape, np.uint8)
        drawn[outside[2], outside[1], outside[0] : outside[0] + 2] = 1
        brushed = session.mask.array.copy()
        brushed[0, :2, :2] = 1
        i, j, k = outside
        around = BoxPrompt(((i - 2, i + 3), (j - 2, j + 3), (max(k - 1, 0), k + 2)))
        edits = [
            lambda at=inside: session.add(Click(at, positive=False)),
            lambda at=outside: session.add(Click(at)),
            lambda box=around: session.add(box),
            lambda at=outside: session.add(Line(((at[0] - 2, at[1], at[2]), (at[0] + 2, at[1], at[2])))),
            lambda mask=drawn: session.add(Scribble.from_mask(Mask(session.grid, mask))),
            lambda mask=brushed: session.replace_mask(Mask(session.grid, mask)),
        ]
        for number, do in enumerate(edits):
            edit = do()
            assert edit.segment == name
            states.append(masks(session))
            now = session.mask.array
            if number == 0:
                assert not now[inside[::-1]]
            if number in (1, 4):
                assert now[outside[::-1]]
        assert np.array_equal(session.mask.array, brushed)
    together = np.sum([mask.astype(int) for mask in states[-1].values()], axis=0)
    assert together.max() == 1  # what a label gained, the others lost
    # undo to the first step, and all again
    for state in reversed(states):
        while not same(masks(session), state):
            assert session.undo() is not None
    assert session.undo() is not None
    assert not session.can_undo
    while session.redo() is not None:
        pass
    assert same(masks(session), states[-1])


def test_regions_overlap_and_so_do_their_corrections(regions: LabelModel, clicks: ClickSegmenter[Any]) -> None:
    session = Session(regions.images, auto=regions.engine, clicks=clicks)
    session.segment()
    expected = of(regions.result())
    assert same(masks(session), expected)
    assert np.array_equal(expected["core"] & expected["whole"], expected["core"])
    assert session.overlap is Overlap.ALLOW
    session.activate("core")
    at = middle(expected["whole"] & ~expected["core"] & 1)
    session.add(Click(at))
    assert session.mask_of("core").array[at[::-1]]
    assert np.array_equal(session.mask_of("whole").array, expected["whole"])


@pytest.mark.parametrize("kind", ["result", "segmentation"])
def test_a_session_begins_with_labels_and_its_json_restores_them(
    labels: LabelModel, regions: LabelModel, clicks: ClickSegmenter[Any], kind: str
) -> None:
    for model in (labels, regions):
        result = model.result()
        expected = of(result)
        session = Session(model.images, clicks=clicks, initial=result if kind == "result" else result.segmentation)
        assert same(masks(session), expected)
        assert session.active == session.segments[0]
        assert not session.can_undo
        assert not session.can_reset
        session.activate(session.segments[1])
        session.add(Click(middle(expected[session.active]), positive=False))
        again = Session.from_json(json.loads(json.dumps(session.to_json())), model.images, clicks=clicks)
        assert same(masks(again), masks(session))
        assert not same(masks(again), expected)
        assert again.overlap is session.overlap
        assert again.active == session.active
        again.reset()
        assert same(masks(again), expected)
        while again.undo() is not None:
            pass
        assert same(masks(again), expected)
        assert not again.can_reset


def test_a_damaged_beginning_is_refused(labels: LabelModel) -> None:
    data = Session(labels.images, initial=labels.result()).to_json()
    assert data["version"] == 5
    without = {**data, "segments": data["segments"][:-1]}
    with pytest.raises(ReadError, match="record 0 has segments that are not there: vessel"):
        Session.from_json(without, labels.images)
    other = Session(labels.images, initial=replace(labels.result(), labels={})).to_json()
    assert other["version"] == 4  # of one segment, as before
    with pytest.raises(ReadError, match="record 0: unknown key"):
        Session.from_json({**data, "records": other["records"]}, labels.images)


def test_a_result_of_one_label_is_one_segment_with_its_probability(labels: LabelModel) -> None:
    result = replace(labels.result(), labels={})
    session = Session(labels.images, initial=result)
    assert session.segments == ("tumour",)
    assert np.array_equal(session.mask.array, result.probability.array > 0.5)


def test_names_that_are_taken_are_refused_before_the_model_works(
    labels: LabelModel, clicks: ClickSegmenter[Any]
) -> None:
    session = Session(labels.images, auto=labels.engine, clicks=clicks)
    session.add(Click((10, 10, 6)))  # the segment "tumour" of every session
    before, asked = masks(session), []
    with pytest.raises(ArgumentError, match=r"segment 'tumour' is not empty.*segment\(replace=True\) replaces it"):
        session.segment(progress=lambda *step: asked.append(step))
    assert not asked
    assert same(masks(session), before)
    session.segment(replace=True)
    assert session.segments == ("tumour", "liver", "vessel")
    assert np.array_equal(session.mask_of("tumour").array, labels.result().mask_of("tumour").array)
    assert not session.prompts.items
    session.undo()
    assert np.array_equal(session.mask_of("tumour").array, before["tumour"])
    assert len(session.prompts) == 1


@pytest.mark.parametrize("policy", list(Overlap))
def test_other_segments_keep_or_lose_voxels_as_the_policy_says(labels: LabelModel, policy: Overlap) -> None:
    session = Session(labels.images, auto=labels.engine, overlap=policy)
    expected = of(labels.result())
    half = np.zeros(session.grid.shape, np.uint8)
    half[:, :18] = 1
    session.add_segment("mine", Mask(session.grid, half))
    edit = session.segment()
    found = masks(session)
    if policy is Overlap.KEEP:
        assert np.array_equal(found["mine"], half)
        assert np.array_equal(found["liver"], expected["liver"] * (1 - half))
    else:
        assert all(np.array_equal(found[name], mask) for name, mask in expected.items())
        taken = np.any(list(expected.values()), axis=0) if policy is Overlap.OVERWRITE else half * 0
        assert np.array_equal(found["mine"], half * (1 - taken))
        assert ("mine" in edit.others) is (policy is Overlap.OVERWRITE)
    session.undo()
    assert np.array_equal(masks(session)["mine"], half)


def test_nothing_is_left_behind_where_the_step_cannot_be_kept(
    labels: LabelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(labels.images, auto=labels.engine)

    def full(_history: History, _step: Any) -> None:
        raise ResourceError("no room")

    monkeypatch.setattr(History, "push", full)
    with pytest.raises(ResourceError):
        session.segment()
    assert session.segments == ("tumour",)
    assert not session.mask.array.any()


def test_labels_on_another_grid_or_without_segments_are_refused(labels: LabelModel, regions: LabelModel) -> None:
    with pytest.raises(GeometryError, match="not on the grid of the first image"):
        Session(labels.images, initial=regions.result())
    with pytest.raises(GeometryError, match="not on the grid of the first image"):
        Session(labels.images, initial=regions.result().segmentation)
    grid = labels.result().mask.grid
    empty = Segmentation.of_labels(Mask(grid, np.zeros(grid.shape, np.uint8)))
    with pytest.raises(ArgumentError, match="has no segment"):
        Session(labels.images, initial=empty)


def test_a_segmentation_on_a_part_of_the_image_begins_there(labels: LabelModel) -> None:
    grid = labels.result().mask.grid
    part = grid.crop(((4, 9), (5, 11), (2, 6)))
    ones = Mask(part, np.ones(part.shape, np.uint8))
    session = Session(labels.images, initial=Segmentation.of_masks([(Segment("a", 1), ones), (Segment("b", 2), ones)]))
    expected = np.zeros(grid.shape, np.uint8)
    expected[2:6, 5:11, 4:9] = 1
    assert same(masks(session), {"a": expected, "b": expected})
    assert session.overlap is Overlap.ALLOW
