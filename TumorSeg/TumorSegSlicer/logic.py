"""The logic of the module: everything the panel does, for the Python console and for scripts without a window.

    logic = TumorSegLogic()
    node, segmentId = logic.segment({"ct": ctNode, "pet": petNode})
    logic.addClick(node, segmentId, ras=(12.5, -40.0, 88.0), positive=True)
    logic.undo(node, segmentId)
    table = logic.measure(node, segmentId)

Methods return when they are done. Points are RAS mm of the world. All raise ``TumorSegLib.TumorSegError`` with a
message in words, and leave the scene as it was then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from TumorSegSlicer.install import packages
from TumorSegSlicer.mrml import arguments, bridge, dicom_pet, labelmaps, tables
from TumorSegSlicer.mrml.arguments import asInputs, asRoi
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.session_nodes import Input, Saved
from TumorSegSlicer.work.actions import Actions
from TumorSegSlicer.work.engines import EngineCache, EngineSource
from TumorSegSlicer.work.runner import Action, complete
from TumorSegSlicer.work.sessions import Sessions

if TYPE_CHECKING:
    from TumorSegLib import Edit, Grid, Session, Volume
    from TumorSegLib.jobs import Cancel, Progress
    from TumorSegSlicer.parameters import TumorSegParameters

    # Not at run time: when Slicer imports this file, modules that bring such classes need not be loaded yet.
    SegmentationNode = slicer.vtkMRMLSegmentationNode
    VolumeNode = slicer.vtkMRMLScalarVolumeNode


class TumorSegLogic(ScriptedLoadableModuleLogic):
    """Segments tumours in volumes of the scene and keeps a session, with undo steps, for every segment.

    Attributes:
        actions: the same in steps, for callers that must not wait.
        onDropped: called with node id and segment id of a session that ended, as its segment was deleted.
    """

    def __init__(self, engineSource: EngineSource | None = None) -> None:
        """Begins with the sessions that the scene holds.

        Args:
            engineSource: where engines come from; by default models by name, loaded when they are first used.
        """
        ScriptedLoadableModuleLogic.__init__(self)
        self.onDropped: Callable[[str, str], None] | None = None
        self._store = Sessions(slicer.mrmlScene, self._forget)
        self._parameters: TumorSegParameters | None = None
        self._listener = Listener()
        scene = slicer.mrmlScene
        self._listener.listen((scene, scene.EndCloseEvent, self._onScene), (scene, scene.EndImportEvent, self._onScene))
        self.actions = Actions(self._store, lambda: self.parameters, engineSource or EngineCache())

    @property
    def parameters(self) -> TumorSegParameters:
        """The settings in the scene: models, device, precision, and what happens to other segments."""
        from TumorSegSlicer.parameters import TumorSegParameters  # its classes of nodes come with other modules

        node = self.getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = TumorSegParameters(node)
        return self._parameters

    def _onScene(self, _scene: slicer.vtkMRMLScene) -> None:
        """Slicer's wrapper keeps values that are out of date after a scene was closed or read into the same node."""
        self._parameters = None

    def close(self) -> None:
        """Observes the scene no more; the logic is of no use afterwards."""
        self._store.close()
        self._listener.listen()

    def segment(
        self,
        inputs: Mapping[str, VolumeNode | Input],
        model: str | None = None,
        segmentation: SegmentationNode | None = None,
        segmentId: str | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> tuple[SegmentationNode, str]:
        """Looks for the tumour without any hint.

        Args:
            inputs: role (``ct``, ``pet``, ``mr_t1``) to volume; ``Input(volume, assumeSuv=True)`` takes a PET that does
                not say its unit as SUV. The segment lies on the first one's grid.
            model: of kind ``auto``; the one used last by default, ``sts-auto`` at first.
            segmentation: gets the segment; a new one by default.
            segmentId: of a segment that loses what it held, which can be undone; a new one by default.
            progress: called with (steps done, steps in all).
            cancel: asked often; True stops with ``TumorSegLib.Cancelled``.

        Returns:
            The segmentation and the id of the segment, which is empty where no tumour was found.
        """
        with _chosen(self.parameters, "auto", model):
            action = self.actions.segment(asInputs(inputs), segmentation, segmentId)
            target, _ = _done(action, progress, cancel)
        return target.node, target.segmentId

    def addSegment(
        self, inputs: Mapping[str, VolumeNode | Input], segmentation: SegmentationNode | None = None
    ) -> tuple[SegmentationNode, str]:
        """Adds an empty segment to begin with clicks, a box or the brush; arguments as for :meth:`segment`."""
        target = self.actions.addSegment(asInputs(inputs), segmentation)
        return target.node, target.segmentId

    def openSegment(
        self, inputs: Mapping[str, VolumeNode | Input], segmentation: SegmentationNode, segmentId: str
    ) -> None:
        """Lets a segment from elsewhere (RTSTRUCT, DICOM SEG, drawn by hand) be corrected, from what it holds.

        Every action on it works with these volumes from then on; :meth:`reset` leads back to what it holds now. One
        that has a session goes on with it, with these volumes.

        Args:
            inputs: as for :meth:`segment`; the segment is corrected on the first one's grid.
            segmentation, segmentId: the segment, which does not change by this.
        """
        self.actions.openSegment(asInputs(inputs), segmentation, segmentId)

    def keepAsVoxels(self, segmentation: SegmentationNode, volume: VolumeNode) -> None:
        """Turns contours (RTSTRUCT) or surfaces into voxels on a volume's lattice, so that they can be corrected."""
        arguments.checkNode(segmentation, arguments.SEGMENTATION, "segmentation")
        arguments.checkNode(volume, arguments.VOLUME, "volume")
        labelmaps.keepAsVoxels(segmentation, volume)

    def addClick(
        self, segmentation: SegmentationNode, segmentId: str, ras: Sequence[float], positive: bool = True
    ) -> Edit:
        """Corrects a segment from one click: what is there is tumour, or is not. Returns what changed."""
        return _done(self.actions.click(segmentation, segmentId, ras, positive))

    def addScribble(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        points: Sequence[Sequence[float]],
        positive: bool = True,
    ) -> Edit:
        """Corrects a segment from a stroke through points. Returns what changed."""
        arguments.checkPoints(points)
        return _done(self.actions.scribble(segmentation, segmentId, points, positive))

    def addBox(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        box: slicer.vtkMRMLMarkupsROINode | Sequence[float],
        model: str | None = None,
        role: str = "",
    ) -> Edit:
        """Looks for the tumour in a box and returns what changed.

        Args:
            segmentation, segmentId: the segment; what it had in the box is replaced.
            box: a ROI, or bounds ``(r0, r1, a0, a1, s0, s1)`` in mm.
            model: of kind ``box``; the one used last by default, ``lite-medsam`` at first, which is downloaded by
                ``tumorseg models download lite-medsam``.
            role: of the image that is looked at; the first one by default.
        """
        with _chosen(self.parameters, "box", model):
            return _done(self.actions.box(segmentation, segmentId, asRoi(box), role))

    def takeOverBrush(self, segmentation: SegmentationNode, segmentId: str) -> None:
        """Takes over what the Segment Editor did to a segment as a step that can be undone; every action does so."""
        _done(self.actions.takeOver(segmentation, segmentId))

    def refineFromBrush(self, segmentation: SegmentationNode, segmentId: str) -> Edit | None:
        """Corrects a segment from what the Segment Editor's brush did to it, as one step; returns what changed.

        Voxels that were added are a positive stroke, voxels that were taken away a negative one, which hold afterwards;
        where there are both they are taken over as they are. None where nothing was painted.
        """
        return _done(self.actions.stroke(segmentation, segmentId))

    def undo(self, segmentation: SegmentationNode, segmentId: str) -> Edit | None:
        """Takes the last edit of a segment back, by whatever tool, and returns what changed; None at the beginning."""
        return _done(self.actions.undo(segmentation, segmentId))

    def redo(self, segmentation: SegmentationNode, segmentId: str) -> Edit | None:
        """Does again what was undone last and returns what changed; None where there is nothing."""
        return _done(self.actions.redo(segmentation, segmentId))

    def reset(self, segmentation: SegmentationNode, segmentId: str) -> Edit:
        """Takes a segment back to what it began with; this, too, can be undone."""
        return _done(self.actions.reset(segmentation, segmentId))

    def measure(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        pet: VolumeNode | Input | None = None,
        diameterLines: bool = False,
    ) -> slicer.vtkMRMLTableNode:
        """Measures a segment, see :func:`TumorSegLib.measure`, into a table of the scene.

        Args:
            segmentation, segmentId: the segment, measured on its own voxels.
            pet: for the values of SUV; the one the segment was made with by default.
            diameterLines: draw the longest axial diameter and its perpendicular; else earlier ones are taken away.
        """
        return _done(self.measuring(segmentation, segmentId, pet, diameterLines))

    def measuring(
        self,
        segmentation: SegmentationNode,
        segmentId: str,
        pet: VolumeNode | Input | None = None,
        diameterLines: bool = False,
    ) -> Action:
        """:meth:`measure` in steps."""
        import TumorSegLib

        arguments.checkSegment(segmentation, segmentId)
        inputs = self.actions.inputs(segmentation, segmentId)
        if pet is not None:
            inputs = {**inputs, **asInputs({"pet": pet})}
        images = {
            role: bridge.volumeFromNode(each.node, role, each.assumeSuv)
            for role, each in inputs.items()
            if slicer.mrmlScene.IsNodePresent(each.node)
        }
        mask = tables.ownMask(segmentation, segmentId, lambda: self._gridOf(segmentation, images))
        found = yield lambda _progress, _cancel: TumorSegLib.measure(mask, images)
        tables.drawDiameters(found.axial if diameterLines else None, segmentation, segmentId)
        return tables.writeTable(found, segmentation, segmentId)

    def probabilityVolume(self, segmentation: SegmentationNode, segmentId: str) -> VolumeNode:
        """The probability of a segment as a volume, in percent; called again it is brought up to date."""
        return _done(self.actions.overlay(segmentation, segmentId, "probability"))

    def uncertaintyVolume(self, segmentation: SegmentationNode, segmentId: str) -> VolumeNode:
        """The uncertainty of a segment (entropy of its probability) as a volume, in percent of a bit."""
        return _done(self.actions.overlay(segmentation, segmentId, "uncertainty"))

    def uncertainPlaces(self, segmentation: SegmentationNode, segmentId: str) -> list[tuple[float, float, float]]:
        """Points where a segment is least certain, the least certain first."""
        return _done(self.actions.uncertainPlaces(segmentation, segmentId))

    def hasSession(self, segmentation: SegmentationNode, segmentId: str) -> bool:
        """Whether a session of the segment is open; the first action on a segment opens one."""
        return self._session(segmentation, segmentId) is not None

    def volumeMl(self, segmentation: SegmentationNode, segmentId: str) -> float | None:
        """Volume of a segment in millilitres, as its session has it; None where no session is open."""
        session = self._session(segmentation, segmentId)
        return session.volume_ml if session is not None else None

    def clickPoints(
        self, segmentation: SegmentationNode, segmentId: str
    ) -> list[tuple[tuple[float, float, float], bool]]:
        """Clicks of a segment that hold, RAS mm and whether each is positive; empty where no session is open."""
        from TumorSegLib import Click

        session = self._session(segmentation, segmentId)
        clicks = session.prompts.of(Click) if session is not None else ()
        points = [session.grid.to_ras(click.ijk).tolist() for click in clicks]
        return [((r, a, s), click.positive) for (r, a, s), click in zip(points, clicks)]

    def forgetModel(self, name: str) -> None:
        """Looks a model up again that came, went or changed."""
        self.actions.forgetEngines()
        if isinstance(self.actions.engineSource, EngineCache):
            self.actions.engineSource.forget(name)

    def save(self) -> None:
        """Writes all sessions into the scene, so that they are saved with it; waits for an edit being made."""
        self._store.toScene()

    def saved(self) -> list[Saved]:
        """The sessions that the scene holds; the first action on their segments resumes them."""
        return self._store.fromScene()

    def suvProblem(self, pet: VolumeNode) -> str:
        """Why a volume is not known to be in SUV though it may be, in words; empty where it is.

        Raises:
            SuvError: it cannot be SUV: its unit is another one, or its values are too large.
        """
        from TumorSegLib import SuvError

        arguments.checkNode(pet, arguments.VOLUME, "pet")
        try:
            bridge.volumeFromNode(pet, "pet")
        except SuvError as error:
            bridge.volumeFromNode(pet, "pet", assumeSuv=True)
            return str(error)
        return ""

    def isSuv(self, pet: VolumeNode) -> bool:
        """Whether a volume says that it is in SUV (body weight)."""
        arguments.checkNode(pet, arguments.VOLUME, "pet")
        return bridge.unitOf(pet).lower() in bridge.SUV_UNITS

    def hasDicom(self, volume: VolumeNode) -> bool:
        """Whether the DICOM files that a volume was loaded from are in Slicer's DICOM database."""
        arguments.checkNode(volume, arguments.VOLUME, "volume")
        return bool(dicom_pet.files(volume))

    def suvVolume(self, pet: VolumeNode) -> tuple[VolumeNode, str]:
        """A copy in SUV (body weight, g/ml) of a PET that Slicer loaded from DICOM, which itself stays as it is.

        Returns:
            The copy, the same when called again, and what was done beside the plain rule, in words.

        Raises:
            SuvError: the DICOM files are not in the database, do not say enough, or the volume was changed since.
        """
        arguments.checkNode(pet, arguments.VOLUME, "pet")
        return dicom_pet.suvCopy(pet)

    def _forget(self, nodeId: str, segmentId: str) -> None:
        self.actions.forget(nodeId, segmentId)
        if self.onDropped is not None:
            self.onDropped(nodeId, segmentId)

    def _session(self, segmentation: SegmentationNode, segmentId: str) -> Session | None:
        """The open session of a segment, which may have been deleted meanwhile."""
        arguments.checkKind(segmentation, arguments.SEGMENTATION, "segmentation")
        arguments.checkId(segmentId)
        return self._store.get(segmentation, segmentId)

    @staticmethod
    def _gridOf(segmentation: SegmentationNode, images: Mapping[str, Volume]) -> Grid:
        """A grid for a segment that has no voxels of its own."""
        from TumorSegLib import ArgumentError

        for image in images.values():
            return image.grid
        role = segmentation.GetReferenceImageGeometryReferenceRole()
        reference = segmentation.GetNodeReference(role)
        if reference is None:
            raise ArgumentError(f"segmentation '{segmentation.GetName()}' has no voxels and no volume to measure it on")
        return bridge.gridFromVolume(reference)


@contextmanager
def _chosen(parameters: TumorSegParameters, kind: str, name: str | None) -> Iterator[None]:
    """Chooses a model; the former one is chosen again where the action with it failed."""
    former = parameters.model(kind)
    parameters.chooseModel(kind, name or former)
    try:
        yield
    except BaseException:
        parameters.chooseModel(kind, former)
        raise


def _done(action: Action, progress: Progress | None = None, cancel: Cancel | None = None) -> Any:
    """Does an action here and now and returns its outcome; nothing is installed where packages are missing.

    Raises:
        TumorSegError: as the action, or packages are missing: how to get them.
    """
    try:
        return complete(action, progress, cancel)
    except ImportError as error:
        raise packages.lacking(error) from error
