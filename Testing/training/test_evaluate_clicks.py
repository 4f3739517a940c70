"""Evaluation by simulated clicks: tables made by hand, methods whose answers are known, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from Testing.fakes import PaintingEngine, tiny_network, tiny_spec, write_model_folder
from training.__main__ import main
from training.click_simulation import next_click
from training.configuration import Configuration
from training.evaluate_clicks import (
    BySession,
    FromClicks,
    Plan,
    WithoutMemory,
    click_through,
    evaluate_clicks,
    format_clicks,
    load_forgetful,
    summarise_clicks,
)
from training.export import record_clicks
from TumorSegLib.engines.clicks import ClickEngine
from TumorSegLib.engines.device import Runtime
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ArgumentError, ReadError, RoleError
from TumorSegLib.geometry import Grid
from TumorSegLib.prompts import Click
from TumorSegLib.protocols import AutoEngine
from TumorSegLib.registry import read_model_folder
from TumorSegLib.volume import Images, Mask

ROLES = ("ct", "pet")
GRID = Grid.from_spacing((9, 10, 11), (1.0, 2.0, 3.0))
CPU = Runtime(torch.device("cpu"), torch.float32)


def mask_of(*boxes: tuple[slice, slice, slice]) -> Mask:
    array = np.zeros(GRID.shape, np.uint8)
    for box in boxes:
        array[box] = 1
    return Mask(GRID, array)


BALL = (slice(2, 6), slice(3, 7), slice(4, 8))
SPOT = (slice(8, 9), slice(8, 10), slice(9, 11))
EMPTY = mask_of()


# --- one case --------------------------------------------------------------------------------------------------------


class Scripted:
    """Answers with given masks, one per click; remembers the clicks."""

    def __init__(self, *masks: Mask) -> None:
        self.masks = list(masks)
        self.clicks: list[Click] = []

    def click(self, click: Click) -> Mask:
        self.clicks.append(click)
        return self.masks.pop(0)


def test_clicks_go_where_the_method_was_wrong_last() -> None:
    truth, wrong = mask_of(BALL), mask_of(BALL, SPOT)
    half = mask_of((slice(2, 4), slice(3, 7), slice(4, 8)))
    method = Scripted(half, wrong, truth)
    row = click_through(method, EMPTY, truth, 3)
    assert row["dice"] == [0, pytest.approx(2 / 3), pytest.approx(128 / 132), 1]
    for click, before in zip(method.clicks, (EMPTY, half, wrong)):
        hint = next_click(before.array > 0, truth.array > 0, GRID.spacing)
        assert hint is not None
        assert (click.ijk, click.positive) == (tuple(hint.points[0].astype(int)), hint.positive)
    assert [click.positive for click in method.clicks] == [True, True, False]
    assert row["clicks"] == [[*click.ijk, click.positive] for click in method.clicks]
    assert len(row["seconds"]) == 3
    assert (row["first"]["dice"], row["last"]["dice"], row["last"]["hd95_mm"]) == (0, 1, 0)
    json.dumps(row, allow_nan=False)


def test_clicking_stops_when_nothing_is_left_to_correct() -> None:
    truth = mask_of(BALL)
    method = Scripted(truth)  # a second click would find no answer
    row = click_through(method, EMPTY, truth, 5)
    assert row["dice"] == [0, 1, 1, 1, 1, 1]
    assert len(row["clicks"]) == len(row["seconds"]) == 1
    row = click_through(Scripted(), truth, truth, 2)
    assert (row["dice"], row["clicks"], row["seconds"]) == ([1, 1, 1], [], [])


def test_clicks_that_lead_nowhere_are_all_given() -> None:
    row = click_through(Scripted(EMPTY, EMPTY), EMPTY, mask_of(BALL), 2)
    assert row["dice"] == [0, 0, 0]
    assert row["clicks"][0] == row["clicks"][1]
    assert row["last"]["hd95_mm"] is None


def test_no_tumour_and_none_found_is_right() -> None:
    assert click_through(Scripted(), EMPTY, EMPTY, 1)["dice"] == [1, 1]


def test_a_method_from_clicks_is_given_all_of_them() -> None:
    given: list[tuple[Click, ...]] = []

    def answer(images: Images, clicks: Any) -> Mask:
        assert images == {}
        given.append(tuple(clicks))
        return EMPTY

    method = FromClicks({}, answer)
    first, second = Click((1, 2, 3)), Click((4, 5, 6), False)
    assert method.click(first) is EMPTY
    method.click(second)
    assert given == [(first,), (first, second)]


# --- summaries -------------------------------------------------------------------------------------------------------


def row_of(dice: list[float], seconds: list[float], hd95: float | None = 2.0, nsd: float = 0.5) -> dict[str, Any]:
    return {"dice": dice, "seconds": seconds, "last": {"hd95_mm": hd95, "nsd": nsd}}


def test_summary_of_a_table_made_by_hand() -> None:
    summary = summarise_clicks(
        [
            row_of([0.0, 0.8, 0.85, 0.9], [1.0, 2.0, 3.0], 1.0, 0.9),
            row_of([0.9, 1.0, 1.0, 1.0], [0.5], 0.0, 1.0),
            row_of([0.0, 0.2, 0.1, 0.5], [4.0, 5.0, 6.0], 8.0, 0.2),
        ]
    )
    assert summary == {
        "mean": pytest.approx([0.3, 2 / 3, 0.65, 0.8]),
        "median": [0.0, 0.8, 0.85, 0.9],
        "worst": [0.0, 0.2, 0.1, 0.5],
        "area_under_curve": pytest.approx((0.3 / 2 + 2 / 3 + 0.65 + 0.8 / 2) / 3),
        "clicks_to_0.85": {"median": 2.0, "cases": 2},
        "clicks_to_0.90": {"median": 3.0, "cases": 2},
        "seconds_per_click": 3.0,
        "last_hd95_mm": 1.0,
        "last_nsd": 0.9,
    }


def test_cases_that_never_reach_a_goal_count_as_one_click_more() -> None:
    summary = summarise_clicks([row_of([0.0, 0.1, 0.2], [1.0, 1.0])])
    assert summary["clicks_to_0.85"] == summary["clicks_to_0.90"] == {"median": 3.0, "cases": 0}
    # Reached and lost again is reached; a goal met exactly is met.
    summary = summarise_clicks([row_of([0.0, 0.85, 0.2], [1.0, 1.0])])
    assert summary["clicks_to_0.85"] == {"median": 1.0, "cases": 1}


def test_undefined_figures_are_none_and_perfect_ones_perfect() -> None:
    summary = summarise_clicks([row_of([1.0, 1.0], [], None)] * 2)
    assert (summary["last_hd95_mm"], summary["seconds_per_click"]) == (None, None)
    assert (summary["area_under_curve"], summary["clicks_to_0.90"]) == (1.0, {"median": 0.0, "cases": 2})
    json.dumps(summary, allow_nan=False)


# --- methods ---------------------------------------------------------------------------------------------------------


class Answering(nn.Module):
    def __init__(self, rule: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        return torch.logit(self.rule(channels))[:, None]


def refiner_of(rule: Callable[[torch.Tensor], torch.Tensor]) -> ClickEngine:
    """Of 2 mm voxels, as the cases have, and larger than they are."""
    spec = tiny_spec(
        "refiner", ROLES, ROLES, kind="clicks", spacing_mm=(2.0, 2.0, 2.0), patch=(24, 24, 24), weights_sha256="cd" * 32
    )
    return ClickEngine(spec, Answering(rule), CPU)


def bright(channels: torch.Tensor) -> torch.Tensor:
    """The tumour of the cases: 200 HU, or SUV 9."""
    return ((channels[:, 0] > 1) | (channels[:, 1] > 2)).float()


def finding(found: bool) -> PaintingEngine:
    spec = tiny_spec("first", roles=ROLES, optional=ROLES)

    def rule(images: Images) -> np.ndarray:
        image = next(iter(images.values()))
        return np.asarray((image.array > (100 if image.role == "ct" else 5)) & found)

    engine = PaintingEngine(spec, rule)
    as_the_protocol: AutoEngine = engine
    assert as_the_protocol is engine
    return engine


def plan_of(refiner: ClickEngine, auto: Any = None, clicks: int = 2, forgetful: ClickEngine | None = None) -> Plan:
    return Plan(clicks, refiner, auto, forgetful)


def test_baselines_only_when_asked_for() -> None:
    refiner, auto, images = refiner_of(bright), finding(True), dict.fromkeys(ROLES)
    plan = plan_of(refiner, auto)
    assert plan.starts() == ["automatic", "nothing"]
    assert [list(plan.methods(start, images)) for start in plan.starts()] == [["refiner"], ["refiner"]]
    plan = plan_of(refiner, auto, forgetful=refiner)
    assert list(plan.methods("automatic", images)) == ["refiner", "without previous map"]
    every = ["refiner", "without previous map", "grow from seeds", "PET 41 %"]
    assert list(plan.methods("nothing", images)) == every
    assert list(plan.methods("nothing", {"ct": None})) == every[:3]
    assert plan_of(refiner).starts() == ["nothing"]


def test_without_memory_the_previous_map_is_blank_and_the_rest_is_shown() -> None:
    shown: list[torch.Tensor] = []

    class Showing(nn.Module):
        def forward(self, channels: torch.Tensor) -> torch.Tensor:
            shown.append(channels)
            return channels[:, :1]

    channels = torch.rand(1, 5, 4, 4, 4)
    original = channels.clone()
    WithoutMemory(Showing(), 2)(channels)
    assert torch.equal(channels, original)
    assert not shown[0][:, 2].any()
    assert torch.equal(shown[0][:, [0, 1, 3, 4]], original[:, [0, 1, 3, 4]])


@pytest.fixture
def refiner_folder(configured: Callable[..., Configuration], tmp_path: Path) -> Path:
    spec = replace(configured().model, name="tiny-clicks", kind="clicks")
    return write_model_folder(tmp_path / "refiners", spec, tiny_network(spec))


def test_forgetful_is_the_same_network_without_its_memory(refiner_folder: Path) -> None:
    refiner = load_engine(refiner_folder, "cpu", "float32", kind="clicks")
    forgetful = load_forgetful(str(refiner_folder), "cpu", "float32", refiner)
    assert forgetful.spec is refiner.spec
    channels = torch.rand(1, 5, 16, 16, 16)
    blanked = channels.clone()
    blanked[:, 2] = 0
    with torch.inference_mode():
        answer = forgetful._network(channels)
        assert torch.equal(answer, refiner._network(blanked))
        assert not torch.equal(answer, refiner._network(channels))


def test_by_session_begins_with_the_automatic_mask_or_nothing(data: Path) -> None:
    from training.data import read_case

    case = read_case(data, "a", ROLES)
    with_auto = BySession(case.images, refiner_of(bright), finding(True))
    assert np.array_equal(with_auto.session.mask.array, case.reference.array)
    without = BySession(case.images, refiner_of(bright), None)
    assert not without.session.mask.array.any()
    k, j, i = (int(n) for n in np.argwhere(case.reference.array).mean(axis=0))
    assert np.array_equal(without.click(Click((i, j, k))).array, case.reference.array)


# --- reports ---------------------------------------------------------------------------------------------------------


def test_report_of_a_perfect_refiner(data: Path) -> None:
    auto = finding(False)
    report = evaluate_clicks(plan_of(refiner_of(bright), auto), data, None, [ROLES, ("pet",)])
    subsets = report.pop("subsets")
    assert {
        key: report[key] for key in ("model", "version", "first_stage", "fold", "clicks", "device", "precision")
    } == {
        "model": "refiner",
        "version": "1.2.3",
        "first_stage": "first",
        "fold": None,
        "clicks": 2,
        "device": "cpu",
        "precision": "float32",
    }
    assert report["weights_sha256"] == "cd" * 32
    assert list(subsets) == ["ct+pet", "pet"]
    for starts in subsets.values():
        assert list(starts) == ["automatic", "nothing"]
        for methods in starts.values():
            assert list(methods) == ["refiner"]
            rows, summary = methods["refiner"]["cases"], methods["refiner"]["summary"]
            assert [row["case"] for row in rows] == ["a", "b", "c"]  # d has no PET
            assert all(row["dice"] == [0, 1, 1] and len(row["clicks"]) == 1 for row in rows)
            assert summary["clicks_to_0.90"] == {"median": 1.0, "cases": 3}
    # The hidden window of case c, and no role but those asked for.
    assert {image.array.shape for shown in auto.shown for image in shown.values()} == {(20, 24, 22), (18, 18, 18)}
    assert {tuple(shown) for shown in auto.shown} == {ROLES, ("pet",)}
    json.dumps(subsets, allow_nan=False)


def test_what_the_automatic_model_found_needs_no_click(data: Path) -> None:
    report = evaluate_clicks(plan_of(refiner_of(bright), finding(True)), data, 0, [("ct",)])
    (row,) = report["subsets"]["ct"]["automatic"]["refiner"]["cases"]
    assert (row["dice"], row["clicks"]) == ([1, 1, 1], [])
    (row,) = report["subsets"]["ct"]["nothing"]["refiner"]["cases"]
    assert len(row["clicks"]) == 1


def test_without_a_first_stage(data: Path) -> None:
    report = evaluate_clicks(plan_of(refiner_of(bright)), data, 0, [("ct",)])
    assert report["first_stage"] is None
    assert list(report["subsets"]["ct"]) == ["nothing"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"clicks": 0}, ArgumentError, "--clicks 0 must be at least 1"),
        ({"fold": 7}, ArgumentError, "fold 7 does not exist"),
        ({"subsets": [("ct", "mr_t1")]}, RoleError, r"model 'refiner' cannot work from 'ct\+mr_t1'"),
        ({"auto": tiny_spec("first", ("ct",))}, RoleError, "model 'first' cannot work from 'pet'"),
        ({"data": Path("nowhere")}, ReadError, "nowhere"),
    ],
)
def test_what_cannot_be_evaluated(data: Path, change: dict[str, Any], error: type[Exception], words: str) -> None:
    auto = PaintingEngine(change["auto"], lambda _: np.zeros(1)) if "auto" in change else None
    plan = plan_of(refiner_of(bright), auto, change.get("clicks", 2))
    with pytest.raises(error, match=words):
        evaluate_clicks(plan, change.get("data", data), change.get("fold"), change.get("subsets", [("pet",)]))


def test_roles_no_case_has(new_data: Path) -> None:
    for path in new_data.glob("*_pet.nii.gz"):
        path.unlink()
    with pytest.raises(RoleError, match=r"no case has ct\+pet or pet"):
        evaluate_clicks(plan_of(refiner_of(bright)), new_data, None, [ROLES, ("pet",)])


def made_up_report(methods: tuple[str, ...] = ("refiner", "without previous map")) -> dict[str, Any]:
    rows = [row_of([0.0, 0.84512, 0.9], [0.25, 0.5], None), row_of([0.2, 0.7, 0.8], [0.5, 0.75])]
    entry = {"summary": summarise_clicks(rows), "cases": rows}
    return {"clicks": 2, "subsets": {"ct+pet+mr_t1": {"automatic": dict.fromkeys(methods, entry)}}}


def test_table_is_aligned_and_shows_the_clicks_there_were() -> None:
    lines = format_clicks(made_up_report()).splitlines()
    assert len({len(line) for line in lines}) == 1
    head = "Median Dice after clicks 0 1 2 worst AUC to .85 to .90 s/click"
    figures = "0.100 0.773 0.850 0.800 0.624 2.5 2.5 0.50"
    assert [" ".join(line.split()) for line in lines] == [
        head,
        f"ct+pet+mr_t1, from automatic: refiner {figures}",
        f"ct+pet+mr_t1, from automatic: without previous map {figures}",
    ]


def test_figures_are_recorded_in_the_model_rounded(refiner_folder: Path) -> None:
    model = read_model_folder(refiner_folder)
    record_clicks(model, "the command", made_up_report(("refiner",)))
    after = read_model_folder(refiner_folder)
    figures = after.spec.results["the command"]["ct+pet+mr_t1"]["automatic"]["refiner"]
    assert figures["cases"] == 2
    assert figures["median"] == [0.1, 0.7726, 0.85]
    assert figures["clicks_to_0.90"] == {"median": 2.5, "cases": 1}
    assert figures["last_hd95_mm"] is None
    assert replace(after.spec, results=model.spec.results) == model.spec
    after.verify()


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(data: Path, model: Path, refiner_folder: Path) -> list[str]:
    options = ["evaluate", "--model", str(model), "--refiner", str(refiner_folder), "--data", str(data)]
    return [*options, "--device", "cpu", "--precision", "float32"]


def test_command_writes_table_report_and_picture(
    command: list[str], refiner_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "curve.png"
    options = ["--fold", "2", "--roles", "ct", "--clicks", "2", "--json", str(report), "--plot", str(picture)]
    assert main([*command, *options, "--record"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    values = json.loads(report.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert captured.out == format_clicks(values) + "\n"
    assert [line.split(":")[0] for line in captured.out.splitlines()[1:]] == ["ct, from automatic", "ct, from nothing"]
    assert (values["model"], values["first_stage"], values["clicks"], values["fold"]) == ("tiny-clicks", "tiny", 2, 2)
    for start in ("automatic", "nothing"):
        (name,) = values["subsets"]["ct"][start]
        rows = values["subsets"]["ct"][start][name]["cases"]
        assert (name, [row["case"] for row in rows]) == ("refiner", ["c", "d"])
        assert all(len(row["dice"]) == 3 and len(row["clicks"]) == 2 for row in rows)
    assert picture.read_bytes().startswith(b"\x89PNG")
    key = "python -m training evaluate --model tiny --refiner tiny-clicks --clicks 2 --fold 2 --roles ct"
    recorded = read_model_folder(refiner_folder).spec.results[key]["ct"]["nothing"]["refiner"]
    assert recorded["cases"] == 2
    assert recorded["mean"] == pytest.approx(values["subsets"]["ct"]["nothing"]["refiner"]["summary"]["mean"], abs=1e-4)


def test_command_with_baselines(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("slicer", reason="needs slicer-core")
    report = tmp_path / "report.json"
    assert main([*command, "--fold", "0", "--roles", "pet", "--clicks", "1", "--baselines", "--json", str(report)]) == 0
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    baselines = ["without previous map", "grow from seeds", "PET 41 %"]
    assert lines == [
        *(f"pet, from automatic: {name}" for name in ("refiner", baselines[0])),
        *(f"pet, from nothing: {name}" for name in ("refiner", *baselines)),
    ]
    entry = json.loads(report.read_text(encoding="utf-8"))["subsets"]["pet"]["nothing"]
    # The ball is 4.5 times as hot as all else, so 41 % of its maximum finds it.
    assert entry["PET 41 %"]["cases"][0]["dice"][1] > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--clicks", "0"], "--clicks 0 must be at least 1"),
        (["--plot", "curve.pdf"], "--plot curve.pdf: the name must end in .png"),
        (["--plot", "nowhere/curve.png"], "--plot nowhere/curve.png: the folder nowhere does not exist"),
        (["--mirror"], "--mirror does not go with --refiner"),
        (["--roles", "ct,xx"], "model 'tiny-clicks' cannot work from 'ct+xx'"),
        (["--refiner", "MODEL"], "model 'tiny' is of kind 'auto', one of kind 'clicks' is needed here"),
        (["--model", "REFINER"], "model 'tiny-clicks' is of kind 'clicks', one of kind 'auto' is needed here"),
        (["--refiner", "nobody"], "no model 'nobody'"),
    ],
)
def test_wrong_options(
    command: list[str], model: Path, refiner_folder: Path, options: list[str], words: str, capsys: Any
) -> None:
    places = {"MODEL": str(model), "REFINER": str(refiner_folder)}
    assert main([*command, *(places.get(option, option) for option in options)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("options", [["--clicks", "3"], ["--baselines"], ["--plot", "curve.png"]])
def test_options_of_clicks_need_a_refiner(data: Path, model: Path, options: list[str], capsys: Any) -> None:
    assert main(["evaluate", "--model", str(model), "--data", str(data), *options]) == 2
    assert f"{options[0]} goes with --refiner" in capsys.readouterr().err
