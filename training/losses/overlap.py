"""Losses of region, of hard voxels and of distance to the boundary; MONAI's where it has them.

All are called with logits ``[batch, labels, k, j, i]``, background's being fixed at 0, and labels int64
``[batch, k, j, i]``, 0 for background, and give a scalar, float32. Distances are voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import torch
from monai import losses
from scipy.ndimage import distance_transform_edt
from torch import nn

from training.losses.dice_ce import dice_and_cross_entropy

# A missed voxel weighs more than one too many (Salehi et al. 2017), and Tversky's index of each label is raised to this
# power (Abraham and Khan 2019).
TOO_MANY, MISSED, FOCAL_TVERSKY = 0.3, 0.7, 0.75
# Weight of a distance beside Dice and cross-entropy: alone it does not find what is far away.
BOUNDARY, HAUSDORFF = 0.05, 0.01

_TAKING_LOGITS = {"to_onehot_y": True, "softmax": True}
#: MONAI's losses by name. Generalised Dice is Sudre et al. 2017, focal loss Lin et al. 2017, Hausdorff by distance
#: transform Karimi and Salcudean 2020.
MONAI: Mapping[str, Callable[[], nn.Module]] = {
    "generalised_dice": lambda: losses.GeneralizedDiceLoss(batch=True, **_TAKING_LOGITS),
    "tversky": lambda: losses.TverskyLoss(
        include_background=False, alpha=TOO_MANY, beta=MISSED, batch=True, **_TAKING_LOGITS
    ),
    "each_tversky": lambda: losses.TverskyLoss(
        include_background=False, alpha=TOO_MANY, beta=MISSED, batch=True, reduction="none", **_TAKING_LOGITS
    ),
    "focal": lambda: losses.FocalLoss(to_onehot_y=True, use_softmax=True),
    "hausdorff": lambda: losses.HausdorffDTLoss(batch=True, **_TAKING_LOGITS),
}


def generalised_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Dice in which each label, background too, weighs by the inverse square of its volume."""
    return _of_monai("generalised_dice", logits, labels)


def tversky(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Dice in which a missed voxel weighs 0.7, one too many 0.3, mean over labels."""
    return _of_monai("tversky", logits, labels)


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in which voxels that are nearly right weigh little (gamma 2)."""
    return _of_monai("focal", logits, labels)


def focal_tversky(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Tversky's loss of each label to the power 0.75, mean over labels: hard ones weigh more."""
    # At 0, of a label that is right, the slope of the power would be infinite.
    return (_of_monai("each_tversky", logits, labels).clamp(min=1e-6) ** FOCAL_TVERSKY).mean()


def dice_ce_hausdorff(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Dice and cross-entropy, and 0.01 times Hausdorff's distance by distance transforms."""
    return dice_and_cross_entropy(logits, labels) + HAUSDORFF * _of_monai("hausdorff", logits, labels)


def dice_ce_boundary(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Dice and cross-entropy, and 0.05 times the boundary loss (Kervadec et al. 2019).

    That is the mean of the probability times the signed distance to the label's surface, negative inside.
    """
    probability = torch.softmax(_scores(logits), dim=1)[:, 1:]
    distance = torch.stack([_signed_distances(labels == n) for n in range(1, probability.shape[1] + 1)], dim=1)
    return dice_and_cross_entropy(logits, labels) + BOUNDARY * (probability * distance).mean()


def _of_monai(name: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _loss(name)(_scores(logits), labels[:, None])
    return result


@cache
def _loss(name: str) -> nn.Module:
    return MONAI[name]()


def _scores(logits: torch.Tensor) -> torch.Tensor:
    """Logits of background and labels, float32."""
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1).float()


def _signed_distances(masks: torch.Tensor) -> torch.Tensor:
    """Signed distance in voxels to the surface of each mask of a batch; 0 where there is none or no outside."""
    arrays = masks.cpu().numpy()
    result = np.zeros(arrays.shape, dtype=np.float32)
    for mask, distance in zip(arrays, result):
        if mask.any() and not mask.all():
            # As in the published code: the voxels at the surface have 0 inside and 1 outside.
            distance[...] = np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))
    return torch.from_numpy(result).to(masks.device)
