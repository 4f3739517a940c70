"""A session of the library and the segment of the scene that it belongs to: compared, written, saved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from TumorSegSlicer.mrml import segments, volumes
from TumorSegSlicer.mrml.labelmaps import BINARY, LiveVoxels
from TumorSegSlicer.mrml.session_nodes import Input, textNode, writeSession

if TYPE_CHECKING:
    from TumorSegLib import Edit, Grid, Mask, ModelSpec, Session
    from TumorSegLib.session.storage import Snapshot


@dataclass(frozen=True, eq=False)
class Reading:
    """A segment as it lies in the scene, for another thread, and a stamp that differs once it has changed."""

    grid: Grid
    live: LiveVoxels
    stamp: tuple[Any, ...]

    def mask(self) -> Mask:
        """The mask of the segment on the grid; to copy it takes a tenth of a second where the label map is large."""
        from TumorSegLib import Mask
        from TumorSegLib.geometry.boxes import slices

        array = np.zeros(self.grid.shape, dtype=np.uint8)
        array[slices(self.live.box)] = self.live.copied()
        return Mask(self.grid, array)


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


@dataclass(eq=False)
class SegmentSession:
    """The open session of a segment. All methods are for the GUI thread; the session itself is for the worker.

    Attributes:
        node, segmentId: the segment.
        session: of the library.
        inputs: role to volume, in the order of the session.
        images: stamp of the volumes, see :func:`imageStamp`.
        segment: stamp of the segment when it had the mask of the session; None where that is not known.
        place: of the segmentation, in the world, when the session was made, float64 ``(4, 4)``.
        seen: its place when the segment was last compared with the session.
        models: kind to name and version of the model that worked on the session.
        savedUpTo: number of the last record that is in the scene; -1 for none.
        records: encoded, and not yet in the scene, by number.
        snapshots: number of snapshots taken.
        written: number of the snapshot that is in the scene.
    """

    node: slicer.vtkMRMLSegmentationNode
    segmentId: str
    session: Session
    inputs: dict[str, Input]
    images: tuple[Any, ...]
    segment: tuple[Any, ...] | None
    place: np.ndarray
    seen: np.ndarray
    models: dict[str, Mapping[str, str]] = field(default_factory=dict)
    savedUpTo: int = -1
    records: dict[int, str] = field(default_factory=dict)
    snapshots: int = 0
    written: int = 0

    def noteModel(self, kind: str, spec: ModelSpec) -> None:
        """Notes which model of a kind works on the session, to be saved with it."""
        self.models[kind] = {"name": spec.name, "version": spec.version}

    def changedMask(self) -> Mask | None:
        """The mask of a segment that differs from its session: painted by hand, undone by the editor, moved.

        None where they are alike. This takes no time while the label map was written by :meth:`apply` alone.
        """
        reading = self.read()
        if reading is None:
            return None
        mask = reading.mask()
        if np.array_equal(mask.array, self.session.mask.array):
            self.noteUpToDate(reading)
            return None
        return mask

    def read(self) -> Reading | None:
        """The segment on the session's grid; None where the session is known to be up to date.

        Comparing the two takes a second where they are large, so it is for the worker; :meth:`noteUpToDate` afterwards
        records that they are alike.
        """
        self.seen = volumes.toWorld(self.node)
        stamp = segmentStamp(self.node, self.segmentId)
        if stamp == self.segment:
            return None
        grid = self.session.grid
        return Reading(grid, segments.liveFromSegment(self.node, self.segmentId, grid), stamp)

    def noteUpToDate(self, reading: Reading) -> None:
        """Notes that the segment, when it was read, had the mask of the session."""
        self.segment = reading.stamp

    def gridNow(self) -> Grid:
        """The session's grid in the world; it moves along where the segmentation was moved while the session worked."""
        now, grid = volumes.toWorld(self.node), self.session.grid
        return grid if np.array_equal(now, self.seen) else movedGrid(grid, self.seen, now)

    def apply(self, edit: Edit, others: Collection[Edit] = ()) -> None:
        """Writes an edit of the session into its segment, and edits of other segments, see :func:`segments.applyEdit`.

        Raises:
            TumorSegError: as :func:`segments.applyEdit`.
        """
        grid, unseen = self.gridNow(), self.segment != segmentStamp(self.node, self.segmentId)
        # Voxels are lost before others gain them, or Slicer would make a layer for segments that do not overlap.
        for each in sorted((edit, *others), key=lambda each: bool(each.after.any())):
            segments.applyEdit(each, self.node, self.segmentId if each is edit else each.segment, grid)
        # What others did while the session worked must still be found by changedMask.
        self.segment = None if unseen else segmentStamp(self.node, self.segmentId)

    def unsaved(self) -> Unsaved:
        """A snapshot of the session, to be encoded and written."""
        self.snapshots += 1
        return Unsaved(self.session, self.session.snapshot(), self._encodedUpTo(), self.snapshots)

    def write(self, unsaved: Unsaved) -> None:
        """Writes the session into the scene, quickly; nothing where a later snapshot was written meanwhile.

        Args:
            unsaved: all records of its snapshot are in :attr:`records` or in the scene.
        """
        head = unsaved.snapshot.head
        if unsaved.number < self.written:
            return
        listed = {0, *head["history"]["steps"]}
        records = {number: record for number, record in self.records.items() if number in listed}
        about = {"models": self.models, "place": self.place.tolist()}
        writeSession(self.node, self.segmentId, about, self.inputs, head, records)
        self.savedUpTo, self.records, self.written = head["history"]["last"], {}, unsaved.number

    def _encodedUpTo(self) -> int:
        """The last record that is in the scene or was kept; -1 for none, as where the text node was removed."""
        if self.savedUpTo >= 0 and textNode(self.node, self.segmentId) is None:
            self.savedUpTo, self.records = -1, {}
        return max((self.savedUpTo, *self.records))


def imageStamp(inputs: Mapping[str, Input]) -> tuple[Any, ...]:
    """Differs once a volume, its voxels or its place in the world do; takes no time."""
    stamps: list[Any] = []
    for role, each in inputs.items():
        grid = volumes.gridFromVolume(each.node)
        voxels = each.node.GetImageData().GetMTime()
        stamps.append((role, each.node.GetID(), each.assumeSuv, voxels, grid.affine.tobytes()))
    return tuple(stamps)


def segmentStamp(node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> tuple[Any, ...]:
    """Differs once the label map of a segment, or its place in the world, does."""
    segment = node.GetSegmentation().GetSegment(segmentId)
    labelmap = segment.GetRepresentation(BINARY) if segment is not None else None
    return labelmap.GetMTime() if labelmap is not None else 0, volumes.toWorld(node).tobytes()


def carriedAlong(data: Any, then: Sequence[Sequence[float]] | np.ndarray, now: np.ndarray, grid: Grid) -> Any:
    """The data of a session whose segmentation and first image were moved in the world by one and the same transform.

    Args:
        data: of the library's session; comes back as it is where that is not so.
        then, now: the segmentation's place, a matrix ``(4, 4)`` to RAS mm of the world.
        grid: of the first image now.
    """
    from TumorSegLib import GeometryError, Grid

    try:
        former = Grid(tuple(data["grid"]["shape"]), np.array(data["grid"]["affine"], dtype=float))
        moved = movedGrid(former, np.array(then, dtype=float), now)
    except (LookupError, TypeError, ValueError, np.linalg.LinAlgError, GeometryError):
        return data  # damaged, which the reader reports, or written before places were
    return {**data, "grid": {**data["grid"], "affine": grid.affine.tolist()}} if moved == grid else data


def withRoles(data: Any, roles: Iterable[str]) -> Any:
    """The data of a session whose images have other roles now, as the user has corrected them."""
    return {**data, "roles": list(roles)} if isinstance(data, Mapping) else data  # else damaged, as the reader reports


def movedGrid(grid: Grid, then: np.ndarray, now: np.ndarray) -> Grid:
    """A grid that moves along with a segmentation from one place in the world to another, matrices ``(4, 4)``."""
    from TumorSegLib import Grid

    return Grid(grid.shape, now @ np.linalg.inv(then) @ grid.affine)
