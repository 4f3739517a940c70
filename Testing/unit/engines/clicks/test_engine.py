"""The click engine: constraints and locality with any answer of the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, label

from Testing.fakes import rotation
from Testing.unit.engines.click_cases import (
    CUBE,
    GRIDS,
    LARGE_CUBE,
    blank,
    block,
    corners_and_middle,
    distance,
    engine_of,
    everything,
    hot,
    images_on,
    images_with,
    mask_of,
    nothing,
    recorded,
    refined,
    ruled,
    spacings,
    spec_of,
    the_same,
    wavering,
)
from TumorSegLib.engines.clicks.patches import COARSE
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import Click, Prompts, Scribble


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("positive", [True, False])
def test_click_constrains_a_network_that_says_the_opposite_everywhere(name: str, positive: bool) -> None:
    grid = GRIDS[name]
    engine, start = engine_of(nothing if positive else everything), blank(grid, 255 * (not positive))
    for ijk in corners_and_middle(grid):
        after, _ = refined(engine, images_on(grid), start, Click(ijk, positive))
        assert ((after[ruled(grid, ijk)] >= 128) == positive).all()
        assert after[ijk[::-1]] == 255 * positive
        # The patch shows the ball in voxels of 2 mm, which reach less than their diagonal farther.
        assert ((after[distance(grid, [ijk]) > 3 + 2 * np.sqrt(3)] >= 128) != positive).all()


def scribble(grid: Grid, voxels: np.ndarray, positive: bool) -> Scribble:
    drawn = np.zeros(grid.shape, np.uint8)
    drawn[tuple(voxels.T[::-1])] = 1
    return Scribble.from_mask(Mask(grid, drawn), positive)


@pytest.mark.parametrize("length", [5, 60])
@pytest.mark.parametrize("positive", [True, False])
def test_scribbles_are_constraints_even_beyond_the_patch(length: int, positive: bool) -> None:
    grid = Grid.from_spacing((20, 24, 70), (1.0, 1.4, 0.8), (3, 2, 1), rotation((0.2, 0.5, -0.4), mirror=True))
    voxels = np.stack([np.arange(length) + 5, 4 + np.arange(length) // 4, np.full(length, 9)], axis=1)
    engine, start = engine_of(nothing if positive else everything, spec_of(1.0)), blank(grid, 255 * (not positive))
    after, _ = refined(engine, images_on(grid), start, scribble(grid, voxels, positive))
    far = distance(grid, voxels)
    assert ((after[far <= 3] >= 128) == positive).all()
    assert ((after[far > 3 + 2 * np.sqrt(3)] >= 128) != positive).all()


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_constraints_and_locality_with_a_network_that_answers_noise(name: str, seed: int) -> None:
    """After every click all constraints are met; only the clicked component changed, within the widest patch."""
    grid, rng = GRIDS[name], np.random.default_rng(seed)
    engine, images = engine_of(wavering(seed)), images_on(grid)
    prepared = engine.prepare(images)
    probability = (rng.random(grid.shape) > 0.7).astype(np.uint8) * np.uint8(255)
    wanted = np.full(grid.shape, -1)
    prompts = Prompts()
    for number in range(6):
        i, j, k = (int(n) for n in rng.integers(0, grid.size))
        prompts = prompts.with_click(Click((i, j, k), number % 2 == 0))
        refinement = engine.refine(prepared, probability, prompts)
        old = probability >= 128
        probability[slices(refinement.box)] = refinement.probability
        new = probability >= 128
        ball = ruled(grid, (i, j, k))
        wanted[ball] = number % 2 == 0
        assert np.array_equal(new[wanted >= 0], wanted[wanted >= 0] == 1)
        parts, _ = label(old | new)
        own = (parts == parts[k, j, i]) & (parts > 0)
        assert not ((old != new) & ~own & ~ball).any()
        widest = prepared.patch(grid.to_ras((i, j, k)), COARSE).grid
        place = widest.to_ijk(grid.to_ras(np.argwhere((old != new) & ~ball)[:, ::-1]))
        assert ((place > -0.51) & (place < np.array(widest.size) - 0.49)).all()


def test_a_second_component_in_the_same_patch_stays_bit_for_bit() -> None:
    grid = CUBE
    mine, other = block(grid, (14, 19), (14, 24), (14, 24)), block(grid, (21, 25), (15, 23), (15, 23))
    start = mask_of(mine | other)
    after, _ = refined(engine_of(nothing, spec_of(1.0)), images_on(grid), start, Click((15, 19, 19)))
    assert np.array_equal(after[other], start[other])
    assert np.array_equal(after >= 128, ruled(grid, (15, 19, 19)) | other)


def test_a_negative_click_removes_the_whole_wrong_component_and_no_other() -> None:
    grid = CUBE
    right, wrong = block(grid, (14, 19), (14, 24), (14, 24)), block(grid, (21, 26), (15, 23), (15, 23))
    start = mask_of(right | wrong)
    engine = engine_of(hot, spec_of(1.0))
    after, _ = refined(engine, images_with(grid, right), start, Click((25, 19, 19), False))
    assert np.array_equal(after >= 128, right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", GRIDS)
def test_a_network_that_agrees_leaves_a_hand_drawn_mask_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    grid, inputs = GRIDS[name], []
    rng = np.random.default_rng(7)
    start = rng.choice(np.array([0, 255], np.uint8), grid.shape, p=[0.3, 0.7])
    click = tuple(n // 2 for n in grid.size)
    for positive in (True, False):
        engine = engine_of(recorded(the_same, inputs), dtype=dtype)
        after, _ = refined(engine, images_on(grid), start, Click(click, positive))
        changed = after != start
        assert changed.any()
        # In bfloat16 voxels may seem to change sides, and the coarse patch then shows a coarser ball.
        reach = 2 if dtype == torch.float32 else 4
        assert distance(grid, [click])[changed].max() < 3 + reach * np.sqrt(3)
    assert any(0.1 < value < 0.9 for value in inputs[0][-3].ravel()) or name == "as the model"


def test_first_click_on_nothing_finds_the_tumour_clicked_at_alone() -> None:
    grid = CUBE
    clicked, other = block(grid, (15, 22), (15, 24), (16, 23)), block(grid, (24, 27), (16, 20), (16, 20))
    inputs: list[np.ndarray] = []
    engine = engine_of(recorded(hot, inputs), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, clicked | other), blank(grid), Click((18, 19, 19)))
    assert np.array_equal(after >= 128, clicked)  # the ball of 3 mm lies in it
    assert spacings(inputs) == [1.0]


def test_a_tumour_longer_than_the_patch_is_segmented_in_the_coarse_patch() -> None:
    grid = LARGE_CUBE
    rod, inputs = block(grid, (12, 52), (30, 34), (30, 34)), []
    engine = engine_of(recorded(hot, inputs), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, rod), blank(grid), Click((32, 32, 32)))
    assert spacings(inputs) == [1.0, 2.0, 1.0]
    # The patch of 16 voxels reaches from 24 to 40, the coarse one from 16 to 48.
    assert np.array_equal(after >= 128, rod & block(grid, (16, 48), (0, 64), (0, 64)) | ruled(grid, (32, 32, 32)))
    assert inputs[2][-3][8, 8].min() == 1  # the last run starts from the coarse answer


def test_a_wrong_part_longer_than_the_patch_is_removed_in_the_coarse_patch() -> None:
    grid = LARGE_CUBE
    rod, inputs = block(grid, (20, 44), (30, 34), (30, 34)), []
    start = mask_of(rod)
    engine = engine_of(recorded(hot, inputs), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, ~rod & rod), start, Click((32, 32, 32), False))
    assert spacings(inputs) == [1.0, 2.0, 1.0]
    assert not (after >= 128).any()


@pytest.mark.parametrize(
    ("ranges", "click", "known"),
    [
        (((27, 37), (30, 34), (30, 34)), (32, 32, 32), False),  # ends inside the patch
        (((0, 9), (0, 6), (58, 64)), (3, 3, 61), False),  # ends where the image does
        (((12, 52), (30, 34), (30, 34)), (32, 32, 32), True),  # leaves the patch, but nothing changes there
    ],
)
def test_a_tumour_within_the_patch_or_unchanged_needs_one_run(
    ranges: tuple[tuple[int, int], ...], click: tuple[int, int, int], known: bool
) -> None:
    grid = LARGE_CUBE
    tumour, inputs = block(grid, *ranges), []
    start = mask_of(tumour & known)
    engine = engine_of(recorded(hot, inputs), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, tumour), start, Click(click))
    assert spacings(inputs) == [1.0]
    assert np.array_equal(after >= 128, tumour | ruled(grid, click))


def test_coarse_patch_keeps_a_fine_contour_far_from_the_click() -> None:
    """Grown at one end: the contour at the other, outside the near patch, keeps its staircase of half voxels."""
    grid = LARGE_CUBE
    tumour = block(grid, (20, 46), (28, 36), (28, 36))
    drawn = tumour & block(grid, (0, 32), (0, 64), (0, 64))
    drawn[28:36:2, 35, 20:24] = False  # half a coarse voxel
    inputs: list[np.ndarray] = []
    start = mask_of(drawn)

    def less_sure(channels: torch.Tensor) -> torch.Tensor:
        return torch.maximum(hot(channels), torch.where(channels[-3] > 0.5, 0.9, 0.1))

    engine, far = engine_of(recorded(less_sure, inputs), spec_of(1.0)), block(grid, (0, 24), (0, 64), (0, 64))
    after, _ = refined(engine, images_with(grid, tumour & ~far), start, Click((36, 32, 32)))
    assert spacings(inputs) == [1.0, 2.0, 1.0]
    assert np.array_equal(after[far], start[far])
    missed = np.argwhere(tumour & (after < 128) & ~far)
    assert set(missed[:, 2]) <= {45}  # the corners at its end, which are less than half of what is interpolated there
    assert len(missed) <= 4


def small_tumour(grid: Grid, radius: float) -> np.ndarray:
    """A ball at the middle with grooves as fine as the image."""
    middle = [(n - 1) // 2 for n in grid.size]
    tumour = distance(grid, [middle]) <= radius
    shell = tumour & ~binary_erosion(tumour)
    shell[:, :, ::2] = False
    return np.asarray(tumour & ~shell)


@pytest.mark.parametrize(
    ("edge", "radius", "scales"),
    [
        (0.5, 4.2, [1.0, 0.5]),  # 9 voxels of 32
        (0.5, 6.0, [1.0]),  # not small
        (1.0, 4.2, [1.0]),  # the image shows no more
    ],
)
def test_small_tumours_in_fine_images_are_predicted_at_the_fine_scale(
    edge: float, radius: float, scales: list[float]
) -> None:
    grid = Grid.from_spacing((int(40 / edge),) * 3, (edge,) * 3)
    tumour, inputs = small_tumour(grid, radius), []
    click = tuple((n - 1) // 2 for n in grid.size)
    engine = engine_of(recorded(hot, inputs), spec_of(1.0, patch=32))
    after, _ = refined(engine, images_with(grid, tumour), blank(grid), Click(click))
    assert spacings(inputs) == scales
    assert np.array_equal(after >= 128, tumour) == (min(scales) == edge)


def test_the_fine_scale_starts_from_the_constrained_probability() -> None:
    """The ball of a click is a small tumour, even where the network finds none."""
    grid, inputs = Grid.from_spacing((80, 80, 80), (0.5, 0.5, 0.5)), []
    engine = engine_of(recorded(nothing, inputs), spec_of(1.0, patch=32))
    after, _ = refined(engine, images_with(grid, blank(grid) > 0), blank(grid), Click((40, 40, 40)))
    assert spacings(inputs) == [1.0, 0.5]
    assert inputs[1][-3].max() == 1
    assert np.array_equal(after >= 128, ruled(grid, (40, 40, 40)))
