"""Networks whose answers are known, and small images, for the tests of the engine of any image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from Testing.fakes import any_image_spec
from Testing.unit.engines.click_cases import CPU, Answering, Rule
from TumorSegLib.engines.clicks.any_image import AnyImageEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.prompts.types import Prompt, Prompts
from TumorSegLib.protocols import Refinement

#: Grids of a body and of a part of it.
BODY = Grid.from_spacing((96, 128, 128), (1.5, 1.5, 2.0), (-90, 40, 700), np.diag([-1.0, -1.0, 1.0]))
SMALL = Grid.from_spacing((48, 48, 48), (1, 1, 1))
#: Of the channels of the spec in Testing/fakes.py, and of the prompts after them.
CT, CT_WIDE, PET, MR, PREVIOUS, POSITIVE, NEGATIVE, BOX, LINE = range(9)


def bright(channels: torch.Tensor) -> torch.Tensor:
    """PET nearer to SUV 10 than to 0.5, as the network sees them."""
    return (channels[PET] > (np.log1p(10) + np.log1p(0.5)) / 2).float()


def the_same(channels: torch.Tensor) -> torch.Tensor:
    return channels[PREVIOUS]


def any_engine(
    rule: Rule, patch: tuple[int, int, int] = (32, 32, 32), scales_mm: tuple[float, float] = (0.3, 8.0)
) -> AnyImageEngine:
    spec = any_image_spec(patch=patch, scales_mm=scales_mm)
    return AnyImageEngine(spec, Answering(rule), Runtime(CPU, torch.float32))


def images_showing(grid: Grid, inside: np.ndarray) -> dict[str, Volume]:
    """PET of SUV 10 inside, and a CT that grows by 2 HU per mm along the first axis, which tells the scale of views."""
    ramp = np.broadcast_to(2 * np.arange(grid.shape[2]) * grid.spacing[0] - 200, grid.shape).astype(np.float32)
    pet = np.where(inside, 10, 0.5).astype(np.float32)
    return {"pet": Volume(grid, pet, "pet"), "ct": Volume(grid, ramp, "ct")}


def scales(inputs: list[np.ndarray]) -> list[float]:
    """Millimetres between voxels of the inputs of a network."""
    return [round(scale_of(torch.from_numpy(channels)), 2) for channels in inputs]


def scale_of(channels: torch.Tensor) -> float:
    """Millimetres between voxels of a view, from the ramp in its CT (500 HU are 1)."""
    steps = channels[CT_WIDE, channels.shape[1] // 2, channels.shape[2] // 2].diff()
    return float(steps[steps > 1e-4].median()) * 250


def refined(
    engine: AnyImageEngine,
    images: Images,
    start: np.ndarray,
    *prompts: Prompt,
    cancel: Callable[[], bool] | None = None,
) -> tuple[np.ndarray, Refinement]:
    """The whole probability after the last of the prompts; the given one is read-only."""
    start = start.copy()
    start.setflags(write=False)
    refinement = engine.refine(engine.prepare(images), start, Prompts(prompts), cancel)
    after = start.copy()
    assert refinement.probability.shape == after[slices(refinement.box)].shape
    after[slices(refinement.box)] = refinement.probability
    return after, refinement


def ball(grid: Grid, centre: Any, radius_mm: float) -> np.ndarray:
    """Voxels within a radius of a point ``(i, j, k)``, bool ``[k, j, i]``."""
    k, j, i = ((np.arange(n) - at) * edge for n, at, edge in zip(grid.shape, centre[::-1], grid.spacing[::-1]))
    squared = k[:, None, None] ** 2 + j[None, :, None] ** 2 + i[None, None, :] ** 2
    return np.asarray(squared <= radius_mm**2)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))
