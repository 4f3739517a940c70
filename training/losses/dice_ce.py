"""The loss: soft Dice plus cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Weight of the cross-entropy near the last prompt.
FOCUS = 0.5


def dice_of_each_and_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, focus: torch.Tensor | None = None
) -> torch.Tensor:
    """The same with Dice of each sample: every one has an object, and a small one counts as much as a large one."""
    return dice_and_cross_entropy(logits, labels, focus, axes=(2, 3, 4))


def dice_and_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    focus: torch.Tensor | None = None,
    axes: tuple[int, ...] = (0, 2, 3, 4),
) -> torch.Tensor:
    """Mean of soft Dice loss over labels plus cross-entropy (Isensee et al., Nat Methods 2021, "nnU-Net").

    Dice is taken over the whole batch: a patch without tumour then does not count as a full error for one voxel.

    Args:
        logits: ``[batch, labels, k, j, i]``, background's logit being fixed at 0.
        labels: int64 ``[batch, k, j, i]``, 0 is background.
        focus: float32 ``[batch, k, j, i]`` from 0 to 1: half the cross-entropy averaged with these weights is
            added. A refinement network reads its previous answer, which is right nearly everywhere, and would learn to
            repeat it, so voxels near the last click weigh more, right and wrong alike: weighting the error alone
            taught it to overshoot.
        axes: over which Dice is taken: with the batch, or without.

    Returns:
        A scalar, float32.
    """
    scores = torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1).float()
    log_probability = F.log_softmax(scores, dim=1)
    probability = log_probability[:, 1:].exp()
    truth = torch.stack([labels == n for n in range(1, scores.shape[1])], dim=1).float()
    overlap, total = (probability * truth).sum(axes), (probability + truth).sum(axes)
    dice = (2 * overlap + 1) / (total + 1)
    if focus is None:
        return 1 - dice.mean() + F.nll_loss(log_probability, labels)
    entropy = F.nll_loss(log_probability, labels, reduction="none")
    return 1 - dice.mean() + entropy.mean() + FOCUS * (entropy * focus).sum() / focus.sum()
