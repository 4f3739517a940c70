"""MedSAMix: box models merged layer by layer, without training, by coefficients that score well on a few slices.

Yang et al., "MedSAMix: A Training-Free Model Merging Approach for Medical Image Segmentation", 2025
(arXiv:2508.11032). For one task or for several at once. There the way of merging is searched for, too, by SMAC; here
it is task arithmetic, see :mod:`training.sam.merge.mixture`, and CMA-ES searches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from training.config.finetune import FinetuneData, check_model_name
from training.config.loader import check_range
from training.evaluation.boxes import ELLIPSOID, measure_loose_boxes
from training.evaluation.summary import summarise
from training.sam.examples import Choice
from training.sam.export import check_output
from training.sam.finetune import EMBEDDINGS, load_sam
from training.sam.merge.calibration import Calibration, Task, find_tasks
from training.sam.merge.export import write_merged_model
from training.sam.merge.mixture import Mixture, check_alike
from training.sam.merge.search import SearchSettings, Trial, TrialFile, best_of, import_cmaes, search
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import choose_runtime
from TumorSegLib.errors import ArgumentError
from TumorSegLib.files import make_folder
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.models.folder import ModelFolder

#: Of several tasks, what the search makes large.
OBJECTIVES: Mapping[str, Callable[[Sequence[float]], float]] = {"mean": mean, "worst": min}
MERGED, MEAN = "merged", "uniform mean"
TRIALS = "trials.json"
LEAST_TUNED = 2


@dataclass(frozen=True)
class MergePlan:
    """What to merge for, and how.

    Attributes:
        name: of the merged model.
        tasks: families of images; all of the data if empty.
        objective: one of :data:`OBJECTIVES`, over tasks.
        fold: whose cases are held out.
        cases: that calibrate each task.
        slices: how many of each of their images, and how boxes are drawn on them.
        search: how long to search.
    """

    name: str
    tasks: tuple[str, ...]
    objective: str
    fold: int
    cases: int
    slices: FinetuneData
    search: SearchSettings

    def __post_init__(self) -> None:
        check_model_name(self.name)
        check_range(self, 1, 1e9, "cases")
        if self.objective not in OBJECTIVES:
            raise ArgumentError(f"objective = {self.objective!r} is not one of {', '.join(OBJECTIVES)}")


@dataclass(frozen=True)
class Sources:
    """Models to merge, the base first, with their networks and what differs between these."""

    folders: Sequence[ModelFolder]
    networks: Sequence[Sam]
    mixture: Mixture

    @classmethod
    def load(cls, names_or_paths: Sequence[str]) -> Sources:
        """Loads the models and checks that they can be merged."""
        if len(names_or_paths) <= LEAST_TUNED:
            given = ", ".join(names_or_paths)
            raise ArgumentError(f"a base and at least {LEAST_TUNED} models fine-tuned from it are needed, not {given}")
        models = [load_sam(each) for each in names_or_paths]
        names = [folder.spec.name for folder, _ in models]
        if len(set(names)) < len(names):
            raise ArgumentError(f"models {', '.join(names)}: two have the same name")
        check_alike(models)
        folders, networks = zip(*models)
        mixture = Mixture.of(networks)
        if not mixture.groups:
            raise ArgumentError(f"models {', '.join(names)} have the same weights; there is nothing to merge")
        return cls(folders, networks, mixture)

    @property
    def names(self) -> list[str]:
        """Of the models."""
        return [folder.spec.name for folder in self.folders]

    def known_points(self) -> dict[str, Float64Array]:
        """Coefficients of the base, of each model alone, and of the mean of these."""
        groups, models = len(self.mixture.groups), len(self.folders) - 1
        points = [np.zeros(models), *np.eye(models), np.full(models, 1 / models)]
        return {name: np.tile(point, (groups, 1)) for name, point in zip([*self.names, MEAN], points)}

    def merged(self, coefficients: Float64Array) -> Sam:
        """The network that coefficients make."""
        return self.mixture.fill(copy.deepcopy(self.networks[0]), coefficients)

    def mean(self) -> Sam:
        """The mean of the fine-tuned models."""
        return self.merged(self.known_points()[MEAN])


def merge(
    models: Sequence[str], plan: MergePlan, data: Path, run: Path, output: Path, device: str = "auto"
) -> dict[str, Any]:
    """Merges models of one architecture, measures each and the merged one, and writes that.

    The search begins with the base, each model and their mean, so that none of these scores more on the calibration
    slices than the merged model; on the held-out cases one may.

    Args:
        models: names or folders of a box model and of those that were fine-tuned from it.
        plan: what for, and how.
        data: data folder, see :mod:`training.data.cases`.
        run: folder for embeddings and trials; the same merge finds there what it has tried.
        output: the model folder, written last and in one step.
        device: as for ``load_engine``.

    Returns:
        JSON-ready: ``models``, ``plan``, ``tasks``, ``coefficients`` by group and model, ``best`` (name of the trial),
        ``trials``, ``calibration``: mean Dice by model and task, ``held_out``: median, mean, worst and every case's.

    Raises:
        ModelError: a model is missing, of another kind, or of another architecture than the base.
        ArgumentError: fewer than two models beside the base, two of one name, all the same, the folder of the run has
            other trials, the output is something else, or ``cmaes`` is not installed.
        RoleError: a task has no cases.
        ReadError, GeometryError: data cannot be read.
        WriteError: the folders cannot be written; no model is left half-written.
    """
    import_cmaes()
    sources = Sources.load(models)
    if plan.name in sources.names:
        raise ArgumentError(f"name = {plan.name!r} is that of a model to merge; the new one needs its own")
    check_output(output, plan.name)
    tasks = find_tasks(data, plan.fold, plan.tasks, plan.cases, plan.search.seed)
    runtime = choose_runtime(device)
    make_folder(run / EMBEDDINGS)
    file = TrialFile(run / TRIALS, _settings(sources, plan, tasks))
    choice = Choice([role for task in tasks for role in task.roles], plan.slices, plan.search.seed)
    calibration = Calibration(sources.folders[0].spec, runtime, choice, data, tasks)
    if not sources.mixture.changes_encoder:
        calibration.encode(sources.networks[0], run / EMBEDDINGS)

    trials = _searched(sources, plan, calibration, file)
    merged = sources.merged(np.array(best_of(trials).coefficients))
    networks = {**dict(zip(sources.names, sources.networks)), MEAN: sources.mean(), MERGED: merged}
    engines = {name: BoxEngine(sources.folders[0].spec, network, runtime) for name, network in networks.items()}
    held_out = _measure(engines, data, tasks, plan.slices.ct_window, sources.mixture.changes_encoder)
    report = _report(sources, plan, tasks, trials, held_out)
    write_merged_model(sources.folders, merged, plan.name, report, output)
    return report


def _searched(sources: Sources, plan: MergePlan, calibration: Calibration, file: TrialFile) -> list[Trial]:
    working = copy.deepcopy(sources.networks[0]).to(calibration.device)
    return search(
        sources.known_points(),
        lambda point: calibration.scores(sources.mixture.fill(working, point)),
        lambda scores: OBJECTIVES[plan.objective](list(scores.values())),
        file,
        plan.search,
    )


def _settings(sources: Sources, plan: MergePlan, tasks: Sequence[Task]) -> dict[str, Any]:
    """What trials depend on; not how many there are."""
    return {
        "models": {folder.spec.name: folder.spec.weights_sha256 for folder in sources.folders},
        "tasks": {task.name: [list(task.roles), list(task.calibration)] for task in tasks},
        "objective": plan.objective,
        "slices": asdict(plan.slices),
        "seed": plan.search.seed,
    }


def _measure(
    engines: Mapping[str, BoxEngine], data: Path, tasks: Sequence[Task], ct_window: str, changes_encoder: bool
) -> dict[str, dict[str, Any]]:
    """Dice from loose boxes by task and method, on the held-out cases."""
    measured: dict[str, dict[str, Any]] = {}
    for task in tasks:
        measure = partial(measure_loose_boxes, data=data, names=task.held_out, roles=task.roles, ct_window=ct_window)
        rows: dict[str, list[dict[str, Any]]] = {}
        # Slices are encoded once for all engines of one call.
        for some in [{name: engine} for name, engine in engines.items()] if changes_encoder else [engines]:
            for role, methods in measure(some).items():
                for method, figures in methods.items():
                    rows.setdefault(method, []).extend(
                        {"case": f"{case}_{role}", "dice": dice} for case, dice in figures["cases"].items()
                    )
        measured[task.name] = {
            method: {**summarise(some), "cases": {row["case"]: row["dice"] for row in some}}
            for method, some in rows.items()
        }
    return measured


def _report(
    sources: Sources, plan: MergePlan, tasks: Sequence[Task], trials: Sequence[Trial], held_out: Mapping[str, Any]
) -> dict[str, Any]:
    best = best_of(trials)
    calibration = {trial.name: dict(trial.scores) for trial in trials[: len(sources.names) + 1]}
    return {
        "models": {
            folder.spec.name: {"version": folder.spec.version, "weights_sha256": folder.spec.weights_sha256}
            for folder in sources.folders
        },
        "plan": {**asdict(plan), "search": {"trials": plan.search.trials, "seed": plan.search.seed}},
        "tasks": {task.name: asdict(task) for task in tasks},
        "coefficients": {
            group: dict(zip(sources.names[1:], row)) for group, row in zip(sources.mixture.groups, best.coefficients)
        },
        "best": best.name,
        "trials": len(trials),
        "calibration": {**calibration, MERGED: dict(best.scores)},
        "held_out": dict(held_out),
    }


def format_merge(report: Mapping[str, Any]) -> str:
    """Mean Dice of each model by task, on the calibration slices and on the held-out cases, as lines of text."""
    tasks, held_out = list(report["tasks"]), report["held_out"]
    names = {name: name for name in report["calibration"]}
    names[next(iter(names))] += " (before)"
    width = max(map(len, [*names.values(), ELLIPSOID, "Dice, mean"])) + 2
    columns = [f"{task}{end}" for end in (", calibration", ", held out") for task in [*tasks, "all"]]
    lines = [f"{'Dice, mean':<{width}}" + "".join(f"{column:>18}" for column in columns)]
    for name, title in names.items():
        seen = [report["calibration"][name][task] for task in tasks]
        unseen = [held_out[task][name]["mean"] for task in tasks]
        figures = [*seen, mean(seen), *unseen, mean(unseen)]
        lines.append(f"{title:<{width}}" + "".join(f"{figure:>18.3f}" for figure in figures))
    return "\n".join(lines)
