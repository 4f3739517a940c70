"""Segments: the three ways of overlapping by hand-written rows of voxels, and edits that fail half-way."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from TumorSegLib.errors import ArgumentError, ResourceError
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import TUMOUR
from TumorSegLib.prompts.types import Click, Prompts
from TumorSegLib.protocols import RunInfo
from TumorSegLib.session import history as history_module
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.history import Change
from TumorSegLib.session.segments import Segments

GRID = Grid.from_spacing((1, 1, 6), (1.0, 1.0, 1.0))
ROW: Box = ((0, 6), (0, 1), (0, 1))
PROMPTS = Prompts((Click((1, 0, 0)),))


def row(*values: int) -> np.ndarray:
    return np.array([[values]], dtype=np.uint8)


def values_of(segments: Segments, name: str) -> list[int]:
    return segments.probability(name)[0, 0].tolist()


def two(overlap: str, a: np.ndarray, b: np.ndarray) -> Segments:
    segments = Segments(GRID, overlap)
    segments.add("a", ROW, a)
    segments.add("b", ROW, b)
    return segments


def as_text(edit: Edit | None) -> tuple:
    """An edit of a row, ``others`` included, as plain values."""
    assert edit is not None
    others = [as_text(other) for other in edit.others.values()]
    return edit.segment, edit.box[0], edit.before.ravel().tolist(), edit.after.ravel().tolist(), others


OLD_A, OLD_B, NEW_A = row(200, 200, 0, 9, 100, 0), row(0, 255, 255, 128, 127, 0), row(255, 250, 240, 127, 230, 130)


@pytest.mark.parametrize(
    ("overlap", "new_a", "new_b", "edit"),
    [
        # Voxels 2 and, were it tumour, 3 belong to b; voxel 1 was shared from the beginning.
        ("keep", [255, 250, 0, 127, 230, 130], [0, 255, 255, 128, 127, 0], ("a", (4, 6), [0, 0], [1, 1], [])),
        (
            "overwrite",
            [255, 250, 240, 127, 230, 130],
            [0, 255, 0, 128, 127, 0],
            ("a", (2, 6), [0, 0, 0, 0], [1, 0, 1, 1], [("b", (2, 3), [1], [0], [])]),
        ),
        (
            "allow",
            [255, 250, 240, 127, 230, 130],
            [0, 255, 255, 128, 127, 0],
            ("a", (2, 6), [0, 0, 0, 0], [1, 0, 1, 1], []),
        ),
    ],
)
def test_overlap_policies_keep_overwrite_and_allow(overlap: str, new_a: list, new_b: list, edit: tuple) -> None:
    segments = two(overlap, OLD_A, OLD_B)
    done = segments.commit("a", ROW, NEW_A, PROMPTS, RunInfo(model="m"))
    assert as_text(done) == edit
    assert done.info == RunInfo(model="m")
    assert (values_of(segments, "a"), values_of(segments, "b")) == (new_a, new_b)
    undone = as_text(segments.undo())
    assert undone[:4] == (edit[0], edit[1], edit[3], edit[2])
    assert [other[:4] for other in undone[4]] == [(name, box, after, before) for name, box, before, after, _ in edit[4]]
    assert (values_of(segments, "a"), values_of(segments, "b")) == (OLD_A.ravel().tolist(), OLD_B.ravel().tolist())
    assert as_text(segments.redo()) == edit
    assert (values_of(segments, "a"), values_of(segments, "b")) == (new_a, new_b)


def test_masks_and_edits_that_were_handed_out_are_read_only_or_copies() -> None:
    segments = two("overwrite", OLD_A, OLD_B)
    mask, probability = segments.mask("a"), segments.scaled_probability("a")
    assert segments.mask("a") is mask  # made once per edit
    copies = mask.copy(), probability.copy()
    edit = segments.commit("a", ROW, NEW_A, PROMPTS)
    assert segments.mask("a") is not mask
    edit.before[:], edit.after[:] = 7, 7
    assert segments.mask("a").tolist() == (segments.probability("a") >= TUMOUR).tolist()
    assert (mask.tolist(), probability.tolist()) == (copies[0].tolist(), copies[1].tolist())
    for live in (segments.mask("a"), segments.probability("a")):
        with pytest.raises(ValueError, match="read-only"):
            live[0, 0, 0] = 1


def test_overwrite_drops_contradicted_prompts_of_the_other_segment() -> None:
    """Else its next click would take them back; undo gives both back."""
    segments = two("overwrite", row(0, 0, 0, 0, 0, 0), row(0, 0, 0, 0, 0, 0))
    taken, far, outside = Click((1, 0, 0)), Click((5, 0, 0)), Click((0, 0, 0), positive=False)
    given = Prompts((taken, far, outside))
    segments.commit("b", ROW, row(0, 255, 0, 0, 0, 255), given)
    segments.commit("a", ROW, row(255, 255, 0, 0, 0, 0), PROMPTS)
    assert (segments.prompts("b").items, segments.prompts("a")) == ((far, outside), PROMPTS)
    segments.undo()
    assert (segments.prompts("b"), segments.prompts("a")) == (given, Prompts())


def test_names_that_are_taken_or_unknown_are_refused() -> None:
    segments = two("allow", OLD_A, OLD_B)
    for name, message in {"a": "'a' is empty or taken; there are a, b", "": "'' is empty or taken", 5: "text"}.items():
        with pytest.raises(ArgumentError, match=message):
            segments.add(name)  # type: ignore[arg-type]
    for ask in (segments.probability, segments.mask, segments.scaled_probability, segments.prompts, segments.voxels):
        with pytest.raises(ArgumentError, match="no segment 'c'; there are a, b"):
            ask("c")
    with pytest.raises(ArgumentError, match="no segment 'c'"):
        segments.commit("c", ROW, NEW_A, PROMPTS)


# Edits that fail


def state(segments: Segments) -> tuple:
    everything = [(name, values_of(segments, name), segments.prompts(name)) for name in segments.names]
    masks = [segments.mask(name).tolist() for name in segments.names]
    return everything, masks, segments.history.steps(), segments.history.position


def no_memory(*_: object) -> None:
    raise MemoryError


def full_disk(**_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("at", "edit"),
    [("between", "commit"), ("unpacked", "commit"), ("unpacked", "undo"), ("unpacked", "redo"), ("disk", "commit")],
)
def test_an_edit_without_room_changes_nothing(monkeypatch: pytest.MonkeyPatch, at: str, edit: str) -> None:
    """One step is done and one undone; the edit would change both segments."""
    segments = two("overwrite", OLD_A, OLD_B)
    for value in (3, 4):
        segments.commit("b", ROW, row(0, 255, 255, 128, value, 0), PROMPTS)
    segments.undo()
    before = state(segments)
    if at == "disk":
        monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)
        monkeypatch.setattr(history_module.tempfile, "TemporaryFile", full_disk)
    else:
        monkeypatch.setattr(Change, at, no_memory)
    with pytest.raises(ResourceError if at == "disk" else MemoryError):
        segments.commit("a", ROW, NEW_A, PROMPTS) if edit == "commit" else getattr(segments, edit)()
    monkeypatch.undo()
    assert state(segments) == before
    assert segments.redo() is not None


@pytest.mark.parametrize("edit", ["commit", "undo", "redo"])
def test_no_array_is_allocated_once_a_step_is_in_the_history(monkeypatch: pytest.MonkeyPatch, edit: str) -> None:
    """A lack of memory after that would leave the step without its voxels, and undo would add voxels."""
    grid, rest = Grid.from_spacing((60, 60, 60), (1, 1, 1)), np.full((60, 60, 60), 255, np.uint8)
    segments = Segments(grid, "overwrite")
    segments.add("a")
    for n in (255, 200):
        segments.commit("a", full_box(grid.shape), np.full_like(rest, n), PROMPTS)
    segments.undo()
    before = segments.history.position

    def count_nonzero(array: np.ndarray) -> int:
        if segments.history.position != before:
            raise MemoryError
        return int(np.sum(array != 0))

    def traced(plain: Callable) -> Callable:
        def noted(*args: object) -> None:
            plain(*args)
            tracemalloc.start()

        return noted

    monkeypatch.setattr(np, "count_nonzero", count_nonzero)
    for name in ("push", "moved"):
        monkeypatch.setattr(segments.history, name, traced(getattr(segments.history, name)))
    try:
        segments.commit("a", full_box(grid.shape), 0 * rest, PROMPTS) if edit == "commit" else getattr(segments, edit)()
        assert tracemalloc.get_traced_memory()[1] < rest.nbytes / 10
    finally:
        tracemalloc.stop()
