"""Observers that do not keep their owner alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import vtk


def observe(observed: vtk.vtkObject, event: int, method: Callable[[Any], None]) -> tuple[vtk.vtkObject, int]:
    """Calls a bound method with the object at an event; returns the object and the tag that ends it."""
    weak = weakref.WeakMethod(method)

    def hear(caller: vtk.vtkObject, _event: str) -> None:
        alive = weak()
        if alive is not None:
            alive(caller)

    return observed, int(observed.AddObserver(event, hear))
