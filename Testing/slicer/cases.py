"""A segment with its session, for the tests of sessions in a scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from Testing.fakes import BallEngine, EllipsoidEngine, PaintingEngine, tiny_spec
from Testing.slicer.scene import PLAIN, RIGID, add_volume, segments, session_nodes, sessions
from TumorSegLib import Click

Input, Sessions = session_nodes.Input, sessions.Sessions


def engines() -> dict[str, Any]:
    rule = PaintingEngine(tiny_spec("painter"), lambda images: next(iter(images.values())).array > 150)
    return {"auto": rule, "clicks": BallEngine(), "box": EllipsoidEngine()}


class Case:
    """A volume, a segmentation with one segment, and its session."""

    def __init__(self, scene: Any, store: Any, grid: Any = PLAIN, name: str = "Tumour") -> None:
        self.scene, self.store = scene, store
        self.volume = add_volume(scene, grid, transform=RIGID)
        self.node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
        self.segment = segments.addTumourSegment(self.node, self.volume, name)
        self.engines = engines()
        self.open()

    def open(self, segment: str | None = None) -> Any:
        opened = self.store.open(self.node, segment or self.segment, {"ct": Input(self.volume)})
        opened.session.use_engines(**self.engines)
        return opened

    @property
    def session(self) -> Any:
        return self.store.get(self.node, self.segment)

    def click(self, ijk: tuple[int, int, int] = (8, 8, 8), positive: bool = True) -> None:
        self.store.of(self.node, self.segment).apply(self.session.add_click(Click(ijk, positive)))

    def mask(self) -> np.ndarray:
        return segments.maskFromSegment(self.node, self.segment, self.session.grid)
