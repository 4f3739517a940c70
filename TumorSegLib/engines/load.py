"""From a model folder to an engine ready to run."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import shorten

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from TumorSegLib.engines.auto import AutoEngine
from TumorSegLib.engines.device import choose_runtime
from TumorSegLib.engines.networks import build_network
from TumorSegLib.errors import ModelError, WriteError
from TumorSegLib.registry import ModelSpec, find_model


def load_engine(name_or_path: str | os.PathLike[str], device: str = "auto", precision: str = "auto") -> AutoEngine:
    """Loads a model by name or folder.

    Args:
        name_or_path: a name as ``tumorseg models list`` shows it, or the path of a model folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (bfloat16 where the device computes it natively), ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ModelError: no such model, or its weights are missing, corrupt or not those it was published with.
        ArgumentError: device or precision is unknown.
        ResourceError: this machine has no such device.
    """
    runtime = choose_runtime(device, precision)
    model = find_model(name_or_path)
    if model.spec.kind != "auto":
        raise ModelError(f"model {model.spec.name!r} is of kind {model.spec.kind!r}; this version runs kind 'auto'")
    model.verify()
    network = build_network(model.spec)
    read_weights(network, model.weights, model.spec)
    return AutoEngine(model.spec, network, runtime)


def read_weights(network: nn.Module, path: Path, spec: ModelSpec) -> None:
    """Fills a network with weights from a safetensors file; raises :class:`ModelError` where they do not fit."""
    try:
        load_model(network, path)
    except (SafetensorError, RuntimeError, OSError) as error:
        # torch lists every tensor; the first few say what kind of mismatch it is.
        reason = shorten(str(error), 300)
        raise ModelError(f"model {spec.name!r}: {path} does not hold weights for {spec.network}: {reason}") from error


def write_weights(network: nn.Module, path: Path) -> None:
    """Writes the weights of a network as safetensors, each tensor once even where modules share it.

    Raises:
        WriteError: the folder does not exist or is not writable, or the disk is full.
    """
    try:
        save_model(network, str(path))
        path.chmod(0o644)  # safetensors makes it readable by nobody else, and models are there to be shared
    except (SafetensorError, OSError) as error:
        raise WriteError(f"{path}: weights cannot be written: {error}") from error
