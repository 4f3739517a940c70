"""Synthetic lesions in real images: blobs of lesion-like intensity, with rim, necrosis and infiltration.

After Hu et al., CVPR 2023 (synthetic tumours of the liver), for tissue of any kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.ndimage import gaussian_filter

from training.objects.intensities import Rules
from training.objects.sample import is_visible
from training.objects.shapes import blob, draw_radii, fading, smooth_noise
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.roles import channel_family, is_ct, is_pet

# Contrast to the tissue around in its deviations, which are taken as neither flat nor ragged.
CONTRAST, DEVIATION = (1.8, 6.0), (0.12, 0.5)
# At most this share of a lesion may lie where the image is the same all over: in air, or outside it.
LARGEST_EMPTY_SHARE = 0.2
# Texture is a share of the contrast, but of no more than this many paint units.
MOST_TEXTURE = 3.0
# How often a lesion is brighter than around on PET where nobody asks for it.
HOT = 0.7
# How often a lesion without core and rim fades towards its surface.
FADE = 0.5
# Paint units: CT in 100 HU, PET as log(1 + SUV), MR in deviations of its tissue.
HU, LUNG, SOLID = 100.0, -4.0, (0.3, 0.5)


class Fitted(Protocol):
    """A case that has the statistics of its whole images."""

    def fitted(self, role: str, rule: Normalisation) -> Normalisation:
        """The normalisation with the statistics of the whole image of a role."""


def insert_lesion(
    images: Mapping[str, Float32Array],
    case: Fitted,
    rules: Rules,
    rng: np.random.Generator,
    radii: Float64Array | None = None,
    hot: bool = False,
) -> BoolArray | None:
    """Puts a lesion into the middle of the images of a patch, in place.

    Args:
        images: raw values by role, float32 ``[k, j, i]``.
        case: theirs.
        rules: of the model's channels; that of MR tells the units of contrast.
        rng: source of randomness.
        radii: of the lesion, ``(k, j, i)`` in voxels; random ones by default.
        hot: whether it is brighter than the tissue around on PET, as tumours are with FDG; else most are.

    Returns:
        The lesion, bool ``[k, j, i]``; None where it cannot be seen, and then nothing is changed.
    """
    first = next(iter(images.values()))
    shape = (first.shape[0], first.shape[1], first.shape[2])
    centre = np.array(shape) * (0.5 + rng.uniform(-0.12, 0.12, 3))
    depth = blob(shape, centre, draw_radii(rng) if radii is None else radii, rng)
    truth: BoolArray = depth > 0
    if not is_visible(truth) or any(_is_empty(raw, truth) for raw in images.values()):
        return None
    look = _Look.drawn(depth, rng)
    for role, raw in images.items():
        units = _to_units(raw, role, case, rules)
        sign = look.sign if rng.random() < 0.8 else -look.sign
        if is_pet(role) and (hot or rng.random() < HOT):
            sign = 1.0
        painted = _painted(units, truth, look, sign, is_ct(role), rng)
        raw[...] = _from_units(painted, role, case, rules)
    return truth


@dataclass(frozen=True, eq=False)
class _Look:
    """What a lesion's images have in common.

    Attributes:
        share: of the lesion in each voxel, float32 from 0 to 1.
        fading: the contrast by voxel, as a share of that in the middle, or None.
        core: share of necrosis, or None.
        rim: voxels of a rim, or None.
        sign: 1 for brighter than around, -1 for darker.
    """

    share: Float32Array
    fading: Float32Array | None
    core: Float32Array | None
    rim: BoolArray | None
    sign: float

    @classmethod
    def drawn(cls, depth: Float32Array, rng: np.random.Generator) -> _Look:
        edge = float(rng.uniform(0.3, 1.3)) * (2.0 if rng.random() < 0.35 else 1.0)
        share = np.clip(gaussian_filter((depth > 0).astype(np.float32), edge), 0, 1)
        core, rim = None, None
        if rng.random() < 0.3:
            core = gaussian_filter((depth > rng.uniform(0.3, 0.6)).astype(np.float32), rng.uniform(0.5, 1.5))
        if rng.random() < 0.25:
            rim = (depth > 0) & (depth < rng.uniform(0.1, 0.35))
        fades = fading(depth, rng) if core is None and rim is None and rng.random() < FADE else None
        return cls(share, fades, core, rim, float(rng.choice([-1.0, 1.0])))


def _painted(
    image: Float32Array, truth: BoolArray, look: _Look, sign: float, ct: bool, rng: np.random.Generator
) -> Float32Array:
    """An image in paint units with a lesion, brighter than around where ``sign`` is 1."""
    tissue = image[truth]
    middle, deviation = float(np.median(tissue)), float(np.clip(tissue.std(), *DEVIATION))
    step = np.float32(sign * rng.uniform(*CONTRAST) * deviation)
    if ct and middle < LUNG and rng.random() < 0.7:
        step = np.float32(rng.normal(*SOLID) - middle)
    shape = (image.shape[0], image.shape[1], image.shape[2])
    texture = smooth_noise(shape, [n / rng.uniform(2, 8) for n in shape], rng)
    noise = image - gaussian_filter(image, 1)  # the scanner's noise goes on in the lesion
    inside = (
        np.float32(middle) + step + np.float32(min(abs(float(step)), MOST_TEXTURE) * rng.uniform(0, 0.35)) * texture
    )
    if look.fading is not None:
        inside = np.float32(middle) + (inside - np.float32(middle)) * look.fading
    inside = inside + np.clip(noise, -0.5, 0.5)
    if look.core is not None:
        inside = inside - step * np.float32(rng.uniform(0.3, 1.0)) * look.core
    if look.rim is not None:
        inside = np.where(look.rim, inside + step * np.float32(rng.uniform(0.2, 0.8)), inside)
    keep = np.float32(rng.uniform(0, 0.4))  # of what was there
    inside = inside * (1 - keep) + (image + step) * keep
    result: Float32Array = image + look.share * (inside - image)
    return result


def _is_empty(raw: Float32Array, truth: BoolArray) -> bool:
    values = raw[truth]
    return bool((values <= raw.min() + 1e-3 * max(float(np.ptp(raw)), 1e-6)).mean() > LARGEST_EMPTY_SHARE)


def _to_units(raw: Float32Array, role: str, case: Fitted, rules: Rules) -> Float32Array:
    if is_ct(role):
        return raw / np.float32(HU)
    if is_pet(role):
        return np.log1p(np.maximum(raw, 0))
    rule = case.fitted(role, rules[channel_family(role)])
    return (raw - np.float32(rule.offset)) / np.float32(rule.scale)


def _from_units(image: Float32Array, role: str, case: Fitted, rules: Rules) -> Float32Array:
    if is_ct(role):
        return image * np.float32(HU)
    if is_pet(role):
        return np.expm1(np.maximum(image, 0))
    rule = case.fitted(role, rules[channel_family(role)])
    return image * np.float32(rule.scale) + np.float32(rule.offset)
