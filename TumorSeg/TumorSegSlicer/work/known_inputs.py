"""The images that each segment is worked on with, of sessions open or saved."""

from __future__ import annotations

from collections.abc import Mapping

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.session_nodes import Input, Saved
from TumorSegSlicer.work.sessions import Sessions


class KnownInputs:
    """Role to volume by segment."""

    def __init__(self, store: Sessions) -> None:
        """Begins with what the scene says of saved sessions."""
        self._store = store
        self._open: dict[tuple[str, str], dict[str, Input]] = {}

    def note(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, inputs: Mapping[str, Input]) -> None:
        """Keeps what the open session of a segment works with."""
        self._open[node.GetID(), segmentId] = dict(inputs)

    def forget(self, nodeId: str, segmentId: str) -> None:
        """Forgets a segment that was deleted."""
        self._open.pop((nodeId, segmentId), None)

    def of(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> dict[str, Input]:
        """The images of a segment's session, open or saved, in its order; empty where there is none."""
        key = (node.GetID(), segmentId)
        if key in self._open:
            return self._open[key]
        saved = self._saved(node, segmentId)
        return dict(saved.inputs) if saved is not None else {}

    def inOrder(
        self, inputs: Mapping[str, Input], node: slicer.vtkMRMLSegmentationNode, segmentId: str
    ) -> dict[str, Input]:
        """Inputs with those first that a segment's session has, in its order: it goes on where the first one stays."""
        saved = self._saved(node, segmentId)
        roles = saved.roles if saved is not None else tuple(self.of(node, segmentId))
        return {role: inputs[role] for role in (*(role for role in roles if role in inputs), *inputs)}

    def checkFirst(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """Raises ``ArgumentError`` where the image that a saved session began with is gone: clicks would be lost."""
        from TumorSegLib import ArgumentError

        saved = self._saved(node, segmentId)
        if saved is not None and saved.roles and saved.roles[0] not in saved.inputs:
            raise ArgumentError(
                _(
                    "the image that segment '{name}' was made on ({role}) is not in the scene: load it and choose it "
                    "under Inputs, and its clicks and steps go on"
                ).format(name=node.GetSegmentation().GetSegment(segmentId).GetName(), role=saved.roles[0])
            )

    def _saved(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Saved | None:
        saved = (each for each in self._store.fromScene() if each.segmentationNode is node)
        return next((each for each in saved if each.segmentId == segmentId), None)
