"""The commands ``tumorseg models``."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from TumorSegLib.cli.common import require_network_memory
from TumorSegLib.cli.entry import add_command
from TumorSegLib.errors import ArgumentError, ModelError, ResourceError
from TumorSegLib.jobs import progress_bar
from TumorSegLib.models.catalogue import CATALOGUE, describe, find_entry
from TumorSegLib.models.folder import CARD_FILE, ModelFolder
from TumorSegLib.models.registry import find_model, list_models
from TumorSegLib.models.totalsegmentator import find_trainings, weights_folder


def add_models_commands(commands: Any) -> None:
    """Adds ``models`` with its actions to the commands of ``tumorseg``."""
    models = commands.add_parser(
        "models", help="list, show, verify, download or add models", description="Manage models."
    )
    actions = models.add_subparsers(required=True, metavar="ACTION")
    add_command(actions, "list", _list, "list the models found, and trainings of TotalSegmentator to add")
    for name, run, help_ in (
        ("show", _show, "print a model's description and card, and what would run it on this computer"),
        ("verify", _verify, "compare a model's weights with their checksum"),
    ):
        add_command(actions, name, run, help_).add_argument("name", help="name or folder of a model")
    optimised = add_command(actions, "optimise", _optimise, "make a copy in int8 beside a model's weights, for CPUs")
    optimised.add_argument("name", help="name or folder of an automatic model or one for clicks")
    optimised.add_argument(
        "--calibrate",
        metavar="DIR",
        help="folder of cases like those of the training: <case>_<role>.nii.gz and, for clicks, <case>_gtv.nii.gz; "
        "those of fold 0 in its splits.json are left out (default: synthetic cases)",
    )
    download = add_command(actions, "download", _download, "download a published SAM or MedSAM to the user's models")
    download.add_argument("name", help=f"one of {', '.join(CATALOGUE)}")
    _add_import(actions)


def _add_import(actions: Any) -> None:
    add = add_command(actions, "add", _add, "make a model of a checkpoint, an nnU-Net training or a MONAI bundle")
    add.add_argument("name", help="of the model; that of a published one only for its own checkpoint")
    given = add.add_mutually_exclusive_group(required=True)
    given.add_argument("--weights", metavar="FILE", help="checkpoint of SAM, MedSAM or LiteMedSAM, .pth; not changed")
    given.add_argument(
        "--nnunet",
        metavar="FOLDER",
        help="training of nnU-Net v2, e.g. Dataset003_Liver/nnUNetTrainer__nnUNetPlans__3d_fullres, or of "
        "TotalSegmentator; not changed",
    )
    given.add_argument(
        "--monai",
        metavar="FOLDER_OR_ZIP",
        help="MONAI bundle of MONAI 0.9 or later; nothing in it is executed or changed",
    )
    add.add_argument("--folds", help="of the nnU-Net training, e.g. 0,1,2,3,4 or all (default: those there are)")
    add.add_argument("--checkpoint", help="of the nnU-Net training: final, best or latest (default: final)")
    add.add_argument(
        "--allow-torchscript",
        action="store_true",
        help="of a MONAI bundle, read models/model.ts where it has no other weights; TorchScript is a program that "
        "PyTorch loads and may execute: only from a source you trust",
    )
    add.add_argument(
        "--pixels",
        default="",
        help="unit (values from 0 to 1, as MedSAM) or imagenet (as Meta's SAM); needed unless the name or the network "
        "decides it",
    )


def _list(_: argparse.Namespace) -> None:
    models = list_models()
    addable = [each for each in find_trainings() if each.name not in {model.spec.name for model in models}]
    if not models:
        raise ModelError("no models found: neither bundled nor in $TUMORSEG_MODELS (default ~/.tumorseg/models)")
    for model in models:
        spec = model.spec
        print(f"{spec.name:<16} {spec.kind:<7} {spec.version:<8} {spec.licence:<12} {spec.description}")
    if addable:
        print(f"\nTotalSegmentator has trainings on this computer, in {weights_folder()}, that can be added:")
    for each in addable:
        print(f"tumorseg models add {each.name} --nnunet {shlex.quote(str(each.path))}")
        print(f"    {each.title}; licence: {each.licence}")


def _show(options: argparse.Namespace) -> None:
    model = find_model(options.name)
    print(json.dumps(model.spec.to_dict(), indent=2))
    card = model.path / CARD_FILE
    if card.is_file():
        print(f"\n{card.read_text(encoding='utf-8')}")
    print(f"\nOn this computer: {_backend(model)}.", flush=True)


def _backend(model: ModelFolder) -> str:
    """What would run a model here, and why."""
    try:
        require_network_memory()
    except ResourceError as error:
        return f"back end not known, {error}"
    from TumorSegLib.engines.backends.choice import describe_choice  # imports torch, which takes seconds

    return describe_choice(model)


def _verify(options: argparse.Namespace) -> None:
    model: ModelFolder = find_model(options.name)
    model.verify()
    copy = "" if model.spec.int8 is None else "; so does the copy in int8"
    print(f"{model.spec.name} {model.spec.version}: weights match their checksum {model.spec.weights_sha256}{copy}")


def _optimise(options: argparse.Namespace) -> None:
    from TumorSegLib.cli.optimise import optimise  # imports readers and the phantom

    optimise(options)


def _download(options: argparse.Namespace) -> None:
    entry = find_entry(options.name)
    if any(model.spec.name == entry.name for model in list_models()):
        model = find_model(entry.name)
        model.verify()
        print(f"{entry.name}: already there, in {model.path}; its weights match their checksum")
        return
    print(describe(entry), flush=True)
    require_network_memory()
    from TumorSegLib.engines.importers.sam import download_model  # imports torch, which takes seconds

    with progress_bar("Downloading") as progress:
        model = download_model(entry.name, progress)
    _print_ready(model)


# What is for one source of a model only.
_ONLY_FOR = {"folds": "nnunet", "checkpoint": "nnunet", "allow_torchscript": "monai", "pixels": "weights"}


def _add(options: argparse.Namespace) -> None:
    source = next(name for name in ("weights", "nnunet", "monai") if getattr(options, name) is not None)
    for name, own in _ONLY_FOR.items():
        if getattr(options, name) not in (None, "", False) and own != source:
            raise ArgumentError(f"--{name.replace('_', '-')} is for --{own}, not for --{source}")
    require_network_memory()
    if source == "weights":
        from TumorSegLib.engines.importers.sam import import_checkpoint  # imports torch, which takes seconds

        _print_ready(import_checkpoint(Path(options.weights), options.name, options.pixels))
        return
    _print_imported(_imported(options, source))


def _imported(options: argparse.Namespace, source: str) -> ModelFolder:
    """An automatic model from the folder of another program."""
    if source == "monai":
        from TumorSegLib.engines.importers.bundles.model import import_bundle  # as above

        return import_bundle(Path(options.monai), options.name, allow_torchscript=options.allow_torchscript)
    from TumorSegLib.engines.importers.nnunet import import_nnunet  # as above

    folds = options.folds.split(",") if options.folds is not None else None
    return import_nnunet(Path(options.nnunet), options.name, folds, options.checkpoint or "final")


def _print_imported(model: ModelFolder) -> None:
    _print_ready(model)
    spec = model.spec
    channels = [f"{role} (its channel {name!r})" for role, name in spec.channel_names.items()]
    print(f"images: {', '.join(channels)}; labels: {', '.join(spec.labels)}; licence: {spec.licence}")


def _print_ready(model: ModelFolder) -> None:
    spec = model.spec
    print(f"{spec.name}: {spec.network}, ready in {model.path}; weights sha256 {spec.weights_sha256}")
