"""Simulated prompts on objects in patches of cubic voxels, with the imprecision of people.

Arrays are ``[k, j, i]``, points ``(i, j, k)``, lengths voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial.distance import cdist

from training.clicks.simulate import ErrorRegion, click_on, draw_scribble
from TumorSegLib.geometry.arrays import BoolArray, Float64Array
from TumorSegLib.geometry.boxes import bounding_box, grown
from TumorSegLib.geometry.grid import Box
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.patch_prompts import PatchPrompts

CUBE = (1.0, 1.0, 1.0)
# A box is up to this share of the object's extent too large, on both sides together; a line this share too long or
# short at both ends together.
LOOSE, LINE_ERROR = 0.3, 0.1
# Slices at least this share of the largest section are taken for it.
NEARLY_LARGEST = 0.6
# How often a line lies on a slice across k, as axial slices do.
AXIAL = 0.7
# Points of an outline that a diameter is measured between.
OUTLINE_POINTS = 150


@dataclass(eq=False)
class DrawnPrompts:
    """The prompts of an episode so far."""

    points: list[PointPrompt] = field(default_factory=list)
    boxes: list[Float64Array] = field(default_factory=list)
    lines: list[Float64Array] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.points) + len(self.boxes) + len(self.lines)

    def for_network(self) -> PatchPrompts:
        """As the network's channels show them."""
        return PatchPrompts(tuple(self.points), tuple(self.boxes), tuple(self.lines))

    def add_correction(self, kind: str, error: ErrorRegion, off_centre: bool, rng: np.random.Generator) -> None:
        """Adds a click, scribble or lasso on an error."""
        click = click_on(error, CUBE, rng if off_centre else None)
        if kind == "scribble":
            click = _straying(draw_scribble(error, click, rng), rng)
        elif kind == "lasso":
            click = draw_lasso(error, rng)
        self.points.append(click)

    def add_shape(self, kind: str, truth: BoolArray, rng: np.random.Generator) -> None:
        """Adds a line, a box, or a box on one slice, around the whole object."""
        if kind == "line":
            self.lines.append(draw_line(truth, rng))
        else:
            self.boxes.append(draw_box(truth, rng, on_slice=kind == "slice_box"))


def draw_lasso(error: ErrorRegion, rng: np.random.Generator) -> PointPrompt:
    """A closed curve round a section of an error, a voxel too wide or too narrow here and there: the voxels inside."""
    axis = int(rng.integers(3))
    sizes = error.region.sum(axis=tuple(n for n in range(3) if n != axis))
    number = int(rng.choice(np.flatnonzero(sizes >= NEARLY_LARGEST * sizes.max())))
    section = np.pad(np.take(error.region, number, axis), 2)
    wobble = ndi.gaussian_filter(rng.standard_normal(section.shape), 2) * 3
    depth = ndi.distance_transform_edt(section) - ndi.distance_transform_edt(~section)
    drawn = depth + np.clip(wobble, -1.2, 1.2) > rng.uniform(-0.5, 1.0)
    drawn = drawn if (drawn & section).any() else section
    parts, _ = ndi.label(drawn)
    largest = np.bincount(parts[section & drawn]).argmax()
    inside = np.argwhere(parts == largest) - 2
    points = np.insert(inside, axis, number, axis=1)[:, ::-1] + error.corner
    return PointPrompt(points.astype(float), error.missed)


def draw_line(truth: BoolArray, rng: np.random.Generator) -> Float64Array:
    """The longest diameter of a section near the largest, its ends a little off, float64 ``[2, 3]``."""
    axis = 0 if rng.random() < AXIAL else int(rng.integers(1, 3))
    sizes = truth.sum(axis=tuple(n for n in range(3) if n != axis))
    number = int(rng.choice(np.flatnonzero(sizes >= NEARLY_LARGEST * sizes.max())))
    section = np.take(truth, number, axis)
    outline = np.argwhere(section & ~ndi.binary_erosion(section))
    if len(outline) > OUTLINE_POINTS:
        outline = outline[rng.permutation(len(outline))[:OUTLINE_POINTS]]
    distances = cdist(outline, outline)
    first, second = np.unravel_index(int(distances.argmax()), distances.shape)
    ends = np.insert(outline[[first, second]].astype(float), axis, number, axis=1)[:, ::-1]
    way = ends[1] - ends[0]
    ends = ends + np.array([[-0.5], [0.5]]) * rng.uniform(-LINE_ERROR, LINE_ERROR, (2, 1)) * way
    return np.asarray(ends + rng.normal(0, 0.3, (2, 3)))


def draw_box(truth: BoolArray, rng: np.random.Generator, on_slice: bool) -> Float64Array:
    """A box up to 30 % too large, or one round a section: centres of its first and last voxel, float64 ``[2, 3]``."""
    number = -1
    if on_slice:
        sizes = truth.sum(axis=(1, 2))
        number = int(rng.choice(np.flatnonzero(sizes >= NEARLY_LARGEST * sizes.max())))
        truth = truth & (np.arange(len(truth)) == number)[:, None, None]
    box = bounding_box(truth)
    if box is None:
        raise ValueError("a box needs an object")
    low, high = (np.array([limits[end] for limits in box], dtype=float) for end in (0, 1))
    loose = rng.uniform(0, LOOSE / 2, (2, 3)) * (high - low)
    corners = np.stack([low - loose[0], high - 1 + loose[1]])
    if on_slice:
        corners[:, 2] = number
    result: Float64Array = np.rint(corners)
    return result


def _straying(prompt: PointPrompt, rng: np.random.Generator) -> PointPrompt:
    """A scribble some of whose voxels stray by one."""
    stray = rng.random((len(prompt.points), 1)) < 0.15
    return PointPrompt(prompt.points + stray * rng.integers(-1, 2, prompt.points.shape), prompt.positive)


def measured_line(truth: BoolArray, spacing_mm: Sequence[float]) -> Float64Array:
    """The longest diameter on the slice along k with the largest section, as RECIST measures it, ``[2, 3]`` voxels."""
    number = int(truth.sum(axis=(1, 2)).argmax())
    outline = np.argwhere(truth[number] & ~ndi.binary_erosion(truth[number]))
    distances = cdist(outline * spacing_mm[1::-1], outline * spacing_mm[1::-1])
    pair = np.unravel_index(int(distances.argmax()), distances.shape)
    return np.array([[outline[n][1], outline[n][0], number] for n in pair], dtype=float)


def loose_box(truth: BoolArray) -> Box:
    """The bounding box 15 % longer along each axis, in whole voxels, at least one more; cut to the array."""
    box = bounding_box(truth)
    if box is None:
        raise ValueError("a box needs an object")
    i, j, k = (math.ceil((high - low) * LOOSE / 4) if n > 1 else 0 for (low, high), n in zip(box, truth.shape[::-1]))
    return grown(box, (i, j, k), (truth.shape[0], truth.shape[1], truth.shape[2]))
