"""Engines that are loaded when they are first needed: once, off the worker's thread, and whoever waits can leave."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from Testing.fakes import BallEngine
from Testing.slicer import scene  # noqa: F401 - puts the module's folder on the path
from TumorSegLib import Cancelled, TumorSegError


class Loader:
    """Loads an engine once it is let go; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.engine, self.go, self.begun = BallEngine(), threading.Event(), threading.Event()
        self.loads, self.failures = 0, failures

    def __call__(self) -> Any:
        self.loads += 1
        self.begun.set()
        assert self.go.wait(60)
        if self.loads <= self.failures:
            raise TumorSegError("the weights cannot be read")
        return self.engine


def lazy(loader: Loader) -> Any:
    from TumorSegSlicer.work.engines import LazyEngine

    return LazyEngine(loader.engine.spec, loader)


def test_who_waits_for_a_model_to_load_can_leave_and_finds_it_loaded_later() -> None:
    loader = Loader()
    engine = lazy(loader)
    with pytest.raises(Cancelled):
        engine.loaded(loader.begun.is_set)  # the loader still waits to be let go
    loader.go.set()
    assert engine.loaded() is loader.engine
    assert loader.loads == 1


def test_a_model_that_could_not_be_loaded_is_tried_again() -> None:
    loader = Loader(failures=1)
    loader.go.set()
    engine = lazy(loader)
    with pytest.raises(TumorSegError, match="cannot be read"):
        engine.loaded()
    assert engine.loaded() is loader.engine
    assert loader.loads == 2
