"""Two images beside each other in linked slice views, such as two examinations of a patient."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from TumorSegSlicer.mrml.observers import Listener
from TumorSegSlicer.mrml.overlays import SECOND_VIEWS
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.parameters import IMAGES

#: Of the layout in Slicer's list; those of Slicer itself are below 100.
LAYOUT = 48217
#: Views of the first image, which Slicer has, and of the second, which are made.
VIEWS = (("Red", SECOND_VIEWS[0], "Axial"), ("Green", SECOND_VIEWS[1], "Coronal"))
_VIEW = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
    '<property name="orientation" action="default">{orientation}</property>'
    '<property name="viewlabel" action="default">{label}</property>'
    '<property name="viewcolor" action="default">{colour}</property></view></item>'
)
_COLOURS = {"Axial": "#F34A33", "Coronal": "#6EB04B"}


class SideBySide:
    """The button; the views are as they were once it is released, or the user chooses another layout."""

    def __init__(self, context: Context) -> None:
        """Begins with the views as they are."""
        self._context, self._listener = context, Listener()
        self._former = 0  # layout before
        self._first: Any = None
        self._links: dict[Any, bool] = {}  # of views that were linked, or not, before
        context.ui.sideBySideButton.connect("toggled(bool)", self._onToggled)
        context.settings.onChanged.connect(self._onParameters)
        context.ui.secondImageSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onSecond)

    def update(self) -> None:
        """A scene that was saved with this layout is shown in Slicer's usual one."""
        manager = slicer.app.layoutManager()
        if manager is not None and manager.layout == LAYOUT and not self._former:
            manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)

    def close(self) -> None:
        """The scene is being closed, or the panel is going away: the views are as they were."""
        self._context.ui.sideBySideButton.checked = False

    def _onToggled(self, on: bool) -> None:
        manager = slicer.app.layoutManager()
        if not on:
            self._end(manager)
        elif manager is not None:
            self._begin(manager)

    def _begin(self, manager: Any) -> None:
        ui, context = self._context.ui, self._context
        second, first = ui.secondImageSelector.currentNode(), next(iter(context.selection.images().values()), None)
        if second is None or first is None:
            ui.sideBySideButton.checked = False
            context.messages.say(_("Choose an image above, and beside the button the one to compare it with."))
            return
        node = manager.layoutLogic().GetLayoutNode()
        if not node.IsLayoutDescription(LAYOUT):
            node.AddLayoutDescription(LAYOUT, _description())
        self._former, self._first = manager.layout, first
        manager.setLayout(LAYOUT)
        self._showFirst(manager, first)
        self._showSecond(manager, second)
        self._link(manager)
        self._listener.listen((node, vtk.vtkCommand.ModifiedEvent, self._onLayout))

    def _end(self, manager: Any) -> None:
        self._listener.listen()
        for composite, linked in self._links.items():
            composite.SetLinkedControl(linked)
        former, self._former, self._first, self._links = self._former, 0, None, {}
        if former and manager is not None and manager.layout == LAYOUT:
            manager.setLayout(former)

    def _onLayout(self, node: vtk.vtkObject) -> None:
        """The user chose another layout, or a scene brought one."""
        if node.GetViewArrangement() != LAYOUT:
            self._context.ui.sideBySideButton.checked = False

    def _onParameters(self, changed: set[str]) -> None:
        """Another first image is shown in place of the former one; once that is gone there is nothing to compare."""
        if not self._former or not changed.intersection(IMAGES):
            return
        first = next(iter(self._context.selection.images().values()), None)
        if first is None or not slicer.mrmlScene.IsNodePresent(self._first):
            self._context.ui.sideBySideButton.checked = False
            self._context.messages.say(_("The first of the two images is gone: they are no longer side by side."))
        else:
            self._first = first

    def _onSecond(self, node: Any) -> None:
        if not self._former:
            return
        if node is None:
            self._context.ui.sideBySideButton.checked = False
        else:
            self._showSecond(slicer.app.layoutManager(), node)

    @staticmethod
    def _showFirst(manager: Any, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Views that show the image already stay as they are, with what is laid over it."""
        for left, _right, _orientation in VIEWS:
            widget = manager.sliceWidget(left)
            if widget.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() != volume.GetID():
                widget.sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
                widget.sliceLogic().FitSliceToBackground()

    @staticmethod
    def _showSecond(manager: Any, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Shows the second image at the place that the views of the first one show."""
        for left, right, _orientation in VIEWS:
            view, shown = manager.sliceWidget(right), manager.sliceWidget(left).mrmlSliceNode()
            view.sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
            view.sliceLogic().GetSliceCompositeNode().SetForegroundVolumeID(None)
            node = view.mrmlSliceNode()
            node.GetSliceToRAS().DeepCopy(shown.GetSliceToRAS())
            _width, height, depth = shown.GetFieldOfView()
            across, down, _deep = node.GetDimensions()
            node.SetFieldOfView(height * across / max(down, 1), height, depth)  # pixels stay square
            node.UpdateMatrices()

    def _link(self, manager: Any) -> None:
        """Slices that are parallel move together."""
        names = [name for pair in VIEWS for name in pair[:2]]
        composites = [manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode() for name in names]
        self._links = {each: bool(each.GetLinkedControl()) for each in composites}
        for each in composites:
            each.SetLinkedControl(True)


def _description() -> str:
    columns = []
    for side in range(2):
        items = [
            _VIEW.format(
                name=names[side], orientation=names[2], label=f"{names[2][0]}{side + 1}", colour=_COLOURS[names[2]]
            )
            for names in VIEWS
        ]
        columns.append(f'<item><layout type="vertical">{"".join(items)}</layout></item>')
    return f'<layout type="horizontal" split="true">{"".join(columns)}</layout>'
