"""``slicer.parameterNodeWrapper`` for simple types.

Values are kept as Slicer keeps them, in a real ``vtkMRMLScriptedModuleNode`` and so in the scene's file: numbers and
strings by ``str``, flags as "True" and "False", enum members by their name, nodes as references of the parameter's
name beside an empty parameter. Lists, dictionaries, packs, unions, annotations and ``connectGui`` are left out: a type
that is not simple is refused.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from typing import Any

import slicer

DEFAULTS = {bool: False, int: 0, float: 0, str: ""}
ACCEPTED = {bool: bool, int: int, float: (int, float), str: str}
FORWARDED = ("StartModify", "EndModify", "AddObserver", "RemoveObserver", "Modified")


def _is_node(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


class _Parameter:
    """One parameter of a class: how its values are checked, written and read."""

    def __init__(self, owner: str, name: str, kind: Any) -> None:
        if not (kind in DEFAULTS or _is_node(kind) or _is_enum(kind)):
            raise TypeError(
                f"{owner}.{name}: the test host keeps bool, int, float, str, enums and MRML nodes, not {kind}"
            )
        self.name, self.kind = name, kind

    @property
    def implied_default(self) -> Any:
        if _is_enum(self.kind):
            return next(iter(self.kind))
        return DEFAULTS.get(self.kind)  # no node

    def write(self, node: Any, value: Any) -> None:
        accepted = ACCEPTED.get(self.kind, self.kind)
        if not isinstance(value, accepted) and not (value is None and _is_node(self.kind)):
            raise TypeError(f"{self.name} must be {self.kind.__name__}, got {value!r} ({type(value).__name__})")
        if _is_node(self.kind):
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        else:
            node.SetParameter(self.name, value.name if _is_enum(self.kind) else str(value))

    def read(self, node: Any) -> Any:
        if _is_node(self.kind):
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if _is_enum(self.kind) else self.kind(text)


def _property(parameter: _Parameter) -> property:
    return property(
        lambda self: parameter.read(self.parameterNode), lambda self, value: parameter.write(self.parameterNode, value)
    )


def _forward(name: str) -> Callable[..., Any]:
    return lambda self, *arguments: getattr(self.parameterNode, name)(*arguments)


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: each annotated name becomes a property kept in the node given to the constructor."""
    parameters = {name: _Parameter(cls.__name__, name, kind) for name, kind in typing.get_type_hints(cls).items()}
    defaults = {name: getattr(cls, name, parameter.implied_default) for name, parameter in parameters.items()}

    def initialise(self: Any, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        for name, parameter in parameters.items():
            if not parameterNode.HasParameter(name):
                parameter.write(parameterNode, defaults[name])

    members: dict[str, Any] = {name: _property(parameter) for name, parameter in parameters.items()}
    members |= {name: _forward(name) for name in FORWARDED}
    members |= {
        "__init__": initialise,
        "getValue": lambda self, name: parameters[name].read(self.parameterNode),
        "setValue": lambda self, name, value: parameters[name].write(self.parameterNode, value),
    }
    for name, member in members.items():
        setattr(cls, name, member)
    return cls
