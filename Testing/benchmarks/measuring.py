"""Seconds and memory of benchmarks, and how their figures are printed; importing it loads no PyTorch."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


def timed(work: Callable[[], Value]) -> tuple[float, Value]:
    """Seconds of one call, work queued on a GPU included, and what it returned."""
    started = time.perf_counter()
    value = work()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - started, value


def cpu_timed(work: Callable[[], Value]) -> tuple[float, Value]:
    """Seconds that the threads of this process computed in one call, which others hardly lengthen; and its value."""
    started = time.process_time()
    value = work()
    return time.process_time() - started, value


def timed_both(name: str, work: Callable[[], Value]) -> tuple[dict[str, float], Value]:
    """Both as a row, of :func:`timed` and :func:`cpu_timed`, and the value."""
    processor, (seconds, value) = cpu_timed(lambda: timed(work))
    return {f"{name}_seconds": seconds, f"{name}_processor_seconds": processor}, value


def peak_memory_gib() -> float:
    """Largest resident memory of this process so far."""
    return gib(resource.getrusage(resource.RUSAGE_SELF))


def gib(usage: resource.struct_rusage) -> float:
    """Largest resident memory of a process, by what the system says of it."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return usage.ru_maxrss * unit / 2**30


def format_row(row: dict[str, Any]) -> str:
    """Names and values on one line, four digits."""
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )
