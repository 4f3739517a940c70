"""The command ``tumorseg segment``."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from TumorSegLib import __version__
from TumorSegLib.cli.common import (
    MASK_SUFFIXES,
    add_image_arguments,
    check_outputs,
    open_engine,
    parse_inputs,
    print_marked,
    print_notes,
    read_images,
    write_segments,
)
from TumorSegLib.cli.entry import add_engine_arguments
from TumorSegLib.cli.process import LEAST_PICTURE_GB, require_memory, say
from TumorSegLib.files import write_text
from TumorSegLib.images.cleanup import tidied
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.volume import Images, Volume, number_text
from TumorSegLib.io.images import WRITABLE, write_volume
from TumorSegLib.io.segmentations import tumour_segments
from TumorSegLib.jobs import progress_bar
from TumorSegLib.measurements.report import length_warning, make_report, to_json
from TumorSegLib.protocols import Result


def add_segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_image_arguments(parser)
    parser.add_argument("--model", default="sts-auto", help="name or folder; ./NAME is a folder (default %(default)s)")
    parser.add_argument(
        "--min-volume",
        type=_millilitres,
        default=0.0,
        metavar="ML",
        help="remove connected regions smaller than this from mask, surface, preview and info (default %(default)s)",
    )
    parser.add_argument("--fill-holes", action="store_true", help="then fill closed cavities of the mask")
    parser.add_argument("--probability", metavar="FILE", help="write the model's probability map, 0 to 1")
    parser.add_argument("--uncertainty", metavar="FILE", help="write predictive entropy in bits (implies --mirror)")
    parser.add_argument("--surface", metavar="FILE", help="write the mask's surface, .stl or .vtp, unless it is empty")
    parser.add_argument("--preview", metavar="FILE", help="write a picture, .png")
    parser.add_argument(
        "--info", metavar="FILE", help="write volume, of each label too, shape, inputs, model and timings as JSON"
    )
    parser.add_argument("--mirror", action="store_true", help="average over mirror images: 8 times the work")
    add_engine_arguments(parser)


def _millilitres(text: str) -> float:
    try:
        volume = float(text)
    except ValueError:
        volume = math.nan
    if not (math.isfinite(volume) and volume >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a volume of at least 0 ml")
    return volume


def run_segment(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` for bad input, before anything is written."""
    inputs = parse_inputs(options.input)
    wanted: list[tuple[Sequence[str | None], tuple[str, ...]]] = [
        (options.output, MASK_SUFFIXES),
        ((options.probability, options.uncertainty), WRITABLE),
        ((options.surface,), (".stl", ".vtp")),
        ((options.preview,), (".png",)),
        ((options.info,), (".json",)),
    ]
    check_outputs(wanted, inputs.values())
    if options.preview:
        require_memory(LEAST_PICTURE_GB, "--preview")
    images = read_images(inputs)
    engine = open_engine(options.model, options, "auto")
    with progress_bar("Segmenting") as progress:
        result = engine.segment(images, mirror=options.mirror or bool(options.uncertainty), progress=progress)
    print_notes([result.info], images)
    shown = images if options.preview else {}
    del images  # a whole body takes a gigabyte, which surface and report can use
    result, segmentation = _cleaned(result, options)
    _write_results(options, shown, result, segmentation)
    resampled = result.info.resampled_roles
    if resampled:
        print(f"resampled to the grid of {result.info.roles[0]}: {', '.join(resampled)}")
    if options.min_volume and not result.mask.array.any():
        print(f"no connected region has at least {options.min_volume:g} ml")
    print_marked(engine.spec, result.mask.volume_ml, options.output)
    if len(result.labels) > 1:
        volumes = (f"{name} {number_text(segmentation.mask_of(name).volume_ml)} ml" for name in segmentation.names)
        print(f"labels: {', '.join(volumes)}")
    if result.mask.array.any() and (doubted := length_warning(engine.spec, result.mask.grid)):
        say(f"warning: {doubted}")


def _cleaned(result: Result, options: argparse.Namespace) -> tuple[Result, Segmentation]:
    """The result and its segments cleaned up as the options say, and a note on it; probabilities are unchanged."""
    found = result.segmentation if result.labels else tumour_segments(result.mask)
    found = tidied(found, options.min_volume, options.fill_holes)
    info = result.info.with_details(min_volume_ml=options.min_volume, fill_holes=options.fill_holes)
    return replace(result, mask=found.label_map(), info=info), found


def _write_results(options: argparse.Namespace, images: Images, result: Result, segmentation: Segmentation) -> None:
    write_segments(segmentation, options.output)
    if options.probability:
        write_volume(result.probability, options.probability)
    if options.uncertainty and result.uncertainty is not None:
        write_volume(result.uncertainty, options.uncertainty)
    if options.surface:
        _write_surface(result, options.surface)
    if options.preview:
        from TumorSegLib.images.resample import resample
        from TumorSegLib.render.preview import write_preview

        on_grid = {role: resample(volume, result.mask.grid, volume.array.min()) for role, volume in images.items()}
        write_preview(on_grid, segmentation, options.preview, result.probability)
    if options.info:
        inputs = {role: os.path.abspath(path) for role, path in parse_inputs(options.input).items()}
        volumes = {name: segmentation.mask_of(name).volume_ml for name in segmentation.names}
        report = {**make_report(result), "tumorseg_version": __version__, "inputs": inputs}
        if len(volumes) > 1:
            report["labels_ml"] = volumes
        write_text(options.info, to_json(report))


def _write_surface(result: Result, path: str) -> None:
    if not result.mask.array.any():
        Path(path).unlink(missing_ok=True)  # of an earlier run; it would seem to be of this one
        print(f"no surface was written to {path}: the mask is empty")
        return
    from TumorSegLib.render.surface import write_surface

    # The surface runs smoothly through the probability, and round the mask where that was cleaned up.
    inside, probability = result.mask.array > 0, result.probability.array
    field = np.where((probability > 0.5) == inside, probability, inside).astype(np.float32)
    write_surface(Volume(result.mask.grid, field, "probability"), path)
