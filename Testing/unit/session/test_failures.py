"""Sessions: edits that fail or are cancelled change nothing, and many edits take little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine, EllipsoidEngine
from Testing.unit.cases.sessions import THIN, cube, new_session, painted, scribble, state
from TumorSegLib.errors import Cancelled, ResourceError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.prompts.types import BoxPrompt, Click
from TumorSegLib.session import history as history_module
from TumorSegLib.session.session import Session


def fail(*_: Any) -> Any:
    raise MemoryError


ACTS: dict[str, Callable[..., Any]] = {
    "automatic": lambda session, cancel=None: session.segment(cancel=cancel),
    "click": lambda session, cancel=None: session.add_click(Click((7, 7, 7)), cancel=cancel),
    "scribble": lambda session, cancel=None: session.add_scribble(scribble(cube((6, 6, 6))), cancel=cancel),
    "box": lambda session, cancel=None: session.add_box(BoxPrompt(((2, 9), (1, 8), (2, 8))), cancel=cancel),
    "corrected box": lambda session, cancel=None: session.add_box(THIN, refine=True, cancel=cancel),
}


@pytest.mark.parametrize(
    ("act", "error", "answers"),
    [(act, error, answers) for act in ACTS for error, answers in [(Cancelled, [1]), (ResourceError, [fail])]]
    + [(act, Cancelled, [0, 1]) for act in ("click", "scribble", "box")]
    + [("corrected box", Cancelled, [0, 0, 0, 1]), ("corrected box", ResourceError, [0, 0, fail])],
)
def test_an_edit_that_fails_or_is_cancelled_changes_nothing(act: str, error: type, answers: list) -> None:
    """The engines ask before and after their work whether they are cancelled; a box comes before its correction."""
    session, asked = new_session(box=EllipsoidEngine(), initial=painted(cube((1, 1, 1)))), iter(answers)
    for n in (3, 5):
        session.add_click(Click((n, n, n)))
    session.undo()
    before, saved = state(session), session.to_json()

    def cancel() -> bool:
        answer = next(asked)
        return answer() if callable(answer) else bool(answer)

    with pytest.raises(error):
        ACTS[act](session, cancel)
    assert state(session) == before
    assert session.to_json() == saved
    session.redo()
    ACTS[act](session)
    assert session.can_undo


@pytest.mark.parametrize("act", ["click", "box"])
def test_images_that_cannot_be_prepared_are_tried_again(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    clicks, boxes = BallEngine(), EllipsoidEngine()
    session = new_session(clicks=clicks, box=boxes)
    with monkeypatch.context() as patch:
        for engine in (clicks, boxes):
            patch.setattr(engine, "prepare", fail)
        with pytest.raises(ResourceError, match="not enough memory to edit the segmentation"):
            ACTS[act](session)
    ACTS[act](session)
    assert len(session.prompts) == 1


def test_a_brush_edit_without_memory_for_its_undo_step_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session()
    monkeypatch.setattr(history_module.Change, "between", fail)
    with pytest.raises(ResourceError, match="not enough memory to edit the segmentation"):
        session.replace_mask(painted(cube((1, 1, 1))))
    assert (session.can_undo, session.mask.array.max()) == (False, 0)


def test_a_hundred_clicks_in_a_large_image_take_the_memory_of_crops() -> None:
    grid = Grid.from_spacing((96, 96, 96), (1, 1, 1))
    array = np.zeros(grid.shape, dtype=np.int16)
    array[0, 0, 0] = 1  # an image that is the same all over is refused
    session = Session({"ct": Volume(grid, array)}, clicks=BallEngine(radius=4))
    session.add_click(Click((50, 50, 50)))
    voxels = np.random.default_rng(0).integers(0, 96, (100, 3)).tolist()
    tracemalloc.start()
    for i, j, k in voxels:
        session.add_click(Click((i, j, k)))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 100 * 2000  # bytes; one copy of mask and probability would be 1.8 million
    for _ in voxels:
        session.undo()
    assert len(session.prompts) == 1
    assert 0 < session.mask.array.sum() < 1000
