"""Where to compute, and in which precision."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from TumorSegLib.engines.processor import has_bfloat16, has_float16
from TumorSegLib.errors import ArgumentError, ResourceError

TORCH, OPENVINO = "torch", "openvino"
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
#: A precision that only models with a copy in 8-bit integers have, on a CPU and OpenVINO.
INT8 = "int8"
BACKENDS = ("auto", TORCH, OPENVINO)


@dataclass(frozen=True)
class Runtime:
    """A device and the number type the network computes in (weights, activations; sums stay float32).

    Attributes:
        device: of tensors.
        dtype: that the network computes in; ``torch.int8`` where its copy does.
        backend: ``torch``, or ``openvino`` on a CPU.
        folder: of the model, where its copy in int8 computes.
        reason: why this backend was chosen; empty where the caller chose it.
        note: a sentence for the user on a back end that failed; empty where none did.
    """

    device: torch.device
    dtype: torch.dtype
    backend: str = TORCH
    folder: Path | None = None
    reason: str = field(default="", compare=False)
    note: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """Name of the device, e.g. ``cpu`` or ``cuda (NVIDIA H100)``."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return self.device.type

    @property
    def input_dtype(self) -> torch.dtype:
        """Number type of the network's input; OpenVINO converts its input itself."""
        return torch.float32 if self.backend == OPENVINO else self.dtype

    def batch(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows float32 ``[batch, channels, k, j, i]`` as the network takes them."""
        if self.device.type == "cuda":
            windows = windows.pin_memory()
        return windows.to(self.device, non_blocking=True).to(self.input_dtype, memory_format=self.layout)

    @property
    def layout(self) -> torch.memory_format:
        """Order of the axes in memory: channels last for CUDA's tensor cores.

        On a CPU (AVX-512, oneDNN) one window of sts-auto takes 1.8 times longer that way: 0.28 s against 0.16 s.
        """
        return torch.channels_last_3d if self.device.type == "cuda" else torch.contiguous_format

    def fallback(self) -> Runtime:
        """What computes where OpenVINO fails: its native number type in place of int8, then PyTorch."""
        if self.folder is not None:
            return replace(self, dtype=_native_dtype("cpu"), folder=None, reason="")
        return replace(self, backend=TORCH, reason="")

    @property
    def precision(self) -> str:
        """Name of the number type, e.g. ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")


#: Where a case goes that finds too little memory on another device.
ON_CPU = Runtime(torch.device("cpu"), torch.float32)


def choose_runtime(device: str = "auto", precision: str = "auto") -> Runtime:
    """Chooses a device and a precision.

    Args:
        device: ``auto`` (CUDA, else Apple's MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (the fastest the device computes natively), ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ArgumentError: the name is unknown, or float16 is asked for on a CPU without instructions for it.
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
    if kind == "cpu" and precision == "float16" and not has_float16():
        raise ArgumentError(
            "precision 'float16' is for GPUs: this CPU has no instructions for it and would take a hundred times as "
            "long as in float32; leave the precision out"
        )
    dtype = _native_dtype(kind) if precision == "auto" else getattr(torch, precision)
    return Runtime(torch.device(device), dtype)


def _native_dtype(kind: str) -> torch.dtype:
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if kind == "cpu" and has_bfloat16() else torch.float32
