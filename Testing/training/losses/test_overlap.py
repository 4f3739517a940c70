"""The losses that automatic models may be trained with: by hand, by their formulas, and what they prefer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from training.losses.by_name import LOSSES, WITH_FOCUS
from training.losses.dice_ce import dice_and_cross_entropy
from training.losses.overlap import (
    BOUNDARY,
    HAUSDORFF,
    dice_ce_boundary,
    dice_ce_hausdorff,
    focal,
    focal_tversky,
    generalised_dice,
    tversky,
)

OTHERS = sorted(set(LOSSES) - set(WITH_FOCUS))


def logits_of(labels: torch.Tensor, number: int, sure: float = 6.0) -> torch.Tensor:
    """Logits that say a label map, so sure that the probability of an error is about exp(-sure)."""
    scores = torch.stack([(labels == n).float() for n in range(number + 1)], dim=1) * 2 * sure - sure
    return scores[:, 1:] - scores[:, :1]


def cube(low: int = 3, high: int = 9, value: int = 1) -> torch.Tensor:
    labels = torch.zeros(1, 12, 12, 12, dtype=torch.long)
    labels[:, low:high, low:high, low:high] = value
    return labels


def random_case(labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(labels)
    return torch.randn(2, labels, 6, 7, 8), torch.randint(0, labels + 1, (2, 6, 7, 8))


def parts(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and truth, with background, ``[batch, labels + 1, k, j, i]``."""
    scores = torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)
    truth = torch.stack([labels == n for n in range(scores.shape[1])], dim=1).float()
    return scores.softmax(dim=1), truth


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("labels", [1, 3])
def test_the_truth_is_better_than_anything_else_and_the_slope_leads_there(name: str, labels: int) -> None:
    truth = torch.maximum(cube(), cube(4, 8, labels))
    right, shifted, empty = (logits_of(each, labels) for each in (truth, truth.roll(3, 1), torch.zeros_like(truth)))
    loss = {key: LOSSES[name](each, truth, None).item() for key, each in zip("rse", (right, shifted, empty))}
    assert loss["r"] < loss["s"]
    assert loss["r"] < loss["e"]
    start = torch.zeros(1, labels, 12, 12, 12, requires_grad=True)
    LOSSES[name](start, truth, None).backward()  # type: ignore[no-untyped-call]
    assert start.grad is not None
    assert start.grad.isfinite().all()
    inside = truth[:, None] == torch.arange(1, labels + 1).reshape(1, -1, 1, 1, 1)
    assert start.grad[inside].mean() < 0 < start.grad[~inside].mean()


@pytest.mark.parametrize("name", OTHERS)
def test_patches_without_an_object_and_perfect_answers_have_finite_slopes(name: str) -> None:
    for truth in (torch.zeros(1, 12, 12, 12, dtype=torch.long), cube()):
        logits = logits_of(truth, 1, sure=30.0).requires_grad_()
        LOSSES[name](logits, truth, None).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("labels", [1, 3])
def test_formulas(labels: int) -> None:
    logits, truth_map = random_case(labels)
    p, g = parts(logits, truth_map)
    axes = (0, 2, 3, 4)
    weights = 1 / g.sum(axes) ** 2
    expected = 1 - 2 * (weights * (p * g).sum(axes)).sum() / (weights * (p + g).sum(axes)).sum()
    assert generalised_dice(logits, truth_map).item() == pytest.approx(expected.item(), abs=1e-3)  # MONAI adds 1e-5
    hit, extra, missed = (p * g).sum(axes)[1:], (p * (1 - g)).sum(axes)[1:], ((1 - p) * g).sum(axes)[1:]
    each = 1 - hit / (hit + 0.3 * extra + 0.7 * missed)
    assert tversky(logits, truth_map).item() == pytest.approx(each.mean().item(), abs=1e-4)
    assert focal_tversky(logits, truth_map).item() == pytest.approx((each**0.75).mean().item(), abs=1e-4)
    voxels = -(g * (1 - p) ** 2 * p.log()).mean()
    assert focal(logits, truth_map).item() == pytest.approx(voxels.item(), rel=1e-4)


def test_boundary_and_hausdorff_weigh_by_distance() -> None:
    truth = cube()
    mask = truth[0].numpy() == 1
    signed = np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))
    logits = torch.randn(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    p = torch.sigmoid(logits)[0, 0].numpy()
    own = dice_and_cross_entropy(logits, truth)
    expected = own.item() + BOUNDARY * float((p * signed).mean())
    assert dice_ce_boundary(logits, truth).item() == pytest.approx(expected, rel=1e-5)
    near, far = torch.zeros_like(truth), torch.zeros_like(truth)
    near[0, 9, 4:8, 4:8], far[0, 11, 4:8, 4:8] = 1, 1  # as many voxels too many, beside the cube and two away
    for loss, weight in ((dice_ce_boundary, BOUNDARY), (dice_ce_hausdorff, HAUSDORFF)):
        beside, away = (logits_of(truth + extra, 1) for extra in (near, far))
        assert dice_and_cross_entropy(beside, truth).item() == pytest.approx(dice_and_cross_entropy(away, truth).item())
        assert loss(away, truth) - loss(beside, truth) > weight * 0.01


@pytest.mark.parametrize("name", OTHERS)
def test_a_focus_is_refused_where_it_would_be_ignored(name: str) -> None:
    with pytest.raises(ValueError, match="weighs all voxels alike"):
        LOSSES[name](logits_of(cube(), 1), cube(), torch.ones(1, 12, 12, 12))
