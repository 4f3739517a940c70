"""The segment that is worked on, and the tasks that are being done: what every click passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.logic import TumorSegLogic
from TumorSegSlicer.panel.shared.installing import Packages
from TumorSegSlicer.panel.shared.messages import Messages
from TumorSegSlicer.panel.shared.settings import Settings
from TumorSegSlicer.panel.shared.signals import Signal
from TumorSegSlicer.work.failures import Failure
from TumorSegSlicer.work.runner import Action, Run, Runner

if TYPE_CHECKING:
    from TumorSegLib.jobs import Progress

# How often the results of the worker are looked for, and how long its thread may then go on undisturbed: Slicer's event
# loop holds the interpreter's lock otherwise. So Python code of the worker, as in imports, has two thirds of the time.
INTERVAL_MS, PAUSE_SECONDS = 5, 0.01

SegmentationNode: TypeAlias = slicer.vtkMRMLSegmentationNode


class Selection:
    """The images and the segment that the user has chosen.

    Attributes:
        onTarget: emitted when another segment is selected.
    """

    def __init__(self, settings: Settings, logic: TumorSegLogic) -> None:
        """Begins with what the scene has selected."""
        self._settings, self._logic = settings, logic
        self.onTarget = Signal()
        self.restart()

    def restart(self) -> None:
        """Takes what the scene has selected, without emitting onTarget; for after a scene was closed or read."""
        parameters = self._settings.parameters
        self._selected = (parameters.segmentation, parameters.segmentId)

    def images(self) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """The images chosen."""
        parameters = self._settings.parameters
        return [node for node in (parameters.ct, parameters.pet, parameters.mr) if node is not None]

    def target(self) -> tuple[SegmentationNode, str] | None:
        """Segmentation and id of the selected segment; None where there is none."""
        node, segmentId = self._settings.parameters.segmentation, self._settings.parameters.segmentId
        if node is None or node.GetSegmentation().GetSegment(segmentId) is None:
            return None
        return node, segmentId

    def setTarget(self, node: SegmentationNode | None, segmentId: str) -> None:
        """Selects a segment; one that does not exist means none."""
        if node is None or node.GetSegmentation().GetSegment(segmentId) is None:
            segmentId = ""
        if (node, segmentId) == self._selected:
            return
        self._selected = (node, segmentId)
        self._settings.setQuietly(segmentation=node, segmentId=segmentId)
        self.onTarget.emit()

    def volumeInWords(self, target: tuple[SegmentationNode, str] | None) -> str:
        """Volume of a segment, with its name if it is not the selected one; empty if it has no session."""
        volume = self._logic.volumeMl(*target) if target is not None else None
        if target is None or volume is None:
            return ""
        segment = target[0].GetSegmentation().GetSegment(target[1])
        if segment is None or target == self.target():
            return _("{volume} ml").format(volume=f"{volume:.1f}")
        return _("{segment}: {volume} ml").format(segment=segment.GetName(), volume=f"{volume:.1f}")


class Tasks:
    """Does actions without waiting for them, and says why where they fail.

    Attributes:
        onBusy: emitted with whether an action is being done; quiet ones do not count.
    """

    def __init__(self, packages: Packages, messages: Messages) -> None:
        """Begins idle; ``packages`` are those that actions need."""
        self._packages, self._messages = packages, messages
        self.onBusy = Signal()
        self.onBusy.connect(messages.onBusy)
        self._runner = Runner(self.onBusy.emit)
        self._closed = False
        self._polling = qt.QTimer()
        self._polling.setInterval(INTERVAL_MS)
        self._polling.connect("timeout()", self._poll)

    @property
    def busy(self) -> bool:
        """Whether an action is being done; quiet ones do not count."""
        return self._runner.busy

    def start(
        self,
        action: Action,
        onResult: Callable[[Any], None],
        onProgress: Progress | None = None,
        onError: Callable[[Failure], None] | None = None,
    ) -> None:
        """Does an action after those started before, without waiting; says why where it fails."""
        if self._closed or not (self._packages.found or self._packages.ready()):
            return
        if self.busy:
            self._messages.say(_("Queued: starts when the current task has finished."))
        self._polling.start()
        self._runner.start(action, onResult, onError or self._messages.fail, onProgress)

    def starting(
        self,
        onResult: Callable[[Any], None],
        onProgress: Progress | None = None,
        onError: Callable[[Failure], None] | None = None,
    ) -> Run:
        """As :meth:`start`, for methods of the logic."""
        return lambda action: self.start(action, onResult, onProgress, onError)

    def startingQuietly(self, onResult: Callable[[Any], None], onError: Callable[[Failure], None]) -> Run:
        """For methods of the logic that no user asked for; what the user starts stops them and goes first."""

        def run(action: Action) -> None:
            self._polling.start()
            self._runner.start(action, onResult, onError, quiet=True)

        return run

    def stopQuiet(self) -> None:
        """Stops what is done quietly."""
        self._runner.stopQuiet()

    def cancel(self) -> None:
        """Stops what is being done."""
        if self.busy:
            self._messages.say(_("Stopping..."))
            self._runner.cancel()

    def abandon(self) -> None:
        """Stops everything, as the scene is being closed."""
        self._runner.abandon()

    def close(self) -> None:
        """Ends the thread; nothing can be done afterwards."""
        self._closed = True
        self.abandon()
        self._polling.stop()
        self._runner.close()

    def timer(self, milliseconds: int, function: Callable[[], None]) -> qt.QTimer:
        """A single-shot timer that calls a function, unless the panel is closed; to be started by the caller."""
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", lambda: None if self._closed else function())
        return timer

    def _poll(self) -> None:
        self._runner.poll(PAUSE_SECONDS)
        if self._runner.idle:
            self._polling.stop()
