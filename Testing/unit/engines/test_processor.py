"""What the CPU can do, also where the environment keeps oneDNN to less than it has."""

from __future__ import annotations

import pytest
import torch

from TumorSegLib.engines.processor import describe_processor, has_bfloat16


@pytest.fixture
def bfloat16_processor(monkeypatch):
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize(
    ("allowed", "native"),
    [
        ("AVX2", False),
        ("avx512_core_vnni", False),
        ("AVX512_CORE_BF16", True),
        ("AVX512_CORE_AMX", True),
        ("DEFAULT", True),
    ],
)
def test_bfloat16_counts_only_where_onednn_may_use_it(bfloat16_processor, monkeypatch, variable, allowed, native):
    assert has_bfloat16()
    monkeypatch.setenv(variable, allowed)
    assert has_bfloat16() is native
    assert f"oneDNN kept to {allowed.upper()}" in describe_processor()
    assert describe_processor().endswith("bfloat16 native" if native else "bfloat16 not native")


def test_bfloat16_needs_the_instructions_and_loops_of_pytorch_that_use_them(bfloat16_processor, monkeypatch):
    for loops in ("DEFAULT", "AVX2"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda loops=loops: loops)
        assert not has_bfloat16()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not has_bfloat16()


def test_the_processor_is_described_with_threads_and_torch():
    text = describe_processor()
    assert f"{torch.get_num_threads()} threads" in text
    assert f"torch {torch.__version__}" in text
    assert torch.backends.cpu.get_cpu_capability() in text
