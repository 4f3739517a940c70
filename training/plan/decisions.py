"""The decisions that follow from a fingerprint, each with its reason.

After nnU-Net's rules (Isensee et al., Nat Methods 2021, Supplementary Note 2), for a CPU: a patch has as many voxels as
two cores train on within a second, and images from which it would show too little are seen coarser, as long as small
objects can still be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.plan.cost import memory_gb
from training.plan.fingerprint import Fingerprint, Intensities
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import Float64Array, IntArray
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.roles import is_ct, is_pet
from TumorSegLib.models.spec import ModelSpec, VolumeInput

# An axis whose voxels are so many times longer than the others', and has so many times fewer, is kept coarse.
ANISOTROPIC = 3.0
# Voxels of a patch on a CPU; the share of an image that a patch should show, and the voxels that a small object's
# diameter must span: coarser it is not seen. Small is the 10th percentile of all objects.
MOST_VOXELS, LEAST_SHOWN, LEAST_DIAMETER, SMALL = 48 * 64 * 64, 0.25, 4.0, 10
# Features by halving; an axis is halved down to so many voxels, and while its voxels are not twice as long as others'.
FILTERS, LEAST_EDGE, LONGER = (16, 32, 64, 128, 160), 4, 2.0
# A network has two halvings at least, so a patch so many voxels along one axis, and so many in all.
LONGEST_EDGE, FEWEST_VOXELS = 4 * LEAST_EDGE, 16 * LEAST_EDGE**3
# A batch has at least and at most so many patches, and at most this share of all voxels.
BATCH, SHARE_OF_ALL = (2, 8), 0.05
# Steps without a limit of time: so many for each case, within limits.
STEPS_PER_CASE, STEPS = 60, (2000, 10_000)
# Part of the memory of a machine that training may take.
MEMORY_SHARE = 0.7
HIGHEST_SUV = 30.0


@dataclass(frozen=True)
class Decisions:
    """What the configuration of a model says.

    Attributes:
        spec: the model without texts.
        batch: patches of a step.
        memory_gb: that a step takes, estimated.
        reasons: by the name of a decision, one line.
    """

    spec: ModelSpec
    batch: int
    memory_gb: float
    reasons: Mapping[str, str] = field(default_factory=dict)


def decide(name: str, fingerprint: Fingerprint, most_gb: float) -> Decisions:
    """Spacing, patch, depth, normalisation and batch for a data set.

    Args:
        name: of the model.
        fingerprint: of the data set.
        most_gb: memory that a step may take.

    Raises:
        ArgumentError: the images are single slices, or the memory does not suffice for the smallest patch.
    """
    spacing, why_spacing = choose_spacing(fingerprint)
    shape = np.median([_size_at(case.size, case.spacing_mm, spacing) for case in fingerprint.cases.values()], axis=0)
    if shape.min() < 2:
        raise ArgumentError(f"{fingerprint.name}: the images are single slices; volumes are needed")
    limit = MOST_VOXELS
    while True:
        patch, strides = choose_patch(shape, spacing, limit)
        spec = _spec(name, fingerprint, spacing, patch, strides)
        batch = choose_batch(patch, shape, len(fingerprint.cases))
        needed = memory_gb(spec, batch)
        if needed > most_gb and batch > BATCH[0]:
            batch, needed = BATCH[0], memory_gb(spec, BATCH[0])
        if needed <= most_gb:
            break
        if limit < FEWEST_VOXELS:
            raise ArgumentError(f"{most_gb:.1f} GB do not suffice: a patch of {patch} (k, j, i) takes {needed:.1f} GB")
        limit = int(limit * 0.7)
    i, j, k = (round(float(n)) for n in shape)
    reasons = {
        "spacing": why_spacing,
        "patch": f"(k, j, i), at most {limit} voxels; the median image has {k} x {j} x {i} at this spacing",
        "filters": f"{len(strides) - 1} halvings, to {LEAST_EDGE} voxels along an axis at least",
        "batch": f"{batch} patches of {int(np.prod(patch))} voxels; about {needed:.1f} GB of memory",
        **{role: _why_normalised(role, values) for role, values in fingerprint.intensities.items()},
    }
    return Decisions(spec, batch, needed, reasons)


def choose_spacing(fingerprint: Fingerprint) -> tuple[Float64Array, str]:
    """Spacing ``(i, j, k)`` in mm that the network works at, and why."""
    cases = list(fingerprint.cases.values())
    spacings, sizes = (np.array([getattr(case, name) for case in cases]) for name in ("spacing_mm", "size"))
    spacing, size = np.median(spacings, axis=0), np.median(sizes, axis=0)
    why = "(i, j, k) mm, the median of all cases"
    worst = int(np.argmax(spacing))
    others = [axis for axis in range(3) if axis != worst]
    if spacing[worst] > ANISOTROPIC * spacing[others].max() and size[worst] * ANISOTROPIC < size[others].min():
        spacing[worst] = max(float(np.percentile(spacings[:, worst], 10)), float(spacing[others].max()))
        why += "; along the axis of thick slices that of the finest tenth"
    shape = np.median([_size_at(case.size, case.spacing_mm, spacing) for case in cases], axis=0)
    wanted = max((LEAST_SHOWN * float(np.prod(shape)) / MOST_VOXELS) ** (1 / 3), 1.0)
    diameter = _small_diameter(fingerprint)
    allowed = max(diameter / LEAST_DIAMETER / float(spacing.max()), 1.0)
    if wanted > 1 and min(wanted, allowed) > 1.05:
        spacing = spacing * min(wanted, allowed)
        why += (
            f"; coarser so that a patch shows {LEAST_SHOWN:.0%} of an image"
            if wanted <= allowed
            else f"; coarser, but objects of {diameter:.1f} mm still span {LEAST_DIAMETER:g} voxels"
        )
    return np.array([float(f"{edge:.3g}") for edge in spacing]), why


def choose_patch(
    shape: Float64Array, spacing: Float64Array, most_voxels: int
) -> tuple[tuple[int, int, int], list[tuple[int, int, int]]]:
    """The patch ``(k, j, i)``, a cube in mm as far as images reach, and the strides of the network's stages.

    Args:
        shape: median size ``(i, j, k)`` of the images at the spacing.
        spacing: ``(i, j, k)`` in mm.
        most_voxels: of a patch.
    """
    edge = float((shape * spacing).max())
    while True:
        size = np.maximum(np.minimum(np.ceil(edge / spacing), np.ceil(shape)), LEAST_EDGE).astype(int)
        size[np.argmax(size)] = max(int(size.max()), LONGEST_EDGE)
        halvings = _halvings(size, spacing)
        strides = [(1, 1, 1), *(_stride(step) for step in halvings)]
        multiple = np.prod(np.array([np.ones(3, dtype=int), *halvings]), axis=0)
        size = -(-size // multiple) * multiple
        if int(np.prod(size)) <= most_voxels or edge < spacing.min():
            i, j, k = (int(n) for n in size)
            return (k, j, i), strides
        edge *= 0.97


def choose_batch(patch: Sequence[int], shape: Float64Array, cases: int) -> int:
    """Patches of a step: more of small ones, but not most of the data at once."""
    voxels = int(np.prod(patch))
    most = int(SHARE_OF_ALL * float(np.prod(shape)) * cases / voxels)
    return int(np.clip(min(BATCH[0] * MOST_VOXELS // voxels, most), *BATCH))


def choose_steps(cases: int) -> int:
    """Steps of training where no time is given."""
    return int(np.clip(STEPS_PER_CASE * cases, *STEPS))


def normalise(role: str, values: Intensities) -> Normalisation:
    """How the images of a role become network input, by what lies within the labels."""
    if is_ct(role):
        low, _, high = values.percentiles
        low, high = (low, high) if low < high else (low - 1, high + 1)
        scale = max(values.deviation, 1e-3)
        return Normalisation("linear", _short(low), _short(high), _short(values.mean), _short(scale), -1000.0)
    if is_pet(role):
        return Normalisation("log1p", 0.0, _short(max(HIGHEST_SUV, values.percentiles[2])))
    return Normalisation("zscore")


def _why_normalised(role: str, values: Intensities) -> str:
    low, middle, high = values.percentiles
    inside = f"within the labels {low:.4g} to {high:.4g}, median {middle:.4g}"
    if is_ct(role):
        return f"HU, limited to percentiles 0.5 and 99.5 and scaled by mean and deviation {inside}"
    return (
        f"SUV, logarithmic; {inside}" if is_pet(role) else f"any units: by mean and deviation of each image; {inside}"
    )


def _spec(
    name: str,
    fingerprint: Fingerprint,
    spacing: Float64Array,
    patch: tuple[int, int, int],
    strides: Sequence[tuple[int, int, int]],
) -> ModelSpec:
    cases = fingerprint.cases.values()
    roles = list(fingerprint.intensities)
    optional = tuple(role for role in roles if any(role not in case.roles for case in cases))
    rules = {role: normalise(role, values) for role, values in fingerprint.intensities.items()}
    i, j, k = (float(edge) for edge in spacing)
    return ModelSpec(
        name=name,
        version="0.1.0",
        licence="",
        description="",
        input=VolumeInput(tuple(roles), optional, (i, j, k), patch, rules),
        labels=dict(fingerprint.labels),
        network="ResidualDynUNet",
        arguments={"filters": list(FILTERS[: len(strides)]), "strides": [list(step) for step in strides]},
    )


def _halvings(size: IntArray, spacing: Float64Array) -> list[IntArray]:
    """Per stage after the first, 2 for the axes ``(i, j, k)`` that are halved, else 1."""
    steps: list[IntArray] = []
    size, spacing = size.astype(float), spacing.copy()
    while len(steps) < len(FILTERS) - 1:
        can = size / 2 >= LEAST_EDGE
        if not can.any():
            break
        step = np.where(can & (spacing < LONGER * spacing[can].min()), 2, 1)
        size, spacing = np.ceil(size / step), spacing * step
        steps.append(step)
    return steps


def _stride(step: IntArray) -> tuple[int, int, int]:
    i, j, k = (int(n) for n in step)
    return k, j, i


def _size_at(size: Sequence[int], spacing: Sequence[float], target: Float64Array) -> Float64Array:
    return np.asarray(np.round(np.multiply(size, spacing) / target))


def _small_diameter(fingerprint: Fingerprint) -> float:
    """Diameter in mm of a ball as large as a small object: those of 10 % of the largest parts are smaller."""
    volumes = [parts[0] for case in fingerprint.cases.values() for parts in case.volumes_ml.values() if parts]
    return float((np.percentile(volumes, SMALL) * 1000 * 6 / np.pi) ** (1 / 3)) if volumes else 0.0


def _short(value: float) -> float:
    return float(f"{value:.5g}")
