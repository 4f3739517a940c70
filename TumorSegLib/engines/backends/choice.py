"""The fastest way to run a network on this CPU: measured with one window at first use, and kept per machine."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import nn

from TumorSegLib.engines.backends.cache import cache_folder
from TumorSegLib.engines.backends.openvino import BackendError, LeftOutError, load_openvino, openvino_dtypes
from TumorSegLib.engines.backends.sam import CONVERTED
from TumorSegLib.engines.networks.unets import channel_count
from TumorSegLib.engines.placement import Network, Placement
from TumorSegLib.engines.processor import describe_processor, has_int8
from TumorSegLib.engines.runtime import INT8, OPENVINO, TORCH, Runtime, choose_runtime
from TumorSegLib.errors import ArgumentError, ModelError, WriteError
from TumorSegLib.files import make_folder, write_text
from TumorSegLib.jobs import timed
from TumorSegLib.models.folder import ModelFolder
from TumorSegLib.models.spec import ModelSpec

FILE = "backends.json"
#: Choices that are kept, of models and settings of this machine; the oldest go first.
MOST_KEPT = 64
# Passes of each candidate, after one that is not counted; the fastest counts, as the machine may be busy.
PASSES = 3
# Where all first passes together take longer, as with the large windows of nnU-Net, they alone count: what they do
# besides computing, a second or two, decides nothing then, and the user waits.
LONG_SECONDS = 20.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        name: of the candidate, e.g. ``openvino bfloat16``.
        seconds: by the name of each candidate, for one window or slice.
    """

    name: str
    seconds: Mapping[str, float]

    @property
    def reason(self) -> str:
        """Why, as text."""
        times = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in self.seconds.items())
        return f"the fastest here for one window or slice: {times}"


def choose_backend(model: ModelFolder, network: nn.Module, runtime: Runtime, backend: str, precision: str) -> Runtime:
    """The runtime with the backend that is asked for, or the fastest one.

    Args:
        model: its folder.
        network: float32 on the CPU, in evaluation mode; not changed.
        runtime: device and number type for PyTorch.
        backend: ``auto``, ``torch`` or ``openvino``.
        precision: as the user asked for it; ``auto`` lets OpenVINO's number types compete as well, and int8 where the
            model has a copy that was measured to answer as the network, see
            :class:`~TumorSegLib.models.int8.Int8Copy`.

    Raises:
        ArgumentError: OpenVINO, or int8, is asked for where it does not run.
        ModelError: int8 is asked for, and the model has no copy, or a damaged one.
    """
    if precision == INT8:
        return _in_int8(model, runtime, backend)
    if backend == TORCH:
        return runtime
    if runtime.device.type != "cpu" or precision == "float16":
        if backend == OPENVINO:
            raise ArgumentError(
                f"OpenVINO runs on the CPU, in float32 or bfloat16, not on {runtime.name} in {runtime.precision}; "
                "leave the backend out, or give device cpu and another precision"
            )
        return runtime
    try:
        named, problem = _candidates(model, runtime, precision)
    except BackendError as error:
        expected = isinstance(error, LeftOutError) and backend != OPENVINO
        note = "" if expected else f"{model.spec.name} ran on PyTorch: {error}."
        return replace(runtime, reason=f"PyTorch, as {error}", note=note)
    if backend == OPENVINO:
        return next(each for each in named.values() if each.backend == OPENVINO)
    return _fastest(model.spec, network, named, problem)


def describe_choice(model: ModelFolder) -> str:
    """What would run a model on this computer with the default settings, and why, as text; nothing is measured."""
    spec, runtime = model.spec, choose_runtime()
    if runtime.device.type != "cpu":
        return f"{TORCH} {runtime.precision} on {runtime.name}"
    try:
        named, problem = _candidates(model, runtime, "auto")
    except BackendError as error:
        return f"{TORCH} {runtime.precision} on cpu; PyTorch, as {error}"
    if spec.int8 is not None and not spec.int8.holds:
        problem = f"its copy in int8 runs with --precision int8 only, as it may answer otherwise: {spec.int8.doubt}"
    choice = _usable(_read().get(_key(spec, named)), named)
    if choice is None:
        chosen = f"not measured yet; the first run measures {', '.join(named)} on cpu and takes the fastest"
    else:
        chosen = f"{choice.name} on cpu; {choice.reason}"
    return f"{chosen}; {problem.rstrip('.')}" if problem else chosen


def _in_int8(model: ModelFolder, runtime: Runtime, backend: str) -> Runtime:
    """The runtime of the copy in int8, which was asked for."""
    model.verified_int8()
    if runtime.device.type != "cpu" or backend == TORCH:
        raise ArgumentError(
            f"int8 runs on the CPU, on OpenVINO, not on {runtime.name} with backend {backend}; "
            "leave the backend out, or give another precision"
        )
    try:
        load_openvino()
    except BackendError as error:
        raise ArgumentError(f"int8 runs on OpenVINO, and {error}; give another precision") from error
    return Runtime(runtime.device, torch.int8, OPENVINO, model.path)


def _candidates(model: ModelFolder, runtime: Runtime, precision: str) -> tuple[dict[str, Runtime], str]:
    """PyTorch and what OpenVINO can do beside it, by name; raises :class:`BackendError` where it can do nothing.

    Also a sentence on a copy in int8 that would be used but is damaged; empty where there is none.
    """
    load_openvino()
    spec = model.spec
    if spec.kind == "box" and spec.network not in CONVERTED:
        raise LeftOutError(f"{spec.network} is too large to keep a converted copy")
    if spec.kind == "box" and runtime.dtype is not torch.float32:
        # Convolutions and residual sums must stay float32, see networks/tiny_vit.py, and OpenVINO takes one for all.
        raise LeftOutError(f"OpenVINO would move contours in {runtime.precision}")
    dtypes = openvino_dtypes() if precision == "auto" else (runtime.dtype,)
    candidates, problem = [runtime, *(Runtime(runtime.device, dtype, OPENVINO) for dtype in dtypes)], ""
    if precision == "auto" and spec.int8 is not None and spec.int8.holds and has_int8():
        try:
            model.verified_int8()
            candidates.append(Runtime(runtime.device, torch.int8, OPENVINO, model.path))
        except ModelError as error:
            problem = f"Its copy in int8 was not used: {error}."
    return {f"{each.backend} {each.precision}": each for each in candidates}, problem


def _key(spec: ModelSpec, named: Iterable[str]) -> str:
    """What a choice is kept under; another where the processor, a version, the weights or the candidates differ."""
    versions = [torch.__version__, load_openvino().__version__]
    copy = spec.int8.constants_sha256 if spec.int8 is not None else ""
    identity = [describe_processor(), *versions, spec.weights_sha256, copy, *named]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def _fastest(spec: ModelSpec, network: nn.Module, named: Mapping[str, Runtime], problem: str) -> Runtime:
    """The fastest runtime, from the file of this machine or measured now; its note is the problem, or that met here."""
    key, kept = _key(spec, named), _read()
    choice = _usable(kept.get(key), named)
    if choice is None:
        choice, failure = _measured(spec, network, named)
        problem = failure or problem
        if not failure:  # what failed now, as on a full disk, is tried again the next time
            entries = {**{old: value for old, value in kept.items() if old != key}, key: vars(choice)}
            _write(dict(list(entries.items())[-MOST_KEPT:]))
    return replace(named[choice.name], reason=choice.reason, note=problem)


def _measured(spec: ModelSpec, network: nn.Module, named: Mapping[str, Runtime]) -> tuple[Choice, str]:
    """What is the fastest now, and a sentence on a back end that failed; empty where none did.

    They take turns, so that what else the machine computes for a while slows all of them down.
    """
    placed = {name: Placement(spec, network, each, mixed=spec.kind == "box") for name, each in named.items()}
    passes = {name: _pass(spec, placed[name].network(each), each) for name, each in named.items()}
    seconds: dict[str, float] = {}
    first: dict[str, float] = {}
    for number in range(1 + PASSES):
        for name in [each for each in passes if not placed[each].notes]:
            try:
                taken = _seconds(passes[name])
            except BackendError as error:
                placed[name].leave_openvino(error)
                seconds.pop(name, None)
                continue
            if number:  # the first pass compiles the network
                seconds[name] = min(taken, seconds.get(name, taken))
            else:
                first[name] = taken
        if number == 0 and sum(first.values()) > LONG_SECONDS:
            seconds = first
            break
    problem = "".join([note for each in placed.values() for note in each.notes][-1:])
    choice = Choice(min(seconds, key=lambda name: seconds[name]), seconds)
    _log.info("%s: %s is the fastest here, seconds %s", spec.name, choice.name, dict(seconds))
    return choice, problem


def _pass(spec: ModelSpec, network: Network, runtime: Runtime) -> Callable[[], object]:
    """What is timed: a slice encoded and decoded by a model for boxes, a window by any other."""
    if spec.kind == "box":
        size = network.image_size
        image, box = torch.zeros(1, 3, size, size), torch.tensor([[0.25, 0.25, 0.75, 0.75]]) * size
        return lambda: network.decode(network.encode(image), box)
    window = runtime.batch(torch.zeros(1, channel_count(spec), *spec.patch))
    return lambda: network(window)


def _seconds(work: Callable[[], object]) -> float:
    """Of one pass."""
    with torch.inference_mode():
        return timed(work)[1]


def _usable(kept: object, named: Mapping[str, Runtime]) -> Choice | None:
    """What the file says, where it is one of the candidates, each with its seconds."""
    if not isinstance(kept, dict) or kept.get("name") not in list(named) or not isinstance(kept.get("seconds"), dict):
        return None
    name, seconds = kept["name"], kept["seconds"]
    measured = all(isinstance(each, float) and 0 <= each < math.inf for each in seconds.values())
    return Choice(name, seconds) if measured and seconds.keys() == named.keys() else None


def _read() -> dict[str, object]:
    try:
        found = json.loads((cache_folder() / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(choices: Mapping[str, object]) -> None:
    """Keeps the choices; where the folder is read-only they are measured again the next time."""
    with suppress(WriteError):
        make_folder(cache_folder())
        write_text(cache_folder() / FILE, json.dumps(choices, indent=1))
