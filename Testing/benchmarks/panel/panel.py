"""What the panel adds to the library's own time, on the test host: PET/CT of 512 x 512 x 200 voxels, models that ship.

Last, a session of 200 edits is saved again and again while clicks are placed: how much later their work begins
than with nothing to save.

A gap is how long the GUI's event loop stood still. The first segmentation loads PyTorch and the model; the second is
inference alone. Of a click, the overhead is the time from the point placed to the voxels in the segment, less what the
library took for it on the worker's thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from Testing.benchmarks.measuring import format_row
from Testing.slicer.module import TUMORSEG, choose

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host
    from TumorSegLib import Mask

PATIENCE_SECONDS, CLICKS = 600.0, 10
# Steps of the session that is saved, and clicks placed while all of them are being saved.
STEPS, CLICKS_WHILE_SAVING = 200, 20
# Cancel is pressed so long after Segment: while packages are imported, and while the network computes.
LOADING_SECONDS, WORKING_SECONDS = 0.3, 3.0


def run(shape: tuple[int, int, int]) -> None:
    """Prints seconds to build the panel, gaps in ms, the overhead of clicks in ms and seconds until Cancel works."""
    from Testing.slicer.host.host import boot

    with boot() as host:
        started = time.perf_counter()
        desk = _Desk(host, host.load_module(TUMORSEG))
        built = time.perf_counter() - started
        _report("panel", {"built_seconds": built, "torch_imported": "torch" in sys.modules})
        truth = desk.choose_images(shape)
        _report("cancel while the model is loaded", desk.cancel(LOADING_SECONDS))
        for name in ("first segmentation", "second segmentation"):
            _report(name, _gaps(*desk.press("segmentButton")))
        _report("cancel", desk.cancel(WORKING_SECONDS))
        _report("clicks", desk.click(truth))
        _report("saving", desk.save(truth))


class _Desk:
    """A user at the panel, with a clock."""

    def __init__(self, host: Host, widget: Any) -> None:
        self.host, self.ui, self.panel = host, widget.ui, widget.panel
        self.context = widget.panel.context
        self.ct: Any = None

    def choose_images(self, shape: tuple[int, int, int]) -> Mask:
        """Puts PET/CT of a phantom into the scene and chooses them; the tumour in it is returned."""
        from TumorSegSlicer.mrml.sample_data import addVolume

        from Testing.benchmarks.cases import clinical_case

        images, truth = clinical_case(shape)
        nodes = {role: addVolume(image.array, image.grid.affine, role) for role, image in images.items()}
        self.ct = nodes["ct"]
        for role, node in nodes.items():
            choose(self.ui, role, node)
        return truth

    def press(self, button: str) -> tuple[float, list[float]]:
        """Seconds until the panel is done, and gaps."""
        started = time.perf_counter()
        with self.host.heartbeat() as gaps:
            getattr(self.ui, button).click()
            self._wait(lambda: not self.context.tasks.busy)
        return time.perf_counter() - started, gaps

    def cancel(self, after_seconds: float) -> dict[str, float]:
        """Presses Segment and, so long after, Cancel; how long that takes, and the longest gap."""
        with self.host.heartbeat() as gaps:
            self.ui.segmentButton.click()
            wanted = time.perf_counter() + after_seconds
            self._wait(lambda: time.perf_counter() > wanted)
            started = time.perf_counter()
            self.ui.cancelButton.click()
            self._wait(lambda: not self.context.tasks.busy)
        return {"seconds": time.perf_counter() - started, "gap_largest_ms": max(gaps)}

    def click(self, truth: Mask) -> dict[str, Any]:
        """Places points on random voxels in and near the tumour."""
        library = _clocked_clicks()
        overheads, totals, ended = [], [], []
        self.context.edits.onEdited.connect(lambda: ended.append(time.perf_counter()))
        places = list(_places(truth))
        with self.host.heartbeat() as gaps:
            for ras, positive in places:
                library.clear()
                ended.clear()
                started = self._place(ras, positive)
                self._wait(lambda: ended)
                totals.append(ended[0] - started)
                overheads.append(totals[-1] - sum(library))
                self._wait(lambda: not self.context.edits.unsaved)
        return {
            "clicks": len(totals),
            "total_median_ms": 1000 * float(np.median(totals)),
            "overhead_median_ms": 1000 * float(np.median(overheads)),
            "overhead_largest_ms": 1000 * max(overheads),
            "gap_largest_ms": max(gaps),
        }

    def save(self, truth: Mask) -> dict[str, Any]:
        """Makes many edits without a model, and places points while all of them are being saved."""
        from TumorSegSlicer.mrml.session_nodes import textNode

        target, engine = self.context.selection.target(), _balls()
        self.context.logic.bench.engineSource = lambda *_key: engine
        inside = np.argwhere(truth.array)[:, ::-1]
        for ijk in np.random.default_rng(1).choice(inside, STEPS):
            self.context.logic.addClick(*target, truth.grid.to_ras(ijk).tolist())
        every, one = self._seconds_to_save(all_steps=True), self._seconds_to_save(all_steps=False)
        text = textNode(*target)
        waits: dict[bool, list[float]] = {False: [], True: []}
        with self.host.heartbeat() as gaps:
            for number, ijk in enumerate(inside[: 2 * CLICKS_WHILE_SAVING]):
                saving = number % 2 == 1
                if saving:
                    self._begin_saving(every * number / (2 * CLICKS_WHILE_SAVING))
                r, a, s = truth.grid.to_ras(ijk).tolist()
                waits[saving].append(self._time_to_begin((r, a, s), engine))
        return {
            "steps": STEPS,
            "saved_MB": sum(len(text.GetAttribute(name)) for name in text.GetAttributeNames()) / 2**20,
            "all_seconds": every,
            "one_more_ms": 1000 * one,
            "click_begins_median_ms": 1000 * float(np.median(waits[False])),
            "click_begins_largest_ms": 1000 * max(waits[False]),
            "click_begins_while_saving_median_ms": 1000 * float(np.median(waits[True])),
            "click_begins_while_saving_largest_ms": 1000 * max(waits[True]),
            "gap_largest_ms": max(gaps),
        }

    def _seconds_to_save(self, all_steps: bool) -> float:
        if all_steps:
            self._forget_saved()
        started = time.perf_counter()
        self.context.logic.save()
        return time.perf_counter() - started

    def _forget_saved(self) -> None:
        """Has all steps encoded again the next time."""
        node, segment = self.context.selection.target()
        self.context.logic._sessions._entries[node.GetID(), segment].savedUpTo = -1

    def _begin_saving(self, seconds: float) -> None:
        """Saves all steps as the panel does, and goes on after some seconds, before it ends."""
        context = self.context
        self._forget_saved()
        run = context.tasks.startingQuietly(lambda _: None, lambda _: None)
        context.logic.saveSession(*context.selection.target(), run=run)
        wanted = time.perf_counter() + seconds
        self._wait(lambda: time.perf_counter() > wanted)

    def _time_to_begin(self, ras: tuple[float, float, float], engine: Any) -> float:
        """Seconds from a point placed to the engine asked; waits until the session is saved."""
        started = self._place(ras, True)
        self._wait(lambda: engine.begun > started and not self.context.edits.unsaved)
        return engine.begun - started

    def _place(self, ras: tuple[float, float, float], positive: bool) -> float:
        """Places a point as a view does, and returns when."""
        from TumorSegSlicer.panel.editing.draw import Drawn

        drawn = Drawn("point", [ras], (0.0, 0.0, 1.0), positive)
        started = time.perf_counter()
        self.panel.correct.prompts._onDrawn(drawn)
        return started

    def _wait(self, condition: Callable[[], bool]) -> None:
        self.host.wait_until(condition, "the panel", PATIENCE_SECONDS)


def _balls() -> Any:
    """A click engine that needs hardly any time: a ball of noise of 24 voxels; ``begun`` is when it began last."""
    from Testing.fakes import BallEngine

    class Balls(BallEngine):
        begun = 0.0

        def refine(self, *given: Any) -> Any:
            self.begun = time.perf_counter()
            return super().refine(*given)

    return Balls(12)


def _clocked_clicks() -> list[float]:
    """A list that gets the seconds that the library takes for each click from now on, loading the model included."""
    from TumorSegSlicer.work.editing.edits import PromptEdit

    plain, seconds = PromptEdit.work, list[float]()

    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return plain(*arguments)
        finally:
            seconds.append(time.perf_counter() - started)

    PromptEdit.work = timed  # type: ignore[method-assign]
    return seconds


def _places(truth: Mask) -> Iterator[tuple[tuple[float, float, float], bool]]:
    """RAS mm of voxels, in turn one in the tumour and one a few voxels beside it."""
    inside = np.argwhere(truth.array)[:, ::-1]
    chosen = np.random.default_rng(0).choice(inside, CLICKS)
    for number, ijk in enumerate(chosen):
        positive = number % 2 == 0
        r, a, s = truth.grid.to_ras(ijk if positive else inside.max(axis=0) + 2).tolist()
        yield (r, a, s), positive


def _gaps(seconds: float, gaps: list[float]) -> dict[str, float]:
    return {"seconds": seconds, "gap_largest_ms": max(gaps), "gap_p99_ms": float(np.percentile(gaps, 99))}


def _report(name: str, figures: dict[str, Any]) -> None:
    print(f"{name}: {format_row(figures)}", flush=True)
