"""A session with steps of all kinds, and as it is saved, for the tests of saving."""

from __future__ import annotations

import json
from functools import cache

import numpy as np

from Testing.fakes import BallEngine, noise_volume
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import Click, Scribble
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session

# Affines of real images: numbers without a short decimal form.
GRID = Grid.from_spacing((6, 7, 8), (0.9765625, 1 / 3, 2.7), (-31.4159, 2 / 3, 1e2), np.eye(3)[[2, 0, 1]])
IMAGES = {"pet": noise_volume(GRID, "pet")}


def cube(at: int, edge: int = 2) -> np.ndarray:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[at : at + edge, at : at + edge, at : at + edge] = 1
    return array


def worked_on(overlap: Overlap = Overlap.OVERWRITE, losses: bool = True) -> Session:
    """Two segments with steps, one outside that lost a voxel; clicks, a scribble, a brush edit; one step undone."""
    session = Session(IMAGES, clicks=BallEngine(), initial=Mask(GRID, cube(1)), overlap=overlap)
    edit, voxel = session.add_click(Click((1, 2, 3))), np.ones((1, 1, 1), np.uint8)
    if losses:
        session.record_losses(edit, [Edit("organ", ((1, 2), (2, 3), (3, 4)), voxel, 0 * voxel)])
    session.add_scribble(Scribble.from_mask(Mask(GRID, cube(3)), positive=False))
    session.add_segment("node")
    session.add_click(Click((2, 2, 2), positive=False))
    session.add_click(Click((7, 6, 5)))
    session.activate("tumour")
    brushed = session.mask.array.copy()
    brushed[0, 0, 7] ^= 1  # far from the prompts, which still hold
    session.replace_mask(Mask(GRID, brushed))
    session.add_click(Click((5, 4, 4)))
    session.undo()
    return session


def through_text(session: Session) -> Session:
    data = json.loads(json.dumps(session.to_json(), allow_nan=False))
    return Session.from_json(data, IMAGES, clicks=BallEngine())


@cache
def saved() -> str:
    return json.dumps(worked_on().to_json())
