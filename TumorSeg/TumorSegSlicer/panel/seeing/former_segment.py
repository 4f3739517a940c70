"""A segment as it was before its last edit, shown in the slice views in place of what it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer

from TumorSegSlicer.mrml import segments

if TYPE_CHECKING:
    from TumorSegLib import Edit, Grid

NAME = "Before the last edit"


class FormerSegment:
    """A segmentation of its own with the former segment; the segment itself is not touched, only hidden meanwhile.

    The segmentation is in no list of Slicer's, and is not saved.
    """

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, undone: Edit, grid: Grid) -> None:
        """Shows the former segment.

        Args:
            node, segmentId: the segment as it is now.
            undone: what undoing its last edit would change.
            grid: of the session, in the world.
        """
        self._display, self._segmentId = node.GetDisplayNode(), segmentId
        self._copy = self._made(node, segmentId)
        segments.applyEdit(undone, self._copy, segmentId, grid)
        self._shown = (
            self._display.GetSegmentVisibility2DFill(segmentId),
            self._display.GetSegmentVisibility2DOutline(segmentId),
        )
        self._show(False, False)

    def remove(self) -> None:
        """Shows the segment as it is, as far as it is still there."""
        scene = slicer.mrmlScene
        if scene.IsNodePresent(self._copy):
            scene.RemoveNode(self._copy)
        if scene.IsNodePresent(self._display):
            self._show(*self._shown)

    def _show(self, fill: bool, outline: bool) -> None:
        self._display.SetSegmentVisibility2DFill(self._segmentId, fill)
        self._display.SetSegmentVisibility2DOutline(self._segmentId, outline)

    @staticmethod
    def _made(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLSegmentationNode:
        copy = slicer.vtkMRMLSegmentationNode()
        copy.SetName(NAME)
        copy.SetHideFromEditors(True)
        copy.SetSaveWithScene(False)
        slicer.mrmlScene.AddNode(copy)
        copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        copy.GetSegmentation().SetSourceRepresentationName(node.GetSegmentation().GetSourceRepresentationName())
        copy.GetSegmentation().CopySegmentFromSegmentation(node.GetSegmentation(), segmentId)
        copy.RemoveClosedSurfaceRepresentation()
        logic = slicer.vtkSlicerSegmentationsModuleLogic  # a completed segment has a former state, too
        logic.SetSegmentStatus(copy.GetSegmentation().GetSegment(segmentId), logic.InProgress)
        copy.CreateDefaultDisplayNodes()
        display = copy.GetDisplayNode()
        display.Copy(node.GetDisplayNode())
        display.SetHideFromEditors(True)
        display.SetSaveWithScene(False)
        display.SetVisibility3D(False)
        return copy
