"""Display windows: the intensity range of an image that viewers show and 2D models get, as values from 0 to 1."""

from __future__ import annotations

import numpy as np

from TumorSegLib.errors import ArgumentError
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.roles import is_ct, is_pet
from TumorSegLib.images.volume import Volume

#: Limits in HU by name, from the usual level and width: soft tissue 40 / 400, lung -600 / 1500, bone 400 / 1800, liver
#: 60 / 160.
CT_WINDOWS = {
    "soft-tissue": (-160.0, 240.0),
    "lung": (-1350.0, 150.0),
    "bone": (-500.0, 1300.0),
    "liver": (-20.0, 140.0),
}
DEFAULT_CT_WINDOW = "soft-tissue"
#: Most images of malignant tumours are read from SUV 0 to 10.
PET_SUV = (0.0, 10.0)
#: Percentiles of what is not 0, as MedSAM was trained with (Ma et al., Nat Commun 2024).
MR_PERCENTILES = (0.5, 99.5)


def window_of(volume: Volume, ct_window: str = DEFAULT_CT_WINDOW) -> Normalisation:
    """The normalisation that maps the display window of an image to 0..1.

    Args:
        volume: role ``ct`` in HU, ``pet`` in SUV; any other role is taken for MR, in arbitrary units.
        ct_window: a name of ``CT_WINDOWS``; used for role ``ct`` alone.

    Raises:
        ArgumentError: there is no such window.
    """
    if ct_window not in CT_WINDOWS:
        raise ArgumentError(f"CT window {ct_window!r} is not one of {', '.join(CT_WINDOWS)}")
    if is_ct(volume.role):
        low, high = CT_WINDOWS[ct_window]
    elif is_pet(volume.role):
        low, high = PET_SUV
    else:
        low, high = _percentiles(volume)
    return Normalisation("linear", low=low, high=high, offset=low, scale=high - low, outside=low)


def _percentiles(volume: Volume) -> tuple[float, float]:
    foreground = volume.array[volume.array != 0]
    if not foreground.size:
        return 0.0, 1.0
    step = max(1, foreground.size // 1_000_000)  # a million voxels give the percentiles to four digits
    low, high = np.percentile(foreground[::step].astype(np.float64), MR_PERCENTILES)
    high = max(high, low + 1e-6 * max(abs(low), 1.0))
    # Limits that float32 holds exactly, as images are windowed in it: the highest value becomes 1 and no more.
    return float(np.float32(low)), float(np.float32(high))
