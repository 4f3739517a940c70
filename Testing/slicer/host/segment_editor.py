"""The embedded Segment Editor: a stand-in for the widget over Slicer's own ``vtkSlicerSegmentEditorLogic``.

Selection, masking, undo and redo are real. Effects have a name and parameters but no interaction; a stroke of the
brush is made by :func:`paint`, which hands the logic what the Paint effect would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

from Testing.slicer.host.ctk_widgets import kept
from Testing.slicer.host.mrml_widgets import SCENE_SIGNATURES, Observing
from Testing.slicer.host.pythonqt import stand_in

Property, Signal = QtCore.Property, QtCore.Signal
EFFECTS = (
    *("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices"),
    *("Margin", "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume"),
)


class Effect:
    """An effect of the Segment Editor: its parameters lie in the editor's node, as in Slicer."""

    def __init__(self, name: str, editor: qMRMLSegmentEditorWidget) -> None:
        self.name = name
        self._editor = editor

    def parameter(self, name: str) -> str:
        return self._editor.mrmlSegmentEditorNode().GetAttribute(f"{self.name}.{name}") or ""

    def setParameter(self, name: str, value: Any) -> None:
        self._editor.mrmlSegmentEditorNode().SetAttribute(f"{self.name}.{name}", str(value))


@stand_in
class qMRMLSegmentEditorWidget(Observing):
    """The Segment Editor's panel, reduced to what it holds."""

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
        self._segment = ""

    def setMRMLScene(self, scene: Any) -> None:
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(scene)
        super().setMRMLScene(scene)

    # What is edited

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self._observe((node, vtk.vtkCommand.ModifiedEvent))
        self._update()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def _editor_node(self) -> Any:
        if self._node is None:
            raise RuntimeError("the segment editor has no node: setMRMLSegmentEditorNode comes first")
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._editor_node()
        self._logic.SetSegmentationNode(node)
        self.segmentationNodeChanged.emit(node)

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode() if self._node else None

    def setSourceVolumeNode(self, node: Any) -> None:
        self._editor_node()
        self._logic.SetSourceVolumeNode(node)
        self.sourceVolumeNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode() if self._node else None

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._editor_node()
        self._logic.SetCurrentSegmentID(segment_id)

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node else ""

    def _update(self) -> None:
        if self.currentSegmentID() != self._segment:
            self._segment = self.currentSegmentID()
            self.currentSegmentIDChanged.emit(self._segment)

    def updateWidgetFromMRML(self) -> None:
        self._update()

    # Effects

    def availableEffectNames(self) -> list[str]:
        return list(EFFECTS)

    def setEffectNameOrder(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in EFFECTS]
        if unknown:
            raise ValueError(f"the segment editor has no effects {', '.join(unknown)}; there is {', '.join(EFFECTS)}")

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
    segmentationNodeSelectorVisible = kept(bool, True)
    sourceVolumeNodeSelectorVisible = kept(bool, True)
    switchToSegmentationsButtonVisible = kept(bool, True)
    unorderedEffectsVisible = kept(bool, True)
    autoShowSourceVolumeNode = kept(bool, True)
    readOnly = kept(bool, False)


def paint(editor: qMRMLSegmentEditorWidget, ras: Sequence[float], radius_mm: float, erase: bool = False) -> None:
    """One dab of the spherical brush of Paint, or of Erase, on the selected segment, with its state for undo.

    Args:
        editor: has a node, a segmentation, a source volume and a selected segment.
        ras: centre in RAS mm of the segmentation (before its parent transform).
        radius_mm: radius of the brush.
        erase: take away instead.
    """
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
