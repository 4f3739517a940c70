"""Reading and writing files as ``slicer.util`` asks the application to: by the nodes' own storage nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

from Testing.slicer.host.scene import Scene

#: File name ending to the type of file; anything else is taken for an image.
READERS = {
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".seg.nrrd": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".txt": "TextFile",
    ".json": "TextFile",
}
WRITERS = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLMarkupsNode": "MarkupsFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLTextNode": "TextFile",
}


class IOManager:
    """``slicer.app.coreIOManager()`` and ``ioManager()``, for the files a segmentation module reads and writes."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def fileType(self, filename: str) -> str:
        endings = sorted(READERS, key=len, reverse=True)
        return next((READERS[e] for e in endings if str(filename).lower().endswith(e)), "VolumeFile")

    def fileWriterFileType(self, node: Any, format: str = "") -> str:  # noqa: A002 - Slicer's own name
        return next((kind for cls, kind in WRITERS.items() if node.IsA(cls)), "NoFile")

    def registeredFileReaderCount(self, file_type: str) -> int:
        return int(file_type in {*READERS.values(), "VolumeFile"})

    def loadNodes(self, file_type: str, properties: dict[str, Any], nodes: Any = None, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if not Path(path).is_file():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File not found: {path}")
            return False
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear")))
        node = self._load(file_type, path, properties)
        if node is None:
            return False
        if properties.get("name"):
            node.SetName(properties["name"])
        if nodes is not None:
            nodes.AddItem(node)
        return True

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = self._scene.scene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        scene.SetRootDirectory(str(Path(path).parent))
        return bool(scene.Connect() if clear else scene.Import())

    def _load(self, file_type: str, path: str, properties: dict[str, Any]) -> Any:
        scene, logics = self._scene.scene, self._scene.logics
        name = properties.get("name") or Path(path).name.split(".")[0]
        if file_type == "VolumeFile":
            node = logics["Volumes"].AddArchetypeVolume(path, name, int(bool(properties.get("labelmap"))))
            if node and properties.get("show", True):
                self._show(node)
            return node
        if file_type == "SegmentationFile":
            return logics["Segmentations"].LoadSegmentationFromFile(path, True, name)
        if file_type == "MarkupsFile":
            return scene.GetNodeByID(logics["Markups"].LoadMarkups(path, name))
        if file_type == "TransformFile":
            return logics["Transforms"].AddTransform(path, scene)
        node = scene.AddNewNodeByClass(
            {"TableFile": "vtkMRMLTableNode", "TextFile": "vtkMRMLTextNode"}[file_type], name
        )
        node.AddDefaultStorageNode(path)
        if node.GetStorageNode().ReadData(node):
            return node
        scene.RemoveNode(node)
        return None

    def _show(self, volume: Any) -> None:
        selection = self._scene.application_logic.GetSelectionNode()
        label = volume.IsA("vtkMRMLLabelMapVolumeNode")
        (selection.SetActiveLabelVolumeID if label else selection.SetActiveVolumeID)(volume.GetID())
        self._scene.application_logic.PropagateVolumeSelection()

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        scene, path = self._scene.scene, str(properties["fileName"])
        if file_type == "SceneFile":
            return self._save_scene(path)
        node = scene.GetNodeByID(properties["nodeID"])
        if file_type == "NoFile":
            return False
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        node.GetStorageNode().SetFileName(path)
        node.GetStorageNode().SetUseCompression(int(properties.get("useCompression", True)))
        return bool(node.GetStorageNode().WriteData(node))

    def _save_scene(self, path: str) -> bool:
        scene = self._scene.scene
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None))
        if path.endswith(".mrml"):
            scene.SetURL(path)
            scene.SetRootDirectory(str(Path(path).parent))
            return bool(scene.Commit())
        Path(path).mkdir(parents=True, exist_ok=True)
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None))

    def exportNodes(
        self, ids: list[str], paths: list[str], properties: dict[str, Any], harden: bool = False, messages: Any = None
    ) -> bool:
        nodes = [self._scene.scene.GetNodeByID(node_id) for node_id in ids]
        written = [_written(node, str(path), harden) for node, path in zip(nodes, paths)]
        return all(written)

    def extractKnownExtension(self, filename: str, node: Any = None) -> str:
        extension = slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString
        known = [extension(form) for form in self.fileWriterExtensions(node)]
        return max((end for end in known if str(filename).endswith(end)), key=len, default="")

    def fileWriterExtensions(self, node: Any) -> list[str]:
        if node.IsA("vtkMRMLVolumeNode"):
            return ["NRRD (.nrrd)", "NIFTI (.nii.gz)", "NIFTI (.nii)"]
        types = _storage(node).GetSupportedWriteFileTypes()
        return [types.GetValue(index) for index in range(types.GetNumberOfValues())]


def _storage(node: Any) -> Any:
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)  # Python holds it from here on
    return storage


def _hardened(node: Any) -> Any:
    """A copy with its parent transforms applied, outside the scene."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return node
    matrix, copy = vtk.vtkMatrix4x4(), node.CreateNodeInstance()
    copy.UnRegister(None)  # Python holds it from here on
    copy.Copy(node)
    parent.GetMatrixTransformToWorld(matrix)
    copy.ApplyTransformMatrix(matrix)
    return copy


def _written(node: Any, path: str, harden: bool) -> bool:
    storage = _storage(node)
    storage.SetFileName(path)
    return bool(storage.WriteData(_hardened(node) if harden else node))
