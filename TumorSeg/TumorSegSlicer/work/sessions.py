"""Sessions of the library, one per segment of the scene: opened, resumed, kept in step with their segments, dropped."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk

from TumorSegSlicer.mrml import bridge
from TumorSegSlicer.mrml.labelmaps import BINARY
from TumorSegSlicer.mrml.observers import observe
from TumorSegSlicer.mrml.session_nodes import Input, Saved, readState, textNode, textNodes, writeState

if TYPE_CHECKING:
    from TumorSegLib import Edit, Grid, Mask, Session
    from TumorSegLib.protocols import AutoSegmenter, BoxSegmenter, ClickSegmenter


@dataclass(frozen=True)
class Engines:
    """What a session works with; each may be missing."""

    auto: AutoSegmenter | None = None
    clicks: ClickSegmenter[Any] | None = None
    box: BoxSegmenter[Any] | None = None

    def names(self) -> dict[str, dict[str, str]]:
        """Name and version of the model of each engine there is."""
        engines = {"auto": self.auto, "clicks": self.clicks, "box": self.box}
        return {
            kind: {"name": engine.spec.name, "version": engine.spec.version}
            for kind, engine in engines.items()
            if engine is not None
        }


@dataclass(frozen=True)
class Opened:
    """A session, and in words what of an earlier one could not be taken over; empty if nothing was lost."""

    session: Session
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Shown:
    """What a segment showed at some moment, and what tells whether it has changed since."""

    mask: Mask
    stamp: tuple[Any, ...]


@dataclass(eq=False)
class _Entry:
    node: slicer.vtkMRMLSegmentationNode
    session: Session
    inputs: dict[str, Input]
    images: tuple[Any, ...]  # tells whether the volumes changed
    engines: Engines
    settings: dict[str, Any]
    segment: tuple[Any, ...] | None  # tells whether the segment changed; None: unknown
    place: np.ndarray  # of the segmentation, in the world, when the session was made
    seen: np.ndarray  # its place when the segment was last compared with the session


class Sessions:
    """The sessions of one scene. All methods are for the GUI thread; the sessions given out are for the worker."""

    def __init__(self, scene: slicer.vtkMRMLScene, onDropped: Callable[[str, str], None] | None = None) -> None:
        """Begins without sessions.

        Args:
            scene: the scene.
            onDropped: called with node id and segment id of a session whose segment was deleted.
        """
        self._scene = scene
        self._onDropped = onDropped
        self._entries: dict[tuple[str, str], _Entry] = {}
        removed, closed = slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, slicer.vtkMRMLScene.StartCloseEvent
        # What is observed, and by which tag; of segmentations by the id of their node.
        self._observed: dict[str, tuple[vtk.vtkObject, int]] = {
            "removed": observe(scene, removed, self._onNodeRemoved, vtk.VTK_OBJECT),
            "closed": observe(scene, closed, self._onSceneClosed),
        }
        # An observer that is called while Python collects it crashes the application.
        self._unobserve = weakref.finalize(self, _removeObservers, self._observed)

    def close(self) -> None:
        """Forgets all sessions, without a word to anybody, and observes nothing any more."""
        self._unobserve()
        self._entries = {}

    def get(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Session | None:
        """The open session of a segment; None if there is none."""
        entry = self._entries.get((segmentationNode.GetID(), segmentId))
        return entry.session if entry else None

    def open(
        self,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        inputs: Mapping[str, Input],
        engines: Engines,
        settings: Mapping[str, Any] | None = None,
    ) -> Opened:
        """The session of a segment with these volumes and engines: the open one, the saved one, or a new one.

        Where volumes or engines are others than before, the session goes on with the new ones; do that while no task
        works on it. A new session begins with the segment as it is; what was painted since a session was saved,
        :meth:`changedMask` tells.

        Args:
            segmentationNode, segmentId: the segment.
            inputs: role to volume; masks lie on the first one's grid.
            engines: what to work with.
            settings: JSON-ready, kept with the session for the caller; None leaves them as they are.

        Raises:
            TumorSegError: as :func:`bridge.volumeFromNode` and :func:`bridge.maskFromSegment`, or no volume was given;
                nothing was changed.
        """
        from TumorSegLib import ArgumentError

        if not inputs:
            raise ArgumentError("no volume was chosen; choose at least one")
        key, stamp, problem = (segmentationNode.GetID(), segmentId), _imageStamp(inputs), ""
        entry = self._entries.get(key)
        if entry is None or entry.images != stamp or entry.engines != engines:
            entry, problem = self._made(segmentationNode, segmentId, dict(inputs), engines, entry)
            self._entries[key] = entry
            self._observeSegments(segmentationNode)
        if settings is not None:
            entry.settings = dict(settings)
        return Opened(entry.session, problem)

    def changedMask(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Mask | None:
        """The segment, where it is no longer what the session holds: painted by hand, undone by the editor, moved.

        None if nothing happened. The caller passes it to ``Session.replace_mask`` before the next action. Costs nothing
        while the label map was written by :meth:`apply` alone.
        """
        shown = self.shown(segmentationNode, segmentId)
        if shown is None:
            return None
        if np.array_equal(shown.mask.array, self._entry(segmentationNode, segmentId).session.mask.array):
            self.noteInStep(segmentationNode, segmentId, shown)
            return None
        return shown.mask

    def shown(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Shown | None:
        """What a segment shows, on its session's grid; None where it is known to be what the session holds.

        To compare the two takes a second where they are large, so it is for the worker; :meth:`noteInStep` afterwards
        tells that they are alike.
        """
        from TumorSegLib import Mask

        entry = self._entry(segmentationNode, segmentId)
        entry.seen = bridge.toWorld(segmentationNode)
        stamp = _segmentStamp(segmentationNode, segmentId)
        if stamp == entry.segment:
            return None
        grid = entry.session.grid
        return Shown(Mask(grid, bridge.maskFromSegment(segmentationNode, segmentId, grid)), stamp)

    def noteInStep(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, shown: Shown) -> None:
        """Notes that a segment, when it was read, showed what its session holds."""
        self._entry(segmentationNode, segmentId).segment = shown.stamp

    def apply(
        self,
        edit: Edit,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        overwrite: Collection[str] = (),
    ) -> tuple[Edit, ...]:
        """Writes an edit of the session into its segment, see :func:`bridge.applyEdit`.

        Where the segmentation was moved while the session worked, the voxels move along with it.

        Raises:
            ArgumentError: the segment has no session any more, or as :func:`bridge.applyEdit`.
        """
        entry = self._entry(segmentationNode, segmentId)
        unseen = entry.segment != _segmentStamp(segmentationNode, segmentId)
        now, grid = bridge.toWorld(segmentationNode), entry.session.grid
        if not np.array_equal(now, entry.seen):
            grid = _moved(grid, entry.seen, now)
        lost = bridge.applyEdit(edit, segmentationNode, segmentId, grid, overwrite)
        # What others did while the session worked must still be found by changedMask.
        entry.segment = None if unseen else _segmentStamp(segmentationNode, segmentId)
        return lost

    def toScene(self) -> None:
        """Writes the state of all open sessions into the scene; waits for edits that are being made."""
        for (_, segmentId), entry in self._entries.items():
            self.write(entry.node, segmentId, sessionText(entry.session))

    def write(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, text: str) -> None:
        """Writes the state of one session into the scene, quickly.

        Args:
            segmentationNode, segmentId: the segment.
            text: of the session, from :func:`sessionText`, which the worker can call after each action.

        Raises:
            ArgumentError: the segment has no session any more.
        """
        entry = self._entry(segmentationNode, segmentId)
        about = {"models": entry.engines.names(), "settings": entry.settings, "place": entry.place.tolist()}
        writeState(segmentationNode, segmentId, entry.inputs, about, text)

    def fromScene(self) -> list[Saved]:
        """What the scene says about sessions of segments that are there, open or not; :meth:`open` resumes them."""
        kind, found = "vtkMRMLSegmentationNode", []
        for number in range(self._scene.GetNumberOfNodesByClass(kind)):
            node = self._scene.GetNthNodeByClass(number, kind)
            saved = [readState(node, text)[0] for text in textNodes(node)]
            found += [each for each in saved if node.GetSegmentation().GetSegment(each.segmentId) is not None]
            if saved:
                self._observeSegments(node)
        return found

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
        engines: Engines,
        earlier: _Entry | None,
    ) -> tuple[_Entry, str]:
        """An entry that goes on from an earlier one or from what is saved, and what could not be taken over."""
        from TumorSegLib import Mask, Session, TumorSegError
        from TumorSegLib.images import ImageSet

        images = ImageSet(
            {role: bridge.volumeFromNode(each.node, role, each.assumeSuv) for role, each in inputs.items()}
        )
        working = {"auto": engines.auto, "clicks": engines.clicks, "box": engines.box}
        grid, place = images.grid, bridge.toWorld(node)
        settings: dict[str, Any] = {}
        problem, data, known, session = "", None, None, None
        if earlier is not None:
            settings, data, known = earlier.settings, earlier.session.to_json(), earlier.segment
            data = _carriedAlong(data, earlier.place, place, grid)
        elif (text := textNode(node, segmentId)) is not None:
            saved, data = readState(node, text)
            settings, problem = dict(saved.settings), saved.problem
            data = _carriedAlong(data, saved.place, place, grid)
        if data is not None:
            try:
                session = Session.from_json(data, images, **working)
            except TumorSegError as error:
                problem = str(error)
        if session is None:
            initial = Mask(grid, bridge.maskFromSegment(node, segmentId, grid))
            session, known = Session(images, **working, initial=initial), _segmentStamp(node, segmentId)
        return _Entry(node, session, inputs, _imageStamp(inputs), engines, settings, known, place, place), problem

    def _observeSegments(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        if node.GetID() in self._observed:
            return
        segmentation, event = node.GetSegmentation(), slicer.vtkSegmentation.SegmentRemoved
        self._observed[node.GetID()] = observe(segmentation, event, self._onSegmentRemoved, vtk.VTK_STRING)

    def _onSegmentRemoved(self, segmentation: vtk.vtkObject, segmentId: str) -> None:
        """A segment that gets the same id later must not inherit the prompts."""
        nodeId = next(nodeId for nodeId, (observed, _) in self._observed.items() if observed is segmentation)
        text = textNode(self._scene.GetNodeByID(nodeId), segmentId)
        if text is not None:
            self._scene.RemoveNode(text)
        self._forget(nodeId, segmentId)

    def _forget(self, nodeId: str, segmentId: str) -> None:
        if self._entries.pop((nodeId, segmentId), None) is not None and self._onDropped is not None:
            self._onDropped(nodeId, segmentId)

    def _onNodeRemoved(self, _scene: vtk.vtkObject, node: slicer.vtkMRMLNode) -> None:
        if not node.IsA("vtkMRMLSegmentationNode"):
            return
        observed = self._observed.pop(node.GetID(), None)
        if observed is not None:
            observed[0].RemoveObserver(observed[1])
        for text in [] if self._scene.IsClosing() else textNodes(node):
            self._scene.RemoveNode(text)
        for nodeId, segmentId in [key for key in self._entries if key[0] == node.GetID()]:
            self._forget(nodeId, segmentId)

    def _onSceneClosed(self, _scene: vtk.vtkObject) -> None:
        for nodeId, segmentId in list(self._entries):
            self._forget(nodeId, segmentId)


def sessionText(session: Session) -> str:
    """A session as JSON text: prompts, voxels and undo steps. Slow for large ones, so made on the worker's thread."""
    return json.dumps(session.to_json())


def _carriedAlong(data: Any, then: Sequence[Sequence[float]] | np.ndarray, now: np.ndarray, grid: Grid) -> Any:
    """The data of a session whose segmentation and first image were moved in the world by one and the same transform.

    Args:
        data: of the library's session; comes back as it is where that is not so.
        then, now: the segmentation's place, a matrix ``(4, 4)`` to RAS mm of the world.
        grid: of the first image now.
    """
    from TumorSegLib import GeometryError, Grid

    try:
        former = Grid(tuple(data["grid"]["shape"]), np.array(data["grid"]["affine"], dtype=float))
        moved = _moved(former, np.array(then, dtype=float), now)
    except (LookupError, TypeError, ValueError, np.linalg.LinAlgError, GeometryError):
        return data  # damaged, which reading it tells in words, or written before places were
    return {**data, "grid": {**data["grid"], "affine": grid.affine.tolist()}} if moved == grid else data


def _moved(grid: Grid, then: np.ndarray, now: np.ndarray) -> Grid:
    """A grid that moves along with a segmentation from one place in the world to another, matrices ``(4, 4)``."""
    from TumorSegLib import Grid

    return Grid(grid.shape, now @ np.linalg.inv(then) @ grid.affine)


def _removeObservers(observed: dict[str, tuple[vtk.vtkObject, int]]) -> None:
    while observed:
        each, tag = observed.popitem()[1]
        each.RemoveObserver(tag)


def _imageStamp(inputs: Mapping[str, Input]) -> tuple[Any, ...]:
    """Differs once a volume, its voxels or its place in the world do; takes no time."""
    stamps: list[Any] = []
    for role, each in inputs.items():
        grid = bridge.gridFromVolume(each.node)
        voxels = each.node.GetImageData().GetMTime()
        stamps.append((role, each.node.GetID(), each.assumeSuv, voxels, grid.affine.tobytes()))
    return tuple(stamps)


def _segmentStamp(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> tuple[Any, ...]:
    """Differs once the label map of a segment, or its place in the world, does."""
    segment = node.GetSegmentation().GetSegment(segmentId)
    labelmap = segment.GetRepresentation(BINARY) if segment is not None else None
    return labelmap.GetMTime() if labelmap is not None else 0, bridge.toWorld(node).tobytes()
