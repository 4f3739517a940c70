"""What the user paints with Slicer's own tools: heard of, and taken over soon after."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.context import Context, SegmentationNode
from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.worker import Failure

#: So long after the last change a stroke is taken to be complete.
SETTLED_MS = 200
#: The tools whose strokes may guide the model, and whether they add voxels. What another one does stays as it is.
GUIDING = {"Paint": True, "Erase": False}

STROKE = slicer.vtkSegmentation.SourceRepresentationModified
#: Slicer tells of its own undo and redo by this event alone, so these are known from strokes and never guide the model.
RESTORED = slicer.vtkSegmentation.SegmentModified


class Brush:
    """Takes over what is painted on the selected segment as one step that can be undone.

    Where the user wants it so, the model goes on from a stroke in the same step. That holds for what the tool at work
    does, Paint adds and Erase removes, and not for what Slicer's own undo and redo bring back.
    """

    def __init__(self, context: Context, tool: Callable[[], str]) -> None:
        """Begins without a segmentation.

        Args:
            context: the panel's common ground.
            tool: gives the name of the Segment Editor's active effect; empty where there is none.
        """
        self._context, self._tool = context, tool
        self._listener = Listener()
        self._target: tuple[SegmentationNode, str] | None = None  # what was painted on
        self._tools: set[str] = set()  # what with
        self._timer = context.alarm(SETTLED_MS, self._takeOver)

    def watch(self, node: SegmentationNode | None) -> None:
        """Listens to this segmentation from now on, and to no other."""
        if node is None:
            self._listener.listen()
            return
        segmentation = node.GetSegmentation()
        self._listener.listen((segmentation, STROKE, self._onStroke), (segmentation, RESTORED, self._onRestored))

    def _onStroke(self, _segmentation: vtk.vtkObject) -> None:
        if not self._context.logic.actions.writing:
            self._tools.add(self._tool())
            self.wait()

    def _onRestored(self, _segmentation: vtk.vtkObject) -> None:
        if not self._context.logic.actions.writing:
            self.wait()

    def wait(self) -> None:
        """Takes the selected segment over as it is, a moment from now."""
        self._target = self._context.target()
        self._timer.start()

    def _takeOver(self) -> None:
        context, target = self._context, self._target
        if context.busy:
            self._timer.start()
            return
        tools, self._tools = self._tools, set()
        # A stroke is no reason to install packages, nor to begin a session: the next action takes it over anyway.
        if target is None or not self._isKnown(*target) or not context.complete:
            return
        if context.parameters.strokesGuide and tools and tools <= set(GUIDING):
            action = self._guiding(target, {GUIDING[tool] for tool in tools})
            context.start(action, lambda edit: self._onTaken(target, edit))
        else:
            context.stopQuiet()  # which may take long, and goes on later
            action = context.logic.actions.stroke(*target, ())
            context.startQuietly(action, lambda edit: self._onTaken(target, edit), self._onNotTaken)

    def _guiding(self, target: tuple[SegmentationNode, str], guides: Collection[bool]) -> Action:
        """The model goes on from a stroke; where the user stops it the stroke is taken over as it was drawn."""
        from TumorSegLib import Cancelled

        try:
            return (yield from self._context.logic.actions.stroke(*target, guides))
        except Cancelled:
            self._target = target
            self._timer.start()
            raise

    def _onNotTaken(self, failure: Failure) -> None:
        """Tries again where a stroke had to make way; the action of the user that it made way for takes it over."""
        if failure.cancelled:
            self._timer.start()
        else:
            self._context.say(failure.message)

    def _isKnown(self, node: SegmentationNode, segmentId: str) -> bool:
        """Whether a segment is still there and has a session, open or saved."""
        there = slicer.mrmlScene.IsNodePresent(node) and node.GetSegmentation().GetSegment(segmentId) is not None
        return there and bool(self._context.logic.actions.inputs(node, segmentId))

    def _onTaken(self, target: tuple[SegmentationNode, str], edit: Any) -> None:
        if edit is None:
            return
        words = _("The model followed your stroke. Segment now:") if edit.info else _("Stroke kept. Segment now:")
        self._context.edited(target)
        self._context.say(f"{words} {self._context.volumeInWords(target)}")
