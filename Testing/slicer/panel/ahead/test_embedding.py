"""What a box will need, computed while nobody asks for anything, and out of the way as soon as somebody does."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from TumorSegLib import Cancelled, ModelError, ResourceError

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: How long a box is left alone in all tests but one, in ms, and a longer time, in seconds.
SETTLED_MS, SILENCE = 150, 0.5


class Slow:
    """Embeds until it is stopped, which it hears of at once."""

    def __init__(self, engine: Any) -> None:
        self.begun, self.stopped, self.go = threading.Event(), threading.Event(), threading.Event()
        self._embed, engine.embed = engine.embed, self.embed

    def embed(self, prepared: Any, prompt: Any, options: Any = None, cancel: Any = None) -> int:
        self.begun.set()
        while not self.go.wait(0.005):
            if cancel():
                self.stopped.set()
                raise Cancelled("stopped")
        return int(self._embed(prepared, prompt, options, cancel))


class Drawer(Desk):
    """A user with a tumour that was found, who draws boxes."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.find()
        self.context.parameters.boxModel = "lite-medsam"
        self.box = self.engines.engines["box"]
        self.told: list[bool] = []
        self.context.tasks.onBusy.connect(self.told.append)
        self.timer = self.widget.panel.correct.prompts._ahead._timer
        self.patience_ms = self.timer.interval
        self.timer.setInterval(SETTLED_MS)

    def draw(self, ijk: tuple[int, int, int], radius_mm: float = 20.0) -> Any:
        import slicer

        roi = self.ui.boxSelector.currentNode()
        if roi is None:
            roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
            self.ui.boxSelector.setCurrentNode(roi)
        roi.SetXYZ(self.ras(*ijk))
        roi.SetRadiusXYZ([radius_mm] * 3)
        return roi

    def listen(self) -> None:
        end = time.monotonic() + SILENCE
        self.host.wait_until(lambda: time.monotonic() > end, "time to pass", 60)

    def wait_embedded(self, count: int = 1) -> None:
        self.host.wait_until(lambda: len(self.box.embedded) == count, "the box to be embedded", 60)

    def slow(self) -> Slow:
        """An engine at work on a box."""
        slow = Slow(self.box)
        self.draw((16, 27, 22))
        self.host.wait_until(slow.begun.is_set, "the engine to begin", 60)
        return slow


@pytest.fixture
def drawer(host: Host) -> Drawer:
    return Drawer(host)


def test_embedding_ahead_of_a_box_at_rest_changes_nothing_else(drawer: Drawer) -> None:
    assert drawer.patience_ms == 1000
    before = drawer.mask()
    drawer.wait_saved()
    drawn = time.monotonic()
    drawer.draw((16, 27, 22))
    drawer.wait_embedded()
    assert time.monotonic() - drawn > 0.9 * SETTLED_MS / 1000
    drawer.listen()
    assert len(drawer.box.embedded) == 1  # once
    assert drawer.told == []
    assert drawer.ui.segmentButton.enabled
    assert drawer.host.dialogs.shown == []
    np.testing.assert_array_equal(drawer.mask(), before)
    assert not drawer.context.edits.unsaved
    drawer.press("boxAgainButton")
    assert drawer.box.embedded == [box for box, _ in drawer.box.segmented]
    assert len(drawer.box.prepared) == 1


def test_embedding_ahead_restarts_for_a_moved_box(drawer: Drawer) -> None:
    slow = drawer.slow()
    drawer.draw((30, 30, 16))
    drawer.host.wait_until(slow.stopped.is_set, "the engine to stop", 60)
    slow.go.set()
    drawer.wait_embedded()
    drawer.press("boxAgainButton")
    assert drawer.box.embedded == [box for box, _ in drawer.box.segmented]
    assert drawer.host.dialogs.shown == []


def test_embedding_ahead_stops_for_actions(drawer: Drawer) -> None:
    slow = drawer.slow()
    assert drawer.told == []
    drawer.press("resetButton")
    assert slow.stopped.is_set()
    assert drawer.told == [True, False]
    assert drawer.status.startswith("Reset to the initial segment")
    slow.go.set()
    drawer.wait_embedded()  # afterwards it goes on
    assert drawer.told == [True, False]


def test_embedding_ahead_stops_for_a_brush_stroke(drawer: Drawer) -> None:
    from Testing.slicer.host.segment_editor import paint

    slow = drawer.slow()
    before = drawer.steps()
    paint(drawer.ui.editor, drawer.ras(12, 12, 8), 9.0)
    drawer.host.wait_until(lambda: drawer.steps() > before, "the stroke to be taken over", 60)
    assert slow.stopped.is_set()
    drawer.wait_saved()
    slow.go.set()
    drawer.wait_embedded()


def test_saving_a_session_waits_for_embedding_ahead(drawer: Drawer) -> None:
    drawer.slow()
    drawer.context.edits.add(drawer.context.selection.target())
    drawer.listen()
    drawer.listen()  # it waits behind the box
    assert drawer.context.edits.unsaved
    drawer.press("nextPlaceButton")
    drawer.wait_saved()


def test_embedding_ahead_waits_for_a_session(drawer: Drawer) -> None:
    import slicer

    node, segment = drawer.node, drawer.segment
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    drawer.context.selection.setTarget(segmentation, "")
    drawer.draw((16, 27, 22))
    drawer.listen()
    assert drawer.box.embedded == []
    drawer.context.selection.setTarget(node, segment)
    drawer.wait_embedded()


@pytest.mark.parametrize("wrong", ["packages", "model", "memory", "outside", "undrawn"])
def test_embedding_ahead_reports_no_errors(drawer: Drawer, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    from TumorSegSlicer.install import packages

    def fails(*_: Any, **__: Any) -> Any:
        raise (ModelError("there is no model") if wrong == "model" else ResourceError("no memory"))

    status = drawer.status
    if wrong == "packages":
        monkeypatch.setattr(packages, "missingPackages", lambda: ["torch>=2.6"])
        drawer.context.packages.found = False
    elif wrong == "model":
        drawer.widget.logic.bench.engineSource = lambda kind, *_: (
            fails() if kind == "box" else drawer.engines.engines[kind]
        )
    elif wrong == "memory":
        drawer.box.embed = fails
    if wrong == "undrawn":
        drawer.draw((16, 27, 22)).RemoveAllControlPoints()
    else:
        drawer.draw((900, 900, 900) if wrong == "outside" else (16, 27, 22))
    drawer.listen()
    assert (drawer.status, drawer.told, drawer.box.embedded) == (status, [], [])
    assert drawer.host.dialogs.shown == []
    drawer.press("resetButton")  # all else works as before, but for what is not installed
    assert drawer.status.startswith("Reset to the initial segment") or wrong == "packages"


@pytest.mark.parametrize("what", ["scene", "box", "segment", "module"])
def test_embedding_ahead_survives_deleted_nodes_and_closing(drawer: Drawer, what: str) -> None:
    import slicer

    slow = drawer.slow()
    if what == "scene":
        slicer.mrmlScene.Clear(False)
    elif what == "box":
        slicer.mrmlScene.RemoveNode(drawer.ui.boxSelector.currentNode())
    elif what == "segment":
        drawer.node.GetSegmentation().RemoveSegment(drawer.segment)
    else:
        drawer.host.unload_modules()
    if what == "segment":
        slow.go.set()  # its session is of no use to anybody, but does no harm
    else:
        assert slow.stopped.wait(10)
    drawer.listen()
    assert drawer.host.dialogs.shown == []


def test_embedding_ahead_ignores_a_deselected_box(drawer: Drawer) -> None:
    roi = drawer.draw((16, 27, 22))
    drawer.wait_embedded()
    drawer.ui.boxSelector.setCurrentNode(None)
    roi.SetXYZ(drawer.ras(30, 30, 16))
    drawer.listen()
    assert len(drawer.box.embedded) == 1
