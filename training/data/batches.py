"""Sources of batches for the training loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from training.config.train import Configuration, DataSettings
from training.data.augment import TrainingSample, draw_sample
from training.data.cases import Case
from TumorSegLib.engines.workers import new_pool


class Batch(NamedTuple):
    """The samples of one step.

    Attributes:
        inputs: float32 ``[batch, channels, k, j, i]``.
        labels: int64 ``[batch, k, j, i]``.
        focus: float32 ``[batch, k, j, i]`` from 0 to 1, the weight of each voxel; None where all weigh the same.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    focus: torch.Tensor | None = None


class BatchSource(Protocol):
    """A source of batches; later batches may depend on the answers of the network."""

    def batches(self, first: int) -> Iterator[Batch]:
        """The batches from a step on."""

    def observe(self, logits: torch.Tensor) -> None:
        """Receives the logits ``[batch, labels, k, j, i]`` of the last batch, after the step."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint saves so that the batches after it are the same."""

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""


@dataclass(frozen=True)
class Pools:
    """Cases to draw from, patients' and phantoms'."""

    cases: Sequence[Case]
    phantoms: Sequence[Case]

    def draw(self, settings: DataSettings, rng: np.random.Generator) -> Case:
        """A random case, a phantom as often as the settings say."""
        pool = self.phantoms if self.phantoms and rng.random() < settings.phantom_share else self.cases
        return pool[int(rng.integers(len(pool)))]


class CaseSource(Protocol):
    """Cases to draw from."""

    def draw(self, rng: np.random.Generator) -> Case:
        """A random case."""


class Samples:
    """Independent samples, for the automatic network; they depend on (seed, step, process) alone."""

    def __init__(
        self, configuration: Configuration, pools: Pools, rank: int, negatives: CaseSource | None = None
    ) -> None:
        self._configuration, self._pools, self._rank, self._negatives = configuration, pools, rank, negatives

    def batches(self, first: int) -> Iterator[Batch]:
        """As :class:`BatchSource`; threads draw the next batches while the network trains on the last."""
        settings = self._configuration.optimisation
        ahead = 2 * settings.workers
        with new_pool(settings.workers, 1) as pool:
            pending = deque(pool.submit(self._batch, step) for step in range(first, min(first + ahead, settings.steps)))
            for step in range(first, settings.steps):
                ready = pending.popleft().result()
                if step + ahead < settings.steps:
                    pending.append(pool.submit(self._batch, step + ahead))
                yield ready

    def observe(self, logits: torch.Tensor) -> None:
        """Nothing depends on the answers."""

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _batch(self, step: int) -> Batch:
        images, labels = zip(*(self._sample(step, n) for n in range(self._configuration.optimisation.batch)))
        return Batch(torch.stack(images), torch.stack(labels))

    def _sample(self, step: int, number: int) -> TrainingSample:
        configuration = self._configuration
        rng = np.random.default_rng([configuration.optimisation.seed, step, self._rank, number])
        settings = configuration.negatives
        if self._negatives is not None and settings is not None and rng.random() < settings.share:
            case = self._negatives.draw(rng)
        else:
            case = self._pools.draw(configuration.data, rng)
        return draw_sample(case, configuration.model, configuration.augmentation, rng)
