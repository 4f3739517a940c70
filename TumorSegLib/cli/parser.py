"""The arguments of ``tumorseg``: every command with its own."""

from __future__ import annotations

import argparse

from TumorSegLib import __version__
from TumorSegLib.cli.box import add_box_arguments, run_box
from TumorSegLib.cli.demo import add_demo_arguments, run_demo_command
from TumorSegLib.cli.entry import add_command
from TumorSegLib.cli.evaluate import add_evaluate_arguments, run_evaluate
from TumorSegLib.cli.measure import add_measure_arguments, run_measure
from TumorSegLib.cli.models import add_models_commands
from TumorSegLib.cli.refine import add_refine_arguments, run_refine
from TumorSegLib.cli.segment import add_segment_arguments, run_segment
from TumorSegLib.disclaimer import DISCLAIMER


def make_parser() -> argparse.ArgumentParser:
    """The parser; what it parses has ``run_command``, to be called with the options."""
    parser = argparse.ArgumentParser(prog="tumorseg", description=f"Segment tumours on CT, PET and MR. {DISCLAIMER}")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="show an error's traceback")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_segment_arguments(add_command(commands, "segment", run_segment, "segment a case automatically"))
    refine = add_command(commands, "refine", run_refine, "correct a mask, or begin one, from clicks and scribbles")
    add_refine_arguments(refine)
    box = add_command(commands, "box", run_box, "segment the tumour in a box, slice by slice, with SAM or MedSAM")
    add_box_arguments(box)
    measure = add_command(commands, "measure", run_measure, "volume, diameters and uptake of the tumour in a mask")
    add_measure_arguments(measure)
    add_models_commands(commands)
    add_evaluate_arguments(
        add_command(
            commands,
            "evaluate",
            run_evaluate,
            "compare a mask with a reference, all labels together and, of several, each",
        )
    )
    demo = add_command(
        commands, "demo", run_demo_command, "segment a synthetic PET/CT and write all results to a folder"
    )
    add_demo_arguments(demo)
    return parser
