"""What training a network takes: memory, estimated from its layers, and time, measured on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from torch import nn

from training.losses.by_name import LOSSES
from TumorSegLib.engines.networks.unets import build_network, channel_count
from TumorSegLib.engines.runtime import choose_runtime
from TumorSegLib.models.spec import ModelSpec

# Of each voxel that a layer gives, its value and the gradient are kept; of a weight, itself, its average, the gradient
# and two moments of the optimiser. Both as float32. PyTorch, MONAI and a case or two take the rest.
OF_VOXEL, OF_WEIGHT, BYTES, REST_GB = 2, 5, 4, 1.0
# Steps that are measured, after one that is not.
STEPS = 2


def memory_gb(spec: ModelSpec, batch: int) -> float:
    """About how much memory a step of training takes, in GB; nothing is computed."""
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec).to("meta")
    voxels = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal voxels
        voxels += output.numel() if isinstance(output, torch.Tensor) else 0

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(batch, channel_count(spec), *spec.patch, device="meta"))
    weights = sum(parameter.numel() for parameter in network.parameters())
    return REST_GB + BYTES * (OF_VOXEL * voxels + OF_WEIGHT * weights) / 2**30


def machine_gb() -> float:
    """Memory of this machine in GB, or of the container it is; 8 where it does not say."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else []
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        sizes.append(int(limit.read_text()))
    return min(sizes) / 2**30 if sizes else 8.0


def seconds_per_step(spec: ModelSpec, batch: int, loss: str) -> float:
    """How long a step of training takes here, with the threads and the precision that training would have."""
    runtime = choose_runtime("cpu")
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec).train()
        images = torch.randn(batch, channel_count(spec), *spec.patch)
        labels = torch.randint(0, len(spec.labels) + 1, (batch, *spec.patch))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    started = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        with torch.autocast("cpu", runtime.dtype, enabled=runtime.dtype is not torch.float32):
            logits = network(images)
        optimiser.zero_grad(set_to_none=True)
        LOSSES[loss](logits, labels, None).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return (time.perf_counter() - started) / STEPS
