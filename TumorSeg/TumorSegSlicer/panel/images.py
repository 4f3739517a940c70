"""The part of the panel that chooses images, shows them in the views and asks about their units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.overlays import showImages
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.panel.shared.context import Context

#: Kinds of images in the panel: parameter and first part of the role.
IMAGES = ("ct", "pet", "mr")


class ImagesPanel:
    """The selectors of CT, PET and MR."""

    def __init__(self, context: Context, spec: Callable[[], Any]) -> None:
        """Connects the selectors.

        Args:
            context: what the parts of the panel share.
            spec: gives the model chosen, which says what roles there are; None where it is not on this computer.
        """
        self._context, self._spec = context, spec
        self._choosing = False  # the panel chooses images, not the user
        context.settings.onChanged.connect(self._onParameters)
        context.selection.onTarget.connect(self._chooseKnown)

    def showRoles(self) -> None:
        """Offers those images that the model takes."""
        spec, ui = self._spec(), self._context.ui
        for name, label in (("ct", _("&CT")), ("pet", _("&PET")), ("mr", _("M&R"))):
            role = _role(spec, name)
            optional = spec is not None and role in spec.optional
            getattr(ui, f"{name}Selector").enabled = role is not None
            words = _("{image} (optional):") if optional else _("{image}:")
            getattr(ui, f"{name}Label").text = words.format(image=label)

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
            self._context.messages.say(_("Choose at least one image first."))
            return None
        return found

    def _isSuv(self, pet: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Whether the PET chosen is in SUV; from DICOM it becomes so by a copy that is chosen in its place."""
        context = self._context
        if context.parameters.assumeSuv:
            return True
        if context.logic.hasDicom(pet) and not context.logic.isSuv(pet):
            return self._converted(pet)
        problem = context.messages.attempt(lambda: context.logic.suvProblem(pet))
        if problem is None:
            return False
        if problem:
            question = _("{problem}\n\nTreat its values as SUV (body weight, g/ml)?").format(problem=problem)
            if not context.messages.agrees(question):
                context.messages.say(_("Nothing was done. Confirm that the PET is in SUV, or choose no PET."))
                return False
            context.parameters.assumeSuv = True
        return True

    def _converted(self, pet: slicer.vtkMRMLScalarVolumeNode) -> bool:
        made = self._context.messages.attempt(lambda: self._context.logic.suvVolume(pet))
        if made is None:
            return False
        copy, note = made
        self._context.parameters.pet = copy
        words = _("'{name}' was converted from its DICOM files to SUV (body weight), as '{copy}'.")
        self._context.messages.noticeNext(
            " ".join([words.format(name=pet.GetName(), copy=copy.GetName()), note]).strip()
        )
        return True

    def _onParameters(self, changed: set[str]) -> None:
        parameters = self._context.parameters
        if "pet" in changed and "assumeSuv" not in changed:
            parameters.assumeSuv = False
        chosen = any(getattr(parameters, name) is not None for name in changed.intersection(IMAGES))
        if chosen and not self._choosing:
            showImages(parameters.ct, parameters.mr, parameters.pet)

    def _chooseKnown(self) -> None:
        """Chooses the images of the selected segment's session."""
        target = self._context.selection.target()
        known = self._context.logic.inputs(*target) if target is not None else {}
        there = {role: each for role, each in known.items() if slicer.mrmlScene.IsNodePresent(each.node)}
        if not there:
            return
        from TumorSegLib.images.roles import family

        byName = {family(role): each for role, each in there.items()}
        parameters, self._choosing = self._context.parameters, True
        try:
            with slicer.util.NodeModify(parameters):
                for name in IMAGES:
                    setattr(parameters, name, byName[name].node if name in byName else None)
        finally:
            self._choosing = False
        parameters.assumeSuv = "pet" in byName and byName["pet"].assumeSuv


def _role(spec: Any, image: str) -> str | None:
    """The role of a model that a kind of image plays; None where the model takes no such image."""
    from TumorSegLib.images.roles import family

    roles = spec.roles if spec is not None else ()
    return next((role for role in roles if family(role) == image), None)
