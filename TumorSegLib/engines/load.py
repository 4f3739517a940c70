"""From a model folder to an engine ready to run."""

from __future__ import annotations

import os
from typing import Any, Literal, overload

from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.backends.choice import choose_backend
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.clicks.any_image import AnyImageEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.imported.engine import ImportedEngine
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import BACKENDS, INT8, PRECISIONS, choose_runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError
from TumorSegLib.models.registry import find_model
from TumorSegLib.models.spec import AnyImageInput, ImportedInput, check_kind


@overload
def load_engine(
    name_or_path: str | os.PathLike[str],
    device: str = ...,
    precision: str = ...,
    backend: str = ...,
    *,
    kind: Literal["auto"],
) -> AutoEngine | ImportedEngine: ...


@overload
def load_engine(
    name_or_path: str | os.PathLike[str],
    device: str = ...,
    precision: str = ...,
    backend: str = ...,
    *,
    kind: Literal["clicks"],
) -> ClickEngine | AnyImageEngine: ...


@overload
def load_engine(
    name_or_path: str | os.PathLike[str],
    device: str = ...,
    precision: str = ...,
    backend: str = ...,
    *,
    kind: Literal["box"],
) -> BoxEngine: ...


@overload
def load_engine(
    name_or_path: str | os.PathLike[str],
    device: str = ...,
    precision: str = ...,
    backend: str = ...,
    *,
    kind: None = ...,
) -> Any: ...


def load_engine(
    name_or_path: str | os.PathLike[str],
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    *,
    kind: str | None = None,
) -> AutoEngine | ImportedEngine | ClickEngine | AnyImageEngine | BoxEngine:
    """Loads a model by name or folder.

    Args:
        name_or_path: a name as ``tumorseg models list`` shows it, or the path of a model folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (the fastest that the device computes natively), ``float32``, ``bfloat16``, ``float16``, or
            ``int8`` for a model that has a copy in it.
        backend: what runs the network on a CPU: ``torch``, ``openvino``, or ``auto``, the fastest that is installed,
            which is measured once per machine and model. Of the models for boxes LiteMedSAM runs on OpenVINO, in
            float32 only; the others, and bfloat16, always run on PyTorch.
        kind: ``auto``, ``clicks`` or ``box``, if the model must be of that kind; any kind by default.

    Returns:
        ``AutoEngine``, ``ImportedEngine``, ``ClickEngine``, ``AnyImageEngine`` or ``BoxEngine``.

    Raises:
        ModelError: no such model, it is of another kind, or its weights are missing, corrupt or not those it was
            published with.
        ArgumentError: device, precision or backend is unknown, or OpenVINO, int8 or float16 is asked for where it does
            not run.
        ResourceError: this machine has no such device.
    """
    if backend not in BACKENDS:
        raise ArgumentError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if precision not in (*PRECISIONS, INT8):
        raise ArgumentError(f"precision {precision!r} is not one of {', '.join((*PRECISIONS, INT8))}")
    runtime = choose_runtime(device, "auto" if precision == INT8 else precision)
    model = find_model(name_or_path)
    spec = model.spec
    if kind is not None:
        check_kind(spec, kind)
    if spec.kind == "box" and precision == INT8:
        raise ArgumentError(f"model {spec.name!r} is for boxes and does not run in int8; give another precision")
    network = load_network(model)
    runtime = choose_backend(model, network, runtime, backend, precision)
    if isinstance(network, Sam):
        return BoxEngine(spec, network, runtime)
    if isinstance(spec.input, ImportedInput):
        return ImportedEngine(spec, network, runtime)
    if isinstance(spec.input, AnyImageInput):
        return AnyImageEngine(spec, network, runtime)
    return AutoEngine(spec, network, runtime) if spec.kind == "auto" else ClickEngine(spec, network, runtime)
