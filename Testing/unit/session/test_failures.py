"""Sessions: edits that fail or are cancelled change nothing, and many edits take little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine
from Testing.unit.sessions import cube, new_session, painted, scribble, state
from TumorSegLib.errors import Cancelled, ResourceError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.prompts.types import Click
from TumorSegLib.session import history as history_module
from TumorSegLib.session.session import Session


class Broken(Exception):
    pass


def broken_cancel() -> bool:
    raise Broken


@pytest.mark.parametrize(
    ("error", "cancel"),
    [(Broken, lambda: broken_cancel), (Cancelled, lambda: lambda: True), (Cancelled, lambda: iter([0, 1]).__next__)],
    ids=["error within the engine", "cancelled at once", "cancelled after the work"],
)
@pytest.mark.parametrize("act", ["add_click", "add_scribble"])
def test_an_edit_that_fails_leaves_everything_as_it_was(act: str, error: type, cancel: Callable) -> None:
    session = new_session(initial=painted(cube((1, 1, 1))))
    for n in (3, 5):
        session.add_click(Click((n, n, n)))
    session.undo()
    before, saved = state(session), session.to_json()
    prompt = Click((7, 7, 7)) if act == "add_click" else scribble(cube((6, 6, 6)))
    with pytest.raises(error):
        getattr(session, act)(prompt, cancel=cancel())
    assert state(session) == before
    assert session.to_json() == saved
    session.redo()
    getattr(session, act)(prompt)
    assert session.mask.array[7, 7, 7] == 1


def test_a_cancelled_automatic_run_changes_nothing() -> None:
    session = new_session()
    session.add_click(Click((3, 3, 3)))
    before = state(session)
    with pytest.raises(Cancelled):
        session.segment(cancel=lambda: True)
    assert state(session) == before


def test_images_that_cannot_be_prepared_are_tried_again() -> None:
    engine = BallEngine()
    session = new_session(clicks=engine)
    good = engine.prepare

    def bad(images: Images) -> Grid:
        raise ResourceError("no memory")

    engine.prepare = bad  # type: ignore[method-assign]
    with pytest.raises(ResourceError):
        session.add_click(Click((3, 3, 3)))
    engine.prepare = good  # type: ignore[method-assign]
    session.add_click(Click((3, 3, 3)))
    assert len(session.prompts) == 1


def test_a_lack_of_memory_is_told_in_the_librarys_words(monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session()

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(history_module.Change, "between", fail)
    for act in (lambda: session.add_click(Click((3, 3, 3))), lambda: session.replace_mask(painted(cube((1, 1, 1))))):
        with pytest.raises(ResourceError, match="not enough memory to edit the segmentation"):
            act()
    assert not session.can_undo


def test_a_full_disk_is_told_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session()
    for n in (3, 5, 7):
        session.add_click(Click((n, n, n)))
    session.undo()
    before = state(session)

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 1)
    monkeypatch.setattr(history_module.tempfile, "TemporaryFile", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        session.add_click(Click((8, 8, 8)))
    assert state(session) == before
    monkeypatch.undo()
    session.redo()
    assert session.prompts.items == tuple(Click((n, n, n)) for n in (3, 5, 7))


# Memory


def test_a_hundred_clicks_in_a_large_image_take_the_memory_of_crops() -> None:
    grid = Grid.from_spacing((96, 96, 96), (1, 1, 1))
    session = Session({"ct": Volume(grid, np.zeros(grid.shape, dtype=np.int16))}, clicks=BallEngine(radius=4))
    session.add_click(Click((50, 50, 50)))
    voxels = np.random.default_rng(0).integers(0, 96, (100, 3)).tolist()
    tracemalloc.start()
    for i, j, k in voxels:
        session.add_click(Click((i, j, k)))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 100 * 2000  # bytes; one copy of mask and probability would be 1.8 million
    for _ in voxels:
        session.undo()
    assert len(session.prompts) == 1
    assert 0 < session.mask.array.sum() < 1000
