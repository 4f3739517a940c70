"""What the commands of ``python -m training`` do with their arguments; heavy packages are imported when one runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from TumorSegLib.cli.process import say
from TumorSegLib.errors import ArgumentError, WriteError

#: What measures a model, by its kind.
EVALUATIONS = {"auto": "evaluate-auto", "clicks": "evaluate-clicks", "box": "evaluate-boxes"}
#: Of output files, by the option that names them.
SUFFIXES = {"json": ".json", "plot": ".png"}


def run_plan(options: argparse.Namespace) -> None:
    """Checks a data set and writes the configuration of a model for it."""
    from training.plan.write import write_plan

    _set_threads(options.threads)
    planned = write_plan(options.dataset, options.output, options.memory, options.minutes)
    for note in planned.notes:
        say(f"note: {note}", "training")
    print(f"wrote {planned.configuration}\nwrote {planned.fingerprint}")


def run_train(options: argparse.Namespace) -> None:
    """Trains a model, or continues its training."""
    from training.config.train import read_configuration, with_test_fold
    from training.loop.train import train

    _set_threads(options.threads)
    configuration = read_configuration(options.configuration)
    run = _run_folder(options, configuration.model.name)
    if options.fold is not None:
        configuration = with_test_fold(configuration, options.fold)
        run = options.run or run / f"fold_{options.fold}"
    data = _data(options, configuration.data.folder) if configuration.objects is None else _root(options)
    train(configuration, data, run, options.device, options.precision, options.minutes)


def run_cross_validate(options: argparse.Namespace) -> None:
    """Trains a model per fold, and measures each on the fold that it has not seen."""
    from training.config.train import read_configuration
    from training.cross_validate import SUMMARY, cross_validate, format_folds

    _set_threads(options.threads)
    configuration = read_configuration(options.configuration)
    run, data = _run_folder(options, configuration.model.name), _data(options, configuration.data.folder)
    summary = cross_validate(configuration, data, run, options.device, options.precision, options.minutes)
    if summary is None:
        print(f"{run}: stopped after {options.minutes:g} minutes; the same command goes on")
    else:
        print(format_folds(summary))
        print(f"wrote {run / SUMMARY}")


def run_sheet(options: argparse.Namespace) -> None:
    """Draws contact sheets of the sources of objects."""
    from training.config.train import read_configuration
    from training.objects.sheet import write_sheets

    configuration = read_configuration(options.configuration)
    for path in write_sheets(configuration, _root(options), options.output):
        print(f"wrote {path}")


def run_suggest_objects(options: argparse.Namespace) -> None:
    """Has a box model suggest objects in the images that may train."""
    from training.config.train import DataSettings
    from training.objects.library import read_library
    from training.sam.suggest import SuggestPlan, suggest
    from TumorSegLib.files import make_folder

    _set_threads(options.threads)
    plan = SuggestPlan(options.slabs, options.seed, options.minutes)
    engine = _engine(options, "box")
    make_folder(options.output)
    counts = suggest(engine, read_library(_root(options), DataSettings().test_fold), options.output, plan)
    total = ", ".join(f"{role}: {count}" for role, count in counts.most_common())
    print(f"wrote {options.output}: {counts.total()} objects{total and ' (' + total + ')'}")


def run_export(options: argparse.Namespace) -> None:
    """Writes the model folder of a run."""
    from training.config.train import parse_configuration
    from training.export import export
    from training.loop.checkpoint import load_checkpoint

    name = parse_configuration(load_checkpoint(options.run)["configuration"], str(options.run)).model.name
    default = Path(__file__).resolve().parents[1] / "TumorSegLib" / "bundled" / name
    print(f"wrote {export(options.run, options.output or default, options.dtype)}")


def run_evaluate_auto(options: argparse.Namespace) -> None:
    """Measures an automatic model."""
    from training.evaluation.automatic import evaluate_folder, format_table
    from training.export import record_results

    _check_outputs(json=options.json)
    engine = _engine(options, "auto")
    subsets = _role_list(options) or engine.spec.role_subsets
    report = evaluate_folder(engine, _data(options), options.fold, subsets, options.mirror)
    print(format_table(report))
    _write_report(options, report)
    if options.record:
        record_results(_folder(options.model), _repeated(options, "fold", "roles", "mirror"), report)


def run_evaluate_negatives(options: argparse.Namespace) -> None:
    """Measures what an automatic model marks in images without a sarcoma."""
    from training.evaluation.negatives import evaluate_negatives, format_negatives
    from training.export import record_negatives

    _check_outputs(json=options.json)
    report = evaluate_negatives(_engine(options, "auto"), _root(options), options.use)
    print(format_negatives(report))
    _write_report(options, report)
    if options.record:
        record_negatives(_folder(options.model), _repeated(options, "use"), report)


def run_evaluate_clicks(options: argparse.Namespace) -> None:
    """Measures refinement models by simulated clicks."""
    _check_outputs(json=options.json, plot=options.plot)
    if options.suite is not None:
        _evaluate_suite(options)
    elif len(options.model) > 1 or options.use is not None:
        raise ArgumentError("several --model and --use are for --suite general; the sarcomas measure one model")
    else:
        options.model = options.model[0]
        _evaluate_sarcomas(options)


def _evaluate_suite(options: argparse.Namespace) -> None:
    from training.evaluation.baselines import check_installed
    from training.evaluation.plot import write_suite_curve
    from training.evaluation.suite import evaluate_suite, format_suite
    from training.export import record_suite
    from TumorSegLib.engines.load import load_engine

    values = {name: getattr(options, name) for name in ("fold", "roles", "first_stage")}
    given = [name for name, value in values.items() if value is not None]
    if given:
        raise ArgumentError(f"--{given[0].replace('_', '-')} is for the sarcomas, not for --suite {options.suite}")
    models, use = options.model, options.use or "test"
    engines = {}
    for options.model in models:
        name = Path(options.model).name
        if name in engines:
            raise ArgumentError(f"--model {options.model}: two models are called {name!r}; rename the folder of one")
        engines[name] = _engine(options, "clicks")
    boxes = None
    if options.baselines:
        check_installed()
        boxes = load_engine("lite-medsam", options.device, options.precision, options.backend, kind="box")
    report = evaluate_suite(engines, _root(options), use, options.clicks, boxes)
    print(format_suite(report))
    _write_report(options, report)
    if options.plot:
        write_suite_curve(report, options.plot)
    if options.record:
        options.model, options.use = models[0], use
        command = _repeated(options, "suite", "use", "clicks")
        record_suite(_folder(options.model), command, report["methods"][Path(models[0]).name])


def _evaluate_sarcomas(options: argparse.Namespace) -> None:
    from training.evaluation.automatic import role_subsets
    from training.evaluation.baselines import check_installed
    from training.evaluation.clicks import ClickPlan, evaluate_clicks, format_clicks, load_forgetful
    from training.evaluation.plot import write_curve
    from training.export import record_clicks
    from TumorSegLib.engines.load import load_engine

    refiner, auto, forgetful = _engine(options, "clicks"), None, None
    if options.first_stage:
        auto = load_engine(options.first_stage, options.device, options.precision, options.backend, kind="auto")
    if options.baselines:
        check_installed()
        forgetful = load_forgetful(options.model, options.device, options.precision, refiner)
    subsets = _role_list(options) or role_subsets(refiner.spec)
    report = evaluate_clicks(ClickPlan(options.clicks, refiner, auto, forgetful), _data(options), options.fold, subsets)
    print(format_clicks(report))
    _write_report(options, report)
    if options.plot:
        write_curve(report, options.plot)
    if options.record:
        settings = "first_stage", "clicks", "fold", "roles", "baselines"
        record_clicks(_folder(options.model), _repeated(options, *settings), report)


def run_evaluate_boxes(options: argparse.Namespace) -> None:
    """Measures a box model."""
    from training.evaluation.boxes import EVALUATED_ROLES, BoxPlan, evaluate_boxes, format_boxes
    from TumorSegLib.engines.load import load_engine

    _check_outputs(json=options.json)
    engine, refiner = _engine(options, "box"), None
    if options.refiner:
        refiner = load_engine(options.refiner, options.device, options.precision, options.backend, kind="clicks")
    roles = options.roles.split(",") if options.roles is not None else EVALUATED_ROLES
    report = evaluate_boxes(BoxPlan(engine, refiner), _data(options), options.fold, roles)
    print(format_boxes(report))
    _write_report(options, report)


def run_evaluate_int8(options: argparse.Namespace) -> None:
    """Measures what the copy of a model in int8 loses."""
    from training.evaluation.int8 import evaluate_int8, format_int8, record_int8

    model = _folder(options.model)
    figures = evaluate_int8(model, _data(options), options.fold)
    print(format_int8(figures))
    if options.record:
        record_int8(model, _repeated(options, "fold"), figures)


def run_finetune(options: argparse.Namespace) -> None:
    """Fine-tunes the mask decoder of a box model."""
    from training.config.finetune import read_finetune_configuration
    from training.sam.finetune import finetune, format_report
    from TumorSegLib.files import write_text

    _set_threads(options.threads)
    configuration = read_finetune_configuration(options.configuration)
    run = _run_folder(options, configuration.model.name)
    output = options.output or run / "model"
    report = finetune(configuration, _data(options), run, output, options.device)
    write_text(run / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(format_report(report))
    print(f"wrote {output}")


def run_merge(options: argparse.Namespace) -> None:
    """Merges box models of one architecture."""
    from training.config.finetune import FinetuneData
    from training.sam.merge.merge import MergePlan, format_merge, merge
    from training.sam.merge.search import SearchSettings
    from TumorSegLib.files import write_text

    _set_threads(options.threads)
    name = options.name or f"{Path(options.base).name}-merged"
    plan = MergePlan(
        name=name,
        tasks=tuple(options.task),
        objective=options.objective,
        fold=options.fold,
        cases=options.cases,
        slices=FinetuneData(options.slices, ct_window=options.ct_window),
        search=SearchSettings(options.trials, options.minutes, options.seed),
    )
    run = _run_folder(options, name)
    output = options.output or run / "model"
    report = merge([options.base, *options.models], plan, _data(options), run, output, options.device)
    write_text(run / "report.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(format_merge(report))
    print(f"wrote {output}: {report['best']}, the best of {report['trials']} trials")


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        if threads < 1:
            raise ArgumentError(f"--threads {threads} must be at least 1")
        torch.set_num_threads(threads)


def _data(options: argparse.Namespace, configured: str = "") -> Path:
    from training.data.cases import default_folder

    return options.data or (Path(configured) if configured else default_folder())


def _root(options: argparse.Namespace) -> Path:
    from training.data.cases import default_root

    return options.data or default_root()


def _run_folder(options: argparse.Namespace, name: str) -> Path:
    return options.run or Path(__file__).parent / "runs" / name


def _check_outputs(**paths: Path | None) -> None:
    """Checks before hours of work that the outputs can be written."""
    for name, path in paths.items():
        if path and path.suffix != SUFFIXES[name]:
            raise ArgumentError(f"--{name} {path}: the name must end in {SUFFIXES[name]}")
        if path and not path.parent.is_dir():
            raise WriteError(f"--{name} {path}: the folder {path.parent} does not exist")
        if path and path.is_dir():
            raise WriteError(f"--{name} {path}: is a folder")


def _engine(options: argparse.Namespace, kind: str) -> Any:
    """The engine of ``--model``; the command that measures it is named where it is of another kind."""
    from TumorSegLib.engines.load import load_engine

    found = _folder(options.model).spec.kind
    if found != kind:
        raise ArgumentError(
            f"--model {options.model} is of kind {found!r}, {options.command} needs {kind!r}; use {EVALUATIONS[found]}"
        )
    return load_engine(  # type: ignore[call-overload]
        options.model, options.device, options.precision, options.backend, kind=kind
    )


def _folder(model: str) -> Any:
    from TumorSegLib.models.registry import find_model

    return find_model(model)


def _role_list(options: argparse.Namespace) -> Sequence[tuple[str, ...]]:
    return [tuple(options.roles.split(","))] if options.roles is not None else []


def _write_report(options: argparse.Namespace, report: Mapping[str, Any]) -> None:
    from TumorSegLib.files import write_text

    if options.json:
        write_text(options.json, json.dumps(report, indent=1, allow_nan=False) + "\n")


def _repeated(options: argparse.Namespace, *settings: str) -> str:
    """The command that repeats an evaluation, without device, data folder and outputs."""
    parts = [f"python -m training {options.command} --model {Path(options.model).name}"]
    for name in settings:
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value is True:
            parts.append(option)
        elif value is not None and value is not False:  # 0 is a fold
            parts.append(f"{option} {Path(value).name if name == 'first_stage' else value}")
    return " ".join(parts)
