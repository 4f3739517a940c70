"""``python -m training train | evaluate | export | finetune-sam``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data.cases import default_folder
from TumorSegLib.errors import ArgumentError, TumorSegError, WriteError

if TYPE_CHECKING:
    from TumorSegLib.engines.auto.engine import AutoEngine

# Samples are drawn in a thread beside the network; OpenMP threads that spin while waiting would take its core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for bad input, 130 for an interruption."""
    options = _parser().parse_args(arguments)
    try:
        options.run_command(options)
    except TumorSegError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {options.interrupted}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = _add_command(commands, "train", _train, "train, or go on with, a model")
    train.add_argument("configuration", type=Path, help="TOML file, see training/configs")
    train.add_argument("--data", type=Path, default=default_folder(), help="data folder (default %(default)s)")
    # Not --run alone, though it works: torchrun takes that for a beginning of its own --run-path.
    train.add_argument("--run-folder", dest="run", type=Path, help="folder of the run (default training/runs/NAME)")
    train.add_argument("--threads", type=int, help="CPU threads")
    _add_device(train)
    train.set_defaults(interrupted="the same command goes on from the last checkpoint")
    evaluate = _add_command(commands, "evaluate", _evaluate, "measure a model by the evaluation protocol")
    evaluate.add_argument("--model", required=True, help="name or folder of a model")
    evaluate.add_argument("--data", type=Path, default=default_folder(), help="data folder (default %(default)s)")
    evaluate.add_argument("--fold", type=int, help="only this fold (default all cases)")
    evaluate.add_argument("--roles", help="one subset of roles, e.g. ct,pet (default every subset)")
    evaluate.add_argument("--mirror", action="store_true", help="average over mirror images")
    evaluate.add_argument(
        "--refiner", help="refinement model to measure by simulated clicks, or on boxes, on top of --model"
    )
    evaluate.add_argument("--clicks", type=int, help="clicks per case (default 10), with --refiner")
    evaluate.add_argument(
        "--baselines", action="store_true", help="measure baselines on the same cases, with --refiner"
    )
    evaluate.add_argument("--plot", type=Path, help="draw Dice over clicks here, .png, with --refiner")
    evaluate.add_argument("--json", type=Path, help="write the whole report here")
    evaluate.add_argument("--record", action="store_true", help="note the summary in the model's model.json")
    _add_device(evaluate)
    export = _add_command(commands, "export", _export, "make a model folder of a run")
    export.add_argument("run", type=Path, help="folder of the run")
    export.add_argument("--output", type=Path, help="model folder (default TumorSegLib/bundled/NAME)")
    export.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="of the weights")
    _add_finetune(commands)
    return parser


def _add_finetune(commands: Any) -> None:
    parser = _add_command(commands, "finetune-sam", _finetune, "fine-tune the mask decoder of a box model")
    parser.add_argument("configuration", type=Path, help="TOML file, see training/configs/lite_medsam_sts.toml")
    parser.add_argument("--data", type=Path, default=default_folder(), help="data folder (default %(default)s)")
    parser.add_argument("--run-folder", dest="run", type=Path, help="folder of the run (default training/runs/NAME)")
    parser.add_argument("--output", type=Path, help="model folder (default model, in the folder of the run)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.set_defaults(interrupted="the same command goes on with the slices encoded so far")


def _add_command(
    commands: Any, name: str, run_command: Callable[[argparse.Namespace], None], help_: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_)
    # Without a default of its own, which would undo a --debug before the command.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    parser.set_defaults(run_command=run_command, interrupted="nothing was written")
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, float32, bfloat16 or float16")


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ArgumentError(f"--threads {threads} must be at least 1")
        torch.set_num_threads(threads)


def _train(options: argparse.Namespace) -> None:
    from training.config.loader import read_configuration
    from training.loop.train import train

    _set_threads(options.threads)
    configuration = read_configuration(options.configuration)
    run = options.run or Path(__file__).parent / "runs" / configuration.model.name
    train(configuration, options.data, run, options.device, options.precision)


def _evaluate(options: argparse.Namespace) -> None:
    from training.evaluation.automatic import evaluate_folder, format_table, role_subsets
    from training.export import record_results
    from TumorSegLib.engines.load import load_engine
    from TumorSegLib.files import write_text
    from TumorSegLib.models.registry import find_model

    _check_evaluate(options)
    if find_model(options.model).spec.kind == "box":
        _evaluate_boxes(options)
        return
    engine = load_engine(options.model, options.device, options.precision, kind="auto")
    if options.refiner:
        _evaluate_clicks(options, engine)
        return
    subsets = [tuple(options.roles.split(","))] if options.roles is not None else role_subsets(engine.spec)
    report = evaluate_folder(engine, options.data, options.fold, subsets, options.mirror)
    print(format_table(report))
    if options.json:
        write_text(options.json, json.dumps(report, indent=1, allow_nan=False) + "\n")
    if options.record:
        record_results(find_model(options.model), _command(options), report)


def _check_evaluate(options: argparse.Namespace) -> None:
    """Finds out before hours of work what could not be done after it."""
    for name in ("json", "plot"):
        path = getattr(options, name)
        if path and not path.parent.is_dir():
            raise WriteError(f"--{name} {path}: the folder {path.parent} does not exist")
        if path and path.is_dir():
            raise WriteError(f"--{name} {path}: is a folder")
    for name in ("clicks", "baselines", "plot"):
        if getattr(options, name) not in (None, False) and not options.refiner:
            raise ArgumentError(f"--{name} goes with --refiner, which names the model to click with")
    if options.plot and options.plot.suffix != ".png":
        raise ArgumentError(f"--plot {options.plot}: the name must end in .png")
    if options.mirror and options.refiner:
        raise ArgumentError("--mirror does not go with --refiner: clicks are answered without it")


def _evaluate_clicks(options: argparse.Namespace, auto: AutoEngine) -> None:
    from training.evaluation.automatic import role_subsets
    from training.evaluation.baselines import check_installed
    from training.evaluation.clicks import Plan, evaluate_clicks, format_clicks, load_forgetful
    from training.evaluation.plot import write_curve
    from training.export import record_clicks
    from TumorSegLib.engines.load import load_engine
    from TumorSegLib.files import write_text
    from TumorSegLib.models.registry import find_model

    refiner = load_engine(options.refiner, options.device, options.precision, kind="clicks")
    forgetful = None
    if options.baselines:
        check_installed()
        forgetful = load_forgetful(options.refiner, options.device, options.precision, refiner)
    subsets = [tuple(options.roles.split(","))] if options.roles is not None else role_subsets(refiner.spec)
    clicks = 10 if options.clicks is None else options.clicks
    report = evaluate_clicks(Plan(clicks, refiner, auto, forgetful), options.data, options.fold, subsets)
    print(format_clicks(report))
    if options.json:
        write_text(options.json, json.dumps(report, indent=1, allow_nan=False) + "\n")
    if options.plot:
        write_curve(report, options.plot)
    if options.record:
        record_clicks(find_model(options.refiner), _command(options), report)


def _evaluate_boxes(options: argparse.Namespace) -> None:
    from training.evaluation.boxes import ROLES, Plan, evaluate_boxes, format_boxes
    from TumorSegLib.engines.load import load_engine
    from TumorSegLib.files import write_text

    for name in ("clicks", "baselines", "plot", "record"):
        if getattr(options, name) not in (None, False):
            raise ArgumentError(f"--{name} does not go with {options.model!r}, which takes boxes")
    engine = load_engine(options.model, options.device, options.precision, kind="box")
    refiner = None
    if options.refiner:
        refiner = load_engine(options.refiner, options.device, options.precision, kind="clicks")
    roles = options.roles.split(",") if options.roles is not None else ROLES
    report = evaluate_boxes(Plan(engine, refiner), options.data, options.fold, roles)
    print(format_boxes(report))
    if options.json:
        write_text(options.json, json.dumps(report, indent=1, allow_nan=False) + "\n")


def _command(options: argparse.Namespace) -> str:
    """The command that repeats an evaluation, without what only says where things lie."""
    parts = [f"--model {Path(options.model).name}"]
    if options.refiner:
        parts.append(f"--refiner {Path(options.refiner).name}")
    values = {name: getattr(options, name) for name in ("clicks", "fold", "roles")}
    parts += [f"--{name} {value}" for name, value in values.items() if value is not None]
    parts += [f"--{name}" for name in ("mirror", "baselines") if getattr(options, name)]
    return " ".join(["python -m training evaluate", *parts])


def _export(options: argparse.Namespace) -> None:
    from training.config.loader import parse_configuration
    from training.export import export
    from training.loop.train import load_checkpoint

    name = parse_configuration(load_checkpoint(options.run)["configuration"], str(options.run)).model.name
    default = Path(__file__).resolve().parents[1] / "TumorSegLib" / "bundled" / name
    print(f"wrote {export(options.run, options.output or default, options.dtype)}")


def _finetune(options: argparse.Namespace) -> None:
    from training.config.finetune import read_finetune_configuration
    from training.sam.finetune import finetune, format_report
    from TumorSegLib.files import write_text

    _set_threads(options.threads)
    configuration = read_finetune_configuration(options.configuration)
    run = options.run or Path(__file__).parent / "runs" / configuration.model.name
    output = options.output or run / "model"
    report = finetune(configuration, options.data, run, output, options.device)
    write_text(run / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(format_report(report))
    print(f"wrote {output}")


if __name__ == "__main__":
    sys.exit(main())
