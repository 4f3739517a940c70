"""A small case with simple engines, for the tests of sessions."""

from __future__ import annotations

from typing import Any

import numpy as np

from Testing.fakes import BallEngine, noise_volume, tiny_spec
from TumorSegLib.errors import Cancelled
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.prompts.types import BoxPrompt, Scribble
from TumorSegLib.protocols import Result
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session

GRID = Grid.from_spacing((9, 10, 11), (1.0, 1.5, 2.0), (5, -3, 40), np.eye(3)[[1, 2, 0]])
IMAGES = {"ct": noise_volume(GRID)}
THIN = BoxPrompt(((2, 9), (1, 8), (4, 5)))  # a box on one slice


def painted(array: np.ndarray) -> Mask:
    return Mask(GRID, array.astype(np.uint8))


def cube(at: tuple[int, int, int], edge: int = 3) -> np.ndarray:
    i, j, k = at
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[k : k + edge, j : j + edge, i : i + edge] = 1
    return array


def scribble(array: np.ndarray, positive: bool = True) -> Scribble:
    return Scribble.from_mask(painted(array), positive)


class TwoLevels:
    """An automatic engine with a probability of its own in a corner, and half, which is no tumour, elsewhere."""

    def __init__(self) -> None:
        self.spec = tiny_spec()
        self.low = 0.5

    def segment(self, images: Images, *, mirror: bool = False, progress: Any = None, cancel: Any = None) -> Result:
        if cancel is not None and cancel():
            raise Cancelled("stopped")
        probability = np.full(GRID.shape, self.low, dtype=np.float32)
        probability[:4, :4, :4] = 0.8
        mask = Mask(GRID, (probability > 0.5).astype(np.uint8))
        return Result(mask, Volume(GRID, probability, "probability"), info={"model": "levels"})


def new_session(overlap: Overlap = Overlap.KEEP, **changes: Any) -> Session:
    return Session(IMAGES, **{"auto": TwoLevels(), "clicks": BallEngine(), "overlap": overlap, **changes})


def state(session: Session) -> tuple:
    """All that a user can see, in values."""
    segments = [(name, session.mask_of(name).array.tobytes()) for name in session.segments]
    return segments, session.probability.array.tobytes(), session.prompts, session.can_undo, session.can_redo
