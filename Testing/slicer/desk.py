"""A phantom with the module's logic, or with its open panel, as tests work with them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from Testing.slicer.module import TUMORSEG, FakeEngines, choose, chosen, load_phantom, put_down, ras_of, take, voxels
from TumorSegLib import Cancelled

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


class Case:
    """A phantom with a logic."""

    def __init__(self, module: Any) -> None:
        self.engines = FakeEngines()
        self.module = module
        self.logic = module.TumorSegLogic(self.engines)
        self.volumes = load_phantom()
        self.inputs = {role: self.volumes[role] for role in ("ct", "pet")}
        self.node: Any = None
        self.segment = ""

    def find(self) -> np.ndarray:
        self.node, self.segment = self.logic.segment(self.inputs)
        return self.mask()

    def mask(self, segment: str | None = None) -> np.ndarray:
        return voxels(self.node, segment or self.segment, self.volumes["ct"])

    def ras(self, i: int, j: int, k: int) -> tuple[float, float, float]:
        return ras_of(self.volumes["ct"], (i, j, k))

    def click(self, ijk: tuple[int, int, int], positive: bool = True) -> Any:
        return self.logic.addClick(self.node, self.segment, self.ras(*ijk), positive)


class Desk:
    """A user at the open panel with a phantom chosen."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.widget = host.load_module(TUMORSEG)
        self.engines = FakeEngines()
        self.widget.logic.bench.engineSource = self.engines
        self.ui = self.widget.ui
        self.volumes = load_phantom()
        self.choose("ct", self.volumes["ct"])
        self.choose("pet", self.volumes["pet"])
        self.answered: list[None] = []
        self.patience = 60.0  # seconds that an answer may take
        self.context.edits.onEdited.connect(lambda: self.answered.append(None))

    @property
    def context(self) -> Any:
        return self.widget.panel.context

    @property
    def node(self) -> Any:
        return self.context.parameters.segmentation

    @property
    def segment(self) -> str:
        return self.context.parameters.segmentId

    def choose(self, role: str, volume: Any) -> None:
        choose(self.ui, role, volume)

    def choose_nothing(self) -> None:
        """No image is chosen, and the views show none."""
        import slicer

        for role in ("ct", "pet"):
            self.choose(role, None)
        slicer.util.setSliceViewerLayers(background=None, foreground=None)

    def choose_role(self, number: int, role: str) -> None:
        from TumorSegSlicer.parameters import ImageRole

        getattr(self.ui, f"role{number}Selector").setCurrentIndex(list(ImageRole).index(ImageRole(role)))

    def chosen(self, role: str) -> Any:
        return chosen(self.ui, role)

    @property
    def status(self) -> str:
        return self.ui.statusLabel.text

    @property
    def error(self) -> str:
        """What the strip says beside its sign of an error; empty where there is no error."""
        return "" if self.ui.errorSign.isHidden() else self.status

    def wait(self) -> None:
        self.host.wait_until(lambda: not self.context.tasks.busy, "the panel to be done", self.patience)

    def wait_saved(self) -> None:
        self.host.wait_until(lambda: not self.context.edits.unsaved, "the session to be in the scene", 60)

    def press(self, name: str) -> None:
        getattr(self.ui, name).click()
        self.wait()

    def find(self) -> np.ndarray:
        self.press("segmentButton")
        return self.mask()

    def begin_slowly(self) -> Slow:
        """Presses the button and returns the engine, once it waits."""
        slow = Slow(self)
        self.ui.segmentButton.click()
        self.host.wait_until(slow.begun.is_set, "the engine to begin")
        return slow

    def mask(self) -> np.ndarray:
        return voxels(self.node, self.segment, self.volumes["ct"])

    def ras(self, i: int, j: int, k: int) -> tuple[float, float, float]:
        return ras_of(self.volumes["ct"], (i, j, k))

    def place(self, view: str, ijk: tuple[int, int, int]) -> None:
        before = self.steps()
        self.host.click(view, self.ras(*ijk))
        self.host.wait_until(lambda: self.steps() > before, "the click to be answered", self.patience)
        self.wait()

    def take(self, tool: str, positive: bool = True) -> None:
        take(self.ui, tool, positive)

    def leave(self) -> None:
        """What the key Esc does."""
        put_down(self.widget)

    def hand_over(self, kind: str, points: Sequence[Sequence[float]], positive: bool = True) -> None:
        """What a tool does with what was drawn on an axial slice, RAS mm."""
        from TumorSegSlicer.panel.editing.draw import Drawn

        prompts = self.widget.panel.correct.prompts
        if kind == "line":
            prompts._onLine(points)
        else:
            prompts._onDrawn(Drawn(kind, [tuple(each) for each in points], (0.0, 0.0, 1.0), positive))

    def give_box(self, ijk: tuple[int, int, int], radius_mm: float = 24.0) -> Any:
        """Chooses a ROI that was made elsewhere, by its centre."""
        import slicer

        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
        roi.SetXYZ(self.ras(*ijk))
        roi.SetRadiusXYZ([radius_mm] * 3)
        self.ui.boxSelector.setCurrentNode(roi)
        return roi

    def start_click(self, ijk: tuple[int, int, int], positive: bool = True, words: str = "") -> None:
        """Adds a click on the selected segment and says so; does not wait for it."""
        target = self.context.selection.target()
        self.widget.logic.addClick(
            *target, self.ras(*ijk), positive, run=self.widget.panel.correct.prompts.editing(words)
        )

    def start_click_on_new_segment(self, ijk: tuple[int, int, int]) -> None:
        """Clicks on an empty segment, and waits."""
        self.press("newSegmentButton")
        self.start_click(ijk)
        self.wait()

    def steps(self) -> int:
        return len(self.answered)


class Slow:
    """Waits in an engine until it is cancelled or let go."""

    def __init__(self, desk: Desk) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        engine = desk.engines.engines["auto"]
        self._segment = engine.segment
        engine.segment = self.segment

    def segment(self, images: Any, *, progress: Any, cancel: Any, **named: Any) -> Any:
        self.begun.set()
        progress(1, 4)
        while not self.go.wait(0.01):
            if cancel():
                raise Cancelled("stopped")
        return self._segment(images)


def bounds_of(case: Case, low: tuple[int, int, int], high: tuple[int, int, int]) -> list[float]:
    """RAS bounds that hold the voxels from one to another, both included."""
    corners = np.sort([case.ras(*low), case.ras(*high)], axis=0)
    return corners.T.ravel().tolist()


def paint_box(case: Case, low: tuple[int, int, int], size: tuple[int, int, int], segment: str = "") -> None:
    """Paints by Slicer's own means."""
    from Testing.slicer.scene import paint, volumes

    paint(case.node, segment or case.segment, volumes.gridFromVolume(case.volumes["ct"]), low, size)
