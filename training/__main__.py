"""``python -m training``: the arguments of every command. The commands are in :mod:`training.commands`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training import commands
from TumorSegLib.cli.entry import (
    add_command,
    add_device_argument,
    add_device_arguments,
    add_engine_arguments,
    run_guarded,
)
from TumorSegLib.cli.process import INTERRUPTED_MESSAGE, LEAST_NETWORK_GB, require_memory
from TumorSegLib.images.display_windows import CT_WINDOWS, DEFAULT_CT_WINDOW

TRAINING_INTERRUPTED = f"{INTERRUPTED_MESSAGE}; train, finetune-sam and merge-sam continue with the same command"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is that of :mod:`TumorSegLib.cli.entry`."""
    # Samples are drawn in a thread beside the network; OpenMP threads that spin while waiting would take its core.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return run_guarded("training", _run, arguments, TRAINING_INTERRUPTED)


def _run(arguments: Sequence[str] | None) -> None:
    require_memory(LEAST_NETWORK_GB, "training")
    options = _parser().parse_args(arguments)
    options.run_command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train, export and measure models.")
    parser.add_argument("--debug", action="store_true", help="show an error's traceback")
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_plan(parsers)
    _add_train(parsers)
    _add_cross_validate(parsers)
    _add_sheet(parsers)
    _add_suggest(parsers)
    _add_export(parsers)
    _add_evaluate_auto(parsers)
    _add_evaluate_negatives(parsers)
    _add_evaluate_clicks(parsers)
    _add_evaluate_boxes(parsers)
    _add_evaluate_int8(parsers)
    _add_finetune(parsers)
    _add_merge(parsers)
    return parser


def _add_plan(parsers: Any) -> None:
    help_ = "check a data set and write the configuration of a model for it"
    parser = add_command(parsers, "plan", commands.run_plan, help_)
    help_ = "folder in our layout, or of raw data of nnU-Net (dataset.json, imagesTr, labelsTr)"
    parser.add_argument("dataset", type=Path, help=help_)
    help_ = "configuration to write, .toml, whose name is the model's; the fingerprint goes beside it"
    parser.add_argument("--output", type=Path, required=True, help=help_)
    help_ = "memory that training may take in GB (default: 70 %% of this machine's)"
    parser.add_argument("--memory", type=float, metavar="GB", help=help_)
    help_ = "how long training may take on this machine (default: by the number of cases)"
    parser.add_argument("--minutes", type=float, help=help_)
    parser.add_argument("--threads", type=int, help="CPU threads")


def _add_train(parsers: Any) -> None:
    parser = add_command(parsers, "train", commands.run_train, "train a model, or continue its training")
    parser.add_argument("configuration", type=Path, help="TOML file, see training/configs")
    parser.add_argument("--fold", type=int, help="fold to leave out (default: test_fold of the configuration)")
    # Not --run alone, though it works: torchrun reads that as an abbreviation of its own --run-path.
    parser.add_argument("--run-folder", dest="run", type=Path, help="folder of the run (default training/runs/NAME)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    help_ = "stop with a checkpoint after so many minutes; the same command goes on (default: no limit)"
    parser.add_argument("--minutes", type=float, default=math.inf, help=help_)
    _add_data(parser)
    add_device_arguments(parser)


def _add_cross_validate(parsers: Any) -> None:
    help_ = "train a model per fold, and measure each on the cases that it has not seen"
    parser = add_command(parsers, "cross-validate", commands.run_cross_validate, help_)
    parser.add_argument("configuration", type=Path, help="TOML file of an automatic model")
    help_ = "folder of the runs, one for each fold (default training/runs/NAME)"
    parser.add_argument("--run-folder", dest="run", type=Path, help=help_)
    parser.add_argument("--threads", type=int, help="CPU threads")
    help_ = "stop with a checkpoint after so many minutes; the same command goes on (default: no limit)"
    parser.add_argument("--minutes", type=float, default=math.inf, help=help_)
    _add_data(parser)
    add_device_arguments(parser)


def _add_sheet(parsers: Any) -> None:
    help_ = "draw contact sheets of the objects that a prompt model is trained on"
    parser = add_command(parsers, "sheet", commands.run_sheet, help_)
    parser.add_argument("configuration", type=Path, help="TOML file with a section [objects]")
    parser.add_argument("--output", type=Path, required=True, help="folder for one PNG per source")
    parser.add_argument("--data", type=Path, help="folder with suite.json (default $TUMORSEG_DATA, or ../shared/data)")


def _add_suggest(parsers: Any) -> None:
    help_ = "have a box model suggest objects in the images that may train, for the source 'suggested'"
    parser = add_command(parsers, "suggest-objects", commands.run_suggest_objects, help_)
    parser.add_argument("--model", required=True, help="name or folder of a box model, e.g. lite-medsam")
    help_ = "folder for one file per case; the same command goes on with what is there"
    parser.add_argument("--output", type=Path, required=True, help=help_)
    help_ = "slabs of slices to search in each case (default %(default)s)"
    parser.add_argument("--slabs", type=int, default=4, help=help_)
    help_ = "stop after so many minutes, with what there is (default: no limit)"
    parser.add_argument("--minutes", type=float, default=math.inf, help=help_)
    parser.add_argument("--seed", type=int, default=0, help="of slabs and boxes (default %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--data", type=Path, help="folder with suite.json (default $TUMORSEG_DATA, or ../shared/data)")
    add_engine_arguments(parser, backend="torch")


def _add_export(parsers: Any) -> None:
    parser = add_command(parsers, "export", commands.run_export, "write a model folder from a run")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--output", type=Path, help="model folder (default TumorSegLib/bundled/NAME)")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="of the weights")


def _add_evaluate_auto(parsers: Any) -> None:
    parser = add_command(parsers, "evaluate-auto", commands.run_evaluate_auto, "measure an automatic model")
    _add_evaluation(parser)
    parser.add_argument("--mirror", action="store_true", help="average over mirror images")
    _add_record(parser)


def _add_evaluate_negatives(parsers: Any) -> None:
    help_ = "measure what an automatic model marks in images without a sarcoma"
    parser = add_command(parsers, "evaluate-negatives", commands.run_evaluate_negatives, help_)
    parser.add_argument("--model", required=True, help="name or folder of the model that is measured")
    parser.add_argument(
        "--use", choices=("validate", "test"), default="test", help="which images (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the whole report here, .json")
    parser.add_argument("--data", type=Path, help="folder with suite.json (default $TUMORSEG_DATA, or ../shared/data)")
    add_engine_arguments(parser, backend="torch")
    _add_record(parser)


def _add_evaluate_clicks(parsers: Any) -> None:
    help_ = "measure a refinement model by simulated clicks"
    parser = add_command(parsers, "evaluate-clicks", commands.run_evaluate_clicks, help_)
    _add_evaluation(parser, several=True)
    parser.add_argument(
        "--suite",
        choices=("general",),
        help="measure on objects of any kind, not on sarcomas; --model may repeat",
    )
    parser.add_argument("--use", choices=("validate", "test"), help="which tasks of the suite (default test)")
    parser.add_argument("--first-stage", help="automatic model whose masks are corrected too (default: none)")
    parser.add_argument("--clicks", type=int, default=10, help="clicks per case (default %(default)s)")
    parser.add_argument("--baselines", action="store_true", help="measure other methods on the same cases")
    parser.add_argument("--plot", type=Path, help="draw Dice over clicks here, .png")
    _add_record(parser)


def _add_evaluate_boxes(parsers: Any) -> None:
    parser = add_command(parsers, "evaluate-boxes", commands.run_evaluate_boxes, "measure a box model")
    _add_evaluation(parser)
    parser.add_argument("--refiner", help="refinement model that corrects the masks from boxes (default: none)")


def _add_evaluate_int8(parsers: Any) -> None:
    help_ = "measure what the copy of a model in int8 loses, beside float32"
    parser = add_command(parsers, "evaluate-int8", commands.run_evaluate_int8, help_)
    _add_cases(parser)
    _add_data(parser)
    _add_record(parser)


def _add_finetune(parsers: Any) -> None:
    parser = add_command(parsers, "finetune-sam", commands.run_finetune, "fine-tune the mask decoder of a box model")
    parser.add_argument("configuration", type=Path, help="TOML file, see training/configs/lite_medsam_sts.toml")
    parser.add_argument("--run-folder", dest="run", type=Path, help="folder of the run (default training/runs/NAME)")
    parser.add_argument("--output", type=Path, help="model folder (default model, in the folder of the run)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    _add_data(parser)
    add_device_argument(parser)


def _add_merge(parsers: Any) -> None:
    help_ = "merge a box model and several fine-tuned from it, layer by layer (MedSAMix)"
    parser = add_command(parsers, "merge-sam", commands.run_merge, help_)
    parser.add_argument("base", help="name or folder of the model that the others were fine-tuned from")
    parser.add_argument("models", nargs="+", help="names or folders of at least two fine-tuned models")
    help_ = "family of images to merge for, e.g. ct; may repeat (default: all in the data)"
    parser.add_argument("--task", action="append", default=[], help=help_)
    help_ = "of several tasks, make the mean Dice or that of the worst task large (default %(default)s)"
    parser.add_argument("--objective", choices=("mean", "worst"), default="mean", help=help_)
    parser.add_argument("--fold", type=int, default=0, help="held out, to measure on (default %(default)s)")
    help_ = "of the other folds, to calibrate each task on (default %(default)s)"
    parser.add_argument("--cases", type=int, default=8, help=help_)
    parser.add_argument("--slices", type=int, default=4, help="of each calibration image (default %(default)s)")
    help_ = "display window of a CT (default %(default)s)"
    parser.add_argument("--ct-window", choices=tuple(CT_WINDOWS), default=DEFAULT_CT_WINDOW, help=help_)
    help_ = "points to try beside the base, each model and their mean (default %(default)s)"
    parser.add_argument("--trials", type=int, default=60, help=help_)
    help_ = "search no longer; the same command goes on (default: no limit)"
    parser.add_argument("--minutes", type=float, default=math.inf, help=help_)
    parser.add_argument("--seed", type=int, default=0, help="of cases, slices and trials (default %(default)s)")
    parser.add_argument("--name", help="of the merged model (default BASE-merged)")
    help_ = "folder for trials and embeddings (default training/runs/NAME)"
    parser.add_argument("--run-folder", dest="run", type=Path, help=help_)
    parser.add_argument("--output", type=Path, help="model folder (default model, in the folder of the run)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    _add_data(parser)
    add_device_argument(parser)


def _add_cases(parser: argparse.ArgumentParser, several: bool = False) -> None:
    help_ = "name or folder of the model that is measured"
    parser.add_argument("--model", required=True, action="append" if several else "store", help=help_)
    parser.add_argument("--fold", type=int, help="only this fold (default: all cases)")


def _add_evaluation(parser: argparse.ArgumentParser, several: bool = False) -> None:
    _add_cases(parser, several)
    parser.add_argument("--roles", help="roles of the images, e.g. ct,pet (default: every subset; boxes: each role)")
    parser.add_argument("--json", type=Path, help="write the whole report here, .json")
    _add_data(parser)
    add_engine_arguments(parser, backend="torch")  # or figures would depend on what is the fastest here


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", action="store_true", help="write the summary to the model's model.json")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="data folder (default $TUMORSEG_DATA/sts, or ../shared/data/sts)")


if __name__ == "__main__":
    sys.exit(main())
