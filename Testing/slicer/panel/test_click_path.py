"""The modules that a click passes, from the point placed in a view to the voxels of the segment, with real models."""

from __future__ import annotations

import re
import sys
import threading
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.documents import blocks_of
from Testing.fakes import tiny_spec
from Testing.slicer.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from Testing.slicer.host.host import Host

#: Modules that hand the click, or its answer, on.
MOST_MODULES = 16
#: All modules in which a function is called for the click: with values (grids, prompts), checks (also of what the
#: views show) and the network.
MOST_ENTERED = {"lesion-clicks": 47, "sts-clicks": 42}
#: The engine of each model that ships, which the user gets from clicks alone, and after the automatic model.
ENGINES = {
    "lesion-clicks": "TumorSegLib/engines/clicks/any_image.py",
    "sts-clicks": "TumorSegLib/engines/clicks/engine.py",
}
THREADS = ["MainThread", "TumorSeg", "MainThread"]
REPOSITORY = Path(__file__).resolve().parents[3]


def stations(engine: str) -> tuple[tuple[str, str], ...]:
    """Where a click arrives, in their order: module and function. Who is on the call stack there has handed it on."""
    return (
        ("TumorSegSlicer/mrml/prompts.py", "clickFromRas"),
        ("TumorSegSlicer/work/runner.py", "work"),
        (engine, "_run"),
        ("TumorSegLib/session/history.py", "push"),
        ("TumorSegSlicer/mrml/labelmaps.py", "writeVoxels"),
    )


#: Where the stacks of a click begin: the timer of the point drawn, the thread, the timer that looks for answers. Other
#: timers of the panel may run meanwhile, such as that of embedding ahead.
ORIGINS = (
    ("TumorSegSlicer/panel/editing/draw.py", "_handOver"),
    ("TumorSegSlicer/work/runner.py", "_workOn"),
    ("TumorSegSlicer/panel/shared/tasks.py", "_poll"),
)


class Trace:
    """Notes the modules of the product from the placing of a point on; listeners of signals are left out."""

    def __init__(self, model: str) -> None:
        self.model, self.wanted = model, stations(ENGINES[model])
        self.entered: dict[str, None] = {}
        #: Station to the modules on the call stack there, the outermost first, by the name of the thread.
        self.stations: dict[tuple[str, str], tuple[str, list[str]]] = {}
        self._modules: dict[str, str] = {}
        self._begun = False

    def note(self, frame: Any, event: str, _argument: Any) -> None:
        """To be set as the profile function of a thread."""
        module, function = self._module(frame), frame.f_code.co_name
        self._begun = self._begun or (module.endswith("editing/draw.py") and function == "_handOver")
        ended = self.wanted[-1] in self.stations
        if event != "call" or not module or not self._begun or ended:
            return
        stack = list(_stack(frame))
        began = next(each for each in reversed(stack) if self._module(each))
        if (self._module(began), began.f_code.co_name) not in ORIGINS:
            return
        if any(each.f_code.co_name == "emit" and self._module(each).endswith("shared/signals.py") for each in stack):
            return
        self.entered.setdefault(module)
        if (module, function) in self.wanted:
            passed = [each for each, _ in groupby(filter(None, map(self._module, reversed(stack))))]
            self.stations.setdefault((module, function), (threading.current_thread().name, passed))

    def _module(self, frame: Any) -> str:
        """The module of a frame as a path; empty where it is not the product's."""
        filename = frame.f_code.co_filename
        if filename not in self._modules:
            name = filename.removeprefix(f"{REPOSITORY}/").removeprefix("TumorSeg/")
            product = name.startswith(("TumorSegSlicer/", "TumorSegLib/")) and not name.endswith("__init__.py")
            self._modules[filename] = name if product else ""
        return self._modules[filename]


def _stack(frame: Any) -> Iterator[Any]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def drawn_modules() -> set[str]:
    """The modules in the drawing of the page on architecture, which names the engine for any image."""
    _layers, drawing = (block for block in blocks_of("docs/architecture.md") if block.language == "text")
    names = re.findall(r"[\w/]+\.py", drawing.text)
    library = ("session/", "engines/")
    return {f"{'TumorSegLib' if name.startswith(library) else 'TumorSegSlicer'}/{name}" for name in names}


@pytest.fixture(params=list(ENGINES))
def trace(host: Host, request: pytest.FixtureRequest) -> Trace:
    """The trace of the second click of a user, on what the automatic model marked, or from nothing."""
    desk = Desk(host)
    desk.patience = 300.0
    from TumorSegSlicer.install.torch_libraries import loadEngine
    from TumorSegSlicer.work.runner import Task

    from TumorSegLib.engines.lazy import EngineCache

    if request.param == "sts-clicks":
        desk.engines.engines["auto"].spec = tiny_spec("sts-auto", ("ct", "pet"), ("ct", "pet"))
        desk.find()
    desk.widget.logic.bench.engineSource = EngineCache(loadEngine)
    host.show(desk.volumes["ct"])
    desk.ui.pointButton.click()
    desk.place("Red", (20, 50, 20))
    desk.wait_saved()
    made = Trace(request.param)
    desk.context.tasks.start(Task(lambda _progress, _cancel: sys.setprofile(made.note)), lambda _: None)
    desk.wait()
    sys.setprofile(made.note)
    try:
        desk.place("Red", (50, 50, 20))
    finally:
        sys.setprofile(None)
    desk.context.tasks.start(Task(lambda _progress, _cancel: sys.setprofile(None)), lambda _: None)
    desk.wait()
    return made


def test_a_click_is_handed_on_by_few_modules_and_by_none_twice(trace: Trace) -> None:
    assert list(trace.stations) == list(trace.wanted)
    paths = [passed for _thread, passed in trace.stations.values()]
    print("\n\n".join("\n".join(passed) for passed in paths))
    for passed in paths:  # none twice: but the runtime calls the engine's function, again where memory does not suffice
        once = [module for module in passed if module != ENGINES[trace.model]]
        assert len(set(once)) == len(once), passed
    modules = {module for passed in paths for module in passed}
    assert len(modules) <= MOST_MODULES, sorted(modules)
    drawn = {ENGINES["lesion-clicks"]: ENGINES[trace.model]}
    assert {drawn.get(module, module) for module in drawn_modules()} == modules
    # To the worker and back, once; the worker does not touch the scene.
    assert [thread for thread, _ in groupby(trace.stations.values(), lambda station: station[0])] == THREADS
    work = {module for thread, passed in trace.stations.values() if thread == "TumorSeg" for module in passed}
    assert not [module for module in work if "/panel/" in module or "/mrml/" in module]
    print("\n".join(trace.entered))
    assert len(trace.entered) <= MOST_ENTERED[trace.model], sorted(trace.entered)
