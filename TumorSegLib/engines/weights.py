"""Loads networks from model folders and writes weights to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import nn

from TumorSegLib.engines.networks.monai_nets import build_monai_model
from TumorSegLib.engines.networks.nnunet import build_nnunet
from TumorSegLib.engines.networks.sam import build_sam
from TumorSegLib.engines.networks.unets import build_network
from TumorSegLib.errors import ModelError, ResourceError, WriteError
from TumorSegLib.memory import is_out_of_memory
from TumorSegLib.models.folder import ModelFolder
from TumorSegLib.models.monai import MonaiInput
from TumorSegLib.models.nnunet import NnunetInput
from TumorSegLib.models.spec import ModelSpec, SliceInput


def load_network(model: ModelFolder) -> nn.Module:
    """The network of a model with its weights, in evaluation mode, float32 on the CPU.

    Raises:
        ModelError: the weights are missing, corrupt or those of another network, or the network is unknown.
        ResourceError: memory does not suffice.
    """
    spec = model.spec
    try:
        tensors = load(model.verified_weights())
        network = _build(spec)
        _fill(network, tensors)
    except (SafetensorError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise ResourceError(f"not enough memory to load {spec.name!r}: {error}") from error
        # torch lists every tensor; the first few say what kind of mismatch it is.
        reason = shorten(str(error), 300)
        raise ModelError(
            f"model {spec.name!r}: {model.weights} does not hold weights for {spec.network}: {reason}"
        ) from error
    return network.eval()


def _build(spec: ModelSpec) -> nn.Module:
    if isinstance(spec.input, SliceInput):
        return build_sam(spec.network, spec.arguments, spec.name)
    if isinstance(spec.input, NnunetInput):
        return build_nnunet(spec)
    if isinstance(spec.input, MonaiInput):
        return build_monai_model(spec)
    return build_network(spec)


def write_weights(network: nn.Module, path: Path) -> None:
    """Writes the weights of a network as safetensors, each tensor once even where modules share it.

    The same weights give the same bytes, so their checksum tells whether a model is another one.

    Raises:
        WriteError: the folder does not exist or is not writable, or the disk is full.
    """
    try:
        named = network.state_dict(keep_vars=True)
        once = {id(named[name]): name for name in sorted(named, reverse=True)}
        save_file(
            {name: named[name].detach().cpu().clone(memory_format=torch.contiguous_format) for name in once.values()},
            str(path),
        )
        path.chmod(0o644)  # safetensors makes it readable by its owner only, but models are shared
    except (SafetensorError, OSError) as error:
        raise WriteError(f"{path}: weights cannot be written: {error}") from error


def _fill(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Fills a network with tensors by name; a tensor shared by several modules may appear under any one of its names.

    Raises:
        RuntimeError: names or shapes are not the network's.
    """
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    own = network.state_dict(keep_vars=True)
    filled = {id(own[name]) for name in own.keys() & tensors.keys()}
    missing = [name for name in missing if id(own[name]) not in filled]
    if missing or unexpected:
        raise RuntimeError(f"missing {missing}, unexpected {unexpected}")


def why_refused(error: Exception) -> str:
    """The message of ``torch.load`` without its advice to disable the check, which would execute code in the file."""
    text = str(error)
    if "weights_only" in text:  # the cause, if present, follows the advice
        text = (
            text.rpartition("WeightsUnpickler error:")[2] if "WeightsUnpickler error:" in text else "not only tensors"
        )
    return f"{type(error).__name__}: {text.strip().splitlines()[0] if text.strip() else 'no reason given'}"
