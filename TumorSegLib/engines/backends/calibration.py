"""Inputs that a network meets in use, from which the ranges of its activations in int8 are taken."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.runtime import ON_CPU
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, UInt8Array
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.probability import TUMOUR
from TumorSegLib.images.volume import Images
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.simulated import random_correction
from TumorSegLib.prompts.types import Prompts

#: Clicks of a case; the first begin the mask, later ones correct it.
CLICKS = 4


class Examples:
    """A sample of inputs, of those that occur the same one whatever their order: threads compute them side by side."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: dict[bytes, Float32Array] = {}
        self._lock = threading.Lock()

    def add(self, batch: torch.Tensor) -> None:
        """Considers each input of a batch ``[batch, channels, k, j, i]``."""
        found = {hashlib.sha256(window.tobytes()).digest(): window.copy() for window in batch.numpy()}
        with self._lock:
            kept = {**self._kept, **found}
            self._kept = {key: kept[key] for key in sorted(kept)[: self.most]}

    @property
    def windows(self) -> list[Float32Array]:
        """The sample, ``[channels, k, j, i]`` each."""
        return list(self._kept.values())


class _Observed(nn.Module):
    """Hands its input to a function; answers as a network does, or zeros where there is none."""

    def __init__(self, network: nn.Module | None, labels: int, see: Callable[[torch.Tensor], None]) -> None:
        super().__init__()
        self.network, self.labels, self.see = network, labels, see

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """As the network."""
        self.see(batch)
        if self.network is None:
            return batch.new_zeros(len(batch), self.labels, *batch.shape[2:])
        answer: torch.Tensor = self.network(batch)
        return answer


def example_inputs(
    spec: ModelSpec, network: nn.Module, images: Images, truth: BoolArray | None, most: int
) -> list[Float32Array]:
    """Inputs of the network for one case, at most so many, drawn at random but always the same.

    An automatic model's are windows of the images, a click model's those of clicks on voxels where its mask is wrong.

    Args:
        spec: of kind ``auto`` or ``clicks``.
        network: float32 on the CPU.
        images: of the case.
        truth: the tumour on the grid of the first image, which clicks need.
        most: largest number of inputs.

    Raises:
        ArgumentError: a model for clicks is given no truth.
        RoleError, GeometryError: the images are not what the model takes.
    """
    examples = Examples(most)

    def see(batch: torch.Tensor) -> None:  # a function, which is shared where engines copy their network
        examples.add(batch)

    if spec.kind == "auto":
        AutoEngine(spec, _Observed(None, len(spec.labels), see), ON_CPU).segment(images)
    elif truth is None:
        raise ArgumentError(f"model {spec.name!r} is for clicks, and a case has no contour to click on")
    else:
        _click(ClickEngine(spec, _Observed(network, len(spec.labels), see), ON_CPU), images, truth)
    return examples.windows


def _click(engine: ClickEngine, images: Images, truth: BoolArray) -> None:
    prepared, prompts = engine.prepare(images), Prompts()
    probability: UInt8Array = np.zeros(ImageSet.of(images).grid.shape, dtype=np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(CLICKS):
        click = random_correction(probability >= TUMOUR, truth, rng)
        if click is None:
            return
        prompts = prompts.with_prompt(click)
        answer = engine.refine(prepared, probability, prompts)
        probability[slices(answer.box)] = answer.probability
