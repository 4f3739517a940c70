"""Synthetic images: random label maps of smooth shapes with random contrast, texture, blur, bias and noise.

After SynthSeg (Billot et al., Med Image Anal 2023) and anatomix (Dey et al., ICLR 2025). Most objects stand out from
all that is around them by more than they vary within: a network that has seen too few such objects stops at the first
faint step inside a bright nodule.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from training.objects.intensities import Rules, standardised
from training.objects.sample import ObjectSample, is_visible
from training.objects.shapes import blob, draw_radii, draw_slices, fading, sliced, smooth_noise
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, IntArray
from TumorSegLib.images.roles import family, is_ct, is_pet
from TumorSegLib.images.volume import Volume
from TumorSegLib.prompts.encoding import Shape

# Tissues of the background, and objects before it.
TISSUES, OBJECTS = (3, 9), (1, 7)
# Synthetic PET: limits between air, lung, fat and soft tissues in HU, and the deviation of a field that shifts them;
# SUV of each, those of air and lung nearly fixed; how often a region is hot; size of regions, and range of the blur.
TISSUES_HU, HU_NOISE = (-600.0, -200.0, -20.0, 25.0, 70.0, 120.0, 220.0), 15.0
UPTAKE_SUV, UPTAKE_DEVIATION, THIN = np.array([0.1, 0.4, 0.3, 1.2, 1.5, 2.0, 1.8, 1.2])[:, None], 0.45, 2
HOT_SHARE, ORGAN_MM, PET_BLUR_MM = 0.05, 60.0, (2.5, 4.0)
# Ranges of the means and deviations of images in HU, and of the medians and logarithmic deviations of those in SUV.
MEAN_HU, DEVIATION_HU, MEDIAN_SUV, DEVIATION_SUV = (-800.0, 150.0), (30.0, 400.0), (0.5, 4.0), (0.2, 0.9)
# How often an object stands out from all around it, by how many deviations of what is around, by which share of that it
# varies within at most, and how often in steps.
STANDS_OUT, BY, VARIES, IN_STEPS = 0.85, (1.5, 8.0), 0.45, 0.4
# How often such an object fades towards its surface.
FADES = 0.3


def draw_synthetic(shape: Shape, rules: Rules, rng: np.random.Generator) -> ObjectSample | None:
    """An object in one or two synthetic images; None where it cannot be seen.

    Args:
        shape: ``(k, j, i)`` of the patch.
        rules: the image channels of the model in order.
        rng: source of randomness.
    """
    labels, own = _label_map(shape, rng)
    truth = _chosen(labels, own, rng)
    if truth is None:
        return None
    slices = draw_slices(rng)
    seen = _largest(truth if slices is None else sliced(truth.astype(np.float32), slices) > 0.5)
    if not is_visible(seen):
        return None
    images = np.zeros((len(rules), *shape), dtype=np.float32)
    families = rng.permutation(sorted({family(role) for role in rules}))[: 1 if rng.random() < 0.8 else 2]
    for name in families:
        image = _painted(labels, truth, rng)
        image = image if slices is None else standardised(sliced(image, slices))
        raw = _in_units(image, name, rng)
        for number, (role, rule) in enumerate(rules.items()):
            if family(role) == name:
                images[number] = image if raw is None else rule(raw)
    return ObjectSample(images, seen)


def _in_units(image: Float32Array, name: str, rng: np.random.Generator) -> Float32Array | None:
    """An image of zero mean and unit variance in the units of its family; None for one without units."""
    if is_ct(name):
        return np.float32(rng.uniform(*MEAN_HU)) + image * np.float32(np.exp(rng.uniform(*np.log(DEVIATION_HU))))
    if is_pet(name):
        median = np.float32(np.exp(rng.uniform(*np.log(MEDIAN_SUV))))
        return np.asarray(median * np.exp(image * np.float32(rng.uniform(*DEVIATION_SUV))))
    return None


def _label_map(shape: Shape, rng: np.random.Generator) -> tuple[IntArray, int]:
    """Random tissues with random blobs before them, and the label of the last blob."""
    tissues = int(rng.integers(*TISSUES))
    fields = [smooth_noise(shape, np.array([0.75, 1, 1]) * rng.choice([2, 3, 4, 6]), rng) for _ in range(tissues)]
    labels = np.argmax(np.stack(fields), axis=0)
    count = int(rng.integers(*OBJECTS))
    for number in range(count):
        reach = 0.45 if number < count - 1 else 0.2
        centre = (0.5 + rng.uniform(-reach, reach, 3)) * shape
        labels[blob(shape, centre, draw_radii(rng), rng) > 0] = tissues + number
    return labels, tissues + count - 1


def _chosen(labels: IntArray, own: int, rng: np.random.Generator) -> BoolArray | None:
    """The last blob, or a connected part of any label near the middle."""
    if rng.random() < 0.65:
        chosen = labels == own
        return chosen if chosen.any() else None
    at = tuple(int(n // 2 + rng.uniform(-0.15, 0.15) * n) for n in labels.shape)
    parts, _ = label(labels == labels[at])
    return np.asarray(parts == parts[at])


def _largest(truth: BoolArray) -> BoolArray:
    """The largest connected part."""
    parts, count = label(truth)
    return truth if count < 2 else np.asarray(parts == int(np.bincount(parts.ravel())[1:].argmax()) + 1)


def _painted(labels: IntArray, truth: BoolArray, rng: np.random.Generator) -> Float32Array:
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    values = rng.normal(0, 1, int(labels.max()) + 1).astype(np.float32)
    own, ring = labels[truth], labels[~truth]
    if rng.random() < 0.5 and own.size and ring.size:
        # A contrast of an object to one of its surroundings that is neither lost nor glaring.
        values[own[0]] = values[ring[int(rng.integers(ring.size))]] + rng.choice([-1, 1]) * rng.uniform(0.5, 2)
    image = values[labels]
    if rng.random() < STANDS_OUT:
        image[truth] = _standing_out(image[~truth], truth, rng)
    image = gaussian_filter(image, rng.uniform(0, 1.2))
    fine = smooth_noise(shape, [n / rng.uniform(2, 6) for n in shape], rng)
    image = image + np.float32(rng.uniform(0, 0.3)) * fine
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.4))
    image = image + gaussian_filter(noise, rng.uniform(0, 1))
    return standardised(image + np.float32(rng.uniform(0, 0.4)) * smooth_noise(shape, [1, 1, 1], rng))


def _standing_out(around: Float32Array, truth: BoolArray, rng: np.random.Generator) -> Float32Array:
    """Values of an object that is brighter or darker than all around it, and varies within by less than that."""
    deviation, sign = max(float(around.std()), 0.1), float(rng.choice([-1, 1]))
    step = float(np.exp(rng.uniform(*np.log(BY)))) * deviation
    shape = (truth.shape[0], truth.shape[1], truth.shape[2])
    size = float(truth.sum()) ** (1 / 3)
    texture = smooth_noise(shape, [max(n / size * rng.uniform(0.7, 3), 1) for n in shape], rng)[truth]
    if rng.random() < IN_STEPS:
        texture = (texture > rng.uniform(-1, 1)).astype(np.float32)
    middle = (around.max() if sign > 0 else around.min()) + sign * step
    within = step * rng.uniform(0, VARIES)
    values = np.float32(middle) + np.float32(within) * np.clip(texture, -1, 1)
    if rng.random() < FADES:
        depth = distance_transform_edt(truth).astype(np.float32)
        values = np.float32(around.mean()) + (values - np.float32(around.mean())) * fading(depth, rng)[truth]
    return np.asarray(values, dtype=np.float32)


def synthetic_pet(ct: Volume, rng: np.random.Generator) -> Volume:
    """A PET without a tumour that goes with a CT: tissues of similar HU, cut up at random, take up alike.

    Args:
        ct: in HU.
        rng: source of randomness.

    Returns:
        SUV, float32, on the grid of the CT. Air and lung take up little, some soft tissues much, as kidneys and heart.
    """
    k, j, i = ct.array.shape
    extent = np.array([k, j, i]) * ct.grid.spacing[::-1]
    fields = [smooth_noise((k, j, i), (extent / ORGAN_MM).tolist(), rng) for _ in range(3)]
    tissue = np.digitize(ct.array + HU_NOISE * fields[0], TISSUES_HU)
    region = 4 * tissue + 2 * (fields[1] > 0) + (fields[2] > 0)
    uptake = np.exp(rng.normal(np.log(UPTAKE_SUV), UPTAKE_DEVIATION, (len(TISSUES_HU) + 1, 4)))
    uptake[rng.random(uptake.shape) < HOT_SHARE] *= rng.uniform(2, 6)
    uptake[:THIN] = UPTAKE_SUV[:THIN] * rng.uniform(0.7, 1.4)
    suv = uptake.astype(np.float32).ravel()[region]
    suv = gaussian_filter(suv, rng.uniform(*PET_BLUR_MM) / np.array(ct.grid.spacing[::-1]))
    noise = gaussian_filter(rng.standard_normal(suv.shape, dtype=np.float32), 1.0)
    suv = suv * np.exp(np.float32(rng.uniform(0.1, 0.6)) * noise)
    return Volume(ct.grid, np.ascontiguousarray(suv, dtype=np.float32), "pet")
