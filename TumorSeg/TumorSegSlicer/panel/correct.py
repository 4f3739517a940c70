"""The part of the panel that corrects: segments, clicks, box, undo, Slicer's own tools."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.panel.editing.brush import Brush
from TumorSegSlicer.panel.editing.embedded_editor import EmbeddedEditor
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.editing.place import ShownClicks
from TumorSegSlicer.panel.possible_steps import PossibleSteps
from TumorSegSlicer.panel.prompts import PromptPanel
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.parameters import IMAGES


class CorrectPanel:
    """Chooses a segment and corrects it."""

    def __init__(
        self,
        context: Context,
        opening: SegmentOpening,
        inputs: Callable[[], dict[str, Input] | None],
        withModel: Callable[[str, Callable[[], None]], None],
    ) -> None:
        """Begins without a tool.

        Args:
            context: what the parts of the panel share.
            opening: opens segments before they are corrected.
            inputs: gives the images chosen.
            withModel: calls a function once the model of a kind is there, which may have to be downloaded.
        """
        self._context, self._inputs = context, inputs
        self._opening = opening
        self._clicks = ShownClicks()
        self._editor = EmbeddedEditor(context, opening)
        self._brush = Brush(context, self._editor.effect)
        self.prompts = PromptPanel(context, opening, self._editor, self._addSegment, withModel)
        self._steps = PossibleSteps(context)
        self._listener = Listener()
        self._connect()
        context.settings.onChanged.connect(self._onParameters)
        context.selection.onTarget.connect(self._showTarget)
        context.edits.onEdited.connect(self._showClicks)
        opening.onOpened.connect(self._editor.show)

    def keyActions(self) -> dict[str, Callable[[], None]]:
        """What the keys do."""
        ui = self._context.ui
        return {
            **self.prompts.keyActions(),
            "next": self._selectNext,
            "undo": ui.undoButton.click,
            "redo": ui.redoButton.click,
            "visibility": self._toggleVisibility,
        }

    def stopTools(self) -> None:
        """Deactivates all tools."""
        self.prompts.putDown()

    def batchEnded(self) -> None:
        """Shows the selection in Slicer's tools, which ignore updates during batch processing."""
        self._editor.show()

    def close(self) -> None:
        """The panel is going away."""
        self._clicks.remove()
        self._listener.listen()
        self._editor.close()
        self._brush.watch(None)
        self.prompts.close()

    def resume(self) -> None:
        """Goes on with the saved session of the selected segment, if there is one, so that its clicks are shown."""
        context, target = self._context, self._context.selection.target()
        if target is None or not context.packages.complete or context.logic.hasSession(*target):
            return
        if not context.logic.inputs(*target):
            return
        try:
            upToDate = context.logic.resume(*target)
        except Exception as error:  # no dialog, since the user has not started anything
            context.messages.say(str(error))
            return
        self._showClicks()
        self._steps.update()
        if upToDate:
            words = _("Saved work restored. Segment: {volume}")
            context.messages.say(words.format(volume=context.selection.volumeInWords(target)))
        else:  # saved before the last step was noted, or painted elsewhere since
            self._brush.wait()

    def update(self) -> None:
        """Shows the settings in the scene."""
        self._editor.update()
        self._showTarget()
        self.prompts.update()
        self._steps.update()

    def _connect(self) -> None:
        ui = self._context.ui
        ui.segmentsTable.connect("selectionChanged(QItemSelection,QItemSelection)", self._onSelected)
        ui.newSegmentButton.connect("clicked(bool)", self._onNewSegment)
        for name, words, nothing in (
            ("undo", _("Undone. Segment now: {volume}"), _("Nothing to undo.")),
            ("redo", _("Redone. Segment now: {volume}"), _("Nothing to redo.")),
            ("reset", _("Reset to the initial segment: {volume}"), ""),
        ):
            act = functools.partial(self._act, name, words, nothing)
            getattr(ui, f"{name}Button").connect("clicked(bool)", lambda _on, act=act: act())

    def _onParameters(self, changed: set[str]) -> None:
        parameters = self._context.parameters
        if "segmentation" in changed:
            node = parameters.segmentation
            self._context.selection.setTarget(node, self._firstSegment(node) if node is not None else "")
        if changed.intersection(IMAGES):
            self._editor.show()

    # Segments

    def _firstSegment(self, node: slicer.vtkMRMLSegmentationNode) -> str:
        """The segment to begin with: one worked on before, or the only one.

        Of several from elsewhere there is none, or a click would change an organ that happens to be the first.
        """
        ids = list(node.GetSegmentation().GetSegmentIDs())
        known = [each for each in ids if self._context.logic.inputs(node, each)]
        return (known or (ids if len(ids) == 1 else [""]))[0]

    def _onSelected(self, *_selections: Any) -> None:
        table = self._context.ui.segmentsTable
        node, selected = table.segmentationNode(), list(table.selectedSegmentIDs())
        if node is not None and node is self._context.parameters.segmentation and selected:
            self._context.selection.setTarget(node, selected[0])

    def _onRemoved(self, _segmentation: vtk.vtkObject) -> None:
        # The segment is still there in this event.
        qt.QTimer.singleShot(0, self._leaveRemoved)

    def _leaveRemoved(self) -> None:
        """Works on another segment where the selected one was deleted."""
        context, node = self._context, self._context.parameters.segmentation
        if node is not None and context.parameters.segmentId and context.selection.target() is None:
            context.selection.setTarget(node, self._firstSegment(node))
            context.messages.say(_("The segment was deleted."))

    def _onNewSegment(self, _checked: bool = False) -> None:
        if self._context.tasks.busy:  # a segment that is being found may come with a segmentation of its own
            self._context.messages.say(_("Wait for the current task, or cancel it."))
        else:
            self._addSegment()

    def _addSegment(self) -> None:
        context = self._context
        inputs = self._inputs() if context.packages.ready() else None
        if inputs is None:
            return
        node = context.parameters.segmentation
        if not self._opening.madeEditable(node, inputs):
            return
        target = context.messages.attempt(lambda: context.logic.addSegment(inputs, node))
        if target is not None:
            context.selection.setTarget(*target)
            context.messages.say(
                _("New segment: click on the tumour, or draw a line across it, or a box or a lasso round it.")
            )

    def _showTarget(self) -> None:
        ui, parameters = self._context.ui, self._context.parameters
        node, segmentId = parameters.segmentation, parameters.segmentId
        ui.segmentsTable.setSegmentationNode(node)
        ui.segmentsTable.setSelectedSegmentIDs([segmentId] if segmentId else [])
        self._editor.show()
        self._brush.watch(node)
        if node is None:
            self._listener.listen()
        else:
            self._listener.listen((node.GetSegmentation(), slicer.vtkSegmentation.SegmentRemoved, self._onRemoved))
        self._showClicks()

    def _selectNext(self) -> None:
        node = self._context.parameters.segmentation
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        if ids:
            now = self._context.parameters.segmentId
            self._context.selection.setTarget(node, ids[(ids.index(now) + 1) % len(ids)] if now in ids else ids[0])

    def _toggleVisibility(self) -> None:
        node, segmentId = self._context.selection.target() or (None, "")
        display = node.GetDisplayNode() if node is not None else None
        if display is not None:
            display.SetSegmentVisibility(segmentId, not display.GetSegmentVisibility(segmentId))

    def _showClicks(self) -> None:
        target = self._context.selection.target()
        self._clicks.show(self._context.logic.clickPoints(*target) if target is not None else [])

    def _act(self, name: str, words: str, nothing: str) -> None:
        target = self._context.selection.target()
        if target is not None and self._opening.opened(target):
            getattr(self._context.logic, name)(*target, run=self.prompts.editing(words, nothing))
