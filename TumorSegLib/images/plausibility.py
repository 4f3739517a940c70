"""Whether the values of a CT can be in HU; :func:`TumorSegLib.io.dicom.suv.factor.check_suv` does the same for PET.

Files state no unit, and models take whatever they get: a CT that is 1024 too large costs half the Dice, unsaid. Only
what no CT in HU looks like is refused. Tried on 118 CTs of 19 open collections, whole and in 11,000 crops of 8 to 64
voxels: none is refused, and of the whole ones brought to each of the wrong scales at least nine in ten are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError

# More voxels than these are thinned out: to count 400^3 voxels takes seconds.
PLAUSIBILITY_VOXELS = 1e6

# Of the voxels above 200 HU, the share that lies in this range, where the water of a CT 1000 or 1024 too large and the
# air of one turned round lie: at most 0.22 in crops of 64^3 voxels of 118 CTs of 19 open collections, and at most 0.65
# in smaller ones, round the shaft of a femur.
TOO_DENSE_HU = (850.0, 1250.0)
TOO_DENSE_SHARE, TOO_DENSE_SHARE_OF_SMALL = 0.4, 0.7
BONE_HU = 200.0
# Bone and contrast medium fill at most 0.51 of such a crop of 32^3 voxels; smaller ones can lie within a bone.
LARGEST_BONE_SHARE = 0.6
SMALL, LARGE = 30_000, 200_000
# A phantom of so many tissues without noise is no picture.
FEW_VALUES = 16
# The largest value of 12-bit CT; metal alone goes beyond.
DENSEST_HU = 3071.0


def check_ct(array: npt.NDArray[Any]) -> None:
    """Checks that a CT image can be in HU: not 1024 too large, turned round, scaled to 0..1 or 0..255, or a tenth.

    An image of one value passes, and so does a small crop that may show a single tissue.

    Args:
        array: real ``[k, j, i]``; of large images only every n-th voxel along each axis is looked at.

    Raises:
        ArgumentError: no CT in HU looks so; the message names what is probably wrong.
    """
    step = max(1, round((array.size / PLAUSIBILITY_VOXELS) ** (1 / 3)))
    values = array[::step, ::step, ::step].astype(np.float32).ravel()
    for suspicion in _suspicions(values, float(values.min()), float(values.max())):
        raise ArgumentError(f"CT must be in HU (air -1000, water 0), but {suspicion}; convert it to HU first")


def _suspicions(values: npt.NDArray[np.float32], low: float, high: float) -> Iterator[str]:
    def share(least: float, most: float) -> float:
        return float(((values >= least) & (values <= most)).mean())

    span = f"its values lie between {low:g} and {high:g}"
    if low == high:
        return
    # Noise alone spans more than 20 HU; a phantom without noise has whole numbers.
    if high - low <= 3 or (high - low < 20 and (values % 1).any()):
        yield f"{span}: probably scaled to a range such as 0 to 1"
    at_limits = share(0, 0) >= 0.01 or share(255, 255) >= 0.001
    if low >= 0 and 128 <= high <= 255 and at_limits and np.unique(values).size > FEW_VALUES:
        yield f"{span}, many of them at the limits: probably grey levels of a window, 0 to 255"
    if share(DENSEST_HU, np.inf) > 0.5:
        yield f"half of its voxels are above {DENSEST_HU:g}: probably stored values without their intercept"
    bone, dense = share(BONE_HU, np.inf), share(*TOO_DENSE_HU)
    allowed = TOO_DENSE_SHARE if values.size > LARGE else TOO_DENSE_SHARE_OF_SMALL
    too_dense = bone > 0.1 and dense > allowed * bone
    if bone > LARGEST_BONE_SHARE and values.size > SMALL:
        yield f"{bone:.0%} of its voxels lie above {BONE_HU:g}, as only bone does: probably too large or turned round"
    elif too_dense and share(-np.inf, -30) < 0.05 and _low(values) < 30:
        yield f"{dense:.0%} of its voxels lie about 1000 and none below air at 0: probably 1000 or 1024 too large"
    elif too_dense and (share(-75, -25) > share(25, 75) or (dense > 0.2 and values.size > SMALL)):
        yield f"{dense:.0%} of its voxels lie about 1000, as only a femur's shaft does: probably turned round"
    air, below, soft = share(-104, -84), share(-np.inf, -104), share(-15, 12)
    if air > 0.05 and below < 0.05 * air and soft > 0.6 * share(-84, np.inf):
        yield f"{air:.0%} of its voxels lie about -100 and none below: probably a tenth of HU"


def _low(values: npt.NDArray[np.float32]) -> float:
    """Tenth percentile below bone: air in a CT 1024 too large is at most 24, muscle 30; 0 where there is bone alone."""
    below = values[values < BONE_HU]
    return float(np.percentile(below, 10)) if below.size else 0.0
