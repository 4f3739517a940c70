"""How actions are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import slicer
from slicer.i18n import tr as _

#: Called as (kind, model, device, precision) for an engine that loads when it is first used; the same for the same.
EngineSource = Callable[[str, str, str, str], Any]

#: What can happen to other segments.
OVERLAPS = ("allow", "overwrite visible", "overwrite all")


def _ignore(_what: object) -> None:
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
        notice: called with what the user should know, in words, although the action goes on.
    """

    engineSource: EngineSource
    models: dict[str, str] = field(
        default_factory=lambda: {"auto": "sts-auto", "clicks": "sts-clicks", "box": "lite-medsam"}
    )
    device: str = "auto"
    precision: str = "auto"
    overlap: str = "allow"
    notice: Callable[[str], None] = _ignore

    def engine(self, kind: str) -> Any:
        """The engine of the chosen model of a kind, ``auto``, ``clicks`` or ``box``.

        Raises:
            ModelError: the model is not on this computer, or of another kind; says what to do.
        """
        from TumorSegLib import ModelError

        try:
            return self.engineSource(kind, self.models[kind], self.device, self.precision)
        except ModelError as error:
            words = _("{problem}. Choose another model, or import or download this one (Manage models).")
            raise ModelError(words.format(problem=error)) from error

    def losers(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> list[str]:
        """Ids of the segments that lose voxels where this one grows into them; ``ArgumentError`` for another policy."""
        from TumorSegLib import ArgumentError

        display, overlap = node.GetDisplayNode(), self.overlap
        if overlap not in OVERLAPS:
            raise ArgumentError(f"settings.overlap is {overlap!r}; there are {', '.join(map(repr, OVERLAPS))}")
        if overlap == "allow":
            return []
        others = [other for other in node.GetSegmentation().GetSegmentIDs() if other != segmentId]
        if overlap == "overwrite visible" and display is not None:
            others = [other for other in others if display.GetSegmentVisibility(other)]
        return others
