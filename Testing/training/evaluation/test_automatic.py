"""The evaluation protocol on engines whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import TumorSegLib
from Testing.fakes import PaintingEngine, tiny_network, tiny_spec
from training.config.train import Configuration
from training.data.cases import read_case
from training.evaluation.automatic import evaluate_case, evaluate_folder, validate
from training.evaluation.summary import summarise
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.protocols import Result

ROLES = ("ct", "pet")


def find_ball(images: Images) -> np.ndarray:
    """The cases' tumour is 200 HU and SUV 9, all else far below."""
    image = images["ct"].array / 20 if "ct" in images else images["pet"].array
    return np.asarray(image) > 5


def engine_with(rule: Callable[[Images], np.ndarray]) -> PaintingEngine:
    return PaintingEngine(tiny_spec(roles=ROLES, optional=ROLES), rule)


def test_evaluation_is_inside_the_jitter_window_alone(data: Path) -> None:
    engine, case = engine_with(find_ball), read_case(data, "c", ROLES)
    row = evaluate_case(engine, case, ("pet",))
    assert row["case"] == "c"
    assert (row["dice"], row["iou"], row["hd95_mm"], row["nsd"]) == (1, 1, 0, 1)
    (given,) = engine.images
    assert list(given) == ["pet"]
    assert given["pet"].array.shape == (18, 18, 18)
    assert given["pet"].grid == case.reference.grid.crop(case.jitter_window)


def test_evaluation_counts_all_labels_of_the_contour(data: Path) -> None:
    case = read_case(data, "a", ROLES)
    double = case.reference.array * 2
    case = type(case)("a", case.images, type(case.reference)(case.reference.grid, double), case.jitter_window)
    assert evaluate_case(engine_with(find_ball), case, ROLES)["dice"] == 1


def test_labels_are_compared_by_name_and_without_common_names_by_value(data: Path) -> None:
    case = read_case(data, "a", ROLES)
    reference = case.reference.array.copy()
    reference[: case.reference.grid.shape[0] // 2][reference[: case.reference.grid.shape[0] // 2] > 0] = 2
    assert set(np.unique(reference)) == {0, 1, 2}
    engine = PaintingEngine(
        tiny_spec(roles=ROLES, optional=ROLES, labels={"upper": 1, "lower": 2}), lambda _images: reference
    )

    def dice(**names: int) -> dict[str, float]:
        labelled = replace(case, reference=Mask(case.reference.grid, reference), labels=names)
        row = evaluate_case(engine, labelled, ROLES)
        assert row["dice"] == 1
        return {name: found["dice"] for name, found in row["labels"].items()}

    assert dice() == dice(upper=1, lower=2) == dice(one=1, other=2) == {"upper": 1, "lower": 1}
    assert dice(lower=1, upper=2) == {"upper": 0, "lower": 0}
    assert dice(upper=1, other=2) == {"upper": 1, "lower": 0}


def test_evaluation_of_a_perfect_engine(data: Path) -> None:
    report = evaluate_folder(engine_with(find_ball), data, None, [ROLES, ("ct",)])["subsets"]
    assert list(report) == ["ct+pet", "ct"]
    assert [row["case"] for row in report["ct+pet"]["cases"]] == ["a", "b", "c"]  # d has no PET
    assert [row["case"] for row in report["ct"]["cases"]] == ["a", "b", "c", "d"]
    for entry in report.values():
        assert entry["summary"]["dice"] == {"mean": 1, "median": 1, "worst": 1}
        assert entry["summary"]["hd95_mm"] == {"mean": 0, "median": 0, "worst": 0}


def test_report_names_model_device_and_precision(data: Path) -> None:
    spec = tiny_spec(roles=ROLES, optional=ROLES, weights_sha256="ab" * 32)
    engine = AutoEngine(spec, tiny_network(spec), Runtime(torch.device("cpu"), torch.bfloat16))
    report = evaluate_folder(engine, data, 2, [ROLES, ("ct",)], mirror=True)
    subsets = report.pop("subsets")
    model = {"model": "tiny", "version": "1.2.3", "weights_sha256": "ab" * 32}
    run = {"tumorseg_version": TumorSegLib.__version__, "device": "cpu", "precision": "bfloat16", "backend": "torch"}
    assert report == {**model, **run, "overlap": 0.5, "fold": 2, "mirror": True}
    rows = [row for entry in subsets.values() for row in entry["cases"]]
    assert [row["case"] for row in rows] == ["c", "c", "d"]
    assert all(0 < row["seconds"] < 60 for row in rows)
    assert all(0 <= row["precision"] <= 1 for row in rows)  # the metric


def test_report_names_differing_devices_and_precisions(data: Path) -> None:
    class Wavering(PaintingEngine):
        def segment(self, images: Images, **options: Any) -> Result:
            device = "cpu" if self.images else "cuda"
            return replace(super().segment(images, **options), info={"device": device, "overlap": 0.5})

    report = evaluate_folder(Wavering(tiny_spec(roles=ROLES, optional=ROLES), find_ball), data, 2, [("ct",)])
    assert (report["device"], report["overlap"]) == (["cuda", "cpu"], 0.5)
    assert "precision" not in report  # which this engine does not tell
    assert [row["run"]["device"] for row in report["subsets"]["ct"]["cases"]] == ["cuda", "cpu"]


def test_summary_with_an_undefined_distance() -> None:
    rows = [{"dice": value, "hd95_mm": value} for value in (0.5, 1.0, 4.0)]
    rows += [{"dice": 0.0, "hd95_mm": None}] * 2
    assert summarise(rows) == {"mean": pytest.approx(1.1), "median": 0.5, "worst": 0.0}
    assert summarise(rows, "hd95_mm") == {"mean": None, "median": 4.0, "worst": None}
    assert summarise(rows[:2], "hd95_mm") == {"mean": 0.75, "median": 0.75, "worst": 1.0}


@pytest.mark.parametrize("fold", [-1, 3])
def test_unknown_fold(data: Path, fold: int) -> None:
    with pytest.raises(ArgumentError, match=f"fold {fold} does not exist; .* has folds 0 to 2"):
        evaluate_folder(engine_with(find_ball), data, fold, [ROLES])


@pytest.mark.parametrize("roles", [("ct", "xx"), ("ct", "ct"), ("",), ()])
def test_roles_the_model_does_not_take_are_refused(data: Path, roles: tuple[str, ...]) -> None:
    engine = engine_with(find_ball)
    with pytest.raises(RoleError) as caught:
        evaluate_folder(engine, data, None, [ROLES, roles])
    wanted = f"model 'tiny' cannot work from {'+'.join(roles)!r}; it can from ct+pet, ct, pet"
    assert str(caught.value) == wanted
    assert not engine.images  # found out before any work


def test_roles_no_case_has(new_data: Path) -> None:
    for path in new_data.glob("*_pet.nii.gz"):
        path.unlink()
    with pytest.raises(RoleError, match=r"data: none of the 4 cases has ct[+]pet nor pet$"):
        evaluate_folder(engine_with(find_ball), new_data, None, [ROLES, ("pet",)])
    assert list(evaluate_folder(engine_with(find_ball), new_data, None, [ROLES, ("ct",)])["subsets"]) == ["ct"]


def test_validation_leaves_the_network_as_it_was(data: Path, configured: Callable[..., Configuration]) -> None:
    spec = configured().model
    network = tiny_network(spec).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cases = [read_case(data, name, ROLES) for name in ("c", "d")]
    scores = validate(spec, network, cases, Runtime(torch.device("cpu"), torch.bfloat16))
    assert set(scores) == {"dice ct+pet", "dice ct"}
    assert all(0 <= score <= 1 for score in scores.values())
    assert network.training
    assert all(value.dtype is torch.float32 for value in network.state_dict().values())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert set(validate(spec, network, cases[1:], Runtime(torch.device("cpu"), torch.float32))) == {"dice ct"}
