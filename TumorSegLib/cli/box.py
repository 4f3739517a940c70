"""The command ``tumorseg box``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from TumorSegLib.cli.common import (
    MASK_SUFFIXES,
    add_image_arguments,
    check_outputs,
    open_engine,
    parse_inputs,
    print_marked,
    print_notes,
    print_nothing_found,
    read_images,
)
from TumorSegLib.cli.entry import add_engine_arguments
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.files import write_text
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.display_windows import CT_WINDOWS, DEFAULT_CT_WINDOW
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.roles import IMAGE
from TumorSegLib.io.images import write_mask
from TumorSegLib.io.markups import read_prompts
from TumorSegLib.jobs import progress_bar
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions
from TumorSegLib.session.session import Session

AXES = {"i": (0,), "j": (1,), "k": (2,), "all": (0, 1, 2)}


def add_box_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_image_arguments(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--box",
        metavar="I0,I1,J0,J1[,K0,K1]",
        help="voxels of the first image, each range without its end; only two ranges with --slice: then the tumour is "
        "followed as far as it goes; in the order i, j, k without that of --axis",
    )
    place.add_argument("--roi", metavar="FILE", help="a region of interest from 3D Slicer, .mrk.json")
    parser.add_argument(
        "--slice",
        type=int,
        metavar="N",
        help="begin with the box on this slice of --axis and follow the tumour to the slices on both sides",
    )
    parser.add_argument(
        "--axis", choices=AXES, default="k", help="predict slices along this axis (default %(default)s)"
    )
    parser.add_argument("--role", default="", help="image to segment (default: the first)")
    parser.add_argument(
        "--ct-window", choices=CT_WINDOWS, default=DEFAULT_CT_WINDOW, help="for a CT (default %(default)s)"
    )
    parser.add_argument("--model", default="lite-medsam", help="box model, name or folder (default %(default)s)")
    parser.add_argument("--refine", metavar="MODEL", help="refinement model that corrects the result, e.g. sts-clicks")
    parser.add_argument("--session", metavar="FILE", help="keep mask, box and undo step here, .json")
    add_engine_arguments(parser)


def run_box(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` for bad input, before anything is written."""
    inputs = parse_inputs(options.input)
    if options.slice is not None and options.axis == "all":
        raise ArgumentError("--slice propagates the tumour along one axis: --axis must be i, j or k")
    read = [*inputs.values(), *([options.roi] if options.roi else [])]
    check_outputs([(options.output, MASK_SUFFIXES), ((options.session,), (".json",))], read)
    if options.session and Path(options.session).exists():
        raise ArgumentError(f"--session {options.session} exists and would be lost; name another file")
    if options.role and options.role not in inputs:
        raise RoleError(f"--role {options.role} is not one of the inputs: {', '.join(inputs)}")
    images = ImageSet(read_images(inputs, pet_without_suv=not options.refine))
    grid = images.grid
    box, within = _place(options, grid)
    engine = open_engine(options.model, options, "box")
    clicks = open_engine(options.refine, options, "clicks") if options.refine else None
    session = Session(images, box=engine, clicks=clicks)
    shown = next((role for role in images if role in (options.role, f"{IMAGE}_{options.role}")), "")
    settings = BoxOptions(shown, AXES[options.axis], options.ct_window)
    with progress_bar("Segmenting") as progress:
        edit = session.add_box(box, within=within, options=settings, refine=clicks is not None, progress=progress)
    for path in options.output:
        write_mask(session.mask, path)
    if options.session:
        write_text(options.session, json.dumps(session.to_json()) + "\n", durable=True)
    (role,) = edit.info.roles
    if role in images.on_other_grids:
        print(f"resampled to the grid of {images.reference}: {role}")
    print_notes([edit.info], images)
    print_nothing_found([(box, edit)], not session.volume_ml)
    how = f"{edit.info.details['slices']} slices of {role}: "
    print_marked((clicks or engine).spec, session.volume_ml, options.output, how)


def _place(options: argparse.Namespace, grid: Grid) -> tuple[BoxPrompt, BoxPrompt | None]:
    """The box, and the region that limits the propagation."""
    ranges = _roi(options.roi, grid) if options.roi else _ranges(options.box)
    if options.slice is None:
        if len(ranges) != 3:
            raise ArgumentError(f"--box {options.box} has {len(ranges)} ranges; without --slice three are needed")
        box = _within(ranges, grid)
        return box, box
    axis = AXES[options.axis][0]
    if not 0 <= options.slice < grid.size[axis]:
        raise ArgumentError(f"--slice {options.slice} is not one of the image's: 0 to {grid.size[axis] - 1}")
    own = (options.slice, options.slice + 1)
    if len(ranges) == 2:
        return _thin([*ranges[:axis], own, *ranges[axis:]], axis, grid), None
    region = _within(ranges, grid)
    low, high = region.box[axis]
    if not low <= options.slice < high:
        raise ArgumentError(
            f"--slice {options.slice} lies outside the box, whose range {options.axis} is [{low}, {high})"
        )
    return _thin([own if n == axis else limits for n, limits in enumerate(ranges)], axis, grid), region


def _thin(ranges: list[tuple[int, int]], axis: int, grid: Grid) -> BoxPrompt:
    box = _within(ranges, grid)
    if grid.size[axis] > 1 and box.thin_axis(grid) != axis:
        raise ArgumentError(f"box {box.box} is one voxel wide; on its slice it must be at least two voxels wide")
    return box


def _ranges(text: str) -> list[tuple[int, int]]:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (4, 6):
        raise ArgumentError(f"--box {text!r} is not of the form I0,I1,J0,J1,K0,K1 in whole voxels")
    return list(zip(numbers[::2], numbers[1::2]))


def _roi(path: str, grid: Grid) -> list[tuple[int, int]]:
    boxes = read_prompts(path, grid).of(BoxPrompt)
    if len(boxes) != 1:
        raise ArgumentError(f"{path}: contains {len(boxes)} regions of interest; one is needed")
    return list(boxes[0].box)


def _within(ranges: list[tuple[int, int]], grid: Grid) -> BoxPrompt:
    i, j, k = ranges
    box = BoxPrompt((i, j, k))
    grid.check_box(box.box)
    return box
