"""Segment automatically in the panel by a training of nnU-Net with several labels: segments, question, corrections."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import PaintingEngine, tiny_spec
from Testing.slicer.desk import Desk
from Testing.slicer.label_case import load_case
from Testing.slicer.module import ras_of, segment_ids, voxels
from Testing.unit.cases.label_models import LABELS, label_model
from TumorSegLib import load_engine


class LabelDesk:
    """A user at the open panel with the images of the training chosen, and the training as the model."""

    def __init__(self, host: Any, **described: Any) -> None:
        """``described`` is what the description of the model has beside what was imported."""
        model = label_model(LABELS, "organs")
        description = Path(os.environ["TUMORSEG_MODELS"]) / "organs" / "model.json"
        description.write_text(json.dumps({**json.loads(description.read_text()), **described}))
        self.desk = Desk(host)
        self.desk.engines.engines["auto"] = model.engine
        self.desk.engines.engines["clicks"] = load_engine("lesion-clicks", "cpu", "float32", "torch", kind="clicks")
        self.images = load_case(model)
        self.first = self.images["ct"]
        self.desk.choose("pet", None)
        self.desk.choose("ct", self.first)
        self.desk.choose("mr_t1", self.images["mr_t1"])
        self.desk.context.parameters.autoModel = "organs"
        result = model.result()
        self.expected = {name: result.mask_of(name).array for name in result.labels}

    @property
    def node(self) -> Any:
        return self.desk.node

    def name(self, segment: str) -> str:
        return str(self.node.GetSegmentation().GetSegment(segment).GetName())

    def masks(self) -> dict[str, np.ndarray]:
        return {self.name(each): voxels(self.node, each, self.first) for each in segment_ids(self.node)}

    def correct(self, segment: str) -> None:
        """A negative click in the middle of a segment."""
        found = np.argwhere(voxels(self.node, segment, self.first))
        k, j, i = found[np.linalg.norm(found - found.mean(axis=0), axis=1).argmin()]
        self.desk.context.selection.setTarget(self.node, segment)
        self.desk.widget.logic.addClick(self.node, segment, ras_of(self.first, (i, j, k)), positive=False)
        self.desk.context.edits.add((self.node, segment))
        self.desk.wait()


@pytest.fixture
def labels(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelDesk:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    return LabelDesk(host)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[each], second[each]) for each in first)


def test_one_press_makes_a_segment_of_each_label_and_the_strip_names_them(labels: LabelDesk) -> None:
    labels.desk.press("segmentButton")
    assert labels.desk.error == ""
    assert same(labels.masks(), labels.expected)
    assert labels.desk.segment == segment_ids(labels.node)[0]
    assert "Marked 'liver' (4.8 ml), 'tumour' (2.4 ml), 'vessel' (0.092 ml) by organs" in labels.desk.status
    before = segment_ids(labels.node)
    labels.desk.press("segmentButton")  # as the model marked them: replaced unasked
    assert segment_ids(labels.node) == before
    assert labels.desk.host.dialogs.shown == []
    assert same(labels.masks(), labels.expected)


@pytest.mark.parametrize(("volumes", "doubted"), [((20.0, 90.0), True), ((1.0, 5.0), True), ((5.0, 90.0), False)])
def test_an_implausible_volume_of_all_labels_is_told_before_the_result(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volumes: tuple[float, float], doubted: bool
) -> None:
    """7.4 ml are marked."""
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    labels = LabelDesk(host, plausible_volume_ml=list(volumes))
    labels.desk.press("segmentButton")
    low, high = volumes
    words = f"All labels together are 7.4 ml, in the training of organs {low:.0f} to {high:.0f} ml: probably something"
    assert labels.desk.status.startswith(words if doubted else "Marked 'liver'")
    assert "Marked 'liver'" in labels.desk.status


def test_another_model_leaves_the_segments_of_labels(labels: LabelDesk) -> None:
    desk = labels.desk
    organs = desk.engines.engines["auto"]
    desk.press("segmentButton")
    liver = desk.segment
    tumours = tiny_spec("painter", ("ct", "mr_t1"), ("ct", "mr_t1"))
    desk.engines.engines["auto"] = PaintingEngine(tumours, lambda images: images["ct"].array > 0)
    desk.context.parameters.autoModel = "sts-auto"
    for _ in range(2):  # the second time in place of its own answer
        desk.press("segmentButton")
        assert desk.error == ""
        assert labels.name(desk.segment) == "Tumour 2"
        found = labels.masks()
        assert found.pop("Tumour 2").any()
        assert same(found, labels.expected)
    desk.context.selection.setTarget(labels.node, liver)
    desk.engines.engines["auto"] = organs
    desk.context.parameters.autoModel = "organs"
    desk.press("segmentButton")
    assert same({each: mask for each, mask in labels.masks().items() if each != "Tumour 2"}, labels.expected)
    assert desk.host.dialogs.shown == []


@pytest.mark.parametrize("answer", ["Yes", "No", "Cancel"])
def test_corrected_segments_are_replaced_only_after_a_question_that_names_them(
    labels: LabelDesk, qt: Any, answer: str
) -> None:
    desk = labels.desk
    desk.press("segmentButton")
    liver, tumour, vessel = segment_ids(labels.node)
    for segment in (liver, tumour):
        labels.correct(segment)
    corrected = labels.masks()
    desk.host.dialogs.answer(getattr(qt.QMessageBox, answer))
    desk.press("segmentButton")
    (dialog,) = desk.host.dialogs.shown
    assert "Segments that organs marked were corrected since: 'liver' (" in dialog.text
    assert "'tumour' (" in dialog.text
    assert "'vessel'" not in dialog.text
    now = labels.masks()
    if answer == "Cancel":
        assert same(now, corrected)
        assert desk.status == "Nothing was done."
    elif answer == "Yes":
        assert same({each: now[each] for each in corrected}, corrected)
        assert same({each: now[f"{each} 2"] for each in labels.expected}, labels.expected)
    else:
        assert segment_ids(labels.node) == [liver, tumour, vessel]
        assert same(now, labels.expected)
        desk.context.selection.setTarget(labels.node, tumour)
        desk.press("undoButton")
        np.testing.assert_array_equal(labels.masks()["tumour"], corrected["tumour"])


def test_any_label_is_corrected_by_click_box_and_brush_and_taken_back(labels: LabelDesk) -> None:
    from Testing.slicer.scene import paint, volumes

    desk, logic = labels.desk, labels.desk.widget.logic
    desk.press("segmentButton")
    tumour = segment_ids(labels.node)[1]
    labels.correct(tumour)
    corrected = labels.masks()["tumour"]
    assert not np.array_equal(corrected, labels.expected["tumour"])
    grid = volumes.gridFromVolume(labels.first)
    low, high = grid.to_ras((4, 10, 8)), grid.to_ras((9, 20, 16))
    logic.addBox(labels.node, tumour, [value for pair in zip(low, high) for value in sorted(pair)])
    paint(labels.node, tumour, grid, (0, 0, 0), (2, 3, 2))
    desk.wait()
    logic.importBrush(labels.node, tumour)
    assert labels.masks()["tumour"][0, 0, 0]
    for name in ("liver", "vessel"):
        np.testing.assert_array_equal(labels.masks()[name], labels.expected[name])
    states = []
    while logic.undo(labels.node, tumour) is not None:
        states.append(labels.masks()["tumour"])
    assert any(np.array_equal(each, corrected) for each in states)
    assert any(np.array_equal(each, labels.expected["tumour"]) for each in states)
    assert not states[-1].any()
