"""Points that the user places in the views to give clicks, and the clicks that hold, shown as points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
import vtk

from TumorSegSlicer.mrml.nodes import addMarkups, placeBeside
from TumorSegSlicer.mrml.observers import Listener

#: Colours of positive and negative clicks, red, green and blue from 0 to 1.
COLOURS = {True: (0.18, 0.80, 0.44), False: (0.91, 0.30, 0.24)}
PLACED_NAMES = {True: "TumorSeg tumour here", False: "TumorSeg not tumour here"}
SHOWN_NAMES = {True: "TumorSeg positive clicks", False: "TumorSeg negative clicks"}
GLYPH_PERCENT = 1.5
POINTS = "vtkMRMLMarkupsFiducialNode"

Ras = tuple[float, float, float]


class PlaceTool:
    """Places points until :meth:`end`; each is handed over at once and does not stay in the scene."""

    def __init__(self, onPlaced: Callable[[Ras, bool], None], onEnded: Callable[[], None]) -> None:
        """Begins without placing.

        Args:
            onPlaced: called with RAS mm of the world, and whether the point is a positive one.
            onEnded: called when the user leaves the place mode.
        """
        self._onPlaced, self._onEnded = onPlaced, onEnded
        self._listener = Listener()
        self._node: slicer.vtkMRMLMarkupsFiducialNode | None = None
        self._positive = True

    @property
    def active(self) -> bool:
        """Whether points are being placed."""
        return self._node is not None

    @property
    def positive(self) -> bool:
        """Whether points placed now, or last, are positive ones."""
        return self._positive

    def begin(self, positive: bool) -> None:
        """Lets the user place points, positive or negative ones, in any view."""
        self.end()
        self._positive = positive
        self._node = newMarkups(POINTS, COLOURS[positive], PLACED_NAMES[positive])
        interaction = interactionNode()
        slicer.modules.markups.logic().SetActiveList(self._node)
        interaction.SwitchToPersistentPlaceMode()
        self._listener.listen(
            (self._node, self._node.PointPositionDefinedEvent, self._onPoint),
            (interaction, interaction.InteractionModeChangedEvent, self._onMode),
        )

    def end(self) -> None:
        """Stops placing; of no effect where none is going on."""
        self._listener.listen()
        node, self._node = self._node, None
        if node is None:
            return
        interactionNode().SwitchToViewTransformMode()
        if slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def _onPoint(self, _caller: vtk.vtkObject) -> None:
        # The node must not change within its own event.
        qt.QTimer.singleShot(0, self._take)

    def _take(self) -> None:
        node = self._node
        if node is None:
            return
        placed: list[Ras] = []
        for number in reversed(range(node.GetNumberOfControlPoints())):
            if node.GetNthControlPointPositionStatus(number) == node.PositionDefined:
                ras = [0.0, 0.0, 0.0]
                node.GetNthControlPointPositionWorld(number, ras)
                node.RemoveNthControlPoint(number)
                placed.append((ras[0], ras[1], ras[2]))
        for point in reversed(placed):
            self._onPlaced(point, self._positive)

    def _onMode(self, interaction: slicer.vtkMRMLInteractionNode) -> None:
        if interaction.GetCurrentInteractionMode() != interaction.Place:
            qt.QTimer.singleShot(0, self._left)

    def _left(self) -> None:
        if self.active:
            self.end()
            self._onEnded()


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
        node.SetLocked(False)
        node.RemoveAllControlPoints()
        for point in points:
            node.AddControlPointWorld(vtk.vtkVector3d(*point))
        node.SetLocked(True)


def placeBox(
    node: slicer.vtkMRMLMarkupsROINode | None, beside: slicer.vtkMRMLNode | None
) -> slicer.vtkMRMLMarkupsROINode:
    """Lets the user draw a box in a view, into a ROI, whose former box is replaced, or a new one, which is returned.

    A new one lies in the study of the node beside it, if there is one.
    """
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Tumour box")
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetFillOpacity(0.1)
        if beside is not None:
            placeBeside(node, beside)
    else:
        node.RemoveAllControlPoints()
    slicer.modules.markups.logic().SetActiveList(node)
    interactionNode().SwitchToSinglePlaceMode()
    return node


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
