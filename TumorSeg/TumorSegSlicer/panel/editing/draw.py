"""Points, scribbles and lassos that the user draws in the slice views with the mouse.

Slicer's own place mode serves neither: it takes no points with Ctrl held, and draws no strokes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import qt
import slicer
import vtk

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.editing.canvas import Canvas, Pixel
from TumorSegSlicer.panel.editing.held import HeldCtrl
from TumorSegSlicer.panel.editing.place import COLOURS, Ras, interactionNode

KINDS = ("point", "scribble", "lasso")
#: Before Slicer's own tools, whose Segment Editor has 1, so that a stroke neither pans nor changes the window.
PRIORITY = 10.0


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        kind: one of :data:`KINDS`.
        points: RAS mm of the world, in order; those of a lasso go round.
        normal: of the slice, RAS.
        positive: whether it is about tumour.
    """

    kind: str
    points: list[Ras]
    normal: Ras
    positive: bool


@dataclass(frozen=True)
class Pen:
    """What is asked while the user draws.

    Attributes:
        positive: the sign of the next prompt, unless Ctrl is held, which turns it.
        ctrl: whether it is held.
        widthMm: the width of the pen of scribbles.
        cursors: what the mouse looks like for each sign.
    """

    positive: Callable[[], bool]
    ctrl: HeldCtrl
    widthMm: Callable[[], float]
    cursors: Mapping[bool, qt.QCursor]


class DrawTool:
    """Draws until :meth:`end` with the left button; each prompt is handed over when the button is released.

    Held Ctrl turns the sign of what is drawn with it. Other buttons, the wheel and Shift go on doing what they do in
    Slicer.
    """

    def __init__(
        self, pen: Pen, onDrawn: Callable[[Drawn], None], onStopped: Callable[[], None], onEnded: Callable[[], None]
    ) -> None:
        """Begins without drawing.

        Args:
            pen: what it draws with.
            onDrawn: called with each prompt.
            onStopped: called when a stroke was dropped, as the slice in its view changed.
            onEnded: called when the user takes another of Slicer's mouse modes.
        """
        self._pen, self._onDrawn, self._onStopped, self._onEnded = pen, onDrawn, onStopped, onEnded
        self._views, self._mode = Listener(), Listener()
        self._canvases: dict[vtk.vtkRenderWindowInteractor, Canvas] = {}
        self._stroke: _Stroke | None = None
        #: What is drawn; empty where nothing is.
        self.kind = ""

    def begin(self, kind: str) -> None:
        """Lets the user draw prompts of one of :data:`KINDS`, in any slice view."""
        self.end()
        self.kind = kind
        interaction = interactionNode()
        interaction.SwitchToViewTransformMode()
        self._mode.listen((interaction, interaction.InteractionModeChangedEvent, self._onMode))
        slicer.app.layoutManager().connect("layoutChanged(int)", self._onLayout)
        self._watchViews()

    def end(self) -> None:
        """Stops drawing; a stroke whose button is still down is dropped. Of no effect where nothing is drawn."""
        if not self.kind:
            return
        self.kind = ""
        self._mode.listen()
        slicer.app.layoutManager().disconnect("layoutChanged(int)", self._onLayout)
        self._leaveViews()

    def update(self) -> None:
        """Shows the sign and the width of the pen."""
        for canvas in self._canvases.values():
            self._showCursor(canvas, self._sign())

    def _watchViews(self) -> None:
        manager = slicer.app.layoutManager()
        widgets = [manager.sliceWidget(name) for name in manager.sliceViewNames()]
        canvases = [Canvas(widget) for widget in widgets if widget is not None]
        self._canvases = {canvas.interactor: canvas for canvas in canvases}
        events = vtk.vtkCommand
        self._views.listen(
            *(
                (interactor, event, method, None, PRIORITY)
                for interactor in self._canvases
                for event, method in (
                    (events.LeftButtonPressEvent, self._onPress),
                    (events.LeftButtonDoubleClickEvent, self._onPress),  # which would enlarge the view
                    (events.MouseMoveEvent, self._onMove),
                    (events.LeftButtonReleaseEvent, self._onRelease),
                    (events.LeaveEvent, self._onLeave),
                )
            )
        )
        self.update()

    def _leaveViews(self) -> None:
        self._views.listen()
        self._stroke = None
        for canvas in self._canvases.values():
            canvas.remove()
        self._canvases = {}

    def _onLayout(self, _layout: int = 0) -> None:
        """Other views are shown, new ones among them."""
        self._leaveViews()
        self._watchViews()

    def _onMode(self, interaction: slicer.vtkMRMLInteractionNode) -> None:
        if interaction.GetCurrentInteractionMode() != interaction.ViewTransform:
            self.end()
            self._onEnded()

    # The mouse

    def _onPress(self, interactor: vtk.vtkRenderWindowInteractor) -> bool:
        if interactor.GetShiftKey():
            return False
        canvas = self._canvases[interactor]
        self._stroke = _Stroke(canvas, self._signHeld(interactor), canvas.slice(), [canvas.mouse()])
        self._show(self._stroke)
        return True

    def _onMove(self, interactor: vtk.vtkRenderWindowInteractor) -> bool:
        stroke, canvas = self._stroke, self._canvases[interactor]
        if stroke is None or stroke.canvas is not canvas:
            self._showCursor(canvas, self._signHeld(interactor), canvas.mouse())
            return False
        if canvas.slice() != stroke.slice:
            self._drop(stroke)  # the rest of it would lie on another slice
            self._onStopped()
        elif canvas.mouse() != stroke.pixels[-1]:
            stroke.pixels.append(canvas.mouse())
            self._show(stroke)
        return True

    def _onRelease(self, interactor: vtk.vtkRenderWindowInteractor) -> bool:
        stroke = self._stroke
        if stroke is None:
            return False
        self._onMove(interactor)
        if self._stroke is not None:
            self._drop(stroke)
            pixels = stroke.pixels[-1:] if self.kind == "point" else stroke.pixels
            drawn = Drawn(self.kind, stroke.canvas.toRas(pixels), stroke.canvas.normal(), stroke.positive)
            # What it leads to, questions perhaps, does not begin within the event of a view.
            qt.QTimer.singleShot(0, partial(self._handOver, drawn))
        return True

    def _handOver(self, drawn: Drawn) -> None:
        self._onDrawn(drawn)

    def _onLeave(self, interactor: vtk.vtkRenderWindowInteractor) -> bool:
        self._showCursor(self._canvases[interactor], self._sign())
        return False

    def _signHeld(self, interactor: vtk.vtkRenderWindowInteractor) -> bool:
        """The sign of what is drawn now."""
        self._pen.ctrl.tell(bool(interactor.GetControlKey()))
        return self._sign()

    def _sign(self) -> bool:
        return self._pen.positive() != self._pen.ctrl.held

    def _drop(self, stroke: _Stroke) -> None:
        self._stroke = None
        stroke.canvas.draw([], COLOURS[True])

    # What is shown

    def _show(self, stroke: _Stroke) -> None:
        if self.kind == "point":
            return
        width = self._pen.widthMm() if self.kind == "scribble" else 0.0
        stroke.canvas.draw(stroke.pixels, COLOURS[stroke.positive], width, closed=self.kind == "lasso")

    def _showCursor(self, canvas: Canvas, positive: bool, at: Pixel | None = None) -> None:
        canvas.setCursor(self._pen.cursors[positive])
        if self.kind == "scribble":
            canvas.showPen(at, COLOURS[positive], self._pen.widthMm())


@dataclass(frozen=True)
class _Stroke:
    """What is being drawn: where, its sign, the slice that was shown when it began, and the way of the mouse."""

    canvas: Canvas
    positive: bool
    slice: tuple[float, ...]
    pixels: list[Pixel]
