"""Runs the networks of other programs over a volume in overlapping windows, as those do.

``nnUNetPredictor`` of nnU-Net v2 spreads windows evenly, with an overlap of half at least, and adds them up with a
Gaussian; logits of mirror images are averaged. Sums are float32, where nnU-Net has float16. ``SlidingWindowInferer`` of
MONAI begins a window at each multiple of a step, the last at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Protocol

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from TumorSegLib.engines.auto.sliding_window import Stop
from TumorSegLib.engines.placement import Network
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.engines.workers import Workers
from TumorSegLib.geometry.arrays import Float32Array
from TumorSegLib.jobs import Job

Size = tuple[int, int, int]
#: Share of a window from one to the next, and the standard deviation of the Gaussian as a share of a window.
STEP, SIGMA = 0.5, 1 / 8
# The smallest weight of MONAI's Gaussian.
LEAST_MONAI_WEIGHT = 1e-3
# Largest weight: nnU-Net keeps weights as float16, whose smallest values it so uses better.
LARGEST_WEIGHT = 10
# Logits that take more bytes than this are kept as float16, as nnU-Net keeps all.
MOST_FLOAT32_BYTES = 2e9


class Blending(Protocol):
    """Where windows lie, what surrounds a volume smaller than one, and how they are added up."""

    def starts(self, axis: int, length: int, size: int) -> list[int]:
        """First voxel of each window along an axis of the volume, ascending."""

    def weights(self, size: Size) -> torch.Tensor:
        """Weights of a window, float32 ``size``, above 0."""

    def padded(self, array: Float32Array, margins: Sequence[tuple[int, int]]) -> Float32Array:
        """An array of these axes with margins around."""


@dataclass(frozen=True)
class NnunetBlending:
    """As nnU-Net does."""

    def starts(self, axis: int, length: int, size: int) -> list[int]:  # noqa: ARG002
        """See :func:`window_starts`."""
        return window_starts(length, size)

    def weights(self, size: Size) -> torch.Tensor:
        """See :func:`gaussian_weights`."""
        return gaussian_weights(size)

    def padded(self, array: Float32Array, margins: Sequence[tuple[int, int]]) -> Float32Array:
        """With zeros around."""
        return np.pad(array, margins)


@dataclass(frozen=True)
class MonaiBlending:
    """As MONAI does; see :class:`~TumorSegLib.models.monai.MonaiInput` for the attributes."""

    overlap: tuple[float, float, float]
    gaussian: bool
    sigma_scale: float
    padding: str
    padding_value: float

    def starts(self, axis: int, length: int, size: int) -> list[int]:
        """At each multiple of the step, the last window at the end."""
        step = max(int(size * (1 - self.overlap[axis])), 1)
        count = math.ceil((length - size) / step) + 1
        return [min(number * step, length - size) for number in range(count)]

    def weights(self, size: Size) -> torch.Tensor:
        """Ones, or a Gaussian of at least 0.001, as ``compute_importance_map`` of MONAI."""
        if not self.gaussian:
            return torch.ones(size)
        weights = torch.ones(1)
        for n in size:
            places = torch.arange(n, dtype=torch.float32) - (n - 1) / 2
            weights = weights[..., None] * torch.exp(places**2 / (-2 * (n * self.sigma_scale) ** 2))
        return weights[0].clamp(min=max(float(weights.min()), LEAST_MONAI_WEIGHT))

    def padded(self, array: Float32Array, margins: Sequence[tuple[int, int]]) -> Float32Array:
        """With the bundle's value, or that of the border, around."""
        if self.padding == "replicate":
            return np.pad(array, margins, mode="edge")
        return np.pad(array, margins, constant_values=self.padding_value)


@dataclass(frozen=True)
class Windows:
    """How a volume is cut up.

    Attributes:
        size: of a window, in the network's axes.
        mirror_axes: the mirror images along all combinations of these are averaged.
        batch: windows computed at once.
        blending: whose.
    """

    size: Size
    mirror_axes: tuple[int, ...] = ()
    batch: int = 1
    blending: Blending = NnunetBlending()

    @property
    def flips(self) -> list[tuple[int, ...]]:
        """Axes of a batch along which a window is mirrored, by mirror image; the first is the window itself."""
        axes = [axis + 2 for axis in self.mirror_axes]
        return list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))


def window_starts(length: int, size: int) -> list[int]:
    """First voxel of each window along an axis; windows of one voxel, of a 2D configuration, show each slice once."""
    if size == 1:
        return list(range(length))
    count = math.ceil((length - size) / (size * STEP)) + 1
    return [int(np.round((length - size) / max(count - 1, 1) * number)) for number in range(count)]


def gaussian_weights(size: Size) -> torch.Tensor:
    """Weights of a window, float32 ``size``, rounded as nnU-Net rounds them."""
    centre = np.zeros(size)
    centre[tuple(n // 2 for n in size)] = 1
    weights = gaussian_filter(centre, [n * SIGMA for n in size], mode="constant")
    rounded = torch.from_numpy(weights * (LARGEST_WEIGHT / weights.max())).half()
    rounded[rounded == 0] = rounded[rounded > 0].min()
    return rounded.float()


def predict_logits(network: Network, array: Float32Array, windows: Windows, runtime: Runtime, job: Job) -> torch.Tensor:
    """The averaged logits of a volume, ``[labels, *lattice]`` on the CPU, float32, or float16 where they are large.

    Args:
        network: on the runtime's device and in its number type.
        array: float32 ``[channels, *lattice]``.
        windows: how it is cut up.
        runtime: device and number type.
        job: its steps are windows.

    Raises:
        Cancelled: the job was cancelled.
    """
    padded, inner = _padded(array, windows)
    channels = torch.from_numpy(padded)
    lengths = zip(padded.shape[1:], windows.size)
    starts = [windows.blending.starts(axis, n, size) for axis, (n, size) in enumerate(lengths)]
    total, done = math.prod(len(each) for each in starts), 0
    sums, stop = _Sums(windows, padded.shape[1:], runtime.device), Stop(job)

    def compute(positions: Sequence[Size]) -> torch.Tensor:
        at = [tuple(slice(p, p + n) for p, n in zip(position, windows.size)) for position in positions]
        batch = runtime.batch(torch.stack([channels[(slice(None), *each)] for each in at]))
        return _logits(network, batch, windows.flips, stop.check)

    with torch.inference_mode(), Workers(runtime.device, total) as workers, stop:
        for first in starts[0]:
            sums.advance(first)
            layer = [(first, second, third) for second, third in product(*starts[1:])]
            batches = [layer[n : n + windows.batch] for n in range(0, len(layer), windows.batch)]
            outputs = workers.map(compute, batches)
            for batch in batches:
                job.check(f"after {done} of {total} windows")
                sums.add(batch, next(outputs))
                done += len(batch)
                job.step(done, total)
        sums.advance(padded.shape[1])
    if sums.logits is None:
        raise ValueError("a volume without windows")
    return sums.logits[(slice(None), *inner)]


@torch.inference_mode()
def _logits(
    network: Network, batch: torch.Tensor, flips: Sequence[tuple[int, ...]], check: Callable[[], None]
) -> torch.Tensor:
    """Logits float32 ``[batch, labels, *size]``, averaged over mirror images."""
    summed: torch.Tensor = network(batch).float()
    for axes in flips[1:]:
        check()
        summed = summed + network(batch.flip(axes)).float().flip(axes)
    return summed / len(flips)


def _padded(array: Float32Array, windows: Windows) -> tuple[Float32Array, tuple[slice, ...]]:
    """The array with a margin around where an axis is shorter than a window, and where it then lies."""
    missing = [max(edge - n, 0) for edge, n in zip(windows.size, array.shape[1:])]
    inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, array.shape[1:]))
    if not any(missing):
        return array, inner
    return windows.blending.padded(array, [(0, 0), *((m // 2, m - m // 2) for m in missing)]), inner


class _Sums:
    """Weighted sums of the slices that one layer of windows covers; those that are final move to the logits."""

    def __init__(self, windows: Windows, shape: Sequence[int], device: torch.device) -> None:
        self.logits: torch.Tensor | None = None
        self._size, self._shape, self._first = windows.size, tuple(shape), 0
        self._weights = windows.blending.weights(windows.size).to(device)
        self._weight = torch.zeros(windows.size[0], *shape[1:], device=device)
        self._sums: torch.Tensor | None = None

    def add(self, positions: Sequence[Size], values: torch.Tensor) -> None:
        """Adds windows ``[batch, labels, *size]`` of the current layer."""
        if self._sums is None:
            self._begin(values.shape[1])
        for (_, second, third), value in zip(positions, values):
            at = (slice(None), slice(second, second + self._size[1]), slice(third, third + self._size[2]))
            if self._sums is not None:
                self._sums[(slice(None), *at)].addcmul_(value, self._weights)
            self._weight[at] += self._weights

    def _begin(self, labels: int) -> None:
        self._sums = torch.zeros(labels, *self._weight.shape, device=self._weight.device)
        exact = 4 * labels * math.prod(self._shape) <= MOST_FLOAT32_BYTES
        self.logits = torch.empty((labels, *self._shape), dtype=torch.float32 if exact else torch.float16)

    def advance(self, first: int) -> None:
        """Moves on so that the sums begin at a slice; those before are final."""
        step = min(first - self._first, self._size[0])
        if step <= 0 or self._sums is None or self.logits is None:
            return
        self.logits[:, self._first : self._first + step] = (self._sums[:, :step] / self._weight[:step]).cpu()
        for buffer in (self._sums.movedim(1, 0), self._weight):
            buffer[: self._size[0] - step] = buffer[step:].clone()
            buffer[self._size[0] - step :] = 0
        self._first = first
