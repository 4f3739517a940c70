"""From the images of a patch to the channels of the network, with their values altered at random."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter

from training.data.cases import AIR_HU
from training.objects.library import TrainingCase
from training.objects.patches import Frame
from TumorSegLib.geometry.arrays import Float32Array
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.roles import channel_family, family, is_ct, is_pet

Rules = Mapping[str, Normalisation]
# Largest gain, offset and noise, in network units, and how often noise and blur.
GAIN, OFFSET, NOISE, NOISY, BLURRED = 0.2, 0.2, 0.25, 0.35, 0.15
# SUV is multiplied by up to this or its inverse.
SUV_FACTOR = 1.35
# How often an image is shown as one of any other kind, with its grey values exchanged.
AS_OTHER = 0.2


def channels_of(family_: str, rules: Rules) -> list[int]:
    """Numbers of the channels that show images of a family."""
    return [number for number, name in enumerate(rules) if family(name) == channel_family(family_)]


def draw_images(
    case: TrainingCase, roles: list[str], frame: Frame, rng: np.random.Generator
) -> dict[str, Float32Array]:
    """Raw values (HU, SUV, a.u.) of some images of a case in a patch, float32 ``[k, j, i]`` by role."""
    images = {}
    for role in roles:
        outside = AIR_HU if is_ct(role) else 0.0
        images[role] = frame.sampled(case.level(role, frame.scale_mm), outside)
        if is_pet(role):
            images[role] = images[role] * np.float32(np.exp(rng.uniform(-1, 1) * np.log(SUV_FACTOR)))
    return images


def to_channels(
    images: Mapping[str, Float32Array], case: TrainingCase, rules: Rules, rng: np.random.Generator
) -> Float32Array:
    """Network input from raw values by role, altered at random, float32 ``[channels, k, j, i]``."""
    shape = next(iter(images.values())).shape
    channels = np.zeros((len(rules), *shape), dtype=np.float32)
    for role, raw in images.items():
        if len(images) == 1 and rng.random() < AS_OTHER:
            channels[channels_of("image", rules)[0]] = altered(remapped(raw, rng), rng)
            continue
        seed = int(rng.integers(2**32))
        for number in channels_of(role, rules):
            rule = case.fitted(role, list(rules.values())[number])
            channels[number] = altered(rule(raw), np.random.default_rng(seed))
    return channels


def altered(image: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The image with another gain and offset, sometimes blurred, sometimes noisy."""
    image = image * np.float32(np.exp(rng.normal(0, GAIN / 2))) + np.float32(rng.uniform(-OFFSET, OFFSET))
    if rng.random() < BLURRED:
        image = gaussian_filter(image, rng.uniform(0.3, 1.0))
    if rng.random() < NOISY:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, NOISE))
    return image


def remapped(raw: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The image as another modality might show it: grey values through a random curve, then zero mean, unit variance.

    The curve joins random values at quantiles of the image, so that tissues keep apart (as in SynthSeg, Billot et al.,
    Med Image Anal 2023, but on real anatomy).
    """
    quantiles = np.quantile(raw[::2, ::2, ::2], np.linspace(0, 1, int(rng.integers(4, 9))))
    quantiles += np.arange(quantiles.size) * 1e-3 * max(float(np.ptp(quantiles)), 1e-3)  # strictly increasing
    values = rng.uniform(-1, 1, quantiles.size) if rng.random() < 0.6 else np.sort(rng.uniform(-1, 1, quantiles.size))
    if rng.random() < 0.3:
        values = -values
    image = np.interp(raw, quantiles, values).astype(np.float32)
    return standardised(image)


def standardised(image: Float32Array) -> Float32Array:
    """Zero mean and unit variance, limited to +-5."""
    result: Float32Array = np.clip((image - image.mean()) / max(float(image.std()), 1e-6), -5, 5).astype(np.float32)
    return result
