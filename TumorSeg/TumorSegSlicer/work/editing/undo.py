"""Actions that go through the steps of a segment: undo, redo, reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from TumorSegSlicer.mrml import segments
from TumorSegSlicer.work.editing.edits import EditAction

if TYPE_CHECKING:
    from TumorSegLib import Edit
    from TumorSegLib.jobs import Cancel, Progress


class Reset(EditAction):
    """Restores the mask that a segment began with."""

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit:
        """Resets the session."""
        return self.session.reset()


class Undo(EditAction):
    """Undoes the last edit of a segment, brush strokes included."""

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit | None:
        """Takes the session back by a step."""
        return self.session.undo()

    def write(self, edit: Edit) -> None:
        """Writes what the step changed, and exactly what it holds of other segments."""
        segmentation = self.node.GetSegmentation()
        others = {other: loss for other, loss in edit.others.items() if segmentation.GetSegment(other) is not None}
        with self.bench.writingVoxels():
            self.opened.apply(edit, [loss for other, loss in others.items() if not segments.isLocked(self.node, other)])

    def revert(self) -> None:
        """Does the step again."""
        self.session.redo()


class Redo(Undo):
    """Redoes the edit that was undone last."""

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit | None:
        """Takes the session forward by a step."""
        return self.session.redo()

    def revert(self) -> None:
        """Undoes the step again."""
        self.session.undo()
