"""MONAI bundles made into model folders: weights without a pickle, description, card."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import warnings
from collections.abc import Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.engines.importers.bundles.configuration import read_configuration, read_table
from TumorSegLib.engines.importers.bundles.files import BundleFiles, open_bundle
from TumorSegLib.engines.importers.bundles.plan import BundlePlan, make_plan, weights_name
from TumorSegLib.engines.importers.descriptions import NOT_STATED, Description, text_of
from TumorSegLib.engines.importers.pickles import assign, read_pickle
from TumorSegLib.engines.networks.monai_nets import build_monai
from TumorSegLib.engines.weights import write_weights
from TumorSegLib.errors import ModelError, ResourceError
from TumorSegLib.memory import is_out_of_memory
from TumorSegLib.models.folder import ModelFolder, sha256_of, write_model_folder
from TumorSegLib.models.foreign import METADATA
from TumorSegLib.models.registry import new_model_folder
from TumorSegLib.models.spec import ModelSpec

MODELS, PICKLE, TORCHSCRIPT = "models", "model.pt", "model.ts"
#: Where weights lie in a checkpoint that has more than them.
_WITHIN = ("model", "state_dict", "network", "net")


def import_bundle(path: Path, name: str, *, allow_torchscript: bool = False) -> ModelFolder:
    """Makes an automatic model in the user's folder of models from a MONAI bundle, 0.9 and later.

    Args:
        path: of the bundle, a folder or a zip, with ``configs/metadata.json``, ``configs/inference.json`` (or
            ``.yaml``, ``.yml``) and ``models/model.pt``; it is read without executing anything, and not changed.
        name: of the model.
        allow_torchscript: read ``models/model.ts`` where there is no other file of weights. TorchScript is a program,
            which PyTorch loads into this process; the weights alone are kept.

    Raises:
        ArgumentError: the name is not a valid folder name or is taken.
        ModelError: the bundle is incomplete, damaged, needs code, or has what is not supported; it is named.
        ResourceError: memory does not suffice.
        WriteError: the model's folder cannot be written; nothing is left behind.
    """
    target = new_model_folder(name)
    files = open_bundle(path)
    metadata = Description(read_table(files, METADATA), f"{path}, {METADATA}")
    configuration = read_configuration(files)
    plan = make_plan(metadata, configuration)
    file = _weights_file(files, weights_name(configuration), allow_torchscript)
    content = files.weights(file)
    tensors = _tensors(files.where / file, content, allow_torchscript)
    network = _filled(plan, tensors, f"{path}, {file}")
    digest = sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
    spec = _described(name, plan, metadata, path, {file: digest})
    return write_model_folder(target, spec, partial(write_weights, network), _card(spec, plan))


def _weights_file(files: BundleFiles, named: str, allow_torchscript: bool) -> str:
    """The file of weights that the configuration loads, or the usual one; TorchScript only where it is allowed."""
    for each in dict.fromkeys((f"{MODELS}/{named or PICKLE}", f"{MODELS}/{PICKLE}")):
        if files.has(each) and not each.endswith(".ts"):
            return each
    scripted = f"{MODELS}/{TORCHSCRIPT}"
    if not files.has(scripted):
        raise ModelError(f"{files.where}: {MODELS}/{named or PICKLE} is missing; not a complete MONAI bundle")
    if not allow_torchscript:
        raise ModelError(
            f"{files.where}: has its weights in {scripted} alone, which is a program that PyTorch loads and may "
            "execute; if you trust where it comes from, add --allow-torchscript"
        )
    return scripted


def _tensors(path: Path, content: Path | bytes, allow_torchscript: bool) -> dict[str, torch.Tensor]:
    if path.suffix == ".ts" and allow_torchscript:
        return _scripted(path, content)
    found = read_pickle(path, "a checkpoint's", content if isinstance(content, bytes) else None)
    for key in _WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = found if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in tensors.items()):
        raise ModelError(f"{path}: has no named tensors, at the top level or under {', '.join(_WITHIN)}")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _scripted(path: Path, content: Path | bytes) -> dict[str, torch.Tensor]:
    source = str(content) if isinstance(content, Path) else io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch has export instead, bundles have not
            scripted: torch.nn.Module = torch.jit.load(source, map_location="cpu")  # type: ignore[no-untyped-call]
            return dict(scripted.state_dict())
    except Exception as error:  # a damaged file may raise errors of any type
        if is_out_of_memory(error):
            raise ResourceError(f"{path}: not enough memory to read it: {error}") from error
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: is not TorchScript, or is damaged: {reason}") from error


def _filled(plan: BundlePlan, tensors: Mapping[str, torch.Tensor], where: str) -> torch.nn.Module:
    """The network with its weights, in evaluation mode."""
    named = {f"network.{name}": tensor for name, tensor in tensors.items()}
    network = _unfilled(plan)
    _check_windows(network, plan)
    assign(network, named, where, f"its weights are of another network than {plan.network} as network_def describes it")
    return network.eval()


def _unfilled(plan: BundlePlan) -> torch.nn.Module:
    """On the meta device, so that no memory is taken before the weights are known to fit, where the network can be."""
    try:
        with torch.device("meta"):
            network = build_monai(plan.network, plan.arguments)
    except ModelError:  # some compute with numbers while they are built
        network = None
    kept = set() if network is None else set(network.state_dict())
    if network is not None and all(
        name in kept for name, _ in chain(network.named_parameters(), network.named_buffers())
    ):
        return network
    with torch.random.fork_rng(devices=[]):
        return build_monai(plan.network, plan.arguments)


def _check_windows(network: torch.nn.Module, plan: BundlePlan) -> None:
    """Refuses windows that the network does not map to its channels; nothing is computed."""
    taken, trial = plan.input, copy.deepcopy(network).to("meta").eval()
    with torch.inference_mode():
        try:
            shape = tuple(trial(torch.zeros(1, len(taken.channels), *taken.patch, device="meta")).shape)
        except Exception as error:  # networks and torch raise errors of many types
            reason = f"{type(error).__name__}: {error}"
            raise ModelError(f"{plan.network} cannot take windows of {taken.patch}: {reason[:300]}") from error
    if shape != (1, taken.out_channels, *taken.patch):
        raise ModelError(
            f"{plan.network} answers windows of {taken.patch} by {shape[1:]}, {taken.out_channels} labels "
            "of the same size are needed"
        )


def _described(name: str, plan: BundlePlan, metadata: Description, path: Path, digests: Mapping[str, str]) -> ModelSpec:
    values = metadata.values
    bundle = text_of(values, "name") or (path.stem if path.is_file() else path.resolve().name)
    purpose = f"{', '.join(list(plan.labels)[:4])}{', ...' if len(plan.labels) > 4 else ''}"
    version = text_of(values, "version")
    return ModelSpec(
        name=name,
        version=version if re.fullmatch(r"\d+\.\d+\.\d+", version) else "1.0.0",
        licence=text_of(values, "license", "licence") or NOT_STATED,
        description=text_of(values, "description", "task") or f"MONAI bundle {bundle}: {purpose}",
        input=plan.input,
        labels=plan.labels,
        network=plan.network,
        arguments=json.loads(json.dumps(plan.arguments)),
        training_data=(
            {
                "name": text_of(values, "data_source") or NOT_STATED,
                "licence": text_of(values, "data_license", "data_licence") or NOT_STATED,
                "attribution": text_of(values, "copyright", "authors") or NOT_STATED,
            },
        ),
        made_for=f"{purpose} (labels of {bundle})",
        source=_source(values, bundle, version, digests),
    )


def _source(values: Mapping[str, Any], bundle: str, version: str, digests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "program": "MONAI bundle",
        "bundle": bundle,
        "bundle_version": version or NOT_STATED,
        "monai_version": text_of(values, "monai_version") or NOT_STATED,
        "authors": text_of(values, "authors") or NOT_STATED,
        "sha256": dict(digests),
    }


def _card(spec: ModelSpec, plan: BundlePlan) -> str:
    taken, source, data = plan.input, spec.source, spec.training_data[0]
    channels = ", ".join(f"{role} ({name})" for role, name in taken.channels.items())
    kind = "Regions, which may overlap" if taken.regions else "Labels"
    lines = [
        f"- From: MONAI bundle {source['bundle']} {source['bundle_version']}, made with MONAI "
        f"{source['monai_version']}, by {source['authors']}",
        f"- Images: {channels}",
        f"- {kind}: {', '.join(f'{name} ({value})' for name, value in spec.labels.items())}",
        f"- Preparation: {', '.join(step.name for step in taken.steps) or 'none'}",
        f"- Licence of the weights: {spec.licence}",
        f"- Training data: {data['name']}; licence: {data['licence']}; {data['attribution']}",
        *(f"- Differs: {note}" for note in plan.notes),
        *(f"- Converted from {file}, sha256 {digest}" for file, digest in source["sha256"].items()),
    ]
    return (
        f"# {spec.name}\n\n{spec.description}\n\n**{DISCLAIMER}**\n\n"
        + "\n".join(lines)
        + "\n\nThe weights are those of the bundle, converted to safetensors. Images are prepared, windows blended and "
        "answers turned back as the bundle's configuration says; nothing was measured by TumorSeg.\n"
    )
