"""How long ``import TumorSegLib`` takes in a fresh interpreter, beside an empty one."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 7


def run() -> None:
    """Prints the median of both over several runs in turn."""
    empty, library = [], []
    for _ in range(RUNS):
        empty.append(_seconds("pass"))
        library.append(_seconds("import TumorSegLib"))
    difference = statistics.median(library) - statistics.median(empty)
    print(
        f"import TumorSegLib: {difference:.3f} s on top of an empty interpreter's {statistics.median(empty):.3f} s "
        f"(median of {RUNS})"
    )


def _seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started
