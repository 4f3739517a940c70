"""The command ``tumorseg refine``."""

from __future__ import annotations

import argparse
import json
import shlex
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
    read_segments,
    write_segments,
)
from TumorSegLib.cli.entry import add_engine_arguments
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError, RoleError
from TumorSegLib.files import write_text
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.labels import Segment, Segmentation
from TumorSegLib.io.markups import read_prompts
from TumorSegLib.io.segmentations import tumour_segments
from TumorSegLib.jobs import progress_bar
from TumorSegLib.models.registry import default_clicks, find_model
from TumorSegLib.parsing import load_json
from TumorSegLib.prompts.types import Line, Prompt
from TumorSegLib.protocols import RunInfo
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session
from TumorSegLib.session.storage import BESIDE


def add_refine_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_image_arguments(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--initial",
        metavar="FILE",
        help="mask or segmentation (.seg.nrrd) to correct, on the first image's grid (default: empty)",
    )
    start.add_argument("--auto", metavar="MODEL", help="automatic model whose mask is corrected, e.g. sts-auto")
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="the label to correct, by name or number, where --initial, --auto or --session has several; the others go "
        "to the output as they are, but for voxels that move to this one",
    )
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
    initial = _read_initial(options.initial, images.grid) if options.initial else None
    segments = _segments(options, initial, kept)
    target = _target(options, segments, kept)
    session = _new_session(options, images, kept, initial)
    _check_taken(prompts, options.model)
    session.prepare()  # refuses channels its model does not take before an automatic model works for minutes
    infos: list[RunInfo] = []
    if options.auto:
        with progress_bar("Segmenting") as progress:
            infos.append(session.segment(progress=progress).info)
    if target:
        session.activate(target)
    edits = _apply(session, prompts)
    corrections = [edit.info for edit in edits]
    seconds = [sum(info.seconds.values()) for info in corrections]
    found = tumour_segments(session.mask)
    if segments:
        found = Segmentation.of_masks(
            (each, session.mask_of(each.name)) for each in _by_cover(options, session, segments)
        )
    write_segments(found, options.output)
    if options.session:
        data = session.to_json()
        if segments:
            data[BESIDE] = _labels(found)
        write_text(options.session, json.dumps(data) + "\n", durable=True)
    if images.on_other_grids:
        print(f"resampled to the grid of {images.reference}: {', '.join(images.on_other_grids)}")
    print_notes([*infos, *corrections], images)
    print_nothing_found(zip(prompts, edits), not session.volume_ml)
    where = f" on {target!r}" if len(segments) > 1 else ""
    how = f"{len(prompts)} prompt(s){where}, {statistics.median(seconds):.2f} s each: "
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


def _segments(
    options: argparse.Namespace, initial: Segmentation | None, kept: Mapping[str, Any] | None
) -> tuple[Segment, ...]:
    """The segments that the session will have, with their labels; none for one without a name, which is a tumour."""
    if initial is not None:
        return initial.segments if _are_told_apart(initial) else ()
    if options.auto:
        labels = find_model(options.auto).spec.labels
        return tuple(Segment(name, value) for name, value in labels.items()) if len(labels) > 1 else ()
    return () if kept is None else _kept_segments(options.session, kept)


def _labels(segmentation: Segmentation) -> dict[str, Any]:
    """What a session does not know of its segments, by their names in the order in which they cover each other."""
    return {
        each.name: {"label": each.label, "colour": each.own_colour, "tags": each.tags, "named": each.named}
        for each in segmentation.segments
    }


def _kept_segments(path: str, kept: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments of a kept session as they were; numbered in their order where the session was changed elsewhere."""
    names = [str(entry.get("name", "")) for entry in kept.get("segments", ()) if isinstance(entry, Mapping)]
    try:
        known = [
            Segment(name, int(own["label"]), _colour(own["colour"]), bool(own["named"]), str(own["tags"]))
            for name, own in kept.get(BESIDE, {}).items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError, ArgumentError) as error:
        raise ReadError(f"{path}: the session is damaged: its labels cannot be read: {error!r}") from error
    if known and sorted(each.name for each in known) == sorted(names):
        return tuple(known)
    return tuple(Segment(name, n) for n, name in enumerate(names, start=1)) if len(names) > 1 and all(names) else ()


def _colour(shares: Any) -> tuple[float, float, float] | None:
    if shares is None:
        return None
    red, green, blue = (float(share) for share in shares)
    return red, green, blue


def _by_cover(options: argparse.Namespace, session: Session, segments: Sequence[Segment]) -> list[Segment]:
    """The segments in the order in which they cover each other in a label map, see ``MonaiInput.ordered``."""
    if not options.auto or getattr(find_model(options.auto).spec.input, "ordered", True):
        return list(segments)
    return sorted(segments, key=lambda each: -int(session.mask_of(each.name).array.sum()))


def _are_told_apart(segmentation: Segmentation) -> bool:
    """Whether there are several segments, or one with a name."""
    return len(segmentation.segments) > 1 or any(each.named for each in segmentation.segments)


def _target(options: argparse.Namespace, segments: Sequence[Segment], kept: Mapping[str, Any] | None) -> str:
    """The name of the segment that the prompts correct; empty where there is one, or the session says it.

    Raises:
        ArgumentError: it is not said which of several, or there is none of the name.
    """
    wanted, names = options.label, [each.name for each in segments]
    if wanted is None:
        if len(names) > 1 and kept is None:
            raise ArgumentError(
                f"{options.initial or options.auto} has several labels ({', '.join(names)}); say which one to correct, "
                f"e.g. --label {shlex.quote(names[0])}"
            )
        return names[0] if len(names) == 1 else ""
    found = [each.name for each in segments if wanted == each.name]
    found += [each.name for each in segments if wanted == str(each.label)]
    if not found:
        raise ArgumentError(
            f"--label {wanted!r}: there is no such label; there are {', '.join(names) or 'none by name'}"
        )
    return found[0]


def _new_session(
    options: argparse.Namespace, images: ImageSet, kept: Mapping[str, Any] | None, initial: Segmentation | None
) -> Session:
    clicks = open_engine(options.model, options, "clicks")
    if kept is not None:
        try:
            return Session.from_json(kept, images, clicks=clicks)
        except (ReadError, GeometryError, RoleError) as error:
            raise type(error)(f"{options.session}: {error}") from error
    auto = open_engine(options.auto, options, "auto") if options.auto else None
    begun = initial if initial is None or _are_told_apart(initial) else initial.foreground
    # A label map has one label per voxel: what a label gains, another loses.
    return Session(images, auto=auto, clicks=clicks, initial=begun, overlap=Overlap.OVERWRITE)


def _read_initial(path: str, grid: Grid) -> Segmentation:
    found = read_segments(path)
    if found.grid != grid:
        difference = grid.difference(found.grid)
        raise GeometryError(f"{path}: the mask is not on the grid of the first image ({grid}): {difference}")
    return found


def _apply(session: Session, prompts: Sequence[Prompt]) -> list[Edit]:
    """Adds the prompts to the session one by one; returns what each changed."""
    edits = []
    with progress_bar("Correcting") as progress:
        for done, prompt in enumerate(prompts, start=1):
            edits.append(session.add(prompt))
            progress(done, len(prompts))
    return edits
