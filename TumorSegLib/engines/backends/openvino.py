"""OpenVINO on a CPU: the 3D networks that ship take less than half of PyTorch's time, see docs/performance.md.

The network is converted once per machine and kept, see :mod:`TumorSegLib.engines.backends.cache`.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from TumorSegLib.engines.backends.cache import CachedModels
from TumorSegLib.engines.networks.unets import FIXED_SIZE, channel_count
from TumorSegLib.engines.processor import has_bfloat16
from TumorSegLib.errors import ModelError, WriteError
from TumorSegLib.models.folder import ModelFolder
from TumorSegLib.models.spec import ModelSpec

OLDEST = (2025, 0)
#: Names of torch's number types to those of OpenVINO's precision hint.
HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
# A converted network is traced at this size (voxels per axis) and tried at the model's own.
TRACED_AT = 32
#: Sizes of a tensor's axes; -1 where any can be computed.
Shape: TypeAlias = tuple[int, ...]
# Largest difference of the answers, as a share of the largest one, between PyTorch and a converted network in float32.
LARGEST_DIFFERENCE = 1e-3
# Sizes of windows that stay compiled; each takes a quarter of a second and a copy of the weights.
MOST_COMPILED = 4

_loading = threading.Lock()
#: Networks of the parent of this process, kept until it ends.
_forked: list[OpenVinoNetwork] = []


class BackendError(RuntimeError):
    """OpenVINO cannot be used; the message is a clause that says why."""


@dataclass(frozen=True)
class Inputs:
    """Shapes of the inputs of a network that is converted.

    Attributes:
        traced: that it is traced with.
        free: the same, with -1 where another size can be computed.
        tried: that its answers are compared at.
    """

    traced: Sequence[Shape]
    free: Sequence[Shape]
    tried: Sequence[Shape]

    @classmethod
    def of_volumes(cls, spec: ModelSpec) -> Inputs:
        """Of a model that takes volumes: batches of windows of any shape, if its network computes them."""
        channels, patch = channel_count(spec), spec.patch
        if spec.network in FIXED_SIZE:
            return cls.fixed((1, channels, *patch))
        return cls([(1, channels, *(TRACED_AT,) * 3)], [(-1, channels, -1, -1, -1)], [(1, channels, *patch)])

    @classmethod
    def fixed(cls, *shapes: Shape) -> Inputs:
        """Of a network that computes these shapes only."""
        return cls(shapes, shapes, shapes)


class LeftOutError(BackendError):
    """OpenVINO is left out on purpose: it is not installed, or not meant for this network."""


class ForkedError(BackendError):
    """OpenVINO has no threads in this process, so that no other network can be converted either."""


def load_openvino() -> Any:
    """The package ``openvino``, imported without its telemetry, which would report every import to a server.

    Raises:
        BackendError: it does not load, or is too old; :class:`LeftOutError` where it is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: its import fails
    try:
        import openvino

        _check_version(openvino.__version__)
        # The first access to a tensor sets up a table of number types. Two threads that begin at once would wait for
        # ever: one for the table, with the interpreter's lock, the other for that lock, with the table.
        with _loading:
            openvino.Type.f32.to_dtype()
    except BackendError:
        raise
    except Exception as error:  # a damaged installation raises whatever its libraries do
        absent = isinstance(error, ModuleNotFoundError) and error.name == "openvino"
        kind = LeftOutError if absent else BackendError
        raise kind(f"the package openvino does not load ({_first_line(error)})") from error
    return openvino


def _check_version(version: str) -> None:
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise BackendError(f"openvino {version} is too old; {'.'.join(map(str, OLDEST))} or later is needed")


def openvino_dtypes() -> tuple[torch.dtype, ...]:
    """Number types that OpenVINO computes natively on this CPU, the fastest first.

    It reports bfloat16 also where ``ONEDNN_MAX_CPU_ISA`` keeps it from the instructions, which then takes four times as
    long as float32.

    Raises:
        BackendError: OpenVINO cannot be used on this CPU.
    """
    openvino = load_openvino()
    try:
        capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except Exception as error:  # of a damaged plug-in
        raise BackendError(f"OpenVINO does not find this CPU ({_first_line(error)})") from error
    native = "BF16" in capabilities and has_bfloat16()
    return (torch.bfloat16, torch.float32) if native else (torch.float32,)


class OpenVinoNetwork:
    """A converted network: called as the original, with float32 on the CPU, from several threads.

    It is compiled anew for every shape of the inputs and every number of threads per call.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        dtype: torch.dtype,
        inputs: Inputs | None = None,
        folder: Path | None = None,
    ) -> None:
        """Takes the converted network from the cache, or converts it, which takes some seconds, and keeps it there.

        Args:
            spec: the model.
            network: float32 on the CPU, in evaluation mode; not changed.
            dtype: that it computes in, float32 or bfloat16; that of int8 where there is a folder.
            inputs: of the network; those of a model that takes volumes by default.
            folder: of a model whose copy in int8 is taken, after it was compared with its checksums; what the copy does
                not compute in int8 is in the fastest native number type.

        Raises:
            BackendError: OpenVINO cannot be used for this network, or the cache cannot be written.
        """
        if not spec.weights_sha256:
            raise BackendError("its weights have no checksum, by which a converted network is found again")
        self._openvino = load_openvino()
        self._settings = {"INFERENCE_PRECISION_HINT": HINTS[openvino_dtypes()[0] if folder else dtype]}
        self._threads = torch.get_num_threads()
        self._compiled: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._lock, self._requests = threading.Lock(), threading.local()
        self._forked = False
        try:
            self._core = self._openvino.Core()
            if folder is None:
                self._model = self._converted(spec, network, inputs or Inputs.of_volumes(spec))
            else:
                self._model = self._core.read_model(*ModelFolder(folder, spec).verified_int8())
        except BackendError:
            raise
        except ModelError as error:
            raise BackendError(str(error)) from error
        except Exception as error:  # of OpenVINO's converter and plug-ins, which raise many kinds
            verb = "convert" if folder is None else "read the copy in int8 of"
            raise BackendError(f"OpenVINO cannot {verb} {spec.network} ({_first_line(error)})") from error

    @property
    def model(self) -> Any:
        """The converted network, of OpenVINO's class ``Model``; not to be changed."""
        return self._model

    def forget_threads(self) -> None:
        """To be called in a forked process, which has none of OpenVINO's threads: it cannot be used there."""
        self._forked = True
        _forked.append(self)  # its end would wait for the threads

    def __call__(self, *batches: torch.Tensor) -> Any:
        """The network's answer, float32, or several as a tuple; raises :class:`BackendError` where OpenVINO fails."""
        if self._forked:
            raise ForkedError("OpenVINO does not run in a forked process")
        try:
            request = self._request([tuple(batch.shape) for batch in batches])
            found = request.infer([batch.contiguous().numpy() for batch in batches])
            answers = tuple(torch.from_numpy(found[number]) for number in range(len(found)))
            return answers if len(answers) > 1 else answers[0]
        except MemoryError:
            raise
        except Exception as error:
            raise BackendError(f"OpenVINO failed ({_first_line(error)})") from error

    def _request(self, shapes: Sequence[Shape]) -> Any:
        """What computes inputs of these shapes; every thread has its own."""
        streams = max(self._threads // torch.get_num_threads(), 1)
        key = (*shapes, streams)
        with self._lock:
            compiled = self._compiled.pop(key, None) or self._compile(shapes, streams)
            self._compiled[key] = compiled
            while len(self._compiled) > MOST_COMPILED:
                self._compiled.popitem(last=False)
        known: tuple[Any, Any] | None = getattr(self._requests, "last", None)
        if known is None or known[0] is not compiled:
            known = self._requests.last = (compiled, compiled.create_infer_request())
        return known[1]

    def _compile(self, shapes: Sequence[Shape], streams: int) -> Any:
        model = _reshaped(self._model, shapes)
        number = {"INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": streams}
        return self._core.compile_model(model, "CPU", {**self._settings, **number})

    def _converted(self, spec: ModelSpec, network: nn.Module, inputs: Inputs) -> Any:
        cache = CachedModels(f"openvino {self._openvino.__version__} {type(network).__qualname__}", spec)
        kept = cache.read()
        if kept is not None:
            with suppress(RuntimeError):  # what cannot be read is made anew
                return self._core.read_model(*kept)
        example = tuple(torch.zeros(shape) for shape in inputs.traced)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing, whose result is checked below, and of its deprecation
            # PyTorch's own check traces once more, two thirds of the time that OpenVINO takes with the plain module.
            traced = torch.jit.trace(network, example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
            free = [self._openvino.PartialShape(list(shape)) for shape in inputs.free]
            model = self._openvino.convert_model(traced, example_input=example, input=free)
        self._check(model, network, inputs.tried)
        try:
            cache.write(lambda path: self._openvino.save_model(model, str(path), compress_to_fp16=False))
        except WriteError as error:
            if cache.read() is None:  # else another process has kept it at the same time
                raise BackendError(f"the converted network cannot be kept ({error})") from error
        return model

    def _check(self, model: Any, network: nn.Module, shapes: Sequence[Shape]) -> None:
        """Raises :class:`BackendError` where the converted network does not answer as the original."""
        rng = np.random.default_rng(0)
        batches = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
        compiled = self._core.compile_model(_reshaped(model, shapes), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled(batches)
        with torch.inference_mode():
            answers = network(*(torch.from_numpy(batch) for batch in batches))
        for number, expected in enumerate(answers if isinstance(answers, tuple) else (answers,)):
            _compare(found[number], expected.numpy())


def _reshaped(model: Any, shapes: Sequence[Shape]) -> Any:
    copied = model.clone()
    copied.reshape({number: list(shape) for number, shape in enumerate(shapes)})
    return copied


def _compare(answer: Any, expected: Any) -> None:
    if answer.shape != expected.shape:
        raise BackendError(f"the converted network answers {answer.shape}, not {expected.shape}")
    difference = float(np.abs(answer - expected).max() / max(float(np.abs(expected).max()), 1e-6))
    if not difference <= LARGEST_DIFFERENCE:
        raise BackendError(f"the converted network's answers differ by {difference:.2g} of the largest")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200] if text else 'no reason given'}"
