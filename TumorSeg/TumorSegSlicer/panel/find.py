"""The part of the panel that segments automatically: where the result goes, and what is reported of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import segments, volumes
from TumorSegSlicer.mrml.session_nodes import Input, firstImage
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.work.lesions.labels import notedAs

if TYPE_CHECKING:
    from TumorSegLib.jobs import Progress
    from TumorSegLib.models.spec import ModelSpec

#: A segmentation and the id of a segment in it that is replaced, of several labels the ids by label; None for new ones.
Place = tuple["slicer.vtkMRMLSegmentationNode | None", "str | Mapping[str, str] | None"]


class FindPanel:
    """The button Segment automatically."""

    def __init__(
        self,
        context: Context,
        opening: SegmentOpening,
        inputs: Callable[[ModelSpec | None], dict[str, Input] | None],
        spec: Callable[[], ModelSpec | None],
        onProgress: Progress,
    ) -> None:
        """Begins idle.

        Args:
            context: what the parts of the panel share.
            opening: makes segmentations editable.
            inputs: gives those of the images chosen that a model takes.
            spec: gives the model chosen; None where it is not on this computer.
            onProgress: called with how far the model is.
        """
        self._context, self._opening, self._inputs = context, opening, inputs
        self._spec, self._onProgress = spec, onProgress
        context.ui.segmentButton.connect("clicked(bool)", self._onSegment)

    def update(self) -> None:
        """Says beside the button what the chosen model was made for."""
        spec = self._spec()
        self._context.ui.madeForLabel.text = "" if spec is None else madeFor(spec)

    def _onSegment(self, _checked: bool) -> None:
        context = self._context
        inputs = self._inputs(self._spec()) if context.packages.ready(lambda: self._onSegment(False)) else None
        place = self._place(inputs) if inputs is not None else None
        if inputs is None or place is None or not self._opening.madeEditable(place[0], inputs):
            return
        spec, model = self._spec(), context.parameters.autoModel  # another may be chosen before it is done
        doubts = imageDoubts(spec, inputs) if spec is not None else []
        context.noteOtherShown(inputs)
        context.messages.say(" ".join([*doubts, _("Segmenting... The model is loaded first (first use only).")]))
        run = context.tasks.starting(lambda target: self._onFound(target, inputs, spec, model), self._onProgress)
        context.logic.segment(inputs, model or None, segmentation=place[0], segmentId=place[1], run=run)

    def _place(self, inputs: Mapping[str, Input]) -> Place | None:
        """Segmentation and segment for the result; asks before manual work is replaced. None if the user cancels."""
        context, node, target = self._context, self._context.parameters.segmentation, self._context.selection.target()
        if node is None or not _liesOn(node, inputs):  # a follow-up has a segmentation of its own
            return None, None
        spec = self._spec()
        if spec is not None and len(spec.labels) > 1:
            return self._placeOfLabels(node, spec)
        if target is None or segments.isLocked(*target):
            return node, None
        if segments.isReplaceable(*target) and not context.logic.clickPoints(*target):
            return target if spec is None or _fits(target, spec) else (node, None)
        name = node.GetSegmentation().GetSegment(target[1]).GetName()
        question = _(
            "The selected segment {segment} was drawn, corrected or loaded, not only marked by the "
            "model. Put the result into a new segment, or replace '{name}'? Undo restores it."
        ).format(name=name, segment=_namesAndVolumes(node, [target[1]]))
        choice = context.messages.choice(question, (_("New segment"), _("Replace '{name}'").format(name=name)))
        if choice is None:
            context.messages.say(_("Nothing was done."))
            return None
        return (node, None) if choice == 0 else target

    def _placeOfLabels(self, node: slicer.vtkMRMLSegmentationNode, spec: ModelSpec) -> Place | None:
        """As :meth:`_place`, of several labels: the segments of an earlier answer are replaced, or kept beside it."""
        context, earlier = self._context, segments.labelSegments(node, spec.name, spec.labels)
        edited = [
            each
            for each in earlier.values()
            if not segments.isReplaceable(node, each) or context.logic.clickPoints(node, each)
        ]
        if not edited:
            return node, earlier
        question = _(
            "Segments that {model} marked were corrected since: {segments}. Put the result into new segments, or "
            "replace all that it marked? Undo restores each."
        ).format(model=spec.name, segments=_namesAndVolumes(node, edited))
        choice = context.messages.choice(question, (_("New segments"), _("Replace them")))
        if choice is None:
            context.messages.say(_("Nothing was done."))
            return None
        return (node, None) if choice == 0 else (node, earlier)

    def _onLabels(self, target: tuple[Any, str], inputs: Mapping[str, Input], spec: ModelSpec, model: str) -> None:
        """Reports the segments of a model with several labels."""
        context, node = self._context, target[0]
        ids = segments.labelSegments(node, spec.name, spec.labels).values()
        selected = context.selection.target()
        if selected not in [(node, each) for each in ids]:
            context.selection.setTarget(*target)
        context.edits.add(*((node, each) for each in ids))
        found = [each for each in ids if not segments.isEmpty(node, each)]
        if not found:
            words = _("{model} marked nothing. Press P and click on what you look for, or choose other images.")
            context.messages.say(words.format(model=model))
            return
        if spec.made_for:
            marked = _("Marked {segments} by {model}, which was made for {what}; check them.")
        else:
            marked = _("Marked {segments} by {model}, whose description does not say what it was made for; check them.")
        words = marked.format(segments=_namesAndVolumes(node, found), model=model, what=spec.made_for)
        doubts = doubtsOfLabels(spec, sum(segments.volumeMl(node, each) for each in found), inputs)
        context.messages.say(" ".join([*doubts, words]))

    def _onFound(
        self, target: tuple[Any, str], inputs: Mapping[str, Input], spec: ModelSpec | None, model: str
    ) -> None:
        context = self._context
        if spec is not None and len(spec.labels) > 1:
            self._onLabels(target, inputs, spec, model)
            return
        context.selection.setTarget(*target)
        context.edits.add(context.selection.target())
        volumeMl = context.logic.volumeMl(*target)
        if not volumeMl:
            words = _(
                "{model} marked nothing, which does not mean that there is no tumour. Press P and click on "
                "it, or choose other images."
            )
            context.messages.say(words.format(model=model))
            return
        if spec is not None and spec.made_for:
            marked = _("Marked {volume} by {model}, which was made for {what}; check it.")
        else:
            marked = _("Marked {volume} by {model}, whose description does not say what it was made for; check it.")
        volume, what = context.selection.volumeInWords(context.selection.target()), spec.made_for if spec else ""
        doubts = doubtsOf(spec, volumeMl, inputs) if spec is not None else []
        context.messages.say(" ".join([*doubts, marked.format(volume=volume, model=model, what=what)]))


def _namesAndVolumes(node: slicer.vtkMRMLSegmentationNode, ids: Iterable[str]) -> str:
    """Names of segments with their volumes, as text."""
    from TumorSegLib.images.volume import number_text

    names = {each: node.GetSegmentation().GetSegment(each).GetName() for each in ids}
    return ", ".join(
        _("'{name}' ({volume} ml)").format(name=name, volume=number_text(segments.volumeMl(node, each)))
        for each, name in names.items()
    )


def _fits(target: tuple[slicer.vtkMRMLSegmentationNode, str], spec: ModelSpec) -> bool:
    """Whether a segment may hold the answer of a model with one label: it is empty, or was made for the same label."""
    return segments.isEmpty(*target) or segments.notedLabel(*target) == notedAs(spec)


def madeFor(spec: ModelSpec) -> str:
    """What to expect of a model on other images than those that it was made for, as text."""
    if not spec.made_for:
        return _("The description of {model} does not say what it was made for.").format(model=spec.name)
    return _("Made for {what}. Elsewhere it may mark healthy tissue or nothing: click on the lesion there.").format(
        what=spec.made_for
    )


def doubtsOf(spec: ModelSpec, volumeMl: float, inputs: Mapping[str, Input]) -> list[str]:
    """Reasons to doubt a result, as sentences: an implausible volume, or images longer than those of training."""
    doubts, low, high = [], *(spec.plausible_volume_ml or (0.0, math.inf))
    if volumeMl > high:
        words = _(
            "Every tumour that {model} was trained on was smaller ({low:.0f} to {high:.0f} ml): probably organs are "
            "marked. Undo, and click on the lesion instead."
        )
        doubts.append(words.format(model=spec.name, low=low, high=high))
    elif volumeMl < low:
        words = _(
            "Every tumour that {model} was trained on was larger ({low:.0f} to {high:.0f} ml): add what is missing by "
            "clicks."
        )
        doubts.append(words.format(model=spec.name, low=low, high=high))
    return [*imageDoubts(spec, inputs), *doubts]


def doubtsOfLabels(spec: ModelSpec, volumeMl: float, inputs: Mapping[str, Input]) -> list[str]:
    """As :func:`doubtsOf`, of several labels; the volume is that of all together, as in the training's range."""
    from TumorSegLib.images.volume import number_text

    low, high = spec.plausible_volume_ml or (0.0, math.inf)
    if low <= volumeMl <= high:
        return imageDoubts(spec, inputs)
    words = _(
        "All labels together are {volume} ml, in the training of {model} {low:.0f} to {high:.0f} ml: probably "
        "something else is marked, or much is missing. Undo, and click on what you look for instead."
    ).format(volume=number_text(volumeMl), model=spec.name, low=low, high=high)
    return [*imageDoubts(spec, inputs), words]


def imageDoubts(spec: ModelSpec, inputs: Mapping[str, Input]) -> list[str]:
    """Reasons to doubt that a model suits images, known before it begins: they are longer, or show another part."""
    doubts, longest, length = [], spec.trained_length_mm, _lengthMm(firstImage(inputs))
    parts = [part for part in (volumes.bodyPart(each.node) for each in inputs.values()) if part]
    if spec.body_parts and parts and not set(map(_term, parts)) & set(map(_term, spec.body_parts)):
        words = _("The images show '{part}' by DICOM, {model} was made for {what}: click on the lesion instead.")
        doubts.append(words.format(part=parts[0], model=spec.name, what=spec.made_for))
    if longest is not None and length > longest:
        words = _(
            "The images are {length:.0f} mm long from head to foot, those that {model} was trained on at most "
            "{longest:.0f} mm: crop them to the tumour's region (module Crop Volume), or click on the lesion instead."
        )
        doubts.append(words.format(model=spec.name, length=length, longest=longest))
    return doubts


def _term(part: str) -> str:
    """A part of the body as DICOM writes it, without the spaces and hyphens that some scanners put in."""
    return "".join(letter for letter in part.upper() if letter.isalpha())


def _lengthMm(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> float:
    bounds = [0.0] * 6
    volumeNode.GetRASBounds(bounds)
    return bounds[5] - bounds[4]


def _liesOn(node: slicer.vtkMRMLSegmentationNode, inputs: Mapping[str, Input]) -> bool:
    """Whether a segmentation may belong to the images chosen: it was made on one of them, or its image is not known."""
    reference = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    return reference is None or reference in [each.node for each in inputs.values()]
