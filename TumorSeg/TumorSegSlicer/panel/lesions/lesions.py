"""The part of the panel with the lesions, which are segments: chosen, made, renamed, split, merged, deleted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import segments
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.lesions.figures import ListFigures
from TumorSegSlicer.panel.lesions.table import LesionsTable, Row
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.selection import SegmentationNode
from TumorSegSlicer.parameters import IMAGES, ROLES
from TumorSegSlicer.work.lesions.figures import middleNow

#: What changes in a segmentation that the list shows.
EVENTS = (
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
    slicer.vtkSegmentation.SegmentsOrderModified,
    slicer.vtkSegmentation.SourceRepresentationModified,
)


class LesionsPanel:
    """The list: the selected segment is what everything works on."""

    def __init__(
        self, context: Context, opening: SegmentOpening, inputs: Callable[[], dict[str, Input] | None]
    ) -> None:
        """Follows the chosen segmentation.

        Args:
            context: what the parts of the panel share.
            opening: opens segments before they are split or merged.
            inputs: gives the images chosen.
        """
        self._context, self._opening, self._inputs = context, opening, inputs
        self._listener = Listener()
        self._updating = context.tasks.timer(0, self.update)
        self._figures = ListFigures(context, self._updating.start)
        ui = context.ui
        self._table = LesionsTable(ui.lesionsTable, self._onRow, self._onVisible, self._onName, self._onColour)
        ui.lesionsTable.connect("itemSelectionChanged()", self._showPossible)
        ui.newSegmentButton.connect("clicked(bool)", lambda _checked: self.newSegment())
        ui.deleteSegmentButton.connect("clicked(bool)", self._onDelete)
        ui.splitButton.connect("clicked(bool)", self._onSplit)
        ui.mergeButton.connect("clicked(bool)", self._onMerge)
        context.settings.onChanged.connect(self._onParameters)
        context.selection.onTarget.connect(self.update)
        context.edits.onEdited.connect(self._updating.start)

    def update(self) -> None:
        """Shows the segments as they are now."""
        node = self._context.parameters.segmentation
        self._listen(node)
        self._figures.update(node)
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        self._table.show([self._row(node, each) for each in ids], self._context.parameters.segmentId)
        self._showPossible()

    def close(self) -> None:
        """The panel is going away."""
        self._listener.listen()

    def addSegment(self, wish: Callable[[], None] | None = None) -> None:
        """Makes an empty segment and selects it; says why where it cannot.

        Args:
            wish: what for, to be called where packages must be installed first, once they are; by default this.
        """
        context = self._context
        inputs = self._inputs() if context.packages.ready(wish or self.addSegment) else None
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

    def selectNext(self) -> None:
        """Selects the segment below, after the last one the first, and shows it."""
        node = self._context.parameters.segmentation
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        if ids:
            now = self._context.parameters.segmentId
            self._onRow(ids[(ids.index(now) + 1) % len(ids)] if now in ids else ids[0])

    def toggleVisibility(self) -> None:
        """Shows or hides the selected segment."""
        node, segmentId = self._context.selection.target() or (None, "")
        display = node.GetDisplayNode() if node is not None else None
        if display is not None:
            display.SetSegmentVisibility(segmentId, not display.GetSegmentVisibility(segmentId))

    def _listen(self, node: SegmentationNode | None) -> None:
        if node is None:
            self._listener.listen()
            return
        segmentation = node.GetSegmentation()
        changes = [(segmentation, event, self._onChanged) for event in EVENTS]
        shown = (node, node.DisplayModifiedEvent, self._onChanged), (node, node.TransformModifiedEvent, self._onChanged)
        removed = (segmentation, segmentation.SegmentRemoved, self._onRemoved)
        self._listener.listen(*changes, *shown, removed)

    def _onChanged(self, _caller: vtk.vtkObject) -> None:
        self._updating.start()

    def _row(self, node: SegmentationNode, segmentId: str) -> Row:
        segment, display = node.GetSegmentation().GetSegment(segmentId), node.GetDisplayNode()
        visible = display is not None and bool(display.GetSegmentVisibility(segmentId))
        completed = segments.isLocked(node, segmentId)
        name, colour = segment.GetName() or "", tuple(segment.GetColor())
        return Row(segmentId, visible, colour, name, completed, self._figures.texts(segmentId))

    def _showPossible(self) -> None:
        """Greys buttons out that would do nothing."""
        ui, selected = self._context.ui, len(self._table.selected())
        ui.deleteSegmentButton.enabled = selected > 0
        ui.splitButton.enabled = self._context.selection.target() is not None
        ui.mergeButton.enabled = selected > 1

    def _onParameters(self, changed: set[str]) -> None:
        if "segmentation" in changed:
            node = self._context.parameters.segmentation
            self._context.selection.setTarget(node, self._firstSegment(node) if node is not None else "")
        if changed & {"segmentation", *IMAGES, *ROLES}:  # a PET may have come or gone
            self._updating.start()

    def _firstSegment(self, node: SegmentationNode) -> str:
        """The segment to begin with: one worked on before, or the only one.

        Of several from elsewhere there is none, or a click would change an organ that happens to be the first.
        """
        ids = list(node.GetSegmentation().GetSegmentIDs())
        known = [each for each in ids if self._context.logic.inputs(node, each)]
        return (known or (ids if len(ids) == 1 else [""]))[0]

    # In the table

    def _onRow(self, segmentId: str) -> None:
        """Selects a segment, and moves the slice views to its middle."""
        node = self._context.parameters.segmentation
        if node is None or node.GetSegmentation().GetSegment(segmentId) is None:
            return
        self._context.selection.setTarget(node, segmentId)
        if not self._context.tasks.busy:  # what was said last may be of another segment
            self._context.messages.say(_("Selected: {name}.").format(name=self._names([segmentId])))
        found = self._figures.of(segmentId)
        middle = found.middle if found else self._context.messages.attempt(lambda: middleNow(node, segmentId))
        if middle is not None:
            slicer.modules.markups.logic().JumpSlicesToLocation(*middle, True)

    def _onVisible(self, segmentId: str, visible: bool) -> None:
        node = self._context.parameters.segmentation
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSegmentVisibility(segmentId, visible)

    def _onName(self, segmentId: str, name: str) -> None:
        if name:
            self._context.parameters.segmentation.GetSegmentation().GetSegment(segmentId).SetName(name)
        else:
            self._context.messages.say(_("A segment needs a name."))
        self._updating.start()  # shows the name without what surrounded it, or the former one again

    def _onColour(self, segmentId: str) -> None:
        segment = self._context.parameters.segmentation.GetSegmentation().GetSegment(segmentId)
        now = qt.QColor(*(round(255 * part) for part in segment.GetColor()))
        chosen = qt.QColorDialog.getColor(now, slicer.util.mainWindow(), _("Colour of the segment"))
        if chosen.isValid():
            segment.SetColor(chosen.redF(), chosen.greenF(), chosen.blueF())

    # New and deleted segments

    def newSegment(self) -> None:
        """As :meth:`addSegment`, unless a segment that is being found may come with a segmentation of its own."""
        if self._context.tasks.busy:
            self._context.messages.say(_("Wait for the current task, or cancel it."))
        else:
            self.addSegment()

    def _onRemoved(self, _segmentation: vtk.vtkObject) -> None:
        # The segment is still there in this event.
        qt.QTimer.singleShot(0, self._leaveRemoved)

    def _leaveRemoved(self) -> None:
        """Works on another segment where the selected one was deleted."""
        context, node = self._context, self._context.parameters.segmentation
        if node is not None and context.parameters.segmentId and context.selection.target() is None:
            context.selection.setTarget(node, self._firstSegment(node))
            context.messages.say(_("The segment was deleted."))

    def _onDelete(self, _checked: bool) -> None:
        """Deletes the selected segments; asks where work would be lost that cannot be computed again."""
        context, ids, node = self._context, self._table.selected(), self._context.parameters.segmentation
        worked = [each for each in ids if not segments.isReplaceable(node, each)]
        if worked and not context.messages.agrees(
            _("Delete {names}? This cannot be undone.").format(names=self._names(worked))
        ):
            return
        names, beside = self._names(ids), self._beside(ids)
        for segmentId in ids:
            if not context.messages.succeeds(functools.partial(context.logic.deleteSegment, node, segmentId)):
                return
        context.selection.setTarget(node, beside)
        context.messages.say(_("Deleted: {names}.").format(names=names))

    def _beside(self, ids: list[str]) -> str:
        """The segment below those of a list, or else above them; empty where there is no other."""
        every = list(self._context.parameters.segmentation.GetSegmentation().GetSegmentIDs())
        last = every.index(ids[-1])
        others = [each for each in (*every[last + 1 :], *every[:last][::-1]) if each not in ids]
        return others[0] if others else ""

    def _names(self, ids: list[str]) -> str:
        segmentation = self._context.parameters.segmentation.GetSegmentation()
        return ", ".join(f"'{segmentation.GetSegment(each).GetName()}'" for each in ids)

    # Split and merge

    def _onSplit(self, _checked: bool) -> None:
        target = self._context.selection.target()
        if target is not None and self._opening.opened(target, lambda: self._onSplit(False)):
            run = self._context.tasks.starting(functools.partial(self._afterSplit, target))
            self._context.logic.splitSegment(*target, run=run)

    def _afterSplit(self, target: tuple[SegmentationNode, str], ids: list[str]) -> None:
        if len(ids) == 1:
            self._context.messages.say(_("The segment is one connected lesion: there is nothing to split."))
            return
        self._context.edits.add(target, *((target[0], each) for each in ids[1:]))
        words = _("Split into {count} segments, the largest one first; Undo takes the split of this one back.")
        self._context.messages.say(words.format(count=len(ids)))

    def _onMerge(self, _checked: bool) -> None:
        """Merges the selected segments into the one that stands first, if the user agrees."""
        context, ids, node = self._context, self._table.selected(), self._context.parameters.segmentation
        question = _(
            "Merge {others} into {first}? Their voxels join it, which can be undone. The segments {others} themselves "
            "are deleted, with their clicks and steps, which cannot be undone."
        )
        if not context.messages.agrees(question.format(others=self._names(ids[1:]), first=self._names(ids[:1]))):
            return
        self._merge(node, ids)

    def _merge(self, node: SegmentationNode, ids: list[str]) -> None:
        context, target = self._context, (node, ids[0])
        if self._opening.opened(target, functools.partial(self._merge, node, ids)):
            run = context.tasks.starting(functools.partial(self._afterMerge, target))
            context.logic.mergeSegments(node, ids, run=run)

    def _afterMerge(self, target: tuple[SegmentationNode, str], _edit: Any) -> None:
        self._context.selection.setTarget(*target)
        self._context.edits.add(target)
        words = _("Merged. Segment now: {volume}")
        self._context.messages.say(words.format(volume=self._context.selection.volumeInWords(target)))
