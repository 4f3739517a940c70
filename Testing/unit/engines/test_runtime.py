"""The choice of a device and a precision on simulated hardware."""

from __future__ import annotations

import platform

import pytest
import torch

from TumorSegLib.engines.runtime import Runtime, choose_runtime
from TumorSegLib.errors import ArgumentError, ResourceError


@pytest.fixture
def hardware(monkeypatch):
    """Makes torch report the hardware given."""

    def pretend(cuda: int = 0, mps: bool = False, cuda_bfloat16: bool = True, cpu_bfloat16: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda_bfloat16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_bfloat16, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

    return pretend


@pytest.mark.parametrize(
    ("present", "device", "dtype"),
    [
        ({}, "cpu", torch.float32),
        ({"cpu_bfloat16": True}, "cpu", torch.bfloat16),
        ({"mps": True, "cpu_bfloat16": True}, "mps", torch.float32),
        ({"cuda": 2, "mps": True}, "cuda", torch.bfloat16),
        ({"cuda": 1, "cuda_bfloat16": False}, "cuda", torch.float16),
    ],
)
def test_auto_takes_the_fastest_there_is(hardware, present, device, dtype):
    hardware(**present)
    assert choose_runtime() == Runtime(torch.device(device), dtype)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_an_explicit_precision_is_used(name, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_fp16": True}, raising=False)
    runtime = choose_runtime("cpu", name)
    assert runtime == Runtime(torch.device("cpu"), getattr(torch, name))
    assert (runtime.name, runtime.precision) == ("cpu", name)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="of processors of the family x86")
def test_float16_is_refused_on_a_cpu_without_instructions_for_it(monkeypatch):
    words = "precision 'float16' is for GPUs: this CPU has no instructions for it"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_fp16": True}, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    with pytest.raises(ArgumentError, match=words):
        choose_runtime("cpu", "float16")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    with pytest.raises(ArgumentError, match=words):
        choose_runtime("cpu", "float16")


def test_a_torch_that_cannot_say_whether_bfloat16_is_native_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert choose_runtime("cpu").dtype == torch.float32


def test_a_missing_device_is_refused_by_name(hardware):
    hardware()
    for device in ("cuda", "cuda:0", "mps"):
        with pytest.raises(ResourceError, match=f"device '{device}' is not available here"):
            choose_runtime(device)
    hardware(cuda=2)
    assert choose_runtime("cuda:1").device == torch.device("cuda", 1)
    with pytest.raises(ResourceError, match=r"'cuda:2' is not available here \(2 of cuda\); use cpu or auto"):
        choose_runtime("cuda:2")


@pytest.mark.parametrize(
    ("device", "precision"),
    [(name, "auto") for name in ("", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "auto:0", "xpu", "cuda:0 ")]
    + [("cpu", name) for name in ("", "fp16", "float64", "half")],
)
def test_unknown_devices_and_precisions_are_refused_with_the_known_ones(device, precision):
    words = f"device '{device}' is not one of auto, cpu, cuda, cuda:N, mps"
    if device == "cpu":
        words = f"precision '{precision}' is not one of auto, float32, bfloat16, float16"
    with pytest.raises(ArgumentError, match=words):
        choose_runtime(device, precision)
