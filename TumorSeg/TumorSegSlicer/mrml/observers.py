"""Observers that do not keep their owner alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import vtk

#: An object, its event, and a bound method that is called with the object, and with the event's data where a fourth
#: item is the type of it, e.g. ``vtk.VTK_OBJECT``; a fifth is the priority, higher than 0 to hear of it before others.
Event = tuple[Any, ...]


class Listener:
    """Observes some events, which may change; part of the object whose methods are called."""

    def __init__(self) -> None:
        self._observed: list[tuple[vtk.vtkObject, int]] = []
        # An observer that is called while Python collects it crashes the application.
        weakref.finalize(self, _removeObservers, self._observed).atexit = False

    def listen(self, *events: Event) -> None:
        """Observes these events from now on, and no others."""
        _removeObservers(self._observed)
        self._observed += [observe(*event) for event in events]


def observe(
    observed: vtk.vtkObject,
    event: int,
    method: Callable[..., bool | None],
    calldata: str | None = None,
    priority: float = 0.0,
) -> tuple[vtk.vtkObject, int]:
    """Calls a method at an event, without a reference to the method's object.

    Args:
        observed, event: what is listened to.
        method: called with the object and, where there is a type of it, the event's data; where it returns True, those
            of lower priority do not hear of the event.
        calldata: that type, e.g. ``vtk.VTK_OBJECT``.
        priority: those with a higher one are called first.

    Returns:
        The object, and the tag by which it forgets the observer.
    """
    weak = weakref.WeakMethod(method)

    def call(caller: vtk.vtkObject, _event: str, *data: Any) -> None:
        alive = weak()
        if alive is not None and alive(caller, *data):
            caller.GetCommand(tag).SetAbortFlag(1)

    if calldata is not None:
        call = vtk.calldata_type(calldata)(call)
    tag = int(observed.AddObserver(event, call, priority))
    return observed, tag


def _removeObservers(observed: list[tuple[vtk.vtkObject, int]]) -> None:
    while observed:
        each, tag = observed.pop()
        each.RemoveObserver(tag)
