"""Visiting click episodes by hand, for the tests of episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch

from training.clicks.episodes import POOL, Episodes
from training.config.train import Configuration
from training.data.batches import Batch, Pools
from TumorSegLib.prompts.encoding import PointPrompt

Clicking = Callable[..., Configuration]
Answer = Callable[[Batch], torch.Tensor]
ROLES = ("ct", "pet")
PATCH, SPACING_MM = (16, 16, 16), (2.0, 2.0, 2.0)
EMPTY = "starts = { empty = 1 }\nprevious_dropout = 0\noff_centre_share = 0\nstroke_share = 0\n"
LONG = EMPTY + "mean_rounds = 1000\n"
#: No deformation: the tumour of a case is a ball of radius 4 voxels of 2 mm.
PLAIN = (
    "tumour_share = 1.0",
    "tumour_share = 1.0\ncut_share = 0.0\nrotation_degrees = [0.0, 0.0, 0.0]\nscale = [1.0, 1.0]\nelastic_share = 0.0",
)
BALL_MM3 = 4 / 3 * np.pi * 8.0**3


def blind(batch: Batch) -> torch.Tensor:
    """The answer of a network that finds nothing."""
    return torch.full((len(batch.labels), 1, *batch.labels.shape[1:]), -9.0)


def perfect(batch: Batch) -> torch.Tensor:
    return torch.where(batch.labels > 0, 9.0, -9.0)[:, None]


def moody(batch: Batch) -> torch.Tensor:
    """Any answer that all of the input decides."""
    weights = torch.arange(1.0, batch.inputs.shape[1] + 1)[None, :, None, None, None]
    return 3 * torch.sin(5 * (batch.inputs * weights).sum(dim=1, keepdim=True) + batch.labels[:, None])


def visits(
    source: Episodes, answer: Answer, count: int, first: int = 0
) -> Iterator[tuple[Batch, list[dict[str, Any]]]]:
    """Batches with the state of the episodes they show, each answered before the next."""
    with closing(source.batches(first)) as batches:
        for step in range(first, first + count):
            batch = next(batches)  # type: ignore[call-overload]
            size = len(batch.labels)
            start = step * size % (POOL * size)
            yield batch, source.state_dict()["episodes"][start : start + size]
            source.observe(answer(batch))


def prompts_of(state: dict[str, Any]) -> list[PointPrompt]:
    return [PointPrompt(points.numpy(), positive) for points, positive in state["hints"]]


def first_visit(configuration: Configuration, pools: dict[float, Pools], **rest: Any) -> tuple[Batch, dict[str, Any]]:
    batch, states = next(visits(Episodes(configuration, pools, 0, **rest), blind, 1))
    return batch, states[0]
