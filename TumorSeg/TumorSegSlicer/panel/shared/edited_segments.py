"""Segments that were edited: a signal to the parts of the panel, and saving of their sessions into the scene."""

from __future__ import annotations

import functools

from TumorSegSlicer.logic import TumorSegLogic
from TumorSegSlicer.panel.shared.messages import Messages
from TumorSegSlicer.panel.shared.selection import SegmentationNode
from TumorSegSlicer.panel.shared.signals import Signal
from TumorSegSlicer.panel.shared.tasks import Tasks
from TumorSegSlicer.work.failures import Failure

# A session is written into the scene when nothing was done for so long, since that takes a while where it is large, and
# there is no event before a scene is saved.
SAVE_AFTER_MS = 500


class EditedSegments:
    """Signals to the parts of the panel that a segment was edited, and saves its session once nothing else is done.

    Attributes:
        onEdited: emitted when a segment was edited.
    """

    def __init__(self, logic: TumorSegLogic, tasks: Tasks, messages: Messages) -> None:
        """Begins with nothing to save."""
        self._logic, self._tasks, self._messages = logic, tasks, messages
        self.onEdited = Signal()
        self._unsaved: dict[tuple[str, str], tuple[SegmentationNode, str]] = {}
        self._timer = tasks.timer(SAVE_AFTER_MS, self._save)

    @property
    def unsaved(self) -> bool:
        """Whether something was done that is not in the scene's sessions yet; it soon will be."""
        return bool(self._unsaved) or self._tasks.busy

    def add(self, *targets: tuple[SegmentationNode, str] | None) -> None:
        """Segments were edited: emits onEdited, and schedules saving; None for what was deleted since."""
        for target in targets:
            if target is not None:
                self._unsaved[target[0].GetID(), target[1]] = target
                self._timer.start()
        self.onEdited.emit()

    def clear(self) -> None:
        """Saves nothing any more, as the scene is being closed."""
        self._unsaved.clear()

    def _save(self) -> None:
        """Writes what was done into the scene, unless more is being done."""
        if self._tasks.busy:
            self._timer.start()
            return
        for key, (node, segmentId) in list(self._unsaved.items()):
            onSaved, onError = functools.partial(self._onSaved, key), functools.partial(self._onNotSaved, key)
            self._logic.saveSession(node, segmentId, run=self._tasks.startingQuietly(onSaved, onError))

    def _onSaved(self, key: tuple[str, str], _outcome: None) -> None:
        self._unsaved.pop(key, None)

    def _onNotSaved(self, key: tuple[str, str], failure: Failure) -> None:
        """Tries again later where saving was stopped by what the user did."""
        if failure.cancelled:
            self._timer.start()
            return
        self._unsaved.pop(key, None)
        self._messages.fail(failure)
