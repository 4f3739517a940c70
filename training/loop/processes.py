"""The processes that train one network: one alone, or several under ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

# The others wait in the next step while the first validates, which may take longer than the 10 minutes of NCCL.
LONGEST_WAIT = timedelta(hours=2)


@dataclass(frozen=True)
class Process:
    """Number of this process, how many there are, and the device it computes on."""

    rank: int
    world: int
    device: str


@contextmanager
def joined_processes(device: str) -> Iterator[Process]:
    """Joins the other processes that ``torchrun`` started, if any, and leaves them at the end, however it comes.

    Args:
        device: as for ``load_engine``; with ``auto`` and ``cuda`` every process of a machine takes a GPU of its own.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process(0, 1, device)
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)  # where NCCL takes its buffers
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Process(int(os.environ["RANK"]), world, device)
    finally:
        dist.destroy_process_group()
