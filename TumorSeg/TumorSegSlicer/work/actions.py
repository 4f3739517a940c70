"""What can be done to the segments of a scene, each as an action in steps (see :mod:`TumorSegSlicer.work.runner`).

An action checks before it changes anything. One that fails, or is cancelled, leaves the segments as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml import automatic, bridge, overlays
from TumorSegSlicer.mrml.arguments import SEGMENTATION, checkNode, checkSegment
from TumorSegSlicer.mrml.hierarchy import placeBeside
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.work import strokes
from TumorSegSlicer.work.engines import EngineSource, loading
from TumorSegSlicer.work.known_inputs import KnownInputs
from TumorSegSlicer.work.losses import Losses, losers
from TumorSegSlicer.work.runner import Action
from TumorSegSlicer.work.sessions import Engines, Sessions, sessionText
from TumorSegSlicer.work.targets import Target
from TumorSegSlicer.work.worker import Cancel, Progress, Task

if TYPE_CHECKING:
    from TumorSegLib import BoxOptions, BoxPrompt, Click, Edit, Grid, Scribble, Session
    from TumorSegSlicer.parameters import TumorSegParameters

#: Turns a session into the task that edits it, on the GUI thread.
Plan = Callable[["Session"], Task]


class Actions:
    """The actions; each method returns one that has not begun. All raise ``TumorSegError`` while they are done.

    Attributes:
        engineSource: where engines come from.
        notice: called with what the user should know, in words, although the action goes on.
        writing: whether voxels of segments are being written just now: what is heard of them then was not painted.
    """

    def __init__(
        self, store: Sessions, parameters: Callable[[], TumorSegParameters], engineSource: EngineSource
    ) -> None:
        """Begins with the sessions of a store.

        Args:
            store: the sessions of the scene.
            parameters: gives the settings in the scene, which actions read when they begin.
            engineSource: where engines come from.
        """
        self._store, self._parameters = store, parameters
        self.engineSource = engineSource
        self.notice: Callable[[str], None] = lambda _words: None
        self.writing = False
        self._inputs = KnownInputs(store)
        self._losses = Losses()
        self._engines: tuple[tuple[Any, ...], Engines] | None = None

    def forget(self, nodeId: str, segmentId: str) -> None:
        """Forgets what belongs to a segment that was deleted."""
        self._inputs.forget(nodeId, segmentId)
        self._losses.forget(nodeId, segmentId)

    def engine(self, kind: str) -> Any:
        """The engine of the chosen model of a kind, ``auto``, ``clicks`` or ``box``.

        Raises:
            ModelError: the model is not on this computer, or of another kind; says what to do.
        """
        from TumorSegLib import ModelError

        parameters = self._parameters()
        try:
            return self.engineSource(kind, parameters.model(kind), parameters.device.value, parameters.precision.value)
        except ModelError as error:
            words = _("{problem}. Choose another model, or import or download this one (Manage models).")
            raise ModelError(words.format(problem=error)) from error

    def forgetEngines(self) -> None:
        """Looks models up again, since some came or went."""
        self._engines = None

    def addSegment(self, inputs: Mapping[str, Input], node: slicer.vtkMRMLSegmentationNode | None) -> Target:
        """Adds an empty tumour segment with a session, at once; a segmentation is made where none is given."""
        target = self._target(inputs, node, None)
        try:
            self.session(target.node, target.segmentId, inputs)
        except Exception:
            target.remove()
            raise
        return target

    def openSegment(self, inputs: Mapping[str, Input], node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Session:
        """Lets a segment be corrected in these volumes, at once: from what it holds, or on with the session it has."""
        checkSegment(node, segmentId)
        return self.session(node, segmentId, self._inputs.inOrder(_chosen(inputs), node, segmentId))

    def segment(
        self,
        inputs: Mapping[str, Input],
        node: slicer.vtkMRMLSegmentationNode | None = None,
        segmentId: str | None = None,
    ) -> Action:
        """Looks for the tumour, in a segment that loses what it held, or a new one; its outcome is (Target, Edit)."""
        engine = self.engine("auto")  # raises where it is missing, before anything is made
        target = self._target(inputs, node, segmentId)
        inputs = self._inputs.inOrder(inputs, target.node, target.segmentId)
        try:
            edit = yield from self._edit(
                target.node,
                target.segmentId,
                lambda session: loading(
                    engine, lambda progress, cancel: session.segment(progress=progress, cancel=cancel)
                ),
                inputs,
            )
        except Exception:
            target.remove()
            raise
        with self._writing():
            automatic.note(target.node, target.segmentId)
        return target, edit

    def click(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, ras: Sequence[float], positive: bool = True
    ) -> Action:
        """Corrects a segment from a click at a point of the world, RAS mm; its outcome is an Edit."""
        return self._correct(node, segmentId, lambda grid: bridge.clickFromRas(grid, ras, positive))

    def scribble(
        self,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        points: Sequence[Sequence[float]],
        positive: bool = True,
    ) -> Action:
        """Corrects a segment from a stroke through points of the world, RAS mm; its outcome is an Edit."""
        return self._correct(node, segmentId, lambda grid: strokes.scribbleFromRas(grid, points, positive))

    def box(
        self,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        roi: slicer.vtkMRMLMarkupsROINode,
        role: str = "",
    ) -> Action:
        """Looks for the tumour in a ROI, in the image of a role or the first one; its outcome is an Edit."""

        def plan(session: Session) -> Task:
            engine, prompt, options = self._boxIn(session, roi, role)

            def task(progress: Progress, cancel: Cancel) -> Edit:
                return session.add_box(prompt, options=options, progress=progress, cancel=cancel)

            return loading(engine, task)

        return self._edit(node, segmentId, plan)

    def embedBox(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, roi: slicer.vtkMRMLMarkupsROINode
    ) -> Action:
        """Does ahead what :meth:`box` will need, and changes nothing; its outcome is the number of slices done."""
        session = self.session(node, segmentId)
        engine, prompt, options = self._boxIn(session, roi, "")
        return (yield loading(engine, lambda _progress, cancel: session.embed_box(prompt, options, cancel)))

    def reset(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Action:
        """Takes a segment back to what it began with; its outcome is an Edit."""
        return self._edit(node, segmentId, lambda session: lambda _progress, _cancel: session.reset())

    def takeOver(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Action:
        """Takes over what was painted by hand, as every other action does first; its outcome is the Session."""
        session = self.session(node, segmentId)
        yield from self.stroke(node, segmentId, ())
        return session

    def stroke(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, guides: Collection[bool] = (True, False)
    ) -> Action:
        """Takes over what was painted by hand as one step, with what the model makes of it.

        Args:
            node, segmentId: the segment.
            guides: what guides the model: True for a stroke that only added voxels, which is a positive one, False for
                one that only took some away. Any other change is taken over as it is.

        Its outcome is an Edit, whose ``info`` is empty where the model was not asked; None where nothing was painted.
        """
        session = self.session(node, segmentId)
        if bridge.isLocked(node, segmentId) and self.inStep(node, segmentId):
            return None
        shown = self._store.shown(node, segmentId)
        if shown is None:
            return None
        engine = self.engine("clicks") if guides else None
        bridge.applyEdit(_nothing(), node, segmentId, session.grid)  # raises where the segment must not change
        edit = yield loading(engine, lambda _progress, cancel: strokes.takeOver(session, shown.mask, guides, cancel))
        if edit is None:
            if self._store.get(node, segmentId) is session:
                self._store.noteInStep(node, segmentId, shown)
            return None
        self._tellNotes(edit)
        overwritten = losers(self._parameters().overlap, node, segmentId)
        if edit.info or overwritten:
            lost = self._write(node, segmentId, edit, overwritten, session.undo)
            self._losses.add(node, segmentId, edit, lost)
        return edit

    def undo(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Action:
        """Takes the last edit of a segment back, brush strokes included; its outcome is an Edit, or None."""
        session = yield from self.takeOver(node, segmentId)
        edit = yield lambda _progress, _cancel: session.undo()
        if edit is not None:
            self._write(node, segmentId, edit, (), session.redo)
            with self._writing():
                for loss in self._losses.undone(node, segmentId, edit):
                    if not bridge.isLocked(node, loss.segment):
                        bridge.applyEdit(loss, node, loss.segment, session.grid)
        return edit

    def redo(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Action:
        """Does again what was undone last; its outcome is an Edit, or None."""
        session = yield from self.takeOver(node, segmentId)
        edit = yield lambda _progress, _cancel: session.redo()
        if edit is not None:
            overwritten = self._losses.redone(node, segmentId, edit)
            self._write(node, segmentId, edit, overwritten, session.undo)
        return edit

    def overlay(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, kind: str) -> Action:
        """Writes ``probability`` or ``uncertainty`` into a volume of the scene, which is its outcome."""
        session = yield from self.takeOver(node, segmentId)
        percent = yield lambda _progress, _cancel: overlays.percentages(session.probability.array, kind)
        volume = overlays.showAsVolume(percent, session.grid, node, segmentId, kind)
        placeBeside(volume, node)
        return volume

    def uncertainPlaces(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Action:
        """Where a segment is least certain, the worst first; its outcome is a list of RAS mm."""
        session = yield from self.takeOver(node, segmentId)
        return (yield lambda _progress, _cancel: overlays.uncertainPlaces(session.probability))

    def keep(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Action:
        """Writes the session of a segment into the scene, to be saved with it; nothing where none is open."""
        session = self._store.get(node, segmentId)
        if session is not None:
            text = yield lambda _progress, _cancel: sessionText(session)
            if self._store.get(node, segmentId) is session:
                self._store.write(node, segmentId, text)

    def session(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, inputs: Mapping[str, Input] | None = None
    ) -> Session:
        """The session of a segment: the open one, the one saved in the scene, or with inputs a new one."""
        from TumorSegLib import ArgumentError

        checkSegment(node, segmentId)
        current = self._store.get(node, segmentId)
        known = dict(inputs or self.inputs(node, segmentId))
        if current is None and not inputs:
            self._inputs.checkFirst(node, segmentId)
        if current is not None and not all(slicer.mrmlScene.IsNodePresent(each.node) for each in known.values()):
            return current  # a volume was deleted; its voxels live on in the session
        if not known:
            name = node.GetSegmentation().GetSegment(segmentId).GetName()
            raise ArgumentError(
                _(
                    "no volumes are known for segment '{name}': choose them under Inputs, or in a script give them to "
                    "openSegment(inputs, segmentation, segmentId)"
                ).format(name=name)
            )
        parameters = self._parameters()
        settings = {"device": parameters.device.value, "precision": parameters.precision.value}
        opened = self._store.open(node, segmentId, known, self._allEngines(), settings)
        self._inputs.note(node, segmentId, known)
        if opened.problem:
            self.notice(opened.problem)
        return opened.session

    def openSession(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Session | None:
        """The session of a segment if it is open; nothing is opened."""
        return self._store.get(node, segmentId)

    def inputs(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> dict[str, Input]:
        """Role to volume of a segment's session, open or saved; empty where there is none."""
        return self._inputs.of(node, segmentId)

    def inStep(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
        """Whether the open session of a segment holds what the segment shows."""
        return self._store.changedMask(node, segmentId) is None

    def _correct(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, promptOn: Callable[[Grid], Click | Scribble]
    ) -> Action:
        """Corrects a segment from a prompt, which is made on the grid of its session."""

        def plan(session: Session) -> Task:
            engine = self.engine("clicks")  # raises where it is missing
            prompt = promptOn(session.grid)
            return loading(engine, lambda _progress, cancel: session.add(prompt, cancel=cancel))

        return self._edit(node, segmentId, plan)

    def _edit(
        self,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        plan: Plan,
        inputs: Mapping[str, Input] | None = None,
    ) -> Action:
        """Takes over what was painted, edits the session and writes the voxels that changed."""
        session = self.session(node, segmentId, inputs)
        bridge.applyEdit(_nothing(), node, segmentId, session.grid)  # raises where the segment must not change
        task = plan(session)
        yield from self.takeOver(node, segmentId)
        edit = yield task
        self._tellNotes(edit)
        overwritten = losers(self._parameters().overlap, node, segmentId)
        lost = self._write(node, segmentId, edit, overwritten, session.undo)
        self._losses.add(node, segmentId, edit, lost)
        return edit

    def _tellNotes(self, edit: Edit) -> None:
        """Passes on what an engine has to say, such as that it had to leave the graphics card."""
        for note in edit.info.get("notes", ()):
            self.notice(note)

    def _write(
        self,
        node: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        edit: Edit,
        losers: Collection[str],
        revert: Callable[[], Any],
    ) -> tuple[Edit, ...]:
        """Writes an edit of a session; where that fails the session goes back to what the segment shows."""
        try:
            with self._writing():
                return self._store.apply(edit, node, segmentId, losers)
        except Exception as error:
            revert()
            if self._store.get(node, segmentId) is None:
                from TumorSegLib import Cancelled

                raise Cancelled("the segment was deleted meanwhile") from error
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self.writing = True
        try:
            yield
        finally:
            self.writing = False

    def _target(
        self, inputs: Mapping[str, Input], node: slicer.vtkMRMLSegmentationNode | None, segmentId: str | None
    ) -> Target:
        if segmentId is not None:
            checkSegment(node, segmentId)
            return Target(node, segmentId)
        if node is not None:
            checkNode(node, SEGMENTATION, "segmentation")
        chosen = _chosen(inputs).items()
        images = tuple(bridge.volumeFromNode(each.node, role, each.assumeSuv) for role, each in chosen)
        first, newNode = next(iter(inputs.values())).node, node is None
        if node is None:
            name = f"{first.GetName()} tumour segmentation"
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            placeBeside(node, first)
        return Target(node, bridge.addTumourSegment(node, first), True, newNode, images)

    def _allEngines(self) -> Engines:
        """The engines of the models that are on this computer; what needs one of the others says so when it is done."""
        parameters = self._parameters()
        models = tuple(parameters.model(kind) for kind in ("auto", "clicks", "box"))
        key = (*models, parameters.device, parameters.precision, self.engineSource)
        if self._engines is not None and self._engines[0] == key:
            return self._engines[1]
        engines = Engines(*(self._engineOrNone(kind) for kind in ("auto", "clicks", "box")))
        if None not in (engines.auto, engines.clicks, engines.box):  # one that is missing may come
            self._engines = (key, engines)
        return engines

    def _engineOrNone(self, kind: str) -> Any:
        from TumorSegLib import ModelError

        try:
            return self.engine(kind)
        except ModelError:
            return None

    def _boxIn(
        self, session: Session, roi: slicer.vtkMRMLMarkupsROINode, role: str
    ) -> tuple[Any, BoxPrompt, BoxOptions]:
        """What looks into a box, a ROI as a box of a session, and how it is looked into."""
        from TumorSegLib import BoxOptions

        return self.engine("box"), bridge.boxFromRoi(roi, session.grid), BoxOptions(role=role)


def _chosen(inputs: Mapping[str, Input]) -> Mapping[str, Input]:
    from TumorSegLib import ArgumentError

    if not inputs:
        raise ArgumentError("no volume was chosen; choose at least one")
    return inputs


def _nothing() -> Edit:
    from TumorSegLib import Edit
    from TumorSegLib.geometry.boxes import EMPTY_BOX
    from TumorSegLib.images.probability import EMPTY

    return Edit("", EMPTY_BOX, EMPTY, EMPTY)
