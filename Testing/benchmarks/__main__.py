"""Runs the benchmarks named, or all of them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from Testing.benchmarks.cases import SMALLEST, STEP
from TumorSegLib.errors import TumorSegError

#: Name to the module and what its ``run`` gets of the options, in the order in which they are run.
BENCHMARKS: dict[str, tuple[str, Callable[[argparse.Namespace], tuple[Any, ...]]]] = {
    "import": ("import_time", lambda options: ()),
    "panel": ("panel.panel", lambda options: (options.shape,)),
    "stalls": ("panel.stalls", lambda options: ()),
    "clicks": ("clicks", lambda options: (options.device, options.shape, options.backend)),
    "boxes": ("box.boxes", lambda options: (options.device, options.shape, options.backend)),
    "shortcuts": ("box.shortcuts", lambda options: (options.device,)),
    "speed": (
        "sliding_window",
        lambda options: (options.device, options.shape, options.backend, options.json, options.record),
    ),
    "windows": ("windows", lambda options: (options.device,)),
    "conversion": ("conversion", lambda options: ()),
    "segment": ("whole_command", lambda options: (options.device, options.shape, options.backend)),
    "networks": ("networks", lambda options: (options.device,)),
    "accuracy": ("accuracy", lambda options: (options.device,)),
}
BACKENDS = ("torch", "openvino")
# In interpreters of their own: the benchmark of the panel shows what it takes to load PyTorch for the first time.
DESCRIBE_PROCESSOR = """
from TumorSegLib.engines.processor import describe_processor
print(describe_processor())
"""
CHECK_DEVICE = """
import sys
from TumorSegLib import TumorSegError
from TumorSegLib.engines.runtime import choose_runtime
try:
    choose_runtime(sys.argv[1])
except TumorSegError as error:
    print(error)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the options, all of which are checked before the first benchmark, and runs the benchmarks in turn."""
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmarks", description=__doc__)
    every = ", ".join(BENCHMARKS)
    parser.add_argument(
        "names", nargs="*", type=_name, default=tuple(BENCHMARKS), metavar="NAME", help=f"{every} (default all)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--shape", type=_shape, default="200,512,512", help="k,j,i of the volume (default %(default)s)")
    parser.add_argument(
        "--backend",
        choices=(*BACKENDS, "all"),
        default="all",
        help="of clicks, boxes, speed and segment: one, or all in turn (default %(default)s; on a GPU torch alone)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of speed here, too")
    parser.add_argument(
        "--record", action="store_true", help="note in the model.json of sts-auto how well int8 agrees, by speed"
    )
    options = parser.parse_args(arguments)
    if options.json and not options.json.parent.is_dir():
        parser.error(f"argument --json: {options.json.parent} is not a folder")
    if not set(options.names) <= {"import", "panel", "stalls"} and (problem := _device_problem(options.device)):
        parser.error(problem)
    options.backend = _backends(options.backend, options.device)
    print(f"processor: {_printed(DESCRIBE_PROCESSOR)}", flush=True)
    for name, (module, given) in BENCHMARKS.items():
        if name in options.names:
            try:
                import_module(f"Testing.benchmarks.{module}").run(*given(options))
            except TumorSegError as error:
                parser.exit(2, f"{parser.prog}: error: {name}: {error}\n")


def _name(text: str) -> str:
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(BENCHMARKS)}")
    return text


def _backends(name: str, device: str) -> tuple[str, ...]:
    return ("torch",) if device != "cpu" else BACKENDS if name == "all" else (name,)


def _shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(part) if part.isdecimal() else 0 for part in text.split(","))
    if len(shape) != 3 or any(n < least for n, least in zip(shape, SMALLEST)) or any(n % STEP for n in shape[1:]):
        least = ",".join(str(n) for n in SMALLEST)
        raise argparse.ArgumentTypeError(
            f"{text!r} is not k,j,i: three whole numbers, at least {least}, j and i multiples of {STEP}"
        )
    return shape


def _device_problem(device: str) -> str:
    """Why the library cannot compute on a device, in its own words; empty where it can."""
    return _printed(CHECK_DEVICE, device)


def _printed(script: str, *arguments: str) -> str:
    """What a script of Python prints in an interpreter of its own."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when PyTorch is loaded
    main()
