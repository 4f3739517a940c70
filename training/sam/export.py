"""From a fine-tuned box model to a model folder that says what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from training.config.finetune import FinetuneConfiguration
from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.weights import write_weights
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.models.catalogue import CATALOGUE
from TumorSegLib.models.folder import CARD_FILE, ModelFolder, read_model_folder, write_model_folder
from TumorSegLib.models.spec import ModelSpec


def check_output(output: Path, name: str) -> None:
    """Raises :class:`ArgumentError` unless a folder is free, or holds an older model of that name to be replaced."""
    if not output.exists():
        return
    try:
        found = read_model_folder(output).spec.name
    except ModelError as error:
        raise ArgumentError(f"{output} is there already and no model folder; choose another --output") from error
    if found != name:
        raise ArgumentError(
            f"{output} holds the model {found!r}, which {name!r} would replace; choose another --output"
        )


def write_tuned_model(
    base: ModelFolder,
    network: Sam,
    configuration: FinetuneConfiguration,
    report: Mapping[str, Any],
    output: Path,
) -> None:
    """Writes description, weights and card, all at once or not at all.

    Args:
        base: the model that fine-tuning began with; licence, training data and card are handed on.
        network: the new one.
        configuration: what it was trained on.
        report: of :func:`training.sam.finetune.finetune`.
        output: the model folder; folders above it are made.

    Raises:
        WriteError: the folder cannot be written; what was there before is unchanged.
    """
    spec = _described(base, configuration, report)
    card = _card(base, spec, configuration, report)
    write_model_folder(output, spec, partial(write_weights, network), card)


def origin_of(spec: ModelSpec, what: str) -> dict[str, str]:
    """A model as an entry of the training data of another, whose ``what`` it is."""
    entry = CATALOGUE.get(spec.name)
    return {
        "name": f"{what}: {spec.name} {spec.version}, sha256 {spec.weights_sha256}",
        "licence": spec.licence,
        "attribution": entry.attribution if entry else f"see the card of {spec.name} in {CARD_FILE}",
    }


def _described(base: ModelFolder, configuration: FinetuneConfiguration, report: Mapping[str, Any]) -> ModelSpec:
    model, old = configuration.model, base.spec
    origin = origin_of(old, "initial weights")
    figures = {
        role: {m: {name: round(f[name], 4) for name in ("median", "mean", "worst")} for m, f in methods.items()}
        for role, methods in report["roles"].items()
    }
    cases = {role: len(next(iter(methods.values()))["cases"]) for role, methods in report["roles"].items()}
    return replace(
        old,
        name=model.name,
        version=model.version,
        description=model.description,
        made_for=model.made_for,
        training_data=(*old.training_data, origin, *configuration.training_data),
        results={
            f"python -m training finetune-sam {configuration.origin}": {
                "measure": "Dice from a loose box in 3D",
                "fold": configuration.data.test_fold,
                "cases": cases,
                "roles": figures,
            }
        },
    )


def _card(base: ModelFolder, spec: ModelSpec, configuration: FinetuneConfiguration, report: Mapping[str, Any]) -> str:
    old, settings = base.spec, configuration.optimisation
    rows = [
        f"| {role} | {len(methods['after']['cases'])} | "
        + " | ".join(f"{methods[m]['median']:.3f} ({methods[m]['mean']:.3f})" for m in ("ellipsoid", "before", "after"))
        + " |\n"
        for role, methods in report["roles"].items()
    ]
    sources = [f"- {s['name']} ({s['licence']}). {s['attribution']}\n" for s in configuration.training_data]
    return (
        f"# {spec.name}\n\n{spec.description}\n\n"
        f"**{DISCLAIMER}**\n\n"
        f"- licence: {spec.licence}, that of {old.name} {old.version}, with which training began; its card is below\n"
        f"- changed: the mask decoder alone, in {settings.steps} steps of {settings.batch} slices, on "
        f"{report['slices']} slices of {len(report['cases'])} cases ({', '.join(configuration.roles)})\n\n"
        f"## Training data\n\n{''.join(sources)}\n"
        "## Dice from a loose box in 3D\n\n"
        f"Median (mean) of {_cases_text(configuration)}; the ellipsoid inscribed in the box has not seen the "
        "image.\n\n"
        "| image | cases | ellipsoid | before | after |\n|---|---|---|---|---|\n"
        f"{''.join(rows)}\n"
        f"## The model it was made from\n\n{indented(card_of(base))}"
    )


def _cases_text(configuration: FinetuneConfiguration) -> str:
    fold = configuration.data.test_fold
    return "cases that it was not trained on, " + ("chosen at random" if fold is None else f"of fold {fold}")


def card_of(model: ModelFolder) -> str:
    """The card of a model; its name and description where it has none."""
    file = model.path / CARD_FILE
    spec = model.spec
    return file.read_text(encoding="utf-8") if file.is_file() else f"# {spec.name}\n\n{spec.description}\n"


def indented(card: str) -> str:
    """Headings two levels further down."""
    return "".join(f"##{line}" if line.startswith("#") else line for line in card.splitlines(keepends=True))
