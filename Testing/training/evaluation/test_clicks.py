"""Evaluation by simulated clicks: tables made by hand, methods whose answers are known, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from Testing.training.click_methods import GRID, ROLES, bright, finding, plan_of, refiner_of, row_of
from training.clicks.simulate import next_click
from training.data.cases import Case
from training.evaluation.clicks import (
    BySession,
    FromClicks,
    WithoutMemory,
    click_through,
    load_forgetful,
    summarise_clicks,
)
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.load import load_engine
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.prompts.types import Click, Prompts


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
        prompt = next_click(before.array > 0, truth.array > 0, GRID.spacing)
        assert prompt is not None
        assert (click.ijk, click.positive) == (tuple(prompt.points[0].astype(int)), prompt.positive)
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


def test_clicks_without_effect_are_all_given() -> None:
    row = click_through(Scripted(EMPTY, EMPTY), EMPTY, mask_of(BALL), 2)
    assert row["dice"] == [0, 0, 0]
    assert row["clicks"][0] == row["clicks"][1]
    assert row["last"]["hd95_mm"] is None


def test_an_empty_reference_and_an_empty_mask_need_no_click() -> None:
    assert click_through(Scripted(), EMPTY, EMPTY, 1)["dice"] == [1, 1]


def test_baselines_are_given_all_clicks() -> None:
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
    inputs: list[torch.Tensor] = []

    class Showing(nn.Module):
        def forward(self, channels: torch.Tensor) -> torch.Tensor:
            inputs.append(channels)
            return channels[:, :1]

    channels = torch.rand(1, 5, 4, 4, 4)
    original = channels.clone()
    WithoutMemory(Showing(), 2)(channels)
    assert torch.equal(channels, original)
    assert not inputs[0][:, 2].any()
    assert torch.equal(inputs[0][:, [0, 1, 3, 4]], original[:, [0, 1, 3, 4]])


def test_forgetful_is_the_same_network_without_its_memory(case: Case, refiner_folder: Path) -> None:
    refiner = load_engine(refiner_folder, "cpu", "float32", "torch", kind="clicks")
    forgetful = load_forgetful(str(refiner_folder), "cpu", "float32", refiner)
    assert forgetful.spec is refiner.spec

    def answer(engine: ClickEngine, before: int) -> np.ndarray:
        probability = np.full(case.reference.grid.shape, before, np.uint8)
        prompts = Prompts((Click(ijk=(11, 12, 10), positive=True),))
        return np.asarray(engine.refine(engine.prepare(case.images), probability, prompts).probability)

    assert np.array_equal(answer(forgetful, 0), answer(refiner, 0))
    assert not np.array_equal(answer(forgetful, 200), answer(refiner, 200))


def test_by_session_begins_with_the_automatic_mask_or_nothing(case: Case) -> None:
    with_auto = BySession(case.images, refiner_of(bright), finding(True))
    assert np.array_equal(with_auto.session.mask.array, case.reference.array)
    without = BySession(case.images, refiner_of(bright), None)
    assert not without.session.mask.array.any()
    k, j, i = (int(n) for n in np.argwhere(case.reference.array).mean(axis=0))
    assert np.array_equal(without.click(Click((i, j, k))).array, case.reference.array)
