"""The embedded Segment Editor: a stand-in for the widget over Slicer's own ``vtkSlicerSegmentEditorLogic``.

Masking, undo and redo are real. What is selected when, and who is told, is as in Slicer 5.12's
qMRMLSegmentEditorWidget.cxx, with its whims: a segment that the logic selects is not announced, the first segment is
selected when another segmentation comes, the hidden selector takes the first segmentation by itself, label layers are
taken out of the views, and the tools are greyed out without a source volume. Effects have a name and parameters but no
interaction; a stroke of the brush is made by :func:`paint`, which hands the logic what the Paint effect would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

from Testing.slicer.host.qt.ctk_widgets import kept
from Testing.slicer.host.qt.mrml_widgets import SCENE_SIGNATURES, Observing, qMRMLNodeComboBox, qMRMLSegmentsTableView
from Testing.slicer.host.qt.pythonqt import stand_in

Property, Signal = QtCore.Property, QtCore.Signal
EFFECTS = (
    *("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices"),
    *("Margin", "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume"),
)
#: Names of the editor's parts, as in Slicer, and what stands on its buttons.
BUTTONS = {
    "AddSegmentButton": "Add",
    "RemoveSegmentButton": "Remove",
    "Show3DButton": "Show 3D",
    "SwitchToSegmentationsButton": "Segmentations...",
    "UndoButton": "Undo",
    "RedoButton": "Redo",
}
GROUPS = ("EffectsGroupBox", "MaskingGroupBox", "UndoRedoGroupBox")


class Effect:
    """An effect of the Segment Editor: its parameters lie in the editor's node, as in Slicer."""

    def __init__(self, name: str, editor: qMRMLSegmentEditorWidget) -> None:
        self.name = name
        self._editor = editor

    def parameter(self, name: str) -> str:
        return self._editor.mrmlSegmentEditorNode().GetAttribute(f"{self.name}.{name}") or ""

    def setParameter(self, name: str, value: Any) -> None:
        self._editor.mrmlSegmentEditorNode().SetAttribute(f"{self.name}.{name}", str(value))


def _shown(*names: str) -> Any:
    """A Qt property that is whether some parts of the editor are shown."""

    def get(self: Any) -> bool:
        return not self._parts[names[0]].isHidden()

    def put(self: Any, value: bool) -> None:
        for name in names:
            self._parts[name].setVisible(value)

    return Property(bool, get, put)


@stand_in
class qMRMLSegmentEditorWidget(Observing):
    """The Segment Editor's panel; its parts have the names that they have in Slicer."""

    SIGNATURES: ClassVar = {
        "currentSegmentIDChanged(QString)": "currentSegmentIDChanged",
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)": "segmentationNodeChanged",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)": "sourceVolumeNodeChanged",
        **SCENE_SIGNATURES,
    }
    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._segmentation: Any = None  # the one shown, which lags behind the node's while a scene is read
        self._source: Any = None
        self._selector, self._table = qMRMLNodeComboBox(), qMRMLSegmentsTableView()
        self._selector.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._selector.noneEnabled = False
        self._parts: dict[str, Any] = {"SegmentationNodeComboBox": self._selector, "SegmentsTableView": self._table}
        for name, text in BUTTONS.items():
            self._parts[name] = QtWidgets.QPushButton(text)
        for name in GROUPS:
            self._parts[name] = QtWidgets.QGroupBox()
        self._effects = self._parts["EffectsGroupBox"]
        self._lay_out()
        self._selector.currentNodeChanged.connect(self._segmentation_chosen)
        self._table._selectionChanged.connect(self._segment_chosen)
        self._parts["AddSegmentButton"].clicked.connect(self._add_segment)
        self._parts["RemoveSegmentButton"].clicked.connect(self._remove_segment)
        self._parts["UndoButton"].clicked.connect(self.undo)
        self._parts["RedoButton"].clicked.connect(self.redo)

    def _lay_out(self) -> None:
        layout, undo = QtWidgets.QVBoxLayout(self), QtWidgets.QHBoxLayout(self._parts["UndoRedoGroupBox"])
        layout.setContentsMargins(0, 0, 0, 0)
        for name, part in self._parts.items():
            part.setObjectName(name)
            (undo if name in ("UndoButton", "RedoButton") else layout).addWidget(part)
        self._effect_buttons = QtWidgets.QGridLayout(self._effects)
        self.setEffectNameOrder(EFFECTS)

    def setMRMLScene(self, scene: Any) -> None:
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(scene)
        blocked = QtCore.QSignalBlocker(self._selector)
        self._selector.setMRMLScene(scene)
        self._table.setMRMLScene(scene)
        blocked.unblock()
        super().setMRMLScene(scene)
        self._follow()
        self.updateWidgetFromMRML()

    # What is edited

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if node is self._node:
            return
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self._follow()
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def _editor_node(self) -> Any:
        if self._node is None:
            raise RuntimeError("the segment editor has no node: setMRMLSegmentEditorNode comes first")
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        if self._editor_node().GetSegmentationNode() is not node:
            self._node.SetActiveEffectName("")
            self._node.SetAndObserveSegmentationNode(node)

    def segmentationNode(self) -> Any:
        return self._selector.currentNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        if self._editor_node().GetSegmentationNode() is None and node is not None:
            raise RuntimeError("the segment editor has no segmentation: setSegmentationNode comes first")
        self._node.SetAndObserveSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node else None

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._editor_node().SetSelectedSegmentID(segment_id)

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node else ""

    # Following the scene

    def _follow(self) -> None:
        modified, scene = vtk.vtkCommand.ModifiedEvent, self._scene
        self._observe(
            (self._node, modified),
            (self._segmentation, modified),
            (scene, slicer.vtkMRMLScene.EndCloseEvent),
            (scene, slicer.vtkMRMLScene.EndBatchProcessEvent, self._batch_ended),
        )

    def _update(self) -> None:
        self.updateWidgetFromMRML()

    def _batch_ended(self) -> None:
        if self._node and self._node.GetSegmentationNode() is not self._selector.currentNode():
            self.setSegmentationNode(self._selector.currentNode())
        self.updateWidgetFromMRML()

    def updateWidgetFromMRML(self) -> None:
        scene = self._scene
        if not scene or scene.IsClosing() or scene.IsBatchProcessing():
            return
        if self._node is None:
            self._effects.setEnabled(False)
            return
        modifying = self._node.StartModify()
        self._show_segmentation()
        if self._node.GetSourceVolumeNode() is not self._source:
            self._source = self._node.GetSourceVolumeNode()
            self.sourceVolumeNodeChanged.emit(self._source)
        segmentation, selected = self._segmentation, self.currentSegmentID()
        there = segmentation is not None and segmentation.GetSegmentation().GetSegmentIndex(selected) >= 0
        self._table.setSelectedSegmentIDs([selected] if there else [])
        self._effects.setEnabled(segmentation is not None and self._source is not None)
        self._parts["AddSegmentButton"].setEnabled(self._logic.CanAddSegments())
        self._parts["RemoveSegmentButton"].setEnabled(there)
        self._node.EndModify(modifying)

    def _show_segmentation(self) -> None:
        node = self._node.GetSegmentationNode()
        if node is not self._selector.currentNode():
            blocked = QtCore.QSignalBlocker(self._selector)
            self._selector.setCurrentNode(node)
            blocked.unblock()
        if node is self._segmentation:
            return
        self._segmentation = node
        self._follow()
        blocked = QtCore.QSignalBlocker(self._table)
        self._table.setSegmentationNode(node)
        blocked.unblock()
        if node is not None:
            self._node.SetAndObserveSourceVolumeNode(
                node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
            )
            node.CreateDefaultDisplayNodes()
            self._table.setSelectedSegmentIDs(list(node.GetSegmentation().GetSegmentIDs())[:1])
            _hide_label_layers(self._scene)
        self.segmentationNodeChanged.emit(node)

    def _segmentation_chosen(self, node: Any) -> None:
        if self._scene and not self._scene.IsBatchProcessing():
            self.setSegmentationNode(node)

    def _segment_chosen(self, *_selections: Any) -> None:
        """Tells only of what the table chose: what the node has already was chosen by someone else."""
        chosen = next(iter(self._table.selectedSegmentIDs()), "")
        if self._node is None or chosen == self.currentSegmentID():
            return
        self._node.SetSelectedSegmentID(chosen or None)
        if not chosen:
            self._node.SetActiveEffectName("")
        self.updateWidgetFromMRML()
        self.currentSegmentIDChanged.emit(chosen)

    def _add_segment(self) -> None:
        self._logic.SaveStateForUndo()
        self._logic.AddEmptySegment()

    def _remove_segment(self) -> None:
        self._logic.SaveStateForUndo()
        self._logic.RemoveSelectedSegment()

    # Effects

    def availableEffectNames(self) -> list[str]:
        return list(EFFECTS)

    def setEffectNameOrder(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in EFFECTS]
        if unknown:
            raise ValueError(f"the segment editor has no effects {', '.join(unknown)}; there is {', '.join(EFFECTS)}")
        while self._effect_buttons.count():
            self._effect_buttons.takeAt(0).widget().deleteLater()
        for number, name in enumerate(names):
            button = QtWidgets.QToolButton()
            button.setObjectName(name)
            button.setText(name)
            button.clicked.connect(lambda _on=False, name=name: self.setActiveEffectByName(name))
            self._effect_buttons.addWidget(button, number // 2, number % 2)  # effectColumnCount is 2

    def effectByName(self, name: str) -> Effect | None:
        return Effect(name, self) if name in EFFECTS else None

    def setActiveEffectByName(self, name: str) -> None:
        self._editor_node().SetActiveEffectName(name if name in EFFECTS else "")

    def activeEffect(self) -> Effect | None:
        return self.effectByName(self._editor_node().GetActiveEffectName() or "")

    # Undo

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    def setMaximumNumberOfUndoStates(self, number: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(number)

    maximumNumberOfUndoStates = Property(
        int, lambda self: self._logic.GetMaximumNumberOfUndoStates(), setMaximumNumberOfUndoStates
    )
    segmentationNodeSelectorVisible = _shown("SegmentationNodeComboBox")
    addRemoveSegmentButtonsVisible = _shown("AddSegmentButton", "RemoveSegmentButton")
    show3DButtonVisible = _shown("Show3DButton")
    maskingSectionVisible = _shown("MaskingGroupBox")
    undoEnabled = _shown("UndoRedoGroupBox")
    sourceVolumeNodeSelectorVisible = kept(bool, True)
    switchToSegmentationsButtonVisible = _shown("SwitchToSegmentationsButton")
    specifyGeometryButtonVisible = kept(bool, True)
    unorderedEffectsVisible = kept(bool, True)
    autoShowSourceVolumeNode = kept(bool, True)
    readOnly = kept(bool, False)


def _hide_label_layers(scene: Any) -> None:
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
        composite.SetLabelVolumeID(None)


def paint(editor: qMRMLSegmentEditorWidget, ras: Sequence[float], radius_mm: float, erase: bool = False) -> None:
    """One dab of the spherical brush of Paint, or of Erase, on the selected segment, with its state for undo.

    Args:
        editor: has a node, a segmentation, a source volume and a selected segment.
        ras: centre in RAS mm of the segmentation (before its parent transform).
        radius_mm: radius of the brush.
        erase: take away instead.

    Raises:
        RuntimeError: the tools are greyed out, so that nobody could paint.
    """
    if not editor._effects.isEnabled():
        raise RuntimeError("the tools of the segment editor are greyed out")
    logic = editor._logic
    logic.SaveStateForUndo()
    logic.UpdateReferenceGeometryImage()
    logic.ResetModifierLabelmapToDefault()
    modifier = logic.GetModifierLabelmap()
    matrix = vtk.vtkMatrix4x4()
    modifier.GetImageToWorldMatrix(matrix)
    extent = modifier.GetExtent()
    k, j, i = np.meshgrid(*(np.arange(extent[a], extent[a + 1] + 1) for a in (4, 2, 0)), indexing="ij")
    affine = slicer.util.arrayFromVTKMatrix(matrix)
    world = np.stack((i, j, k), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    voxels = vtk_to_numpy(modifier.GetPointData().GetScalars()).reshape(k.shape)
    voxels[np.linalg.norm(world - np.asarray(ras, float), axis=-1) <= radius_mm] = 1
    modifier.Modified()
    mode = logic.ModificationModeRemove if erase else logic.ModificationModeAdd
    logic.ModifySegmentByLabelmap(editor.segmentationNode(), editor.currentSegmentID(), modifier, mode, True, False)
