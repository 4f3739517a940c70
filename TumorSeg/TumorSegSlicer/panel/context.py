"""What the parts of the panel share: widgets, logic, settings, the selected segment, running actions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import GuiConnector, SlicerParameterNamePropertyName

from TumorSegSlicer.install import packages
from TumorSegSlicer.logic import TumorSegLogic
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.messages import Messages
from TumorSegSlicer.work.failures import Failure
from TumorSegSlicer.work.runner import Action, Run, Runner

if TYPE_CHECKING:
    from TumorSegLib.jobs import Progress

# How often the results of the worker are looked for, and how long its thread may then go on undisturbed: Slicer's event
# loop holds the interpreter's lock otherwise. So Python code of the worker, as in imports, has two thirds of the time.
INTERVAL_MS, PAUSE_SECONDS = 5, 0.01
# A session is written into the scene when nothing was done for so long, since that takes a while where it is large, and
# there is no event before a scene is saved.
SAVE_AFTER_MS = 500

SegmentationNode: TypeAlias = slicer.vtkMRMLSegmentationNode


class Signal:
    """Functions that are called when something happens."""

    def __init__(self) -> None:
        self._functions: list[Callable[..., None]] = []

    def connect(self, function: Callable[..., None]) -> None:
        """Adds a function."""
        self._functions.append(function)

    def emit(self, *arguments: Any) -> None:
        """Calls the functions in the order in which they were added."""
        for function in self._functions:
            function(*arguments)


class Context:
    """What the parts of the panel share.

    Attributes:
        ui: the widgets of the ``.ui`` file by name.
        logic: the module's logic.
        messages: shows the user what is done, and asks.
        parameters: settings in the scene; another object after the scene was closed or read.
        connectors: name of a parameter to its widget, or to what connects the two where Slicer has no connector for it.
        onParameters: emitted with the names of the settings that were changed, by the user or by a script.
        onTarget: emitted when another segment is selected.
        onEdited: emitted when the segment was changed.
        onBusy: emitted with whether an action is running.
        onInstalling: emitted with whether packages are being installed.
    """

    def __init__(self, ui: Any, logic: TumorSegLogic) -> None:
        self.ui, self.logic, self.messages = ui, logic, Messages(ui.statusLabel)
        self.parameters = logic.parameters
        # Once, as Slicer's editor makes and deletes widgets of its own later.
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in vars(ui).values()}
        self.connectors: dict[str, qt.QWidget | GuiConnector] = {name: each for name, each in named.items() if name}
        self.onParameters, self.onTarget, self.onEdited = Signal(), Signal(), Signal()
        self.onBusy, self.onInstalling = Signal(), Signal()
        self._values = self.parameters.values()
        self._selected = (self.parameters.segmentation, self.parameters.segmentId)
        self._listener = Listener()
        self._guiTag: int | None = None
        self.onBusy.connect(self.messages.onBusy)
        self._runner = Runner(self.onBusy.emit)
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self._poll)
        self._complete = self._closed = self._installing = False
        self._unsaved: dict[tuple[str, str], tuple[SegmentationNode, str]] = {}
        self._saving = self.alarm(SAVE_AFTER_MS, self._save)

    # Settings

    def connectGui(self) -> None:
        """Connects the widgets with the settings in the scene; to be called again after the scene was closed or read.

        Slicer's own ``connectGui`` returns no tag, so that its connections cannot be ended (5.12 and 5.13).
        """
        self.disconnectGui()
        self.parameters = self.logic.parameters
        self._guiTag = self.parameters.connectParametersToGui(self.connectors)
        self._values = self.parameters.values()
        self._selected = (self.parameters.segmentation, self.parameters.segmentId)
        self._listener.listen((self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.readParameters))

    def disconnectGui(self) -> None:
        """Ends the connection: while a scene is closed or read, selectors show what the user did not choose."""
        self._listener.listen()
        if self._guiTag is not None:
            self.parameters.disconnectGui(self._guiTag)
            self._guiTag = None

    def readParameters(self, _node: vtk.vtkObject = None) -> None:
        """Emits onParameters for settings that were changed; during batch processing not before its end."""
        if slicer.mrmlScene.IsBatchProcessing():
            return
        values = self.parameters.values()
        changed = {name for name, value in values.items() if value != self._values[name]}
        self._values = values
        if changed:
            self.onParameters.emit(changed)

    # Doing

    @property
    def busy(self) -> bool:
        """Whether an action is being done; quiet ones do not count."""
        return self._runner.busy

    @property
    def unsaved(self) -> bool:
        """Whether something was done that is not in the scene's sessions yet; it soon will be."""
        return bool(self._unsaved) or self.busy

    @property
    def complete(self) -> bool:
        """Whether all packages are there; unlike :meth:`ready` it never asks for any."""
        self._complete = self._complete or not (self._installing or packages.missingPackages())
        return self._complete

    def start(
        self,
        action: Action,
        onResult: Callable[[Any], None],
        onProgress: Progress | None = None,
        onError: Callable[[Failure], None] | None = None,
    ) -> None:
        """Does an action after those started before, without waiting; says why where it fails."""
        if not self.ready():
            return
        if self.busy:
            self.messages.say(_("Queued: starts when the current task has finished."))
        self._timer.start()
        self._runner.start(action, onResult, onError or self.messages.fail, onProgress)

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
            self._timer.start()
            self._runner.start(action, onResult, onError, quiet=True)

        return run

    def editing(self, words: str, nothing: str = "") -> Run:
        """For methods of the logic that edit the selected segment; then says so, or that there was nothing to do."""
        target = self.target()

        def onResult(edit: Any) -> None:
            self.edited(target)
            self.messages.say(words.format(volume=self.volumeInWords(target)) if edit is not None else nothing)

        return self.starting(onResult)

    def stopQuiet(self) -> None:
        """Stops what is done quietly."""
        self._runner.stopQuiet()

    def alarm(self, milliseconds: int, function: Callable[[], None]) -> qt.QTimer:
        """A single-shot timer that calls a function, unless the panel is closed; to be started by the caller."""
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", lambda: None if self._closed else function())
        return timer

    def ready(self) -> bool:
        """Whether all packages are there; those that are missing are installed now, if the user agrees.

        Meanwhile pip has the events of the application handled from time to time: buttons could be pressed again.
        """
        if self._installing:
            self.messages.say(_("Python packages are being installed; please wait."))
            return False
        if not self.complete:
            self._complete = self.messages.attempt(self._install) is True
        return self._complete and not self._closed

    def edited(self, target: tuple[SegmentationNode, str] | None) -> None:
        """Tells the parts that a segment was changed, and schedules saving."""
        if target is not None:
            self._unsaved[target[0].GetID(), target[1]] = target
            self._saving.start()
        self.onEdited.emit()

    def cancel(self) -> None:
        """Stops what is being done."""
        if self.busy:
            self.messages.say(_("Stopping..."))
            self._runner.cancel()

    def abandon(self) -> None:
        """Stops everything, as the scene is being closed."""
        self._runner.abandon()
        self._unsaved.clear()

    def close(self) -> None:
        """Ends the thread; nothing can be done afterwards."""
        self._closed = True
        self.messages.close()
        self.disconnectGui()
        self.abandon()
        self._timer.stop()
        self._runner.close()

    # The selected segment

    def images(self) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """The images chosen."""
        chosen = (self.parameters.ct, self.parameters.pet, self.parameters.mr)
        return [node for node in chosen if node is not None]

    def target(self) -> tuple[SegmentationNode, str] | None:
        """Segmentation and id of the selected segment; None where there is none."""
        node, segmentId = self.parameters.segmentation, self.parameters.segmentId
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
        self._values.update(segmentation=node, segmentId=segmentId)  # or onParameters would be emitted as well
        with slicer.util.NodeModify(self.parameters):
            self.parameters.segmentation, self.parameters.segmentId = node, segmentId
        self.onTarget.emit()

    def volumeInWords(self, target: tuple[SegmentationNode, str] | None) -> str:
        """Volume of a segment, with its name if it is not the selected one; empty if it has no session."""
        volume = self.logic.volumeMl(*target) if target is not None else None
        if target is None or volume is None:
            return ""
        segment = target[0].GetSegmentation().GetSegment(target[1])
        if segment is None or target == self.target():
            return _("{volume} ml").format(volume=f"{volume:.1f}")
        return _("{segment}: {volume} ml").format(segment=segment.GetName(), volume=f"{volume:.1f}")

    def _install(self) -> bool:
        from TumorSegLib import Cancelled

        names = ", ".join(packages.missingPackages())
        words = _("Installing {names}. This takes several minutes, during which Slicer responds slowly...")
        self.messages.say(words.format(names=names))
        self._tellInstalling(True)
        try:
            packages.ensurePackages()
        except Cancelled as declined:
            self.messages.say(str(declined))
            return False
        finally:
            self._tellInstalling(False)
        self.messages.say(_("The packages were installed."))
        return True

    def _tellInstalling(self, installing: bool) -> None:
        self._installing = installing
        if installing:
            slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
        else:
            slicer.app.restoreOverrideCursor()
        if not self._closed:
            self.onInstalling.emit(installing)

    def _save(self) -> None:
        """Writes what was done into the scene, unless more is being done."""
        if self.busy:
            self._saving.start()
            return
        for key, (node, segmentId) in list(self._unsaved.items()):
            onSaved, onError = functools.partial(self._onSaved, key), functools.partial(self._onNotSaved, key)
            self.logic.saveSession(node, segmentId, run=self.startingQuietly(onSaved, onError))

    def _onSaved(self, key: tuple[str, str], _outcome: None) -> None:
        self._unsaved.pop(key, None)

    def _onNotSaved(self, key: tuple[str, str], failure: Failure) -> None:
        """Tries again later where saving was stopped by what the user did."""
        if failure.cancelled:
            self._saving.start()
            return
        self._unsaved.pop(key, None)
        self.messages.fail(failure)

    def _poll(self) -> None:
        self._runner.poll(PAUSE_SECONDS)
        if self._runner.idle:
            self._timer.stop()
