"""Imports what the user paints with Slicer's own tools, shortly after each stroke."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.messages import answer
from TumorSegSlicer.panel.shared.selection import SegmentationNode
from TumorSegSlicer.work.failures import Failure

#: A stroke is imported this long after its last change.
SETTLED_MS = 200
#: The tools whose strokes may guide the model, and whether they add voxels. What another one does stays as it is.
GUIDING = {"Paint": True, "Erase": False}

STROKE = slicer.vtkSegmentation.SourceRepresentationModified
#: Slicer's own undo and redo invoke this event alone, unlike strokes; they never guide the model.
RESTORED = slicer.vtkSegmentation.SegmentModified


class Brush:
    """Imports what is painted on the selected segment as one step that can be undone.

    If the user chose so, the model continues from a stroke in the same step. That applies to what the active tool
    does, Paint adds and Erase removes, and not for what Slicer's own undo and redo bring back.
    """

    def __init__(self, context: Context, tool: Callable[[], str]) -> None:
        """Begins without a segmentation.

        Args:
            context: what the parts of the panel share.
            tool: gives the name of the Segment Editor's active effect; empty where there is none.
        """
        self._context, self._tool = context, tool
        self._listener = Listener()
        self._target: tuple[SegmentationNode, str] | None = None  # what was painted on
        self._tools: set[str] = set()  # what with
        self._timer = context.tasks.timer(SETTLED_MS, self._import)

    def watch(self, node: SegmentationNode | None) -> None:
        """Listens to this segmentation from now on, and to no other."""
        if node is None:
            self._listener.listen()
            return
        segmentation = node.GetSegmentation()
        self._listener.listen((segmentation, STROKE, self._onStroke), (segmentation, RESTORED, self._onRestored))

    def _onStroke(self, _segmentation: vtk.vtkObject) -> None:
        if not self._context.logic.bench.writing:
            self._tools.add(self._tool())
            self.wait()

    def _onRestored(self, _segmentation: vtk.vtkObject) -> None:
        if not self._context.logic.bench.writing:
            self.wait()

    def wait(self) -> None:
        """Imports the selected segment as it is, a moment from now."""
        self._target = self._context.selection.target()
        self._timer.start()

    def _import(self) -> None:
        context, target = self._context, self._target
        if context.tasks.busy:
            self._timer.start()
            return
        tools, self._tools = self._tools, set()
        # A stroke does not install packages, nor begin a session: the next action imports it anyway.
        if target is None or not self._isKnown(*target) or not context.packages.complete:
            return
        onImported = functools.partial(self._onImported, target)
        if context.parameters.strokesGuide and tools and tools <= set(GUIDING):
            guides = {GUIDING[tool] for tool in tools}
            context.logic.importBrush(
                *target, guides, run=context.tasks.starting(onImported, onError=self._onNotRefined)
            )
        else:
            context.tasks.stopQuiet()  # which may take long, and goes on later
            context.logic.importBrush(*target, run=context.tasks.startingQuietly(onImported, self._onNotImported))

    def _onNotRefined(self, failure: Failure) -> None:
        """Imports the stroke as it was drawn where the user stops the model."""
        if failure.cancelled:
            self._timer.start()
        self._context.messages.fail(failure)

    def _onNotImported(self, failure: Failure) -> None:
        """Tries again where the import was stopped by an action of the user, which has imported the stroke by then."""
        if failure.cancelled:
            self._timer.start()
        else:
            self._context.messages.say(failure.message)

    def _isKnown(self, node: SegmentationNode, segmentId: str) -> bool:
        """Whether a segment is still there and has a session, open or saved."""
        there = slicer.mrmlScene.IsNodePresent(node) and node.GetSegmentation().GetSegment(segmentId) is not None
        return there and bool(self._context.logic.inputs(node, segmentId))

    def _onImported(self, target: tuple[SegmentationNode, str], edit: Any) -> None:
        if edit is None:
            return
        guided = _("The model followed your stroke. Segment now: {volume}")
        words = answer(edit, guided) if edit.info.model else _("Stroke kept. Segment now: {volume}")
        selection, inputs = self._context.selection, self._context.logic.inputs(*target)
        self._context.edits.add(target)
        other, volume = selection.otherShown([each.node for each in inputs.values()]), selection.volumeInWords(target)
        self._context.messages.say(f"{other} {words.format(volume=volume)}".strip())
