"""What a session shows a box engine beside the box, and what it does ahead."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.fakes import BallEngine, EllipsoidEngine
from Testing.unit.sessions import GRID, cube, new_session, scribble
from TumorSegLib.errors import ArgumentError, Cancelled
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import BoxPrompt, Click
from TumorSegLib.protocols import BoxOptions

BOX = BoxPrompt(((2, 9), (1, 8), (2, 8)))
THIN = BoxPrompt(((2, 9), (1, 8), (4, 5)))


def test_what_the_segment_holds_is_shown_on_demand() -> None:
    engine, drawn = EllipsoidEngine(), cube((9, 8, 7), 1)
    session = new_session(box=engine, initial=Mask(GRID, drawn))
    clicks = Click((5, 4, 4), False), Click((1, 1, 1))
    for click in clicks:
        session.add_click(click)
    session.add_scribble(scribble(cube((2, 2, 2), 1)))
    before = np.rint(session.probability.array * 255).astype(np.uint8)
    session.add_box(BOX, options=BoxOptions(points=True, mask=True))
    ((_, context),) = engine.asked
    assert context.clicks == clicks
    assert np.array_equal(context.probability, before)


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
