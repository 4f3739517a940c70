"""Configurations, cases and logs of short runs, for the tests of training."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config.train import Configuration
from training.loop.checkpoint import LOG
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import write_mask, write_volume

Configured = Callable[..., Configuration]
CLICKS = (
    *('type = "volume"', 'type = "prompted volume"', "steps = 6", "steps = 24", "every = 3", "every = 12"),
    *(
        "[data]",
        "[clicks]\ncontext = 8\nstarts = { empty = 1, corrupted = 1, shifted = 1 }\nmean_rounds = 2.0\n\n[data]",
    ),
)
SHORT = "steps = 24", "steps = 1"


def replaced(text: str, *changes: str) -> str:
    """A configuration with changes: ``old, new, old, new, ...``, each old text being in it once."""
    for old, new in zip(changes[::2], changes[1::2]):
        assert text.count(old) == 1, f"{old!r} is not one part of the configuration"
        text = text.replace(old, new)
    return text


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


def threads_during(batches: Callable[[], Iterator[Any]]) -> int:
    """The number of torch threads, after its first batch, of a thread that begins in a process with two of them."""
    number: Future[int] = Future()

    def train() -> None:
        try:
            with closing(batches()) as source:  # type: ignore[type-var]
                next(source)
                number.set_result(torch.get_num_threads())
        except BaseException as error:
            number.set_exception(error)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        threading.Thread(target=train, daemon=True).start()
        return number.result(60)
    finally:
        torch.set_num_threads(before)


def write_ball(
    folder: Path, name: str, grid: Grid, seed: int, radius: float, roles: Sequence[str] = ("ct", "pet")
) -> None:
    """A case: a ball, radius in voxels, of 200 HU and SUV 9; elsewhere the CT is below 100 HU and PET below SUV 2."""
    rng = np.random.default_rng(seed)
    centre = np.array(grid.shape) / 2 + rng.uniform(-2, 2, 3)
    inside = np.linalg.norm(np.stack(np.indices(grid.shape), axis=-1) - centre, axis=-1) < radius
    for role, bright, low, high in (("ct", 200, 20, 80), ("pet", 9, 0.3, 1.5)):
        if role in roles:
            array = np.where(inside, bright, rng.uniform(low, high, grid.shape)).astype(np.float32)
            write_volume(Volume(grid, array, role), folder / f"{name}_{role}.nii.gz")
    write_mask(Mask(grid, inside.astype(np.uint8)), folder / f"{name}_gtv.nii.gz")
