"""Actions that edit a segment: the model segments, prompts correct; brush strokes are imported first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import slicer

from TumorSegSlicer.mrml import prompts, segments
from TumorSegSlicer.mrml.arguments import checkSegment
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.work.editing import scribbles
from TumorSegSlicer.work.new_segments import NewSegment
from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.workbench import Workbench

if TYPE_CHECKING:
    from TumorSegLib import Edit, Grid
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegLib.prompts.types import Prompt
    from TumorSegSlicer.work.segment_session import SegmentSession


class SegmentAction(Action):
    """An action on the session of a segment. What was painted on the segment becomes a step of the session first."""

    #: Kind of the engine that is needed; empty for none.
    kind = ""
    #: Whether the segment changes.
    edits = False
    #: What the engine is to answer, once it was prepared.
    prompt: Any = None

    def __init__(self, bench: Workbench, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        self.bench, self.node, self.segmentId = bench, node, segmentId
        self.inputs: Mapping[str, Input] | None = None
        self.model: str | None = None
        self.engine: Any = None

    def begin(self) -> Action | None:
        """Opens the session, and checks that the model is there and the segment may change."""
        self.session = self.bench.open(self.node, self.segmentId, self.inputs)
        if self.edits:
            segments.checkEditable(self.node, self.segmentId)
        self.prepare()
        self.useEngine()
        painted = self.opened.read() is not None
        return ImportBrush(self.bench, self.node, self.segmentId) if painted else None

    def prepare(self) -> None:
        """Takes what else :meth:`compute` needs from the scene."""

    def work(self, progress: Progress, cancel: Cancel) -> Any:
        """Waits until the model is loaded, which takes seconds the first time, and computes."""
        from TumorSegLib.engines.lazy import LazyEngine

        if isinstance(self.engine, LazyEngine):
            self.engine.loaded(cancel)
        return self.compute(progress, cancel)

    @abstractmethod
    def compute(self, progress: Progress, cancel: Cancel) -> Any:
        """The slow part, with the model loaded."""

    @property
    def opened(self) -> SegmentSession:
        """The open session of the segment; raises ``ArgumentError`` where the segment was deleted."""
        return self.bench.sessions.of(self.node, self.segmentId)

    def useEngine(self) -> None:
        """Lets the session work with the engine of this action."""
        if self.kind:
            named = self.bench.clicksModel(self.opened, self.prompt) if self.kind == "clicks" else None
            self.engine = self.bench.engine(self.kind, self.model or named)
            self.session.use_engines(**{self.kind: self.engine})
            self.opened.noteModel(self.kind, self.engine.spec)


class EditAction(SegmentAction):
    """An action that edits a segment; its outcome is the Edit, or None where there was nothing to do."""

    edits = True

    def begin(self) -> Action | None:
        """As any action; a segment is edited by one action at a time, or its session and the scene would differ."""
        self.bench.checkFree(self.node, self.segmentId)
        first = super().begin()
        if first is None:
            self.bench.working.add(self)
        return first

    def fail(self) -> None:
        """Lets other actions edit the segment."""
        self.bench.working.discard(self)

    def finish(self, result: Edit | None) -> Edit | None:
        """Writes the edit; where that fails the session goes back to what the segment shows."""
        if result is None:
            self.bench.working.discard(self)
            return None
        if result.info.model:
            self.bench.ran[result.info.model] = result.info
        for note in result.info.notes:  # such as that the engine had to leave the graphics card
            self.bench.notice(note)
        try:
            self.write(result)
        except Exception as error:
            self.revert()
            if self.bench.sessions.get(self.node, self.segmentId) is None:
                from TumorSegLib import Cancelled

                raise Cancelled("the segment was deleted meanwhile") from error
            raise
        self.bench.working.discard(self)
        return result

    def write(self, edit: Edit) -> None:
        """Writes the edit into the scene; what other segments lose by it becomes part of the session's step."""
        losses = self.lossesOf(edit)
        if losses:
            self.session.record_losses(edit, losses)
        with self.bench.writingVoxels():
            self.opened.apply(edit, losses)

    def lossesOf(self, edit: Edit) -> list[Edit]:
        """What other segments lose by the edit, as the settings say."""
        from TumorSegSlicer.parameters import OverwriteMode

        mode = self.bench.parameters.overlap
        if mode is OverwriteMode.ALLOW:
            return []
        visibleOnly = mode is OverwriteMode.OVERWRITE_VISIBLE
        return segments.lossesOf(edit, self.node, self.segmentId, self.opened.gridNow(), visibleOnly)

    def revert(self) -> None:
        """Takes the edit back in the session."""
        self.session.undo()


class PromptEdit(EditAction):
    """Corrects a segment from a prompt."""

    kind = "clicks"

    def __init__(
        self,
        bench: Workbench,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        make: Callable[[Grid], Prompt],
    ) -> None:
        """Keeps what makes the prompt, on the session's grid, from what lies in the scene."""
        super().__init__(bench, node, segmentId)
        self.make = make

    def prepare(self) -> None:
        """Makes the prompt."""
        self.prompt = self.make(self.session.grid)

    def compute(self, _progress: Progress, cancel: Cancel) -> Edit:
        """Lets the model answer the prompt."""
        from TumorSegLib import ArgumentError
        from TumorSegSlicer.quiet_errors import StatusLineError

        try:
            return self.session.add(self.prompt, by_clicks=True, cancel=cancel)
        except ArgumentError as error:  # a slip, or an image that shows nothing
            raise StatusLineError(str(error)) from error


class BoxEdit(EditAction):
    """Segments the tumour in a ROI, in the image of a role or the first one, by a model for boxes."""

    kind = "box"

    def __init__(
        self,
        bench: Workbench,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        roi: slicer.vtkMRMLMarkupsROINode,
        role: str = "",
        model: str | None = None,
    ) -> None:
        super().__init__(bench, node, segmentId)
        self.roi, self.role, self.model = roi, role, model

    def prepare(self) -> None:
        """Turns the ROI into a box on the session's grid."""
        from TumorSegLib import BoxOptions

        self.prompt = prompts.boxFromRoi(self.roi, self.session.grid)
        self.options = BoxOptions(role=self.role)

    def compute(self, progress: Progress, cancel: Cancel) -> Any:
        """Lets the model segment in the box."""
        return self.session.add_box(self.prompt, options=self.options, progress=progress, cancel=cancel)


class Segment(EditAction):
    """Segments the tumour without a prompt; its outcome is the segmentation and the id of the segment."""

    kind = "auto"

    def __init__(
        self,
        bench: Workbench,
        inputs: Mapping[str, Input],
        node: slicer.vtkMRMLSegmentationNode | None,
        segmentId: str | None,
        model: str | None = None,
    ) -> None:
        """Keeps the images; without a segment, or without a segmentation, new ones are made when it begins."""
        super().__init__(bench, node, segmentId or "")
        self.given, self.isNew, self.model = inputs, segmentId is None, model
        self.made: NewSegment | None = None
        #: Label, value and model that give a new segment its name and colour; None for a tumour.
        self.label: tuple[str, int, str] | None = None

    def begin(self) -> Action | None:
        """As any action, once there is a segment."""
        self.bench.checkModel(self.kind, self.model)  # before anything is made
        if self.isNew and self.made is None:
            self.made = NewSegment.add(self.given, self.node)
            self.node, self.segmentId = self.made.node, self.made.segmentId
            if self.label is not None:
                segments.nameAsLabel(self.node, self.segmentId, *self.label)
        checkSegment(self.node, self.segmentId)
        self.inputs = self.bench.sessions.ordered(self.given, self.node, self.segmentId)
        return super().begin()

    def compute(self, progress: Progress, cancel: Cancel) -> Edit:
        """Lets the model segment the images."""
        return self.session.segment(progress=progress, cancel=cancel)

    def finish(self, result: Edit | None) -> Any:
        """As any action, and notes that the segment has not been corrected since."""
        super().finish(result)
        with self.bench.writingVoxels():
            segments.noteAutomatic(self.node, self.segmentId)
        return self.node, self.segmentId

    def fail(self) -> None:
        """Removes what was made."""
        super().fail()
        if self.made is not None:
            self.made.remove()


class ImportBrush(EditAction):
    """Makes what was painted by hand one step of the session, with what the model makes of it where it is asked to.

    Its outcome is an Edit, whose ``info`` names no model where none was asked; None where nothing was painted.
    """

    def __init__(
        self,
        bench: Workbench,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        guides: Collection[bool] = (),
    ) -> None:
        """Keeps the strokes that guide the model.

        Args:
            bench, node, segmentId: see :class:`SegmentAction`.
            guides: True for a stroke that only added voxels, which is a positive scribble, False for one that only
                removed some. Any other change is imported as it is.
        """
        super().__init__(bench, node, segmentId)
        self.guides = guides
        self.kind = "clicks" if guides else ""

    def begin(self) -> Action | None:
        """Reads the segment where it may have been painted on."""
        target = self.node, self.segmentId
        self.bench.checkFree(*target)
        self.session = self.bench.open(*target)
        self.reading = self.opened.read()
        if self.reading is not None and segments.isLocked(*target) and self.opened.changedMask() is None:
            self.reading = None
        if self.reading is not None:
            self.useEngine()
            segments.checkEditable(*target)
        self.bench.working.add(self)
        return None

    def compute(self, _progress: Progress, cancel: Cancel) -> Edit | None:
        """Compares the segment with the session, and edits the session where they differ."""
        if self.reading is None:
            return None
        return scribbles.importBrush(self.session, self.reading.mask(), self.guides, cancel)

    def finish(self, result: Edit | None) -> Edit | None:
        """Notes that the segment has been read."""
        sessions = self.bench.sessions
        if self.reading is not None and sessions.get(self.node, self.segmentId) is self.session:
            self.opened.noteUpToDate(self.reading)
        return super().finish(result)
