"""Engines loaded on first use: once, in a thread of their own, with a wait that can be cancelled."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from Testing.fakes import BallEngine, EllipsoidEngine, noise_volume
from Testing.unit.cases.sessions import GRID
from TumorSegLib.engines.lazy import EngineCache, LazyEngine
from TumorSegLib.errors import Cancelled, ModelError, TumorSegError
from TumorSegLib.prompts.types import BoxPrompt


class Loader:
    """Loads an engine once ``go`` is set; the first ``failures`` calls fail."""

    def __init__(self, failures: int = 0, go: bool = True) -> None:
        self.engine, self.go, self.begun = BallEngine(), threading.Event(), threading.Event()
        self.loads, self.failures = 0, failures
        if go:
            self.go.set()

    def __call__(self) -> Any:
        self.loads += 1
        self.begun.set()
        assert self.go.wait(60)
        if self.loads <= self.failures:
            raise TumorSegError("the weights cannot be read")
        return self.engine


def lazy(loader: Loader) -> LazyEngine:
    return LazyEngine(loader.engine.spec, loader)


def test_cancelling_the_wait_lets_loading_go_on_for_the_next_use() -> None:
    loader = Loader(go=False)
    engine = lazy(loader)
    with pytest.raises(Cancelled):
        engine.loaded(loader.begun.is_set)  # the loader still waits to be let go
    loader.go.set()
    assert engine.loaded() is loader.engine
    assert loader.loads == 1


def test_a_model_that_could_not_be_loaded_is_tried_again() -> None:
    loader = Loader(failures=1)
    engine = lazy(loader)
    with pytest.raises(TumorSegError, match="cannot be read"):
        engine.loaded()
    assert engine.loaded() is loader.engine
    assert loader.loads == 2


def test_methods_load_the_engine_and_its_spec_does_not() -> None:
    loader = Loader()
    engine = lazy(loader)
    assert not hasattr(engine, "__deepcopy__")
    assert (engine.spec.name, loader.loads) == ("balls", 0)
    assert engine.prepare({"ct": noise_volume(GRID)}) == GRID
    assert loader.loads == 1
    with pytest.raises(AttributeError):
        engine.nonsense  # noqa: B018


def test_embedding_ahead_loads_a_lazy_engine() -> None:
    engine = EllipsoidEngine()
    assert LazyEngine(engine.spec, lambda: engine).embed((GRID, None), BoxPrompt(((0, 3), (0, 3), (0, 3)))) == 1
    assert len(engine.embedded) == 1


def test_cache_gives_the_same_engine_for_the_same_arguments_until_the_model_is_forgotten() -> None:
    loaded: list[tuple[str, ...]] = []
    cache = EngineCache(lambda *key: loaded.append(key) or BallEngine())
    engine = cache("auto", "sts-auto", "cpu", "float32")
    assert (engine.spec.name, loaded) == ("sts-auto", [])
    assert cache("auto", "sts-auto", "cpu", "float32") is engine
    assert cache("auto", "sts-auto", "cpu", "bfloat16") is not engine
    for _ in range(2):
        assert engine.prepare({"ct": noise_volume(GRID)}) == GRID
    assert loaded == [("sts-auto", "cpu", "float32")]
    with pytest.raises(ModelError, match="of kind 'auto'; one of kind 'clicks'"):
        cache("clicks", "sts-auto", "cpu", "float32")
    cache.forget("sts-auto")
    assert cache("auto", "sts-auto", "cpu", "float32") is not engine
