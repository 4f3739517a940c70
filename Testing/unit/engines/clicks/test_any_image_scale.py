"""At which scale the engine of any image looks, and how much a correction may change; networks with known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from Testing.unit.engines.click_cases import blank, block, everything, mask_of, recorded
from Testing.unit.engines.clicks.any_image_cases import (
    BODY,
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
    scale_of,
    scales,
)
from TumorSegLib.engines.clicks.any_image import MOST_VIEWS
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import Click, Scribble


@pytest.mark.parametrize(
    ("diameter_mm", "seen", "least"),
    [(8, [1.5, 3, 0.75, 0.75], 0.95), (20, [1.5, 3, 0.75], 0.9), (150, [1.5, 3, 0.75, 6], 0.95)],
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
        return bright(channels) if abs(scale_of(channels) - 3) < 0.1 else (channels[POSITIVE] > 0.6).float()

    inside = ball(BODY, (60, 66, 47), 25)
    after, _ = refined(any_engine(dim_but_at_3_mm), images_showing(BODY, inside), blank(BODY), Click((60, 66, 47)))
    assert dice(after >= 128, inside) > 0.9


def test_the_scale_is_not_a_summit_beside_a_higher_one() -> None:
    """A part of the object stands out from near, nothing at the next scale, and the whole object from farther away."""
    seen_as = {1.0: 6.0, 2.0: None, 4.0: 30.0, 0.5: 3.0}

    def by_scale(channels: torch.Tensor) -> torch.Tensor:
        scale = round(scale_of(channels), 2)
        radius = seen_as[scale]
        if radius is None:
            return (channels[POSITIVE] > 0.9).float() * 0.6
        k, j, i = torch.meshgrid(*(torch.arange(n) - n // 2 for n in channels.shape[1:]), indexing="ij")
        return ((k**2 + j**2 + i**2) ** 0.5 * scale <= radius).float() * (1.0 if scale == 4.0 else 0.7)

    grid = Grid.from_spacing((96, 96, 96), (1, 1, 1))
    inside = ball(grid, (48, 48, 48), 30)
    after, _ = refined(any_engine(by_scale), images_showing(grid, inside), blank(grid), Click((48, 48, 48)))
    assert dice(after >= 128, inside) > 0.9


@pytest.mark.parametrize(("sure", "kept"), [(0.84, 0.75), (0.96, 0.96)])
def test_from_farther_away_the_object_must_stand_out_clearly_more(sure: float, kept: float) -> None:
    """The same ball in every view, a little or much surer in those of at least 2 mm."""

    def by_scale(channels: torch.Tensor) -> torch.Tensor:
        return bright(channels) * (sure if scale_of(channels) > 1.5 else 0.75)

    grid = Grid.from_spacing((96, 96, 96), (1, 1, 1))
    inside = ball(grid, (48, 48, 48), 8)
    after, _ = refined(any_engine(by_scale), images_showing(grid, inside), blank(grid), Click((48, 48, 50)))
    assert after[44, 48, 48] == pytest.approx(255 * kept, abs=2)


def test_a_first_click_does_not_choose_the_scale_at_which_the_body_stands_out_from_air() -> None:
    """From near the network marks a small ball, from more than 5 mm a body of 12 cm, more surely."""

    def by_scale(channels: torch.Tensor) -> torch.Tensor:
        if scale_of(channels) > 5:
            return bright(channels)
        return (channels[POSITIVE] > 0.4).float() * 0.7

    body = ball(BODY, (60, 66, 47), 60)
    after, _ = refined(any_engine(by_scale), images_showing(BODY, body), blank(BODY), Click((60, 66, 47)))
    assert 0 < (after >= 128).sum() < 0.1 * body.sum()


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


def test_a_scribble_is_looked_at_from_nearer_where_that_shows_more() -> None:
    """In voxels below 0.8 mm the network sees the object, else nothing but the prompt's middle."""

    def near_alone(channels: torch.Tensor) -> torch.Tensor:
        return bright(channels) if scale_of(channels) < 0.8 else torch.zeros_like(channels[PREVIOUS])

    inside = ball(SMALL, (24, 22, 23), 4)
    voxels = np.zeros(SMALL.shape, dtype=np.uint8)
    voxels[23, 22, 22:27] = 1
    scribble = Scribble.from_mask(Mask(SMALL, voxels))
    after, _ = refined(any_engine(near_alone), images_showing(SMALL, inside), blank(SMALL), scribble)
    assert dice(after >= 128, inside) > 0.9


def test_a_scribble_is_seen_whole_in_every_view_that_is_chosen_from() -> None:
    """By hand: 39 mm between its ends, which take 0.65 of a view of 32 voxels."""
    inputs: list[np.ndarray] = []
    inside = ball(SMALL, (24, 22, 23), 22)
    voxels = np.zeros(SMALL.shape, dtype=np.uint8)
    voxels[23, 22, 4:44] = 1
    scribble = Scribble.from_mask(Mask(SMALL, voxels))
    refined(any_engine(recorded(bright, inputs)), images_showing(SMALL, inside), blank(SMALL), scribble)
    assert min(scales(inputs)) >= 39 / (0.65 * 32) - 0.01


@pytest.mark.parametrize("positive", [True, False])
def test_every_click_lies_at_the_middle_of_a_voxel_of_the_view(positive: bool) -> None:
    """The middle of the object lies between two voxels; there rounding would decide which one was clicked."""
    inputs: list[np.ndarray] = []
    start = block(SMALL, (14, 34), (14, 34), (14, 34))
    prompts = Click((24, 24, 24)), Click((33, 20, 22), positive)
    refined(any_engine(recorded(bright, inputs)), images_showing(SMALL, start), mask_of(start), *prompts)
    assert inputs[0][POSITIVE if positive else NEGATIVE].max() == pytest.approx(1, abs=1e-4)


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
    """The image is 800 mm long, and views grow from 4 mm: by doubling it takes nine to see it all.

    Three of the four looks that choose the scale show nothing better.
    """
    inputs: list[np.ndarray] = []
    grid = Grid.from_spacing((400, 16, 16), (0.5, 0.5, 2.0))
    engine = any_engine(recorded(everything, inputs), patch=(8, 8, 8), scales_mm=(0.1, 1000))
    refined(engine, images_showing(grid, np.zeros(grid.shape, bool)), blank(grid), Click((8, 8, 200)))
    assert len(inputs) == 3 + MOST_VIEWS == 9


def test_a_correction_of_a_large_object_is_looked_at_from_as_far_away() -> None:
    inside, inputs = ball(BODY, (60, 66, 47), 75), list[np.ndarray]()
    hole = ball(BODY, (60, 66, 20), 12)
    images = images_showing(BODY, inside)
    after, _ = refined(any_engine(recorded(bright, inputs)), images, mask_of(inside & ~hole), Click((60, 66, 20)))
    assert scales(inputs)[0] == pytest.approx(150 / (0.65 * 32), rel=0.1)
    assert dice(after >= 128, inside) > 0.98
    assert (after[hole & inside] >= 128).mean() > 0.9
