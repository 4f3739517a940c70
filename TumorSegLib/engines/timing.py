"""Seconds of each stage of a piece of work."""

from __future__ import annotations

import time


class Clock:
    """Adds up seconds by stage in ``laps``; a stage may come several times."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends a stage that began with the last lap."""
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 4)
        self._last = now
