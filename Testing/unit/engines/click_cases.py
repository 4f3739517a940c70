"""Networks whose answers are known, and small images, for the tests of the click engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from Testing.fakes import noise_volume, rotation, tiny_spec
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.types import Prompt, Prompts
from TumorSegLib.protocols import Refinement

Rule = Callable[[torch.Tensor], torch.Tensor]
CPU = torch.device("cpu")
ROLES = ("ct", "pet")

CUBE = Grid.from_spacing((40, 40, 40), (1, 1, 1))
LARGE_CUBE = Grid.from_spacing((64, 64, 64), (1, 1, 1))
GRIDS = {
    "as the model": Grid.from_spacing((20, 22, 24), (2, 2, 2)),
    "thick slices": Grid.from_spacing((12, 30, 34), (0.9, 1.1, 4.5), (-40, 7, 12), np.diag([-1.0, -1.0, 1.0])),
    "oblique": Grid.from_spacing((20, 22, 24), (1.3, 1.7, 2.5), (9, 8, 7), rotation((0.4, -0.2, 0.9))),
    "mirrored": Grid.from_spacing((18, 26, 20), (2.4, 0.8, 1.6), (-9, 80, 70), rotation((-0.7, 0.3, 2.0), mirror=True)),
    "smaller than the patch": Grid.from_spacing((5, 9, 7), (1.2, 2.0, 1.7), (1, 2, 3), rotation((0.1, 0.2, 0.3))),
}


class Answering(nn.Module):
    """A network that applies a rule: channels ``[c, k, j, i]`` to a probability. Copies share the rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        return torch.logit(self.rule(channels[0].float()))[None, None]


class WithoutMemory(nn.Module):
    """A network that marks 80 HU and more, but has no memory on the meta device, which stands for a graphics card."""

    def __init__(self, devices: list[str]) -> None:
        super().__init__()
        self.devices = devices

    def __deepcopy__(self, _: object) -> WithoutMemory:
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.devices.append(images.device.type)
        if images.device.type == "meta":
            raise RuntimeError("CUDA out of memory")
        return (images[:, :1] - 1) * 8


def nothing(channels: torch.Tensor) -> torch.Tensor:
    return torch.zeros(channels.shape[1:])


def everything(channels: torch.Tensor) -> torch.Tensor:
    return torch.ones(channels.shape[1:])


def the_same(channels: torch.Tensor) -> torch.Tensor:
    return channels[-3]


def hot(channels: torch.Tensor) -> torch.Tensor:
    """PET of SUV 5 or more."""
    return (channels[1] > np.log1p(5)).float()


def recorded(rule: Rule, inputs: list[np.ndarray]) -> Rule:
    def record(channels: torch.Tensor) -> torch.Tensor:
        inputs.append(channels.numpy().copy())
        return rule(channels)

    return record


def spec_of(spacing: float = 2.0, patch: int = 16, roles: Sequence[str] = ROLES) -> ModelSpec:
    edges = (spacing, spacing, spacing)
    return tiny_spec(roles=roles, optional=roles, kind="clicks", spacing_mm=edges, patch=(patch, patch, patch))


def engine_of(rule: Rule, spec: ModelSpec | None = None, dtype: torch.dtype = torch.float32) -> ClickEngine:
    return ClickEngine(spec or spec_of(), Answering(rule), Runtime(CPU, dtype))


def images_on(grid: Grid) -> dict[str, Volume]:
    return {role: noise_volume(grid, role, seed) for seed, role in enumerate(ROLES)}


def images_with(grid: Grid, tumour: np.ndarray) -> dict[str, Volume]:
    """PET of SUV 10 in the tumour and a CT that grows by 2 HU per mm along R, which gives the spacing."""
    ramp = np.broadcast_to(2 * (grid.origin[0] + np.arange(grid.shape[2]) * grid.spacing[0]) - 100, grid.shape)
    pet = np.where(tumour, 10, 0.5).astype(np.float32)
    return {"ct": Volume(grid, ramp.astype(np.float32), "ct"), "pet": Volume(grid, pet, "pet")}


def spacings(inputs: list[np.ndarray]) -> list[float]:
    """Millimetres between voxels of the inputs of a network, from the ramp in their CT."""
    return [round(float(c[0, 8, 8, 9] - c[0, 8, 8, 8]) * 50, 2) for c in inputs]


def refined(
    engine: ClickEngine, images: Images, start: np.ndarray, *prompts: Prompt, cancel: Any = None
) -> tuple[np.ndarray, Refinement]:
    """The whole probability after the last of the prompts; the given one is read-only."""
    start = start.copy()
    start.setflags(write=False)
    refinement = engine.refine(engine.prepare(images), start, Prompts(prompts), cancel)
    after = start.copy()
    assert refinement.probability.shape == after[slices(refinement.box)].shape
    after[slices(refinement.box)] = refinement.probability
    return after, refinement


def blank(grid: Grid, value: int = 0) -> np.ndarray:
    return np.full(grid.shape, value, np.uint8)


def mask_of(inside: np.ndarray) -> np.ndarray:
    return np.where(inside, 255, 0).astype(np.uint8)


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


def wavering(seed: int, middle: float = 0.5) -> Rule:
    """Smooth noise, new at every call: parts vanish, appear and join; more tumour the lower the middle."""
    generator = torch.Generator().manual_seed(seed)

    def answer(channels: torch.Tensor) -> torch.Tensor:
        coarse = torch.rand((1, 1, 5, 5, 5), generator=generator)
        fine = nn.functional.interpolate(coarse, size=channels.shape[1:], mode="trilinear")
        return ((fine[0, 0] - middle) * 3 + 0.5).clamp(0, 1)

    return answer
