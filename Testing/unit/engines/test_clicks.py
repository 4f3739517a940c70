"""The click engine with networks whose answers are known: what a user may rely on must hold whatever they answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, label
from torch import nn

from Testing.fakes import noise_volume, rotation, tiny_network, tiny_spec
from TumorSegLib.boxes import slices
from TumorSegLib.engines.clicks import ClickEngine
from TumorSegLib.engines.device import Runtime
from TumorSegLib.errors import ArgumentError, Cancelled, ResourceError, RoleError
from TumorSegLib.geometry import Grid
from TumorSegLib.patches import COARSE, Prepared
from TumorSegLib.preprocess import prepare
from TumorSegLib.prompts import BoxPrompt, Click, Prompt, Prompts, Scribble
from TumorSegLib.protocols import ClickEngine as Protocol
from TumorSegLib.protocols import Refinement
from TumorSegLib.registry import ModelSpec
from TumorSegLib.session import Session
from TumorSegLib.volume import Images, Mask, Volume

Rule = Callable[[torch.Tensor], torch.Tensor]
CPU = torch.device("cpu")
ROLES = ("ct", "pet")

GRIDS = {
    "as the model": Grid.from_spacing((20, 22, 24), (2, 2, 2)),
    "thick slices": Grid.from_spacing((12, 30, 34), (0.9, 1.1, 4.5), (-40, 7, 12), np.diag([-1.0, -1.0, 1.0])),
    "oblique": Grid.from_spacing((20, 22, 24), (1.3, 1.7, 2.5), (9, 8, 7), rotation((0.4, -0.2, 0.9))),
    "mirrored": Grid.from_spacing((18, 26, 20), (2.4, 0.8, 1.6), (-9, 80, 70), rotation((-0.7, 0.3, 2.0), mirror=True)),
    "smaller than the patch": Grid.from_spacing((5, 9, 7), (1.2, 2.0, 1.7), (1, 2, 3), rotation((0.1, 0.2, 0.3))),
}


class Answering(nn.Module):
    """A network that answers by a rule: channels ``[c, k, j, i]`` to a probability. Copies share the rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        return torch.logit(self.rule(channels[0].float()))[None, None]


def nothing(channels: torch.Tensor) -> torch.Tensor:
    return torch.zeros(channels.shape[1:])


def everything(channels: torch.Tensor) -> torch.Tensor:
    return torch.ones(channels.shape[1:])


def the_same(channels: torch.Tensor) -> torch.Tensor:
    return channels[-3]


def hot(channels: torch.Tensor) -> torch.Tensor:
    """PET of SUV 5 or more."""
    return (channels[1] > np.log1p(5)).float()


def recorded(rule: Rule, shown: list[np.ndarray]) -> Rule:
    def record(channels: torch.Tensor) -> torch.Tensor:
        shown.append(channels.numpy().copy())
        return rule(channels)

    return record


def spec_of(spacing: float = 2.0, patch: int = 16, roles: Sequence[str] = ROLES) -> ModelSpec:
    edges = (spacing, spacing, spacing)
    return tiny_spec(roles=roles, optional=roles, kind="clicks", spacing_mm=edges, patch=(patch, patch, patch))


def engine_of(rule: Rule, spec: ModelSpec | None = None, dtype: torch.dtype = torch.float32) -> ClickEngine:
    engine = ClickEngine(spec or spec_of(), Answering(rule), Runtime(CPU, dtype))
    as_the_protocol: Protocol[Prepared] = engine
    assert as_the_protocol is engine
    return engine


def images_on(grid: Grid) -> dict[str, Volume]:
    return {role: noise_volume(grid, role, seed) for seed, role in enumerate(ROLES)}


def images_with(grid: Grid, tumour: np.ndarray) -> dict[str, Volume]:
    """PET of SUV 10 in the tumour and a CT that grows by 2 HU per mm along R, which tells places and spacings."""
    ramp = np.broadcast_to(2 * (grid.origin[0] + np.arange(grid.shape[2]) * grid.spacing[0]) - 100, grid.shape)
    pet = np.where(tumour, 10, 0.5).astype(np.float32)
    return {"ct": Volume(grid, ramp.astype(np.float32), "ct"), "pet": Volume(grid, pet, "pet")}


def spacings(shown: list[np.ndarray]) -> list[float]:
    """Millimetres between voxels of the patches a network was shown, by the ramp in their CT."""
    return [round(float(c[0, 8, 8, 9] - c[0, 8, 8, 8]) * 50, 2) for c in shown]


def refined(
    engine: ClickEngine, images: Images, start: np.ndarray, *prompts: Prompt, cancel: Any = None
) -> tuple[np.ndarray, Refinement]:
    """The whole probability after the last of the prompts; what was given must not be written to."""
    start = start.copy()
    start.setflags(write=False)
    refinement = engine.refine(engine.prepare(images), start, Prompts(prompts), cancel)
    after = start.copy()
    assert refinement.probability.shape == after[slices(refinement.box)].shape
    after[slices(refinement.box)] = refinement.probability
    return after, refinement


def blank(grid: Grid, value: int = 0) -> np.ndarray:
    return np.full(grid.shape, value, np.uint8)


def distance(grid: Grid, points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Millimetres from every voxel to the nearest of the points ``(i, j, k)``."""
    place = grid.to_ras(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)[..., ::-1])
    return np.min([np.linalg.norm(place - grid.to_ras(point), axis=-1) for point in points], axis=0)


def ruled(grid: Grid, *points: Sequence[int]) -> np.ndarray:
    return distance(grid, points) <= 3 + 1e-4


def corners_and_middle(grid: Grid) -> list[tuple[int, int, int]]:
    i, j, k = grid.size
    return [(0, 0, 0), (i - 1, j - 1, k - 1), (i - 1, 0, k // 2), (i // 2, j // 2, k // 2), (1, j - 2, 1)]


def block(grid: Grid, i: tuple[int, int], j: tuple[int, int], k: tuple[int, int]) -> np.ndarray:
    inside = np.zeros(grid.shape, dtype=bool)
    inside[slices((i, j, k))] = True
    return inside


# --- the user's input is law -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_positive_click_is_law_against_a_network_that_sees_nothing(name: str) -> None:
    grid = GRIDS[name]
    for ijk in corners_and_middle(grid):
        after, _ = refined(engine_of(nothing), images_on(grid), blank(grid), Click(ijk))
        assert (after[ruled(grid, ijk)] >= 128).all()
        assert after[ijk[::-1]] == 255
        # The patch shows the ball in voxels of 2 mm, which reach less than their diagonal farther.
        assert (after[distance(grid, [ijk]) > 3 + 2 * np.sqrt(3)] < 128).all()


@pytest.mark.parametrize("name", GRIDS)
def test_negative_click_is_law_against_a_network_that_sees_tumour_everywhere(name: str) -> None:
    grid = GRIDS[name]
    for ijk in corners_and_middle(grid):
        after, _ = refined(engine_of(everything), images_on(grid), blank(grid, 255), Click(ijk, False))
        assert (after[ruled(grid, ijk)] < 128).all()
        assert after[ijk[::-1]] == 0
        assert (after[distance(grid, [ijk]) > 3 + 2 * np.sqrt(3)] >= 128).all()


@pytest.mark.parametrize("name", ["as the model", "mirrored"])
def test_the_later_of_two_clicks_has_its_way(name: str) -> None:
    grid = GRIDS[name]
    first, second = (10, 10, 10), (11, 11, 10)
    for positive in (True, False):
        prompts = Click(first, positive), Click(second, not positive)
        start = blank(grid, 255 * positive)
        after, _ = refined(engine_of(everything if positive else nothing), images_on(grid), start, *prompts)
        later = ruled(grid, second)
        earlier = ruled(grid, first) & ~later
        assert earlier.any()
        assert ((after[later] >= 128) != positive).all()
        assert ((after[earlier] >= 128) == positive).all()


def stroke(grid: Grid, voxels: np.ndarray, positive: bool) -> Scribble:
    drawn = np.zeros(grid.shape, np.uint8)
    drawn[tuple(voxels.T[::-1])] = 1
    return Scribble(Mask(grid, drawn), positive)


@pytest.mark.parametrize("length", [5, 60])
@pytest.mark.parametrize("positive", [True, False])
def test_strokes_are_law_even_beyond_the_patch(length: int, positive: bool) -> None:
    grid = Grid.from_spacing((20, 24, 70), (1.0, 1.4, 0.8), (3, 2, 1), rotation((0.2, 0.5, -0.4), mirror=True))
    voxels = np.stack([np.arange(length) + 5, 4 + np.arange(length) // 4, np.full(length, 9)], axis=1)
    engine, start = engine_of(nothing if positive else everything, spec_of(1.0)), blank(grid, 255 * (not positive))
    after, _ = refined(engine, images_on(grid), start, stroke(grid, voxels, positive))
    far = distance(grid, voxels)
    assert ((after[far <= 3] >= 128) == positive).all()
    assert ((after[far > 3 + 2 * np.sqrt(3)] >= 128) != positive).all()  # seen from farther away as well


def wavering(seed: int) -> Rule:
    """Smooth noise, another at every look: parts vanish, appear and join."""
    generator = torch.Generator().manual_seed(seed)

    def answer(channels: torch.Tensor) -> torch.Tensor:
        coarse = torch.rand((1, 1, 5, 5, 5), generator=generator)
        fine = nn.functional.interpolate(coarse, size=channels.shape[1:], mode="trilinear")
        return ((fine[0, 0] - 0.5) * 3 + 0.5).clamp(0, 1)

    return answer


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_law_and_locality_against_a_network_that_answers_noise(name: str, seed: int) -> None:
    """After every click all clicks hold, and nothing changed but the component clicked at, within the widest patch."""
    grid, rng = GRIDS[name], np.random.default_rng(seed)
    engine, images = engine_of(wavering(seed)), images_on(grid)
    prepared = engine.prepare(images)
    probability = (rng.random(grid.shape) > 0.7).astype(np.uint8) * np.uint8(255)
    said = np.full(grid.shape, -1)
    prompts = Prompts()
    for number in range(6):
        i, j, k = (int(n) for n in rng.integers(0, grid.size))
        prompts = prompts.with_click(Click((i, j, k), number % 2 == 0))
        refinement = engine.refine(prepared, probability, prompts)
        old = probability >= 128
        probability[slices(refinement.box)] = refinement.probability
        new = probability >= 128
        ball = ruled(grid, (i, j, k))
        said[ball] = number % 2 == 0
        assert np.array_equal(new[said >= 0], said[said >= 0] == 1)
        parts, _ = label(old | new)
        own = (parts == parts[k, j, i]) & (parts > 0)
        assert not ((old != new) & ~own & ~ball).any()
        widest = prepared.patch(grid.to_ras((i, j, k)), COARSE).grid
        place = widest.to_ijk(grid.to_ras(np.argwhere((old != new) & ~ball)[:, ::-1]))
        assert ((place > -0.51) & (place < np.array(widest.size) - 0.49)).all()


# --- what is not clicked at stays ------------------------------------------------------------------------------------


def test_a_second_component_in_the_same_patch_stays_bit_for_bit() -> None:
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    mine, other = block(grid, (14, 19), (14, 24), (14, 24)), block(grid, (21, 25), (15, 23), (15, 23))
    start = np.where(mine | other, 255, 0).astype(np.uint8)
    after, _ = refined(engine_of(nothing, spec_of(1.0)), images_on(grid), start, Click((15, 19, 19)))
    assert np.array_equal(after[other], start[other])
    assert np.array_equal(after >= 128, ruled(grid, (15, 19, 19)) | other)


def test_a_negative_click_takes_the_whole_wrong_component_and_no_other() -> None:
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    right, wrong = block(grid, (14, 19), (14, 24), (14, 24)), block(grid, (21, 26), (15, 23), (15, 23))
    start = np.where(right | wrong, 255, 0).astype(np.uint8)
    engine = engine_of(hot, spec_of(1.0))
    after, _ = refined(engine, images_with(grid, right), start, Click((25, 19, 19), False))
    assert np.array_equal(after >= 128, right)


def test_a_negative_click_on_no_tumour_changes_nothing_but_its_ball() -> None:
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    mask = block(grid, (14, 19), (14, 24), (14, 24))
    start = np.where(mask, 255, 0).astype(np.uint8)
    click = (20, 19, 19)  # 2 mm from the nearest voxel of the mask
    after, _ = refined(engine_of(nothing, spec_of(1.0)), images_on(grid), start, Click(click, False))
    assert np.array_equal(after >= 128, mask & ~ruled(grid, click))
    assert (mask & ruled(grid, click)).any()


def test_nothing_outside_the_widest_patch_changes() -> None:
    grid = Grid.from_spacing((64, 64, 64), (1, 1, 1))
    after, _ = refined(engine_of(nothing, spec_of(1.0)), images_on(grid), blank(grid, 255), Click((32, 32, 32), False))
    inside = block(grid, (16, 48), (16, 48), (16, 48))
    assert (after[inside] == 0).all()
    assert (after[~inside] == 255).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", GRIDS)
def test_a_network_that_agrees_leaves_a_hand_drawn_mask_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    grid, shown = GRIDS[name], []
    rng = np.random.default_rng(7)
    start = rng.choice(np.array([0, 255], np.uint8), grid.shape, p=[0.3, 0.7])
    click = tuple(n // 2 for n in grid.size)
    for positive in (True, False):
        engine = engine_of(recorded(the_same, shown), dtype=dtype)
        after, _ = refined(engine, images_on(grid), start, Click(click, positive))
        changed = after != start
        assert changed.any()
        # In bfloat16 voxels may seem to change sides, and a look from farther away then shows a coarser ball.
        reach = 2 if dtype == torch.float32 else 4
        assert distance(grid, [click])[changed].max() < 3 + reach * np.sqrt(3)
    assert any(0.1 < value < 0.9 for value in shown[0][-3].ravel()) or name == "as the model"


# --- from nothing, from any mask, at every size ----------------------------------------------------------------------


def test_first_click_on_nothing_finds_the_tumour_clicked_at_alone() -> None:
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    clicked, other = block(grid, (15, 22), (15, 24), (16, 23)), block(grid, (24, 27), (16, 20), (16, 20))
    shown: list[np.ndarray] = []
    engine = engine_of(recorded(hot, shown), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, clicked | other), blank(grid), Click((18, 19, 19)))
    assert np.array_equal(after >= 128, clicked)  # the ball of 3 mm lies in it
    assert spacings(shown) == [1.0]


def test_a_tumour_longer_than_the_patch_is_seen_from_farther_away() -> None:
    grid = Grid.from_spacing((64, 64, 64), (1, 1, 1))
    rod, shown = block(grid, (12, 52), (30, 34), (30, 34)), []
    engine = engine_of(recorded(hot, shown), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, rod), blank(grid), Click((32, 32, 32)))
    assert spacings(shown) == [1.0, 2.0, 1.0]
    # The patch of 16 voxels reaches from 24 to 40, the coarse one from 16 to 48.
    assert np.array_equal(after >= 128, rod & block(grid, (16, 48), (0, 64), (0, 64)) | ruled(grid, (32, 32, 32)))
    assert shown[2][-3][8, 8].min() == 1  # the last look begins with what the coarse one found


def test_a_wrong_part_longer_than_the_patch_is_taken_out_from_farther_away() -> None:
    grid = Grid.from_spacing((64, 64, 64), (1, 1, 1))
    rod, shown = block(grid, (20, 44), (30, 34), (30, 34)), []
    start = np.where(rod, 255, 0).astype(np.uint8)
    engine = engine_of(recorded(hot, shown), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, ~rod & rod), start, Click((32, 32, 32), False))
    assert spacings(shown) == [1.0, 2.0, 1.0]
    assert not (after >= 128).any()


@pytest.mark.parametrize(
    ("ranges", "click", "known"),
    [
        (((27, 37), (30, 34), (30, 34)), (32, 32, 32), False),  # ends inside the patch
        (((0, 9), (0, 6), (58, 64)), (3, 3, 61), False),  # ends where the image does
        (((12, 52), (30, 34), (30, 34)), (32, 32, 32), True),  # leaves the patch, but nothing changes there
    ],
)
def test_otherwise_one_look_is_enough(
    ranges: tuple[tuple[int, int], ...], click: tuple[int, int, int], known: bool
) -> None:
    grid = Grid.from_spacing((64, 64, 64), (1, 1, 1))
    tumour, shown = block(grid, *ranges), []
    start = np.where(tumour & known, 255, 0).astype(np.uint8)
    engine = engine_of(recorded(hot, shown), spec_of(1.0))
    after, _ = refined(engine, images_with(grid, tumour), start, Click(click))
    assert spacings(shown) == [1.0]
    assert np.array_equal(after >= 128, tumour | ruled(grid, click))


def test_coarse_look_leaves_a_fine_contour_far_from_the_click_alone() -> None:
    """Grown at one end: the contour at the other, outside the near patch, keeps its staircase of half voxels."""
    grid = Grid.from_spacing((64, 64, 64), (1, 1, 1))
    tumour = block(grid, (20, 46), (28, 36), (28, 36))
    drawn = tumour & block(grid, (0, 32), (0, 64), (0, 64))
    drawn[28:36:2, 35, 20:24] = False  # half a coarse voxel, wherever one looks
    shown: list[np.ndarray] = []
    start = np.where(drawn, 255, 0).astype(np.uint8)

    def less_sure(channels: torch.Tensor) -> torch.Tensor:
        return torch.maximum(hot(channels), torch.where(channels[-3] > 0.5, 0.9, 0.1))

    engine = engine_of(recorded(less_sure, shown), spec_of(1.0))
    after, _ = refined(
        engine, images_with(grid, tumour & ~block(grid, (0, 24), (0, 64), (0, 64))), start, Click((36, 32, 32))
    )
    assert spacings(shown) == [1.0, 2.0, 1.0]
    far = block(grid, (0, 24), (0, 64), (0, 64))
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
    ("edge", "radius", "looks"),
    [
        (0.5, 4.2, [1.0, 0.5]),  # 9 voxels of 32
        (0.5, 6.0, [1.0]),  # not small
        (1.0, 4.2, [1.0]),  # the image shows no more
    ],
)
def test_small_tumours_on_fine_images_are_looked_at_closely(edge: float, radius: float, looks: list[float]) -> None:
    grid = Grid.from_spacing((int(40 / edge),) * 3, (edge,) * 3)
    tumour, shown = small_tumour(grid, radius), []
    click = tuple((n - 1) // 2 for n in grid.size)
    engine = engine_of(recorded(hot, shown), spec_of(1.0, patch=32))
    after, _ = refined(engine, images_with(grid, tumour), blank(grid), Click(click))
    assert spacings(shown) == looks
    exact = np.array_equal(after >= 128, tumour)
    assert exact == (min(looks) == edge)


def test_the_closer_look_begins_with_what_the_user_said() -> None:
    """What a click shows is a tumour, small at first, even where the network sees none."""
    grid, shown = Grid.from_spacing((80, 80, 80), (0.5, 0.5, 0.5)), []
    engine = engine_of(recorded(nothing, shown), spec_of(1.0, patch=32))
    after, _ = refined(engine, images_with(grid, blank(grid) > 0), blank(grid), Click((40, 40, 40)))
    assert spacings(shown) == [1.0, 0.5]
    assert shown[1][-3].max() == 1
    assert np.array_equal(after >= 128, ruled(grid, (40, 40, 40)))


@pytest.mark.parametrize("spacing", [1.0, 2.0, 3.0])
def test_image_smaller_than_the_patch(spacing: float) -> None:
    grid = Grid.from_spacing((5, 6, 7), (1, 1, 1), (4, 5, 6), rotation((0.3, 0.2, 0.1)))
    engine = engine_of(everything, spec_of(spacing))
    for ijk in corners_and_middle(grid):
        after, refinement = refined(engine, images_on(grid), blank(grid), Click(ijk))
        assert refinement.box == ((0, 7), (0, 6), (0, 5))
        assert (after >= 128).all()


# --- what the network is shown ---------------------------------------------------------------------------------------


def test_order_of_the_channels() -> None:
    """Images in the model's order, whatever that of the caller, the previous probability, nearness in mm."""
    grid = Grid.from_spacing((16, 16, 16), (2, 2, 2), (5, 6, 7), rotation((0.4, 0.1, 0.2)))
    images, shown, spec = images_on(grid), [], spec_of()
    start = np.random.default_rng(0).integers(0, 256, grid.shape).astype(np.uint8)
    prompts = Click((3, 4, 5)), Click((12, 9, 2), False), Click((6, 11, 13))
    in_other_order = {"pet": images["pet"], "ct": images["ct"]}
    for given in (images, in_other_order):
        refined(engine_of(recorded(the_same, shown), spec), given, start, *prompts)
        ct, pet, previous, positive, negative = shown.pop()
        assert np.array_equal(np.stack([ct, pet]), prepare(images, spec).array)
        assert previous == pytest.approx(start / 255, abs=1e-6)
        assert positive == pytest.approx(np.exp(-distance(grid, [(3, 4, 5), (6, 11, 13)]) / 10), abs=1e-5)
        assert negative == pytest.approx(np.exp(-distance(grid, [(12, 9, 2)]) / 10), abs=1e-5)


def test_nearness_is_in_millimetres_at_every_spacing() -> None:
    """Along thick slices and within them the map falls at one pace, and in the coarse look, too."""
    grid, shown = Grid.from_spacing((20, 64, 64), (1, 1, 4)), []
    engine = engine_of(recorded(everything, shown), spec_of(1.0))
    refined(engine, images_with(grid, blank(grid) > 0), blank(grid), Click((32, 32, 10)))
    assert spacings(shown)[:2] == [1.0, 2.0]
    for channels, step in zip(shown, (1.0, 2.0)):
        k, j, i = np.unravel_index(channels[-2].argmax(), channels[-2].shape)
        far = channels[-2][:, j, i], channels[-2][k, :, i], channels[-2][k, j, :]
        for line in far:
            assert -10 * np.log(line[1] / line[0]) == pytest.approx(-step, abs=0.12)
        assert not channels[-1].any()


def test_a_missing_role_is_shown_as_zero_and_named() -> None:
    grid, shown = GRIDS["oblique"], []
    images = {"pet": noise_volume(grid, "pet")}
    _, refinement = refined(engine_of(recorded(nothing, shown)), images, blank(grid), Click((9, 9, 9)))
    assert not shown[0][0].any()
    assert shown[0][1].any()
    assert refinement.info["roles"] == ["pet"]


def test_pet_on_a_grid_of_its_own() -> None:
    grid = Grid.from_spacing((32, 32, 32), (1, 1, 1))
    turned = rotation((0, 0, 0.5))
    other = Grid.from_spacing((26, 26, 26), (2, 2, 2), np.array([16, 16, 16]) - turned @ [25, 25, 25], turned)
    middle = grid.to_ijk(other.to_ras((13, 13, 13)))
    near = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(26)] * 3, indexing="ij"), -1) - 13, axis=-1) * 2
    images = {"ct": noise_volume(grid), "pet": Volume(other, np.where(near < 6.5, 10, 0.5), "pet")}
    after, _ = refined(engine_of(hot), images, blank(grid), Click(tuple(int(n) for n in np.rint(middle))))
    far = distance(grid, [middle])
    assert (after[far < 4.5] >= 128).all()
    assert (after[far > 8.5] < 128).all()


def test_roles_are_checked_before_any_click() -> None:
    engine = ClickEngine(tiny_spec(kind="clicks"), Answering(nothing), Runtime(CPU, torch.float32))
    with pytest.raises(RoleError, match="model 'tiny' does not take pet"):
        engine.prepare(images_on(GRIDS["oblique"]))


# --- what may go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [1, 2, 3])
def test_cancelled_before_any_run_of_the_network(when: int) -> None:
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    rod, shown, asked = block(grid, (4, 36), (18, 22), (18, 22)), [], []
    start = blank(grid)

    def cancel() -> bool:
        asked.append(True)
        return len(asked) == when

    engine, click = engine_of(recorded(hot, shown), spec_of(1.0)), Click((20, 20, 20))
    session = Session(images_with(grid, rod), clicks=engine)
    with pytest.raises(Cancelled, match="the mask is as it was"):
        session.add_click(click, cancel=cancel)
    assert len(shown) == when - 1
    assert np.array_equal(session.mask.array, start)
    assert (len(session.prompts), session.can_undo) == (0, False)
    session.add_click(click, cancel=lambda: asked.append(True) is not None)
    assert len(asked) == when + 3
    assert session.mask.array.any()


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: out of memory"), MemoryError()])
def test_lack_of_memory_on_the_cpu_is_said_in_words(error: Exception) -> None:
    def exhausted(_: torch.Tensor) -> torch.Tensor:
        raise error

    grid = GRIDS["oblique"]
    with pytest.raises(ResourceError, match="not enough memory to run 'tiny'"):
        refined(engine_of(exhausted), images_on(grid), blank(grid), Click((9, 9, 9)))


def test_other_failures_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match=r"^sizes do not match$"):
        refined(engine_of(broken), images_on(GRIDS["oblique"]), blank(GRIDS["oblique"]), Click((9, 9, 9)))


@pytest.mark.parametrize("prompts", [(), (BoxPrompt(((0, 3), (0, 3), (0, 3))),)])
def test_a_correction_needs_a_click_or_a_stroke(prompts: tuple[Prompt, ...]) -> None:
    grid = GRIDS["oblique"]
    with pytest.raises(ArgumentError, match="at least one click or stroke"):
        refined(engine_of(nothing), images_on(grid), blank(grid), *prompts)


# --- real networks and sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labels", [{"tumour": 1}, {"core": 1, "oedema": 2}])
def test_a_real_network_in_a_session(dtype: torch.dtype, labels: dict[str, int]) -> None:
    """Random weights: clicks hold, every edit can be undone, and the box prompt between them is no obstacle."""
    grid = GRIDS["oblique"]
    spec = tiny_spec(roles=ROLES, kind="clicks", spacing_mm=(2.0, 2.0, 2.0), labels=labels, weights_sha256="ab" * 32)
    engine = ClickEngine(spec, tiny_network(spec), Runtime(CPU, dtype))
    session = Session(images_on(grid), clicks=engine)
    masks = [session.mask.array]
    for click in (Click((8, 8, 8)), Click((12, 9, 10), False), Click((3, 18, 15))):
        edit = session.add_click(click)
        masks.append(session.mask.array)
        for prompt in session.prompts.items:
            assert isinstance(prompt, Click)
            assert session.mask.array[prompt.ijk[::-1]] == prompt.positive
        assert set(edit.info["seconds"]) == {"encode", "network", "paste"}
        assert edit.info["precision"] == str(dtype).removeprefix("torch.")
        assert (edit.info["model"], edit.info["version"], edit.info["device"]) == ("tiny", "1.2.3", "cpu")
        assert (edit.info["weights_sha256"], edit.info["roles"]) == ("ab" * 32, ["ct", "pet"])
    for mask in reversed(masks[:-1]):
        session.undo()
        assert np.array_equal(session.mask.array, mask)


def test_the_same_clicks_give_the_same_mask() -> None:
    grid = GRIDS["thick slices"]
    spec = spec_of()
    answers = []
    for _ in range(2):
        engine = ClickEngine(spec, tiny_network(spec), Runtime(CPU, torch.float32))
        answers.append(refined(engine, images_on(grid), blank(grid), Click((9, 9, 3)), Click((20, 20, 8), False))[0])
    assert np.array_equal(*answers)


def test_one_engine_serves_many_cases() -> None:
    engine = engine_of(hot, spec_of(1.0))
    grid = Grid.from_spacing((24, 24, 24), (1, 1, 1))
    tumours = [block(grid, (4, 12), (4, 12), (4, 12)), block(grid, (12, 20), (6, 14), (8, 16))]
    prepared = [engine.prepare(images_with(grid, tumour)) for tumour in tumours]
    for ready, tumour in zip(prepared, tumours):
        k, j, i = (int(n) for n in np.argwhere(tumour).mean(axis=0))
        answer = engine.refine(ready, blank(grid), Prompts((Click((i, j, k)),)))
        after = blank(grid)
        after[slices(answer.box)] = answer.probability
        assert np.array_equal(after >= 128, tumour)
