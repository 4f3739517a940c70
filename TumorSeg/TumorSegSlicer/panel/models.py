"""The part of the panel with models, device and precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import GuiConnector

from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.signals import Signal
from TumorSegSlicer.parameters import MODEL_PARAMETERS
from TumorSegSlicer.work import models
from TumorSegSlicer.work.failures import Failure
from TumorSegSlicer.work.runner import Task

if TYPE_CHECKING:
    from TumorSegLib import ModelSpec
    from TumorSegLib.jobs import Progress
    from TumorSegLib.models.catalogue import Entry


class ModelConnector(GuiConnector):
    """Connects a list of models with the parameter that has the name of the chosen one.

    Slicer's own connector of lists has choices that never change.
    """

    def __init__(self, widget: qt.QComboBox, automatic: str = "") -> None:
        """Keeps the list, and what it offers before the models, where TumorSeg may choose."""
        GuiConnector.__init__(self)
        self._widget, self._automatic = widget, automatic

    @staticmethod
    def canRepresent(_widget: Any, _datatype: Any) -> bool:
        """False: made for the lists of models alone."""
        return False

    @staticmethod
    def create(_widget: Any, _datatype: Any) -> None:
        """None, see :meth:`canRepresent`."""

    def fill(self, specs: Iterable[ModelSpec]) -> None:
        """Offers these models; the chosen one stays so, even where it is not among them."""
        chosen, blocked = self.read(), self._widget.blockSignals(True)
        self._widget.clear()
        if self._automatic:
            self._widget.addItem(self._automatic, "")
        for spec in specs:
            self._widget.addItem(models.purpose(spec), spec.name)
            self._widget.setItemData(self._widget.count - 1, models.summary(spec), qt.Qt.ToolTipRole)
        self.write(chosen)
        self._widget.blockSignals(blocked)

    def widget(self) -> qt.QComboBox:
        """The list."""
        return self._widget

    def read(self) -> str:
        """Name of the model that is shown; empty where there is none."""
        return self._widget.itemData(self._widget.currentIndex) or ""

    def write(self, name: str) -> None:
        """Shows a model, also one that is not on this computer."""
        if name and self._widget.findData(name) < 0:
            self._widget.addItem(_("{name} (not on this computer)").format(name=name), name)
        self._widget.setCurrentIndex(self._widget.findData(name))

    def _connect(self) -> None:
        self._widget.connect("currentIndexChanged(int)", self._onIndex)

    def _disconnect(self) -> None:
        self._widget.disconnect("currentIndexChanged(int)", self._onIndex)

    def _onIndex(self, _index: int) -> None:
        self.changed()


class ModelsPanel:
    """Chooses models and devices, and manages the models on this computer.

    Attributes:
        onChosen: emitted when another automatic model is chosen, or the chosen one came, went or ran.
    """

    def __init__(self, context: Context, onProgress: Progress) -> None:
        """Connects the lists and buttons.

        Args:
            context: what the parts of the panel share.
            onProgress: called with the progress of a download.
        """
        self._context = context
        self._onProgress = onProgress
        self.onChosen = Signal()
        self._listed: list[models.Listed] = []  # as the list shows them
        self._problems: dict[Path, str] = {}  # of the folders whose weights were found to be wrong
        self._coming: set[str] = set()  # models being downloaded, or about to be
        ui = context.ui
        lists = {"auto": ui.modelSelector, "clicks": ui.clicksModelSelector, "box": ui.boxModelSelector}
        automatic = {"clicks": _("automatic, by images and prompt"), "box": _("the model for clicks")}
        self._lists = {kind: ModelConnector(widget, automatic.get(kind, "")) for kind, widget in lists.items()}
        context.settings.connectors.update({MODEL_PARAMETERS[kind]: each for kind, each in self._lists.items()})
        ui.downloadModelButton.connect("clicked(bool)", self._onDownload)
        ui.importModelButton.connect("clicked(bool)", self._onImport)
        ui.verifyModelButton.connect("clicked(bool)", self._onVerify)
        ui.deleteModelButton.connect("clicked(bool)", self._onDelete)
        ui.modelLabel.hide()
        ui.modelDetailsButton.connect("toggled(bool)", ui.modelLabel.setVisible)
        context.tasks.onBusy.connect(self._onBusy)
        context.edits.onEdited.connect(self._showDetails)
        context.settings.onChanged.connect(self._onParameters)

    def update(self) -> None:
        """Shows the models on this computer."""
        self._fill()

    def showChosen(self) -> None:
        """Shows the details of the chosen automatic model."""
        name = self._context.parameters.autoModel
        found = next((each for each in self._listed if each.name == name), None)
        missing = _("There is no model '{name}' on this computer.").format(name=name)
        self._context.ui.modelLabel.text = missing if found is None else self._details(found)
        self.onChosen.emit()

    def chosen(self) -> ModelSpec | None:
        """The description of the chosen automatic model; None where it is not on this computer."""
        name = self._context.parameters.autoModel
        return next((each.spec for each in self._listed if each.name == name and each.spec is not None), None)

    def withModel(self, kind: str, function: Callable[[], None]) -> None:
        """Calls a function that needs the chosen model of a kind.

        Where the model is not on this computer and can be downloaded, that is offered first; the function is called
        once it is there. If the model is neither here nor published, the function reports that itself.
        """
        name = getattr(self._context.parameters, MODEL_PARAMETERS[kind])
        entry = next((each.entry for each in models.listed() if each.entry and each.name == name), None)
        if entry is None or self._context.logic.bench.hasEngine(kind):
            function()
        else:
            self._download(entry, function)

    # The list

    def _fill(self) -> None:
        ui = self._context.ui
        selected = self._listed[ui.modelsList.currentRow].name if ui.modelsList.currentRow >= 0 else ""
        self._listed = [
            replace(each, problem=self._problems[each.path]) if each.path in self._problems else each
            for each in models.listed()
        ]
        ui.modelsList.clear()
        for row, each in enumerate(self._listed):
            ui.modelsList.addItem(each.line)  # the list makes the item: one made here older PythonQts delete again
            ui.modelsList.item(row).setToolTip(self._details(each))
        ui.modelsList.setCurrentRow(next((row for row, e in enumerate(self._listed) if e.name == selected), -1))
        for kind, each in self._lists.items():
            each.fill(listed.spec for listed in self._listed if listed.spec is not None and listed.spec.kind == kind)

    def _details(self, each: models.Listed) -> str:
        """What the list tells of a model, with what ran it last."""
        info = self._context.logic.bench.ran.get(each.name)
        return each.details if info is None else f"{each.details}\n{models.howItRan(info)}"

    def _showDetails(self) -> None:
        """A model may have run: the list tells on what."""
        for row, each in enumerate(self._listed):
            if each.name in self._context.logic.bench.ran:
                self._context.ui.modelsList.item(row).setToolTip(self._details(each))
        self.showChosen()

    def _onParameters(self, changed: set[str]) -> None:
        if MODEL_PARAMETERS["auto"] in changed:
            self.showChosen()

    def _selected(self) -> models.Listed | None:
        row = self._context.ui.modelsList.currentRow
        if row < 0:
            self._context.messages.say(_("Select a model in the list first."))
            return None
        return self._listed[row]

    def _selectedFolder(self) -> tuple[str, Path] | None:
        """Name and folder of the selected model; None, and it is said why, where there is no such folder."""
        listed = self._selected()
        if listed is None:
            return None
        if listed.path is None:
            self._context.messages.say(_("Model '{name}' is not on this computer.").format(name=listed.name))
            return None
        return listed.name, listed.path

    def _changed(self, name: str, text: str) -> None:
        self._context.logic.bench.forgetModel(name)
        kept = {path: text for path, text in self._problems.items() if path.name != name and path.is_dir()}
        self._problems = kept
        self._refill()
        self._context.messages.say(text.format(name=name))

    def _refill(self) -> None:
        self.update()
        self.showChosen()

    # Models come and go

    def _onDownload(self, _checked: bool) -> None:
        listed = self._selected()
        if listed is None:
            return
        if listed.training is not None:
            self._make(listed.training.path)
            return
        if listed.entry is None:
            self._context.messages.say(_("Model '{name}' is on this computer already.").format(name=listed.name))
            return
        self._download(listed.entry, lambda: None)

    def _download(self, entry: Entry, then: Callable[[], None]) -> None:
        """Downloads a model if the user agrees, and then calls a function."""
        if entry.name in self._coming:
            self._context.messages.say(_("Model '{name}' is being downloaded already.").format(name=entry.name))
            return
        if not self._context.packages.ready(lambda: self._download(entry, then)):
            return
        if not _agreed(self._context, entry):
            self._context.messages.say(_("Nothing was downloaded."))
            return
        self._coming.add(entry.name)
        self._context.messages.say(_("Downloading model '{name}'...").format(name=entry.name))

        def onResult(_outcome: Any) -> None:
            self._coming.discard(entry.name)
            self._changed(entry.name, _("Model '{name}' was downloaded and verified."))
            then()

        download = Task(lambda progress, cancel: models.downloadModel(entry.name, progress, cancel))
        self._context.tasks.start(download, onResult, self._onProgress)

    def _onBusy(self, busy: bool) -> None:
        if not busy:  # downloads that failed or were stopped ended as well
            self._coming.clear()

    def _onImport(self, _checked: bool) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of a model"))
        if not folder:
            return
        foreign = models.foreignIn(folder)
        if foreign is not None:
            self._make(foreign)
            return
        words = _("Model '{name}' was verified and imported.")
        task = Task(lambda _progress, _cancel: models.importModel(folder))
        self._context.tasks.start(task, lambda name: self._changed(name, words))

    def _make(self, path: Path) -> None:
        """Makes a model of a training of nnU-Net or of a MONAI bundle."""
        if self._context.packages.ready(lambda: self._make(path)):
            words = _("Model '{name}' was made and added.")
            task = Task(lambda _progress, _cancel: models.makeModel(path))
            self._context.tasks.start(task, lambda name: self._changed(name, words))

    def _onVerify(self, _checked: bool) -> None:
        selected = self._selectedFolder()
        if selected is not None:
            task = Task(lambda _progress, _cancel: _problemOf(selected[1]))
            self._context.tasks.start(task, lambda error: self._onVerified(*selected, error))

    def _onVerified(self, name: str, path: Path, error: Exception | None) -> None:
        if error is None:
            self._problems.pop(path, None)
        else:
            self._problems[path] = str(error)
        self._refill()
        if error is None:
            self._context.messages.say(_("Model '{name}' is intact: its weights match the checksum.").format(name=name))
        else:
            self._context.messages.fail(Failure.of(error))

    def _onDelete(self, _checked: bool) -> None:
        selected = self._selectedFolder()
        if selected is None:
            return
        name, path = selected
        question = _("Delete the model '{name}' from this computer?\n\n{path}").format(name=name, path=path)
        if self._context.messages.agrees(question) and self._context.messages.succeeds(
            lambda: models.deleteModel(path)
        ):
            self._changed(name, _("Model '{name}' was deleted."))


def _agreed(context: Context, entry: Entry) -> bool:
    """Whether the user agrees to a download, after a dialog with size, licence, checksum and source."""
    from TumorSegLib.models.catalogue import describe
    from TumorSegLib.models.registry import model_roots

    question = _("Download this model from the internet to {folder}?\n\n{about}")
    return context.messages.agrees(question.format(folder=model_roots()[1], about=describe(entry)))


def _problemOf(path: Path) -> Exception | None:
    """What is wrong with a model; None where its weights match their checksum, which takes seconds to see."""
    from TumorSegLib import ModelError

    try:
        models.verifyModel(path)
    except ModelError as error:
        return error
    return None
