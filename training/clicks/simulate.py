"""Simulated users: their clicks and scribbles, and the wrong masks they start from.

Arrays are ``[k, j, i]``, points ``(i, j, k)``, spacings ``(i, j, k)`` mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, label, zoom

from TumorSegLib.geometry.arrays import BoolArray, Float32Array, IntArray
from TumorSegLib.prompts.encoding import PointPrompt


@dataclass(frozen=True, eq=False)
class ErrorRegion:
    """A connected region where a prediction is wrong.

    Attributes:
        region: bool, cut to its bounding box.
        corner: first voxel ``(i, j, k)`` of the cut.
        missed: whether it is tumour that was missed; else it was wrongly included.
    """

    region: BoolArray
    corner: IntArray
    missed: bool

    def on(self, shape: tuple[int, ...]) -> BoolArray:
        """The region on the whole lattice."""
        whole = np.zeros(shape, dtype=bool)
        at = tuple(slice(low, low + n) for low, n in zip(self.corner[::-1], self.region.shape))
        whole[at] = self.region
        return whole


def next_click(prediction: BoolArray, truth: BoolArray, spacing_mm: Sequence[float]) -> PointPrompt | None:
    """The click of the evaluation protocol; None where prediction and truth agree.

    It goes to the voxel farthest, in mm, from the nearest boundary inside the :func:`largest_error`, positive if that
    was missed. Of several such voxels the first in array order is taken. The border of the image counts as a boundary.

    Args:
        prediction, truth: bool of equal shape.
        spacing_mm: of both.
    """
    error = largest_error(prediction, truth)
    return None if error is None else click_on(error, spacing_mm)


def click_on(error: ErrorRegion, spacing_mm: Sequence[float], rng: np.random.Generator | None = None) -> PointPrompt:
    """A click on an error region: at its deepest voxel as in :func:`next_click`, or, with ``rng``, off centre.

    With ``rng`` the voxel is drawn at random, weighted by its distance from the boundary.
    """
    depth = distance_transform_edt(np.pad(error.region, 1), tuple(spacing_mm)[::-1])[1:-1, 1:-1, 1:-1]
    flat = int(depth.argmax()) if rng is None else int(rng.choice(depth.size, p=depth.ravel() / depth.sum()))
    k, j, i = np.unravel_index(flat, depth.shape)
    return PointPrompt(np.array([[i, j, k]], dtype=float) + error.corner, error.missed)


def largest_error(prediction: BoolArray, truth: BoolArray) -> ErrorRegion | None:
    """The largest connected error (voxels that share a face); missed and wrongly included voxels are not connected.

    Of two of equal size the missed one is taken. None where prediction and truth agree.
    """
    best, most = None, 0
    for missed, wrong in ((True, truth & ~prediction), (False, prediction & ~truth)):
        numbers, count = label(wrong)
        if not count:
            continue
        sizes = np.bincount(numbers.ravel())[1:]
        largest = int(sizes.argmax())
        if sizes[largest] > most:
            most, at = int(sizes[largest]), find_objects(numbers)[largest]
            best = ErrorRegion(numbers[at] == largest + 1, np.array([s.start for s in reversed(at)]), missed)
    return best


def draw_scribble(error: ErrorRegion, click: PointPrompt, rng: np.random.Generator) -> PointPrompt:
    """A straight scribble from a click to a random voxel of its error region, without the parts outside the region."""
    voxels = np.argwhere(error.region)
    start, end = (click.points[0] - error.corner)[::-1], voxels[int(rng.integers(len(voxels)))]
    steps = np.linspace(0, 1, int(np.abs(end - start).max()) + 1)[:, None]
    line = np.unique(np.rint(start + steps * (end - start)).astype(int), axis=0)
    inside = line[error.region[tuple(line.T)]]
    return PointPrompt(inside[:, ::-1] + error.corner.astype(float), error.missed)


def warped(
    mask: BoolArray, spacing_mm: Sequence[float], rng: np.random.Generator, most_mm: float, length_mm: float
) -> Float32Array:
    """The mask with its boundary moved by a smooth random distance, as another program or person might draw it.

    Args:
        mask: bool.
        spacing_mm: of the mask.
        rng: source of randomness.
        most_mm: largest displacement of the control points of the field.
        length_mm: largest distance between them.

    Returns:
        Signed distance in mm, float32, positive inside the moved boundary; all -1000 for an empty mask.
    """
    if not mask.any():
        return np.full(mask.shape, -1000.0, dtype=np.float32)
    noise = rng.uniform(-1, 1, [max(round(n * s / length_mm), 1) + 2 for n, s in zip(mask.shape, spacing_mm[::-1])])
    field = zoom(noise, np.divide(mask.shape, noise.shape), order=1, mode="nearest", grid_mode=True)
    result: Float32Array = (signed_distance(mask, spacing_mm) + most_mm * field).astype(np.float32)
    return result


def signed_distance(mask: BoolArray, spacing_mm: Sequence[float]) -> Float32Array:
    """Distance in mm from the nearest voxel of the other kind, negative outside; the mask must not be empty."""
    steps = tuple(spacing_mm)[::-1]
    inside = distance_transform_edt(mask, steps) if not mask.all() else np.full(mask.shape, 1000.0)
    result: Float32Array = (inside - distance_transform_edt(~mask, steps)).astype(np.float32)
    return result


def shifted(mask: BoolArray, spacing_mm: Sequence[float], rng: np.random.Generator, most_mm: float) -> BoolArray:
    """The mask moved by up to ``most_mm`` along each axis, and sometimes a little larger or smaller."""
    moved = mask
    for axis, step in enumerate(spacing_mm[::-1]):
        by = round(rng.uniform(-most_mm, most_mm) / step)
        moved = np.roll(moved, by, axis)
        edge = [slice(None)] * 3
        edge[axis] = slice(0, by) if by >= 0 else slice(by, None)
        moved[tuple(edge)] = False
    change = rng.random()
    if change < 0.3:
        moved = binary_dilation(moved)
    elif change < 0.6:
        moved = ~binary_dilation(~moved)
    return moved
