"""Lines that the user draws across a lesion in a slice view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.arguments import LINE, asPoints
from TumorSegSlicer.panel.editing.place import COLOURS, Placement, newMarkups


class LineTool:
    """Draws lines until :meth:`end`; each is handed over at its second end and does not stay in the scene."""

    def __init__(self, onDrawn: Callable[[Sequence[Any]], None], onEnded: Callable[[], None]) -> None:
        """Begins without drawing.

        Args:
            onDrawn: called with both ends, RAS mm of the world.
            onEnded: called when the user leaves the place mode without having drawn anything.
        """
        self._onDrawn, self._onEnded = onDrawn, onEnded
        self._placement = Placement(self._onLeft)
        self._node: slicer.vtkMRMLMarkupsLineNode | None = None

    @property
    def active(self) -> bool:
        """Whether lines are drawn."""
        return self._node is not None

    def begin(self) -> None:
        """Lets the user draw lines in any slice view."""
        self.end()
        self._node = newMarkups(LINE, COLOURS[True], _("TumorSeg line"))
        self._placement.begin(self._node)

    def end(self) -> None:
        """Stops drawing; a line of one end is dropped."""
        self._placement.end()
        node, self._node = self._node, None
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def _onLeft(self) -> None:
        node = self._node
        if node is None:
            return
        if node.GetNumberOfDefinedControlPoints() < 2:
            self.end()
            self._onEnded()
            return
        ends = asPoints(node, LINE, "line")
        node.RemoveAllControlPoints()
        self._onDrawn(ends)
        if self._node is node:  # not where its prompt ended the tool
            self._placement.begin(node)
