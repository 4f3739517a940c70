"""The scene and the module logics: Slicer's own C++, started as the application starts it."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
import vtk

#: Modules by their name: the class of their logic.
LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Data": "vtkSlicerDataModuleLogic",
}
# Nodes that have an item in the subject hierarchy; in Slicer a Qt plugin each decides.
IN_HIERARCHY = ("Volume", "Segmentation", "Markups", "Model", "Transform", "Table", "Text")


def _write_colors(folder: Path) -> None:
    """The table that label maps are shown with; the wheel has none of the application's colour files."""
    folder.mkdir(parents=True)
    rows = ["0 Background 0 0 0 0"]
    for label in range(1, 32):
        red, green, blue = (round(255 * share) for share in colorsys.hsv_to_rgb(label * 0.38 % 1, 0.6, 0.9))
        rows.append(f"{label} Label_{label} {red} {green} {blue} 255")
    (folder / "GenericColors.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


class Scene:
    """A MRML scene with the application's logic and those of the modules.

    Attributes:
        scene: the ``vtkMRMLScene``.
        application_logic: the ``vtkSlicerApplicationLogic``.
        logics: module name to logic.
    """

    def __init__(self, folder: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self._start_application_logic(folder)
        self._observe_hierarchy()
        self.logics: Mapping[str, Any] = {name: self._started(name, cls, folder) for name, cls in LOGICS.items()}
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def _start_application_logic(self, folder: Path) -> None:
        logic, scene = self.application_logic, self.scene
        _write_colors(folder / "share" / "ColorFiles")
        logic.SetHomeDirectory(str(folder))
        logic.SetShareDirectory("share")
        logic.SetMRMLScene(scene)  # makes the selection and interaction nodes
        logic.SetTemporaryPath(str(folder))
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        # Storage nodes take their paths from here; without it .mrb files are not read.
        (folder / ".slicer-cache").touch()  # says that the folder is a cache
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io.SetMRMLScene(scene)
        self._remote_io.SetMRMLApplicationLogic(logic)
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(str(folder))
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLScene(scene)
        self._data_io.SetMRMLApplicationLogic(logic)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        self._remote_io.AddDataIOToScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        colors = logic.GetColorLogic()
        colors.SetMRMLScene(scene)
        colors.AddDefaultColorNodes()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)

    def _started(self, name: str, class_name: str, folder: Path) -> Any:
        logic = getattr(slicer, class_name)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(folder))
        logic.SetMRMLApplicationLogic(self.application_logic)
        logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(name, logic)
        return logic

    # Subject hierarchy

    def _observe_hierarchy(self) -> None:
        events = slicer.vtkMRMLScene
        observers = [(events.NodeAddedEvent, _add_item), (events.NodeAboutToBeRemovedEvent, _remove_item)]
        observers += [(event, _resolve_hierarchy) for event in (events.EndImportEvent, events.EndCloseEvent)]
        self._tags = [self.scene.AddObserver(event, function) for event, function in observers]

    # Life

    def clear(self) -> None:
        """Closes the scene as File > Close scene does, and takes out what a module left in singletons."""
        self.scene.Clear(False)
        for node in [node for node in self.scene.GetNodes() if node.IsA("vtkMRMLScriptedModuleNode")]:
            self.scene.RemoveNode(node)
        interaction = self.application_logic.GetInteractionNode()
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)

    def close(self) -> None:
        """Lets go of everything, logics first, so that nothing is left to the interpreter's end."""
        for tag in self._tags:
            self.scene.RemoveObserver(tag)
        vtk.vtkObject.GlobalWarningDisplayOff()  # a logic warns of the very scene it is told to leave
        for logic in [*self.logics.values(), self._data_io, self._remote_io]:
            logic.SetMRMLScene(None)
        vtk.vtkObject.GlobalWarningDisplayOn()
        self.application_logic.SetMRMLScene(None)
        self.scene.Clear(True)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _add_item(scene: Any, event: str, node: Any) -> None:
    if node is None or node.GetHideFromEditors() or scene.IsImporting():
        return
    hierarchy = scene.GetSubjectHierarchyNode()
    wanted = any(node.IsA(f"vtkMRML{kind}Node") for kind in IN_HIERARCHY)
    if wanted and hierarchy and not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _remove_item(scene: Any, event: str, node: Any) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    if scene.IsClosing() or not hierarchy or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)


def _resolve_hierarchy(scene: Any, event: str) -> None:
    slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
