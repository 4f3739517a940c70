"""The part of the panel with models, device and precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer import models
from TumorSegSlicer.context import Context

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
#: Selector to the parameter it sets.
SELECTORS = {
    "deviceSelector": "device",
    "precisionSelector": "precision",
    "clicksModelSelector": "clicksModel",
    "boxModelSelector": "boxModel",
}


class ModelsPanel:
    """Chooses models and devices, and manages the models on this computer."""

    def __init__(self, context: Context, onModels: Callable[[], None]) -> None:
        """Begins with what there is.

        Args:
            context: the panel's common ground.
            onModels: called when models came or went.
        """
        self._context = context
        self._onModels = onModels
        ui = context.ui
        for value in DEVICES:
            ui.deviceSelector.addItem(_("automatic") if value == "auto" else value, value)
        for value in PRECISIONS:
            ui.precisionSelector.addItem(_("automatic") if value == "auto" else value, value)
        self._fill()
        for name in SELECTORS:
            selector = getattr(ui, name)
            selector.connect("currentIndexChanged(int)", lambda index, name=name: self._onChosen(name, index))
        ui.importModelButton.connect("clicked(bool)", self._onImport)
        ui.verifyModelButton.connect("clicked(bool)", self._onVerify)
        ui.deleteModelButton.connect("clicked(bool)", self._onDelete)

    def update(self) -> None:
        """Shows the settings in the scene."""
        values = {name: getattr(self._context.parameters, parameter) for name, parameter in SELECTORS.items()}
        for name, value in values.items():
            selector = getattr(self._context.ui, name)
            if selector.findData(value) < 0:
                selector.addItem(_("{name} (not on this computer)").format(name=value), value)
            selector.setCurrentIndex(selector.findData(value))
        self.applySettings(self._context.logic.settings)

    def applySettings(self, settings: Any) -> None:
        """Tells the logic what is chosen."""
        parameters = self._context.parameters
        settings.models.update(auto=parameters.autoModel, clicks=parameters.clicksModel, box=parameters.boxModel)
        settings.device, settings.precision = parameters.device, parameters.precision

    def _fill(self) -> None:
        ui = self._context.ui
        ui.modelsList.clear()
        for folder in models.allModels():
            spec = folder.spec
            item = qt.QListWidgetItem(f"{spec.name}   {spec.kind}   {spec.version}   {spec.licence}")
            item.setData(qt.Qt.UserRole, spec.name)
            item.setToolTip(spec.description)
            ui.modelsList.addItem(item)
        for name, kind in (("clicksModelSelector", "clicks"), ("boxModelSelector", "box")):
            selector = getattr(ui, name)
            blocked = selector.blockSignals(True)
            selector.clear()
            for spec in models.modelsOfKind(kind):
                selector.addItem(spec.name, spec.name)
            selector.blockSignals(blocked)

    def _onChosen(self, name: str, index: int) -> None:
        value = getattr(self._context.ui, name).itemData(index)
        if value:
            setattr(self._context.parameters, SELECTORS[name], value)
            self.applySettings(self._context.logic.settings)

    def _selected(self) -> str | None:
        item = self._context.ui.modelsList.currentItem()
        if item is None:
            self._context.say(_("Select a model in the list first."))
            return None
        return str(item.data(qt.Qt.UserRole))

    def _changed(self, name: str, text: str) -> None:
        self._context.logic.forgetModel(name)
        self._fill()
        self.update()
        self._onModels()
        self._context.say(text.format(name=name))

    def _onImport(self, _checked: bool) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of a model"))
        name = self._context.attempt(lambda: models.importModel(folder)) if folder else None
        if name:
            self._changed(name, _("Model '{name}' was verified and imported."))

    def _onVerify(self, _checked: bool) -> None:
        name = self._selected()
        if name is None:
            return
        words = _("Model '{name}' is what it was published as.").format(name=name)
        self._context.start(_verifying(name), lambda _outcome: self._context.say(words))

    def _onDelete(self, _checked: bool) -> None:
        name = self._selected()
        if name is None:
            return
        answer = slicer.util.messageBox(
            _("Delete the model '{name}' from this computer?").format(name=name),
            windowTitle="TumorSeg",
            icon=qt.QMessageBox.Question,
            standardButtons=qt.QMessageBox.Yes | qt.QMessageBox.No,
        )
        if answer == qt.QMessageBox.Yes and self._context.attempt(lambda: models.deleteModel(name) or True):
            self._changed(name, _("Model '{name}' was deleted."))


def _verifying(name: str) -> Any:
    """An action: checksums of large models take seconds."""
    yield lambda _progress, _cancel: models.verifyModel(name)
