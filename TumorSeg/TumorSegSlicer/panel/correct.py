"""The part of the panel that corrects: segments, clicks, box, undo, Slicer's own tools."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.overlays import shownImages
from TumorSegSlicer.mrml.session_nodes import Input, firstImage
from TumorSegSlicer.panel.editing.brush import Brush
from TumorSegSlicer.panel.editing.embedded_editor import EmbeddedEditor
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.editing.place import PlaceTool, ShownClicks, interactionNode, placeBox
from TumorSegSlicer.panel.editing.shapes import SHAPES, ShapeTool
from TumorSegSlicer.panel.embedding_ahead import EmbeddingAhead
from TumorSegSlicer.panel.possible_steps import PossibleSteps
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.messages import answer
from TumorSegSlicer.parameters import IMAGES
from TumorSegSlicer.work.runner import Run

#: Tools that draw in the views: those that place points, with what the points say, and shapes.
SIGNS = {"positive": True, "negative": False}
TOOLS = (*SIGNS, *SHAPES)


class CorrectPanel:
    """Chooses a segment and corrects it."""

    def __init__(
        self,
        context: Context,
        opening: SegmentOpening,
        inputs: Callable[[], dict[str, Input] | None],
        withModel: Callable[[str, Callable[[], None]], None],
    ) -> None:
        """Begins without a tool.

        Args:
            context: what the parts of the panel share.
            opening: opens segments before they are corrected.
            inputs: gives the images chosen.
            withModel: calls a function once the model of a kind is there, which may have to be downloaded.
        """
        self._context, self._inputs, self._withModel = context, inputs, withModel
        self._opening = opening
        self._tool = PlaceTool(self._onPlaced, self._showTool)
        self._shapes = ShapeTool(self._onDrawn, self._showTool)
        self._clicks = ShownClicks()
        self._editor = EmbeddedEditor(context, opening)
        self._brush = Brush(context, self._editor.effect)
        self._ahead = EmbeddingAhead(context)
        self._steps = PossibleSteps(context)
        self._listener = Listener()
        self._connect()
        context.settings.onChanged.connect(self._onParameters)
        context.selection.onTarget.connect(self._onTarget)
        context.edits.onEdited.connect(self._showClicks)
        opening.onOpened.connect(self._editor.show)

    def keyActions(self) -> dict[str, Callable[[], None]]:
        """What the keys do."""
        ui = self._context.ui
        return {
            "positive": ui.positiveButton.click,
            "negative": ui.negativeButton.click,
            "lasso": ui.lassoButton.click,
            "negativeLasso": ui.negativeLassoButton.click,
            "line": ui.lineButton.click,
            "box": ui.placeBoxButton.click,
            "paint": lambda: self._toggleEffect("Paint"),
            "erase": lambda: self._toggleEffect("Erase"),
            "undo": ui.undoButton.click,
            "redo": ui.redoButton.click,
            "visibility": self._toggleVisibility,
            "next": self._selectNext,
        }

    def stopTools(self) -> None:
        """Deactivates all tools."""
        self._endDrawing()
        self._editor.stop()

    def batchEnded(self) -> None:
        """Shows the selection in Slicer's tools, which ignore updates during batch processing."""
        self._editor.show()

    def close(self) -> None:
        """The panel is going away."""
        self._clicks.remove()
        self._listener.listen()
        self._editor.close()
        self._brush.watch(None)
        self._ahead.watch(None)

    def editing(self, words: str, nothing: str = "") -> Run:
        """For methods of the logic that edit the selected segment; then says so, or that there was nothing to do."""
        context, target = self._context, self._context.selection.target()

        def onResult(edit: Any) -> None:
            context.edits.add(target)
            volume = context.selection.volumeInWords(target)
            context.messages.say(answer(edit, words).format(volume=volume) if edit is not None else nothing)

        return context.tasks.starting(onResult)

    def resume(self) -> None:
        """Goes on with the saved session of the selected segment, if there is one, so that its clicks are shown."""
        context, target = self._context, self._context.selection.target()
        if target is None or not context.packages.complete or context.logic.hasSession(*target):
            return
        if not context.logic.inputs(*target):
            return
        try:
            upToDate = context.logic.resume(*target)
        except Exception as error:  # no dialog, since the user has not started anything
            context.messages.say(str(error))
            return
        self._showClicks()
        self._steps.update()
        if upToDate:
            words = _("Saved work restored. Segment: {volume}")
            context.messages.say(words.format(volume=context.selection.volumeInWords(target)))
        else:  # saved before the last step was noted, or painted elsewhere since
            self._brush.wait()

    def update(self) -> None:
        """Shows the settings in the scene."""
        self._editor.update()
        self._showTarget()
        self._ahead.watch(self._context.parameters.box)
        self._showTool()
        self._steps.update()

    def _connect(self) -> None:
        ui = self._context.ui
        ui.segmentsTable.connect("selectionChanged(QItemSelection,QItemSelection)", self._onSelected)
        ui.newSegmentButton.connect("clicked(bool)", self._onNewSegment)
        for name in TOOLS:
            getattr(ui, f"{name}Button").connect("clicked(bool)", lambda on, name=name: self._onTool(name, on))
        ui.placeBoxButton.connect("clicked(bool)", self._onPlaceBox)
        ui.boxButton.connect("clicked(bool)", self._onBox)
        for name, words, nothing in (
            ("undo", _("Undone. Segment now: {volume}"), _("Nothing to undo.")),
            ("redo", _("Redone. Segment now: {volume}"), _("Nothing to redo.")),
            ("reset", _("Reset to the initial segment: {volume}"), ""),
        ):
            act = functools.partial(self._act, name, words, nothing)
            getattr(ui, f"{name}Button").connect("clicked(bool)", lambda _on, act=act: act())

    def _onParameters(self, changed: set[str]) -> None:
        parameters = self._context.parameters
        if "segmentation" in changed:
            node = parameters.segmentation
            self._context.selection.setTarget(node, self._firstSegment(node) if node is not None else "")
        if "box" in changed:
            self._ahead.watch(parameters.box)
        if changed.intersection(IMAGES):
            self._editor.show()

    # Segments

    def _firstSegment(self, node: slicer.vtkMRMLSegmentationNode) -> str:
        """The segment to begin with: one worked on before, or the only one.

        Of several from elsewhere there is none, or a click would change an organ that happens to be the first.
        """
        ids = list(node.GetSegmentation().GetSegmentIDs())
        known = [each for each in ids if self._context.logic.inputs(node, each)]
        return (known or (ids if len(ids) == 1 else [""]))[0]

    def _onSelected(self, *_selections: Any) -> None:
        table = self._context.ui.segmentsTable
        node, selected = table.segmentationNode(), list(table.selectedSegmentIDs())
        if node is not None and node is self._context.parameters.segmentation and selected:
            self._context.selection.setTarget(node, selected[0])

    def _onRemoved(self, _segmentation: vtk.vtkObject) -> None:
        # The segment is still there in this event.
        qt.QTimer.singleShot(0, self._leaveRemoved)

    def _leaveRemoved(self) -> None:
        """Works on another segment where the selected one was deleted."""
        context, node = self._context, self._context.parameters.segmentation
        if node is not None and context.parameters.segmentId and context.selection.target() is None:
            context.selection.setTarget(node, self._firstSegment(node))
            context.messages.say(_("The segment was deleted."))

    def _onNewSegment(self, _checked: bool = False) -> None:
        if self._context.tasks.busy:  # a segment that is being found may come with a segmentation of its own
            self._context.messages.say(_("Wait for the current task, or cancel it."))
        else:
            self._addSegment()

    def _addSegment(self) -> None:
        context = self._context
        inputs = self._inputs() if context.packages.ready() else None
        if inputs is None:
            return
        node = context.parameters.segmentation
        if not self._opening.madeEditable(node, inputs):
            return
        target = context.messages.attempt(lambda: context.logic.addSegment(inputs, node))
        if target is not None:
            context.selection.setTarget(*target)
            context.messages.say(
                _("New segment: click on the tumour, or draw a line across it, or a box or a lasso round it.")
            )

    def _onTarget(self) -> None:
        """Another segment is selected: clicks and lassos are positive again."""
        self._showTarget()
        if self._context.selection.target() is None:
            self._endDrawing()
        if self._tool.active and not self._tool.positive:
            self._tool.begin(True)
        if self._shapes.shape == "negativeLasso":
            self._shapes.begin("lasso")
        self._showTool()

    def _showTarget(self) -> None:
        ui, parameters = self._context.ui, self._context.parameters
        node, segmentId = parameters.segmentation, parameters.segmentId
        ui.segmentsTable.setSegmentationNode(node)
        ui.segmentsTable.setSelectedSegmentIDs([segmentId] if segmentId else [])
        self._editor.show()
        self._brush.watch(node)
        if node is None:
            self._listener.listen()
        else:
            self._listener.listen((node.GetSegmentation(), slicer.vtkSegmentation.SegmentRemoved, self._onRemoved))
        self._showClicks()

    def _selectNext(self) -> None:
        node = self._context.parameters.segmentation
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        if ids:
            now = self._context.parameters.segmentId
            self._context.selection.setTarget(node, ids[(ids.index(now) + 1) % len(ids)] if now in ids else ids[0])

    def _toggleVisibility(self) -> None:
        node, segmentId = self._context.selection.target() or (None, "")
        display = node.GetDisplayNode() if node is not None else None
        if display is not None:
            display.SetSegmentVisibility(segmentId, not display.GetSegmentVisibility(segmentId))

    # Tools

    def _toggleEffect(self, effect: str) -> None:
        """Activates one of Slicer's tools, or deactivates it; makes a segment to paint on where there is none."""
        if self._context.selection.target() is None:
            self._onNewSegment()
        self._context.ui.brushSection.collapsed = False
        self._editor.toggle(effect)

    def _onTool(self, name: str, on: bool) -> None:
        """Takes up one of :data:`TOOLS`, or puts it down; makes a segment to work on where there is none."""
        if on and self._context.selection.target() is None:
            self._onNewSegment()
        self._endDrawing()
        if on and self._context.selection.target() is not None:
            if name in SIGNS:
                self._tool.begin(SIGNS[name])
            else:
                self._shapes.begin(name)
                self._context.messages.say(_hint(name))
            self._warnOfOthers()
        self._showTool()

    def _warnOfOthers(self) -> None:
        """Says so where the views show another image than those that are worked on."""
        shown, chosen = shownImages(), list(self._context.selection.images().values())
        if shown and chosen and shown[0] not in chosen:
            words = _("The views show '{shown}', but '{chosen}' is segmented: choose the image under Images.")
            self._context.messages.say(words.format(shown=shown[0].GetName(), chosen=chosen[0].GetName()))

    def _endDrawing(self) -> None:
        """Puts the tool down that draws in the views."""
        self._tool.end()
        self._shapes.end()
        self._showTool()

    def _showTool(self) -> None:
        for name in TOOLS:
            points = self._tool.active and SIGNS.get(name) is self._tool.positive
            getattr(self._context.ui, f"{name}Button").checked = points or name == self._shapes.shape

    def _onPlaced(self, ras: tuple[float, float, float], positive: bool) -> None:
        target = self._context.selection.target()
        if target is not None and self._opening.opened(target):
            words = _("Added. Segment now: {volume}") if positive else _("Removed. Segment now: {volume}")
            self._context.logic.addClick(*target, ras, positive, run=self.editing(words))

    def _onDrawn(self, shape: str, points: Sequence[Any]) -> None:
        target = self._context.selection.target()
        if target is None or not self._opening.opened(target):
            return
        logic, words = self._context.logic, _("The model followed what you drew. Segment now: {volume}")
        if shape == "line":
            logic.addLine(*target, points, run=self.editing(words))
        else:
            logic.addLasso(*target, points, shape == "lasso", run=self.editing(words))

    def _showClicks(self) -> None:
        target = self._context.selection.target()
        self._clicks.show(self._context.logic.clickPoints(*target) if target is not None else [])

    # Box, undo, other segments

    def _onPlaceBox(self, _checked: bool) -> None:
        self._endDrawing()
        images = list(self._context.selection.images().values())
        beside = images[0] if images else self._context.parameters.segmentation
        self._context.parameters.box = placeBox(self._context.parameters.box, beside)
        self._context.messages.say(
            _("Draw a box around the tumour in a slice view, check it in the other views, then press Segment in box.")
        )

    def _onBox(self, _checked: bool) -> None:
        context = self._context
        roi = context.parameters.box
        if roi is None or min(roi.GetSize()) <= 0:
            context.messages.say(_("Draw a box around the tumour first."))
            return
        if context.selection.target() is None and context.tasks.busy:
            context.messages.say(_("Wait for the current task, or cancel it."))
            return
        interactionNode().SwitchToViewTransformMode()
        before = context.selection.target()

        def go() -> None:  # after a download, during which the user may have gone on to something else
            if (context.selection.target(), context.parameters.box) == (before, roi):
                self._segmentInBox(roi)

        self._withModel("box", go)

    def _segmentInBox(self, roi: slicer.vtkMRMLMarkupsROINode) -> None:
        context = self._context
        if context.selection.target() is None:
            self._addSegment()
        target = context.selection.target()
        if target is None or not self._opening.opened(target):
            return
        words = _("Segmented in the box. Segment now: {volume}")
        if 1 in firstImage(context.logic.inputs(*target)).GetImageData().GetDimensions():
            words = _("The image has one slice: the box counts on it alone. Segment now: {volume}")
        context.logic.addBox(*target, roi, run=self.editing(words))

    def _act(self, name: str, words: str, nothing: str) -> None:
        target = self._context.selection.target()
        if target is not None and self._opening.opened(target):
            getattr(self._context.logic, name)(*target, run=self.editing(words, nothing))


def _hint(shape: str) -> str:
    """How a shape is drawn."""
    if shape == "line":
        return _("Click on both ends of the longest diameter of the tumour, on one slice.")
    return _("Click round the area, on one slice; a click with the right button closes the curve.")
