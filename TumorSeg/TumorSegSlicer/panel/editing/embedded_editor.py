"""Slicer's own tools in the panel: its Segment Editor, kept on the segment that the panel works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer
import vtk

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.overlays import labelLayersKept, shownImages
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.signals import Signal

TAG = "TumorSeg"
#: Of Slicer's tools those that serve to correct a tumour, in this order.
EFFECTS = ("Paint", "Erase", "Scissors", "Islands", "Smoothing", "Margin")
#: What the panel has a place of its own for. Masking would not bind clicks and boxes, so it is not offered at all.
HIDDEN = (
    *("segmentationNodeSelectorVisible", "sourceVolumeNodeSelectorVisible", "specifyGeometryButtonVisible"),
    *("addRemoveSegmentButtonsVisible", "switchToSegmentationsButtonVisible", "show3DButtonVisible"),
    *("maskingSectionVisible", "undoEnabled", "unorderedEffectsVisible"),
)


class EmbeddedEditor:
    """Keeps the Segment Editor on the panel's segment, and follows what is selected in it.

    Slicer's widget announces only what its own table selects, so it is the editor's node that is listened to.
    """

    def __init__(self, context: Context, opening: SegmentOpening) -> None:
        """Reduces the editor to its tools.

        Args:
            context: what the parts of the panel share.
            opening: opens the segment that a tool is taken up for, so that strokes can be undone.
        """
        self._context, self._opening = context, opening
        self._listener = Listener()
        self._updating = False  # the panel changes the editor, so that its events are not of the user
        #: Emitted when another tool is active, or none.
        self.onEffect = Signal()
        self._shown = ""
        # Slicer's own events on the segment that it has just added and selected must end before.
        self._following, self._beginning = context.tasks.timer(0, self._follow), context.tasks.timer(0, self._begin)
        editor = context.ui.editor
        editor.setEffectNameOrder(list(EFFECTS))
        for name in HIDDEN:
            setattr(editor, name, False)
        context.selection.onTarget.connect(self._beginning.start)
        editor.autoShowSourceVolumeNode = False  # or choosing a segment would change what the views show
        editor.maximumNumberOfUndoStates = 0  # copies of the whole segmentation, for a button that is hidden
        slicer.util.findChild(editor, "SegmentsTableView").hide()
        # Without None, Slicer's selector would edit the first segmentation that is loaded.
        slicer.util.findChild(editor, "SegmentationNodeComboBox").noneEnabled = True

    def update(self) -> None:
        """Takes the node of the scene, which is another one now, and what is worked on in it."""
        node = _editorNode()
        with self._updatingEditor():
            self._context.ui.editor.setMRMLSegmentEditorNode(node)
            # What others lose to a stroke goes the panel's way, which spares completed segments and can be undone.
            node.SetOverwriteMode(node.OverwriteNone)
            node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
            node.SetSourceVolumeIntensityMask(False)
        self._listener.listen((node, vtk.vtkCommand.ModifiedEvent, self._onNode))
        self.show()

    def show(self) -> None:
        """Lets the editor edit what the panel works on, and nothing else."""
        editor, target = self._context.ui.editor, self._context.selection.target()
        if editor.mrmlSegmentEditorNode() is None or slicer.mrmlScene.IsBatchProcessing():
            return  # it ignores changes while a scene is read
        node = self._context.parameters.segmentation
        with self._updatingEditor():
            editor.setSegmentationNode(node)
            if node is not None:
                editor.setSourceVolumeNode(self._sourceVolume(node))
            # None where none is selected: of another segmentation the editor has just selected the first by itself.
            editor.setCurrentSegmentID(target[1] if target is not None else "")
            if target is None:
                self.stop()
        editor.enabled = target is not None

    def effect(self) -> str:
        """The active tool; empty for none."""
        node = self._context.ui.editor.mrmlSegmentEditorNode()
        return (node.GetActiveEffectName() or "") if node is not None else ""

    def take(self, effect: str) -> None:
        """Takes up a tool; of no effect where the tools are disabled."""
        editor = self._context.ui.editor
        if editor.sourceVolumeNode() is None:
            self.show()  # the views may show another image by now
        if editor.enabled and editor.sourceVolumeNode() is not None:
            editor.setActiveEffectByName(effect)

    def stop(self) -> None:
        """Puts the tool down."""
        if self.effect():
            self._context.ui.editor.setActiveEffectByName("")

    def close(self) -> None:
        """The panel is going away."""
        self._listener.listen()

    def _sourceVolume(self, node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The image that a segment is worked on with, or will be, or else what the views show.

        Without one Slicer greys its tools out.
        """
        target = self._context.selection.target()
        known = self._context.logic.inputs(*target).values() if target is not None else ()
        reference = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        candidates = (*(each.node for each in known), *self._context.selection.images().values(), reference)
        there = [each for each in candidates if each is not None and slicer.mrmlScene.IsNodePresent(each)]
        shown = [each for each in shownImages() if each.IsA("vtkMRMLScalarVolumeNode")] if not there else []
        return next(iter([*there, *shown]), None)

    def _onNode(self, _node: Any) -> None:
        if self.effect() != self._shown:
            self._shown = self.effect()
            self.onEffect.emit()
        if self._updating or slicer.mrmlScene.IsBatchProcessing():
            return
        self._following.start()
        self._beginning.start()

    def _follow(self) -> None:
        """Works on the segment that was selected through the editor."""
        node, parameters = self._context.ui.editor.mrmlSegmentEditorNode(), self._context.parameters
        if node is None or node.GetSegmentationNode() is not parameters.segmentation:
            return
        selected = node.GetSelectedSegmentID() or ""
        if selected and selected != parameters.segmentId and parameters.segmentation is not None:
            self._context.selection.setTarget(parameters.segmentation, selected)

    def _begin(self) -> None:
        """Opens a session for the segment of the active tool, so that its present state can be restored."""
        context, target = self._context, self._context.selection.target()
        if not self.effect() or target is None or not context.packages.complete or context.logic.hasSession(*target):
            return
        if not self._opening.opened(target, self._beginning.start):
            self.stop()  # what it would paint could not be undone
        self.show()

    @contextmanager
    def _updatingEditor(self) -> Iterator[None]:
        updating, self._updating = self._updating, True
        try:
            with labelLayersKept():
                yield
        finally:
            self._updating = updating


def _editorNode() -> slicer.vtkMRMLSegmentEditorNode:
    node = slicer.mrmlScene.GetSingletonNode(TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(TAG)
        node = slicer.mrmlScene.AddNode(node)
    return node
