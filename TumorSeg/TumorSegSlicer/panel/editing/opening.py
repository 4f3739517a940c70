"""What stands between a segment and its first correction in the panel: images, and voxels, that the user agrees to."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import labelmaps
from TumorSegSlicer.mrml.session_nodes import Input, firstImage
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.signals import Signal


class SegmentOpening:
    """Opens segments, from elsewhere perhaps, with the images chosen."""

    def __init__(self, context: Context, inputs: Callable[[], dict[str, Input] | None]) -> None:
        """Keeps what it asks.

        Args:
            context: what the parts of the panel share.
            inputs: gives the images chosen.
        """
        self._context, self._inputs = context, inputs
        #: Emitted when a segment was opened.
        self.onOpened = Signal()

    def opened(self, target: tuple[slicer.vtkMRMLSegmentationNode, str], wish: Callable[[], None]) -> bool:
        """Sees to it that a segment, from elsewhere perhaps, has a session with the images chosen; whether it has.

        Args:
            target: segmentation and id of the segment.
            wish: what it is opened for, to be called where packages must be installed first, once they are.
        """
        context, (node, segmentId) = self._context, target
        known, chosen = context.logic.inputs(node, segmentId), context.selection.images()
        there = {role: each.node for role, each in known.items() if slicer.mrmlScene.IsNodePresent(each.node)}
        if known and (not chosen or chosen == there):
            return self.madeEditable(node, known)
        inputs = self._inputs() if context.packages.ready(wish) else None
        if not inputs or not self._mayMove(known, inputs) or not self.madeEditable(node, inputs):
            return False
        if not context.messages.succeeds(lambda: context.logic.openSegment(inputs, node, segmentId)):
            return False
        self.onOpened.emit()
        return True

    def _mayMove(self, known: dict[str, Input], inputs: dict[str, Input]) -> bool:
        """Asks before the clicks and steps of a segment are lost since the image it was made on is another one now."""
        first = firstImage(known) if known else None
        if first is None or first in [each.node for each in inputs.values()]:
            return True
        question = _(
            "This segment was made on '{former}', which is not among the chosen images. Continue on '{new}'? The "
            "segment stays as it is; its clicks and edits can no longer be undone."
        )
        return self._context.messages.agrees(question.format(former=first.GetName(), new=firstImage(inputs).GetName()))

    def madeEditable(self, node: slicer.vtkMRMLSegmentationNode | None, inputs: dict[str, Input]) -> bool:
        """Makes a segmentation of contours or surfaces one of voxels if the user agrees; whether it can be edited."""
        if node is None or labelmaps.isKeptAsVoxels(node):
            return True
        question = _(
            "'{name}' is stored as '{source}'. To correct it, its segments must be converted to voxels of the first "
            "image, which rounds their outlines to voxels. Convert them?"
        ).format(name=node.GetName(), source=node.GetSegmentation().GetSourceRepresentationName())
        if not self._context.messages.agrees(question):
            self._context.messages.say(_("Nothing was changed: the segmentation stays as it is."))
            return False
        volume = firstImage(inputs)
        return self._context.messages.succeeds(lambda: self._context.logic.keepAsVoxels(node, volume))
