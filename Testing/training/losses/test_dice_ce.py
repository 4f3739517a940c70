"""The loss against hand values, PyTorch's formulas and MONAI."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss

from training.losses.dice_ce import dice_and_cross_entropy


def labels_of(*values: int) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_loss_by_hand() -> None:
    # Probability 1/2 everywhere: overlap 1, sum 2 + 2; cross-entropy log 2.
    loss = dice_and_cross_entropy(torch.zeros(1, 1, 1, 1, 4), labels_of(1, 1, 0, 0))
    assert loss.item() == pytest.approx(1 - (2 * 1 + 1) / (4 + 1) + math.log(2), rel=1e-6)


def test_loss_of_one_label_equals_sigmoid_losses() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(2, 1, 5, 6, 7) * 2, torch.randint(0, 2, (2, 5, 6, 7))
    truth = labels[:, None].float()
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)(logits, truth)
    expected = dice + F.binary_cross_entropy_with_logits(logits, truth)
    assert dice_and_cross_entropy(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("number", [2, 4])
def test_loss_of_several_labels_equals_monai(number: int) -> None:
    torch.manual_seed(number)
    logits, labels = torch.randn(2, number, 5, 6, 7) * 2, torch.randint(0, number + 1, (2, 5, 6, 7))
    scores = torch.cat([torch.zeros(2, 1, 5, 6, 7), logits], dim=1)
    monai = DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1.0, smooth_dr=1.0
    )
    dice = monai.dice(scores, labels[:, None])
    expected = dice + F.cross_entropy(scores, labels)  # MONAI leaves background out of its cross-entropy, too
    assert dice_and_cross_entropy(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_loss_is_float32_for_logits_of_half_precision() -> None:
    """In bfloat16 or float16 the sum over a patch would lose whole voxels, or overflow."""
    labels = torch.zeros(1, 64, 64, 64, dtype=torch.long)
    labels[:, 8:56, 8:56, 8:56] = 1
    logits = torch.where(labels == 1, 3.0, -3.0)[:, None]
    exact = dice_and_cross_entropy(logits, labels)
    for kind in (torch.bfloat16, torch.float16):
        loss = dice_and_cross_entropy(logits.to(kind), labels)
        assert loss.dtype is torch.float32
        assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


def focus_on(*weights: float) -> torch.Tensor:
    return torch.tensor(weights).reshape(1, 1, 1, -1)


def test_focus_by_hand() -> None:
    """Logits of log 3 for three tumour voxels and a healthy one: cross-entropies 3 times log 4/3, and log 4."""
    logits, labels = torch.full((1, 1, 1, 1, 4), math.log(3)), labels_of(1, 1, 1, 0)
    plain = dice_and_cross_entropy(logits, labels).item()
    assert plain == pytest.approx(1 - (2 * 2.25 + 1) / (3 + 3 + 1) + (3 * math.log(4 / 3) + math.log(4)) / 4, rel=1e-6)
    right, wrong, between, fainter = (
        dice_and_cross_entropy(logits, labels, focus_on(*weights)).item()
        for weights in ((0.0, 1, 1, 0), (0.0, 0, 0, 1), (0.0, 0.5, 0.25, 0.25), (0.0, 0.25, 0.125, 0.125))
    )
    assert right - plain == pytest.approx(0.5 * math.log(4 / 3), rel=1e-5)
    assert wrong - plain == pytest.approx(0.5 * math.log(4), rel=1e-5)
    assert between - plain == pytest.approx(0.5 * (0.75 * math.log(4 / 3) + 0.25 * math.log(4)), rel=1e-5)
    assert fainter == pytest.approx(between, rel=1e-6)


def test_the_same_focus_everywhere_is_half_the_cross_entropy() -> None:
    torch.manual_seed(2)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 4, (2, 4, 5, 6))
    everywhere = dice_and_cross_entropy(logits, labels, torch.full(labels.shape, 0.3))
    entropy = F.cross_entropy(torch.cat([torch.zeros(2, 1, 4, 5, 6), logits], dim=1), labels)
    expected = dice_and_cross_entropy(logits, labels) + 0.5 * entropy
    assert everywhere.item() == pytest.approx(expected.item(), rel=1e-5)
