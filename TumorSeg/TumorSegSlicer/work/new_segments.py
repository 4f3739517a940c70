"""Segments that are made for an action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import slicer

from TumorSegSlicer.mrml import segments, volumes
from TumorSegSlicer.mrml.arguments import SEGMENTATION, checkNode
from TumorSegSlicer.mrml.nodes import placeBeside
from TumorSegSlicer.mrml.session_nodes import Input, firstImage


@dataclass(frozen=True)
class NewSegment:
    """A segment that was made for an action, and the volumes that were checked before: its session takes the same."""

    node: slicer.vtkMRMLSegmentationNode
    segmentId: str
    isNewNode: bool
    images: tuple[Any, ...]

    @classmethod
    def add(cls, inputs: Mapping[str, Input], node: slicer.vtkMRMLSegmentationNode | None) -> NewSegment:
        """Adds an empty tumour segment; a segmentation is made where none is given."""
        from TumorSegLib import ArgumentError

        if node is not None:
            checkNode(node, SEGMENTATION, "segmentation")
        if not inputs:
            raise ArgumentError("no volume was chosen; choose at least one")
        images = tuple(volumes.volumeFromNode(each.node, role, each.assumeSuv) for role, each in inputs.items())
        first, isNewNode = firstImage(inputs), node is None
        if node is None:
            name = f"{first.GetName()} tumour segmentation"
            node = slicer.mrmlScene.AddNewNodeByClass(SEGMENTATION, name)
            placeBeside(node, first)
        return cls(node, segments.addTumourSegment(node, first), isNewNode, images)

    def remove(self) -> None:
        """Removes what was made, as far as it is still there."""
        scene = slicer.mrmlScene
        if not scene.IsNodePresent(self.node):
            return
        if self.isNewNode:
            scene.RemoveNode(self.node)
        else:
            self.node.GetSegmentation().RemoveSegment(self.segmentId)
