"""How actions are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import slicer

#: Called as (kind, model, device, precision) for an engine that loads when it is first used; the same for the same.
EngineSource = Callable[[str, str, str, str], Any]


def _ignore(_: object) -> None:
    """Nobody wants to know."""


@dataclass
class Settings:
    """How actions are done; they read it when they begin.

    Attributes:
        engineSource: where engines come from.
        models: kind (``auto``, ``clicks``, ``box``) to name of the model.
        device, precision: as for :func:`TumorSegLib.load_engine`.
        overlap: ``allow`` (other segments keep their voxels and may share them), ``overwrite visible`` or
            ``overwrite all`` (they lose them); segments marked as completed never lose any.
        beforeEdit: called with the segmentation before voxels of it change, e.g. to save a state for the editor's undo.
        notice: called with what the user should know, in words, although the action goes on.
    """

    engineSource: EngineSource
    models: dict[str, str] = field(
        default_factory=lambda: {"auto": "sts-auto", "clicks": "sts-clicks", "box": "lite-medsam"}
    )
    device: str = "auto"
    precision: str = "auto"
    overlap: str = "allow"
    beforeEdit: Callable[[slicer.vtkMRMLSegmentationNode], None] = _ignore
    notice: Callable[[str], None] = _ignore

    def losers(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> list[str]:
        """Ids of the segments that lose voxels where this one grows into them."""
        display, overlap = node.GetDisplayNode(), self.overlap
        if overlap == "allow":
            return []
        others = [other for other in node.GetSegmentation().GetSegmentIDs() if other != segmentId]
        if overlap == "overwrite visible" and display is not None:
            others = [other for other in others if display.GetSegmentVisibility(other)]
        return others
