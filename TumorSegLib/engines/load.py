"""From a model folder to an engine ready to run."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, overload

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.networks.sam import Sam, build_sam
from TumorSegLib.engines.networks.unets import build_network
from TumorSegLib.engines.runtime import choose_runtime
from TumorSegLib.errors import ModelError, ResourceError, WriteError
from TumorSegLib.memory import is_out_of_memory
from TumorSegLib.models.registry import find_model
from TumorSegLib.models.spec import ModelSpec, check_kind


@overload
def load_engine(
    name_or_path: str | os.PathLike[str], device: str = ..., precision: str = ..., *, kind: Literal["auto"]
) -> AutoEngine: ...


@overload
def load_engine(
    name_or_path: str | os.PathLike[str], device: str = ..., precision: str = ..., *, kind: Literal["clicks"]
) -> ClickEngine: ...


@overload
def load_engine(
    name_or_path: str | os.PathLike[str], device: str = ..., precision: str = ..., *, kind: Literal["box"]
) -> BoxEngine: ...


@overload
def load_engine(
    name_or_path: str | os.PathLike[str], device: str = ..., precision: str = ..., *, kind: None = ...
) -> Any: ...


def load_engine(
    name_or_path: str | os.PathLike[str], device: str = "auto", precision: str = "auto", *, kind: str | None = None
) -> AutoEngine | ClickEngine | BoxEngine:
    """Loads a model by name or folder.

    Args:
        name_or_path: a name as ``tumorseg models list`` shows it, or the path of a model folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (bfloat16 where the device computes it natively), ``float32``, ``bfloat16`` or ``float16``.
        kind: ``auto``, ``clicks`` or ``box``, where only that will do; whatever the model is by default.

    Returns:
        An :class:`~TumorSegLib.engines.auto.engine.AutoEngine` for a model of kind ``auto``, a
        :class:`~TumorSegLib.engines.clicks.engine.ClickEngine` for kind ``clicks``, a
        :class:`~TumorSegLib.engines.box.engine.BoxEngine` for kind ``box``.

    Raises:
        ModelError: no such model, it is of another kind, or its weights are missing, corrupt or not those it was
            published with.
        ArgumentError: device or precision is unknown.
        ResourceError: this machine has no such device.
    """
    runtime = choose_runtime(device, precision)
    spec = find_model(name_or_path).spec
    if kind is not None:
        check_kind(spec, kind)
    network = load_network(name_or_path)
    if isinstance(network, Sam):
        return BoxEngine(spec, network, runtime)
    return AutoEngine(spec, network, runtime) if spec.kind == "auto" else ClickEngine(spec, network, runtime)


def load_network(name_or_path: str | os.PathLike[str]) -> nn.Module:
    """The bare network of a model in evaluation mode, float32 on the CPU; raises :class:`ModelError`."""
    model = find_model(name_or_path)
    model.verify()
    network = _build(model.spec)
    read_weights(network, model.weights, model.spec)
    return network.eval()


def _build(spec: ModelSpec) -> nn.Module:
    if spec.kind != "box":
        return build_network(spec)
    arguments = {key: value for key, value in spec.arguments.items() if key != "pixels"}
    return build_sam(spec.network, arguments, spec.name)


def read_weights(network: nn.Module, path: Path, spec: ModelSpec) -> None:
    """Fills a network with weights from a safetensors file; raises :class:`ModelError` where they do not fit.

    Without the memory for them it raises :class:`ResourceError`.
    """
    try:
        load_model(network, path)
    except (SafetensorError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            raise ResourceError(f"not enough memory to load {spec.name!r}: {error}") from error
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
