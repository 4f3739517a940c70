"""How well an engine agrees with another one of the same model, as one in int8 with one in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from TumorSegLib.errors import ModelError
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.arrays import BoolArray, UInt8Array
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.probability import TUMOUR
from TumorSegLib.images.volume import Images
from TumorSegLib.models.int8 import Agreement
from TumorSegLib.prompts.types import Click, Prompts
from TumorSegLib.protocols import AutoSegmenter, ClickSegmenter

#: The next click on a mask, given the truth; None where there is nothing to correct. Both are bool ``[k, j, i]``.
Clicker = Callable[[BoolArray, BoolArray], Click | None]


class Pair(NamedTuple):
    """Two masks of one case: Dice between them, and how much lower the second one's Dice to the truth is, if known."""

    dice: float
    loss: float | None


def compare_automatic(exact: AutoSegmenter, copy: AutoSegmenter, images: Images, truth: BoolArray | None) -> Pair:
    """Segments a case with both engines; ``truth`` is bool ``[k, j, i]`` on the grid of the first image."""
    first, second = (engine.segment(images).mask.array > 0 for engine in (exact, copy))
    return _pair(first, second, truth)


def compare_clicks(
    engines: tuple[ClickSegmenter[Any], ClickSegmenter[Any]],
    images: Images,
    truth: BoolArray,
    clicker: Clicker,
    clicks: int,
) -> list[Pair]:
    """Begins a case with two engines from nothing and corrects it, both with the clicks that correct the first one.

    Returns:
        The pair after each click; fewer where the first engine's mask needs no more.
    """
    first, second = (_Correction(engine, images) for engine in engines)
    pairs = []
    for _ in range(clicks):
        click = clicker(first.mask, truth)
        if click is None:
            break
        first.answer(click)
        second.answer(click)
        pairs.append(_pair(first.mask, second.mask, truth))
    return pairs


def check_precision(engine: Any, precision: str) -> None:
    """Raises :class:`ModelError` where an engine did not run as it was loaded, but fell back to something else."""
    info = engine.info
    if info.precision != precision:
        raise ModelError(f"model {info.model!r} did not run in {precision}: {' '.join(info.notes)}")


def summarise_pairs(groups: Iterable[Sequence[Pair]]) -> Agreement:
    """Each figure of the group, the cases with some roles or after so many clicks, for which it is worst."""
    groups = [group for group in groups if group]
    losses = [[pair.loss for pair in group if pair.loss is not None] for group in groups]
    known = all(len(some) == len(group) for some, group in zip(losses, groups))
    return Agreement(
        cases=max((len(group) for group in groups), default=0),
        mean=min((float(np.mean([pair.dice for pair in group])) for group in groups), default=0.0),
        worst=min((pair.dice for group in groups for pair in group), default=0.0),
        dice_loss=max(float(np.mean(some)) for some in losses) if groups and known else None,
    )


class _Correction:
    """A case that is corrected with clicks."""

    def __init__(self, engine: ClickSegmenter[Any], images: Images) -> None:
        self._engine, self._prepared, self._prompts = engine, engine.prepare(images), Prompts()
        self._probability: UInt8Array = np.zeros(ImageSet.of(images).grid.shape, dtype=np.uint8)

    @property
    def mask(self) -> BoolArray:
        """The mask so far."""
        return np.asarray(self._probability >= TUMOUR)

    def answer(self, click: Click) -> None:
        """Corrects the mask."""
        self._prompts = self._prompts.with_prompt(click)
        refined = self._engine.refine(self._prepared, self._probability, self._prompts)
        self._probability[slices(refined.box)] = refined.probability


def _pair(first: BoolArray, second: BoolArray, truth: BoolArray | None) -> Pair:
    return Pair(dice(first, second), None if truth is None else dice(first, truth) - dice(second, truth))
