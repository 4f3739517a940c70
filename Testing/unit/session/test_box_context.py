"""What a session shows a box engine beside the box, and what it does ahead."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.fakes import BallEngine, EllipsoidEngine
from Testing.unit.sessions import GRID, cube, new_session
from TumorSegLib.errors import ArgumentError, Cancelled
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions

BOX = BoxPrompt(((2, 9), (1, 8), (2, 8)))
THIN = BoxPrompt(((2, 9), (1, 8), (4, 5)))


def test_embedding_ahead_is_no_edit() -> None:
    engine = EllipsoidEngine()
    session = new_session(box=engine)
    assert [session.embed_box(BOX), session.embed_box(BOX), session.embed_box(THIN)] == [1, 0, 1]
    assert engine.prepared == [BoxOptions()]
    assert not session.can_undo
    assert len(session.prompts) == 0
    with pytest.raises(Cancelled):
        session.embed_box(BOX, cancel=lambda: True)
    with pytest.raises(ArgumentError, match="no box engine"):
        new_session().embed_box(BOX)


def test_refining_a_followed_tumour_adds_nothing_outside_its_region() -> None:
    within = BoxPrompt(((3, 8), (2, 7), (3, 6)))
    thin = BoxPrompt(((3, 8), (2, 7), (4, 5)))
    outside = np.ones(GRID.shape, dtype=bool)
    outside[slices(within.box)] = False
    drawn = cube((8, 8, 8), 1)
    free, kept = (new_session(box=EllipsoidEngine(), clicks=BallEngine(6), initial=Mask(GRID, drawn)) for _ in range(2))
    free.add_box(thin, refine=True)
    assert (free.mask.array[outside] > drawn[outside]).any()
    kept.add_box(thin, within=within, refine=True)
    assert not (kept.mask.array[outside] > drawn[outside]).any()
    assert np.array_equal(kept.mask.array[slices(within.box)], free.mask.array[slices(within.box)])
