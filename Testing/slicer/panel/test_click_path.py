"""The modules that one click passes, from the point placed in a view to the voxels of the segment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.slicer.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from Testing.slicer.host.host import Host

MOST_MODULES = 16
#: Values, which the click carries along, and what the whole library uses: they pass nothing on.
_PASSED = ("geometry", "images", "prompts", "protocols", "session/edit.py", "errors", "memory", "jobs")
VALUES = tuple(f"TumorSegLib/{name}" for name in _PASSED)
START, END = "TumorSegSlicer/panel/editing/place.py", "TumorSegSlicer/mrml/labelmaps.py"
REPOSITORY = Path(__file__).resolve().parents[3]


class Trace:
    """Notes the product's modules in the order in which a click enters them, by thread; listeners are left out."""

    def __init__(self) -> None:
        #: One list per stretch on one thread.
        self.stretches: list[list[str]] = []
        self._modules: dict[str, str] = {}
        self._thread: str | None = None
        self.ended = False

    def install(self, thread: str) -> None:
        """Begins to note what this thread does."""
        sys.setprofile(lambda frame, event, _argument: self._note(thread, frame, event))

    def _note(self, thread: str, frame: Any, event: str) -> None:
        if event != "call" or self.ended:
            return
        module = self._module(frame.f_code.co_filename)
        if not module or (not self.stretches and (module, frame.f_code.co_name) != (START, "_take")):
            return
        if module.startswith("TumorSegSlicer/panel/shared/") and frame.f_code.co_name in ("emit", "_poll"):
            return
        if self._listens(frame):
            return
        if thread != self._thread:
            self.stretches.append([])
            self._thread = thread
        if not self.stretches[-1] or self.stretches[-1][-1] != module:
            self.stretches[-1].append(module)
        self.ended = (module, frame.f_code.co_name) == (END, "writeVoxels")

    @staticmethod
    def _listens(frame: Any) -> bool:
        """Whether a function was called by a signal, such as that of being busy, which passes no click on."""
        while frame is not None:
            if frame.f_code.co_name == "emit" and frame.f_code.co_filename.endswith("panel/shared/signals.py"):
                return True
            frame = frame.f_back
        return False

    def _module(self, filename: str) -> str:
        """The module of a file as a path; empty where it is not the product's, or one of values."""
        if filename not in self._modules:
            name = filename.removeprefix(f"{REPOSITORY}/").removeprefix("TumorSeg/")
            product = name.startswith(("TumorSegSlicer/", "TumorSegLib/")) and not name.startswith(VALUES)
            self._modules[filename] = name if product and not name.endswith("__init__.py") else ""
        return self._modules[filename]

    def words(self) -> str:
        """The trace, a line per module, a rule where the thread changes."""
        return "\n----\n".join("\n".join(dict.fromkeys(stretch)) for stretch in self.stretches)


@pytest.fixture
def trace(host: Host) -> Iterator[Trace]:
    """The trace of the second click of a user, with an engine that has been used before."""
    desk = Desk(host)
    from TumorSegSlicer.work.runner import Task

    desk.find()
    host.show(desk.volumes["ct"])
    desk.ui.positiveButton.click()
    desk.place("Red", (20, 50, 20))
    desk.wait_saved()
    made = Trace()
    desk.context.tasks.start(Task(lambda _progress, _cancel: made.install("worker")), lambda _: None)
    desk.wait()
    made.install("GUI")
    try:
        desk.place("Red", (50, 50, 20))
    finally:
        sys.setprofile(None)
    desk.context.tasks.start(Task(lambda _progress, _cancel: sys.setprofile(None)), lambda _: None)
    desk.wait()
    assert made.ended
    return made


def test_a_click_passes_few_modules_and_two_threads(trace: Trace) -> None:
    modules = list(dict.fromkeys(module for stretch in trace.stretches for module in stretch))
    print(trace.words())
    assert len(modules) <= MOST_MODULES, trace.words()
    for needed in ("panel/correct.py", "logic.py", "mrml/segments.py", "work/runner.py", "session/segments.py"):
        assert any(module.endswith(needed) for module in modules), trace.words()
    # To the worker and back, and no other queue: what was passed before the work is not passed again after it, but for
    # the runner, the action, and what these ask of the scene.
    assert len(trace.stretches) == 3, trace.words()
    before, work, after = (set(stretch) for stretch in trace.stretches)
    mrml = {module for module in modules if "/mrml/" in module}
    own = {f"TumorSegSlicer/work/{name}.py" for name in ("runner", "edits", "sessions")}
    assert (before & after) - mrml <= own | {"TumorSegSlicer/logic.py"}, trace.words()
    assert not work & {module for module in modules if "/panel/" in module or "/mrml/" in module}, trace.words()
