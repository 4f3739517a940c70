"""What actions on segments share: the sessions, the settings, the engines, and where notices go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.arguments import checkSegment
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.work.sessions import Sessions

if TYPE_CHECKING:
    from TumorSegLib import Session
    from TumorSegLib.engines.lazy import EngineSource
    from TumorSegLib.prompts.types import Prompt
    from TumorSegLib.protocols import RunInfo
    from TumorSegSlicer.parameters import TumorSegParameters
    from TumorSegSlicer.work.editing.edits import EditAction
    from TumorSegSlicer.work.segment_session import SegmentSession


@dataclass(eq=False)
class Workbench:
    """What actions on segments share.

    Attributes:
        sessions: of the scene.
        parameterNode: gives the node with the settings, which actions read when they begin.
        engineSource: where engines come from.
        notice: called with a text for the user, while the action continues.
        writing: whether voxels of segments are being written now; changes observed meanwhile were not painted.
        ran: what made the last answer of each model, by its name.
        working: edits that have begun and not ended; one that is abandoned goes with its last reference.
    """

    sessions: Sessions
    parameterNode: Callable[[], slicer.vtkMRMLScriptedModuleNode]
    engineSource: EngineSource
    notice: Callable[[str], None]
    writing: bool = False
    ran: dict[str, RunInfo] = field(default_factory=dict)
    working: WeakSet[EditAction] = field(default_factory=WeakSet)
    _parameters: TumorSegParameters | None = None
    _defaults: dict[tuple[str | None, tuple[str, ...], bool], str] = field(default_factory=dict)

    @property
    def parameters(self) -> TumorSegParameters:
        """The settings in the scene; another object after the scene was closed or read."""
        node = self.parameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            from TumorSegSlicer.parameters import TumorSegParameters  # its classes of nodes come with other modules

            self._parameters = TumorSegParameters(node)
        return self._parameters

    def forgetParameters(self) -> None:
        """Slicer's wrapper keeps values that are out of date after a scene was closed or read into the same node."""
        self._parameters = None

    def open(
        self, node: slicer.vtkMRMLSegmentationNode, segmentId: str, inputs: Mapping[str, Input] | None = None
    ) -> Session:
        """The session of a segment, see :meth:`Sessions.open`; ``ArgumentError`` where there is no such segment.

        While the segment is edited, its session stays the open one, even if the images have changed.
        """
        if self._isEdited(node, segmentId) and self.sessions.isOpen(node, segmentId):
            return self.sessions.of(node, segmentId).session
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

        if self._isEdited(node, segmentId):
            raise TumorSegError(f"segment '{segmentId}' is being edited; wait until that is done, or cancel it")

    def clicksModel(self, opened: SegmentSession, prompt: Prompt | None = None) -> str:
        """The click model that was chosen, or the one that goes with a session and its prompts, and one prompt more.

        The rule is that of the library, see :func:`TumorSegLib.models.registry.default_clicks`; it reads descriptions
        of models, so that its answers are kept.
        """
        chosen: str = self.parameters.clicksModel
        if chosen:
            return chosen
        prompts = [*opened.session.prompts.items, *([] if prompt is None else [prompt])]
        shapes = any(each.point_prompt() is None for each in prompts)
        key = opened.models.get("auto", {}).get("name"), tuple(opened.inputs), shapes
        if key not in self._defaults:
            from TumorSegLib.models.registry import default_clicks

            self._defaults[key] = default_clicks(*key)
        return self._defaults[key]

    def engine(self, kind: str, model: str | None = None) -> Any:
        """The engine of a model of a kind, ``auto``, ``clicks`` or ``box``; of the chosen one by default.

        Raises:
            ModelError: the model is not on this computer, or of another kind; says what to do.
        """
        from TumorSegLib import ModelError
        from TumorSegSlicer.parameters import MODEL_PARAMETERS

        parameters = self.parameters
        name = model or getattr(parameters, MODEL_PARAMETERS[kind])
        if not name:
            raise ModelError(_("No model of kind '{kind}' is chosen: choose one under Advanced.").format(kind=kind))
        try:
            return self.engineSource(kind, name, parameters.device.value, parameters.precision.value)
        except ModelError as error:
            words = _(
                "Model '{name}' cannot be used ({problem}). Choose another, or import or download it (Manage models)."
            )
            raise ModelError(words.format(name=name, problem=error)) from error

    def checkModel(self, kind: str, model: str | None = None) -> None:
        """Raises ``ModelError`` as :meth:`engine`; nothing is loaded."""
        self.engine(kind, model)

    def hasEngine(self, kind: str) -> bool:
        """Whether the chosen model of a kind, ``auto``, ``clicks`` or ``box``, is on this computer."""
        from TumorSegLib import ModelError

        try:
            self.checkModel(kind)
        except ModelError:
            return False
        return True

    def forgetModel(self, name: str) -> None:
        """Looks a model up again that came, went or changed."""
        from TumorSegLib.engines.lazy import EngineCache

        if isinstance(self.engineSource, EngineCache):
            self.engineSource.forget(name)

    def _isEdited(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> bool:
        """Whether an edit of a segment is in its session and not yet in the scene."""
        return any(each.node is node and each.segmentId == segmentId for each in self.working)

    def _checkKnown(self, node: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        """Raises ``ArgumentError`` where no volume is known, or the first one is gone: its clicks would be lost."""
        from TumorSegLib import ArgumentError

        saved, name = self.sessions.head(node, segmentId), node.GetSegmentation().GetSegment(segmentId).GetName()
        if saved is not None and saved.roles and saved.roles[0] not in saved.inputs:
            raise ArgumentError(
                _(
                    "the image that segment '{name}' was made on ({role}) is not in the scene: load it and choose it "
                    "under Images, and its clicks and steps continue"
                ).format(name=name, role=saved.roles[0])
            )
        if saved is None or not saved.inputs:
            raise ArgumentError(
                _(
                    "no volumes are known for segment '{name}': choose them under Images, or in a script give them to "
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
