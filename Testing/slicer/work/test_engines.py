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


def ignore(_done: int, _total: int) -> None:
    """Nobody wants to know."""


def test_who_waits_for_a_model_to_load_can_leave_and_finds_it_loaded_later() -> None:
    from TumorSegSlicer.work.engines import loading

    loader, done = Loader(), []
    engine = lazy(loader)
    task = loading(engine, lambda _progress, _cancel: done.append("done"))
    with pytest.raises(Cancelled):
        task(ignore, loader.begun.is_set)  # the loader still waits to be let go
    assert done == []
    loader.go.set()
    task(ignore, lambda: False)
    assert (done, loader.loads) == (["done"], 1)
    assert engine.loaded() is loader.engine


def test_a_model_that_could_not_be_loaded_is_tried_again() -> None:
    loader = Loader(failures=1)
    loader.go.set()
    engine = lazy(loader)
    with pytest.raises(TumorSegError, match="cannot be read"):
        engine.loaded()
    assert engine.loaded() is loader.engine
    assert loader.loads == 2


def test_a_task_of_another_engine_is_done_as_it_is() -> None:
    from TumorSegSlicer.work.engines import loading

    assert loading(BallEngine(), lambda _progress, _cancel: "done")(ignore, lambda: True) == "done"
