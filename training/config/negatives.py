"""The section ``[negatives]``: how often an automatic model is shown images without a tumour, and which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.config.loader import check_range
from TumorSegLib.errors import ArgumentError

#: Sources of negatives that are no set of ``suite.json``.
PHANTOMS, SARCOMAS = "phantoms", "sarcomas"


@dataclass(frozen=True)
class NegativeSettings:
    """Images without a tumour among the samples of an automatic model.

    Attributes:
        start_from: automatic model whose weights the network starts from; empty: random ones.
        share: how often a sample comes from these images.
        lesion_share: how often a synthetic lesion is put into them, so that organs around do not mean "no tumour".
        synthetic_pet: how often a CT without a PET gets a synthetic one, in which organs differ at random.
        phantoms: number of synthetic trunks without a tumour.
        sources: relative frequency of the sets of ``suite.json``, by name; of ``phantoms``; and of ``sarcomas``, the
            parts of the patients trained on that lie on one side of the tumour.
    """

    start_from: str = ""
    share: float = 0.5
    lesion_share: float = 0.0
    synthetic_pet: float = 0.0
    phantoms: int = 0
    sources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "share", "lesion_share", "synthetic_pet")
        check_range(self, 0, math.inf, "phantoms")
        if not all(0 <= value < math.inf for value in self.sources.values()) or not sum(self.sources.values()) > 0:
            raise ArgumentError(f"sources = {dict(self.sources)} must give frequencies of sets, {PHANTOMS}, {SARCOMAS}")
        if self.sources.get(PHANTOMS, 0) > 0 and not self.phantoms:
            raise ArgumentError(f"sources has {PHANTOMS!r}, so phantoms = 0 must be at least 1")
