"""Runs the benchmarks named, or all of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main() -> None:
    """Reads the options and runs the benchmarks in turn."""
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmarks", description=__doc__)
    every = ("import", "panel", "clicks", "boxes", "speed", "accuracy")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(every)} (default all)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default %(default)s)")
    parser.add_argument("--shape", default="200,512,512", help="k,j,i of the volume (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of speed here, too")
    options = parser.parse_args()
    names = options.names or every
    if "import" in names:
        from Testing.benchmarks import import_time

        import_time.run()
    depth, height, width = (int(n) for n in options.shape.split(","))
    if "panel" in names:
        from Testing.benchmarks import panel

        panel.run((depth, height, width))
    if "clicks" in names:
        from Testing.benchmarks import clicks

        clicks.run(options.device, (depth, height, width))
    if "boxes" in names:
        from Testing.benchmarks import boxes

        boxes.run(options.device, (depth, height, width))
    if "speed" in names:
        from Testing.benchmarks import sliding_window

        sliding_window.run(options.device, (depth, height, width), options.json)
    if "accuracy" in names:
        from Testing.benchmarks import accuracy

        accuracy.run(options.device)


if __name__ == "__main__":
    main()
