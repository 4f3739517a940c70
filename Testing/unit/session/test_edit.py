"""What another segment loses by an edit, and what undoing one would do."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.unit.cases.sessions import cube, new_session, painted, state
from TumorSegLib import Edit, GeometryError, Overlap
from TumorSegLib.geometry.boxes import EMPTY_BOX

BOX = ((2, 6), (3, 4), (5, 6))


def row(*voxels: int) -> np.ndarray:
    return np.array(voxels, np.uint8).reshape(1, 1, -1)


def test_another_segment_loses_the_voxels_that_an_edit_adds_and_no_others() -> None:
    edit = Edit("tumour", BOX, row(1, 0, 0, 1), row(1, 1, 1, 0))
    loss = edit.loss_of("node", row(1, 0, 5, 1))  # any label is the segment
    assert loss is not None
    assert (loss.segment, loss.box) == ("node", ((4, 5), (3, 4), (5, 6)))
    assert (loss.before.tolist(), loss.after.tolist()) == ([[[1]]], [[[0]]])
    assert loss.before.dtype == loss.after.dtype == np.uint8


def test_an_edit_that_only_erases_or_touches_no_other_segment_takes_no_voxels() -> None:
    assert Edit("tumour", BOX, row(1, 1, 1, 1), row(0, 0, 0, 0)).loss_of("node", row(1, 1, 1, 1)) is None
    assert Edit("tumour", BOX, row(0, 0, 1, 1), row(1, 1, 1, 1)).loss_of("node", row(0, 0, 1, 1)) is None
    empty = np.zeros((0, 0, 0), np.uint8)
    assert Edit("tumour", EMPTY_BOX, empty, empty).loss_of("node", empty) is None


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"segment 'node' has shape \(1, 1, 3\), the edit \(1, 1, 4\)"):
        Edit("tumour", BOX, row(0, 0, 0, 0), row(1, 1, 1, 1)).loss_of("node", row(1, 1, 1))


def test_what_an_undo_would_do_is_seen_without_doing_it() -> None:
    session = new_session(Overlap.OVERWRITE)
    assert session.preview_undo() is None
    session.replace_mask(painted(cube((1, 2, 3))))
    session.add_segment("other")
    session.activate("other")
    session.replace_mask(painted(cube((2, 3, 4))))
    before = state(session)
    seen = session.preview_undo()
    assert state(session) == before
    done = session.undo()
    assert seen is not None
    assert done is not None
    assert (seen.segment, seen.box, set(seen.others)) == ("other", done.box, {"tumour"})
    np.testing.assert_array_equal(seen.before, done.before)
    np.testing.assert_array_equal(seen.after, done.after)
    np.testing.assert_array_equal(seen.others["tumour"].after, done.others["tumour"].after)
