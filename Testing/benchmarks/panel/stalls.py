"""How long the window stands still in a PET/CT of 900 x 512 x 512 voxels, with the panel on the test host.

A stall is the most processor time that the window's thread took between two beats of a timer, so that other programs
hardly lengthen it. No model is used: a segment is made, painted by Slicer's own means, and measured. Last, volumes are
added to a scene of more and more of them, for what keeps overlays out of the panel's selectors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from Testing.benchmarks.measuring import format_row
from Testing.slicer.module import TUMORSEG, choose

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

SHAPE = (900, 512, 512)
#: Of a list, beside those painted before.
LESIONS = 60
SPACING_MM = (0.8, 0.8, 1.0)
BEAT_MS, PATIENCE_SECONDS = 2, 120.0
#: Volumes of the scene that nodes are added to.
VOLUMES = 2000


def run() -> None:
    """Prints the longest stall of each action in ms."""
    from Testing.slicer.host.host import boot

    with boot() as host:
        desk = _Desk(host, host.load_module(TUMORSEG))
        desk.choose_images()
        print(f"CT and PET of {' x '.join(map(str, SHAPE))} voxels (k, j, i)", flush=True)
        _report("first New segment", desk.stall(desk.ui.newSegmentButton.click, lambda: desk.segments() == 1))
        _report("second New segment", desk.stall(desk.ui.newSegmentButton.click, lambda: desk.segments() == 2))
        for name, low, size in (
            ("small stroke", (200, 200, 400), (30, 30, 10)),
            ("second small stroke", (215, 200, 400), (30, 30, 10)),
            ("strokes in two corners of the image", (5, 5, 5), (20, 20, 5)),
            ("the same", (480, 480, 880), (20, 20, 5)),
            ("one more small stroke", (200, 240, 400), (30, 30, 10)),
        ):
            _report(name, desk.paint(low, size))
        _report("Measure", desk.stall(desk.ui.measureButton.click, lambda: desk.ui.measurementsTable.rowCount > 0))
        _report("New segment beside it", desk.stall(desk.ui.newSegmentButton.click, lambda: desk.segments() == 3))
        for name, figures in desk.many_lesions():
            _report(name, figures)
        host.scene_clear()
        _report("overlay filter, a node added", _overlay_filter())


class _Desk:
    """A user at the panel, with a clock that counts what the window's thread computes."""

    def __init__(self, host: Host, widget: Any) -> None:
        self.host, self.ui, self.context = host, widget.ui, widget.panel.context
        self.panel = widget.panel

    def choose_images(self) -> None:
        """Puts a CT, and a PET on its grid, into the scene and chooses them."""
        from TumorSegSlicer.mrml.sample_data import addVolume

        array, affine = np.random.default_rng(0).integers(-100, 100, SHAPE, np.int16), np.diag([*SPACING_MM, 1.0])
        array[:, :100] = -1000
        self.ct = addVolume(array, affine, "ct")
        pet = addVolume((array > 0).astype(np.float32), affine, "pet")
        for role, volume in (("ct", self.ct), ("pet", pet)):
            choose(self.ui, role, volume)
        self._settle()

    def segments(self) -> int:
        """Number of segments in the chosen segmentation."""
        node = self.context.parameters.segmentation
        return node.GetSegmentation().GetNumberOfSegments() if node is not None else 0

    def paint(self, low: tuple[int, int, int], size: tuple[int, int, int]) -> dict[str, float]:
        """Paints a box by Slicer's own means; the stall of the panel alone, until the stroke is taken over."""
        from Testing.slicer.scene import paint, volumes

        volume = self._volume()
        paint(*self.context.selection.target(), volumes.gridFromVolume(self.ct), low, size)
        return self.stall(lambda: None, lambda: self._volume() != volume)

    def many_lesions(self) -> Iterator[tuple[str, dict[str, float]]]:
        """What selecting in a list of many lesions takes, an undo in one of them, and showing the list anew."""
        from Testing.slicer.scene import paint, volumes

        node, grid = self.context.parameters.segmentation, volumes.gridFromVolume(self.ct)
        first = self.context.selection.target()[1]
        for number in range(LESIONS):
            segment = node.GetSegmentation().AddEmptySegment(f"lesion {number}", f"Lesion {number}")
            paint(node, segment, grid, (20 + 40 * (number % 10), 120 + 40 * (number // 10), 500), (8, 8, 8))
        panel = self.panel.lesions
        waiting = panel._updating, panel._figures._timer
        self.host.wait_until(lambda: not any(each.isActive() for each in waiting), "the figures", 300)
        self._settle()
        yield f"{LESIONS} lesions, another selected", self.stall(lambda: panel._onRow("lesion 30"), lambda: True)
        yield f"{LESIONS} lesions, the list shown", self.stall(panel.update, lambda: True)
        self.context.selection.setTarget(node, first)
        yield (
            f"{LESIONS} lesions, a step undone",
            self.stall(self.ui.undoButton.click, lambda: not self.context.tasks.busy),
        )

    def _volume(self) -> float:
        return float(self.context.logic.volumeMl(*self.context.selection.target()) or 0)

    def stall(self, act: Callable[[], Any], ended: Callable[[], bool]) -> dict[str, float]:
        """The longest stall in ms, from the beginning until all is done and saved."""
        with self._beating() as stalls:
            self.host.wait_until(lambda: stalls, "the first beat")
            started = time.perf_counter()
            act()
            self.host.wait_until(ended, "the panel", PATIENCE_SECONDS)
            seconds = time.perf_counter() - started
            self._settle()
            beats = len(stalls)
            self.host.wait_until(lambda: len(stalls) > beats, "one more beat")  # which ends the last stall
        return {"stall_ms": 1000 * max(stalls), "until_done_seconds": seconds}

    def _settle(self) -> None:
        idle, checking = self.context.tasks._runner, self.panel.images._ahead._timer

        def rests() -> bool:
            return idle.idle and not self.context.edits.unsaved and not checking.isActive()

        self.host.wait_until(rests, "the panel to rest", 60)

    @contextmanager
    def _beating(self) -> Iterator[list[float]]:
        """Yields a list that fills with the seconds that this thread computed between beats."""
        from PySide6 import QtCore

        stalls: list[float] = []
        last = time.thread_time()

        def beat() -> None:
            nonlocal last
            now = time.thread_time()
            stalls.append(now - last)
            last = now

        timer = QtCore.QTimer()
        timer.timeout.connect(beat)
        timer.start(BEAT_MS)
        try:
            yield stalls
        finally:
            timer.stop()


def _overlay_filter() -> dict[str, float]:
    """ms for each of the first and of the last nodes that are added to a scene, less those without the filter."""
    import slicer
    from TumorSegSlicer.panel.results import OverlayFilter

    figures = {}
    for number in (0, VOLUMES):
        while slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") < number:
            slicer.mrmlScene.AddNode(slicer.vtkMRMLScalarVolumeNode())
        plain = _added_ms()
        hiding = OverlayFilter([])
        figures[f"with_{number}_volumes_ms"] = _added_ms() - plain
        hiding.close()
    return figures


def _added_ms(count: int = 100) -> float:
    """ms that each of some volumes takes to be added, which are removed again."""
    import slicer

    nodes = [slicer.vtkMRMLScalarVolumeNode() for _ in range(count)]
    started = time.thread_time()
    for node in nodes:
        slicer.mrmlScene.AddNode(node)
    seconds = time.thread_time() - started
    for node in nodes:
        slicer.mrmlScene.RemoveNode(node)
    return 1000 * seconds / count


def _report(name: str, figures: dict[str, float]) -> None:
    print(f"{name}: {format_row(figures)}", flush=True)
