"""A segment with its session, for the tests of sessions in a scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from Testing.fakes import BallEngine, EllipsoidEngine, PaintingEngine, tiny_spec
from Testing.slicer.scene import PLAIN, RIGID, add_volume, bridge, session_nodes, sessions
from TumorSegLib import Click

Engines, Input, Sessions = sessions.Engines, session_nodes.Input, sessions.Sessions


def engines() -> Any:
    rule = PaintingEngine(tiny_spec("painter"), lambda images: next(iter(images.values())).array > 150)
    return Engines(rule, BallEngine(), EllipsoidEngine())


class Case:
    """A volume, a segmentation with one segment, and its session."""

    def __init__(self, scene: Any, store: Any, grid: Any = PLAIN, name: str = "Tumour") -> None:
        self.scene, self.store = scene, store
        self.volume = add_volume(scene, grid, transform=RIGID)
        self.node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
        self.segment = bridge.addTumourSegment(self.node, self.volume, name)
        self.engines = engines()
        self.open()

    def open(self, segment: str | None = None) -> Any:
        inputs = {"ct": Input(self.volume)}
        return self.store.open(self.node, segment or self.segment, inputs, self.engines, {"mirror": True})

    @property
    def session(self) -> Any:
        return self.store.get(self.node, self.segment)

    def click(self, ijk: tuple[int, int, int] = (8, 8, 8), positive: bool = True) -> None:
        self.store.apply(self.session.add_click(Click(ijk, positive)), self.node, self.segment)

    def mask(self) -> np.ndarray:
        return bridge.maskFromSegment(self.node, self.segment, self.session.grid)
