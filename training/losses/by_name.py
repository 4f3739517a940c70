"""The loss functions that a configuration may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from training.losses import overlap
from training.losses.dice_ce import dice_and_cross_entropy, dice_of_each_and_cross_entropy

#: Called with logits, labels and focus, see :func:`training.losses.dice_ce.dice_and_cross_entropy`.
Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def _everywhere(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Loss:
    """A loss that knows no focus."""

    def compute(logits: torch.Tensor, labels: torch.Tensor, focus: torch.Tensor | None) -> torch.Tensor:
        if focus is not None:
            raise ValueError(f"{loss.__name__} weighs all voxels alike")
        return loss(logits, labels)

    return compute


#: Losses that weigh voxels near the last prompt more, for refinement networks and others.
WITH_FOCUS: dict[str, Loss] = {
    "dice_ce": dice_and_cross_entropy,
    "dice_each_ce": dice_of_each_and_cross_entropy,
}
LOSSES: dict[str, Loss] = {
    **WITH_FOCUS,
    "generalised_dice": _everywhere(overlap.generalised_dice),
    "tversky": _everywhere(overlap.tversky),
    "focal": _everywhere(overlap.focal),
    "focal_tversky": _everywhere(overlap.focal_tversky),
    "dice_ce_boundary": _everywhere(overlap.dice_ce_boundary),
    "dice_ce_hausdorff": _everywhere(overlap.dice_ce_hausdorff),
}
