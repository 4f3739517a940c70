"""Actions that make several segments of one, and one of several; how a segment is deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import segments
from TumorSegSlicer.mrml.arguments import checkSegment
from TumorSegSlicer.mrml.session_nodes import firstImage
from TumorSegSlicer.work.editing.edits import EditAction
from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.workbench import Workbench

if TYPE_CHECKING:
    from TumorSegLib import Edit
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegLib.lesions.split import Lesion, Split


class SplitSegment(EditAction):
    """Leaves the largest connected lesion in a segment, as one step, and makes a segment of each of the others.

    Its outcome is the ids of the segments, the largest lesion first. The new ones have sessions on the same images.
    """

    def __init__(self, bench: Workbench, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        super().__init__(bench, node, segmentId)
        self.made: list[str] = []

    def prepare(self) -> None:
        """Notes whether the segment is as the model marked it: its parts are so, too."""
        self.automatic = segments.isReplaceable(self.node, self.segmentId)

    def compute(self, _progress: Progress, cancel: Cancel) -> tuple[Edit | None, Split]:
        """Looks for the lesions, and takes all but the largest out of the session's segment."""
        from TumorSegLib import Cancelled, Mask
        from TumorSegLib.geometry.boxes import slices
        from TumorSegLib.lesions.split import find_lesions

        mask = self.session.mask
        split = find_lesions(mask)
        if cancel():
            raise Cancelled("stopped while the lesions were looked for")
        if len(split.lesions) < 2:
            return None, split
        array = mask.array.copy()
        for each in split.lesions[1:]:
            array[slices(each.box)] &= 1 - each.array
        return self.session.replace_mask(Mask(mask.grid, array)), split

    def finish(self, result: Any) -> Any:
        """Makes the new segments, before the one that was split loses what they hold."""
        edit, split = result
        try:
            with self.bench.writingVoxels():
                for each in split.lesions[1:]:
                    self._add(each)
        except Exception:
            self.revert()
            raise
        super().finish(edit)
        if split.left:
            words = _("Regions left in it, too small or too many to be lesions of their own: {count}.")
            self.bench.notice(words.format(count=split.left))
        return [self.segmentId, *self.made]

    def fail(self) -> None:
        """Removes what was made."""
        super().fail()
        segmentation = self.node.GetSegmentation()
        for segmentId in self.made:
            segmentation.RemoveSegment(segmentId)

    def _add(self, lesion: Lesion) -> None:
        """Adds a segment with a lesion and opens its session."""
        from TumorSegLib import Edit

        inputs = {role: each for role, each in self.opened.inputs.items() if slicer.mrmlScene.IsNodePresent(each.node)}
        first = firstImage(self.opened.inputs)
        name = self.node.GetSegmentation().GetSegment(self.segmentId).GetName()
        base, number = _parted(name)
        segmentId = segments.addTumourSegment(self.node, first, base, number)
        self.made.append(segmentId)
        edit = Edit(segmentId, lesion.box, np.zeros_like(lesion.array), lesion.array)
        segments.applyEdit(edit, self.node, segmentId, self.opened.gridNow())
        if self.automatic:
            segments.noteAutomatic(self.node, segmentId)
        if inputs and firstImage(inputs) is first:  # else that image was deleted, and its session lives on without it
            self.bench.open(self.node, segmentId, inputs)


class MergeSegments(EditAction):
    """Adds the voxels of segments to the first of them, as one step, and deletes the others.

    Its outcome is the Edit; None where the first held all voxels of the others.
    """

    def __init__(self, bench: Workbench, node: slicer.vtkMRMLSegmentationNode, segmentIds: Sequence[str]) -> None:
        super().__init__(bench, node, segmentIds[0])
        self.others = segmentIds[1:]

    def begin(self) -> Action | None:
        """As any edit, where none of the others is completed or being edited."""
        for segmentId in self.others:
            checkSegment(self.node, segmentId)
            self.bench.checkFree(self.node, segmentId)
            segments.checkEditable(self.node, segmentId)
        return super().begin()

    def prepare(self) -> None:
        """Takes the voxels of the others from the scene, so with what was painted on them."""
        grid = self.session.grid
        self.live = [segments.liveFromSegment(self.node, segmentId, grid) for segmentId in self.others]

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit | None:
        """Joins the masks."""
        from TumorSegLib import Mask
        from TumorSegLib.geometry.boxes import slices

        mask = self.session.mask
        array = mask.array.copy()
        for each in self.live:
            array[slices(each.box)] |= each.copied()
        return None if np.array_equal(array, mask.array) else self.session.replace_mask(Mask(mask.grid, array))

    def finish(self, result: Edit | None) -> Edit | None:
        """Writes the edit, and deletes the others."""
        outcome = super().finish(result)
        for segmentId in self.others:
            if self.node.GetSegmentation().GetSegment(segmentId) is not None:
                deleteSegment(self.node, segmentId)
        return outcome


def _parted(name: str) -> tuple[str, int]:
    """A name without the number at its end, and the number that comes after it; 1 where it has none."""
    numbered = re.fullmatch(r"(.+) (\d{1,4})", name)
    return (numbered[1], int(numbered[2]) + 1) if numbered else (name, 1)


def deleteSegment(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Deletes a segment with its session and its measurements.

    Raises:
        StatusLineError: it is completed.
    """
    segments.checkUnlocked(node, segmentId)
    node.GetSegmentation().RemoveSegment(segmentId)
