"""The loss: soft Dice plus cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def dice_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean of soft Dice loss over labels plus cross-entropy (Isensee et al., Nat Methods 2021, "nnU-Net").

    Dice is taken over the whole batch: a patch without tumour then does not count as a full error for one voxel.

    Args:
        logits: ``[batch, labels, k, j, i]``, background's logit being fixed at 0.
        labels: int64 ``[batch, k, j, i]``, 0 is background.

    Returns:
        A scalar, float32.
    """
    scores = torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1).float()
    log_probability = F.log_softmax(scores, dim=1)
    probability = log_probability[:, 1:].exp()
    truth = torch.stack([labels == n for n in range(1, scores.shape[1])], dim=1).float()
    axes = (0, 2, 3, 4)
    overlap, total = (probability * truth).sum(axes), (probability + truth).sum(axes)
    dice = (2 * overlap + 1) / (total + 1)
    return 1 - dice.mean() + F.nll_loss(log_probability, labels)
