"""The command ``tumorseg refine``."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    read_label_map,
)
from TumorSegLib.cli.entry import add_engine_arguments
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError, RoleError
from TumorSegLib.files import write_text
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.volume import Mask
from TumorSegLib.io.images import write_mask
from TumorSegLib.io.markups import read_prompts
from TumorSegLib.jobs import progress_bar
from TumorSegLib.models.registry import default_clicks, find_model
from TumorSegLib.parsing import load_json
from TumorSegLib.prompts.types import Line, Prompt
from TumorSegLib.protocols import RunInfo
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.session import Session


def add_refine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_image_arguments(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--initial", metavar="FILE", help="mask to correct, on the first image's grid (default: empty)")
    start.add_argument("--auto", metavar="MODEL", help="automatic model whose mask is corrected, e.g. sts-auto")
    parser.add_argument(
        "--line",
        metavar="FILE",
        help="the longest diameter, measured on one slice: a line saved as markups by 3D Slicer (.mrk.json), or JSON "
        '{"prompts": [{"line": [[i, j, k], [i, j, k]]}]}; applies before --clicks',
    )
    parser.add_argument(
        "--clicks",
        metavar="FILE",
        help='prompts in the order they apply: JSON {"prompts": [{"click": [i, j, k], "positive": true}, ...]}, or '
        'markups of 3D Slicer (.mrk.json); a point is negative where its name or its list\'s holds "negative"; '
        "lines, closed curves and boxes too",
    )
    parser.add_argument(
        "--model",
        help="click model, name or folder (default lesion-clicks, or sts-clicks where --auto is sts-auto and there are "
        "clicks and scribbles alone)",
    )
    parser.add_argument(
        "--session",
        metavar="FILE",
        help="keep mask, prompts and undo steps here, .json; where it exists already, the prompts of --clicks come on "
        "top of those in it, so give new ones only",
    )
    add_engine_arguments(parser)


def run_refine(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` for bad input, before anything is written."""
    inputs = parse_inputs(options.input)
    files = [path for path in (options.line, options.clicks) if path]
    if not files:
        raise ArgumentError("nothing to refine by: give --clicks or --line")
    read = [*inputs.values(), *files, *([options.initial] if options.initial else [])]
    check_outputs([(options.output, MASK_SUFFIXES), ((options.session,), (".json",))], read)
    kept = _read_session(options)
    any_image = not options.auto and find_model(options.model or default_clicks()).spec.takes_shapes
    images = ImageSet(read_images(inputs, pet_without_suv=any_image))
    prompts = [prompt for path in files for prompt in _read_prompts(path, images.grid, path == options.line)]
    shapes = any(prompt.point_prompt() is None for prompt in prompts)
    options.model = options.model or default_clicks(options.auto, images, shapes)
    session = _new_session(options, images, kept)
    _check_taken(prompts, options.model)
    session.prepare()  # refuses channels its model does not take before an automatic model works for minutes
    infos: list[RunInfo] = []
    if options.auto:
        with progress_bar("Segmenting") as progress:
            infos.append(session.segment(progress=progress).info)
    edits = _apply(session, prompts)
    corrections = [edit.info for edit in edits]
    seconds = [sum(info.seconds.values()) for info in corrections]
    for path in options.output:
        write_mask(session.mask, path)
    if options.session:
        write_text(options.session, json.dumps(session.to_json()) + "\n", durable=True)
    if images.on_other_grids:
        print(f"resampled to the grid of {images.reference}: {', '.join(images.on_other_grids)}")
    print_notes([*infos, *corrections], images)
    print_nothing_found(zip(prompts, edits), not session.volume_ml)
    how = f"{len(prompts)} prompt(s), {statistics.median(seconds):.2f} s each: "
    print_marked(find_model(options.model).spec, session.volume_ml, options.output, how)


def _read_session(options: argparse.Namespace) -> Mapping[str, Any] | None:
    if not options.session or not Path(options.session).exists():
        return None
    if options.initial or options.auto:
        raise ArgumentError(
            f"--session {options.session} exists and already contains a mask; leave out "
            f"{'--initial' if options.initial else '--auto'}, or name another file"
        )
    try:
        data = load_json(Path(options.session))
    except (OSError, ValueError) as error:
        raise ReadError(f"{options.session}: it cannot be read as a session: {error}") from error
    if not isinstance(data, Mapping):
        raise ReadError(f"{options.session}: a session is a JSON object, got a {type(data).__name__}")
    return data


def _read_prompts(path: str, grid: Grid, lines: bool) -> Sequence[Prompt]:
    """The prompts of a file; raises :class:`ArgumentError` where lines are wanted and it has others."""
    prompts = read_prompts(path, grid).items
    other = [prompt for prompt in prompts if lines and not isinstance(prompt, Line)]
    if other:
        raise ArgumentError(f"--line {path}: has a {other[0]}; give it as --clicks")
    return prompts


def _check_taken(prompts: Sequence[Prompt], model: str) -> None:
    """Raises :class:`ArgumentError` where a prompt is none that the click model takes."""
    shapes = [prompt for prompt in prompts if prompt.point_prompt() is None]
    if shapes and not find_model(model).spec.takes_shapes:
        raise ArgumentError(f"model {model!r} takes clicks and scribbles, not the {shapes[0]}")


def _new_session(options: argparse.Namespace, images: ImageSet, kept: Mapping[str, Any] | None) -> Session:
    initial = _read_initial(options.initial, images.grid) if options.initial else None
    clicks = open_engine(options.model, options, "clicks")
    if kept is not None:
        try:
            return Session.from_json(kept, images, clicks=clicks)
        except (ReadError, GeometryError, RoleError) as error:
            raise type(error)(f"{options.session}: {error}") from error
    auto = open_engine(options.auto, options, "auto") if options.auto else None
    return Session(images, auto=auto, clicks=clicks, initial=initial)


def _read_initial(path: str, grid: Grid) -> Mask:
    mask = read_label_map(path)
    if mask.grid != grid:
        difference = grid.difference(mask.grid)
        raise GeometryError(f"{path}: the mask is not on the grid of the first image ({grid}): {difference}")
    return mask


def _apply(session: Session, prompts: Sequence[Prompt]) -> list[Edit]:
    """Adds the prompts to the session one by one; returns what each changed."""
    edits = []
    with progress_bar("Correcting") as progress:
        for done, prompt in enumerate(prompts, start=1):
            edits.append(session.add(prompt))
            progress(done, len(prompts))
    return edits
