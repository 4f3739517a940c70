"""Markups in the views: their placing by the user, and the clicks that hold, shown as points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
import vtk

from TumorSegSlicer.mrml.nodes import addMarkups
from TumorSegSlicer.mrml.observers import Listener

#: Colours of positive and negative prompts, red, green and blue from 0 to 1: sky blue and orange of Okabe and Ito
#: (2008), which differ for everyone.
COLOURS = {True: (0.34, 0.71, 0.91), False: (0.90, 0.62, 0.0)}
SHOWN_NAMES = {True: "TumorSeg positive clicks", False: "TumorSeg negative clicks"}
GLYPH_PERCENT = 1.5
POINTS = "vtkMRMLMarkupsFiducialNode"

Ras = tuple[float, float, float]


class Placement:
    """Lets the user place the points of markups in the views, in Slicer's place mode, until that mode ends."""

    def __init__(self, onLeft: Callable[[], None]) -> None:
        """Begins without placing; ``onLeft`` is called once all points are placed, or the user leaves the mode."""
        self._onLeft = onLeft
        self._listener = Listener()
        self._node: slicer.vtkMRMLMarkupsNode | None = None

    @property
    def active(self) -> bool:
        """Whether points are being placed."""
        return self._node is not None

    def begin(self, node: slicer.vtkMRMLMarkupsNode) -> None:
        """Lets the user place the points of this node."""
        self._node, interaction = node, interactionNode()
        slicer.modules.markups.logic().SetActiveList(node)
        interaction.SwitchToSinglePlaceMode()
        self._listener.listen((interaction, interaction.InteractionModeChangedEvent, self._onMode))

    def end(self) -> None:
        """Stops placing; of no effect where none is going on."""
        self._listener.listen()
        if self.active:
            self._node = None
            interactionNode().SwitchToViewTransformMode()

    def _onMode(self, interaction: slicer.vtkMRMLInteractionNode) -> None:
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            # The node must not change within its own event.
            qt.QTimer.singleShot(0, self._leave)

    def _leave(self) -> None:
        if self.active and interactionNode().GetCurrentInteractionMode() != interactionNode().Place:
            self._listener.listen()
            self._node = None
            self._onLeft()


class ShownClicks:
    """The clicks of a segment that hold, as locked points that are not saved with the scene."""

    def __init__(self) -> None:
        self._nodes: dict[bool, slicer.vtkMRMLMarkupsFiducialNode] = {}

    def show(self, clicks: Sequence[tuple[Ras, bool]]) -> None:
        """Shows these, RAS mm of the world and whether it is positive, and no others."""
        for positive in (True, False):
            points = [ras for ras, each in clicks if each is positive]
            if points or self._node(positive) is not None:
                self._fill(positive, points)

    def remove(self) -> None:
        """Takes the points out of the scene."""
        for positive in (True, False):
            node = self._node(positive)
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._nodes = {}

    def _node(self, positive: bool) -> slicer.vtkMRMLMarkupsFiducialNode | None:
        node = self._nodes.get(positive)
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None

    def _fill(self, positive: bool, points: Sequence[Ras]) -> None:
        node = self._node(positive)
        if node is None:
            node = self._nodes[positive] = newMarkups(POINTS, COLOURS[positive], SHOWN_NAMES[positive])
            display = node.GetDisplayNode()
            display.SetGlyphType(display.Circle2D if positive else display.ThickCross2D)
        node.SetLocked(False)
        node.RemoveAllControlPoints()
        for point in points:
            node.AddControlPointWorld(vtk.vtkVector3d(*point))
        node.SetLocked(True)


def interactionNode() -> slicer.vtkMRMLInteractionNode:
    """What the mouse does in the views."""
    return slicer.app.applicationLogic().GetInteractionNode()


def newMarkups(className: str, colour: tuple[float, float, float], name: str) -> slicer.vtkMRMLMarkupsNode:
    """Adds markups that are drawn in a colour, and are not offered by other modules or saved with the scene."""
    node = getattr(slicer, className)()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node = addMarkups(node)
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetColor(colour)
    display.SetSelectedColor(colour)
    display.SetPointLabelsVisibility(False)
    display.SetGlyphScale(GLYPH_PERCENT)
    return node
