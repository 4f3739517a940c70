"""The loss functions that a configuration may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from training.losses.dice_ce import dice_and_cross_entropy, dice_of_each_and_cross_entropy

#: Called with logits, labels and focus, see :func:`training.losses.dice_ce.dice_and_cross_entropy`.
Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]

LOSSES: dict[str, Loss] = {"dice_ce": dice_and_cross_entropy, "dice_each_ce": dice_of_each_and_cross_entropy}
