"""From merged weights to a model folder that says what it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from training.sam.export import card_of, indented, origin_of
from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.weights import write_weights
from TumorSegLib.models.folder import ModelFolder, write_model_folder
from TumorSegLib.models.spec import ModelSpec

VERSION = "1.0.0"


def write_merged_model(
    folders: Sequence[ModelFolder], network: Sam, name: str, report: Mapping[str, Any], output: Path
) -> None:
    """Writes description, weights and card, all at once or not at all.

    Args:
        folders: of the models that were merged, the base first; licences and training data are handed on.
        network: the merged one.
        name: of the new model.
        report: of :func:`training.sam.merge.merge.merge`.
        output: the model folder; folders above it are made.

    Raises:
        WriteError: the folder cannot be written; what was there before is unchanged.
    """
    spec = _described([folder.spec for folder in folders], name, report)
    write_model_folder(output, spec, partial(write_weights, network), _card(folders, spec, report))


def command_of(report: Mapping[str, Any]) -> str:
    """The command that repeats a merge, without data folder, device and outputs."""
    plan, search = report["plan"], report["plan"]["search"]
    tasks = "".join(f" --task {task}" for task in report["tasks"])
    return (
        f"python -m training merge-sam {' '.join(report['models'])}{tasks} --objective {plan['objective']} "
        f"--fold {plan['fold']} --cases {plan['cases']} --slices {plan['slices']['slices_per_case']} "
        f"--trials {search['trials']} --seed {search['seed']}"
    )


def _described(specs: Sequence[ModelSpec], name: str, report: Mapping[str, Any]) -> ModelSpec:
    base, *others = specs
    sources = [source for spec in specs for source in spec.training_data]
    sources += [origin_of(spec, "merged weights") for spec in specs]
    figures = {
        task: {model: {key: round(f[key], 4) for key in ("median", "mean", "worst")} for model, f in models.items()}
        for task, models in report["held_out"].items()
    }
    return replace(
        base,
        name=name,
        version=VERSION,
        # An expression of SPDX: all of them hold.
        licence=" AND ".join(dict.fromkeys(spec.licence for spec in specs)),
        description=f"{base.name}, merged layer by layer with {', '.join(spec.name for spec in others)}",
        made_for="; ".join(dict.fromkeys(spec.made_for for spec in specs if spec.made_for)),
        training_data=tuple({str(source): source for source in sources}.values()),
        results={
            command_of(report): {
                "measure": "Dice from a loose box in 3D",
                "fold": report["plan"]["fold"],
                "held_out": figures,
                "calibration": {
                    model: {task: round(dice, 4) for task, dice in scores.items()}
                    for model, scores in report["calibration"].items()
                },
                "coefficients": report["coefficients"],
            }
        },
    )


def _card(folders: Sequence[ModelFolder], spec: ModelSpec, report: Mapping[str, Any]) -> str:
    others, tasks = [folder.spec.name for folder in folders[1:]], list(report["tasks"])
    coefficients = [
        f"| {group} | {' | '.join(f'{row[model]:.3f}' for model in others)} |\n"
        for group, row in report["coefficients"].items()
    ]
    figures = [
        f"| {model} | {' | '.join(f'{scores[task]:.3f}' for task in tasks)} | "
        f"{' | '.join(_median_and_mean(report['held_out'][task][model]) for task in tasks)} |\n"
        for model, scores in report["calibration"].items()
    ]
    titles = [*(f"{task}, calibration" for task in tasks), *(f"{task}, held out" for task in tasks)]
    sources = [f"- {s['name']} ({s.get('licence', '')}). {s.get('attribution', '')}\n" for s in spec.training_data]
    cards = [f"## {folder.spec.name}\n\n{indented(card_of(folder))}" for folder in folders]
    return (
        f"# {spec.name}\n\n{spec.description}\n\n**{DISCLAIMER}**\n\n"
        f"- licence: {spec.licence}; the cards of the models are below\n"
        f"- coefficients by MedSAMix (Yang et al. 2025, arXiv:2508.11032), best of {report['trials']} trials: "
        f"{report['best']}\n\n"
        f"## Coefficients\n\n| layers | {' | '.join(others)} |\n|---|{'---|' * len(others)}\n{''.join(coefficients)}\n"
        "## Dice from a loose box\n\nMean over images of their calibration slices; median (mean) of the cases of fold "
        f"{report['plan']['fold']}, in 3D.\n\n"
        f"| model | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}\n{''.join(figures)}\n"
        f"## Training data\n\n{''.join(sources)}\n" + "\n".join(cards)
    )


def _median_and_mean(figures: Mapping[str, float]) -> str:
    return f"{figures['median']:.3f} ({figures['mean']:.3f})"
