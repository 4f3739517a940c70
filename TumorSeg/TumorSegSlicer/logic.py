"""The logic of the module: everything the panel does, for the Python console and for scripts without a window.

    logic = TumorSegLogic()
    node, segmentId = logic.segment({"ct": ctNode, "pet": petNode})
    logic.addClick(node, segmentId, ras=(12.5, -40.0, 88.0), positive=True)
    logic.undo(node, segmentId)
    table = logic.measure(node, segmentId)

Methods return when they are done. Those with the argument ``run`` do an action: the panel passes what hands actions to
its runner, and then they return at once, without a value. Points are RAS mm of the world. All raise
``TumorSegLib.TumorSegError`` with a message that says what is wrong, and leave the scene as it was then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from TumorSegSlicer.install import torch_libraries
from TumorSegSlicer.mrml import arguments, dicom_pet, labelmaps, prompts, volumes
from TumorSegSlicer.mrml.arguments import asInputs, asModel, asPoints, asRoi
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.session_nodes import Input, Saved
from TumorSegSlicer.work import views
from TumorSegSlicer.work.editing import edits, undo
from TumorSegSlicer.work.exporting.files import Export
from TumorSegSlicer.work.lesions import changes, labels
from TumorSegSlicer.work.new_segments import NewSegment
from TumorSegSlicer.work.runner import Run, done
from TumorSegSlicer.work.saving import SaveSession
from TumorSegSlicer.work.sessions import Sessions
from TumorSegSlicer.work.workbench import Workbench

if TYPE_CHECKING:
    from TumorSegLib import Edit, Session
    from TumorSegLib.engines.lazy import EngineSource
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegSlicer.parameters import TumorSegParameters

    # Not at run time: when Slicer imports this file, modules that bring such classes need not be loaded yet.
    SegmentationNode: TypeAlias = slicer.vtkMRMLSegmentationNode
    VolumeNode: TypeAlias = slicer.vtkMRMLScalarVolumeNode


class TumorSegLogic(ScriptedLoadableModuleLogic):
    """Segments tumours in volumes of the scene and keeps a session, with undo steps, for every segment.

    Attributes:
        bench: what the actions share: where engines come from, and where notices go.
        onDropped: called with node id and segment id of a session that ended, as its segment was deleted.
    """

    def __init__(self, engineSource: EngineSource | None = None) -> None:
        """Begins with the sessions that the scene holds.

        Args:
            engineSource: where engines come from; by default models by name, loaded when they are first used.
        """
        from TumorSegLib.engines.lazy import EngineCache

        ScriptedLoadableModuleLogic.__init__(self)
        self.onDropped: Callable[[str, str], None] | None = None
        self._sessions = Sessions(slicer.mrmlScene, self._onDropped)
        self._listener = Listener()
        scene = slicer.mrmlScene
        self._listener.listen((scene, scene.EndCloseEvent, self._onScene), (scene, scene.EndImportEvent, self._onScene))
        source = engineSource or EngineCache(torch_libraries.loadEngine)
        self.bench = Workbench(self._sessions, self.getParameterNode, source, lambda _words: None)

    @property
    def parameters(self) -> TumorSegParameters:
        """The settings in the scene: models, device, precision, and what happens to other segments."""
        return self.bench.parameters

    def _onScene(self, _scene: slicer.vtkMRMLScene) -> None:
        self.bench.forgetParameters()

    def close(self) -> None:
        """Removes the observers of the scene; the logic cannot be used afterwards."""
        self._sessions.close()
        self._listener.listen()

    def segment(  # noqa: PLR0913, PLR0917 - scripts pass these
        self,
        inputs: Mapping[str, VolumeNode | Input],
        model: str | None = None,
        segmentation: SegmentationNode | None = None,
        segmentId: str | Mapping[str, str] | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        run: Run = done,
    ) -> tuple[SegmentationNode, str]:
        """Segments the tumour automatically; a model with several labels makes a segment of each that it finds.

        Args:
            inputs: role (``ct``, ``pet``, ``mr_t1``) to volume; ``Input(volume, assumeSuv=True)`` takes a PET that does
                not say its unit as SUV. The segment lies on the first one's grid.
            model: of kind ``auto``, for this call; the chosen one by default.
            segmentation: gets the segment; a new one by default.
            segmentId: of a segment whose voxels are replaced, which can be undone; of several labels a dictionary, from
                label to segment id; new ones by default, whose names get a number where they are taken.
            progress: called with (steps done, steps in all).
            cancel: asked often; True stops with ``TumorSegLib.Cancelled`` and leaves the scene as it was.
            run: how the action is done, where neither ``progress`` nor ``cancel`` is given.

        Returns:
            The segmentation and the id of the (first) segment, which is empty where no tumour was found.
        """
        action = labels.automatic(self.bench, asInputs(inputs), segmentation, segmentId, asModel(model))
        return run(action) if progress is None and cancel is None else done(action, progress, cancel)

    def addSegment(
        self, inputs: Mapping[str, VolumeNode | Input], segmentation: SegmentationNode | None = None
    ) -> tuple[SegmentationNode, str]:
        """Adds an empty segment to begin with clicks, a box or the brush; arguments as for :meth:`segment`."""
        given = asInputs(inputs)
        made = NewSegment.add(given, segmentation)
        try:
            self.bench.open(made.node, made.segmentId, given)
        except Exception:
            made.remove()
            raise
        return made.node, made.segmentId

    def openSegment(
        self, inputs: Mapping[str, VolumeNode | Input], segmentation: SegmentationNode, segmentId: str
    ) -> None:
        """Lets a segment from elsewhere (RTSTRUCT, DICOM SEG, drawn by hand) be corrected, from what it holds.

        Every action on it works with these volumes from then on; :meth:`reset` leads back to what it holds now. If
        the segment has a session, that session continues with these volumes.

        Args:
            inputs: as for :meth:`segment`; the segment is corrected on the first one's grid.
            segmentation, segmentId: the segment, which does not change by this.
        """
        arguments.checkSegment(segmentation, segmentId)
        self.bench.checkFree(segmentation, segmentId)
        self.bench.open(segmentation, segmentId, self._sessions.ordered(asInputs(inputs), segmentation, segmentId))

    def resume(self, segmentation: SegmentationNode, segmentId: str) -> bool:
        """Opens the saved session of a segment; whether it holds what the segment shows now."""
        self.bench.open(segmentation, segmentId)
        return self._sessions.of(segmentation, segmentId).changedMask() is None

    def keepAsVoxels(self, segmentation: SegmentationNode, volume: VolumeNode) -> None:
        """Turns contours (RTSTRUCT) or surfaces into voxels on a volume's lattice, so that they can be corrected."""
        arguments.checkNode(segmentation, arguments.SEGMENTATION, "segmentation")
        arguments.checkNode(volume, arguments.VOLUME, "volume")
        labelmaps.keepAsVoxels(segmentation, volume)

    def addClick(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        ras: Sequence[float],
        positive: bool = True,
        run: Run = done,
    ) -> Edit:
        """Corrects a segment from one click: what is there is tumour, or is not. Returns what changed."""
        make = partial(prompts.clickFromRas, ras=ras, positive=positive)
        return run(edits.PromptEdit(self.bench, segmentation, segmentId, make))

    def addScribble(  # noqa: PLR0913, PLR0917 - scripts pass these
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        points: Sequence[Sequence[float]],
        positive: bool = True,
        widthMm: float = 0.0,
        normal: Sequence[float] | None = None,
        run: Run = done,
    ) -> Edit:
        """Corrects a segment from a scribble through points, by a pen on the slice of a normal if it has a width."""
        arguments.checkPoints(points)
        make = partial(prompts.scribbleFromRas, points=points, positive=positive, widthMm=widthMm, normal=normal)
        return run(edits.PromptEdit(self.bench, segmentation, segmentId, make))

    def addLasso(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        curve: slicer.vtkMRMLMarkupsClosedCurveNode | Sequence[Sequence[float]],
        positive: bool = True,
        run: Run = done,
    ) -> Edit:
        """Corrects a segment from a closed curve on one slice, or its points: what is inside is tumour, or is not."""
        make = partial(prompts.lassoFromRas, points=asPoints(curve, arguments.CURVE, "curve"), positive=positive)
        return run(edits.PromptEdit(self.bench, segmentation, segmentId, make))

    def addLine(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        line: slicer.vtkMRMLMarkupsLineNode | Sequence[Sequence[float]],
        run: Run = done,
    ) -> Edit:
        """Segments the tumour that a line, or its two ends, is the longest diameter of, as measured on one slice."""
        make = partial(prompts.lineFromRas, ends=asPoints(line, arguments.LINE, "line"))
        return run(edits.PromptEdit(self.bench, segmentation, segmentId, make))

    def addBox(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        box: slicer.vtkMRMLMarkupsROINode | Sequence[float],
        model: str | None = None,
        role: str = "",
        run: Run = done,
    ) -> Edit:
        """Segments the tumour in a box and returns what changed.

        Args:
            segmentation, segmentId: the segment; a model of kind ``box`` replaces its voxels in the box.
            box: a ROI, or bounds ``(r0, r1, a0, a1, s0, s1)`` in mm.
            model: of kind ``box``, for this call; by default the chosen one or, if none is, the model for clicks.
                ``lite-medsam`` is downloaded by ``tumorseg models download lite-medsam``.
            role: of the image that a model of kind ``box`` sees; the first one by default.
            run: how the action is done.
        """
        roi, named = asRoi(box), asModel(model) or self.parameters.boxModel
        if not named:
            arguments.checkNoRole(role)
            return run(edits.PromptEdit(self.bench, segmentation, segmentId, partial(prompts.boxFromRoi, roi)))
        return run(edits.BoxEdit(self.bench, segmentation, segmentId, roi, role, named))

    def embedBox(
        self, segmentation: SegmentationNode, segmentId: str, roi: slicer.vtkMRMLMarkupsROINode, run: Run = done
    ) -> int:
        """Computes ahead what :meth:`addBox` will need for a ROI; returns the number of slices embedded."""
        return run(views.EmbedBox(self.bench, segmentation, segmentId, roi))

    def importBrush(
        self, segmentation: SegmentationNode, segmentId: str, guides: Collection[bool] = (), run: Run = done
    ) -> Edit | None:
        """Makes what the Segment Editor did to a segment one step that can be undone; every action does so first.

        Args:
            segmentation, segmentId: the segment.
            guides: True: where voxels were only added, the model goes on from them as from a positive scribble. False:
                where voxels were only removed, as from a negative one. These voxels stay as they were painted.
            run: how the action is done.

        Returns:
            What changed; None where nothing was painted.
        """
        return run(edits.ImportBrush(self.bench, segmentation, segmentId, guides))

    def refineFromBrush(self, segmentation: SegmentationNode, segmentId: str) -> Edit | None:
        """As :meth:`importBrush`; the model goes on from voxels that were added, or from those that were removed."""
        return self.importBrush(segmentation, segmentId, (True, False))

    def undo(self, segmentation: SegmentationNode, segmentId: str, run: Run = done) -> Edit | None:
        """Undoes the last edit of a segment, by any tool, and returns what changed; None at the beginning."""
        return run(undo.Undo(self.bench, segmentation, segmentId))

    def redo(self, segmentation: SegmentationNode, segmentId: str, run: Run = done) -> Edit | None:
        """Redoes the edit undone last and returns what changed; None if there is none."""
        return run(undo.Redo(self.bench, segmentation, segmentId))

    def reset(self, segmentation: SegmentationNode, segmentId: str, run: Run = done) -> Edit:
        """Takes a segment back to what it began with; this, too, can be undone."""
        return run(undo.Reset(self.bench, segmentation, segmentId))

    def splitSegment(self, segmentation: SegmentationNode, segmentId: str, run: Run = done) -> list[str]:
        """Leaves the largest connected lesion in a segment, as one step; each of the others becomes a segment.

        Regions of a few voxels stay, see :func:`TumorSegLib.split_lesions`. Returns the ids, the largest lesion first.
        """
        return run(changes.SplitSegment(self.bench, segmentation, segmentId))

    def mergeSegments(self, segmentation: SegmentationNode, segmentIds: Sequence[str], run: Run = done) -> Edit | None:
        """Adds the voxels of segments to the first one, as one step, deletes the others and returns what changed."""
        return run(changes.MergeSegments(self.bench, segmentation, arguments.asIds(segmentIds)))

    def deleteSegment(self, segmentation: SegmentationNode, segmentId: str) -> None:
        """Deletes a segment with its session, unless it is completed; this cannot be undone."""
        arguments.checkSegment(segmentation, segmentId)
        changes.deleteSegment(segmentation, segmentId)

    def measure(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        pet: VolumeNode | Input | None = None,
        diameterLines: bool = False,
        run: Run = done,
    ) -> slicer.vtkMRMLTableNode:
        """Measures a segment, see :func:`TumorSegLib.measure`, into a table of the scene.

        Args:
            segmentation, segmentId: the segment, measured on its own voxels.
            pet: for the values of SUV; the one the segment was made with by default.
            diameterLines: draw the longest axial diameter and its perpendicular; else earlier ones are removed.
            run: how the action is done.
        """
        given = asInputs({"pet": pet} if pet is not None else {})
        return run(views.Measure(self._sessions, segmentation, segmentId, given, diameterLines))

    def export(self, segmentation: SegmentationNode, path: str, run: Run = done) -> str:
        """Writes all segments that hold voxels: .nii.gz, as numbers from 1 up, or .seg.nrrd. Returns a remark."""
        arguments.checkNode(segmentation, arguments.SEGMENTATION, "segmentation")
        return run(Export(segmentation, path))

    def probabilityVolume(self, segmentation: SegmentationNode, segmentId: str, run: Run = done) -> VolumeNode:
        """The probability of a segment as a volume, in percent; called again it is brought up to date."""
        return run(views.Overlay(self.bench, segmentation, segmentId, "probability"))

    def uncertaintyVolume(self, segmentation: SegmentationNode, segmentId: str, run: Run = done) -> VolumeNode:
        """The uncertainty of a segment (entropy of its probability) as a volume, in percent of a bit."""
        return run(views.Overlay(self.bench, segmentation, segmentId, "uncertainty"))

    def uncertainPositions(
        self, segmentation: SegmentationNode, segmentId: str, run: Run = done
    ) -> list[tuple[float, float, float]]:
        """Points where a segment is least certain, the least certain first."""
        return run(views.UncertainPositions(self.bench, segmentation, segmentId))

    def inputs(self, segmentation: SegmentationNode, segmentId: str) -> dict[str, Input]:
        """Role to volume of the session of a segment, open or saved; empty where there is none."""
        return self._sessions.inputs(segmentation, segmentId)

    def hasSession(self, segmentation: SegmentationNode, segmentId: str) -> bool:
        """Whether a session of the segment is open; the first action on a segment opens one."""
        return self._session(segmentation, segmentId) is not None

    def volumeMl(self, segmentation: SegmentationNode, segmentId: str) -> float | None:
        """Volume of a segment in millilitres, as its session has it; None where no session is open."""
        session = self._session(segmentation, segmentId)
        return session.volume_ml if session is not None else None

    def possibleSteps(self, segmentation: SegmentationNode, segmentId: str) -> tuple[bool, bool, bool]:
        """Whether :meth:`undo`, :meth:`redo` and :meth:`reset` would, or in a saved session could, change a segment."""
        session = self._session(segmentation, segmentId)
        if session is None:
            saved = bool(self.inputs(segmentation, segmentId))
            return saved, saved, saved
        return session.can_undo, session.can_redo, session.can_reset

    def clickPoints(
        self, segmentation: SegmentationNode, segmentId: str
    ) -> list[tuple[tuple[float, float, float], bool]]:
        """Clicks of a segment that hold, RAS mm and whether each is positive; empty where no session is open."""
        from TumorSegLib import Click

        session = self._session(segmentation, segmentId)
        if session is None:
            return []
        clicks = session.prompts.of(Click)
        points = [session.grid.to_ras(click.ijk).tolist() for click in clicks]
        return [((r, a, s), click.positive) for (r, a, s), click in zip(points, clicks)]

    def save(self) -> None:
        """Writes all sessions into the scene, so that they are saved with it; waits for an edit being made."""
        self._sessions.save()

    def saveSession(self, segmentation: SegmentationNode, segmentId: str, run: Run = done) -> None:
        """As :meth:`save`, of one segment; does nothing where it has no open session."""
        run(SaveSession(self._sessions, segmentation, segmentId))

    def saved(self) -> list[Saved]:
        """The sessions that the scene holds; the first action on their segments resumes them."""
        return self._sessions.saved()

    def suvProblem(self, pet: VolumeNode) -> str:
        """Why a volume is not known to be in SUV though it may be, as text; empty where its unit says so.

        Raises:
            SuvError: it cannot be SUV: its unit is another one, or its values are too large.
        """
        arguments.checkNode(pet, arguments.VOLUME, "pet")
        return volumes.suvProblem(pet)

    def suvVolume(self, pet: VolumeNode) -> tuple[VolumeNode, str]:
        """A copy in SUV (body weight, g/ml) of a PET that Slicer loaded from DICOM, which itself stays as it is.

        Returns:
            The copy, the same when called again, and what was done beside the plain rule, as text.

        Raises:
            SuvError: the DICOM files are not in the database, do not say enough, or the volume was changed since.
        """
        arguments.checkNode(pet, arguments.VOLUME, "pet")
        return dicom_pet.suvCopy(pet)

    def _onDropped(self, nodeId: str, segmentId: str) -> None:
        if self.onDropped is not None:
            self.onDropped(nodeId, segmentId)

    def _session(self, segmentation: SegmentationNode, segmentId: str) -> Session | None:
        """The open session of a segment, which may have been deleted meanwhile."""
        arguments.checkKind(segmentation, arguments.SEGMENTATION, "segmentation")
        arguments.checkId(segmentId)
        return self._sessions.get(segmentation, segmentId)
