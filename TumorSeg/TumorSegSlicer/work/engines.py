"""Models by name, each loaded when it is first used, on a thread of its own: loading imports PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from TumorSegSlicer.work.runner import Cancel

if TYPE_CHECKING:
    from TumorSegLib import ModelSpec

#: Called as (kind, model, device, precision) for an engine that loads when it is first used; the same for the same.
EngineSource = Callable[[str, str, str, str], Any]

#: How often those who wait for an engine ask whether they still should.
ASK_SECONDS = 0.05


class LazyEngine:
    """An engine of any kind that is loaded once it has something to do; its description is known before."""

    def __init__(self, spec: ModelSpec, load: Callable[[], Any]) -> None:
        """Keeps what loads the engine.

        Args:
            spec: the model.
            load: returns the engine; called on a thread of its own when it is first needed, again where it failed.
        """
        self.spec = spec
        self._load = load
        self._loading: Future[Any] | None = None
        self._lock = threading.Lock()

    def segment(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``segment``."""
        return self.loaded().segment(*arguments, **named)

    def prepare(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``prepare``."""
        return self.loaded().prepare(*arguments, **named)

    def embed(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``embed``."""
        return self.loaded().embed(*arguments, **named)

    def refine(self, *arguments: Any, **named: Any) -> Any:
        """As the engine's ``refine``."""
        return self.loaded().refine(*arguments, **named)

    def loaded(self, cancel: Cancel | None = None) -> Any:
        """The engine; whoever stops waiting for it is free at once, and finds it loaded the next time.

        Raises:
            Cancelled: ``cancel`` returned True.
        """
        from TumorSegLib.errors import Cancelled

        with self._lock:
            loading = self._loading
            if loading is None:
                loading = self._loading = Future()
                threading.Thread(target=self._fill, args=(loading,), name="TumorSeg loading", daemon=True).start()
        while not wait([loading], ASK_SECONDS).done:
            if cancel is not None and cancel():
                raise Cancelled("stopped while the model was loaded")
        return loading.result()

    def _fill(self, loading: Future[Any]) -> None:
        try:
            loading.set_result(self._load())
        except BaseException as error:  # whatever it is, those who wait are told
            self._loading = None
            loading.set_exception(error)


class EngineCache:
    """Engines by model, device and precision; the same three give the same engine."""

    def __init__(self) -> None:
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
        from TumorSegLib.errors import ModelError
        from TumorSegLib.models.registry import find_model

        key = (kind, name, device, precision)
        if key not in self._engines:  # so that the folders of models are not read at every click
            spec = find_model(name).spec
            if spec.kind != kind:
                raise ModelError(f"model '{name}' is of kind '{spec.kind}'; one of kind '{kind}' is needed here")
            self._engines[key] = LazyEngine(spec, lambda: _loaded(name, device, precision))
        return self._engines[key]

    def forget(self, name: str) -> None:
        """Lets go of a model whose folder was deleted or replaced."""
        self._engines = {key: engine for key, engine in self._engines.items() if key[1] != name}


def _loaded(name: str, device: str, precision: str) -> Any:
    from TumorSegSlicer.install import packages, torch_libraries

    torch_libraries.load()
    from TumorSegLib import ModelError, load_engine

    try:
        return load_engine(name, device, precision)
    except ModelError as error:
        if packages.missingPackages():  # among them, it may be, the one that the model needs
            raise packages.lacking(error) from error
        raise
