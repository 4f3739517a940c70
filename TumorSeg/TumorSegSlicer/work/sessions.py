"""The open sessions of a scene, one per segment: opened anew or from what the scene holds, and dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
import vtk

from TumorSegSlicer.mrml import segments, tables, volumes
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.session_nodes import (
    Input,
    Saved,
    firstImage,
    readHead,
    readSession,
    removeSession,
    textNode,
    textNodes,
)
from TumorSegSlicer.work.segment_session import SegmentSession, carriedAlong, imageStamp, segmentStamp, withRoles

if TYPE_CHECKING:
    from TumorSegLib import Session

SEGMENTATION = "vtkMRMLSegmentationNode"


@dataclass(frozen=True)
class Opened:
    """A session, and a text on what of an earlier one could not be kept; empty if nothing was lost."""

    session: Session
    problem: str = ""


class Sessions:
    """The sessions of one scene. All methods are for the GUI thread; the sessions given out are for the worker."""

    def __init__(self, scene: slicer.vtkMRMLScene, onDropped: Callable[[str, str], None] | None = None) -> None:
        """Begins without open sessions.

        Args:
            scene: the scene.
            onDropped: called with node id and segment id of a session whose segment was deleted.
        """
        self._scene = scene
        self._onDropped = onDropped
        self._entries: dict[tuple[str, str], SegmentSession] = {}
        self._measured = tables.Followers()
        self._listener = Listener()
        self._listener.listen(
            (scene, slicer.vtkMRMLScene.NodeAddedEvent, self._onNodeAdded, vtk.VTK_OBJECT),
            (scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onNodeRemoved, vtk.VTK_OBJECT),
            (scene, slicer.vtkMRMLScene.StartCloseEvent, self._onSceneClosed),
        )
        #: By the id of a segmentation: its segments, and what observes them.
        self._segments: dict[str, tuple[slicer.vtkSegmentation, Listener]] = {}
        for node in self._segmentations():
            self._observeSegments(node)

    def close(self) -> None:
        """Drops all sessions and removes the observers."""
        for listener in (self._listener, *(each for _segments, each in self._segments.values())):
            listener.listen()
        self._segments, self._entries = {}, {}

    def get(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Session | None:
        """The open session of a segment; None where there is none."""
        opened = self._entries.get((node.GetID(), segmentId))
        return opened.session if opened else None

    def of(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> SegmentSession:
        """The open session of a segment, with what belongs to it; raises ``ArgumentError`` where there is none."""
        from TumorSegLib import ArgumentError

        opened = self._entries.get((node.GetID(), segmentId))
        if opened is None:
            raise ArgumentError(f"segment '{segmentId}' of '{node.GetName()}' has no open session; it may be deleted")
        return opened

    def isOpen(self, node: Any, segmentId: Any) -> bool:
        """Whether a segment has an open session; False for what is no segment."""
        return any(entry.node is node and key[1] == segmentId for key, entry in self._entries.items())

    def open(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, inputs: Mapping[str, Input] | None = None
    ) -> Opened:
        """The session of a segment with these volumes: the open one, the saved one, or a new one.

        Where volumes are others than before, the session goes on with the new ones; do that while no task works on it.
        A new session begins with the segment as it is; :meth:`SegmentSession.changedMask` returns
        what was painted since a session was saved.

        Args:
            node, segmentId: the segment.
            inputs: role to volume; masks lie on the first one's grid. None: those that its session had.

        Raises:
            ArgumentError: no volume was given, or is known.
            TumorSegError: as :func:`volumes.volumeFromNode` and :func:`segments.maskFromSegment`; nothing was changed.
        """
        from TumorSegLib import ArgumentError

        key = (node.GetID(), segmentId)
        entry = self._entries.get(key)
        known = dict(self.inputs(node, segmentId) if inputs is None else inputs)
        if not known:
            raise ArgumentError("no volume was chosen; choose at least one")
        if (
            entry is not None
            and inputs is None
            and not all(self._scene.IsNodePresent(each.node) for each in known.values())
        ):
            return Opened(entry.session)  # a volume was deleted; its voxels live on in the session
        problem = ""
        if entry is None or entry.images != imageStamp(known):
            entry, problem = self._made(node, segmentId, known, entry)
            self._entries[key] = entry
            self._observeSegments(node)
        return Opened(entry.session, problem)

    def inputs(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> dict[str, Input]:
        """Role to volume of the session of a segment, open or saved, in its order; empty where there is none."""
        entry = self._entries.get((node.GetID(), segmentId))
        if entry is not None:
            return entry.inputs
        saved = self.head(node, segmentId)
        return dict(saved.inputs) if saved is not None else {}

    def head(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Saved | None:
        """What the scene says of the saved session of a segment; None where there is none."""
        text = textNode(node, segmentId)
        return readHead(node, text) if text is not None else None

    def ordered(
        self, inputs: Mapping[str, Input], node: slicer.vtkMRMLSegmentationNode, segmentId: str
    ) -> dict[str, Input]:
        """Inputs with those first that a segment's session has, in its order: it goes on where the first one stays.

        A volume that has another role now is still the same; one that took the place of another has its role.
        """
        saved = self.head(node, segmentId)
        known = self.inputs(node, segmentId)
        roles = saved.roles if saved is not None else tuple(known)
        others = {id(each.node): role for role, each in inputs.items()}
        formerly = [others.get(id(known[role].node), role) if role in known else role for role in roles]
        return {role: inputs[role] for role in (*(role for role in formerly if role in inputs), *inputs)}

    def save(self) -> None:
        """Writes all open sessions into the scene."""
        for opened in self._entries.values():
            unsaved = opened.unsaved()
            opened.records.update(unsaved.snapshot.records(unsaved.since))
            opened.write(unsaved)

    def saved(self) -> list[Saved]:
        """The heads of the sessions that the scene holds, of segments that are there; :meth:`open` resumes them."""
        heads = [readHead(node, text) for node in self._segmentations() for text in textNodes(node)]
        return [h for h in heads if h.segmentationNode.GetSegmentation().GetSegment(h.segmentId) is not None]

    def _segmentations(self) -> list[slicer.vtkMRMLSegmentationNode]:
        count = self._scene.GetNumberOfNodesByClass(SEGMENTATION)
        return [self._scene.GetNthNodeByClass(number, SEGMENTATION) for number in range(count)]

    def _made(
        self,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        inputs: dict[str, Input],
        earlier: SegmentSession | None,
    ) -> tuple[SegmentSession, str]:
        """An entry that goes on from an earlier one or from what is saved, and what could not be kept."""
        from TumorSegLib import Mask, Session, TumorSegError
        from TumorSegLib.images import ImageSet

        images = ImageSet(
            {role: volumes.volumeFromNode(each.node, role, each.assumeSuv) for role, each in inputs.items()}
        )
        grid, place = images.grid, volumes.toWorld(node)
        problem, data, known, session, models, savedUpTo = "", None, None, None, {}, -1
        former = self.inputs(node, segmentId)
        if earlier is not None:
            data = carriedAlong(earlier.session.to_json(), earlier.place, place, grid)
            known, models, savedUpTo = earlier.segment, earlier.models, earlier.savedUpTo
        elif (text := textNode(node, segmentId)) is not None:
            head = readHead(node, text)
            data, problem = readSession(text) if not head.problem else (None, head.problem)
            data, models, savedUpTo = carriedAlong(data, head.place, place, grid), dict(head.models), head.last
        if data is not None:
            if former and firstImage(former) is firstImage(inputs):
                data = withRoles(data, inputs)
            try:
                session = Session.from_json(data, images)
            except TumorSegError as error:
                problem = str(error)
        if session is None:
            live = segments.liveFromSegment(node, segmentId, grid)
            initial = Mask(grid.crop(live.box), live.copied()) if live.labels.size else None
            session, known, savedUpTo = Session(images, initial=initial), segmentStamp(node, segmentId), -1
        return SegmentSession(
            node, segmentId, session, inputs, imageStamp(inputs), known, place, place, models, savedUpTo
        ), problem

    def _observeSegments(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Observes what is removed from a segmentation, which may have other segments than before."""
        segmentation = node.GetSegmentation()
        observed, listener = self._segments.get(node.GetID(), (None, Listener()))
        if segmentation is not observed:
            event = slicer.vtkSegmentation.SegmentRemoved
            listener.listen(
                (segmentation, event, self._onSegmentRemoved, vtk.VTK_STRING),
                (segmentation, segmentation.SourceRepresentationModified, self._onChanged),
                (segmentation, segmentation.SegmentModified, self._onChanged),  # all that the editor's own undo emits
                (node, node.TransformModifiedEvent, self._onMoved),
            )
            self._segments[node.GetID()] = (segmentation, listener)

    def _onSegmentRemoved(self, segmentation: vtk.vtkObject, segmentId: str) -> None:
        """A segment that gets the same id later must not inherit the prompts."""
        node = self._nodeOf(segmentation)
        text = textNode(node, segmentId)
        if text is not None:
            removeSession(node, text)
        tables.removeMeasured(node, segmentId)
        self._forget(node.GetID(), segmentId)

    def _onChanged(self, segmentation: vtk.vtkObject) -> None:
        """Measurements follow what has changed; while a scene is read, its segments come after them."""
        if not self._scene.IsBatchProcessing():
            self._measured.update(self._nodeOf(segmentation))

    def _onMoved(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        if not self._scene.IsBatchProcessing():
            self._measured.update(node)

    def _nodeOf(self, segmentation: vtk.vtkObject) -> slicer.vtkMRMLSegmentationNode:
        nodeId = next(nodeId for nodeId, (observed, _listener) in self._segments.items() if observed is segmentation)
        return self._scene.GetNodeByID(nodeId)

    def _forget(self, nodeId: str, segmentId: str) -> None:
        if self._entries.pop((nodeId, segmentId), None) is not None and self._onDropped is not None:
            self._onDropped(nodeId, segmentId)

    def _onNodeAdded(self, _scene: vtk.vtkObject, node: slicer.vtkMRMLNode) -> None:
        if node.IsA(SEGMENTATION):
            self._observeSegments(node)

    def _onNodeRemoved(self, _scene: vtk.vtkObject, node: slicer.vtkMRMLNode) -> None:
        if not node.IsA(SEGMENTATION):
            return
        _segments, listener = self._segments.pop(node.GetID(), (None, Listener()))
        listener.listen()
        if not self._scene.IsClosing():
            for text in textNodes(node):
                removeSession(node, text)
            for segmentId in node.GetSegmentation().GetSegmentIDs():
                tables.removeMeasured(node, segmentId)
        for nodeId, segmentId in [key for key in self._entries if key[0] == node.GetID()]:
            self._forget(nodeId, segmentId)

    def _onSceneClosed(self, _scene: vtk.vtkObject) -> None:
        for nodeId, segmentId in list(self._entries):
            self._forget(nodeId, segmentId)
