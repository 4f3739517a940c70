"""What every section ``[optimisation]`` has."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.config.loader import check_range


@dataclass(frozen=True)
class Optimiser:
    """AdamW and how long it runs.

    Attributes:
        steps, batch: optimiser steps, and samples per step and process.
        learning_rate, warm_up: peak, reached linearly after that many steps, then a half cosine down to 0.
        weight_decay, gradient_clip: AdamW's, and the largest gradient norm.
        seed: of weights and samples.
    """

    steps: int
    batch: int = 2
    learning_rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 1e-2
    gradient_clip: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "steps", "batch")
        check_range(self, 0, math.inf, "learning_rate", "warm_up", "weight_decay", "seed")
        check_range(self, 1e-12, math.inf, "gradient_clip")
