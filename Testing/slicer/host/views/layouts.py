"""``slicer.app.layoutManager()``: Slicer's own logic of layouts, with slice views and no 3D view."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from Testing.slicer.host.application import Signals
from Testing.slicer.host.views.slice_views import VIEWS, SliceView, SliceWidget


class LayoutManager(Signals):
    """The three slice views of the conventional layout; other layouts add their slice views and hide the others."""

    SIGNALS = ("layoutChanged(int)",)
    threeDViewCount = 0

    def __init__(self, application_logic: Any, scene: Any) -> None:
        super().__init__()
        self._application_logic, self._scene = application_logic, scene
        self._viewport = QtWidgets.QWidget()
        self._grid = QtWidgets.QGridLayout(self._viewport)
        self._grid.setContentsMargins(2, 2, 2, 2)
        self._widgets: dict[str, SliceWidget] = {}
        self._logic: Any = None
        for name, orientation, (row, column), colour in VIEWS:
            self._add(name, orientation, row, column, colour)

    def _add(self, name: str, orientation: str, row: int, column: int, colour: str) -> None:
        widget = SliceWidget(SliceView(self._application_logic, self._scene, name, orientation), colour)
        self._grid.addWidget(widget, row, column)
        self._widgets[name] = widget

    # As in Slicer

    def layoutLogic(self) -> Any:
        if self._logic is None:
            self._logic = slicer.vtkMRMLLayoutLogic()
            self._logic.SetMRMLApplicationLogic(self._application_logic)
            self._logic.SetMRMLScene(self._scene)
            node = self._logic.GetLayoutNode()
            node.SetViewArrangement(node.SlicerLayoutConventionalView)
            node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show_layout())
        return self._logic

    @property
    def layout(self) -> int:
        usual = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
        return int(self._logic.GetLayoutNode().GetViewArrangement() if self._logic is not None else usual)

    def setLayout(self, layout: int) -> None:
        node = self.layoutLogic().GetLayoutNode()
        if not node.IsLayoutDescription(layout):
            raise ValueError(f"there is no layout {layout}")
        node.SetViewArrangement(layout)

    def sliceViewNames(self) -> list[str]:
        return list(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._application_logic.GetSliceLogics()

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        """There is none to reset."""

    def viewport(self) -> QtWidgets.QWidget:
        return self._viewport

    # For the host

    def _show_layout(self) -> None:
        nodes = self._logic.GetViewNodes()
        nodes = [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
        slices = {node.GetLayoutName(): node for node in nodes if node.IsA("vtkMRMLSliceNode")}
        for number, (name, node) in enumerate(slices.items()):
            if name not in self._widgets:
                self._add(name, node.GetOrientation(), 2 + number // 2, number % 2, "#808080")
        for name, widget in self._widgets.items():
            widget.setVisible(name in slices)
        self.send("layoutChanged(int)", self.layout)

    def reset(self) -> None:
        """Back to the three views; the nodes of others are taken out of the scene."""
        self.disconnect_all()
        if self._logic is None:
            return
        node = self._logic.GetLayoutNode()
        node.SetViewArrangement(node.SlicerLayoutConventionalView)
        self._let_go()
        for name in [name for name in self._widgets if name not in [view[0] for view in VIEWS]]:
            widget = self._widgets.pop(name)
            nodes = widget.mrmlSliceNode(), widget.mrmlSliceCompositeNode()
            self._application_logic.GetSliceLogics().RemoveItem(widget.sliceLogic())
            widget.sliceView().close_view()
            widget.setParent(None)
            for node in nodes:
                if self._scene.IsNodePresent(node):
                    self._scene.RemoveNode(node)
        for node in slicer.util.getNodesByClass("vtkMRMLViewNode"):  # of the 3D view that the host has none for
            self._scene.RemoveNode(node)

    def _let_go(self) -> None:
        if self._logic is not None:
            self._logic.GetLayoutNode().RemoveAllObservers()
            self._logic.SetMRMLScene(None)
            self._logic = None

    def close(self) -> None:
        """Lets go of the scene."""
        self._let_go()
        for widget in self._widgets.values():
            widget.sliceView().close_view()
