"""The engine of any image with networks whose answers are known: every kind of prompt, and what binds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from Testing.unit.engines.click_cases import GRIDS, blank, block, everything, mask_of, nothing, recorded, wavering
from Testing.unit.engines.clicks.any_image_cases import (
    BODY,
    BOX,
    LINE,
    MR,
    NEGATIVE,
    POSITIVE,
    PREVIOUS,
    SMALL,
    any_engine,
    ball,
    bright,
    dice,
    images_showing,
    refined,
    scales,
    the_same,
)
from TumorSegLib.errors import ArgumentError, Cancelled, GeometryError
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompt, Prompts, Scribble

SLICE = Grid.from_spacing((1, 90, 100), (0.8, 0.8, 5.0))
INSIDE = {id(grid): ball(grid, at, radius) for grid, at, radius in [(SMALL, (24, 22, 23), 9), (SLICE, (50, 40, 0), 14)]}


# Prompts


def seen_by(prompt: Prompt, grid: Grid) -> tuple[np.ndarray, list[np.ndarray]]:
    inputs: list[np.ndarray] = []
    after, _ = refined(
        any_engine(recorded(bright, inputs)), images_showing(grid, INSIDE[id(grid)]), blank(grid), prompt
    )
    return after >= 128, inputs


def stroke(grid: Grid, *at: slice | int, positive: bool = True) -> Scribble:
    drawn = np.zeros(grid.shape, np.uint8)
    drawn[at] = 1
    return Scribble.from_mask(Mask(grid, drawn), positive)


def shown(channels: np.ndarray) -> list[int]:
    """Which channels of prompts show anything."""
    return [number for number in (POSITIVE, NEGATIVE, BOX, LINE) if channels[number].any()]


@pytest.mark.parametrize(
    ("grid", "prompt", "channels"),
    [
        (SMALL, Click((26, 20, 24)), [POSITIVE]),
        (SMALL, stroke(SMALL, 23, 22, slice(20, 29)), [POSITIVE]),
        (SMALL, Line(((16, 22, 23), (32, 22, 23))), [LINE]),
        (SMALL, BoxPrompt(((14, 35), (12, 33), (13, 34))), [BOX]),
        (SMALL, BoxPrompt(((14, 35), (12, 33), (23, 24))), [BOX]),
        (SLICE, Click((55, 45, 0)), [POSITIVE]),
        (SLICE, stroke(SLICE, 0, 40, slice(44, 60)), [POSITIVE]),
        (SLICE, Line(((34, 40, 0), (66, 40, 0))), [LINE]),
        (SLICE, BoxPrompt(((31, 70), (21, 60), (0, 1))), [BOX]),
    ],
    ids=str,
)
def test_every_kind_of_prompt_finds_the_object(grid: Grid, prompt: Prompt, channels: list[int]) -> None:
    after, inputs = seen_by(prompt, grid)
    assert dice(after, INSIDE[id(grid)]) > 0.96
    assert all(shown(each) == channels for each in inputs)


@pytest.mark.parametrize(
    ("grid", "prompt", "edge_mm"),
    [
        # By hand: 40 mm are at most 0.65 of a view, whose shortest edge, of 16 voxels, is along the axis not shown.
        (SMALL, Line(((4, 22, 23), (43, 22, 23))), 40 / (0.65 * 16)),
        (SMALL, BoxPrompt(((4, 44), (20, 25), (23, 24))), 40 / (0.65 * 16)),
        (SMALL, BoxPrompt(((4, 44), (20, 25), (20, 25))), 40 / (0.65 * 32)),
        (SMALL, BoxPrompt(((20, 25), (20, 25), (4, 44))), 40 / (0.65 * 16)),
        (SLICE, BoxPrompt(((10, 60), (20, 25), (0, 1))), 50 * 0.8 / (0.65 * 32)),
        (SLICE, Line(((10, 30, 0), (59, 30, 0))), 50 * 0.8 / (0.65 * 32)),
        (SMALL, Click((24, 22, 23)), 1.0),
        (SLICE, Click((24, 22, 0)), 0.8),
    ],
)
def test_the_object_fills_the_first_view_of_a_line_or_a_box(grid: Grid, prompt: Prompt, edge_mm: float) -> None:
    inputs: list[np.ndarray] = []
    engine = any_engine(recorded(nothing, inputs), patch=(16, 32, 32))
    refined(engine, images_showing(grid, INSIDE[id(grid)]), blank(grid), prompt)
    assert scales(inputs)[0] == pytest.approx(edge_mm, abs=0.01)


def test_channels_show_a_box_and_a_line_where_they_are() -> None:
    """A view of 1.5 mm about the middle of both: by hand the box is 20 / 1.5 voxels long, the line 18 / 1.5."""
    inputs: list[np.ndarray] = []
    engine = any_engine(recorded(nothing, inputs), scales_mm=(1.5, 8))
    images = images_showing(SMALL, INSIDE[id(SMALL)])
    box, line = BoxPrompt(((14, 34), (18, 28), (22, 26))), Line(((15, 22, 23), (33, 22, 23)))
    refined(engine, images, blank(SMALL), box, line)
    extent = [int(np.any(inputs[0][BOX], axis=axes).sum()) for axes in [(0, 1), (0, 2), (1, 2)]]
    assert np.abs(np.array(extent) - np.array([20, 10, 4]) / 1.5).max() < 1
    # Its middle is a voxel of the view, so the ends are 6 voxels away; the next beyond them has exp(-0.3) = 0.74.
    assert int((inputs[0][LINE] > 0.8).any(axis=(0, 1)).sum()) == 13


def test_all_prompts_and_the_answer_so_far_are_shown() -> None:
    inputs: list[np.ndarray] = []
    images, start = images_showing(SMALL, INSIDE[id(SMALL)]), mask_of(block(SMALL, (20, 26), (20, 26), (20, 26)))
    prompts = Click((26, 20, 24)), Click((40, 40, 40), False), Line(((16, 22, 23), (32, 22, 23))), Click((22, 22, 22))
    refined(any_engine(recorded(the_same, inputs)), images, start, *prompts)
    assert shown(inputs[0]) == [POSITIVE, NEGATIVE, LINE]
    assert inputs[0][PREVIOUS].sum() == pytest.approx(6**3, rel=0.02)


@pytest.mark.parametrize("positive", [True, False])
def test_a_click_binds_against_a_network_that_says_the_opposite(positive: bool) -> None:
    start = blank(SMALL, 255 * (not positive))
    engine = any_engine(nothing if positive else everything)
    after, _ = refined(engine, images_showing(SMALL, INSIDE[id(SMALL)]), start, Click((26, 20, 24), positive))
    assert ((after >= 128) == positive).sum() == 7
    assert after[24, 20, 26] == 255 * positive


def test_a_negative_click_removes_the_wrong_part_and_no_other() -> None:
    right, wrong = ball(SMALL, (14, 22, 23), 8), ball(SMALL, (34, 22, 23), 8)
    start = mask_of(right | wrong)
    after, _ = refined(any_engine(bright), images_showing(SMALL, right), start, Click((34, 22, 23), False))
    assert np.array_equal(after >= 128, right)


def test_a_box_bounds_what_later_clicks_add() -> None:
    box = BoxPrompt(((10, 24), (10, 36), (10, 36)))
    images, inside = images_showing(SMALL, INSIDE[id(SMALL)]), INSIDE[id(SMALL)]
    after, _ = refined(any_engine(bright), images, blank(SMALL), box)
    within = block(SMALL, *box.box)
    assert dice(after >= 128, inside & within) > 0.97
    assert not (after >= 128)[~within].any()
    after, _ = refined(any_engine(bright), images, after, box, Click((28, 22, 23)))
    assert dice(after >= 128, inside) > 0.95


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_constraints_and_locality_with_a_network_that_answers_noise(name: str, seed: int) -> None:
    """After every click all constraints are met, and only what hangs together with the click has changed."""
    grid, rng = GRIDS[name], np.random.default_rng(seed)
    engine = any_engine(wavering(seed), patch=(16, 16, 16))
    prepared = engine.prepare(images_showing(grid, np.zeros(grid.shape, bool)))
    probability = (rng.random(grid.shape) > 0.7).astype(np.uint8) * np.uint8(255)
    prompts, wanted = Prompts(), dict[tuple[int, int, int], bool]()
    for number in range(6):
        i, j, k = (int(n) for n in rng.integers(0, grid.size))
        prompts = prompts.with_click(Click((i, j, k), number % 2 == 0))
        wanted[i, j, k] = number % 2 == 0
        answer = engine.refine(prepared, probability, prompts)
        old = probability >= 128
        probability[slices(answer.box)] = answer.probability
        new = probability >= 128
        assert new[k, j, i] == wanted[i, j, k]
        reach = min(grid.spacing) * 1.001
        near = ball(grid, (i, j, k), reach)
        parts, _ = label(old | new)
        own = (parts == parts[k, j, i]) & (parts > 0)
        assert not ((old != new) & ~own & ~near).any()


@pytest.mark.parametrize("name", GRIDS)
def test_a_network_that_agrees_leaves_a_hand_drawn_mask_bit_for_bit(name: str) -> None:
    grid = GRIDS[name]
    start = np.random.default_rng(7).choice(np.array([0, 255], np.uint8), grid.shape, p=[0.3, 0.7])
    click = tuple(n // 2 for n in grid.size)
    images = images_showing(grid, np.zeros(grid.shape, bool))
    after, _ = refined(any_engine(the_same, patch=(16, 16, 16)), images, start, Click(click))
    assert not (after != start)[~ball(grid, click, min(grid.spacing) * 1.001)].any()


# Images


def test_answers_to_several_mr_sequences_are_averaged() -> None:
    left, right = ball(SMALL, (20, 22, 23), 8), ball(SMALL, (27, 22, 23), 8)
    sequences = {
        role: Volume(SMALL, np.where(inside, 900, 100).astype(np.float32), role)
        for role, inside in [("mr_t1", left), ("mr_flair", right)]
    }

    def answer(channels: torch.Tensor) -> torch.Tensor:
        return torch.where(channels[MR] > channels[MR].max() / 2, 0.98, 0.32)  # means are 0.32 and 0.65

    engine = any_engine(answer)
    both, one = refined(engine, sequences, blank(SMALL), Click((24, 22, 22)))
    assert dice(both >= 128, left | right) > 0.9
    assert one.info.roles == ("mr_t1", "mr_flair")
    alone, _ = refined(engine, {"mr_t1": sequences["mr_t1"]}, blank(SMALL), Click((24, 22, 22)))
    assert dice(alone >= 128, left) > 0.95


def test_a_constant_image_is_taken() -> None:
    images = {"image": Volume(SMALL, np.full(SMALL.shape, 3, np.float32), "image")}
    after, _ = refined(any_engine(bright), images, blank(SMALL), Click((24, 22, 22)))
    assert (after >= 128).sum() == 7


# Refusals


def test_cancel_stops_it_before_and_between_views() -> None:
    inputs: list[np.ndarray] = []
    images = images_showing(BODY, ball(BODY, (60, 66, 47), 60))
    engine, click = any_engine(recorded(bright, inputs)), Click((60, 66, 47))

    def stopped_after(views: int) -> Callable[[], bool]:
        return lambda: len(inputs) >= views

    for views in (0, 1, 2):
        inputs.clear()
        with pytest.raises(Cancelled, match="the correction was cancelled"):
            refined(engine, images, blank(BODY), click, cancel=stopped_after(views))
        assert len(inputs) == views
    inputs.clear()
    refined(engine, images, blank(BODY), click, cancel=lambda: False)
    assert len(inputs) == 4


def test_wrong_input_is_refused() -> None:
    engine = any_engine(bright)
    prepared = engine.prepare(images_showing(SMALL, INSIDE[id(SMALL)]))
    click = Prompts((Click((24, 22, 22)),))
    with pytest.raises(ArgumentError, match="a correction needs at least one prompt"):
        engine.refine(prepared, blank(SMALL), Prompts())
    with pytest.raises(ArgumentError, match="the probability is float32; uint8 is needed"):
        engine.refine(prepared, blank(SMALL).astype(np.float32), click)
    with pytest.raises(GeometryError, match=r"has shape \(47, 48, 48\), the first image \(48, 48, 48\)"):
        engine.refine(prepared, blank(SMALL)[1:], click)


def test_what_answered_is_told() -> None:
    engine = any_engine(bright)
    assert (engine.info.model, engine.spec.name) == ("any", "any")
    _, refinement = refined(engine, images_showing(SMALL, INSIDE[id(SMALL)]), blank(SMALL), Click((24, 22, 22)))
    assert refinement.info.roles == ("pet", "ct")
    assert {"encode", "network", "paste"} <= set(refinement.info.seconds)
