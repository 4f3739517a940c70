"""The part of a probability that a correction may change, and what is left of the change in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from TumorSegLib.engines.clicks.patches import add_change, components, covering_box
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, from_corners, grown, origin, slices, translate, union, within
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import CERTAIN, TUMOUR
from TumorSegLib.prompts.constraints import apply_constraints, constrained_voxels, nearest_mm
from TumorSegLib.prompts.types import BoxPrompt, Prompts

# A negative prompt takes away what is at most so many times as far from it as it lay inside the object, which is looked
# for within so many voxels; beyond that only where the probability falls below the last of these, of 255.
REACHES, DEEPEST, SURE = 3.0, 24, 5


class ChangedPart:
    """A copy of the part of a probability that views have seen so far, with their changes.

    Attributes:
        box: half-open voxel box of the part.
        values: uint8 ``[k, j, i]`` of it.
    """

    def __init__(self, grid: Grid, endless: Grid, probability: UInt8Array, seeds: Float64Array) -> None:
        """Begins with the voxels about the last prompt.

        Args:
            grid: the user's.
            endless: the same with single slices as thick as any view.
            probability: uint8 of the whole grid; not changed.
            seeds: points ``[n, 3]`` of the last prompt, in voxels; only what hangs together with them changes.
        """
        self._grid, self._endless, self._probability, self._seeds = grid, endless, probability, seeds
        self._nearest = nearest_mm(grid)
        reach = self._nearest / np.array(grid.spacing)
        low = np.maximum(np.floor(seeds.min(axis=0) - reach), 0).astype(int)
        high = np.minimum(np.ceil(seeds.max(axis=0) + reach).astype(int) + 1, grid.size)
        self.box: Box = EMPTY_BOX
        self.values = np.zeros((0, 0, 0), dtype=np.uint8)
        self._take(from_corners(low, high))

    def cover(self, view: Grid) -> None:
        """Grows the part to what a view can reach."""
        box = covering_box(view, self._endless)
        if box is not None:
            self._take(union([box, self.box]))

    def add(self, change: Float32Array, view: Grid, inner: Box) -> None:
        """Adds a change of the probability in a view.

        Args:
            change: float32 ``[k, j, i]``.
            view: its grid.
            inner: voxels of the view whose centres lie in the image. Beyond them, to the image's border, the change
                goes on as at the last.
        """
        outer = grown(inner, (1, 1, 1), view.shape)
        beside = [(low - first, end - high) for (low, high), (first, end) in zip(inner, outer)]
        inside = np.pad(change[slices(inner)], beside[::-1], mode="edge")
        add_change(self.values, self.box, self._endless, inside, view.crop(outer))

    def constrained(self, prompts: Prompts) -> tuple[Box, UInt8Array]:
        """Box and values with the constraints applied, and unchanged where not connected with the last prompt.

        Args:
            prompts: all in force. Clicks, scribbles and lassos decide their voxels and the nearest neighbours; the last
                takes nothing away where that would be more than it adds, and the other way round; a negative one takes
                away only what is near it, or surely wrong. Where there are boxes, other than on one slice, nothing else
                is added outside them but by a prompt for tumour that reaches out there.
        """
        before, after = self._probability[slices(self.box)], self.values
        spacing, corner, last = self._grid.spacing, origin(self.box), prompts.items[-1].point_prompt()
        constraints = [replace(prompt, points=prompt.points - corner) for prompt in prompts.point_prompts()]
        apply_constraints(after, constraints, spacing, certain=CERTAIN, radius_mm=self._nearest)
        old, new = before >= TUMOUR, after >= TUMOUR
        wanted = new & (old | self._may_grow(prompts))
        allowed = components(old | wanted, self._seeds - corner)
        if last is not None:
            asked = _as_asked(old & allowed, wanted & allowed, last.positive)
            if not asked.all():  # what was connected by what is not added now is another part
                allowed &= asked & components(old | (wanted & asked), self._seeds - corner)
            if not last.positive:
                allowed &= ~_hasty(old, after, last.points - corner, spacing)
            for at, inside in constrained_voxels(last.points - corner, after.shape, spacing, self._nearest):
                allowed[at] |= inside
        unchanged = (old != new) & ~allowed
        after[unchanged] = before[unchanged]
        return self.box, after

    def _may_grow(self, prompts: Prompts) -> BoolArray:
        """Where the correction may add to the mask: in the user's boxes, or anywhere if asked for outside them."""
        boxes = [box.box for box in prompts.of(BoxPrompt) if box.thin_axis(self._grid) is None]
        last = prompts.items[-1].point_prompt()
        outside = (last is None or last.positive) and bool(boxes) and not _all_inside(self._seeds, boxes)
        inside = np.full(self.values.shape, not boxes or outside)
        for box in boxes:
            (i0, i1), (j0, j1), (k0, k1) = translate(box, [-n for n in origin(self.box)])
            inside[max(k0, 0) : max(k1, 0), max(j0, 0) : max(j1, 0), max(i0, 0) : max(i1, 0)] = True
        return inside

    def _take(self, box: Box) -> None:
        if box == self.box:
            return
        values = self._probability[slices(box)].copy()
        if self.values.size:
            values[slices(within(self.box, box))] = self.values
        self.box, self.values = box, values


def _as_asked(old: BoolArray, new: BoolArray, positive: bool) -> BoolArray:
    """Which voxels may change: not those that go against a prompt, where they are more than those that agree with it.

    A network that wavers would else take away the lesion that one more click in it was meant to complete.
    """
    added, removed = new & ~old, old & ~new
    against, agreeing = (removed, added) if positive else (added, removed)
    if np.count_nonzero(against) > np.count_nonzero(agreeing):
        return np.asarray(~against)
    return np.ones_like(old)


def _hasty(old: BoolArray, after: UInt8Array, points: Float64Array, spacing: Sequence[float]) -> BoolArray:
    """What a negative prompt would take away far from it though the network is not sure: half of that is right.

    Args:
        old: the mask before, bool ``[k, j, i]``.
        after: the probability that the network answers.
        points: of the prompt, ``[n, 3]`` in voxels.
        spacing: ``(i, j, k)`` in mm.
    """
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import KDTree

    hasty = old & (after < TUMOUR) & (after >= SURE)
    taken = np.argwhere(hasty)
    if not len(taken):
        return hasty
    voxels = np.rint(points).astype(int)
    near = grown(from_corners(voxels.min(axis=0), voxels.max(axis=0) + 1), (DEEPEST,) * 3, old.shape)
    beside = np.array(old.shape) > 1  # a single slice does not end at its faces
    depths = distance_transform_edt(np.pad(old[slices(near)], beside[:, None].astype(int)), spacing[::-1])
    depth = float(depths[tuple((voxels - origin(near) + beside[::-1]).T[::-1])].max())
    reach = REACHES * depth + max(spacing) / 2
    distances, _ = KDTree(points * spacing).query(taken[:, ::-1] * spacing, distance_upper_bound=reach)
    hasty[tuple(taken[distances <= reach].T)] = False
    return hasty


def _all_inside(points: Float64Array, boxes: Sequence[Box]) -> bool:
    """Whether each of points ``[n, 3]`` lies in one of the boxes."""
    limits = np.array(boxes)  # [boxes, 3, 2]
    inside = (points[:, None] >= limits[..., 0]) & (points[:, None] < limits[..., 1])
    return bool(np.all(np.any(np.all(inside, axis=2), axis=1)))
