"""Engines by name of their model, loaded on first use in a thread of their own. Importing this imports no torch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeAlias

from TumorSegLib.errors import Cancelled, ModelError
from TumorSegLib.jobs import POLL_SECONDS, Cancel
from TumorSegLib.models.spec import ModelSpec

#: Called as (kind, model, device, precision); returns the same engine for the same arguments.
EngineSource: TypeAlias = Callable[[str, str, str, str], Any]


class LazyEngine:
    """An engine of any kind that is loaded when one of its methods is first used; ``spec`` is known before."""

    def __init__(self, spec: ModelSpec, load: Callable[[], Any]) -> None:
        """Loads nothing yet.

        Args:
            spec: the model.
            load: returns the engine; called in a thread of its own on first use, and again after it failed.
        """
        self.spec = spec
        self._load = load
        self._loading: Future[Any] | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # of protocols of Python, such as copying
            raise AttributeError(name)
        return getattr(self.loaded(), name)

    def loaded(self, cancel: Cancel | None = None) -> Any:
        """Waits for the engine; where the wait is cancelled, loading goes on for the next use.

        Raises:
            Cancelled: ``cancel`` returned True.
        """
        with self._lock:
            loading = self._loading
            if loading is None:
                loading = self._loading = Future()
                threading.Thread(target=self._fill, args=(loading,), name="TumorSeg loading", daemon=True).start()
        while not wait([loading], POLL_SECONDS).done:
            if cancel is not None and cancel():
                raise Cancelled("stopped while the model was loaded")
        return loading.result()

    def _fill(self, loading: Future[Any]) -> None:
        try:
            loading.set_result(self._load())
        except BaseException as error:  # handed on to those who wait
            self._loading = None
            loading.set_exception(error)


class EngineCache:
    """Engines by model, device and precision; the same arguments give the same engine."""

    def __init__(self, load: Callable[[str, str, str], Any] | None = None) -> None:
        """Begins empty.

        Args:
            load: called as (model, device, precision), returns the engine; :func:`TumorSegLib.load_engine` by default.
        """
        self._load = load or _load_engine
        self._engines: dict[tuple[str, str, str, str], LazyEngine] = {}

    def __call__(self, kind: str, name: str, device: str, precision: str) -> LazyEngine:
        """The engine of a model, not loaded yet.

        Args:
            kind: ``auto``, ``clicks`` or ``box``.
            name: of the model, or the path of its folder.
            device, precision: as for :func:`TumorSegLib.load_engine`.

        Raises:
            ModelError: there is no such model, or it is of another kind.
        """
        from TumorSegLib.models.registry import find_model

        key = (kind, name, device, precision)
        if key not in self._engines:  # so that the folders of models are not read at every click
            spec = find_model(name).spec
            if spec.kind != kind:
                raise ModelError(f"model '{name}' is of kind '{spec.kind}'; one of kind '{kind}' is needed here")
            self._engines[key] = LazyEngine(spec, lambda: self._load(name, device, precision))
        return self._engines[key]

    def forget(self, name: str) -> None:
        """Drops a model whose folder was deleted or replaced."""
        self._engines = {key: engine for key, engine in self._engines.items() if key[1] != name}


def _load_engine(name: str, device: str, precision: str) -> Any:
    from TumorSegLib.engines.load import load_engine

    return load_engine(name, device, precision)
