"""The action that saves a session in the scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer

from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.segment_session import SegmentSession, Unsaved
from TumorSegSlicer.work.sessions import Sessions

if TYPE_CHECKING:
    from TumorSegLib.jobs import Cancel, Progress


class SaveSession(Action):
    """Writes the session of a segment into the scene, to be saved with it; nothing where none is open.

    Only what is new since it was last written is encoded; where it is stopped it goes on from there the next time.
    """

    def __init__(self, sessions: Sessions, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        self.sessions, self.node, self.segmentId = sessions, node, segmentId
        self.unsaved: Unsaved | None = None
        self.records: dict[int, str] = {}

    def begin(self) -> Action | None:
        """Takes a snapshot of the session."""
        if self.sessions.isOpen(self.node, self.segmentId):
            self.unsaved = self.sessions.of(self.node, self.segmentId).unsaved()
        return None

    def work(self, _progress: Progress, cancel: Cancel) -> None:
        """Encodes the steps that are new."""
        if self.unsaved is not None:
            for number, record in self.unsaved.snapshot.records(self.unsaved.since, cancel):
                self.records[number] = record

    def finish(self, _result: None) -> None:
        """Writes them."""
        opened = self._keep()
        if opened is not None and self.unsaved is not None:
            opened.write(self.unsaved)

    def fail(self) -> None:
        """Keeps what was encoded."""
        self._keep()

    def _keep(self) -> SegmentSession | None:
        """Keeps what was encoded with the session; None where it was dropped or replaced meanwhile."""
        if self.unsaved is None or self.sessions.get(self.node, self.segmentId) is not self.unsaved.session:
            return None
        opened = self.sessions.of(self.node, self.segmentId)
        opened.records.update(self.records)
        return opened
