"""The library's sessions, one per segment of the scene: opened, compared with their segments, saved, dropped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

from TumorSegSlicer.mrml import segments, volumes
from TumorSegSlicer.mrml.labelmaps import BINARY
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.session_nodes import (
    Input,
    Saved,
    readHead,
    readSession,
    removeSession,
    textNode,
    textNodes,
    writeSession,
)
from TumorSegSlicer.work.moved_sessions import carriedAlong, movedGrid

if TYPE_CHECKING:
    from TumorSegLib import Edit, Grid, Mask, ModelSpec, Session
    from TumorSegLib.session.storage import Snapshot

SEGMENTATION = "vtkMRMLSegmentationNode"


@dataclass(frozen=True)
class Opened:
    """A session, and in words what of an earlier one could not be kept; empty if nothing was lost."""

    session: Session
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Reading:
    """The mask of a segment as it was read from the scene, and what tells whether it has changed since."""

    mask: Mask
    stamp: tuple[Any, ...]


@dataclass(eq=False)
class _Entry:
    node: slicer.vtkMRMLSegmentationNode
    session: Session
    inputs: dict[str, Input]
    images: tuple[Any, ...]  # tells whether the volumes changed
    segment: tuple[Any, ...] | None  # tells whether the segment changed; None: unknown
    place: np.ndarray  # of the segmentation, in the world, when the session was made
    seen: np.ndarray  # its place when the segment was last compared with the session
    models: dict[str, Mapping[str, str]] = field(default_factory=dict)
    savedUpTo: int = -1  # the last record that is in the scene
    records: dict[int, str] = field(default_factory=dict)  # encoded, and not yet in the scene
    snapshots: int = 0  # number of snapshots taken
    written: int = 0  # number of the snapshot that is in the scene


@dataclass(frozen=True, eq=False)
class Unsaved:
    """A snapshot of a session that is to be written into the scene.

    Attributes:
        session: the session.
        snapshot: of the session.
        since: the last of its records that is encoded; -1 for none.
        number: larger than those of earlier snapshots of the session.
    """

    session: Session
    snapshot: Snapshot
    since: int
    number: int


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
        self._entries: dict[tuple[str, str], _Entry] = {}
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
        """The open session of a segment; None if there is none."""
        entry = self._entries.get((node.GetID(), segmentId))
        return entry.session if entry else None

    def isOpen(self, node: Any, segmentId: Any) -> bool:
        """Whether a segment has an open session; False for what is no segment."""
        return any(entry.node is node and key[1] == segmentId for key, entry in self._entries.items())

    def open(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, inputs: Mapping[str, Input] | None = None
    ) -> Opened:
        """The session of a segment with these volumes: the open one, the saved one, or a new one.

        Where volumes are others than before, the session goes on with the new ones; do that while no task works on it.
        A new session begins with the segment as it is; what was painted since a session was saved, :meth:`changedMask`
        tells.

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
        if entry is None or entry.images != _imageStamp(known):
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
        """Inputs with those first that a segment's session has, in its order: it goes on where the first one stays."""
        saved = self.head(node, segmentId)
        roles = saved.roles if saved is not None else tuple(self.inputs(node, segmentId))
        return {role: inputs[role] for role in (*(role for role in roles if role in inputs), *inputs)}

    def noteModel(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, kind: str, spec: ModelSpec) -> None:
        """Notes which model of a kind works on a session, to be saved with it."""
        self._entry(node, segmentId).models[kind] = {"name": spec.name, "version": spec.version}

    def changedMask(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Mask | None:
        """The mask of a segment that differs from its session: painted by hand, undone by the editor, moved.

        None where they are alike. This takes no time while the label map was written by :meth:`apply` alone.
        """
        reading = self.read(node, segmentId)
        if reading is None:
            return None
        if np.array_equal(reading.mask.array, self._entry(node, segmentId).session.mask.array):
            self.noteUpToDate(node, segmentId, reading)
            return None
        return reading.mask

    def read(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Reading | None:
        """The mask of a segment on its session's grid; None where the session is known to be up to date.

        Comparing the two takes a second where they are large, so it is for the worker; :meth:`noteUpToDate` afterwards
        tells that they are alike.
        """
        from TumorSegLib import Mask

        entry = self._entry(node, segmentId)
        entry.seen = volumes.toWorld(node)
        stamp = _segmentStamp(node, segmentId)
        if stamp == entry.segment:
            return None
        grid = entry.session.grid
        return Reading(Mask(grid, segments.maskFromSegment(node, segmentId, grid)), stamp)

    def noteUpToDate(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, reading: Reading) -> None:
        """Notes that a segment, when it was read, had the mask of its session."""
        self._entry(node, segmentId).segment = reading.stamp

    def gridNow(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Grid:
        """The grid of a session in the world; it moves along where the segmentation was moved while the session worked.

        Raises:
            ArgumentError: the segment has no session any more.
        """
        entry = self._entry(node, segmentId)
        now, grid = volumes.toWorld(node), entry.session.grid
        return grid if np.array_equal(now, entry.seen) else movedGrid(grid, entry.seen, now)

    def apply(
        self, edit: Edit, node: slicer.vtkMRMLSegmentationNode, segmentId: str, others: Collection[Edit] = ()
    ) -> None:
        """Writes an edit of the session into its segment, and edits of other segments, see :func:`segments.applyEdit`.

        Raises:
            ArgumentError: the segment has no session any more, or as :func:`segments.applyEdit`.
        """
        entry, grid = self._entry(node, segmentId), self.gridNow(node, segmentId)
        unseen = entry.segment != _segmentStamp(node, segmentId)
        # Voxels are lost before others gain them, or Slicer would make a layer for segments that do not overlap.
        for each in sorted((edit, *others), key=lambda each: bool(each.after.any())):
            segments.applyEdit(each, node, segmentId if each is edit else each.segment, grid)
        # What others did while the session worked must still be found by changedMask.
        entry.segment = None if unseen else _segmentStamp(node, segmentId)

    def save(self) -> None:
        """Writes all open sessions into the scene."""
        for (_nodeId, segmentId), entry in self._entries.items():
            unsaved = self._unsaved(entry, segmentId)
            entry.records.update(unsaved.snapshot.records(unsaved.since))
            self.write(unsaved, entry.node, segmentId)

    def unsaved(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Unsaved | None:
        """A snapshot of the session of a segment; None if it is not open."""
        entry = self._entries.get((node.GetID(), segmentId))
        return self._unsaved(entry, segmentId) if entry is not None else None

    def keepRecords(
        self, session: Session, node: slicer.vtkMRMLSegmentationNode, segmentId: str, records: Mapping[int, str]
    ) -> None:
        """Keeps records that were encoded until they are written, unless the segment has another session now."""
        entry = self._entries.get((node.GetID(), segmentId))
        if entry is not None and entry.session is session:
            entry.records.update(records)

    def write(self, unsaved: Unsaved, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """Writes one session into the scene, quickly; nothing where a later snapshot was written meanwhile.

        Args:
            unsaved: all records of its snapshot were kept or are in the scene.
            node, segmentId: the segment.

        Raises:
            ArgumentError: the segment has no session any more.
        """
        entry, head = self._entry(node, segmentId), unsaved.snapshot.head
        if unsaved.number < entry.written:
            return
        listed = {0, *head["history"]["steps"]}
        records = {number: record for number, record in entry.records.items() if number in listed}
        about = {"models": entry.models, "place": entry.place.tolist()}
        writeSession(node, segmentId, about, entry.inputs, head, records)
        entry.savedUpTo, entry.records, entry.written = head["history"]["last"], {}, unsaved.number

    def _unsaved(self, entry: _Entry, segmentId: str) -> Unsaved:
        entry.snapshots += 1
        return Unsaved(entry.session, entry.session.snapshot(), self._encodedUpTo(entry, segmentId), entry.snapshots)

    def _encodedUpTo(self, entry: _Entry, segmentId: str) -> int:
        """The last record that is in the scene or was kept; -1 for none, as where the text node was removed."""
        if entry.savedUpTo >= 0 and textNode(entry.node, segmentId) is None:
            entry.savedUpTo, entry.records = -1, {}
        return max((entry.savedUpTo, *entry.records))

    def saved(self) -> list[Saved]:
        """The heads of the sessions that the scene holds, of segments that are there; :meth:`open` resumes them."""
        heads = [readHead(node, text) for node in self._segmentations() for text in textNodes(node)]
        return [h for h in heads if h.segmentationNode.GetSegmentation().GetSegment(h.segmentId) is not None]

    def _segmentations(self) -> list[slicer.vtkMRMLSegmentationNode]:
        count = self._scene.GetNumberOfNodesByClass(SEGMENTATION)
        return [self._scene.GetNthNodeByClass(number, SEGMENTATION) for number in range(count)]

    def _entry(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> _Entry:
        from TumorSegLib import ArgumentError

        entry = self._entries.get((node.GetID(), segmentId))
        if entry is None:
            raise ArgumentError(f"segment '{segmentId}' of '{node.GetName()}' has no open session; it may be deleted")
        return entry

    def _made(
        self,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        inputs: dict[str, Input],
        earlier: _Entry | None,
    ) -> tuple[_Entry, str]:
        """An entry that goes on from an earlier one or from what is saved, and what could not be kept."""
        from TumorSegLib import Mask, Session, TumorSegError
        from TumorSegLib.images import ImageSet

        images = ImageSet(
            {role: volumes.volumeFromNode(each.node, role, each.assumeSuv) for role, each in inputs.items()}
        )
        grid, place = images.grid, volumes.toWorld(node)
        problem, data, known, session, models, savedUpTo = "", None, None, None, {}, -1
        if earlier is not None:
            data = carriedAlong(earlier.session.to_json(), earlier.place, place, grid)
            known, models, savedUpTo = earlier.segment, earlier.models, earlier.savedUpTo
        elif (text := textNode(node, segmentId)) is not None:
            head = readHead(node, text)
            data, problem = readSession(text) if not head.problem else (None, head.problem)
            data, models, savedUpTo = carriedAlong(data, head.place, place, grid), dict(head.models), head.last
        if data is not None:
            try:
                session = Session.from_json(data, images)
            except TumorSegError as error:
                problem = str(error)
        if session is None:
            initial = Mask(grid, segments.maskFromSegment(node, segmentId, grid))
            session, known, savedUpTo = Session(images, initial=initial), _segmentStamp(node, segmentId), -1
        return _Entry(node, session, inputs, _imageStamp(inputs), known, place, place, models, savedUpTo), problem

    def _observeSegments(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """Observes what is removed from a segmentation, which may have other segments than before."""
        segmentation = node.GetSegmentation()
        observed, listener = self._segments.get(node.GetID(), (None, Listener()))
        if segmentation is not observed:
            event = slicer.vtkSegmentation.SegmentRemoved
            listener.listen((segmentation, event, self._onSegmentRemoved, vtk.VTK_STRING))
            self._segments[node.GetID()] = (segmentation, listener)

    def _onSegmentRemoved(self, segmentation: vtk.vtkObject, segmentId: str) -> None:
        """A segment that gets the same id later must not inherit the prompts."""
        nodeId = next(nodeId for nodeId, (observed, _listener) in self._segments.items() if observed is segmentation)
        node = self._scene.GetNodeByID(nodeId)
        text = textNode(node, segmentId)
        if text is not None:
            removeSession(node, text)
        self._forget(nodeId, segmentId)

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
        for text in [] if self._scene.IsClosing() else textNodes(node):
            removeSession(node, text)
        for nodeId, segmentId in [key for key in self._entries if key[0] == node.GetID()]:
            self._forget(nodeId, segmentId)

    def _onSceneClosed(self, _scene: vtk.vtkObject) -> None:
        for nodeId, segmentId in list(self._entries):
            self._forget(nodeId, segmentId)


def _imageStamp(inputs: Mapping[str, Input]) -> tuple[Any, ...]:
    """Differs once a volume, its voxels or its place in the world do; takes no time."""
    stamps: list[Any] = []
    for role, each in inputs.items():
        grid = volumes.gridFromVolume(each.node)
        voxels = each.node.GetImageData().GetMTime()
        stamps.append((role, each.node.GetID(), each.assumeSuv, voxels, grid.affine.tobytes()))
    return tuple(stamps)


def _segmentStamp(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> tuple[Any, ...]:
    """Differs once the label map of a segment, or its place in the world, does."""
    segment = node.GetSegmentation().GetSegment(segmentId)
    labelmap = segment.GetRepresentation(BINARY) if segment is not None else None
    return labelmap.GetMTime() if labelmap is not None else 0, volumes.toWorld(node).tobytes()
