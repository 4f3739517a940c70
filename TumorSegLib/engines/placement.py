"""A network on its device, shared by all cases; where one case is computed, and what it falls back to."""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

from TumorSegLib.engines.backends.openvino import BackendError, ForkedError, OpenVinoNetwork
from TumorSegLib.engines.backends.sam import OpenVinoSam
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import ON_CPU, OPENVINO, TORCH, Runtime
from TumorSegLib.errors import ArgumentError
from TumorSegLib.jobs import Job, acquired
from TumorSegLib.memory import is_out_of_memory, memory_errors
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import RunInfo

#: What computes: a module, or a converted copy of one that is called as the module.
Network: TypeAlias = Any
Setting = TypeVar("Setting")
Computed = TypeVar("Computed")

_log = logging.getLogger(__name__)


class PlacedEngine:
    """What engines of one network have in common: the model, and where its network computes.

    Attributes:
        spec: the model.
    """

    def __init__(self, spec: ModelSpec, network: nn.Module, runtime: Runtime) -> None:
        """Places the network, see :class:`Placement`."""
        self.spec = spec
        self._placement = Placement(spec, network, runtime)

    @property
    def info(self) -> RunInfo:
        """Model, version, checksum of the weights, device and precision."""
        return self._placement.info()


class Placement:
    """A network on the device it was loaded for.

    The network never changes after construction, and one lock lets one thread at a time compute with it, so that
    several sessions may share an engine. Every case has a :class:`CaseDevice` of its own. A process forked while a
    thread computes may use the engine.
    """

    def __init__(self, spec: ModelSpec, network: nn.Module, runtime: Runtime, *, mixed: bool = False) -> None:
        """Copies the network to the device.

        Args:
            spec: the model.
            network: float32; not changed.
            runtime: where to compute.
            mixed: leave the weights float32, for networks that compute under autocast; on the CPU they are not copied.

        Raises:
            ResourceError: the device has no room for it.
        """
        self.spec, self.wanted = spec, runtime
        self._original, self._mixed = network.eval(), mixed
        self.notes: tuple[str, ...] = (runtime.note,) if runtime.note else ()
        self.renew_locks()
        self._cases: WeakKeyDictionary[object, CaseDevice] = WeakKeyDictionary()
        with memory_errors(f"to put {spec.name!r} on {runtime.name}"):
            self._network = self._on(runtime)
        _placements.add(self)
        _log.info("%s %s is loaded on %s in %s", spec.name, spec.version, runtime.name, runtime.precision)

    def _on(self, runtime: Runtime) -> Network:
        """The network where it computes; without int8 or OpenVINO where that cannot be used, which the user is told."""
        if runtime.backend == OPENVINO:
            try:
                if isinstance(self._original, Sam):
                    return OpenVinoSam(self.spec, self._original, runtime.dtype)
                return OpenVinoNetwork(self.spec, self._original, runtime.dtype, folder=runtime.folder)
            except BackendError as error:
                self._leave(error)
            return self._on(self.wanted)
        device = runtime.device
        return _moved(self._original, device) if self._mixed else _converted(self._original, self.wanted)

    def _leave(self, error: BackendError) -> None:
        self.wanted = self.wanted.fallback()
        if isinstance(error, ForkedError):
            self.wanted = self.wanted.fallback()
        instead = "PyTorch" if self.wanted.backend == TORCH else f"OpenVINO in {self.wanted.precision}"
        self.notes = (f"{self.spec.name} ran on {instead}, slower: {error}.",)
        _log.warning(self.notes[0])

    def leave_openvino(self, error: BackendError) -> None:
        """Goes on without int8, or with PyTorch, for all cases to come, since OpenVINO failed; during a turn."""
        if self.wanted.backend == OPENVINO:
            self._leave(error)
            self._network = self._on(self.wanted)

    def renew_locks(self) -> None:
        """Makes the locks; again in a forked process."""
        network = getattr(self, "_network", None)
        if isinstance(network, (OpenVinoNetwork, OpenVinoSam)):
            network.forget_threads()
        # Reentrant: a progress callback, which runs during a turn, may compute another case.
        self._lock, self._cases_lock = threading.RLock(), threading.Lock()

    def case(self, prepared: object) -> CaseDevice:
        """Where a case is computed, by its prepared images; the same for as long as those exist."""
        with self._cases_lock:
            return self._cases.setdefault(prepared, CaseDevice(self))

    def network(self, runtime: Runtime) -> Network:
        """The network for the wanted runtime, or for :data:`ON_CPU`."""
        return self._network if runtime == self.wanted else _moved(self._original, runtime.device)

    @contextmanager
    def turn(self, job: Job) -> Iterator[None]:
        """Waits until no other thread computes; raises :class:`Cancelled` where the job is cancelled meanwhile."""
        # A fork during the turn gives the child another lock.
        with acquired(self._lock, job, "while it waited for another case"):
            yield

    def info(self, runtime: Runtime | None = None, **more: Any) -> RunInfo:
        """Model, version, checksum of the weights, device and precision, and what else :class:`RunInfo` has."""
        runtime, spec = runtime or self.wanted, self.spec
        notes = (*self.notes, *more.pop("notes", ()))
        if runtime.device != self.wanted.device:
            notes = (self.fallback_note, *notes)
        identity = (spec.name, spec.version, spec.weights_sha256, runtime.name, runtime.precision)
        details = dict(more.pop("details", {}))
        if runtime.reason:
            details["backend_reason"] = runtime.reason
        return RunInfo(*identity, runtime.backend, notes=notes, details=details, **more)

    @property
    def fallback_note(self) -> str:
        """The note to the user that a case was computed on the CPU instead."""
        return f"There was not enough memory on {self.wanted.name} for {self.spec.name}: it ran on the CPU, slower."


class CaseDevice:
    """Where one case is computed: on the wanted device or, once its memory did not suffice, on the CPU in float32.

    The next case is tried on the wanted device again.
    """

    def __init__(self, placement: Placement) -> None:
        self.runtime = placement.wanted
        self._placement = placement

    def run(
        self,
        compute: Callable[[Network, Runtime, Setting], Computed],
        settings: Callable[[Runtime], Iterable[Setting]],
        job: Job,
    ) -> Computed:
        """Computes with the network, more sparingly and then on the CPU where memory does not suffice.

        Args:
            compute: is given the network, where it lies, and a setting.
            settings: of a runtime, the fastest first, then those that need less memory.
            job: asked for cancelling while another case computes.

        Raises:
            Cancelled: the job was cancelled.
            RuntimeError, MemoryError: of the last try, where memory did not suffice at all.
        """
        failure: BaseException | None = None
        with self._placement.turn(job):
            for setting in self._settings(settings):
                try:
                    return self._compute(compute, setting)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    # Its traceback would keep the buffers of this try in memory during the next.
                    failure = error.with_traceback(None)
                if self.runtime.device.type == "cuda":
                    torch.cuda.empty_cache()
        raise failure or ArgumentError("there is no setting to compute with")

    def _compute(self, compute: Callable[[Network, Runtime, Setting], Computed], setting: Setting) -> Computed:
        """Computes, once more without int8 and then by PyTorch where OpenVINO fails."""
        while self.runtime.backend == OPENVINO:
            self.runtime = self._placement.wanted  # another case may have found that it fails
            try:
                return compute(self._placement.network(self.runtime), self.runtime, setting)
            except BackendError as error:
                self._placement.leave_openvino(error)
        return compute(self._placement.network(self.runtime), self.runtime, setting)

    def info(self, job: Job, **more: Any) -> RunInfo:
        """What made the answer of this case; see :meth:`Placement.info`."""
        info = self._placement.info(self.runtime, seconds=dict(job.seconds), **more)
        _log.info(
            "%s %s ran on %s in %s: seconds %s", *list(info.values())[:2], info.device, info.precision, job.seconds
        )
        return info

    def _settings(self, settings: Callable[[Runtime], Iterable[Setting]]) -> Iterator[Setting]:
        runtime = self.runtime  # a progress callback may move this case to the CPU meanwhile
        yield from settings(runtime)
        if runtime.device.type != "cpu":
            self.runtime = ON_CPU
            _log.warning(self._placement.fallback_note)
            yield from settings(ON_CPU)


def _converted(network: nn.Module, runtime: Runtime) -> nn.Module:
    """A copy of a network on the runtime's device, in its number type and layout."""
    copied: nn.Module = copy.deepcopy(network).to(device=runtime.device, dtype=runtime.dtype)
    return copied.to(memory_format=runtime.layout)  # type: ignore[call-overload, no-any-return]


def _moved(network: nn.Module, device: torch.device) -> nn.Module:
    """A network on a device: a copy, unless it lies there already."""
    if all(parameter.device == device for parameter in network.parameters()):
        return network
    return copy.deepcopy(network).to(device=device)


_placements: WeakSet[Placement] = WeakSet()


def _renew_locks() -> None:
    """Gives a forked process new locks: those of its parent may be locked by threads which it does not have."""
    for placement in _placements:
        placement.renew_locks()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_renew_locks)
