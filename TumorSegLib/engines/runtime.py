"""Where to compute, and in which precision."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from TumorSegLib.engines.processor import has_bfloat16
from TumorSegLib.errors import ArgumentError, ResourceError
from TumorSegLib.models.spec import ModelSpec

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Runtime:
    """A device and the number type the network computes in (weights, activations; sums stay float32)."""

    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """The device in words, e.g. ``cpu`` or ``cuda (NVIDIA H100)``."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return self.device.type

    @property
    def layout(self) -> torch.memory_format:
        """Order of the axes in memory: channels last for CUDA's tensor cores.

        On a CPU (AVX-512, oneDNN) one window of sts-auto takes 1.8 times longer that way: 0.28 s against 0.16 s.
        """
        return torch.channels_last_3d if self.device.type == "cuda" else torch.contiguous_format

    @property
    def precision(self) -> str:
        """Name of the number type, e.g. ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")


def describe(spec: ModelSpec, runtime: Runtime, wanted: Runtime) -> dict[str, Any]:
    """What made a result, JSON-ready: model, version, checksum of the weights, device and precision.

    Where it was not the device that was wanted, ``notes`` say so, since everything takes much longer then.
    """
    info: dict[str, Any] = {
        "model": spec.name,
        "version": spec.version,
        "weights_sha256": spec.weights_sha256,
        "device": runtime.name,
        "precision": runtime.precision,
    }
    if runtime.device != wanted.device:
        info["notes"] = [f"There was not enough memory on {wanted.name} for {spec.name}: it ran on the CPU, slower."]
    return info


def placed(network: nn.Module, runtime: Runtime) -> nn.Module:
    """A copy of a network on the runtime's device, in its number type and layout."""
    copied: nn.Module = copy.deepcopy(network).to(device=runtime.device, dtype=runtime.dtype)
    return copied.to(memory_format=runtime.layout)  # type: ignore[call-overload, no-any-return]


def choose_runtime(device: str = "auto", precision: str = "auto") -> Runtime:
    """Chooses a device and a precision.

    Args:
        device: ``auto`` (CUDA, else Apple's MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (the fastest the device computes natively), ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ArgumentError: the name is unknown.
        ResourceError: this machine has no such device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise ArgumentError(f"device {device!r} is not one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    present = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if device == "auto":
        device = next(name for name, count in present.items() if count)
    kind, _, number = device.partition(":")
    if int(number or 0) >= present[kind]:
        raise ResourceError(f"device {device!r} is not available here ({present[kind]} of {kind}); use cpu or auto")
    dtype = _native_dtype(kind) if precision == "auto" else getattr(torch, precision)
    return Runtime(torch.device(device), dtype)


def _native_dtype(kind: str) -> torch.dtype:
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if kind == "cpu" and has_bfloat16() else torch.float32
