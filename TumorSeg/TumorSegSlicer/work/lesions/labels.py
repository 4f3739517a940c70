"""Segmenting by a model with several labels: each becomes a segment of its name, with clicks and undo of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import segments
from TumorSegSlicer.mrml.arguments import checkSegment
from TumorSegSlicer.mrml.session_nodes import Input, firstImage
from TumorSegSlicer.work.editing.edits import EditAction, Segment
from TumorSegSlicer.work.new_segments import NewSegment
from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.workbench import Workbench

if TYPE_CHECKING:
    from TumorSegLib import Edit
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegLib.models.spec import ModelSpec

#: The label of models of tumours, whose segments are named and coloured as all tumours are.
TUMOUR = "tumour"


def automatic(
    bench: Workbench,
    inputs: Mapping[str, Input],
    node: slicer.vtkMRMLSegmentationNode | None,
    segmentId: str | Mapping[str, str] | None,
    model: str | None,
) -> Action:
    """The action that segments the images by a model; which one it is depends on the number of its labels.

    Raises:
        ArgumentError: a segment is given for a model with several labels, or labels for one without.
    """
    from TumorSegLib import ArgumentError, ModelError

    try:
        spec = bench.engine("auto", model).spec
    except ModelError:
        return Segment(bench, inputs, node, None, model)  # which reports it when it begins
    replaced = segmentId if isinstance(segmentId, Mapping) else {}
    if unknown := sorted(set(replaced) - set(spec.labels)):
        raise ArgumentError(f"model '{spec.name}' has no label '{unknown[0]}'; it has {', '.join(spec.labels)}")
    if len(spec.labels) < 2:
        ((label, value),) = spec.labels.items()
        action = Segment(bench, inputs, node, replaced.get(label) or _single(segmentId), model)
        if label.casefold() != TUMOUR:
            action.label = label, value, spec.name
        return action
    if isinstance(segmentId, str):
        raise ArgumentError(
            f"model '{spec.name}' has several labels ({', '.join(spec.labels)}); say which segments are replaced as a "
            "dictionary, from label to segment id"
        )
    return SegmentLabels(bench, inputs, node, replaced, spec, model)


def notedAs(spec: ModelSpec) -> str:
    """What :func:`segments.notedLabel` says of a segment that was made for a model with one label."""
    (label,) = spec.labels
    return "" if label.casefold() == TUMOUR else f"{spec.name}/{label}"


def _single(segmentId: str | Mapping[str, str] | None) -> str | None:
    return segmentId if isinstance(segmentId, str) else None


class _LabelEdit(EditAction):
    """The part of :class:`SegmentLabels` that is one segment: it takes one label of the result."""

    def __init__(
        self, bench: Workbench, node: Any, segmentId: str, inputs: Mapping[str, Input], siblings: Collection[str]
    ) -> None:
        super().__init__(bench, node, segmentId)
        self.inputs, self.siblings = inputs, siblings

    def compute(self, _progress: Progress, _cancel: Cancel) -> Edit | None:
        """Nothing: the result is that of all labels."""
        return None

    def lossesOf(self, edit: Edit) -> list[Edit]:
        """What other segments lose, but those of the other labels: regions may overlap."""
        return [loss for loss in super().lossesOf(edit) if loss.segment not in self.siblings]

    def takeBack(self) -> None:
        """Undoes the edit, in the session and in the scene."""
        edit = self.session.undo()
        if edit is not None:
            with self.bench.writingVoxels():
                self.opened.apply(edit, list(edit.others.values()))


def _withoutNotes(edit: Edit) -> Edit:
    """The edit without what its result says to the user, which is said once."""
    return replace(edit, info=replace(edit.info, notes=()))


class SegmentLabels(Action):
    """Segments by a model with several labels.

    Its outcome is the segmentation and the id of the first label's segment that holds voxels. Labels that were not
    found get no segment, unless none was found: then the first one has an empty one.
    """

    def __init__(
        self,
        bench: Workbench,
        inputs: Mapping[str, Input],
        node: slicer.vtkMRMLSegmentationNode | None,
        replaced: Mapping[str, str],
        spec: ModelSpec,
        model: str | None,
    ) -> None:
        """Keeps the images, and the segments that are replaced by their label; the others are new."""
        self.bench, self.given, self.model, self.spec = bench, inputs, model, spec
        self.node: Any = node
        self.replaced = dict(replaced)
        self.made: NewSegment | None = None
        self.ids: dict[str, str] = {}
        self.edits: dict[str, _LabelEdit] = {}

    def begin(self) -> Action | None:
        """Makes the segments that are missing, and opens the sessions of all."""
        self.engine = self.bench.engine("auto", self.model)
        for segmentId in self.replaced.values():
            checkSegment(self.node, segmentId)
        self._make()
        ids = {label: self.replaced.get(label) or self.ids[label] for label in self.spec.labels}
        self.edits = {}
        for label, segmentId in ids.items():
            inputs = self.bench.sessions.ordered(self.given, self.node, segmentId)
            edit = _LabelEdit(self.bench, self.node, segmentId, inputs, set(ids.values()) - {segmentId})
            self.edits[label] = edit
            if (first := edit.begin()) is not None:  # it was painted on
                self._leave()
                return first
            edit.opened.noteModel("auto", self.engine.spec)
        return None

    def _make(self) -> None:
        """Adds the segments that are missing, with the names and colours of their labels."""
        for label, value in self.spec.labels.items():
            if label in self.replaced or label in self.ids:
                continue
            if self.made is None:
                self.made = NewSegment.add(self.given, self.node)
                self.node, segmentId = self.made.node, self.made.segmentId
            else:
                segmentId = segments.addTumourSegment(self.node, firstImage(self.given))
            self.ids[label] = segmentId
            segments.nameAsLabel(self.node, segmentId, label, value, self.spec.name)

    def work(self, progress: Progress, cancel: Cancel) -> dict[str, Edit]:
        """Lets the model segment the images, and each session take its label."""
        from TumorSegLib.engines.lazy import LazyEngine

        if isinstance(self.engine, LazyEngine):
            self.engine.loaded(cancel)
        images = next(iter(self.edits.values())).session.images
        result, taken = self.engine.segment(images, progress=progress, cancel=cancel), {}
        try:
            for label, edit in self.edits.items():
                taken[label] = edit.session.take_label(result, label)
        except BaseException:
            for label in taken:
                self.edits[label].session.undo()
            raise
        return taken

    def finish(self, result: dict[str, Edit]) -> tuple[slicer.vtkMRMLSegmentationNode, str]:
        """Writes all labels; where one fails, those that were written are taken back."""
        written: list[_LabelEdit] = []
        waiting = dict(self.edits)
        try:
            for label, edit in self.edits.items():
                waiting.pop(label)
                edit.finish(result[label] if not written else _withoutNotes(result[label]))
                written.append(edit)
        except BaseException:
            for edit in written:
                edit.takeBack()
            for edit in waiting.values():
                edit.session.undo()
            raise
        with self.bench.writingVoxels():
            for edit in written:
                segments.noteAutomatic(edit.node, edit.segmentId)
        return self.node, self._kept()

    def _kept(self) -> str:
        """Removes new segments of labels that were not found; returns the segment of the first label that was."""
        found = [label for label, edit in self.edits.items() if not segments.isEmpty(self.node, edit.segmentId)]
        missing = [label for label in self.edits if label not in found]
        first = (found or missing)[0]
        for label in missing:
            if label in self.ids and label != first:
                self.node.GetSegmentation().RemoveSegment(self.ids[label])
        if found and missing:
            self.bench.notice(_("Not found: {labels}.").format(labels=", ".join(missing)))
        return self.edits[first].segmentId

    def _leave(self) -> None:
        for edit in self.edits.values():
            edit.fail()

    def fail(self) -> None:
        """Lets other actions edit the segments, and removes what was made."""
        self._leave()
        if self.made is None or not slicer.mrmlScene.IsNodePresent(self.node):
            return
        for segmentId in self.ids.values():
            self.node.GetSegmentation().RemoveSegment(segmentId)
        if self.made.isNewNode:
            self.made.remove()
