"""Whether the values of an image can be in the unit of its role: HU for CT, SUV for PET.

Files state no unit, and models accept any values: a CT that is 1024 too large silently halves the Dice. An image
is refused only where no CT in HU, or no PET in SUV, has such values. Tried on 118 CTs of 19 open collections, whole and
in 11,000 crops of 8 to 64 voxels: none is refused, and of the whole ones brought to each of the wrong scales at least
nine in ten are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, SuvError
from TumorSegLib.geometry.arrays import Float32Array
from TumorSegLib.images.roles import is_ct, is_pet

# Larger images are thinned out to this many voxels: 400^3 voxels take seconds to count.
PLAUSIBILITY_VOXELS = 1e6
# Bladder and brain reach 30 and noise 100 in single voxels; tissue holds thousands of Bq/ml an hour after injection.
LARGEST_SUV = 100.0
LARGEST_SUV_PERCENTILE = 99.9

# Of the voxels above 200 HU, the share that lies in this range, where the water of a CT 1000 or 1024 too large and the
# air of an inverted one lie: at most 0.22 in crops of 64^3 voxels of 118 CTs of 19 open collections, and at most 0.65
# in smaller ones, round the shaft of a femur.
TOO_DENSE_HU = (850.0, 1250.0)
TOO_DENSE_SHARE, TOO_DENSE_SHARE_OF_SMALL = 0.4, 0.7
BONE_HU = 200.0
# Bone and contrast medium fill at most 0.51 of such a crop of 32^3 voxels; smaller ones can lie within a bone.
LARGEST_BONE_SHARE = 0.6
SMALL, LARGE = 30_000, 200_000
# A noise-free phantom of up to this many tissues also has few values, and is not an 8-bit picture.
FEW_VALUES = 16
# Air is darker in a CT; no MR, PET or map in common use has such values.
MOST_AIR_HU = -900.0
# The largest value of 12-bit CT; metal alone goes beyond.
DENSEST_HU = 3071.0


def check_plausible(array: npt.NDArray[Any], role: str) -> None:
    """Checks that an image can be in the unit of its role, by :func:`check_ct` or :func:`check_suv`.

    Args:
        array: real ``[k, j, i]``.
        role: roles other than those of CT and PET have no unit and pass.

    Raises:
        ArgumentError: a CT that cannot be in HU.
        SuvError: a PET that cannot be in SUV.
    """
    if is_ct(role):
        check_ct(array)
    elif is_pet(role):
        check_suv(array)


def check_suv(array: npt.NDArray[Any]) -> None:
    """Checks that a PET image can be in SUV: in Bq/ml its values are far too large.

    Args:
        array: real ``[k, j, i]``; large images are sampled at every n-th voxel along each axis.

    Raises:
        SuvError: the 99.9th percentile is above 100.
    """
    value = float(np.percentile(_thinned(array), LARGEST_SUV_PERCENTILE))
    if value > LARGEST_SUV:
        raise SuvError(
            f"PET must be in SUV (g/ml), but the {LARGEST_SUV_PERCENTILE:g}th percentile of the voxels is {value:.4g},"
            f" more than {LARGEST_SUV:g}: probably Bq/ml; convert it, or read the DICOM series"
        )


def check_ct(array: npt.NDArray[Any]) -> None:
    """Checks that a CT image can be in HU: not 1024 too large, inverted, scaled to 0..1 or 0..255, or a tenth.

    An image of one value passes, and so does a small crop that may show a single tissue.

    Args:
        array: real ``[k, j, i]``; large images are sampled at every n-th voxel along each axis.

    Raises:
        ArgumentError: no CT in HU has such values; the message names what is probably wrong.
    """
    values = _thinned(array).astype(np.float32).ravel()
    for suspicion in _suspicions(values, float(values.min()), float(values.max())):
        raise ArgumentError(f"CT must be in HU (air -1000, water 0), but {suspicion}; convert it to HU first")


def looks_like_ct(array: npt.NDArray[Any]) -> bool:
    """Whether an image of unknown kind is a CT in HU: it has air, or what scanners fill corners with, and may be HU.

    Args:
        array: real ``[k, j, i]``.
    """
    if _thinned(array).min() > MOST_AIR_HU:
        return False
    try:
        check_ct(array)
    except ArgumentError:
        return False
    return True


def _thinned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    step = max(1, round((array.size / PLAUSIBILITY_VOXELS) ** (1 / 3)))
    return array[::step, ::step, ::step]


def _suspicions(values: Float32Array, low: float, high: float) -> Iterator[str]:
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
        yield f"{bone:.0%} of its voxels lie above {BONE_HU:g}, as only bone does: probably too large or inverted"
    elif too_dense and share(-np.inf, -30) < 0.05 and _low(values) < 30:
        yield f"{dense:.0%} of its voxels lie about 1000 and none below air at 0: probably 1000 or 1024 too large"
    elif too_dense and (share(-75, -25) > share(25, 75) or (dense > 0.2 and values.size > SMALL)):
        yield f"{dense:.0%} of its voxels lie about 1000, as only a femur's shaft does: probably inverted"
    air, below, soft = share(-104, -84), share(-np.inf, -104), share(-15, 12)
    if air > 0.05 and below < 0.05 * air and soft > 0.6 * share(-84, np.inf):
        yield f"{air:.0%} of its voxels lie about -100 and none below: probably a tenth of HU"


def _low(values: Float32Array) -> float:
    """Tenth percentile below bone: air in a CT 1024 too large is at most 24, muscle 30; 0 where there is bone alone."""
    below = values[values < BONE_HU]
    return float(np.percentile(below, 10)) if below.size else 0.0
