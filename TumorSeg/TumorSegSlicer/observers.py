"""Observers that do not keep their owner alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import vtk

#: Something to hear of: an object, its event, and a bound method that is called with the object.
Event = tuple[vtk.vtkObject, int, Callable[[Any], None]]


class Listener:
    """Hears of some events, which may change; part of the object whose methods are called."""

    def __init__(self) -> None:
        self._heard: list[tuple[vtk.vtkObject, int]] = []

    def listen(self, *events: Event) -> None:
        """Hears of these events from now on, and of no others."""
        for observed, tag in self._heard:
            observed.RemoveObserver(tag)
        self._heard = [
            (observed, int(observed.AddObserver(event, _weak(method)))) for observed, event, method in events
        ]


def _weak(method: Callable[[Any], None]) -> Callable[[vtk.vtkObject, str], None]:
    weak = weakref.WeakMethod(method)

    def hear(caller: vtk.vtkObject, _event: str) -> None:
        alive = weak()
        if alive is not None:
            alive(caller)

    return hear
