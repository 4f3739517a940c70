"""Controls that are greyed out while they would do nothing."""

from __future__ import annotations

from TumorSegSlicer.mrml import segments
from TumorSegSlicer.panel.shared.context import Context


class PossibleSteps:
    """Undo, Redo, Reset, Measure and what shows a segment: each works as soon as there is something for it to do."""

    def __init__(self, context: Context) -> None:
        """Follows the selected segment."""
        self._context = context
        context.selection.onTarget.connect(self.update)
        context.edits.onEdited.connect(self.update)
        context.tasks.onBusy.connect(lambda _busy: self.update())

    def update(self) -> None:
        """Looks again at what can be done."""
        ui = self._context.ui
        ui.undoButton.enabled, ui.redoButton.enabled, ui.resetButton.enabled = self._steps()
        ui.compareButton.enabled = ui.undoButton.enabled
        ui.measureButton.enabled = self._holdsVoxels()
        selected = self._context.selection.target() is not None
        ui.overlaySelector.enabled = ui.nextPlaceButton.enabled = ui.surfaceCheckBox.enabled = selected

    def _steps(self) -> tuple[bool, bool, bool]:
        """Whether there may be a step to undo, one to redo, and anything to reset."""
        context, target = self._context, self._context.selection.target()
        if target is None:
            return False, False, False
        if context.tasks.busy and context.logic.hasSession(*target):
            # The running action can be undone next; several steps can be redone without waiting for each.
            return True, context.ui.redoButton.enabled, True
        return context.logic.possibleSteps(*target)

    def _holdsVoxels(self) -> bool:
        target = self._context.selection.target()
        if target is None:
            return False
        volume = self._context.logic.volumeMl(*target)
        if volume is not None:
            return volume > 0 or self._context.tasks.busy
        return not segments.isEmpty(*target)  # contours and surfaces are measured as voxels
