"""``slicer.parameterNodeWrapper`` for simple types, written after Slicer 5.12's behaviour.

Values are kept as Slicer keeps them, in a real ``vtkMRMLScriptedModuleNode`` and so in the scene's file: numbers and
strings by ``str``, flags as "True" and "False", enum members by their name, nodes as references of the parameter's
name beside an empty parameter. Widgets are connected by the same connectors, in the same order of events; the kinds of
types, annotations and widgets that the module does not use are left out and refused.
"""

from __future__ import annotations

import abc
import enum
import typing
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from Testing.slicer.host.qt.ctk_widgets import ctkSliderWidget
from Testing.slicer.host.qt.mrml_widgets import qMRMLNodeComboBox

SlicerParameterNamePropertyName = "SlicerParameterName"
DEFAULTS = {bool: False, int: 0, float: 0, str: ""}
ACCEPTED = {bool: bool, int: int, float: (int, float), str: str}


@dataclass(frozen=True)
class WithinRange:
    """Annotation: the smallest and the largest value of a number."""

    minimum: float
    maximum: float


def _is_node(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


class _Parameter:
    """One parameter of a class: how its values are checked, written and read."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        kind, *annotations = typing.get_args(annotated) if hasattr(annotated, "__metadata__") else (annotated,)
        if not (kind in DEFAULTS or _is_node(kind) or _is_enum(kind)):
            raise TypeError(
                f"{owner.__name__}.{name}: the test host keeps bool, int, float, str, enums and MRML nodes, not {kind}"
            )
        self.name, self.kind = name, kind
        self.range = next((each for each in annotations if isinstance(each, WithinRange)), None)
        if len(annotations) > (self.range is not None):
            raise TypeError(f"{owner.__name__}.{name}: the test host knows no annotation but WithinRange")
        first = next(iter(kind)) if _is_enum(kind) else DEFAULTS.get(kind)
        self.default = getattr(owner, name, first)

    def write(self, node: Any, value: Any) -> None:
        accepted = ACCEPTED.get(self.kind, self.kind)
        if not isinstance(value, accepted) and not (value is None and _is_node(self.kind)):
            raise TypeError(f"{self.name} must be {self.kind.__name__}, got {value!r} ({type(value).__name__})")
        if self.range is not None and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{self.name} must be within {self.range}, got {value}")
        if _is_node(self.kind):
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        else:
            node.SetParameter(self.name, value.name if _is_enum(self.kind) else str(value))

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):  # closing a scene has emptied the node
            return self.default
        if _is_node(self.kind):
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if _is_enum(self.kind) else self.kind(text)


class GuiConnector(abc.ABC):
    """Takes values from a widget and shows them there."""

    _callback: Callable[[], None] | None = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget: Any, datatype: Any) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def create(widget: Any, datatype: Any) -> Any: ...

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self) -> None:
        if self._callback:
            self._callback()

    @abc.abstractmethod
    def _connect(self) -> None: ...

    @abc.abstractmethod
    def _disconnect(self) -> None: ...

    @abc.abstractmethod
    def widget(self) -> Any: ...

    @abc.abstractmethod
    def read(self) -> Any: ...

    @abc.abstractmethod
    def write(self, value: Any) -> None: ...


class _PropertyConnector(GuiConnector):
    """Slicer's connectors of check boxes, sliders, lists of choices and node selectors in one."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._widget, self._signal, self.read, self.write = widget, signal, read, write

    canRepresent = create = staticmethod(lambda *_: None)
    read = write = lambda *_: None

    def _connect(self) -> None:
        self._widget.connect(self._signal, self._heard)

    def _disconnect(self) -> None:
        self._widget.disconnect(self._signal, self._heard)

    def _heard(self, *_: Any) -> None:
        self.changed()

    def widget(self) -> Any:
        return self._widget


def _connector(widget: Any, parameter: _Parameter) -> GuiConnector:
    if isinstance(widget, GuiConnector):
        return widget
    kind = parameter.kind
    if type(widget) is QtWidgets.QCheckBox and kind is bool:
        signal, get, put = "stateChanged(int)", lambda: widget.checked, lambda value: setattr(widget, "checked", value)
    elif type(widget) is ctkSliderWidget and kind is float and parameter.range is not None:
        widget.minimum, widget.maximum = parameter.range.minimum, parameter.range.maximum
        signal, get = "valueChanged(double)", lambda: widget.value
        put = lambda value: setattr(widget, "value", value)  # noqa: E731
    elif type(widget) is QtWidgets.QComboBox and _is_enum(kind):
        members = list(kind)
        widget.clear()
        for member in members:
            widget.addItem(getattr(kind, "label", lambda each: each.name)(member))
        signal, get = "currentIndexChanged(int)", lambda: members[widget.currentIndex]
        put = lambda value: widget.setCurrentIndex(members.index(value))  # noqa: E731
    elif type(widget) is qMRMLNodeComboBox and _is_node(kind):
        widget.nodeTypes = [kind.__name__]
        signal, get, put = "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode
    else:
        raise RuntimeError(f"Unable to create GUI connector from {kind} ({parameter.name}) to {type(widget)}")
    return _PropertyConnector(widget, signal, get, put)


def _weak(method: Callable[..., None]) -> Callable[..., None]:
    """An observer that does not keep the method's object."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        alive = reference()
        if alive is not None:
            alive(*arguments)

    return call


def _remove(node: Any, tags: list[int]) -> None:
    for tag in tags:
        node.RemoveObserver(tag)


class _Wrapper:
    """What the decorator adds to a class."""

    allParameters: typing.ClassVar[dict[str, _Parameter]]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._parameterGUIs: dict[int, dict[str, GuiConnector]] = {}
        self._nextTag = 0
        self._updatingGui = False
        self._writing = ""
        for name, parameter in self.allParameters.items():
            if not parameterNode.HasParameter(name):
                parameter.write(parameterNode, parameter.default)
        self._cached = {name: parameter.read(parameterNode) for name, parameter in self.allParameters.items()}
        self._tags = [parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, _weak(self._refresh))]
        # As Slicer does: an observer that is called while Python collects it crashes.
        weakref.finalize(self, _remove, parameterNode, self._tags).atexit = False

    def _refresh(self, *_: Any) -> None:
        for name, parameter in self.allParameters.items():
            if name != self._writing:
                self._cached[name] = parameter.read(self.parameterNode)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        self._parameter(name)
        return self._cached[name]

    def setValue(self, name: str, value: Any) -> None:
        parameter, writing = self._parameter(name), self._writing
        self._writing = name
        try:
            with slicer.util.NodeModify(self.parameterNode):
                parameter.write(self.parameterNode, value)
                self._cached[name] = parameter.read(self.parameterNode)
        finally:
            self._writing = writing

    def connectGui(self, gui: Any) -> None:
        """Connects the widgets with the property ``SlicerParameterName``; as in Slicer there is no tag of it."""
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in vars(gui).values()}
        self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        connectors = {name: _connector(widget, self._parameter(name)) for name, widget in mapping.items()}
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._parameterGUIs[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._take(name, connector))
        self._tags.append(self.AddObserver(vtk.vtkCommand.ModifiedEvent, _weak(self._updateGui)))
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        for connector in self._parameterGUIs.pop(tag, {}).values():
            connector.onChanged(None)

    def _take(self, name: str, connector: GuiConnector) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            if not self._updatingGui:
                self.setValue(name, connector.read())

    def _updateGui(self, *_: Any) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for connectors in self._parameterGUIs.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updatingGui = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: Any) -> Any:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: each annotated name becomes a property kept in the node given to the constructor."""
    annotations = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(cls, name, annotated) for name, annotated in annotations.items()}
    for name, member in vars(_Wrapper).items():
        if name == "__init__" or not name.startswith("__"):
            setattr(cls, name, member)
    for name in parameters:
        setattr(cls, name, _property(name))
    cls.allParameters = parameters
    return cls
