"""Actions that go through the steps of a segment: undo, redo, reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from TumorSegSlicer.work.edits import EditAction

if TYPE_CHECKING:
    from TumorSegLib import Edit
    from TumorSegLib.jobs import Cancel, Progress


class Reset(EditAction):
    """Takes a segment back to what it began with."""

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit:
        """Resets the session."""
        return self.session.reset()


class Undo(EditAction):
    """Takes the last edit of a segment back, brush strokes included."""

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit | None:
        """Takes the session back by a step."""
        return self.session.undo()

    def write(self, edit: Edit) -> None:
        """Writes what the step changed."""
        self.bench.restore(edit, self.node, self.segmentId)

    def revert(self) -> None:
        """Does the step again."""
        self.session.redo()


class Redo(EditAction):
    """Does again what was undone last."""

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit | None:
        """Takes the session forward by a step."""
        return self.session.redo()

    def write(self, edit: Edit) -> None:
        """Writes what the step changed."""
        self.bench.restore(edit, self.node, self.segmentId)
