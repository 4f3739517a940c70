"""What an action works on, and what it made for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer


@dataclass(frozen=True)
class Target:
    """A segment, what was made for it, and the volumes that were checked before: its session takes the same."""

    node: slicer.vtkMRMLSegmentationNode
    segmentId: str
    newSegment: bool = False
    newNode: bool = False
    images: tuple[Any, ...] = ()

    def remove(self) -> None:
        """Takes away what was made for it, as far as it is still there."""
        scene = slicer.mrmlScene
        if not scene.IsNodePresent(self.node):
            return
        if self.newNode:
            scene.RemoveNode(self.node)
        elif self.newSegment:
            self.node.GetSegmentation().RemoveSegment(self.segmentId)
