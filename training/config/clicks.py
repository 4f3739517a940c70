"""The section ``[clicks]``: how simulated users prompt a refinement network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.config.loader import check_range
from TumorSegLib.errors import ArgumentError

#: Kinds of first mask of an episode.
STARTS = ("first_stage", "empty", "corrupted", "shifted")


@dataclass(frozen=True)
class ClickSettings:
    """How simulated users prompt a refinement network; each random number is uniform unless said otherwise.

    Attributes:
        first_stage: automatic model whose weights the network starts from and whose answers episodes may start from;
            empty: none.
        starts: relative frequency of what an episode begins with, see ``STARTS``.
        context: voxels by which an episode's images are longer than a patch along each axis; patches move with the
            clicks.
        mean_rounds, most_rounds: clicks per episode: 1 plus an exponential number of this mean, at most so many.
        off_centre_share: how often a click goes to a random voxel of the error instead of its centre.
        stroke_share: how often the prompt is a scribble instead of a click.
        previous_dropout: how often the channel of the previous answer is empty.
        zooms: relative frequency of multiples of the model's spacing.
        small_share, small_scale: how often, and by which magnifications, tumours become small.
        warp_share, warp_mm, warp_length_mm: how often the target's boundary is moved by a smooth random distance, so
            that only the clicks show where it lies; its largest displacement and correlation length.
        corruption_mm, corruption_length_mm: the same of a corrupted first mask.
        shift_mm: largest displacement of a shifted first mask along each axis.
    """

    first_stage: str = ""
    starts: Mapping[str, float] = field(
        default_factory=lambda: {"first_stage": 0.4, "empty": 0.3, "corrupted": 0.2, "shifted": 0.1}
    )
    context: int = 32
    mean_rounds: float = 4.0
    most_rounds: int = 15
    off_centre_share: float = 0.3
    stroke_share: float = 0.1
    previous_dropout: float = 0.1
    zooms: Mapping[str, float] = field(default_factory=lambda: {"1": 1.0})
    small_share: float = 0.0
    small_scale: tuple[float, float] = (0.25, 0.7)
    warp_share: float = 0.0
    warp_mm: float = 6.0
    warp_length_mm: float = 30.0
    corruption_mm: float = 20.0
    corruption_length_mm: float = 40.0
    shift_mm: float = 20.0

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "off_centre_share", "stroke_share", "previous_dropout", "small_share", "warp_share")
        check_range(self, 0, math.inf, "context", "mean_rounds", "warp_mm", "corruption_mm", "shift_mm")
        check_range(self, 1, math.inf, "most_rounds", "warp_length_mm", "corruption_length_mm")
        if not 0 < self.small_scale[0] <= self.small_scale[1] < math.inf:
            raise ArgumentError(f"small_scale = {list(self.small_scale)} must be two positive numbers, smaller first")
        if not _frequencies(self.starts) or not set(self.starts) <= set(STARTS):
            raise ArgumentError(f"starts = {dict(self.starts)} must give frequencies of {', '.join(STARTS)}")
        if not _frequencies(self.zooms) or not all(_is_positive(zoom) for zoom in self.zooms):
            raise ArgumentError(f"zooms = {dict(self.zooms)} must give frequencies of positive numbers, in quotes")
        if len({float(zoom) for zoom in self.zooms}) < len(self.zooms):
            raise ArgumentError(f"zooms = {dict(self.zooms)} names one number twice")


def _frequencies(values: Mapping[str, float]) -> bool:
    return all(0 <= value < math.inf for value in values.values()) and sum(values.values()) > 0


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
