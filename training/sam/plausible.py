"""Which answers of a box model to random boxes look like things: rules for sections, and for what they stack up to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi

from training.objects.library import LEAST_VOXELS, Contour
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.geometry.boxes import bounding_box, slices

# A section: the model's own estimate of its intersection over union, and that of it at two thresholds (SAM's
# "stability", Kirillov et al., ICCV 2023).
LEAST_SCORE, THRESHOLDS, LEAST_STABILITY = 0.7, (0.3, 0.7), 0.7
# Sections: how many; Dice of consecutive ones, and by how much of the contrast of the first one their means may differ.
LEAST_SECTIONS, LEAST_AGREEMENT, MOST_DRIFT = 3, 0.6, 0.5
# An object: difference to a shell around it in deviations, share of its surface on the border of the view, Dice with
# another one, share of its box that it fills.
LEAST_CONTRAST, MOST_CUT, MOST_SHARED, LEAST_FILLED = 0.8, 0.1, 0.7, 0.15
# Thickness of the shell in voxels; the one next to the object is left out.
SHELL = 2


def is_stable(probability: Float32Array, score: float) -> bool:
    """Whether the model is sure of a section ``[rows, columns]``."""
    wide, narrow = (int((probability > threshold).sum()) for threshold in THRESHOLDS)
    return score >= LEAST_SCORE and narrow >= LEAST_STABILITY * max(wide, 1)


def agreement(one: BoolArray, other: BoolArray) -> float:
    """Dice of two sections."""
    return 2 * int((one & other).sum()) / max(int(one.sum()) + int(other.sum()), 1)


def goes_on(section: BoolArray, last: BoolArray, image: Float32Array, first: tuple[float, float]) -> bool:
    """Whether a section continues the one before.

    Args:
        section, last: of neighbouring slices, bool ``[rows, columns]``.
        image: the slice of ``section``.
        first: mean inside the first section, and its contrast to the surroundings.
    """
    if agreement(section, last) < LEAST_AGREEMENT:
        return False
    mean, contrast = first
    return abs(float(image[section].mean()) - mean) <= MOST_DRIFT * abs(contrast)


def contrast(image: Float32Array, inside: BoolArray) -> tuple[float, float]:
    """Mean inside minus mean of a shell around, of any number of axes: as it is, and in the deviations of both."""
    shell = ndi.binary_dilation(inside, iterations=SHELL + 1) & ~ndi.binary_dilation(inside)
    if not shell.any() or not inside.any():
        return 0.0, 0.0
    difference = float(image[inside].mean()) - float(image[shell].mean())
    deviation = np.sqrt((float(image[inside].var()) + float(image[shell].var())) / 2)
    return difference, difference / max(float(deviation), 1e-3)


def as_object(image: Float32Array, inside: BoolArray, role: str) -> Contour | None:
    """The largest connected piece of what was answered, if it is plausible.

    Args:
        image: float32 ``[k, j, i]`` from 0 to 1, the region that was looked at.
        inside: the stacked answers, bool ``[k, j, i]``.
        role: of the image.

    Returns:
        The object, its corner in voxels of the region; None where it is not plausible.
    """
    parts, count = ndi.label(inside)
    if not count:
        return None
    piece = ndi.binary_fill_holes(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
    box = bounding_box(piece)
    if box is None or int(piece.sum()) < LEAST_VOXELS or int(piece.sum()) < LEAST_FILLED * piece[slices(box)].size:
        return None
    if abs(contrast(image, piece)[1]) < LEAST_CONTRAST:
        return None
    return Contour(piece[slices(box)].copy(), (box[0][0], box[1][0], box[2][0]), role)


def cut_share(inside: BoolArray, axis: int) -> float:
    """Share of the surface of an object that lies on the border of the region, the two ends of an axis left out."""
    surface = int((inside & ~ndi.binary_erosion(inside)).sum())
    borders = [np.take(inside, end, n) for n in range(inside.ndim) if n != axis for end in (0, -1)]
    return sum(int(border.sum()) for border in borders) / max(surface, 1)


def is_new(contour: Contour, others: Sequence[Contour]) -> bool:
    """Whether an object is not nearly the same as another."""
    return all(_dice(contour, other) < MOST_SHARED for other in others)


def _dice(one: Contour, other: Contour) -> float:
    low = np.maximum(one.corner, other.corner)
    high = np.minimum(np.add(one.corner, one.array.shape[::-1]), np.add(other.corner, other.array.shape[::-1]))
    if (high <= low).any():
        return 0.0
    parts = [
        c.array[tuple(slice(a - o, b - o) for a, b, o in zip(low[::-1], high[::-1], c.corner[::-1]))]
        for c in (one, other)
    ]
    return 2 * int((parts[0] & parts[1]).sum()) / (int(one.array.sum()) + int(other.array.sum()))
