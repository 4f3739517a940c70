"""Configurations and logs of short runs, for the tests of the training loop."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.config.train import Configuration
from training.loop.checkpoint import LOG

Configured = Callable[..., Configuration]
CLICKS = (
    *('type = "volume"', 'type = "prompted volume"', "steps = 6", "steps = 24", "every = 3", "every = 12"),
    *(
        "[data]",
        "[clicks]\ncontext = 8\nstarts = { empty = 1, corrupted = 1, shifted = 1 }\nmean_rounds = 2.0\n\n[data]",
    ),
)
SHORT = "steps = 24", "steps = 1"


def read_log(run: Path) -> list[dict[str, str]]:
    with (run / LOG).open(encoding="utf-8", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def same(first: Any, second: Any) -> bool:
    """Whether two nested states are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
