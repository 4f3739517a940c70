"""The command ``tumorseg demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from TumorSegLib.cli.process import LEAST_PICTURE_GB, require_memory
from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.jobs import progress_bar


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("--output", default="demo", metavar="FOLDER", help="where to (default %(default)s)")
    parser.add_argument("--seed", type=int, help="of the phantom, from 0 on (default: one that training never saw)")


def run_demo_command(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` where the folder cannot be written."""
    require_memory(LEAST_PICTURE_GB, "the demonstration with its pictures")
    from TumorSegLib.cli.demonstration import SEED, run_demo

    with progress_bar("Segmenting") as progress:
        seed = SEED if options.seed is None else options.seed
        report = run_demo(options.output, seed, progress=progress)
    metrics, seconds = report["metrics"], report["seconds"]
    rows = {
        "model": f"{report['model']} {report['version']} on {report['device']}, {report['precision']}",
        "marked": f"{report['volume_ml']:.1f} ml in {len(report['components'])} part(s)",
        "true volume": f"{metrics['reference_volume_ml']:.1f} ml",
        "Dice": f"{metrics['dice']:.3f}",
        "HD95": "undefined" if metrics["hd95_mm"] is None else f"{metrics['hd95_mm']:.1f} mm",
        "time": f"{sum(seconds.values()):.1f} s ({report['windows']} windows, 8 mirror images each)",
        "files": f"{options.output}/: {', '.join(sorted(p.name for p in Path(options.output).iterdir()))}",
    }
    box = report["box"]
    if box:
        found = f"Dice {box['metrics']['dice']:.3f} in {box['seconds']} s"
        rows["box"] = f"{found} ({box['model']} on {box['role']}, refined by {box['refiner']})"
    else:
        rows["box"] = "left out: needs the model that `tumorseg models download lite-medsam` fetches"
    for name, value in rows.items():
        print(f"{name:<12}{value}")
    print(DISCLAIMER)
