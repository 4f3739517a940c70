"""Embeds the slices of a box in the background, before the user asks for its segmentation."""

from __future__ import annotations

import logging
from typing import Any

import slicer
import vtk

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.work.failures import Failure

#: Embedding begins this long after the last change of the box.
SETTLED_MS = 1000


class EmbeddingAhead:
    """Embeds the slices of the chosen box in advance, so that segmenting in it is fast.

    Failures are logged, not shown; segmenting in the box shows them. It begins when no task runs, and any action of the
    user stops it.
    """

    def __init__(self, context: Context) -> None:
        """Begins without a box."""
        self._context = context
        self._roi: slicer.vtkMRMLMarkupsROINode | None = None
        self._listener = Listener()
        self._due = False  # the box has changed since its slices were embedded
        self._embedding = False
        self._timer = context.tasks.timer(SETTLED_MS, self._embed)
        context.selection.onTarget.connect(self._wait)
        context.edits.onEdited.connect(self._wait)

    def watch(self, roi: slicer.vtkMRMLMarkupsROINode | None) -> None:
        """Embeds this box from now on, and no other."""
        self._roi = roi
        events = (vtk.vtkCommand.ModifiedEvent, roi.PointModifiedEvent, roi.TransformModifiedEvent) if roi else ()
        self._listener.listen(*((roi, event, self._onMoved) for event in events))
        self._onMoved(roi)

    def _onMoved(self, roi: Any) -> None:
        self._due = roi is not None
        if self._embedding:
            self._context.tasks.stopQuiet()
        self._wait()

    def _wait(self) -> None:
        self._timer.start()

    def _embed(self) -> None:
        context, roi, target = self._context, self._roi, self._context.selection.target()
        if not self._due or self._embedding or target is None or not context.packages.complete:
            return
        if not context.parameters.boxModel:  # boxes are answered by the model for clicks, which embeds nothing
            return
        if context.edits.unsaved:  # saving is to be quick, and this may take minutes
            self._wait()
            return
        if not slicer.mrmlScene.IsNodePresent(roi) or not context.logic.hasSession(*target):
            return
        self._due, self._embedding = False, True
        context.logic.embedBox(*target, roi, run=context.tasks.startingQuietly(self._onEmbedded, self._onStopped))

    def _onEmbedded(self, _slices: int) -> None:
        self._embedding = False

    def _onStopped(self, failure: Failure) -> None:
        self._embedding = False
        if failure.cancelled:
            self._due = True
            self._wait()
        else:
            logging.info("TumorSeg: the slices of the box were not embedded ahead: %s", failure.details)
