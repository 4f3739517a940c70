"""Stand-ins for Slicer's own widgets, over the real nodes of the scene.

The real ones have more behaviour; what counts here is what a panel relies on, and that nothing helps it along: a node
selector that offers None has no node until the user or the module chooses one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from Testing.slicer.host.qt.ctk_widgets import kept
from Testing.slicer.host.qt.pythonqt import stand_in

Property, Signal = QtCore.Property, QtCore.Signal
NODES_CHANGED = (
    slicer.vtkMRMLScene.NodeAddedEvent,
    slicer.vtkMRMLScene.NodeRemovedEvent,
    slicer.vtkMRMLScene.EndCloseEvent,
    slicer.vtkMRMLScene.EndImportEvent,
)
SCENE_SIGNATURES = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}


@stand_in
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and tells others of it."""

    SIGNATURES: ClassVar = SCENE_SIGNATURES
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


@stand_in
class qSlicerWidget(qMRMLWidget):
    """The base of module panels."""


class Observing(qMRMLWidget):
    """A widget that follows VTK objects; the observers end with the widget."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._observed: list[tuple[Any, int]] = []

    def _observe(self, *followed: tuple[Any, ...]) -> None:
        """Follows these, and no others any more: an object, its event and, if not ``_update``, what is called then."""
        for obj, tag in self._observed:
            obj.RemoveObserver(tag)
        self._observed = [
            (obj, obj.AddObserver(event, self._hearing(*function))) for obj, event, *function in followed if obj
        ]

    def _hearing(self, function: Callable[[], None] | None = None) -> Callable[[Any, str], None]:
        def hear(_caller: Any, _event: str) -> None:
            if shiboken6.isValid(self):
                (function or self._update)()
            else:
                self._observe()

        return hear

    def _update(self) -> None:
        """Shows what the observed object holds now."""
        raise NotImplementedError


class _NodeFilter:
    """``qMRMLSortFilterProxyModel`` of a selector: the nodes that it does not offer."""

    __slots__ = ("_hidden", "_selector")

    def __init__(self, selector: qMRMLNodeComboBox) -> None:
        self._selector = selector
        self._hidden: list[str] = []

    @property
    def hiddenNodeIDs(self) -> list[str]:
        return self._hidden

    @hiddenNodeIDs.setter
    def hiddenNodeIDs(self, ids: list[str]) -> None:
        self._hidden = list(ids)
        self._selector._update()


@stand_in
class qMRMLNodeComboBox(Observing):
    """Chooses a node of the scene by its type.

    With None on offer it starts so, and has none again when its node is removed. Without, as in Slicer, it takes the
    first node that comes by itself, and another one in place of one that is removed.
    """

    SIGNATURES: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_currentNodeValid",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        **SCENE_SIGNATURES,
    }
    currentNodeChanged = Signal(object)
    _currentNodeValid = Signal(bool)
    currentNodeIDChanged = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        layout.addWidget(self._combo)
        self._types: list[str] = []
        self._none_enabled = self._show_hidden = False
        self._show_children, self._none_text = True, "None"
        self._announced = ""
        self._offered: list[str] = []
        self._filter = _NodeFilter(self)
        self._combo.activated.connect(lambda _index: self._announce())

    # Nodes

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self._observe(*((scene, event) for event in NODES_CHANGED))
        self._update()
        self.mrmlSceneChanged.emit(scene)

    def _nodes(self) -> Iterator[Any]:
        nodes = self._scene.GetNodes() if self._scene else []
        return (node for node in nodes if self._offers(node))

    def _offers(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._show_hidden:
            return False
        if node.GetID() in self._filter.hiddenNodeIDs:
            return False
        # A label map is a scalar volume too: it is offered as one unless child types are hidden.
        fits = node.GetClassName() in self._types
        return fits or (self._show_children and any(node.IsA(kind) for kind in self._types))

    def _update(self) -> None:
        current, before = self.currentNodeID, self._offered
        nodes = {node.GetID(): node.GetName() for node in self._nodes()}
        self._offered = list(nodes)
        self._combo.clear()
        if self._none_enabled:
            self._combo.addItem(self._none_text, "")
        for node_id, name in nodes.items():
            self._combo.addItem(name, node_id)
        if not self._none_enabled and current not in nodes and (current or not before):
            current = next(iter(reversed(nodes) if current else nodes), "")
        self.setCurrentNodeID(current)

    def nodeCount(self) -> int:
        return len(list(self._nodes()))

    def nodeFromIndex(self, index: int) -> Any:
        return list(self._nodes())[index]

    def sortFilterProxyModel(self) -> _NodeFilter:
        return self._filter

    # The current node

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene and self.currentNodeID else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        self._combo.setCurrentIndex(self._combo.findData(node_id or ""))
        self._announce()

    def _announce(self) -> None:
        now = self.currentNodeID
        if now != self._announced:
            self._announced = now
            self.currentNodeChanged.emit(self.currentNode())
            self._currentNodeValid.emit(bool(now))
            self.currentNodeIDChanged.emit(now)

    def addNode(self, nodeType: str | None = None) -> Any:
        if not self.addEnabled:
            raise RuntimeError(f"{self.objectName}: the user cannot add a node here, addEnabled is off")
        node = self._scene.AddNewNodeByClass(nodeType or self._types[0], self.baseName)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        return node

    # Properties

    def _set(self, name: str, value: Any) -> None:
        setattr(self, name, value)
        self._update()

    def setNodeTypes(self, types: list[str]) -> None:
        unknown = [t for t in types if not hasattr(slicer, t)]
        if unknown:
            raise ValueError(f"{self.objectName}: no such node types: {', '.join(unknown)}")
        self._set("_types", list(types))

    currentNodeID = Property(str, lambda self: self._combo.currentData or "", setCurrentNodeID)
    nodeTypes = Property("QStringList", lambda self: self._types, setNodeTypes)
    noneEnabled = Property(bool, lambda self: self._none_enabled, lambda self, v: self._set("_none_enabled", v))
    showHidden = Property(bool, lambda self: self._show_hidden, lambda self, v: self._set("_show_hidden", v))
    showChildNodeTypes = Property(
        bool, lambda self: self._show_children, lambda self, v: self._set("_show_children", v)
    )
    addEnabled = kept(bool, True)
    removeEnabled = kept(bool, True)
    renameEnabled = kept(bool, False)
    editEnabled = kept(bool, False)
    selectNodeUponCreation = kept(bool, True)
    baseName = kept(str, "")
    noneDisplay = Property(str, lambda self: self._none_text, lambda self, v: self._set("_none_text", v))
    interactionNodeSingletonTag = kept(str, "")


@stand_in
class qMRMLSegmentsTableView(Observing):
    """The table of a segmentation's segments."""

    SIGNATURES: ClassVar = {"selectionChanged(QItemSelection,QItemSelection)": "_selectionChanged", **SCENE_SIGNATURES}
    _selectionChanged = Signal(object, object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._list = QtWidgets.QListWidget()
        layout.addWidget(self._list)
        self._node: Any = None
        self._list.itemSelectionChanged.connect(self._selected)

    def _selected(self) -> None:
        self._selectionChanged.emit(QtCore.QItemSelection(), QtCore.QItemSelection())

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        segmentation = node.GetSegmentation() if node else None
        self._observe((segmentation, vtk.vtkCommand.AnyEvent), (self._scene, slicer.vtkMRMLScene.NodeRemovedEvent))
        self._update()

    def _update(self) -> None:
        if self._node and self._scene and not self._scene.IsNodePresent(self._node):
            self.setSegmentationNode(None)
            return
        segmentation = self._node.GetSegmentation() if self._node else None
        ids = list(segmentation.GetSegmentIDs()) if segmentation else []
        names = [segmentation.GetSegment(segment_id).GetName() for segment_id in ids]
        items = [self._list.item(row) for row in range(self._list.count)]
        shown = [(item.data(QtCore.Qt.ItemDataRole.UserRole), item.text()) for item in items]
        if shown == list(zip(ids, names)):
            return
        selected = self.selectedSegmentIDs()
        blocked = QtCore.QSignalBlocker(self._list)
        self._list.clear()
        for segment_id, name in zip(ids, names):
            item = QtWidgets.QListWidgetItem(name, self._list)
            item.setData(QtCore.Qt.ItemDataRole.UserRole, segment_id)
            item.setSelected(segment_id in selected)
        blocked.unblock()
        if selected != self.selectedSegmentIDs():
            self._selected()

    def selectedSegmentIDs(self) -> list[str]:
        return [item.data(QtCore.Qt.ItemDataRole.UserRole) for item in self._list.selectedItems()]

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:
        blocked = QtCore.QSignalBlocker(self._list)
        before = self.selectedSegmentIDs()
        for row in range(self._list.count):
            item = self._list.item(row)
            item.setSelected(item.data(QtCore.Qt.ItemDataRole.UserRole) in ids)
        blocked.unblock()
        if before != self.selectedSegmentIDs():
            self._selected()

    def segmentationNode(self) -> Any:
        return self._node

    def clearSelection(self) -> None:
        self.setSelectedSegmentIDs([])

    def setSelectionMode(self, mode: QtWidgets.QAbstractItemView.SelectionMode) -> None:
        self._list.setSelectionMode(mode)

    selectionMode = Property(
        QtWidgets.QAbstractItemView.SelectionMode, lambda self: self._list.selectionMode, setSelectionMode
    )
    headerVisible = kept(bool, True)
    visibilityColumnVisible = kept(bool, True)
    colorColumnVisible = kept(bool, True)
    opacityColumnVisible = kept(bool, True)
    statusColumnVisible = kept(bool, False)
    filterBarVisible = kept(bool, False)
    readOnly = kept(bool, False)
