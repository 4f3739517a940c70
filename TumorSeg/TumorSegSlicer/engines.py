"""Models by name, each loaded when it is first used, on the thread that uses it: loading imports PyTorch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from TumorSegLib import ModelSpec


class LazyEngine:
    """An engine of any kind that is loaded once it has something to do; its description is known before."""

    def __init__(self, spec: ModelSpec, load: Callable[[], Any]) -> None:
        """Keeps what loads the engine.

        Args:
            spec: the model.
            load: returns the engine; called once, on the thread that first needs it.
        """
        self.spec = spec
        self._load = load
        self._loaded: Any = None
        self._loading = threading.Lock()

    def segment(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``segment``."""
        return self._engine().segment(*arguments, **named)

    def prepare(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``prepare``."""
        return self._engine().prepare(*arguments, **named)

    def refine(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``refine``."""
        return self._engine().refine(*arguments, **named)

    def embed(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``embed``."""
        return self._engine().embed(*arguments, **named)

    def _engine(self) -> Any:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded


class EngineCache:
    """Engines by model, device and precision; the same three give the same engine."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, str, str], LazyEngine] = {}

    def __call__(self, kind: str, name: str, device: str, precision: str) -> LazyEngine:
        """The engine of a model, not loaded yet.

        Args:
            kind: ``auto``, ``clicks`` or ``box``.
            name: of the model, or the path of its folder.
            device, precision: as for :func:`TumorSegLib.load_engine`.

        Raises:
            ArgumentError: the name is neither text nor a path.
            ModelError: there is no such model, or it is of another kind.
        """
        from TumorSegLib.errors import ArgumentError, ModelError
        from TumorSegLib.registry import find_model

        if not isinstance(name, (str, os.PathLike)):
            raise ArgumentError(f"model: the name of a model or the path of its folder is needed, got {name!r}")
        spec = find_model(name).spec
        if spec.kind != kind:
            raise ModelError(f"model '{name}' is of kind '{spec.kind}'; one of kind '{kind}' is needed here")
        key = (name, device, precision)
        if key not in self._engines:
            self._engines[key] = LazyEngine(spec, lambda: _loaded(name, device, precision))
        return self._engines[key]

    def forget(self, name: str) -> None:
        """Lets go of a model whose folder was deleted or replaced."""
        self._engines = {key: engine for key, engine in self._engines.items() if key[0] != name}


def _loaded(name: str, device: str, precision: str) -> Any:
    from TumorSegSlicer import install, torch_libraries

    torch_libraries.load()
    from TumorSegLib import ModelError, load_engine

    try:
        return load_engine(name, device, precision)
    except ModelError as error:
        if install.missingPackages():  # among them, it may be, the one that the model needs
            raise install.lacking(error) from error
        raise
