"""The part of the panel that chooses images and their roles, shows them in the views and looks after their units."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import dicom_pet, volumes
from TumorSegSlicer.mrml.overlays import showImages, shownImages
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.panel.ahead.checking import CheckingAhead
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.selection import VolumeNode
from TumorSegSlicer.parameters import IMAGES, ROLES, ImageRole
from TumorSegSlicer.work.failures import Failure

if TYPE_CHECKING:
    from TumorSegLib import TumorSegError
    from TumorSegLib.models.spec import ModelSpec

PETS = (ImageRole.pet, ImageRole.image_pet)


class ImagesPanel:
    """The selectors of images, each with a list of roles; one more than there are images can be seen."""

    def __init__(self, context: Context) -> None:
        """Connects the selectors; ``context`` is what the parts of the panel share."""
        self._context = context
        self._choosing = False  # the panel chooses images, not the user
        self._withoutSuv: set[tuple[str, int]] = set()  # PET of which the user was told so, and what its voxels were
        self._ahead = CheckingAhead(context, self._asInputs)
        context.settings.onChanged.connect(self._onParameters)
        context.selection.onTarget.connect(self._chooseKnown)

    def enter(self) -> None:
        """The module was opened: the images that the views show are chosen, as far as they can be.

        Those chosen before stay where they are among these, or where a segment was made from one of them.
        """
        chosen = self._context.selection.images().values()
        shown = shownImages()
        if not chosen or (shown and shown[0] not in chosen and not self._areUsed(chosen)):
            self._takeShown()

    def update(self) -> None:
        """Shows the selectors that are of use."""
        ui, parameters = self._context.ui, self._context.parameters
        filled = [getattr(parameters, name) is not None for name in IMAGES]
        for number, (image, role) in enumerate(zip(IMAGES, ROLES)):
            used = number == 0 or any(filled[number - 1 :])
            getattr(ui, f"{image}Label").setVisible(used)
            getattr(ui, f"{image}Selector").setVisible(used)
            getattr(ui, f"{role}Selector").setVisible(filled[number])
        self._ahead.wait()

    def inputs(self) -> dict[str, Input] | None:
        """Role to image for prompts, which any image will do for; None where there is none.

        Where none is chosen, those that the views show are. A PET that cannot be had in SUV is an image in any unit,
        which the user is told.
        """
        if not self._ready():
            return None
        for number, (node, role) in self._chosen().items():
            if role not in PETS or (role is ImageRole.image_pet and self._isKnownWithoutSuv(node)):
                continue
            problem = self._settle(number)
            if problem is not None:
                self._setRole(number, ImageRole.image_pet)
                self._context.messages.noticeNext(_withoutSuv(node, problem))
                self._withoutSuv.add(_asItIs(node))
        return self._asInputs()

    def inputsFor(self, spec: ModelSpec | None) -> dict[str, Input] | None:
        """Role to image for an automatic model, those that it takes; None where it takes none, or the user declines.

        A model that takes PET needs SUV: the user is asked where they may be, and told where they cannot be.
        """
        if not self._ready():
            return None
        if spec is None:
            return self._asInputs()
        for number, (_node, role) in self._chosen().items():
            if ImageRole.pet.value in spec.roles and role in PETS and not self._isSuv(number):
                return None
        images = self._asInputs()
        found = {role: each for role, each in images.items() if role in spec.roles}
        if len(found) < len(images):
            left = [each.node.GetName() for role, each in images.items() if role not in found]
            self._sayLeftOut(spec, left, bool(found))
        return found or None

    def pet(self) -> Input | None:
        """The first PET in SUV among the images chosen; None where there is none."""
        for number, (_node, role) in self._chosen().items():
            if role in PETS and self._settle(number) is None:
                return self._asInput(*self._chosen()[number])
        return None

    def _chosen(self) -> dict[int, tuple[VolumeNode, ImageRole]]:
        return self._context.selection.chosen()

    def _areUsed(self, images: Collection[VolumeNode]) -> bool:
        """Whether the session of a segment has one of these images."""
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        targets = [(node, each) for node in nodes for each in node.GetSegmentation().GetSegmentIDs()]
        return any(each.node in images for target in targets for each in self._context.logic.inputs(*target).values())

    def _asInputs(self) -> dict[str, Input]:
        rows = self._chosen().values()
        return {name: self._asInput(*row) for name, row in zip(self._context.selection.images(), rows)}

    def _asInput(self, node: VolumeNode, role: ImageRole) -> Input:
        """An image as it was chosen: who gives it the role of a PET says that it is in SUV."""
        return Input(node, role is ImageRole.pet and not volumes.isSuv(node))

    def _sayLeftOut(self, spec: ModelSpec, names: Sequence[str], someLeft: bool) -> None:
        from TumorSegLib.images.roles import role_label

        roles = ", ".join(role_label(role) for role in spec.roles)
        if someLeft:
            words = _("{model} takes {roles}: '{names}' was left out.")
            self._context.messages.noticeNext(words.format(model=spec.name, roles=roles, names="', '".join(names)))
        else:
            words = _(
                "{model} takes {roles}, and no image has such a role: change the roles, or click on the tumour instead."
            )
            self._context.messages.say(words.format(model=spec.name, roles=roles))

    # Choosing

    def _ready(self) -> bool:
        """Whether images are chosen; those that the views show are, where none is."""
        problem = "" if self._chosen() else self._takeShown()
        if problem:
            self._context.messages.say(problem)
        return not problem

    def _takeShown(self) -> str:
        """Chooses the images that the views show, and guesses their roles. Why that cannot be, as text."""
        from TumorSegLib import TumorSegError

        shown = shownImages()
        try:
            for node in shown:
                volumes.checkVolume(node)
        except TumorSegError as error:
            return str(error)
        self._choose([(node, ImageRole(volumes.guessRole(node))) for node in shown])
        return "" if shown else _("Choose at least one image first.")

    def _choose(self, images: Sequence[tuple[VolumeNode, ImageRole]]) -> None:
        """Chooses these images, as many as there are selectors, and leaves the views as they are."""
        rows = [*images, *[(None, ImageRole.image)] * len(IMAGES)]
        self._choosing = True
        try:
            with slicer.util.NodeModify(self._context.parameters):
                for image, role, (node, kind) in zip(IMAGES, ROLES, rows):
                    setattr(self._context.parameters, image, node)
                    setattr(self._context.parameters, role, kind)
        finally:
            self._choosing = False

    def _chooseKnown(self) -> None:
        """Chooses the images of the selected segment's session."""
        target = self._context.selection.target()
        known = self._context.logic.inputs(*target) if target is not None else {}
        there = {role: each.node for role, each in known.items() if slicer.mrmlScene.IsNodePresent(each.node)}
        if there and there != self._context.selection.images():
            self._choose([(node, ImageRole.of(role)) for role, node in there.items()])

    def _onParameters(self, changed: set[str]) -> None:
        parameters = self._context.parameters
        for image, role in zip(IMAGES, ROLES):
            node = getattr(parameters, image)
            if image in changed and not self._choosing and node is not None:
                self._context.settings.setQuietly(**{role: ImageRole(volumes.guessRole(node))})
        chosen = any(getattr(parameters, name) is not None for name in changed.intersection(IMAGES))
        if chosen and not self._choosing:
            rows = list(self._chosen().values())
            anatomy, pets = ([node for node, role in rows if (role in PETS) is pet] for pet in (False, True))
            showImages(anatomy[0] if anatomy else None, pets[0] if pets else None)
        if changed.intersection((*IMAGES, *ROLES)):
            self.update()

    def _setRole(self, number: int, role: ImageRole) -> None:
        self._context.settings.setQuietly(**{ROLES[number]: role})

    # PET

    def _isKnownWithoutSuv(self, node: VolumeNode) -> bool:
        """Whether the user was told that a PET is used without SUV, and nothing came since that would make it SUV."""
        return _asItIs(node) in self._withoutSuv and not volumes.isSuv(node) and not dicom_pet.files(node)

    def _settle(self, number: int) -> str | TumorSegError | None:
        """Brings a PET to SUV if that is possible.

        Returns:
            None where it is in SUV; why that is not known, as text; or why it cannot be.
        """
        from TumorSegLib import TumorSegError

        logic, (node, role) = self._context.logic, self._chosen()[number]
        if volumes.isSuv(node):
            self._setRole(number, ImageRole.pet)
            return None
        try:
            if dicom_pet.files(node):
                self._convert(number, node)
                return None
            problem = logic.suvProblem(node)
        except TumorSegError as error:
            return error
        return None if role is ImageRole.pet else problem  # the user says so

    def _convert(self, number: int, pet: VolumeNode) -> None:
        copy, note = self._context.logic.suvVolume(pet)
        setattr(self._context.parameters, IMAGES[number], copy)
        words = _("'{name}' was converted from its DICOM files to SUV (body weight), as '{copy}' ({factor}).").format(
            name=pet.GetName(), copy=copy.GetName(), factor=copy.GetAttribute(dicom_pet.FACTOR_ATTRIBUTE)
        )
        self._context.messages.noticeNext(f"{words} {note}".strip())

    def _isSuv(self, number: int) -> bool:
        """Whether a PET is in SUV, or the user says so."""
        messages, problem = self._context.messages, self._settle(number)
        if problem is None:
            return True
        if not isinstance(problem, str):
            messages.fail(Failure.of(problem))
            return False
        question = _("{problem}\n\nTreat its values as SUV (body weight, g/ml)?").format(problem=problem)
        if not messages.agrees(question):
            messages.say(_("Nothing was done. Confirm that the PET is in SUV, or choose no PET."))
            return False
        self._setRole(number, ImageRole.pet)
        return True


def _asItIs(pet: VolumeNode) -> tuple[str, int]:
    """A PET with its voxels as they are."""
    return pet.GetID(), pet.GetImageData().GetMTime() if pet.GetImageData() is not None else 0


def _withoutSuv(pet: VolumeNode, problem: str | TumorSegError) -> str:
    """That a PET is used without SUV, and why."""
    if isinstance(problem, str):
        words = _(
            "The unit of PET '{name}' is not known: it is used as it is. If it is SUV, choose the role PET (SUV)."
        )
    else:
        words = _("PET '{name}' is used as it is, without SUV: {problem}")
    return words.format(name=pet.GetName(), problem=problem)
