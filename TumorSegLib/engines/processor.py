"""What the CPU can do: whether it computes in bfloat16 itself, and its features as text."""

from __future__ import annotations

import os
import platform

import torch

#: Values of ``ONEDNN_MAX_CPU_ISA`` that keep oneDNN, which computes PyTorch's convolutions, from bfloat16 instructions:
#: https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html.
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
WITHOUT_FLOAT16 = (*WITHOUT_BFLOAT16, "AVX512_CORE_BF16")
WITHOUT_INT8 = ("SSE41", "AVX", "AVX2", "AVX512_CORE")
FEATURES = ("avx2", "avx_vnni", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


def has_bfloat16() -> bool:
    """Whether convolutions and attention in bfloat16 run on instructions of this CPU.

    Without them they run as well, several times slower than in float32, or, where PyTorch's own loops are kept from
    AVX-512 (``ATEN_CPU_CAPABILITY``), attention fails. Not every torch since 2.4 has these functions; where they are
    missing float32 is the safe choice.
    """
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    allowed = _most_allowed() not in WITHOUT_BFLOAT16 and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return allowed and any(getattr(torch.cpu, name, bool)() for name in checks)


def has_float16() -> bool:
    """Whether convolutions in float16 run on instructions of this CPU; not asked of other processors than x86.

    Without them one window of sts-auto takes 70 s, in float32 0.3 s.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return _most_allowed() not in WITHOUT_FLOAT16 and bool(known.get("avx512_fp16"))


def has_int8() -> bool:
    """Whether products of 8-bit integers run on instructions of this CPU that add them up in 32 bits.

    Without them x86 adds up pairs in 16 bits, which can overflow: the answers are not those that were measured.
    """
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    allowed = _most_allowed() not in WITHOUT_INT8
    return allowed and any(known.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def describe_processor() -> str:
    """Name, features and limits of the CPU in one line, e.g. ``Intel Xeon (avx2), 2 threads, bfloat16 not native``."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    features = ", ".join(name for name in FEATURES if known.get(name)) or "features unknown"
    parts = [f"{known.get('cpu_name', 'CPU')} ({features})", f"{torch.get_num_threads()} threads"]
    if _most_allowed():
        parts.append(f"oneDNN kept to {_most_allowed()}")
    parts += [f"PyTorch's own loops {torch.backends.cpu.get_cpu_capability()}", f"torch {torch.__version__}"]
    return ", ".join([*parts, f"bfloat16 {'native' if has_bfloat16() else 'not native'}"])


def _most_allowed() -> str:
    """The instruction set that the environment keeps oneDNN to; empty where it does not."""
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
