"""The engine of any image with networks whose answers are known: scale, every kind of prompt, and what binds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from Testing.unit.engines.click_cases import GRIDS, blank, block, everything, mask_of, nothing, recorded, wavering
from Testing.unit.engines.clicks.any_image_cases import (
    BOX,
    CT_WIDE,
    LINE,
    MR,
    NEGATIVE,
    POSITIVE,
    PREVIOUS,
    any_engine,
    ball,
    bright,
    dice,
    images_showing,
    refined,
    scales,
    the_same,
)
from TumorSegLib.engines.clicks.any_image import MOST_VIEWS
from TumorSegLib.errors import ArgumentError, Cancelled, GeometryError
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompt, Prompts, Scribble

BODY = Grid.from_spacing((96, 128, 128), (1.5, 1.5, 2.0), (-90, 40, 700), np.diag([-1.0, -1.0, 1.0]))
SMALL = Grid.from_spacing((48, 48, 48), (1, 1, 1))
SLICE = Grid.from_spacing((1, 90, 100), (0.8, 0.8, 5.0))
INSIDE = {id(grid): ball(grid, at, radius) for grid, at, radius in [(SMALL, (24, 22, 23), 9), (SLICE, (50, 40, 0), 14)]}


# Scale


@pytest.mark.parametrize(
    ("diameter_mm", "seen", "least"),
    [(8, [1.5, 3, 6, 0.75, 0.75], 0.95), (20, [1.5, 3, 6, 0.75], 0.9), (150, [1.5, 3, 6, 0.75], 0.95)],
)
def test_one_click_finds_small_and_large_objects_in_the_same_kind_of_image(
    diameter_mm: float, seen: list[float], least: float
) -> None:
    inside, inputs = ball(BODY, (60, 66, 47), diameter_mm / 2), list[np.ndarray]()
    images = images_showing(BODY, inside)
    after, _ = refined(any_engine(recorded(bright, inputs)), images, blank(BODY), Click((61, 65, 47)))
    assert dice(after >= 128, inside) > least
    assert scales(inputs) == seen


def test_the_scale_is_chosen_at_which_the_object_stands_out() -> None:
    """A network that sees the object in voxels of 3 mm alone, and else marks a dot around the click."""

    def dim_but_at_3_mm(channels: torch.Tensor) -> torch.Tensor:
        steps = channels[CT_WIDE, 16, 16].diff() * 250
        here = abs(float(steps[steps > 1e-4].median()) - 3) < 0.1
        return bright(channels) if here else (channels[POSITIVE] > 0.6).float()

    inside = ball(BODY, (60, 66, 47), 25)
    after, _ = refined(any_engine(dim_but_at_3_mm), images_showing(BODY, inside), blank(BODY), Click((60, 66, 47)))
    assert dice(after >= 128, inside) > 0.9


def test_the_scale_is_not_a_summit_beside_a_higher_one() -> None:
    """A part of the object stands out from near, nothing at the next scale, and the whole object from farther away."""
    seen_as = {1.5: 8.0, 3.0: None, 6.0: 40.0, 0.75: 4.0}

    def by_scale(channels: torch.Tensor) -> torch.Tensor:
        steps = channels[CT_WIDE, 16, 16].diff() * 250
        scale = round(float(steps[steps > 1e-4].median()), 2)
        radius, clearness = seen_as[scale], 1.0 if scale == 6.0 else 0.7
        if radius is None:
            return (channels[POSITIVE] > 0.9).float() * 0.6
        k, j, i = torch.meshgrid(*(torch.arange(n) - n // 2 for n in channels.shape[1:]), indexing="ij")
        return ((k**2 + j**2 + i**2) ** 0.5 * scale <= radius).float() * clearness

    inside = ball(BODY, (60, 66, 47), 40)
    after, _ = refined(any_engine(by_scale), images_showing(BODY, inside), blank(BODY), Click((60, 66, 47)))
    assert dice(after >= 128, inside) > 0.9


def test_a_correction_that_floods_is_kept_near_its_prompt() -> None:
    """A click 3 mm outside the mask, and a network that answers with everything."""
    inside, at = ball(SMALL, (24, 24, 24), 12), (24 + 15, 24, 24)
    prompts = Click((24, 24, 24)), Click(at)
    after, _ = refined(any_engine(everything), images_showing(SMALL, inside), mask_of(inside), *prompts)
    changed = (after >= 128) != inside
    assert changed[ball(SMALL, at, 4) & ~inside].all()
    assert not changed[~ball(SMALL, at, 20)].any()


def test_a_correction_does_not_swallow_what_is_many_times_larger() -> None:
    """All around the object looks as bright, but for what lies far away: in the far view that stands out most."""
    inside, around = ball(BODY, (60, 66, 47), 8), ball(BODY, (60, 66, 47), 45)
    clicks = Click((60, 66, 47)), Click((64, 66, 47))
    after, _ = refined(any_engine(bright), images_showing(BODY, around), mask_of(inside), *clicks)
    assert (after >= 128)[47, 66, 65]
    assert (after >= 128).sum() < 8 * inside.sum()


def test_a_negative_click_takes_away_all_of_a_leak() -> None:
    """The mask flows out of the object by far more than a few voxels; without that it stands out more."""
    inside, leak = ball(SMALL, (17, 24, 24), 9), ball(SMALL, (32, 24, 24), 9)
    after, _ = refined(
        any_engine(bright), images_showing(SMALL, inside), mask_of(inside | leak), Click((39, 24, 24), positive=False)
    )
    assert dice(after >= 128, inside) > 0.97


@pytest.mark.parametrize(("answer", "gone_mm"), [(0.4, 3 * 3.2), (0.0, 30)])
def test_a_negative_click_takes_away_far_from_it_only_what_is_surely_wrong(answer: float, gone_mm: float) -> None:
    """A network that wavers all over a ball of 15 mm; by hand the click lies 3.2 mm inside it."""
    inside, at = ball(SMALL, (24, 24, 24), 15), (24 + 12, 24, 24)
    engine = any_engine(lambda channels: torch.full_like(channels[PREVIOUS], answer))
    after, _ = refined(engine, images_showing(SMALL, inside), mask_of(inside), Click(at, positive=False))
    near, far = ball(SMALL, at, gone_mm - 1), ball(SMALL, at, gone_mm + 1.6)
    assert not (after >= 128)[ball(SMALL, (24, 24, 24), 13) & near].any()  # the rim is finer than the view shows
    assert (after >= 128)[inside & ~far].all()


def test_a_line_and_a_scribble_are_looked_at_from_nearer_where_that_shows_more() -> None:
    """In voxels below 0.8 mm the network sees the object, else nothing but the prompt's middle."""

    def near_alone(channels: torch.Tensor) -> torch.Tensor:
        steps = channels[CT_WIDE, 16, 16].diff() * 250
        here = float(steps[steps > 1e-4].median()) < 0.8
        return bright(channels) if here else torch.zeros_like(channels[PREVIOUS])

    inside = ball(SMALL, (24, 22, 23), 4)
    voxels = np.zeros(SMALL.shape, dtype=np.uint8)
    voxels[23, 22, 22:27] = 1
    for prompt in (Line(((20, 22, 23), (28, 22, 23))), Scribble.from_mask(Mask(SMALL, voxels))):
        after, _ = refined(any_engine(near_alone), images_showing(SMALL, inside), blank(SMALL), prompt)
        assert dice(after >= 128, inside) > 0.9


def test_a_click_far_from_the_middle_still_finds_a_large_object() -> None:
    inside, at = ball(BODY, (60, 66, 47), 60), (60 + 36, 66, 47)
    after, _ = refined(any_engine(bright), images_showing(BODY, inside), blank(BODY), Click(at))
    assert dice(after >= 128, inside) > 0.95


def test_views_end_at_the_coarsest_scale_and_at_the_border_of_the_image() -> None:
    inputs: list[np.ndarray] = []
    whole = np.ones(BODY.shape, dtype=bool)
    after, _ = refined(
        any_engine(recorded(bright, inputs), scales_mm=(0.3, 2.5)),
        images_showing(BODY, whole), blank(BODY), Click((60, 60, 40)),
    )  # fmt: skip
    assert scales(inputs) == [1.5, 0.75, 2.5]
    assert (after[25:55, 45:75, 45:75] >= 128).all()
    inputs.clear()
    after, _ = refined(
        any_engine(recorded(bright, inputs)), images_showing(SMALL, SMALL_ALL), blank(SMALL), Click((24, 24, 24))
    )
    assert (after >= 128).all()
    assert scales(inputs) == [1.0, 2.0, 0.5, 2.0]  # 64 voxels of 1 mm are more than the image has


SMALL_ALL = np.ones(SMALL.shape, dtype=bool)


def test_a_network_that_finds_more_and_more_is_asked_a_limited_number_of_times() -> None:
    """The image is 800 mm long, and views grow from 4 mm: eight looks see it all, by doubling; one is from nearer."""
    inputs: list[np.ndarray] = []
    grid = Grid.from_spacing((400, 16, 16), (0.5, 0.5, 2.0))
    engine = any_engine(recorded(everything, inputs), patch=(8, 8, 8), scales_mm=(0.1, 1000))
    refined(engine, images_showing(grid, np.zeros(grid.shape, bool)), blank(grid), Click((8, 8, 200)))
    assert len(inputs) == 9 + MOST_VIEWS == 15


def test_a_correction_of_a_large_object_is_looked_at_from_as_far_away() -> None:
    inside, inputs = ball(BODY, (60, 66, 47), 75), list[np.ndarray]()
    hole = ball(BODY, (60, 66, 20), 12)
    images = images_showing(BODY, inside)
    after, _ = refined(any_engine(recorded(bright, inputs)), images, mask_of(inside & ~hole), Click((60, 66, 20)))
    assert scales(inputs)[0] == pytest.approx(150 / (0.65 * 32), rel=0.1)
    assert dice(after >= 128, inside) > 0.98
    assert (after[hole & inside] >= 128).mean() > 0.9


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
