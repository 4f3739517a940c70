"""Sessions: readers and writers in several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from Testing.fakes import EllipsoidEngine
from Testing.unit.cases.sessions import GRID, THIN, new_session, state
from TumorSegLib.errors import Cancelled
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import Click
from TumorSegLib.session.overlap import Overlap


def run_in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list]:
    """Starts a thread; its result, or the exception it ended with, is put into the list."""
    outcome: list = []

    def body() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, outcome


def joined(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_readers_see_whole_edits_that_never_change() -> None:
    """Every mask written is full or empty; a reader that sees both in one mask caught a write half done."""
    session, stop = new_session(), threading.Event()

    def read() -> int:
        snapshots = []
        while not stop.is_set():
            mask, probability = session.mask.array, session.probability.array
            snapshots = [*snapshots[-50:], (mask, mask.tobytes(), probability, probability.tobytes())]
            assert mask.min() == mask.max()
            assert probability.min() == probability.max()
            time.sleep(0)
            assert all(a.tobytes() == b and c.tobytes() == d for a, b, c, d in snapshots)
        return len({text for _, text, _, _ in snapshots})

    readers = [run_in_thread(read) for _ in range(2)]
    masks = [Mask(GRID, np.full(GRID.shape, n, dtype=np.uint8)) for n in (1, 0)]
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        session.replace_mask(masks[0])
        session.replace_mask(masks[1])
        session.undo()
        session.undo()
        session.redo()
        session.undo()
    stop.set()
    joined(*(thread for thread, _ in readers))
    assert [len(outcome) for _, outcome in readers] == [1, 1]
    assert all(outcome[0] in {1, 2} for _, outcome in readers), readers


def test_edits_of_two_threads_are_done_one_after_the_other() -> None:
    session = new_session(Overlap.ALLOW)
    start = threading.Barrier(2)

    def write(at: int) -> None:
        start.wait(timeout=60)
        for n in range(40):
            session.add_click(Click((n % 11, at, n % 9)))
            if n % 4 == 3:
                session.undo()
                session.redo()

    writers = [run_in_thread(lambda at=at: write(at)) for at in (2, 7)]
    joined(*(thread for thread, _ in writers))
    assert [outcome for _, outcome in writers] == [[None], [None]]
    assert np.array_equal(session.mask.array > 0, session.probability.array > 0.5)
    steps = 0
    while session.undo():
        steps += 1
    assert steps == len(session._segments.history)
    assert (session.mask.array.max(), len(session.prompts)) == (0, 0)
    for _ in range(steps):
        session.redo()
    assert len(session.prompts) == steps


def test_a_click_cancelled_from_another_thread_leaves_the_mask_readable_all_along() -> None:
    session = new_session()
    session.add_click(Click((2, 2, 2)))
    before, entered, cancel = state(session), threading.Event(), threading.Event()

    def asked() -> bool:
        entered.set()
        return cancel.wait(timeout=60)

    thread, outcome = run_in_thread(lambda: session.add_click(Click((8, 8, 8)), cancel=asked))
    assert entered.wait(timeout=60)
    assert state(session) == before  # read while the click is being worked on
    waiting, undone = run_in_thread(session.undo)
    assert waiting.is_alive()
    assert undone == []
    cancel.set()
    joined(thread, waiting)
    assert isinstance(outcome[0], Cancelled)
    assert undone[0].segment == "tumour"
    assert (session.mask.array.max(), len(session.prompts)) == (0, 0)


def test_an_edit_is_cancelled_while_it_waits_for_another_one() -> None:
    session, entered, cancel = new_session(box=EllipsoidEngine()), threading.Event(), threading.Event()

    def asked() -> bool:
        entered.set()
        return cancel.wait(timeout=60)

    thread, _ = run_in_thread(lambda: session.add_click(Click((8, 8, 8)), cancel=asked))
    assert entered.wait(timeout=60)
    for edit in (
        lambda: session.add_click(Click((2, 2, 2)), cancel=lambda: True),
        lambda: session.add(THIN, cancel=lambda: True),
        lambda: session.embed_box(THIN, cancel=lambda: True),
        lambda: session.segment(cancel=lambda: True),
    ):
        waiting, outcome = run_in_thread(edit)
        waiting.join(timeout=5)
        assert [str(each) for each in outcome] == [
            "the edit was cancelled while it waited for another edit; nothing was changed"
        ]
    cancel.set()
    joined(thread)
