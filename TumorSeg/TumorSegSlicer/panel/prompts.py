"""The row of prompts: point, scribble, lasso, box, line and brush, one at a time, with one sign."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.session_nodes import firstImage
from TumorSegSlicer.panel.access import colours
from TumorSegSlicer.panel.access.watcher import Watcher
from TumorSegSlicer.panel.ahead.embedding import EmbeddingAhead
from TumorSegSlicer.panel.editing.box import BoxTool, RoiNode, isDrawn
from TumorSegSlicer.panel.editing.draw import KINDS, Drawn, DrawTool, Pen
from TumorSegSlicer.panel.editing.embedded_editor import EmbeddedEditor
from TumorSegSlicer.panel.editing.held import HeldCtrl
from TumorSegSlicer.panel.editing.line import LineTool
from TumorSegSlicer.panel.editing.opening import SegmentOpening
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.messages import answer
from TumorSegSlicer.work.runner import Run

TOOLS = (*KINDS, "box", "line", "brush")
#: Tools that are always tumour, whatever the sign is.
UNSIGNED = ("box", "line")
#: Slicer's tool that the brush is, by the sign.
BRUSHES = {True: "Paint", False: "Erase"}
#: Icons of the mouse by the sign, and their place that points.
CURSORS, HOT_SPOT = {True: "cursor-positive", False: "cursor-negative"}, 11


class PromptPanel:
    """Takes tools up and puts them down, and hands what they draw to the logic."""

    def __init__(
        self,
        context: Context,
        opening: SegmentOpening,
        editor: EmbeddedEditor,
        newSegment: Callable[[Callable[[], None]], None],
        withModel: Callable[[str, Callable[[], None]], None],
    ) -> None:
        """Begins without a tool.

        Args:
            context: what the parts of the panel share.
            opening: opens segments before they are corrected.
            editor: has the brush.
            newSegment: makes a segment to work on, and says so, or says why not; it gets what for.
            withModel: calls a function once the model of a kind is there, which may have to be downloaded.
        """
        self._context, self._opening, self._editor = context, opening, editor
        self._newSegment, self._withModel = newSegment, withModel
        self._positive = True
        cursors = {
            sign: qt.QCursor(qt.QPixmap(colours.iconPath(name)), HOT_SPOT, HOT_SPOT) for sign, name in CURSORS.items()
        }
        self._ctrl = HeldCtrl(self._onCtrl)
        pen = Pen(lambda: self._positive, self._ctrl, lambda: float(context.parameters.penWidthMm), cursors)
        self._draw = DrawTool(pen, self._onDrawn, self._onStopped, self._show)
        self._line = LineTool(self._onLine, self._show)
        self._box = BoxTool(self._onBox, self._show)
        self._ahead = EmbeddingAhead(context)
        self._roi = Listener()
        self._theme = Watcher(("PaletteChange",), lambda _event: self._colour())
        self._connect()
        self._colour()

    @property
    def tool(self) -> str:
        """Which of :data:`TOOLS` is used; empty for none."""
        if self._editor.effect() in BRUSHES.values():
            return "brush"
        return self._draw.kind or ("line" if self._line.active else "box" if self._box.active else "")

    def keyActions(self) -> dict[str, Callable[[], None]]:
        """What the keys do."""
        takers = {name: lambda name=name: self.take(name) for name in TOOLS}
        return {**takers, "sign": self._context.ui.signButton.click, "leave": self.putDown}

    def take(self, name: str) -> None:
        """Takes up one of :data:`TOOLS`, or keeps it; makes a segment to work on where there is none."""
        context = self._context
        if self.tool == name and (context.selection.target() is not None or name == "box"):
            self._show()  # a press has just raised its button
            return
        if context.selection.target() is None and name != "box":
            self._makeSegment(name)
        self.putDown()
        if context.selection.target() is not None or name == "box":
            self._begin(name)
        self._show()

    def putDown(self) -> None:
        """Puts the tool down; what is not finished is dropped."""
        for tool in (self._draw, self._line, self._box):
            tool.end()
        self._editor.stop()
        self._show()

    def editing(self, words: str, nothing: str = "") -> Run:
        """For methods of the logic that edit the selected segment; then says so, or that there was nothing to do."""
        context, target = self._context, self._context.selection.target()

        def onResult(edit: Any) -> None:
            context.edits.add(target)
            volume = context.selection.volumeInWords(target)
            context.messages.say(answer(edit, words).format(volume=volume) if edit is not None else nothing)

        return context.tasks.starting(onResult)

    def update(self) -> None:
        """Shows the settings in the scene, which is another one now; the sign is positive again."""
        self._dropWithoutSegment()
        self._watchBox()
        self._setSign(True)

    def _watchBox(self) -> None:
        roi = self._context.parameters.box
        self._ahead.watch(roi)
        self._roi.listen(*[(roi, roi.PointModifiedEvent, self._onMoved)] if roi is not None else [])
        self._show()

    def close(self) -> None:
        """The panel is going away."""
        self._theme.leave(self._context.ui.strip)
        self._ctrl.watch(False)
        self._ahead.watch(None)
        self._roi.listen()

    def _connect(self) -> None:
        ui = self._context.ui
        for name in TOOLS:
            button = getattr(ui, f"{name}Button")
            button.connect("clicked(bool)", lambda _on, name=name: self.take(name))
        ui.signButton.connect("clicked(bool)", lambda _on: self._onSign())
        ui.boxAgainButton.connect("clicked(bool)", lambda _on: self._onBox(self._context.parameters.box))
        self._theme.watch(ui.strip)
        self._editor.onEffect.connect(self._onEffect)
        self._context.settings.onChanged.connect(self._onParameters)
        self._context.selection.onTarget.connect(self._onTarget)

    def _onParameters(self, changed: set[str]) -> None:
        if "box" in changed:
            self._watchBox()
        if "penWidthMm" in changed:
            self._draw.update()

    def _onMoved(self, _roi: RoiNode) -> None:
        self._show()

    def _onTarget(self) -> None:
        """Another segment is selected: the sign is positive again."""
        self._dropWithoutSegment()
        self._setSign(True)

    def _dropWithoutSegment(self) -> None:
        """Puts the tool down where no segment is selected, and says so."""
        context = self._context
        if not self.tool or context.selection.target() is not None:
            return
        self.putDown()
        words = _("There is no segment any more that the tool works on. Take it up again to begin a new one.")
        if context.parameters.segmentation is not None:
            words = _(
                "No segment is selected, so the tool was put down. Select one in the list, or take the tool up again "
                "to begin a new one."
            )
        context.messages.say(words)

    def _makeSegment(self, name: str) -> None:
        """Makes a segment for a tool, unless one that is being found may come with a segmentation of its own."""
        if self._context.tasks.busy:
            self._context.messages.say(_("Wait for the current task, or cancel it."))
        else:
            self._newSegment(partial(self.take, name))

    # Tools

    def _begin(self, name: str) -> None:
        if name in KINDS:
            self._draw.begin(name)
        elif name == "line":
            self._line.begin()
        elif name == "box":
            images = list(self._context.selection.images().values())
            beside = images[0] if images else self._context.parameters.segmentation
            self._box.begin(self._context.parameters.box, beside)
        else:
            self._context.ui.brushSection.collapsed = False
            self._editor.take(BRUSHES[self._positive])
        self._hint()
        self._warnOfOthers()

    def _hint(self) -> None:
        words = _hints(self._positive).get(self.tool)
        if words:
            self._context.messages.say(words)

    def _warnOfOthers(self) -> None:
        """Says so where the views show another image than those that are worked on."""
        words = self._context.selection.otherShown(list(self._context.selection.images().values()))
        if words:
            self._context.messages.say(words)

    def _onEffect(self) -> None:
        """Another of Slicer's tools is active, or none: drawing in the views ends, and the sign follows the brush."""
        effect = self._editor.effect()
        if effect:
            for tool in (self._draw, self._line, self._box):
                tool.end()
        if effect in BRUSHES.values():
            self._positive = effect == BRUSHES[True]
        self._show()

    def _onSign(self) -> None:
        if self.tool in UNSIGNED:
            self._context.messages.say(_("Boxes and lines are always tumour."))
            return
        self._setSign(not self._positive)
        self._hint()

    def _onCtrl(self) -> None:
        """Ctrl was pressed or released: mouse and strip show the sign of the next prompt."""
        self._draw.update()
        self._show()

    def _setSign(self, positive: bool) -> None:
        self._positive = positive
        if self.tool == "brush":
            self._editor.take(BRUSHES[positive])
        self._draw.update()
        self._show()

    def _colour(self) -> None:
        """Draws icons and sign in the colours of the theme."""
        ui = self._context.ui
        for name in TOOLS:
            button = getattr(ui, f"{name}Button")
            button.setIcon(colours.icon(name, ui.strip.palette))
        self._show()

    def _show(self) -> None:
        ui, tool = self._context.ui, self.tool
        self._ctrl.watch(bool(self._draw.kind))
        positive = tool in UNSIGNED or self._positive != self._ctrl.held
        for name in TOOLS:
            getattr(ui, f"{name}Button").checked = name == tool
        ui.boxAgainButton.enabled = isDrawn(self._context.parameters.box) and not self._box.active
        ui.signButton.text = colours.signWords(positive)
        ui.signButton.accessibleName = _("Next prompt: tumour") if positive else _("Next prompt: not tumour")
        ui.signButton.styleSheet = colours.signStyle(positive, ui.strip.palette)

    # What was drawn

    def _onStopped(self) -> None:
        self._context.messages.say(_("The slice moved while you drew on it; nothing was changed. Draw again."))

    def _onDrawn(self, drawn: Drawn) -> None:
        target = self._context.selection.target()
        if target is None:
            self._dropWithoutSegment()
            return
        if not self._opening.opened(target, lambda: self._onDrawn(drawn)):
            return
        logic, editing = self._context.logic, self.editing
        self._context.noteOtherShown(logic.inputs(*target))
        words = _("The model followed what you drew. Segment now: {volume}")
        if drawn.kind == "point":
            words = _("Added. Segment now: {volume}") if drawn.positive else _("Removed. Segment now: {volume}")
            logic.addClick(*target, drawn.points[0], drawn.positive, run=editing(words))
        elif drawn.kind == "lasso":
            logic.addLasso(*target, drawn.points, drawn.positive, run=editing(words))
        else:
            width = self._context.parameters.penWidthMm
            logic.addScribble(*target, drawn.points, drawn.positive, width, drawn.normal, run=editing(words))

    def _onLine(self, ends: object) -> None:
        target = self._context.selection.target()
        if target is None:
            self._dropWithoutSegment()
        elif self._opening.opened(target, lambda: self._onLine(ends)):
            words = _("The model followed what you drew. Segment now: {volume}")
            self._context.noteOtherShown(self._context.logic.inputs(*target))
            self._context.logic.addLine(*target, ends, run=self.editing(words))

    def _onBox(self, roi: RoiNode) -> None:
        """Segments in a box, where a model is there for it; makes a segment where there is none."""
        context = self._context
        context.parameters.box = roi
        self._show()
        if context.selection.target() is None and context.tasks.busy:
            context.messages.say(_("Wait for the current task, or cancel it; then press Again."))
            return
        before = context.selection.target()

        def go() -> None:  # after a download, during which the user may have gone on to something else
            if (context.selection.target(), context.parameters.box) == (before, roi):
                self._segmentInBox(roi)

        self._withModel("box", go)

    def _segmentInBox(self, roi: RoiNode) -> None:
        context = self._context
        again = partial(self._segmentInBox, roi)
        if context.selection.target() is None:
            self._newSegment(again)
        target = context.selection.target()
        if target is None or not self._opening.opened(target, again):
            return
        words = _("Segmented in the box. Segment now: {volume}")
        context.noteOtherShown(context.logic.inputs(*target))
        if 1 in firstImage(context.logic.inputs(*target)).GetImageData().GetDimensions():
            words = _("The image has one slice: the box counts on it alone. Segment now: {volume}")
        context.logic.addBox(*target, roi, run=self.editing(words))


def _hints(positive: bool) -> dict[str, str]:
    """Tool to how it is used."""
    if positive:
        signed = {
            "point": _("Click on the lesion in a slice view. Ctrl+click: not tumour."),
            "scribble": _("Draw on the lesion in a slice view. With Ctrl: not tumour."),
            "lasso": _("Draw round the lesion in a slice view. With Ctrl: not tumour."),
            "brush": _("Paint on the lesion in a slice view."),
        }
    else:
        signed = {
            "point": _("Click in a slice view on what is not tumour. Ctrl+click: tumour."),
            "scribble": _("Draw in a slice view on what is not tumour. With Ctrl: tumour."),
            "lasso": _("Draw in a slice view round what is not tumour. With Ctrl: tumour."),
            "brush": _("Erase in a slice view what is not tumour."),
        }
    return {
        **signed,
        "box": _("Click on two opposite corners of a box round the lesion in a slice view."),
        "line": _("Click on both ends of the longest diameter of the lesion, on one slice."),
    }
