"""What is told of models: those that ship, the one for boxes, and what descriptions of others may hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.fakes import tiny_spec
from Testing.slicer.module import TUMORSEG
from TumorSegLib.models.catalogue import CATALOGUE

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

COMMAND = "python -m training evaluate-auto --model mine --fold 0"


@pytest.fixture
def models(host: Host) -> Any:
    """The module ``models``."""
    host.load_module(TUMORSEG, with_panel=False)
    from TumorSegSlicer.work import models

    return models


def test_accuracy_of_the_models_that_ship(models: Any) -> None:
    found = {spec.name: models.summary(spec) for kind in ("auto", "clicks") for spec in models.modelsOfKind(kind)}
    assert "; median Dice 0.84 on 8 cases (CT + PET + T1 MR); unseen patients do worse: " in found["sts-auto"]
    assert "do worse: median 0.82, worst 0.57 on 11 cases (CT + PET); training data: Soft-" in found["sts-auto"]
    words = "; median Dice 0.84, after 5 clicks 0.90, after 10 clicks 0.93 on 8 cases (CT + PET + T1 MR); "
    assert words in found["sts-clicks"]
    worse = (
        "unseen patients do worse: after 5 clicks 0.89, after 10 clicks 0.91, from nothing after 1 clicks 0.77 on 11 "
    )
    assert worse in found["sts-clicks"]
    assert "(licence: CC BY 3.0) and TumorSeg phantoms" in found["sts-clicks"]


def test_the_model_for_boxes_leads_to_its_card(models: Any) -> None:
    spec = tiny_spec("lite-medsam", results={}, training_data=CATALOGUE["lite-medsam"].training_data)
    assert "; accuracy: see its model card; training data: not listed by its authors; " in models.summary(spec)
    assert models.summary(spec).endswith("(licence: each set has its own)")


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"dice": 0.5}, "median Dice 0.50"),
        ({"dice": {"median": 0.5}, "cases": 3}, "median Dice 0.50 on 3 cases; expect less on your own patients"),
        ({COMMAND: {"ct": {"dice": {"median": 0.5}}, "ct+pet": {"dice": {"median": 0.75}, "cases": 3}}}, "0.75 on 3 "),
        ({COMMAND: {"ct": {"automatic": {"refiner": {"median": [0.25, 0.5]}}}}}, "0.25, after 1 clicks 0.50 (CT)"),
        ({COMMAND: {"ct": {"clicks_to_0.85": {"median": 0.5}, "median": []}}}, "accuracy: see its model card"),
        ({"roles": {"ct": {"before": {"median": 0.5}}}}, "accuracy: see its model card"),
        ({}, "accuracy not measured"),
    ],
)
def test_all_kinds_of_results_are_read(models: Any, results: dict[str, Any], words: str) -> None:
    assert words in models.accuracy(tiny_spec("mine", ("ct", "pet"), results=results))


@pytest.mark.parametrize("noted", [{}, {"unseen patients": {"dice": 0.4}}, {"unseen patients": "none"}])
def test_accuracy_without_figures_of_unseen_patients_expects_less(models: Any, noted: dict[str, Any]) -> None:
    spec = tiny_spec("mine", ("ct", "pet"), results={"dice": 0.5, **noted})
    assert models.accuracy(spec) == "median Dice 0.50; expect less on your own patients"


def test_attributions_leave_out_phantoms(models: Any) -> None:
    (listed,) = [each for each in models.listed() if each.name == "sts-auto"]
    assert "M. Vallieres" in listed.details
    assert "make_phantom" not in listed.details
    assert str(Path("bundled") / "sts-auto") in listed.details
