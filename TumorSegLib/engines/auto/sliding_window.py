"""Runs a network over a volume in overlapping windows.

Windows beside the body are skipped; the others are weighted with a Gaussian (Isensee et al., Nat Methods 2021) and
added up in an accumulator as high as one window, from which finished slices leave as float16; of several labels as far
as each has a probability.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import numpy.typing as npt
import torch

from TumorSegLib.engines.auto.body import find_body, windows_on_body
from TumorSegLib.engines.label_parts import Part, Storage
from TumorSegLib.engines.networks.unets import probabilities
from TumorSegLib.engines.placement import Network
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.engines.workers import Workers
from TumorSegLib.errors import ArgumentError, Cancelled
from TumorSegLib.geometry.arrays import BoolArray, UInt8Array
from TumorSegLib.jobs import Job

Size = tuple[int, int, int]
Position = tuple[int, int, int]


@dataclass(frozen=True)
class WindowPlan:
    """How a volume is cut up.

    Attributes:
        size: of a window, ``(k, j, i)`` voxels.
        overlap: share of a window that it has in common with the next, from 0 to below 1.
        batch: windows computed at once.
        mirror: whether to average over all eight mirror images of a window.

    Raises:
        ArgumentError: the overlap is not in [0, 1).
    """

    size: Size
    overlap: float = 0.5
    batch: int = 1
    mirror: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ArgumentError(f"overlap must be at least 0 and below 1, got {self.overlap}")


@dataclass(frozen=True, eq=False)
class Maps:
    """Averaged output of a network, ``[k, j, i]`` as the channels given.

    Attributes:
        probability: of any label, float16.
        label: most probable label, uint8, 1 and up; meaningful where the probability exceeds 0.5.
        entropy: of the averaged probabilities, in bits, float16; None without mirroring.
        windows, skipped: how many there were, and how many of them lay beside the body.
        parts: the probability of each label, where there are several.
    """

    probability: npt.NDArray[np.float16]
    label: UInt8Array
    entropy: npt.NDArray[np.float16] | None
    windows: int
    skipped: int
    parts: Sequence[Part] = ()


def window_starts(length: int, size: int, overlap: float) -> list[int]:
    """First voxel of each window along an axis; the last window ends with the axis."""
    step = max(int(size * (1 - overlap)), 1)
    last = max(length - size, 0)
    return [*range(0, last, step), last]


def gaussian_weights(size: Size) -> torch.Tensor:
    """Weights of a window, float32 ``size``: a Gaussian of sigma 1/8 of the window, 1 at most, 0.001 at least."""
    axes = [torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in size]
    weights = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return (weights / weights.max()).clamp_min(1e-3)


def predict(
    network: Network,
    channels: torch.Tensor,
    tissue: BoolArray,
    plan: WindowPlan,
    runtime: Runtime,
    job: Job | None = None,
) -> Maps:
    """Runs the network over a volume.

    Args:
        network: on the runtime's device and in its number type; see :mod:`TumorSegLib.engines.networks.unets`.
        channels: float32 ``[roles, k, j, i]``, no axis shorter than a window.
        tissue: bool ``[k, j, i]``; windows beside the body are skipped, see :mod:`TumorSegLib.engines.auto.body`. They
            lie where they would lie without skipping: shifted windows give other answers.
        plan: size, overlap, batch and mirroring.
        runtime: device and number type.
        job: its steps are windows.

    Raises:
        Cancelled: the job was cancelled.
    """
    job, shape = job or Job(name="segmentation"), tissue.shape
    starts = [window_starts(n, size, plan.overlap) for n, size in zip(shape, plan.size)]
    total, done, skipped = math.prod(len(s) for s in starts), 0, 0
    needed = windows_on_body(find_body(tissue), starts, plan.size)
    maps, stop = _Accumulator(plan, shape, runtime), Stop(job)

    def compute(positions: Sequence[Position]) -> torch.Tensor:
        windows = torch.stack([channels[(slice(None), *_at(plan.size, *position))] for position in positions])
        return _probabilities(network, windows, plan.mirror, runtime, stop.check)

    with torch.inference_mode(), Workers(runtime.device, total) as workers, stop:
        for k, layer in zip(starts[0], needed):
            maps.advance(k)
            filled = [(k, starts[1][row], starts[2][column]) for row, column in np.argwhere(layer)]
            skipped += layer.size - len(filled)
            done += layer.size - len(filled)
            if not filled:
                job.check(f"after {done} of {total} windows")
                job.step(done, total)
            batches = [filled[first : first + plan.batch] for first in range(0, len(filled), plan.batch)]
            outputs = workers.map(compute, batches)
            for batch in batches:
                job.check(f"after {done} of {total} windows")
                maps.add(batch, next(outputs))
                done += len(batch)
                job.step(done, total)
        maps.advance(shape[0])
    return Maps(maps.probability, maps.label, maps.entropy, total, skipped, maps.parts)


class Stop:
    """Stops windows that other threads compute: where the block fails, is interrupted, or the caller cancels."""

    def __init__(self, job: Job) -> None:
        self._job, self._failed = job, threading.Event()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._failed.set()

    def check(self) -> None:
        """Raises :class:`Cancelled`. To be called between mirror images: eight take seconds on a busy machine."""
        if self._failed.is_set():
            raise Cancelled("another window was interrupted")
        self._job.check("within a window")


def _at(size: Size, k: int, j: int, i: int) -> tuple[slice, slice, slice]:
    return slice(k, k + size[0]), slice(j, j + size[1]), slice(i, i + size[2])


@torch.inference_mode()
def _probabilities(
    network: Network, windows: torch.Tensor, mirror: bool, runtime: Runtime, check: Callable[[], None]
) -> torch.Tensor:
    """Label probabilities float32 ``[batch, labels, k, j, i]``, averaged over mirror images if asked for.

    ``check`` is called between mirror images, and may raise.
    """
    windows = runtime.batch(windows)
    flips = list(chain.from_iterable(combinations((2, 3, 4), n) for n in range(4))) if mirror else [()]
    summed: torch.Tensor | None = None
    for axes in flips:
        if axes:
            check()
        logits = network(windows.flip(axes)) if axes else network(windows)
        mapped = torch.stack([probabilities(one) for one in logits])
        mapped = mapped.flip(axes) if axes else mapped
        summed = mapped if summed is None else summed.add_(mapped)
    if summed is None:
        raise ArgumentError("no window to predict")
    return summed.div_(len(flips))


class _Accumulator:
    """Weighted sums for the slices one layer of windows covers; slices that are final move to the outputs."""

    def __init__(self, plan: WindowPlan, shape: tuple[int, ...], runtime: Runtime) -> None:
        self.size = plan.size
        self.first = 0
        self.device = runtime.device
        self.weights = gaussian_weights(plan.size).to(runtime.device)
        self.sums: torch.Tensor | None = None
        self.weight = torch.zeros(plan.size[0], *shape[1:], device=runtime.device)
        self.probability = np.zeros(shape, dtype=np.float16)
        self.label = np.ones(shape, dtype=np.uint8)
        self.entropy = np.zeros(shape, dtype=np.float16) if plan.mirror else None
        self.parts: list[Part] = []

    def add(self, positions: Sequence[Position], values: torch.Tensor) -> None:
        """Adds windows ``[batch, labels, k, j, i]`` of the current layer."""
        if self.sums is None:
            self.sums = torch.zeros(values.shape[1], *self.weight.shape, device=self.device)
            storage = Storage()
            self.parts = [Part(storage) for _ in range(values.shape[1] if values.shape[1] > 1 else 0)]
        for (_, j, i), value in zip(positions, values):
            at = (slice(None), slice(j, j + self.size[1]), slice(i, i + self.size[2]))
            self.sums[(slice(None), *at)].addcmul_(value, self.weights)
            self.weight[at] += self.weights

    def advance(self, k: int) -> None:
        """Moves the accumulator so that it begins at slice ``k``; the slices before are final."""
        step = min(k - self.first, self.size[0])
        if step <= 0:
            return
        if self.sums is not None:
            self._finish(step)
            for buffer in (self.sums.movedim(1, 0), self.weight):
                buffer[: self.size[0] - step] = buffer[step:].clone()
                buffer[self.size[0] - step :] = 0
        self.first = k

    def _finish(self, step: int) -> None:
        if self.sums is None:
            return
        end = min(self.first + step, self.probability.shape[0])
        for number, k in enumerate(range(self.first, end)):  # slice by slice: temporaries stay small
            mean = self.sums[:, number] / self.weight[number].clamp_min(1e-6)
            foreground = mean.sum(dim=0)
            self.probability[k] = foreground.half().cpu().numpy()
            if mean.shape[0] > 1:
                self.label[k] = (mean.argmax(dim=0) + 1).to(torch.uint8).cpu().numpy()
                for part, own in zip(self.parts, mean):
                    part.add(k, own.cpu().numpy(), (0, 0))
            if self.entropy is not None:
                every = torch.cat([1 - foreground[None], mean]).clamp(1e-7, 1)
                self.entropy[k] = -(every * every.log2()).sum(dim=0).half().cpu().numpy()
