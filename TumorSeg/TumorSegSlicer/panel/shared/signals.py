"""Signals between the parts of the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Functions that are called when something happens."""

    def __init__(self) -> None:
        self._functions: list[Callable[..., None]] = []

    def connect(self, function: Callable[..., None]) -> None:
        """Adds a function."""
        self._functions.append(function)

    def emit(self, *arguments: Any) -> None:
        """Calls the functions in the order in which they were added."""
        for function in self._functions:
            function(*arguments)
