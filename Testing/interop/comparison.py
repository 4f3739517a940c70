"""The answer of this project and that of nnU-Net on one case, label by label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from TumorSegLib.protocols import Result

#: How alike the answers must be.
LEAST_DICE, LARGEST_DIFFERENCE = 0.999, 1e-3


@dataclass(frozen=True)
class Agreement:
    """On one label: Dice between the label maps, and the largest difference of its probability."""

    label: str
    dice: float
    difference: float

    @property
    def holds(self) -> bool:
        return self.dice >= LEAST_DICE and self.difference <= LARGEST_DIFFERENCE

    def __str__(self) -> str:
        return f"{self.label}: Dice {self.dice:.4f}, largest difference of probabilities {self.difference:.1e}"


def agreements(
    result: Result, labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating]
) -> list[Agreement]:
    """One per label.

    Args:
        result: ours.
        labels: nnU-Net's label map ``[k, j, i]``.
        probabilities: nnU-Net's, ``[labels, k, j, i]`` in the order of the result's labels.
    """
    found = []
    for (name, answer), expected in zip(result.labels.items(), probabilities, strict=True):
        ours, theirs = result.mask.array == answer.value, labels == answer.value
        total = int(ours.sum() + theirs.sum())
        dice = 2 * int((ours & theirs).sum()) / total if total else 1.0
        found.append(Agreement(name, dice, float(np.abs(result.probability_of(name).array - expected).max())))
    return found
