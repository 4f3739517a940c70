"""Refiners and automatic engines whose answers are known, for the tests of evaluating clicks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from Testing.fakes import PaintingEngine, tiny_spec
from training.evaluation.clicks import ClickPlan
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images

ROLES = ("ct", "pet")
GRID = Grid.from_spacing((9, 10, 11), (1.0, 2.0, 3.0))
CPU = Runtime(torch.device("cpu"), torch.float32)


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

    return PaintingEngine(spec, rule)


def plan_of(refiner: ClickEngine, auto: Any = None, clicks: int = 2, forgetful: ClickEngine | None = None) -> ClickPlan:
    return ClickPlan(clicks, refiner, auto, forgetful)


def row_of(dice: list[float], seconds: list[float], hd95: float | None = 2.0, nsd: float = 0.5) -> dict[str, Any]:
    return {"dice": dice, "seconds": seconds, "last": {"hd95_mm": hd95, "nsd": nsd}}
