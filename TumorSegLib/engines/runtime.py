"""Where to compute, in which precision, and with how many threads."""

from __future__ import annotations

import copy
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

from TumorSegLib.engines.processor import has_bfloat16
from TumorSegLib.errors import ArgumentError, ResourceError
from TumorSegLib.jobs import Job, acquired
from TumorSegLib.memory import is_out_of_memory, memory_errors
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import RunInfo

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
# Pieces of an image computed at once on a CPU; each needs memory of its own.
MOST_WORKERS = 8

Setting = TypeVar("Setting")
Piece = TypeVar("Piece")
Computed = TypeVar("Computed")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """A device and the number type the network computes in (weights, activations; sums stay float32)."""

    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """Name of the device, e.g. ``cpu`` or ``cuda (NVIDIA H100)``."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        return self.device.type

    @property
    def layout(self) -> torch.memory_format:
        """Order of the axes in memory: channels last for CUDA's tensor cores.

        On a CPU (AVX-512, oneDNN) one window of sts-auto takes 1.8 times longer that way: 0.28 s against 0.16 s.
        """
        return torch.channels_last_3d if self.device.type == "cuda" else torch.contiguous_format

    @property
    def precision(self) -> str:
        """Name of the number type, e.g. ``bfloat16``."""
        return str(self.dtype).removeprefix("torch.")


#: Where a case goes that finds too little memory on another device.
ON_CPU = Runtime(torch.device("cpu"), torch.float32)


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
        self._original = network.eval()
        self.renew_locks()
        self._cases: WeakKeyDictionary[object, CaseDevice] = WeakKeyDictionary()
        with memory_errors(f"to put {spec.name!r} on {runtime.name}"):
            self._network = _moved(network, runtime.device) if mixed else _converted(network, runtime)
        _placements.add(self)
        _log.info("%s %s is loaded on %s in %s", spec.name, spec.version, runtime.name, runtime.precision)

    def renew_locks(self) -> None:
        """Makes the locks; again in a forked process."""
        # Reentrant: a progress callback, which runs during a turn, may compute another case.
        self._lock, self._cases_lock = threading.RLock(), threading.Lock()

    def case(self, prepared: object) -> CaseDevice:
        """Where a case is computed, by its prepared images; the same for as long as those exist."""
        with self._cases_lock:
            return self._cases.setdefault(prepared, CaseDevice(self))

    def network(self, runtime: Runtime) -> nn.Module:
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
        notes = tuple(more.pop("notes", ()))
        if runtime != self.wanted:
            notes = (self.fallback_note, *notes)
        identity = (spec.name, spec.version, spec.weights_sha256, runtime.name, runtime.precision)
        return RunInfo(*identity, notes=notes, **more)

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
        compute: Callable[[nn.Module, Runtime, Setting], Computed],
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
                    return compute(self._placement.network(self.runtime), self.runtime, setting)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    # Its traceback would keep the buffers of this try in memory during the next.
                    failure = error.with_traceback(None)
                if self.runtime.device.type == "cuda":
                    torch.cuda.empty_cache()
        raise failure or ArgumentError("there is no setting to compute with")

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


def choose_runtime(device: str = "auto", precision: str = "auto") -> Runtime:
    """Chooses a device and a precision.

    Args:
        device: ``auto`` (CUDA, else Apple's MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (the fastest the device computes natively), ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ArgumentError: the name is unknown.
        ResourceError: this machine has no such device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
        raise ArgumentError(f"device {device!r} is not one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    present = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if device == "auto":
        device = next(name for name, count in present.items() if count)
    kind, _, number = device.partition(":")
    if int(number or 0) >= present[kind]:
        raise ResourceError(f"device {device!r} is not available here ({present[kind]} of {kind}); use cpu or auto")
    dtype = _native_dtype(kind) if precision == "auto" else getattr(torch, precision)
    return Runtime(torch.device(device), dtype)


def _native_dtype(kind: str) -> torch.dtype:
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if kind == "cpu" and has_bfloat16() else torch.float32


class Workers:
    """Computes several pieces of one image at once on a CPU, each on its share of the threads.

    Two pieces on one core each take less time than one after the other on two cores: 0.8 of it with windows of sts-auto
    in bfloat16, 0.8 to 0.9 with slices of LiteMedSAM. Small layers cannot keep several cores busy.

    The threads belong to the process: they are started once, set their number of torch threads once, and all engines
    share them, so that no call changes the number of torch threads of another. A context manager: leaving it drops
    pieces not begun and waits for those being computed.
    """

    def __init__(self, device: torch.device, pieces: int) -> None:
        """Finds the threads.

        Args:
            device: where the pieces are computed; one at a time unless it is a CPU.
            pieces: how many there are; a single one gets all threads.
        """
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        count = min(threads, MOST_WORKERS)
        if pieces < count:
            count = 1 << (max(pieces, 1).bit_length() - 1)  # a power of two, so that there are few pools
        self._count = count
        self._pool = _pools.get(count, threads) if count > 1 else None
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._waiting:
            future.cancel()
        wait(self._waiting)

    def map(self, compute: Callable[[Piece], Computed], pieces: Sequence[Piece]) -> Iterator[Computed]:
        """Like ``map``; few pieces are computed ahead, so that other engines get their turn."""
        if self._pool is None:
            yield from map(compute, pieces)
            return
        for piece in pieces:
            self._waiting.append(self._pool.submit(compute, piece))
            if len(self._waiting) > self._count:
                yield self._next()
        while self._waiting:
            yield self._next()

    def _next(self) -> Any:
        result = self._waiting[0].result()  # stays in the queue until then: an interruption must not leave it running
        self._waiting.popleft()
        return result


class _Pools:
    """The process's pools by their number of threads and the number of torch threads these share."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Drops all pools, as a forked process must, which has none of its parent's threads."""
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
        self.lock = threading.Lock()

    def get(self, count: int, threads: int) -> ThreadPoolExecutor:
        with self.lock:
            if (count, threads) not in self._pools:
                self._pools[count, threads] = new_pool(count, threads // count)
            return self._pools[count, threads]


_pools = _Pools()
_placements: WeakSet[Placement] = WeakSet()


def new_pool(count: int, threads: int) -> ThreadPoolExecutor:
    """Starts a pool whose threads are all running and compute on a number of torch threads each.

    The number of the caller's torch threads, which new threads begin with, stays, also where the start fails.

    Args:
        count: threads of the pool.
        threads: torch threads of each.

    Raises:
        RuntimeError, MemoryError: there is no memory for another thread.
    """
    number = torch.get_num_threads()
    pool, ready = ThreadPoolExecutor(count, "TumorSeg worker"), threading.Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # the first call in a thread copies the process's number, later ones do not
        torch.set_num_threads(threads)
        ready.wait()

    try:
        for _ in range(count):
            pool.submit(begin)
        ready.wait()
    except BaseException:  # no memory for another thread, or Ctrl-C
        ready.abort()  # else the threads wait for ever, and the process for them at its end
        pool.shutdown(cancel_futures=True)  # none may set its number after the lines below
        raise
    finally:
        # A thread has a number of its own, but new threads begin with the one that was set last.
        torch.set_num_threads(number)
    return pool


def _renew_locks() -> None:
    """Gives a forked process new locks: those of its parent may be locked by threads which it does not have."""
    _pools.renew()
    for placement in _placements:
        placement.renew_locks()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_renew_locks)
