"""What an action works on, and what it made for it."""

from __future__ import annotations

from dataclasses import dataclass

import slicer


@dataclass(frozen=True)
class Target:
    """A segment, and what was made for it."""

    node: slicer.vtkMRMLSegmentationNode
    segmentId: str
    newSegment: bool = False
    newNode: bool = False

    def remove(self) -> None:
        """Takes away what was made for it, as far as it is still there."""
        scene = slicer.mrmlScene
        if not scene.IsNodePresent(self.node):
            return
        if self.newNode:
            scene.RemoveNode(self.node)
        elif self.newSegment:
            self.node.GetSegmentation().RemoveSegment(self.segmentId)
