"""The section ``[objects]``: where a class-agnostic prompt model has its objects from, and how they are prompted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.config.loader import check_range
from TumorSegLib.errors import ArgumentError

#: Sources of objects.
SOURCES = ("sarcomas", "contours", "regions", "synthetic", "lesions", "suggested")
#: Kinds of prompts that begin an episode, and that correct.
FIRST_PROMPTS = ("click", "scribble", "lasso", "line", "box", "slice_box")
NEXT_PROMPTS = ("click", "scribble", "lasso")
#: What an episode begins with.
STARTS = ("empty", "corrupted", "near")


@dataclass(frozen=True)
class ObjectSettings:
    """Sources of objects and simulated prompts; each mapping gives relative frequencies.

    Attributes:
        start_from: click model whose weights the network starts from; empty: random ones.
        sources: of ``SOURCES``; sarcomas and contours are contours of people, regions are what images suggest, and
            suggested what a box model found in them.
        suggested: folder of the source ``suggested``, as ``suggest-objects`` writes it; empty: there is none.
        roles: how often a case with several images shows 1, 2, 3 of them.
        starts: of ``STARTS``: no mask, another program's (the truth with a wrong boundary), or the answer of a view
            half as large.
        first_prompts, next_prompts: of ``FIRST_PROMPTS`` and ``NEXT_PROMPTS``.
        mean_rounds, most_rounds: prompts per episode: 1 plus an exponential number of this mean, at most so many.
        off_centre_share: how often a click goes to a random voxel of the error instead of its centre.
        previous_dropout: how often the channel of the previous answer is empty.
    """

    start_from: str = ""
    sources: Mapping[str, float] = field(
        default_factory=lambda: {"sarcomas": 0.25, "contours": 0.08, "regions": 0.12, "synthetic": 0.25, "lesions": 0.3}
    )
    suggested: str = ""
    roles: tuple[float, float, float] = (0.55, 0.3, 0.15)
    starts: Mapping[str, float] = field(default_factory=lambda: {"empty": 0.7, "corrupted": 0.2, "near": 0.1})
    first_prompts: Mapping[str, float] = field(
        default_factory=lambda: {
            "click": 0.56,
            "scribble": 0.1,
            "lasso": 0.06,
            "line": 0.12,
            "box": 0.1,
            "slice_box": 0.06,
        }
    )
    next_prompts: Mapping[str, float] = field(default_factory=lambda: {"click": 0.78, "scribble": 0.13, "lasso": 0.09})
    mean_rounds: float = 2.5
    most_rounds: int = 10
    off_centre_share: float = 0.3
    previous_dropout: float = 0.1

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "off_centre_share", "previous_dropout")
        check_range(self, 0, math.inf, "mean_rounds")
        check_range(self, 1, math.inf, "most_rounds")
        for name, known in (
            ("sources", SOURCES), ("starts", STARTS), ("first_prompts", FIRST_PROMPTS), ("next_prompts", NEXT_PROMPTS)
        ):  # fmt: skip
            values: Mapping[str, float] = getattr(self, name)
            frequencies = all(0 <= value < math.inf for value in values.values()) and sum(values.values()) > 0
            if not frequencies or not set(values) <= set(known):
                raise ArgumentError(f"{name} = {dict(values)} must give frequencies of {', '.join(known)}")
        if not all(0 <= share < math.inf for share in self.roles) or not self.roles[0] > 0:
            raise ArgumentError(f"roles = {list(self.roles)} must be three frequencies, the first above 0")
        if self.sources.get("suggested", 0) > 0 and not self.suggested:
            raise ArgumentError('the source suggested needs suggested = "FOLDER", which suggest-objects writes')
