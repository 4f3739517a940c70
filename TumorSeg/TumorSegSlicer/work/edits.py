"""Actions that edit a segment: the model segments, prompts correct; brush strokes are imported first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import prompts, segments
from TumorSegSlicer.mrml.arguments import checkSegment
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.work import scribbles
from TumorSegSlicer.work.new_segments import NewSegment
from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.sessions import Sessions

if TYPE_CHECKING:
    from TumorSegLib import Click, Edit, Scribble, Session
    from TumorSegLib.engines.lazy import EngineSource
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegSlicer.parameters import TumorSegParameters


@dataclass(eq=False)
class Workbench:
    """What actions on segments share.

    Attributes:
        sessions: of the scene.
        parameters: gives the settings in the scene, which actions read when they begin.
        engineSource: where engines come from.
        notice: called with what the user should know, as text, although the action goes on.
        writing: whether voxels of segments are being written now: what observers hear of them then was not painted.
        working: edits that have begun and not ended; one that is abandoned goes with its last reference.
    """

    sessions: Sessions
    parameters: Callable[[], TumorSegParameters]
    engineSource: EngineSource
    notice: Callable[[str], None]
    writing: bool = False
    working: WeakSet[EditAction] = field(default_factory=WeakSet)

    def open(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, inputs: Mapping[str, Input] | None = None
    ) -> Session:
        """The session of a segment, see :meth:`Sessions.open`; ``ArgumentError`` where there is no such segment."""
        if not self.sessions.isOpen(node, segmentId):
            checkSegment(node, segmentId)
            if inputs is None:
                self._checkKnown(node, segmentId)
        opened = self.sessions.open(node, segmentId, inputs)
        if opened.problem:
            self.notice(opened.problem)
        return opened.session

    def checkFree(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """Raises ``TumorSegError`` while an edit of a segment is in its session and not yet in the scene."""
        from TumorSegLib import TumorSegError

        if any(each.node is node and each.segmentId == segmentId for each in self.working):
            raise TumorSegError(f"segment '{segmentId}' is being edited; wait until that is done, or cancel it")

    def engine(self, kind: str, model: str | None = None) -> Any:
        """The engine of a model of a kind, ``auto``, ``clicks`` or ``box``; of the chosen one by default.

        Raises:
            ModelError: the model is not on this computer, or of another kind; says what to do.
        """
        from TumorSegLib import ModelError
        from TumorSegSlicer.parameters import MODEL_PARAMETERS

        parameters = self.parameters()
        name = model or getattr(parameters, MODEL_PARAMETERS[kind])
        try:
            return self.engineSource(kind, name, parameters.device.value, parameters.precision.value)
        except ModelError as error:
            words = _("{problem}. Choose another model, or import or download this one (Manage models).")
            raise ModelError(words.format(problem=error)) from error

    def write(self, session: Session, edit: Edit, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """Writes a new edit into its segment; what other segments lose by it becomes part of the session's step."""
        from TumorSegSlicer.parameters import OverwriteMode

        mode, losses = self.parameters().overlap, []
        if mode is not OverwriteMode.ALLOW:
            grid, visibleOnly = self.sessions.gridNow(node, segmentId), mode is OverwriteMode.OVERWRITE_VISIBLE
            losses = segments.lossesOf(edit, node, segmentId, grid, visibleOnly)
        if losses:
            session.record_losses(edit, losses)
        with self.writingVoxels():
            self.sessions.apply(edit, node, segmentId, losses)

    def restore(self, edit: Edit, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """Writes an edit that was undone or done again, and exactly what its step holds of other segments."""
        ids = [other for other in edit.others if node.GetSegmentation().GetSegment(other) is not None]
        others = [edit.others[other] for other in ids if not segments.isLocked(node, other)]
        with self.writingVoxels():
            self.sessions.apply(edit, node, segmentId, others)

    def _checkKnown(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """Raises ``ArgumentError`` where no volume is known, or the first one is gone: its clicks would be lost."""
        from TumorSegLib import ArgumentError

        saved, name = self.sessions.head(node, segmentId), node.GetSegmentation().GetSegment(segmentId).GetName()
        if saved is not None and saved.roles and saved.roles[0] not in saved.inputs:
            raise ArgumentError(
                _(
                    "the image that segment '{name}' was made on ({role}) is not in the scene: load it and choose it "
                    "under Inputs, and its clicks and steps go on"
                ).format(name=name, role=saved.roles[0])
            )
        if saved is None or not saved.inputs:
            raise ArgumentError(
                _(
                    "no volumes are known for segment '{name}': choose them under Inputs, or in a script give them to "
                    "openSegment(inputs, segmentation, segmentId)"
                ).format(name=name)
            )

    @contextmanager
    def writingVoxels(self) -> Iterator[None]:
        """Marks a block that writes voxels."""
        self.writing = True
        try:
            yield
        finally:
            self.writing = False


class SegmentAction(Action):
    """An action on the session of a segment. What was painted on the segment becomes a step of the session first."""

    #: Kind of the engine that is needed; empty for none.
    kind = ""
    #: Whether the segment changes.
    edits = False

    def __init__(self, bench: Workbench, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        self.bench, self.node, self.segmentId = bench, node, segmentId
        self.inputs: Mapping[str, Input] | None = None
        self.model: str | None = None
        self.engine: Any = None

    def begin(self) -> Action | None:
        """Opens the session, and checks that the model is there and the segment may change."""
        self.session = self.bench.open(self.node, self.segmentId, self.inputs)
        self.useEngine()
        if self.edits:
            segments.checkEditable(self.node, self.segmentId)
        self.prepare()
        painted = self.bench.sessions.read(self.node, self.segmentId) is not None
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

    def useEngine(self) -> None:
        """Lets the session work with the engine of this action."""
        if self.kind:
            self.engine = self.bench.engine(self.kind, self.model)
            self.session.use_engines(**{self.kind: self.engine})
            self.bench.sessions.noteModel(self.node, self.segmentId, self.kind, self.engine.spec)


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
        """Writes the edit into the scene."""
        self.bench.write(self.session, edit, self.node, self.segmentId)

    def revert(self) -> None:
        """Takes the edit back in the session."""
        self.session.undo()


class ClickEdit(EditAction):
    """Corrects a segment from a click at a point of the world, RAS mm."""

    kind = "clicks"

    def __init__(
        self,
        bench: Workbench,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        ras: Sequence[float],
        positive: bool,
    ) -> None:
        super().__init__(bench, node, segmentId)
        self.ras, self.positive = ras, positive

    def prepare(self) -> None:
        """Turns the point into a click on the session's grid."""
        self.prompt: Click | Scribble = prompts.clickFromRas(self.session.grid, self.ras, self.positive)

    def compute(self, _progress: Progress, cancel: Cancel) -> Edit:
        """Lets the model answer the click."""
        return self.session.add(self.prompt, cancel=cancel)


class ScribbleEdit(ClickEdit):
    """Corrects a segment from a scribble through points of the world, a list of RAS mm."""

    def __init__(
        self,
        bench: Workbench,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        points: Sequence[Sequence[float]],
        positive: bool,
    ) -> None:
        super().__init__(bench, node, segmentId, (), positive)
        self.points = points

    def prepare(self) -> None:
        """Turns the points into a scribble on the session's grid."""
        self.prompt = prompts.scribbleFromRas(self.session.grid, self.points, self.positive)


class BoxEdit(EditAction):
    """Looks for the tumour in a ROI, in the image of a role or the first one."""

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
    """Looks for the tumour without a prompt; its outcome is the segmentation and the id of the segment."""

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

    def begin(self) -> Action | None:
        """As any action, once there is a segment."""
        self.bench.engine(self.kind, self.model)  # before anything is made
        if self.isNew and self.made is None:
            self.made = NewSegment.add(self.given, self.node)
            self.node, self.segmentId = self.made.node, self.made.segmentId
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
        sessions, target = self.bench.sessions, (self.node, self.segmentId)
        self.bench.checkFree(*target)
        self.session = self.bench.open(*target)
        self.reading = sessions.read(*target)
        if self.reading is not None and segments.isLocked(*target) and sessions.changedMask(*target) is None:
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
        return scribbles.importBrush(self.session, self.reading.mask, self.guides, cancel)

    def finish(self, result: Edit | None) -> Edit | None:
        """Notes that the segment has been read."""
        sessions = self.bench.sessions
        if self.reading is not None and sessions.get(self.node, self.segmentId) is self.session:
            sessions.noteUpToDate(self.node, self.segmentId, self.reading)
        return super().finish(result)
