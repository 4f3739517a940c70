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
    assert "; median Dice 0.84 on 8 cases (CT + PET + T1 MR); unseen patients do worse (" in found["sts-auto"]
    assert "(11 cases, CT + PET); unseen: median Dice 0.82, worst 0.57; training data: Soft-" in found["sts-auto"]
    told = set(found["sts-clicks"].split("; "))
    assert {"median Dice 0.90 after 5 click(s)", "median Dice 0.93 after 10 click(s)"} <= told
    assert {"unseen: Dice 0.89 after 5 click(s)", "unseen: Dice 0.77 from nothing after 1 click(s)"} <= told
    assert "(licence: CC BY 3.0); training data: TumorSeg phantoms" in found["sts-clicks"]


def test_accuracy_of_the_box_model_refers_to_its_card(models: Any) -> None:
    spec = tiny_spec("lite-medsam", results={}, training_data=CATALOGUE["lite-medsam"].training_data)
    assert "; accuracy: see its model card; training data: not listed by its authors; " in models.summary(spec)
    assert models.summary(spec).endswith("(licence: each set has its own)")


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"dice": 0.5}, "median Dice 0.50"),
        ({"dice": {"median": 0.5}, "cases": 3}, "median Dice 0.50 on 3 cases; expect less on your own patients"),
        ({COMMAND: {"ct": {"dice": {"median": 0.5}}, "ct+pet": {"dice": {"median": 0.75}, "cases": 3}}}, "0.75 on 3 "),
        (
            {COMMAND: {"ct": {"automatic": {"refiner": {"median": [0.25, 0.5]}}}}},
            "0.25 (CT); median Dice 0.50 after 1 ",
        ),
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
