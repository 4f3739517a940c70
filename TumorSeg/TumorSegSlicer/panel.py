"""The panel: its parts put together, images and models chosen, the tumour found."""

from __future__ import annotations

import time
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer import models
from TumorSegSlicer.context import Context
from TumorSegSlicer.correct_panel import CorrectPanel
from TumorSegSlicer.models_panel import ModelsPanel
from TumorSegSlicer.parameters import TumorSegParameters
from TumorSegSlicer.results_panel import ResultsPanel
from TumorSegSlicer.segment_opening import SegmentOpening
from TumorSegSlicer.shortcuts import KEYS, Shortcuts, words
from TumorSegSlicer.states import Input

#: Kinds of images in the panel: parameter and first part of the role.
IMAGES = ("ct", "pet", "mr")


class Panel:
    """Wires widgets to the logic; it decides nothing about segments itself."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._specs: dict[str, Any] = {}
        self._begun = 0.0
        self._shortcuts = Shortcuts()
        self.models = ModelsPanel(context, self._fillModels, self._onProgress)
        self._opening = SegmentOpening(context, self.inputs)
        self.correct = CorrectPanel(context, self._opening, self.inputs, self.models.withModel)
        self.results = ResultsPanel(context, self.inputs)
        self._connect()
        self._fillModels()
        keys = ", ".join(f"{KEYS[name]} {text}" for name, text in words().items())
        context.ui.shortcutsLabel.text = _("Keys: {keys}").format(keys=keys)
        context.onBusy.append(self._onBusy)
        context.onTarget.append(self._showImages)
        context.logic.settings.notice = context.notice
        context.logic.onDropped = self._onDropped
        self.update()

    def enter(self, window: qt.QWidget | None) -> None:
        """The module was opened: its keys work, in the main window where there is one."""
        if window is not None:
            self._shortcuts.install(window, self.correct.keyActions())
        self.correct.resume()

    def exit(self) -> None:
        """Another module was opened: keys and mouse are given back."""
        self._shortcuts.remove()
        self.correct.stopTools()

    def close(self) -> None:
        """The module is being unloaded."""
        self.exit()
        self.correct.close()
        self.results.close()
        self.context.close()

    def sceneChanged(self) -> None:
        """The scene was closed or read: its settings count from now on."""
        self.context.parameters = TumorSegParameters(self.context.logic.getParameterNode())
        self.update()
        self.correct.resume()

    def update(self) -> None:
        """Shows the settings in the scene."""
        parameters, ui = self.context.parameters, self.context.ui
        chosen = {name: getattr(parameters, name) for name in IMAGES}  # selectors write what they show
        assumeSuv = parameters.assumeSuv
        for name, node in chosen.items():
            getattr(ui, f"{name}Selector").setCurrentNode(node)
        parameters.assumeSuv = assumeSuv
        _choose(ui.modelSelector, parameters.autoModel)
        self._showModel()
        self.models.update()
        self.correct.update()
        self.results.update()
        if self.context.target() is None:
            self.context.say(_("Choose images, then segment automatically or add a segment."))

    def inputs(self) -> dict[str, Input] | None:
        """Role to image as chosen; None where there is none, or the user does not say that a PET is in SUV."""
        spec = self._spec()
        parameters, found = self.context.parameters, {}
        for name in IMAGES:
            role, node = _role(spec, name), getattr(parameters, name)
            if role is not None and node is not None:
                found[role] = Input(node)
        if not found:
            self.context.say(_("Choose at least one image first."))
            return None
        if "pet" in found and not self._isSuv(parameters.pet):
            return None
        if "pet" in found:
            found["pet"] = Input(parameters.pet, parameters.assumeSuv)
        return found

    def _isSuv(self, pet: slicer.vtkMRMLScalarVolumeNode) -> bool:
        if self.context.parameters.assumeSuv:
            return True
        problem = self.context.attempt(lambda: self.context.logic.suvProblem(pet))
        if problem is None:
            return False
        if problem:
            question = _("{problem}\n\nTreat its values as SUV (body weight, g/ml)?").format(problem=problem)
            if not self.context.agrees(question):
                self.context.say(_("Nothing was done. Confirm that the PET is in SUV, or choose no PET."))
                return False
            self.context.parameters.assumeSuv = True
        return True

    def _connect(self) -> None:
        ui, context = self.context.ui, self.context
        for name in IMAGES:
            selector = getattr(ui, f"{name}Selector")
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node, name=name: self._onImage(name, node))
        ui.modelSelector.connect("currentIndexChanged(int)", self._onModel)
        ui.segmentButton.connect("clicked(bool)", self._onSegment)
        ui.cancelButton.connect("clicked(bool)", lambda _checked: context.cancel())

    def _onImage(self, name: str, node: Any) -> None:
        if slicer.mrmlScene.IsBatchProcessing() or getattr(self.context.parameters, name) is node:
            return  # while a scene is read selectors say nothing that the user chose
        setattr(self.context.parameters, name, node)
        if name == "pet":
            self.context.parameters.assumeSuv = False

    def _showImages(self) -> None:
        """Shows the images that the selected segment is worked on with, which are chosen from now on."""
        target = self.context.target()
        known = self.context.logic.actions.inputs(*target) if target is not None else {}
        there = {role: each for role, each in known.items() if slicer.mrmlScene.IsNodePresent(each.node)}
        for name in IMAGES if there else ():
            each = next((each for role, each in there.items() if role.partition("_")[0] == name), None)
            getattr(self.context.ui, f"{name}Selector").setCurrentNode(each.node if each is not None else None)
            if name == "pet" and each is not None:
                self.context.parameters.assumeSuv = each.assumeSuv

    # Models

    def _fillModels(self) -> None:
        selector = self.context.ui.modelSelector
        self._specs = {spec.name: spec for spec in models.modelsOfKind("auto")}
        blocked = selector.blockSignals(True)
        selector.clear()
        for name in self._specs:
            selector.addItem(name, name)
        _choose(selector, self.context.parameters.autoModel)
        selector.blockSignals(blocked)
        self._showModel()

    def _spec(self) -> Any:
        return self._specs.get(self.context.parameters.autoModel)

    def _onModel(self, index: int) -> None:
        name = self.context.ui.modelSelector.itemData(index)
        if name:
            self.context.parameters.autoModel = name
            self.models.applySettings(self.context.logic.settings)
            self._showModel()

    def _showModel(self) -> None:
        spec, ui = self._spec(), self.context.ui
        if spec is None:
            text = _("There is no model '{name}' on this computer.").format(name=self.context.parameters.autoModel)
        else:
            text = f"{spec.description}. {models.summary(spec)}"
        ui.modelLabel.text = text
        for name, label in (("ct", _("&CT")), ("pet", _("&PET")), ("mr", _("M&R"))):
            role = _role(spec, name)
            optional = spec is not None and role in spec.optional
            getattr(ui, f"{name}Selector").enabled = role is not None
            getattr(ui, f"{name}Label").text = _("{image} (optional):").format(image=label) if optional else f"{label}:"

    # Finding

    def _onSegment(self, _checked: bool) -> None:
        inputs = self.inputs() if self.context.ready() else None
        if inputs is None:
            return
        context = self.context
        if not self._opening.madeEditable(context.parameters.segmentation, inputs):
            return
        node, segmentId = context.target() or (context.parameters.segmentation, None)
        context.say(_("Looking for the tumour... The first time, the model has to be loaded, too."))
        context.start(context.logic.actions.segment(inputs, node, segmentId), self._onFound, self._onProgress)

    def _onFound(self, outcome: tuple[Any, Any]) -> None:
        target, _edit = outcome
        context = self.context
        context.setTarget(target.node, target.segmentId)
        context.edited(context.target())
        if context.logic.volumeMl(target.node, target.segmentId):
            volume = context.volumeInWords(context.target())
            context.say(_("Tumour found: {volume}. Check it, and correct it.").format(volume=volume))
        else:
            context.say(_("No tumour was found. Press 'Tumour here' and click on it in a slice view."))

    def _onProgress(self, done: int, total: int) -> None:
        bar = self.context.ui.progressBar
        bar.setRange(0, total)
        bar.setValue(done)
        left = (time.monotonic() - self._begun) / max(done, 1) * (total - done)
        bar.setFormat(_("%p %, {seconds} s left").format(seconds=round(left)))

    def _onBusy(self, busy: bool) -> None:
        ui = self.context.ui
        self._begun = time.monotonic()
        ui.progressBar.setRange(0, 0 if busy else 1)  # an empty range means that it is not known how long
        ui.progressBar.setValue(0)
        ui.progressBar.setFormat("%p %")
        ui.cancelButton.enabled = busy
        ui.segmentButton.enabled = ui.newSegmentButton.enabled = not busy

    def _onDropped(self, nodeId: str, segmentId: str) -> None:
        parameters = self.context.parameters
        node = parameters.segmentation
        if self.context.busy and node is not None and (node.GetID(), parameters.segmentId) == (nodeId, segmentId):
            self.context.cancel()


def _role(spec: Any, image: str) -> str | None:
    """The role of a model that a kind of image plays; None where the model takes no such image."""
    roles = spec.roles if spec is not None else ()
    return next((role for role in roles if role == image or role.startswith(f"{image}_")), None)


def _choose(selector: qt.QComboBox, data: str) -> None:
    selector.setCurrentIndex(selector.findData(data))
