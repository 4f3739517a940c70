"""The part of the panel that chooses images, shows them in the views and asks about their units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.mrml.views import showImages
from TumorSegSlicer.panel.context import Context

#: Kinds of images in the panel: parameter and first part of the role.
IMAGES = ("ct", "pet", "mr")


class ImagesPanel:
    """The selectors of CT, PET and MR."""

    def __init__(self, context: Context, spec: Callable[[], Any]) -> None:
        """Begins with what the scene says.

        Args:
            context: the panel's common ground.
            spec: gives the model chosen, which says what roles there are; None where it is not on this computer.
        """
        self._context, self._spec = context, spec
        self._telling = False  # the panel tells the selectors, not the user
        for name in IMAGES:
            selector = getattr(context.ui, f"{name}Selector")
            selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node, name=name: self._onImage(name, node))
        context.onTarget.append(self._chooseKnown)

    def update(self) -> None:
        """Shows the settings in the scene."""
        parameters = self._context.parameters
        self._choose({name: getattr(parameters, name) for name in IMAGES}, parameters.assumeSuv)

    def showRoles(self) -> None:
        """Offers those images that the model takes."""
        spec, ui = self._spec(), self._context.ui
        for name, label in (("ct", _("&CT")), ("pet", _("&PET")), ("mr", _("M&R"))):
            role = _role(spec, name)
            optional = spec is not None and role in spec.optional
            getattr(ui, f"{name}Selector").enabled = role is not None
            getattr(ui, f"{name}Label").text = _("{image} (optional):").format(image=label) if optional else f"{label}:"

    def inputs(self) -> dict[str, Input] | None:
        """Role to image as chosen; None where there is none, or the user does not say that a PET is in SUV."""
        spec, parameters = self._spec(), self._context.parameters
        if parameters.pet is not None and _role(spec, "pet") is not None and not self._isSuv(parameters.pet):
            return None
        found = {}
        for name in IMAGES:
            role, node = _role(spec, name), getattr(parameters, name)
            if role is not None and node is not None:
                found[role] = Input(node, name == "pet" and parameters.assumeSuv)
        if not found:
            self._context.say(_("Choose at least one image first."))
            return None
        return found

    def _isSuv(self, pet: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Whether the PET chosen is in SUV; from DICOM it becomes so by a copy that is chosen in its place."""
        context = self._context
        if context.parameters.assumeSuv:
            return True
        if context.logic.hasDicom(pet) and not context.logic.isSuv(pet):
            return self._converted(pet)
        problem = context.attempt(lambda: context.logic.suvProblem(pet))
        if problem is None:
            return False
        if problem:
            question = _("{problem}\n\nTreat its values as SUV (body weight, g/ml)?").format(problem=problem)
            if not context.agrees(question):
                context.say(_("Nothing was done. Confirm that the PET is in SUV, or choose no PET."))
                return False
            context.parameters.assumeSuv = True
        return True

    def _converted(self, pet: slicer.vtkMRMLScalarVolumeNode) -> bool:
        made = self._context.attempt(lambda: self._context.logic.suvVolume(pet))
        if made is None:
            return False
        copy, note = made
        self._context.ui.petSelector.setCurrentNode(copy)
        words = _("'{name}' was converted from its DICOM files to SUV (body weight), as '{copy}'.")
        self._context.foretell(" ".join([words.format(name=pet.GetName(), copy=copy.GetName()), note]).strip())
        return True

    def _onImage(self, name: str, node: Any) -> None:
        if slicer.mrmlScene.IsBatchProcessing() or getattr(self._context.parameters, name) is node:
            return  # while a scene is read selectors say nothing that the user chose
        parameters = self._context.parameters
        setattr(parameters, name, node)
        if name == "pet":
            parameters.assumeSuv = False
        if node is not None and not self._telling:
            showImages(parameters.ct, parameters.mr, parameters.pet)

    def _chooseKnown(self) -> None:
        """Chooses the images that the selected segment is worked on with."""
        target = self._context.target()
        known = self._context.logic.actions.inputs(*target) if target is not None else {}
        there = {role: each for role, each in known.items() if slicer.mrmlScene.IsNodePresent(each.node)}
        if not there:
            return
        from TumorSegLib.images.roles import family

        byName = {family(role): each for role, each in there.items()}
        nodes = {name: byName[name].node if name in byName else None for name in IMAGES}
        assumeSuv = "pet" in byName and byName["pet"].assumeSuv
        self._choose(nodes, assumeSuv)

    def _choose(self, nodes: dict[str, Any], assumeSuv: bool) -> None:
        self._telling = True
        try:
            for name, node in nodes.items():  # selectors write what they show
                getattr(self._context.ui, f"{name}Selector").setCurrentNode(node)
        finally:
            self._telling = False
        self._context.parameters.assumeSuv = assumeSuv


def _role(spec: Any, image: str) -> str | None:
    """The role of a model that a kind of image plays; None where the model takes no such image."""
    from TumorSegLib.images.roles import family

    roles = spec.roles if spec is not None else ()
    return next((role for role in roles if family(role) == image), None)
