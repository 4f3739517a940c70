"""The panel: its parts put together, progress shown."""

from __future__ import annotations

import time

import qt
from slicer.i18n import tr as _

from TumorSegSlicer.panel.access.colours import signWords
from TumorSegSlicer.panel.access.letters import Letters
from TumorSegSlicer.panel.access.names import WholeChoices, nameParts
from TumorSegSlicer.panel.access.rows import breakRows
from TumorSegSlicer.panel.correct import CorrectPanel
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.export import ExportPanel
from TumorSegSlicer.panel.find import FindPanel
from TumorSegSlicer.panel.images import ImagesPanel
from TumorSegSlicer.panel.lesions.lesions import LesionsPanel
from TumorSegSlicer.panel.models import ModelsPanel
from TumorSegSlicer.panel.results import ResultsPanel
from TumorSegSlicer.panel.seeing.compare import Compare
from TumorSegSlicer.panel.seeing.contours import Contours
from TumorSegSlicer.panel.seeing.side_by_side import SideBySide
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.first_use import FirstUsePage
from TumorSegSlicer.panel.shortcuts import Shortcuts, keysInWords


class Panel:
    """Wires widgets to the logic; it decides nothing about segments itself."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._begun = 0.0
        self._shortcuts = Shortcuts()
        # First, as Slicer's editor makes and deletes widgets of its own later.
        nameParts(context.ui)
        self._letters = Letters(context.ui)
        self._choices = WholeChoices(context.ui)
        self._rows = breakRows(context.ui, {"signButton": [signWords(True), signWords(False)]})
        self.models = ModelsPanel(context, self._onProgress)
        self.images = ImagesPanel(context)
        opening = SegmentOpening(context, self.images.inputs)
        self.find = FindPanel(context, opening, self.images.inputsFor, self.models.chosen, self._onProgress)
        self.lesions = LesionsPanel(context, opening, self.images.inputs)
        self.correct = CorrectPanel(context, opening, self.lesions, self.models.withModel)
        self.results = ResultsPanel(context, self.images.pet)
        self.export = ExportPanel(context)
        self.contours, self.compare, self.sideBySide = Contours(context), Compare(context), SideBySide(context)
        self.firstUse = FirstUsePage(context)
        self._connect()
        context.ui.shortcutsLabel.text = _("Keys: {keys}").format(keys=keysInWords())
        self.update()

    def enter(self, window: qt.QWidget | None) -> None:
        """The module was opened: its keys work, in the main window where there is one."""
        if window is not None:
            self._shortcuts.install(window, {**self.correct.keyActions(), "compare": self.compare.begin})
        self.images.enter()
        self.correct.resume()
        self.firstUse.enter()

    def exit(self) -> None:
        """Another module was opened: keys and mouse are given back, and nothing waits for an installation."""
        self._shortcuts.remove()
        self.firstUse.drop()
        self.compare.end()
        self.correct.stopTools()

    def close(self) -> None:
        """The module is being unloaded."""
        self.exit()
        self.correct.close()
        self.lesions.close()
        self.results.close()
        self.contours.close()
        self.sideBySide.close()
        self.context.close()

    def sceneCloses(self) -> None:
        """The scene is about to be closed: its segments and images go."""
        self.context.abandon()
        self.firstUse.drop()
        self.context.settings.disconnect()
        self.correct.stopTools()
        self.compare.end()
        self.sideBySide.close()

    def sceneChanged(self) -> None:
        """The scene was closed or read: its settings count from now on."""
        self.update()
        self.correct.resume()

    def update(self) -> None:
        """Shows the settings in the scene."""
        self.models.update()
        self.context.connectGui()
        self.images.update()
        self.models.showChosen()
        self.lesions.update()
        self.correct.update()
        self.results.update()
        self.export.update()
        self.contours.update()
        self.sideBySide.update()
        if self.context.selection.target() is None:
            self.context.messages.say(
                _("Press P and click on a lesion in a slice view, or choose images and segment automatically.")
            )

    def _connect(self) -> None:
        ui, context = self.context.ui, self.context
        for part in (context.tasks, context.packages):
            ui.cancelButton.connect("clicked(bool)", lambda _checked, part=part: part.cancel())
        context.tasks.onBusy.connect(self._onBusy)
        context.tasks.onBegun.connect(lambda: self._showUnknown(True))
        self.models.onChosen.connect(self.find.update)
        context.logic.bench.notice = context.messages.notice
        context.logic.onDropped = self._onDropped

    # What is being done

    def _onProgress(self, done: int, total: int) -> None:
        bar = self.context.ui.progressBar
        bar.setRange(0, total)
        bar.setValue(done)
        if done > 0:
            left = (time.monotonic() - self._begun) / done * (total - done)
            bar.setFormat(_("%p %, {seconds} s left").format(seconds=round(left)))

    def _onBusy(self, busy: bool) -> None:
        ui = self.context.ui
        self._showUnknown(busy)
        ui.cancelButton.enabled = busy
        ui.segmentButton.enabled = ui.newSegmentButton.enabled = not busy

    def _showUnknown(self, busy: bool) -> None:
        """It is not known yet how long the action takes that begins now; or there is none."""
        self._begun, bar = time.monotonic(), self.context.ui.progressBar
        bar.setRange(0, 0 if busy else 1)  # an empty range means that it is not known how long
        bar.setValue(0)
        bar.setFormat("%p %")

    def _onDropped(self, nodeId: str, segmentId: str) -> None:
        parameters = self.context.parameters
        node = parameters.segmentation
        if self.context.tasks.busy and node is not None and (node.GetID(), parameters.segmentId) == (nodeId, segmentId):
            self.context.tasks.cancel()
