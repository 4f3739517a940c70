"""Segments: the three ways of overlapping by hand-written rows of voxels, and edits that fail half-way."""

from __future__ import annotations

import numpy as np
import pytest

from TumorSegLib.errors import ArgumentError, ResourceError
from TumorSegLib.geometry.boxes import EMPTY_BOX
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import TUMOUR
from TumorSegLib.prompts.types import Click, Prompts
from TumorSegLib.session import history as history_module
from TumorSegLib.session.history import Change
from TumorSegLib.session.segments import Edit, Overlap, Segments

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
def test_where_segments_meet(overlap: str, new_a: list, new_b: list, edit: tuple) -> None:
    segments = two(overlap, OLD_A, OLD_B)
    done = segments.commit("a", ROW, NEW_A, PROMPTS, {"model": "m"})
    assert as_text(done) == edit
    assert done.info == {"model": "m"}
    assert (values_of(segments, "a"), values_of(segments, "b")) == (new_a, new_b)
    undone = as_text(segments.undo())
    assert undone[:4] == (edit[0], edit[1], edit[3], edit[2])
    assert [other[:4] for other in undone[4]] == [(name, box, after, before) for name, box, before, after, _ in edit[4]]
    assert (values_of(segments, "a"), values_of(segments, "b")) == (OLD_A.ravel().tolist(), OLD_B.ravel().tolist())
    assert as_text(segments.redo()) == edit
    assert (values_of(segments, "a"), values_of(segments, "b")) == (new_a, new_b)


def test_all_segments_met_lose_their_voxels_under_overwrite() -> None:
    segments = two("overwrite", row(0, 0, 0, 0, 0, 0), row(0, 255, 255, 0, 0, 0))
    segments.add("c", ROW, row(0, 0, 0, 0, 200, 0))
    edit = segments.commit("a", ROW, row(*[255] * 6), PROMPTS)
    assert {name: other.box[0] for name, other in edit.others.items()} == {"b": (1, 3), "c": (4, 5)}
    assert (values_of(segments, "b"), values_of(segments, "c")) == ([0] * 6, [0] * 6)


def test_leaving_voxels_gives_them_to_nobody() -> None:
    segments = two("overwrite", row(*[255] * 6), row(0, 0, 255, 0, 0, 0))
    edit = segments.commit("a", ROW, row(*[0] * 6), PROMPTS)
    assert edit.others == {}
    assert values_of(segments, "b") == [0, 0, 255, 0, 0, 0]


def test_an_edit_holds_the_smallest_box_of_the_mask_in_a_volume() -> None:
    segments = Segments(Grid.from_spacing((4, 5, 6), (1, 1, 1)), "keep")
    segments.add("a")
    values = np.full((3, 3, 4), 50, dtype=np.uint8)
    values[1, 2, 1:3] = (TUMOUR, 255)
    edit = segments.commit("a", ((1, 5), (2, 5), (0, 3)), values, Prompts())
    assert edit.box == ((2, 4), (4, 5), (1, 2))
    assert (edit.before.tolist(), edit.after.tolist()) == ([[[0, 0]]], [[[1, 1]]])
    assert segments.probability("a")[0, 2, 1] == 50
    assert segments.probability("a")[3].max() == 0


def test_an_edit_that_leaves_the_mask_alone_is_empty_but_a_step() -> None:
    segments = two("keep", OLD_A, OLD_B)
    edit = segments.commit("a", ROW, row(201, 202, 3, 4, 5, 6), PROMPTS)
    assert (edit.box, edit.before.size, edit.after.size) == (EMPTY_BOX, 0, 0)
    assert values_of(segments, "a") == [201, 202, 3, 4, 5, 6]
    assert segments.prompts("a") == PROMPTS
    undone = segments.undo()
    assert undone is not None
    assert (undone.segment, undone.box) == ("a", EMPTY_BOX)
    assert values_of(segments, "a") == OLD_A.ravel().tolist()
    assert segments.prompts("a") == Prompts()


def test_what_was_shown_stays_and_what_is_live_cannot_be_written_to() -> None:
    segments = two("overwrite", OLD_A, OLD_B)
    shown = {name: (segments.mask(name), segments.scaled_probability(name)) for name in "ab"}
    copies = {name: [array.copy() for array in arrays] for name, arrays in shown.items()}
    segments.commit("a", ROW, NEW_A, PROMPTS)
    segments.undo()
    segments.redo()
    for name in "ab":
        for array, copy in zip(shown[name], copies[name]):
            np.testing.assert_array_equal(array, copy)
    with pytest.raises(ValueError, match="read-only"):
        segments.probability("a")[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        segments.mask("a")[0, 0, 0] = 1


def test_edits_are_copies() -> None:
    segments = two("keep", OLD_A, OLD_B)
    edit = segments.commit("a", ROW, NEW_A, PROMPTS)
    edit.before[:], edit.after[:] = 7, 7
    assert segments.mask("a").max() == 1
    assert np.array_equal(segments.mask("a"), segments.probability("a") >= TUMOUR)


def test_a_mask_is_made_once_per_edit() -> None:
    segments = two("keep", OLD_A, OLD_B)
    first = segments.mask("a")
    assert segments.mask("a") is first
    segments.commit("a", ROW, NEW_A, PROMPTS)
    assert segments.mask("a") is not first


def test_prompts_of_another_segment_go_where_its_voxels_are_taken() -> None:
    """Else its next click would take them back; undo gives both back."""
    segments = two("overwrite", row(0, 0, 0, 0, 0, 0), row(0, 0, 0, 0, 0, 0))
    taken, far, outside = Click((1, 0, 0)), Click((5, 0, 0)), Click((0, 0, 0), positive=False)
    given = Prompts((taken, far, outside))
    segments.commit("b", ROW, row(0, 255, 0, 0, 0, 255), given)
    segments.commit("a", ROW, row(255, 255, 0, 0, 0, 0), PROMPTS)
    assert segments.prompts("b").items == (far, outside)
    assert segments.prompts("a") == PROMPTS
    segments.undo()
    assert (segments.prompts("b"), segments.prompts("a")) == (given, Prompts())
    segments.redo()
    assert (segments.prompts("b").items, segments.prompts("a")) == ((far, outside), PROMPTS)


def test_names() -> None:
    segments = two("allow", OLD_A, OLD_B)
    assert segments.names == ("a", "b")
    assert segments.overlap is Overlap.ALLOW
    for taken in ("a", ""):
        with pytest.raises(ArgumentError, match=f"segment name '{taken}' is empty or taken; there are a, b"):
            segments.add(taken)
    for ask in (segments.probability, segments.mask, segments.scaled_probability, segments.prompts):
        with pytest.raises(ArgumentError, match="no segment 'c'; there are a, b"):
            ask("c")
    with pytest.raises(ArgumentError, match="no segment 'c'"):
        segments.commit("c", ROW, NEW_A, PROMPTS)
    with pytest.raises(ArgumentError, match="'mix' is not one of keep, overwrite, allow"):
        Segments(GRID, "mix")


def state(segments: Segments) -> tuple:
    everything = [(name, values_of(segments, name), segments.prompts(name)) for name in segments.names]
    return everything, [segments.mask(n).tolist() for n in segments.names], segments.history.steps()


def ready() -> Segments:
    """Overwriting segments with one step done and one undone; the next commit of NEW_A changes both."""
    segments = two("overwrite", OLD_A, OLD_B)
    for value in (3, 4):
        segments.commit("b", ROW, row(0, 255, 255, 128, value, 0), PROMPTS)
    segments.undo()
    return segments


def fail(*_: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("at", "edit"), [("between", "commit"), ("unpacked", "commit"), ("unpacked", "undo"), ("unpacked", "redo")]
)
def test_no_memory_at_any_point_changes_nothing(monkeypatch: pytest.MonkeyPatch, at: str, edit: str) -> None:
    segments = ready()
    before, position = state(segments), segments.history.position
    monkeypatch.setattr(Change, at, fail)
    with pytest.raises(MemoryError):
        segments.commit("a", ROW, NEW_A, PROMPTS) if edit == "commit" else getattr(segments, edit)()
    monkeypatch.undo()
    assert (state(segments), segments.history.position) == (before, position)
    assert segments.redo() is not None


def test_no_room_for_the_undo_step_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = ready()
    before, position = state(segments), segments.history.position

    def full(**options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)
    monkeypatch.setattr(history_module.tempfile, "TemporaryFile", full)
    with pytest.raises(ResourceError, match="No space left"):
        segments.commit("a", ROW, NEW_A, PROMPTS)
    assert (state(segments), segments.history.position) == (before, position)
    assert segments.redo() is not None
