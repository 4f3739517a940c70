"""Seconds of one pass through each network, and of the convolutions that it leans on, in float32 and native bfloat16.

What differs between processors, and between builds of torch, shows here first. Where bfloat16 is not native the
engines choose float32, and it is not timed: emulated convolutions take many times as long. 2D convolutions are listed
since some builds of torch are slow at them in bfloat16 (pytorch issue 183815).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from Testing.benchmarks.measuring import timed
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.networks.unets import channel_count
from TumorSegLib.engines.runtime import Runtime, choose_runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.models.registry import find_model, list_models

MODELS, RUNS = ("sts-auto", "sts-clicks", "lite-medsam"), 7


def run(device: str) -> None:
    """Prints the least seconds of each pass."""
    fastest = choose_runtime(device)
    exact = Runtime(fastest.device, torch.float32)
    runtimes = [exact] if fastest == exact else [exact, fastest]
    installed = {model.spec.name for model in list_models()}
    for name, parts in {**_layers(), **{name: _passes(name) for name in MODELS if name in installed}}.items():
        for part, make in parts.items():
            seconds = {runtime.precision: _least(make, runtime) for runtime in runtimes}
            figures = [f"{precision} {value:.4f} s" for precision, value in seconds.items()]
            if fastest != exact:
                figures.append(f"ratio {seconds[exact.precision] / seconds[fastest.precision]:.2f}")
            print(f"{name} {part}: {', '.join(figures)}", flush=True)


#: Makes, for a runtime, the work that is timed.
Work = Callable[[Runtime], Callable[[], object]]


def _layers() -> dict[str, dict[str, Work]]:
    return {
        "convolution": {
            "3D, 3 x 3 x 3, 32 channels of 48 x 64 x 64": lambda at: _layer(nn.Conv3d, (32, 48, 64, 64), at),
            "2D, 3 x 3, 256 channels of 64 x 64": lambda at: _layer(nn.Conv2d, (256, 64, 64), at),
            "2D, 3 x 3 in each of 128 channels of 64 x 64": lambda at: _layer(nn.Conv2d, (128, 64, 64), at, groups=128),
        }
    }


def _layer(
    kind: Callable[..., nn.Module], shape: tuple[int, ...], at: Runtime, groups: int = 1
) -> Callable[[], object]:
    layer = kind(shape[0], shape[0], 3, padding=1, groups=groups).to(at.device, at.dtype)
    images = torch.rand(1, *shape, device=at.device, dtype=at.dtype)
    return lambda: layer(images)


def _passes(name: str) -> dict[str, Work]:
    model = find_model(name)
    network = load_network(model)
    if isinstance(network, Sam):
        return {"encode a slice": lambda at: _encode(network, at), "decode a slice": lambda at: _decode(network, at)}
    patch = model.spec.volume_input.patch
    shape = (1, channel_count(model.spec), *patch)
    return {f"window of {' x '.join(map(str, patch))}": lambda at: _window(network, shape, at)}


def _window(network: nn.Module, shape: tuple[int, ...], at: Runtime) -> Callable[[], object]:
    placed = copy.deepcopy(network).to(at.device, at.dtype)
    images = torch.rand(shape, device=at.device, dtype=at.dtype)
    return lambda: placed(images)


def _encode(network: Sam, at: Runtime) -> Callable[[], object]:
    images = torch.rand(1, 3, network.image_size, network.image_size, device=at.device)
    placed = copy.deepcopy(network).to(at.device)
    return _mixed(lambda: placed.encode(images), at)


def _decode(network: Sam, at: Runtime) -> Callable[[], object]:
    placed = copy.deepcopy(network).to(at.device)
    edge = network.image_size
    boxes = torch.tensor([[0.2 * edge, 0.2 * edge, 0.7 * edge, 0.6 * edge]], device=at.device)
    with torch.inference_mode():
        embedding = placed.encode(torch.rand(1, 3, edge, edge, device=at.device))
    return _mixed(lambda: placed.decode(embedding, boxes), at)


def _mixed(work: Callable[[], object], at: Runtime) -> Callable[[], object]:
    """The work as the box engine does it: lower precision by autocast only."""

    def mixed() -> object:
        with torch.autocast(at.device.type, at.dtype, enabled=at.dtype is not torch.float32):
            return work()

    return mixed


def _least(make: Work, at: Runtime) -> float:
    work = make(at)
    with torch.inference_mode():
        return min([timed(work)[0] for _ in range(RUNS + 1)][1:])  # others use the machine, too
