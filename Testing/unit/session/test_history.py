"""Undo steps: what they turn into what, what stays in memory, and what a full disk leaves behind."""

from __future__ import annotations

import errno
import gc
import io
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TumorSegLib.errors import ResourceError
from TumorSegLib.prompts.types import BoxPrompt, Click, Prompt, Prompts
from TumorSegLib.session import history as history_module
from TumorSegLib.session.history import Change, History, PromptChange, Step

fast = settings(max_examples=60, deadline=None)
BUDGET = 2000  # bytes: six noise steps


def noise_step(number: int, size: int = 300) -> Step:
    """A step whose one change does not compress: ``size`` bytes and a few more."""
    noise = np.random.default_rng(number).integers(0, 256, (1, 1, size), dtype=np.uint8)
    change = Change.between("tumour", ((0, size), (0, 1), (0, 1)), np.zeros_like(noise), noise)
    return Step("tumour", (change,), (PromptChange("tumour", 0, (), (Click((number, 0, 0)),)),))


def history_of(steps: Iterable[Step], position: int | None = None) -> History:
    """A history of steps that are numbered from 1."""
    return History(dict(enumerate(steps, start=1)), position)


def bytes_in_memory(history: History) -> int:
    """Counted from the list of steps."""
    return sum(len(change.difference) for step in history._steps if isinstance(step, Step) for change in step.changes)


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MEMORY_BUDGET", BUDGET)


class SmallDisk(io.RawIOBase):
    """Stands in for ``tempfile``: its file takes what there is room for and then fails, as on a full disk.

    As in the standard library, the file has a buffer unless it is asked for without.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.content = io.BytesIO()

    def TemporaryFile(self, prefix: str, buffering: int = -1) -> Any:  # noqa: N802 - the standard library's name
        return io.BufferedRandom(self) if buffering else self

    def write(self, data: Any) -> int:
        part = bytes(data)[: self.room]
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(part)
        return self.content.write(part)

    def readinto(self, data: Any) -> int:
        return self.content.readinto(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.content.seek(offset, whence)

    def readable(self) -> bool:
        return True

    writable = seekable = readable


# One change


@fast
@given(st.integers(0, 2**32), st.tuples(*[st.integers(1, 6)] * 3), st.floats(0, 1))
def test_a_change_is_undone_and_redone(seed: int, shape: tuple[int, int, int], share: float) -> None:
    random = np.random.default_rng(seed)
    before = random.integers(0, 256, shape, dtype=np.uint8)
    after = np.where(random.random(shape) < share, random.integers(0, 256, shape, dtype=np.uint8), before)
    k, j, i = shape
    difference = Change.between("a", ((5, 5 + i), (6, 6 + j), (7, 7 + k)), before, after).unpacked()
    np.testing.assert_array_equal(before ^ difference, after)
    np.testing.assert_array_equal(after ^ difference, before)


def test_a_change_of_few_voxels_takes_few_bytes() -> None:
    before = np.random.default_rng(0).integers(0, 256, (60, 60, 60), dtype=np.uint8)
    after = before.copy()
    after[30, 30, 20:40] = 0
    assert len(Change.between("a", ((0, 60), (0, 60), (0, 60)), before, after).difference) < before.size / 100


# Prompts of a step

prompt_lists = st.lists(
    st.one_of(
        st.builds(Click, st.tuples(*[st.integers(0, 3)] * 3), st.booleans()),
        st.just(BoxPrompt(((0, 1), (0, 1), (0, 1)))),
    ),
    max_size=6,
)


@fast
@given(prompt_lists, st.data())
def test_a_change_of_prompts_is_undone_and_redone(items: list[Prompt], data: st.DataObject) -> None:
    removed = data.draw(st.sets(st.integers(0, len(items))))
    added = data.draw(prompt_lists)
    before = Prompts(tuple(items))
    after = Prompts((*(item for n, item in enumerate(items) if n not in removed), *added))
    change = PromptChange.between("tumour", before, after)
    if change is None:
        assert before == after
        return
    assert change.applied(after, undo=True) == before
    assert change.applied(before, undo=False) == after


def test_a_change_holds_only_the_prompts_that_changed() -> None:
    many = Prompts(tuple(Click((n, 0, 0)) for n in range(100)))
    change = PromptChange.between("tumour", many, many.with_click(Click((7, 7, 7))))
    assert change == PromptChange("tumour", 100, (), (Click((7, 7, 7)),))
    assert PromptChange.between("tumour", many, Prompts(many.items)) is None


# Going back and forth


@fast
@given(st.lists(st.one_of(st.integers(0, 900), st.sampled_from(["back", "forward", "back"])), max_size=60))
def test_undo_and_redo_give_the_steps_of_a_plain_list(moves: list[int | str]) -> None:
    """Numbers are sizes of steps pushed; with the small budget most of them lie on disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_module, "MEMORY_BUDGET", BUDGET)
        history, done, undone = History(), [], []
        for number, move in enumerate(moves):
            if move == "back":
                assert history.back() == (done[-1] if done else None)
                if done:
                    undone.append(done.pop())
                    history.moved(-1)
            elif move == "forward":
                assert history.forward() == (undone[-1] if undone else None)
                if undone:
                    done.append(undone.pop())
                    history.moved(1)
            else:
                step = noise_step(number, int(move))
                history.push(step)
                done, undone = [*done, step], []
            assert history.position == len(done)
            assert len(history) == len(done) + len(undone)
            largest = max((len(step.changes[0].difference) for step in [*done, *undone]), default=0)
            assert bytes_in_memory(history) == history._in_memory <= max(BUDGET, largest)
        assert history.steps() == [*done, *reversed(undone)]


@pytest.mark.usefixtures("small_budget")
def test_the_latest_step_stays_in_memory_however_large_it_is() -> None:
    history = history_of([noise_step(0, 50)])
    history.push(noise_step(1, 10 * BUDGET))
    assert isinstance(history._steps[1], Step)
    history.push(noise_step(2, 50))
    assert bytes_in_memory(history) < BUDGET
    assert history.steps() == [noise_step(0, 50), noise_step(1, 10 * BUDGET), noise_step(2, 50)]


def test_no_file_is_made_while_memory_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "tempfile", None)  # any use of it would fail
    history = history_of(noise_step(n) for n in range(50))
    assert len(history.steps()) == 50


@pytest.mark.usefixtures("small_budget")
def test_the_file_is_closed_with_the_history() -> None:
    history = history_of(noise_step(n) for n in range(20))
    file = history._file
    assert file is not None
    assert not file.closed
    del history
    gc.collect()  # a file left open would be a ResourceWarning, which is an error here
    assert file.closed


# Full and broken disks


def undone_history() -> tuple[History, list[Step]]:
    """Eight steps, of which two lie on disk and the last three are undone."""
    steps = [noise_step(n) for n in range(8)]
    return history_of(steps, 5), steps


@pytest.mark.parametrize("room", [0, 100, 700, 900])
@pytest.mark.usefixtures("small_budget")
def test_a_full_disk_loses_no_step(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    disk = SmallDisk(10_000)
    monkeypatch.setattr(history_module, "tempfile", disk)
    history, steps = undone_history()
    disk.room = room
    with pytest.raises(ResourceError, match="temporary folder for undo steps: No space left"):
        history.push(noise_step(99, 2 * BUDGET))
    assert (len(history), history.position) == (8, 5)
    assert (history.back(), history.forward(), history.steps()) == (steps[4], steps[5], steps)
    assert bytes_in_memory(history) == history._in_memory
    disk.room = 10_000
    history.push(noise_step(99, 2 * BUDGET))
    assert history.steps() == [*steps[:5], noise_step(99, 2 * BUDGET)]


@pytest.mark.usefixtures("small_budget")
def test_a_file_cut_short_or_unreadable_is_an_error_of_the_undo_step_only() -> None:
    history = history_of([noise_step(n) for n in range(10)], 1)
    assert history._file is not None
    history._file.truncate(10)
    with pytest.raises(ResourceError, match="cut short"):
        history.back()
    assert history.position == 1
    with open(os.devnull, "wb") as no_reading:
        os.dup2(no_reading.fileno(), history._file.fileno())
    with pytest.raises(ResourceError, match="cannot be read"):
        history.back()
    history.moved(8)
    assert history.back() == noise_step(8)
