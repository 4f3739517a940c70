"""Lines and lassos that the user draws in a slice view to give prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.arguments import CURVE, LINE, asPoints
from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.panel.editing.place import COLOURS, interactionNode, newMarkups

#: Shape to the class of its node, and the colour it is drawn in.
SHAPES = {
    "line": (LINE, COLOURS[True]),
    "lasso": (CURVE, COLOURS[True]),
    "negativeLasso": (CURVE, COLOURS[False]),
}


class ShapeTool:
    """Draws shapes of one kind until :meth:`end`; each is handed over once finished and does not stay in the scene.

    Slicer ends a line at its second point, and a curve at a click with the right button; both end the place mode, which
    is begun again for the next shape.
    """

    def __init__(self, onDrawn: Callable[[str, Sequence[Any]], None], onEnded: Callable[[], None]) -> None:
        """Begins without drawing.

        Args:
            onDrawn: called with the shape and its points, RAS mm of the world; those of a lasso follow its curve.
            onEnded: called when the user leaves the place mode without having drawn anything.
        """
        self._onDrawn, self._onEnded = onDrawn, onEnded
        self._listener = Listener()
        self._node: slicer.vtkMRMLMarkupsNode | None = None
        #: The shape that is being drawn; empty where none is.
        self.shape = ""

    def begin(self, shape: str) -> None:
        """Lets the user draw shapes of a kind of :data:`SHAPES`, in any slice view."""
        self.end()
        self.shape = shape
        self._node = newMarkups(*SHAPES[shape], name=_("TumorSeg {shape}").format(shape=shape))
        self._place()

    def end(self) -> None:
        """Stops drawing; what is not finished is dropped."""
        self._listener.listen()
        node, self._node, self.shape = self._node, None, ""
        if node is None:
            return
        interactionNode().SwitchToViewTransformMode()
        if slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def _place(self) -> None:
        interaction = interactionNode()
        slicer.modules.markups.logic().SetActiveList(self._node)
        interaction.SwitchToSinglePlaceMode()
        self._listener.listen((interaction, interaction.InteractionModeChangedEvent, self._onMode))

    def _onMode(self, interaction: slicer.vtkMRMLInteractionNode) -> None:
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            # The node must not change within its own event.
            qt.QTimer.singleShot(0, self._left)

    def _left(self) -> None:
        node, shape = self._node, self.shape
        if node is None or interactionNode().GetCurrentInteractionMode() == interactionNode().Place:
            return
        if node.GetNumberOfDefinedControlPoints() < (2 if shape == "line" else 1):
            self.end()
            self._onEnded()
            return
        points = asPoints(node, SHAPES[shape][0], "shape")
        node.RemoveAllControlPoints()
        self._onDrawn(shape, points)
        if self._node is node:  # not where its prompt ended the tool
            self._place()
