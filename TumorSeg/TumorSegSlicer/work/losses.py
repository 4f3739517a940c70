"""What segments lost to others, so that undo gives it back and redo takes it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer

if TYPE_CHECKING:
    from TumorSegLib import Edit
    from TumorSegSlicer.parameters import Overlap

Key = tuple[str, str]


def losers(overlap: Overlap, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> list[str]:
    """Ids of the segments that lose voxels where this one grows into them."""
    display = node.GetDisplayNode()
    if overlap.value == "allow":
        return []
    others = [other for other in node.GetSegmentation().GetSegmentIDs() if other != segmentId]
    if overlap.value == "overwrite visible" and display is not None:
        others = [other for other in others if display.GetSegmentVisibility(other)]
    return others


class Losses:
    """For each segment the edits by which others lost voxels; the session's own undo steps do not know of those."""

    def __init__(self) -> None:
        self._done: dict[Key, list[tuple[Edit, tuple[Edit, ...]]]] = {}
        self._undone: dict[Key, list[tuple[Edit, tuple[Edit, ...]]]] = {}

    def forget(self, nodeId: str, segmentId: str) -> None:
        """Forgets those of a segment that was deleted."""
        self._done.pop((nodeId, segmentId), None)
        self._undone.pop((nodeId, segmentId), None)

    def add(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, edit: Edit, losses: tuple[Edit, ...]) -> None:
        """Notes what others lost by an edit; nothing is kept of edits by which nobody lost anything."""
        key = (node.GetID(), segmentId)
        if edit.after.size:
            self._undone.pop(key, None)
        if losses:
            self._done.setdefault(key, []).append((edit, losses))

    def undone(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, edit: Edit) -> list[Edit]:
        """The edits that give back what was lost by the edit that another one undid."""
        from TumorSegLib import Edit

        key = (node.GetID(), segmentId)
        done = self._done.get(key, [])
        if not done or not _same(done[-1][0].after, edit.before) or done[-1][0].box != edit.box:
            return []
        self._undone.setdefault(key, []).append(done.pop())
        there = node.GetSegmentation()
        losses = [loss for loss in self._undone[key][-1][1] if there.GetSegment(loss.segment) is not None]
        return [Edit(loss.segment, loss.box, loss.after, loss.before) for loss in losses]

    def redone(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, edit: Edit) -> list[str]:
        """Ids of the segments that lose voxels again by an edit that was done again."""
        key = (node.GetID(), segmentId)
        undone = self._undone.get(key, [])
        if not undone or not _same(undone[-1][0].after, edit.after) or undone[-1][0].box != edit.box:
            return []
        self._done.setdefault(key, []).append(undone.pop())
        there = node.GetSegmentation()
        ids = [loss.segment for loss in self._done[key][-1][1]]
        return [each for each in ids if there.GetSegment(each) is not None]


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other))
