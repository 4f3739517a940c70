"""Trainings of nnU-Net v2 made into model folders: weights without a pickle, description, card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.engines.importers.descriptions import NOT_STATED, Description, text_of
from TumorSegLib.engines.importers.nnunet_checkpoint import Checkpoint, fill, read_checkpoint
from TumorSegLib.engines.importers.nnunet_plans import Plan, make_plan, read_descriptions
from TumorSegLib.engines.networks.nnunet import NnunetEnsemble, build_fold, heads_of
from TumorSegLib.engines.weights import write_weights
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.models.folder import ModelFolder, sha256_of, write_model_folder
from TumorSegLib.models.foreign import single_training
from TumorSegLib.models.registry import new_model_folder
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.models.totalsegmentator import Training, training_of

CHECKPOINTS = ("final", "best", "latest")


def import_nnunet(
    folder: Path, name: str, folds: Sequence[str] | None = None, checkpoint: str = "final"
) -> ModelFolder:
    """Makes an automatic model in the user's folder of models from a training of nnU-Net v2.

    Args:
        folder: of the training, ``Trainer__Plans__Configuration``, with ``dataset.json``, ``plans.json`` and
            ``fold_*/checkpoint_*.pth``, or of a dataset with one training; it is read without executing anything, and
            not changed. Images for one of TotalSegmentator are turned to right-anterior-superior first, as it does.
        name: of the model.
        folds: whose networks are averaged, ``0`` to ``4`` or ``all``; all that there are by default.
        checkpoint: ``final``, ``best`` or ``latest``.

    Raises:
        ArgumentError: the name is not a valid folder name or is taken, or there is no such checkpoint or fold.
        ModelError: the folder is incomplete, of nnU-Net v1, a cascade, or has what is not supported.
        ResourceError: memory does not suffice.
        WriteError: the model's folder cannot be written; nothing is left behind.
    """
    target = new_model_folder(name)
    if checkpoint not in CHECKPOINTS:
        raise ArgumentError(f"checkpoint {checkpoint!r} is not one of {', '.join(CHECKPOINTS)}")
    folder = single_training(folder)
    dataset, plans = read_descriptions(folder)
    files = find_folds(folder, folds, checkpoint)
    found = [read_checkpoint(file) for file in files.values()]
    _check_alike(found)
    plan = make_plan(dataset, plans, found[0].configuration)
    spec = _described(name, plan, found, dataset, plans)
    spec = replace(spec, source={**_source(folder, found[0], plans), "sha256": _digests(files)})
    if (known := training_of(folder)) is not None:
        spec = _of_totalsegmentator(spec, known)
    network = NnunetEnsemble([_filled(spec, plan, each) for each in found])
    return write_model_folder(target, spec, partial(write_weights, network), _card(spec))


def _of_totalsegmentator(spec: ModelSpec, known: Training) -> ModelSpec:
    """With the licence of the task, for images turned as TotalSegmentator turns them."""
    source = {**spec.source, "program": "TotalSegmentator (nnU-Net v2)", "task": known.task or NOT_STATED}
    described = replace(spec, licence=known.licence, description=known.title, source=source)
    return described.with_input(reorient=True)


def find_folds(folder: Path, folds: Sequence[str] | None, checkpoint: str) -> dict[str, Path]:
    """The checkpoint of each fold by the fold's name.

    Raises:
        ArgumentError: a fold is asked for that is not there.
        ModelError: there is none, or, where none is asked for, one is missing between others or has no such checkpoint.
    """
    file = f"checkpoint_{checkpoint}.pth"
    there = sorted(path.name.removeprefix("fold_") for path in folder.glob("fold_*") if path.is_dir())
    complete = [fold for fold in there if (folder / f"fold_{fold}" / file).is_file()]
    others = sorted({path.stem.removeprefix("checkpoint_") for path in folder.glob("fold_*/checkpoint_*.pth")})
    having = f"{folder}: folds with {file} are {', '.join(complete) or 'none'}"
    if others and not complete:
        raise ModelError(f"{having}; there are checkpoints {', '.join(others)}, choose one with --checkpoint")
    if not complete:
        raise ModelError(f"{having}; the folder is incomplete, or the training has not finished")
    if folds is not None:
        unknown = [fold for fold in folds if fold not in complete]
        if unknown or not folds or len(set(folds)) < len(folds):
            raise ArgumentError(f"{having}; fold {', '.join(unknown or folds) or 'none'} was asked for")
        return {fold: folder / f"fold_{fold}" / file for fold in folds}
    numbered = [fold for fold in there if fold.isdigit()]
    wanted = [str(number) for number in range(max(map(int, numbered)) + 1)] if numbered else ["all"]
    if missing := [fold for fold in wanted if fold not in complete]:
        raise ModelError(
            f"{having}, of {', '.join(missing)} it is missing; copy the whole training, or choose with "
            f"--folds {','.join(fold for fold in complete)}"
        )
    return {fold: folder / f"fold_{fold}" / file for fold in wanted}


def _check_alike(checkpoints: Sequence[Checkpoint]) -> None:
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.configuration != first.configuration:
            raise ModelError(
                f"{other.path}: is of the configuration {other.configuration}, that of {first.path.parent.name} is of "
                f"{first.configuration}"
            )


def _described(
    name: str, plan: Plan, checkpoints: Sequence[Checkpoint], dataset: Description, plans: Description
) -> ModelSpec:
    first = checkpoints[0]
    offset = 3 - len(plan.input.spacing_mm)
    taken = replace(plan.input, folds=len(checkpoints), mirror_axes=tuple(axis + offset for axis in first.mirror_axes))
    licence, data = text_of(dataset.values, "licence", "license"), text_of(plans.values, "dataset_name") or NOT_STATED
    purpose = f"{', '.join(list(plan.labels)[:4])}{', ...' if len(plan.labels) > 4 else ''}"
    return ModelSpec(
        name=name,
        version="1.0.0",
        licence=f"{NOT_STATED} (data: {licence})" if licence else NOT_STATED,
        description=f"nnU-Net {first.configuration} of {data}: {purpose}",
        input=taken,
        labels=plan.labels,
        network=plan.network,
        arguments=json.loads(json.dumps(asdict(plan.shape))),
        training_data=(
            {
                "name": data,
                "licence": licence or NOT_STATED,
                "attribution": text_of(dataset.values, "reference", "description") or NOT_STATED,
            },
        ),
        made_for=f"{purpose} (labels of {data})",
    )


def _source(folder: Path, first: Checkpoint, plans: Description) -> dict[str, Any]:
    return {
        "program": "nnU-Net v2",
        "dataset": text_of(plans.values, "dataset_name") or NOT_STATED,
        "training": folder.resolve().name,
        "trainer": first.trainer,
        "configuration": first.configuration,
    }


def _digests(files: dict[str, Path]) -> dict[str, str]:
    return {f"fold_{fold}/{file.name}": sha256_of(file) for fold, file in files.items()}


def _filled(spec: ModelSpec, plan: Plan, checkpoint: Checkpoint) -> torch.nn.Module:
    with torch.device("meta"):
        network = build_fold(plan.network, len(spec.roles), heads_of(spec), plan.shape)
    fill(network, checkpoint, len(plan.shape.features_per_stage))
    return network


def _card(spec: ModelSpec) -> str:
    taken, source = spec.nnunet_input, spec.source
    data = spec.training_data[0]
    channels = ", ".join(f"{role} ({channel.name})" for role, channel in taken.channels.items())
    kind = "regions, which may overlap" if taken.regions else "labels"
    lines = [
        f"- Trained by: {source['program']}, {source['trainer']}, {source['configuration']}; folds: {taken.folds}",
        f"- Images: {channels}",
        f"- {kind.capitalize()}: {', '.join(f'{name} ({value})' for name, value in spec.labels.items())}",
        f"- Licence of the weights: {spec.licence}",
        f"- Training data: {data['name']}; licence: {data['licence']}; {data['attribution']}",
        *(f"- Converted from {file}, sha256 {digest}" for file, digest in source["sha256"].items()),
    ]
    return (
        f"# {spec.name}\n\n{spec.description}\n\n**{DISCLAIMER}**\n\n"
        + "\n".join(lines)
        + "\n\nThe weights are those of the checkpoints, converted to safetensors. Images are prepared, windows "
        "blended and answers resampled as nnU-Net does; nothing was measured by TumorSeg.\n"
    )
