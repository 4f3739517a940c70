"""Runs the networks of nnU-Net over a volume in overlapping windows, as ``nnUNetPredictor`` of nnU-Net v2 does.

Windows overlap by half at least and are spread evenly; logits of all folds and mirror images are averaged, and windows
added up with a Gaussian. Sums are float32, where nnU-Net has float16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product

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
# Largest weight: nnU-Net keeps weights as float16, whose smallest values it so uses better.
LARGEST_WEIGHT = 10
# Logits that take more bytes than this are kept as float16, as nnU-Net keeps all.
MOST_FLOAT32_BYTES = 2e9


@dataclass(frozen=True)
class Windows:
    """How a volume is cut up.

    Attributes:
        size: of a window, in the network's axes.
        mirror_axes: the mirror images along all combinations of these are averaged.
        batch: windows computed at once.
    """

    size: Size
    mirror_axes: tuple[int, ...] = ()
    batch: int = 1

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
    padded, inner = _padded(array, windows.size)
    channels = torch.from_numpy(padded)
    starts = [window_starts(n, size) for n, size in zip(padded.shape[1:], windows.size)]
    total, done = math.prod(len(each) for each in starts), 0
    sums, stop = _Sums(windows.size, padded.shape[1:], runtime.device), Stop(job)

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


def _padded(array: Float32Array, size: Size) -> tuple[Float32Array, tuple[slice, ...]]:
    """The array with zeros around where an axis is shorter than a window, and where it then lies."""
    missing = [max(edge - n, 0) for edge, n in zip(size, array.shape[1:])]
    inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, array.shape[1:]))
    if not any(missing):
        return array, inner
    return np.pad(array, [(0, 0), *((m // 2, m - m // 2) for m in missing)]), inner


class _Sums:
    """Weighted sums of the slices that one layer of windows covers; those that are final move to the logits."""

    def __init__(self, size: Size, shape: Sequence[int], device: torch.device) -> None:
        self.logits: torch.Tensor | None = None
        self._size, self._shape, self._first = size, tuple(shape), 0
        self._gaussian = gaussian_weights(size).to(device)
        self._weight = torch.zeros(size[0], *shape[1:], device=device)
        self._sums: torch.Tensor | None = None

    def add(self, positions: Sequence[Size], values: torch.Tensor) -> None:
        """Adds windows ``[batch, labels, *size]`` of the current layer."""
        if self._sums is None:
            self._begin(values.shape[1])
        for (_, second, third), value in zip(positions, values):
            at = (slice(None), slice(second, second + self._size[1]), slice(third, third + self._size[2]))
            if self._sums is not None:
                self._sums[(slice(None), *at)].addcmul_(value, self._gaussian)
            self._weight[at] += self._gaussian

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
