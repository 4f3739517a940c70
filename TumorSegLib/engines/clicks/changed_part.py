"""The part of a probability that a correction may change, and what is left of the change in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from TumorSegLib.engines.clicks.patches import add_change, components, covering_box
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, from_corners, origin, slices, translate, union, within
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import CERTAIN, TUMOUR
from TumorSegLib.prompts.constraints import apply_constraints, constrained_voxels
from TumorSegLib.prompts.types import BoxPrompt, Prompts


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
        reach = np.array([self._reach() / edge for edge in grid.spacing])
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
        """Adds a change of the probability in a view; ``inner`` is the part of it that lies in the image."""
        inside = np.ascontiguousarray(change[slices(inner)])
        add_change(self.values, self.box, self._endless, inside, view.crop(inner))

    def constrained(self, prompts: Prompts) -> tuple[Box, UInt8Array]:
        """Box and values with the constraints applied, and unchanged where not connected with the last prompt.

        Args:
            prompts: all in force. Clicks, scribbles and lassos decide their voxels and the nearest neighbours; the last
                takes nothing away where that would be more than it adds, and the other way round. Where there are
                boxes, other than on one slice, nothing else is added outside them but by a positive click or scribble
                out there.
        """
        before, after = self._probability[slices(self.box)], self.values
        spacing, corner, last = self._grid.spacing, origin(self.box), prompts.items[-1].point_prompt()
        constraints = [replace(prompt, points=prompt.points - corner) for prompt in prompts.point_prompts()]
        apply_constraints(after, constraints, spacing, certain=CERTAIN, radius_mm=self._reach())
        old, new = before >= TUMOUR, after >= TUMOUR
        wanted = new & (old | self._may_grow(prompts))
        allowed = components(old | wanted, self._seeds - corner)
        if last is not None:
            asked = _as_asked(old & allowed, wanted & allowed, last.positive)
            if not asked.all():  # what was connected by what is not added now is another part
                allowed &= asked & components(old | (wanted & asked), self._seeds - corner)
            for at, inside in constrained_voxels(last.points - corner, after.shape, spacing, self._reach()):
                allowed[at] |= inside
        unchanged = (old != new) & ~allowed
        after[unchanged] = before[unchanged]
        return self.box, after

    def _may_grow(self, prompts: Prompts) -> BoolArray:
        """Where the correction may add to the mask: in the user's boxes, or anywhere if asked for outside them."""
        boxes = [box.box for box in prompts.of(BoxPrompt) if box.thin_axis(self._grid) is None]
        last = prompts.items[-1].point_prompt()
        outside = last is not None and last.positive and bool(boxes) and not _all_inside(last.points, boxes)
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

    def _reach(self) -> float:
        """How far in mm a point decides: as far as to the nearest neighbours of its voxel."""
        return min(edge for edge, n in zip(self._grid.spacing, self._grid.size) if n > 1 or max(self._grid.size) == 1)


def _as_asked(old: BoolArray, new: BoolArray, positive: bool) -> BoolArray:
    """Which voxels may change: not those that go against a prompt, where they are more than those that agree with it.

    A network that wavers would else take away the lesion that one more click in it was meant to complete.
    """
    added, removed = new & ~old, old & ~new
    against, agreeing = (removed, added) if positive else (added, removed)
    if np.count_nonzero(against) > np.count_nonzero(agreeing):
        return np.asarray(~against)
    return np.ones_like(old)


def _all_inside(points: Float64Array, boxes: Sequence[Box]) -> bool:
    """Whether each of points ``[n, 3]`` lies in one of the boxes."""
    limits = np.array(boxes)  # [boxes, 3, 2]
    inside = (points[:, None] >= limits[..., 0]) & (points[:, None] < limits[..., 1])
    return bool(np.all(np.any(np.all(inside, axis=2), axis=1)))
