"""An edit: the part of a mask that changed, and what other segments lose by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, grown, origin, slices, translate
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import EMPTY, TUMOUR
from TumorSegLib.prompts.constraints import constrained_voxels
from TumorSegLib.prompts.types import Prompt
from TumorSegLib.protocols import RunInfo


@dataclass(frozen=True, eq=False)
class Edit:
    """The part of a mask that changed; undo and redo return what they did in the same form.

    Attributes:
        segment: name of the segment.
        box: smallest half-open voxel box that holds all changed voxels; ``((0, 0), (0, 0), (0, 0))`` if none did.
        before, after: the mask in the box, uint8 0 or 1 ``[k, j, i]``.
        others: name to how the same step changed another segment, of the session (see
            :class:`TumorSegLib.session.overlap.Overlap`) or outside it (see
            :meth:`TumorSegLib.session.session.Session.record_losses`). Of a segment outside, ``before`` and ``after``
            hold only the voxels that it lost or, on undo, gets back.
        info: model, device and timings, where an engine made the edit; ``info.model`` is empty where none did.
        step: number of the session's step; None where nothing changed.
        nothing_found: whether an engine, asked for tumour by a prompt, marked nothing there but the voxels that the
            prompt itself decides: another click in the middle of the lesion, or a line across it, may help.
    """

    segment: str
    box: Box
    before: UInt8Array
    after: UInt8Array
    others: Mapping[str, Edit] = field(default_factory=dict)
    info: RunInfo = field(default_factory=RunInfo)
    step: int | None = None
    nothing_found: bool = False

    @classmethod
    def between(cls, segment: str, box: Box, before: UInt8Array, after: UInt8Array) -> Edit:
        """The edit from one mask in a box to another, cut to the voxels that differ."""
        inner = bounding_box(before != after)
        if inner is None:
            return cls(segment, EMPTY_BOX, EMPTY, EMPTY)
        at = slices(inner)
        return cls(segment, translate(inner, origin(box)), before[at].copy(), after[at].copy())

    def loss_of(self, segment: str, mask: UInt8Array) -> Edit | None:
        """The edit by which another segment loses the voxels that this one adds; None if it loses none.

        Args:
            segment: name of the other segment.
            mask: the other segment in the box of this edit, uint8 ``[k, j, i]``, 0 is background.

        Returns:
            An edit whose ``before`` is 1 in the voxels that are lost, and whose ``after`` is 0.

        Raises:
            GeometryError: the mask does not fill the box.
        """
        if mask.shape != self.after.shape:
            raise GeometryError(f"the mask of segment {segment!r} has shape {mask.shape}, the edit {self.after.shape}")
        lost = ((mask > 0) & (self.after > 0) & (self.before == 0)).view(np.uint8)
        return Edit.between(segment, self.box, lost, np.zeros_like(lost)) if lost.any() else None


def checked_loss(loss: Edit, grid: Grid) -> Edit:
    """The loss of a segment outside a session on a grid, its voxels 1 before and 0 after, cut to these.

    Raises:
        GeometryError: it does not fit its box or the grid.
        ArgumentError: the segment loses no voxel, or gains one.
    """
    shape = grid.crop(loss.box).shape
    if not loss.before.shape == loss.after.shape == shape:
        raise GeometryError(f"a loss of shape {loss.after.shape} does not fill the box {loss.box}, {shape}")
    lost = (loss.before > 0) & (loss.after == 0)
    if not lost.any() or ((loss.after > 0) & (loss.before == 0)).any():
        raise ArgumentError(f"segment {loss.segment!r} must lose at least one voxel and gain none")
    return Edit.between(loss.segment, loss.box, lost.view(np.uint8), np.zeros(shape, dtype=np.uint8))


def found_nothing(probability: UInt8Array, prompt: Prompt, grid: Grid, reach_mm: float = 0.0) -> bool:
    """Whether there is nothing at a prompt that asks for tumour but the voxels that it decides.

    Args:
        probability: of the segment after the answer, uint8 ``[k, j, i]``.
        prompt: the one that was answered.
        grid: of the image.
        reach_mm: how far its points decide, if it has any.
    """
    points = prompt.point_prompt()
    if points is None:
        return not (probability[slices(prompt.box)] >= TUMOUR).any()
    if not points.positive:
        return False
    box = grown(prompt.box, [math.ceil(reach_mm / edge) + 1 for edge in grid.spacing], grid.shape)
    tumour = probability[slices(box)] >= TUMOUR
    for at, decided in constrained_voxels(points.points - origin(box), tumour.shape, grid.spacing, reach_mm):
        tumour[at] &= ~decided
    return not tumour.any()
