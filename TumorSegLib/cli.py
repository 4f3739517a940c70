"""The command ``tumorseg``. Exit status: 0 done, 2 bad input or a failure in words, 130 interrupted."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from TumorSegLib import __version__
from TumorSegLib.cli_box import add_box_arguments, run_box
from TumorSegLib.cli_measure import add_measure_arguments, run_measure
from TumorSegLib.cli_models import add_models_commands
from TumorSegLib.cli_refine import add_refine_arguments, run_refine
from TumorSegLib.cli_support import INPUT_HELP, MASK_SUFFIXES, add_command, check_outputs, parse_inputs, progress_bar
from TumorSegLib.errors import TumorSegError
from TumorSegLib.files import write_text
from TumorSegLib.postprocess import fill_holes, remove_small
from TumorSegLib.protocols import Result
from TumorSegLib.report import DISCLAIMER, make_report, to_json
from TumorSegLib.volume import Images, Mask, Volume
from TumorSegLib.volume_io import WRITABLE, read_mask, read_volume, write_mask, write_volume


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (TumorSegError, OSError, MemoryError) as error:
        if options.debug:
            raise
        print(f"tumorseg: error: {str(error) or 'not enough memory'}", file=sys.stderr)  # a MemoryError may be mute
        return 2
    except KeyboardInterrupt:
        print("tumorseg: interrupted; no file is half-written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tumorseg", description=f"Segment tumours on CT, PET and MR. {DISCLAIMER}")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="show an error's traceback")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_segment(commands)
    refine = add_command(commands, "refine", run_refine, "correct a mask, or begin one, from clicks and strokes")
    add_refine_arguments(refine)
    box = add_command(commands, "box", run_box, "segment what a box holds, slice by slice, with SAM or MedSAM")
    add_box_arguments(box)
    measure = add_command(commands, "measure", run_measure, "volume, diameters and uptake of what a mask marks")
    add_measure_arguments(measure)
    add_models_commands(commands)
    evaluate = add_command(commands, "evaluate", _evaluate, "compare a mask with a reference")
    evaluate.add_argument("prediction", help="mask file")
    evaluate.add_argument("reference", help="mask file on the same grid")
    evaluate.add_argument("--json", metavar="FILE", help="write the metrics here, too")
    demo = add_command(commands, "demo", _demo, "segment a synthetic PET/CT and write all results to a folder")
    demo.add_argument("--output", default="demo", metavar="FOLDER", help="where to (default %(default)s)")
    demo.add_argument("--seed", type=int, help="of the phantom, from 0 on (default: one that training never saw)")
    return parser


def _add_segment(commands: Any) -> None:
    segment = add_command(commands, "segment", _segment, "segment a case automatically")
    segment.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="ROLE=PATH",
        help=INPUT_HELP,
    )
    segment.add_argument("--model", default="sts-auto", help="name or folder; ./NAME is a folder (default %(default)s)")
    segment.add_argument(
        "--output",
        action="append",
        required=True,
        metavar="FILE",
        help=f"mask, {', '.join(MASK_SUFFIXES)}; may be repeated",
    )
    segment.add_argument(
        "--min-volume",
        type=_millilitres,
        default=0.0,
        metavar="ML",
        help="take connected regions smaller than this out of the mask; surface, preview and info follow it "
        "(default %(default)s)",
    )
    segment.add_argument("--fill-holes", action="store_true", help="then fill closed cavities of the mask")
    segment.add_argument("--probability", metavar="FILE", help="write the model's probability map, 0 to 1")
    segment.add_argument("--uncertainty", metavar="FILE", help="write predictive entropy in bits (implies --mirror)")
    segment.add_argument("--surface", metavar="FILE", help="write the tumour's surface, .stl or .vtp, if there is one")
    segment.add_argument("--preview", metavar="FILE", help="write a picture, .png")
    segment.add_argument("--info", metavar="FILE", help="write volume, shape, inputs, model and timings as JSON")
    segment.add_argument("--mirror", action="store_true", help="average over mirror images: 8 times the work")
    segment.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default %(default)s)")
    segment.add_argument(
        "--precision",
        default="auto",
        help="auto, float32, bfloat16 or float16 (default %(default)s: the fastest native one)",
    )


def _millilitres(text: str) -> float:
    try:
        volume = float(text)
    except ValueError:
        volume = math.nan
    if not (math.isfinite(volume) and volume >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a volume of at least 0 ml")
    return volume


def _segment(options: argparse.Namespace) -> None:
    inputs = parse_inputs(options.input)
    wanted: list[tuple[Sequence[str | None], tuple[str, ...]]] = [
        (options.output, MASK_SUFFIXES),
        ((options.probability, options.uncertainty), WRITABLE),
        ((options.surface,), (".stl", ".vtp")),
        ((options.preview,), (".png",)),
        ((options.info,), (".json",)),
    ]
    check_outputs(wanted, inputs.values())
    images: Images = {role: read_volume(path, role) for role, path in inputs.items()}
    from TumorSegLib.engines.load import load_engine  # imports torch, which takes seconds: not before the input is read

    engine = load_engine(options.model, options.device, options.precision)
    with progress_bar("Segmenting") as progress:
        result = engine.segment(images, mirror=options.mirror or bool(options.uncertainty), progress=progress)
    result = _tidied(result, options)
    _write_results(options, images, result)
    resampled = result.info["resampled_roles"]
    if resampled:
        print(f"resampled to the grid of {result.info['roles'][0]}: {', '.join(resampled)}")
    if result.mask.array.any():
        print(
            f"{result.info['model']}: tumour of {result.mask.volume_ml:.1f} ml, written to {', '.join(options.output)}"
        )
    else:
        least = f" of at least {options.min_volume:g} ml" if options.min_volume else ""
        print(
            f"{result.info['model']}: no tumour found{least}, an empty mask was written to {', '.join(options.output)}"
        )


def _tidied(result: Result, options: argparse.Namespace) -> Result:
    """The result with the mask tidied as asked, and a note of it; the probability stays as the model gave it."""
    mask = result.mask
    if options.min_volume:
        mask = remove_small(mask, options.min_volume)
    if options.fill_holes:
        mask = fill_holes(mask)
    info = {**result.info, "min_volume_ml": options.min_volume, "fill_holes": options.fill_holes}
    return replace(result, mask=mask, info=info)


def _write_results(options: argparse.Namespace, images: Images, result: Result) -> None:
    for path in options.output:
        write_mask(result.mask, path)
    if options.probability:
        write_volume(result.probability, options.probability)
    if options.uncertainty and result.uncertainty is not None:
        write_volume(result.uncertainty, options.uncertainty)
    if options.surface:
        _write_surface(result, options.surface)
    if options.preview:
        from TumorSegLib.preview import write_preview
        from TumorSegLib.resample import resample

        on_grid = {role: resample(volume, result.mask.grid, volume.array.min()) for role, volume in images.items()}
        write_preview(on_grid, result.mask, options.preview, result.probability)
    if options.info:
        inputs = {role: os.path.abspath(path) for role, path in parse_inputs(options.input).items()}
        report = {**make_report(result), "tumorseg_version": __version__, "inputs": inputs}
        write_text(options.info, to_json(report))


def _write_surface(result: Result, path: str) -> None:
    if not result.mask.array.any():
        Path(path).unlink(missing_ok=True)  # of an earlier run; it would pass for this one's
        print(f"no surface was written to {path}: the mask is empty")
        return
    from TumorSegLib.surface import write_surface

    # The surface runs smoothly through the probability, and round the mask where that was tidied.
    inside, probability = result.mask.array > 0, result.probability.array
    shown = np.where((probability > 0.5) == inside, probability, inside).astype(np.float32)
    write_surface(Volume(result.mask.grid, shown, "probability"), path)


def _evaluate(options: argparse.Namespace) -> None:
    from TumorSegLib.metrics import evaluate

    check_outputs([((options.json,), (".json",))], (options.prediction, options.reference))
    prediction, reference = read_mask(options.prediction), read_mask(options.reference)
    metrics = evaluate(_one_label(prediction), _one_label(reference)).to_dict()
    _print_metrics(metrics)
    if options.json:
        write_text(options.json, to_json(dict(metrics)))


def _one_label(mask: Mask) -> Mask:
    return Mask(mask.grid, (mask.array > 0).astype(np.uint8))


def _print_metrics(metrics: dict[str, float | None]) -> None:
    for name, value in metrics.items():
        print(f"{name:<32}{'undefined' if value is None else f'{value:.4f}'}")


def _demo(options: argparse.Namespace) -> None:
    from TumorSegLib.demo import SEED, run_demo

    with progress_bar("Segmenting") as progress:
        seed = SEED if options.seed is None else options.seed
        report = run_demo(options.output, seed, progress=progress)
    metrics, seconds = report["metrics"], report["seconds"]
    rows = {
        "model": f"{report['model']} {report['version']} on {report['device']}, {report['precision']}",
        "tumour": f"{report['volume_ml']:.1f} ml in {len(report['components'])} part(s)",
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


if __name__ == "__main__":
    sys.exit(main())
