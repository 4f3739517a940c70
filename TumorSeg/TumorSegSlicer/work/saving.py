"""The action that saves a session in the scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer

from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.sessions import Sessions

if TYPE_CHECKING:
    from TumorSegLib.jobs import Cancel, Progress


class SaveSession(Action):
    """Writes the session of a segment into the scene, to be saved with it; nothing where none is open.

    Only what is new since it was last written is encoded; where it is stopped it goes on from there the next time.
    """

    def __init__(self, sessions: Sessions, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        self.sessions, self.node, self.segmentId = sessions, node, segmentId
        self.records: dict[int, str] = {}

    def begin(self) -> Action | None:
        """Takes a snapshot of the session."""
        self.unsaved = self.sessions.unsaved(self.node, self.segmentId)
        return None

    def work(self, _progress: Progress, cancel: Cancel) -> None:
        """Encodes the steps that are new."""
        if self.unsaved is not None:
            for number, record in self.unsaved.snapshot.records(self.unsaved.since, cancel):
                self.records[number] = record

    def finish(self, _result: None) -> None:
        """Writes them, unless the session was dropped or saved by something else meanwhile."""
        if self.unsaved is not None and self.sessions.get(self.node, self.segmentId) is self.unsaved.session:
            self.fail()
            self.sessions.write(self.unsaved, self.node, self.segmentId)

    def fail(self) -> None:
        """Keeps what was encoded."""
        if self.unsaved is not None:
            self.sessions.keepRecords(self.unsaved.session, self.node, self.segmentId, self.records)
