"""Undo and redo of edits that take voxels from other segments, inside the session and outside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from Testing.unit.cases.sessions import GRID, IMAGES, cube, new_session, painted
from TumorSegLib.errors import ArgumentError, GeometryError, ResourceError
from TumorSegLib.geometry.boxes import EMPTY_BOX, slices
from TumorSegLib.prompts.types import Click
from TumorSegLib.session import history as history_module
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session

TUMOUR, ORGAN = cube((2, 2, 2)), cube((3, 3, 3))


def losses_of(edit: Edit, others: Mapping[str, np.ndarray]) -> list[Edit]:
    """What segments outside lose where an edit grows into them."""
    losses = []
    for name, array in others.items():
        mask = array[slices(edit.box)]
        after = np.where(edit.after > edit.before, 0, mask)
        if (after != mask).any():
            losses.append(Edit(name, edit.box, mask, after))
    return losses


def apply(edit: Edit, masks: dict[str, np.ndarray]) -> None:
    """Writes what an edit says of segments outside into their masks."""
    for name in edit.others.keys() & masks:
        other = edit.others[name]
        masks[name] = masks[name].copy()
        part = masks[name][slices(other.box)]
        assert not (other.before & ~part).any()
        part[(other.before > 0) & (other.after == 0)] = 0
        part[other.after > other.before] = 1


def overwrite(session: Session, edit: Edit, masks: dict[str, np.ndarray]) -> Edit:
    edit = session.record_losses(edit, losses_of(edit, masks))
    apply(edit, masks)
    return edit


def undo(session: Session, masks: dict[str, np.ndarray]) -> Edit:
    edit = session.undo()
    assert edit is not None
    apply(edit, masks)
    return edit


def reopened(session: Session) -> Session:
    return Session.from_json(json.loads(json.dumps(session.to_json())), IMAGES)


@pytest.mark.parametrize("saved", [False, True])
def test_undo_overwrite_of_equal_edits_gives_back_what_that_edit_took(saved: bool) -> None:
    """The tumour overwrites the organ, is erased, and is painted again without overwriting: two equal edits."""
    session, scene = new_session(), {"organ": ORGAN}
    first = overwrite(session, session.replace_mask(painted(TUMOUR)), scene)
    session.replace_mask(painted(np.zeros(GRID.shape)))
    again = session.replace_mask(painted(TUMOUR))
    assert np.array_equal(first.after, again.after)
    lost = scene["organ"]
    if saved:
        session = reopened(session)
    assert undo(session, scene).others == {}
    undo(session, scene)
    assert np.array_equal(scene["organ"], lost)
    undone = undo(session, scene)
    assert np.array_equal(scene["organ"], ORGAN)
    assert list(undone.others) == ["organ"]
    redone = session.redo()
    assert redone is not None
    apply(redone, scene)
    assert np.array_equal(scene["organ"], lost)


def test_losses_outside_the_session_are_reported_like_those_inside() -> None:
    inside, outside = new_session(Overlap.OVERWRITE, initial=painted(ORGAN)), new_session()
    expected = inside.add_segment("tumour 2", painted(TUMOUR)).others["tumour"]
    edit = outside.replace_mask(painted(TUMOUR))
    (loss,) = outside.record_losses(edit, losses_of(edit, {"organ": ORGAN})).others.values()
    assert loss.box == expected.box
    assert (loss.before.tolist(), loss.after.tolist()) == (expected.before.tolist(), expected.after.tolist())


LOSS = Edit("organ", ((0, 1), (0, 1), (0, 1)), np.ones((1, 1, 1), np.uint8), np.zeros((1, 1, 1), np.uint8))


def test_losses_are_recorded_with_the_newest_step_only() -> None:
    session = new_session()
    first = session.replace_mask(painted(TUMOUR))
    nothing = session.replace_mask(painted(TUMOUR))
    newest = session.add_click(Click((8, 8, 8)))
    recorded = session.record_losses(newest, [LOSS])
    session.undo()
    session.undo()
    redone = session.redo()  # the newest step done, but a later one is undone
    assert redone is not None
    for edit in (first, nothing, recorded, redone):
        with pytest.raises(ArgumentError, match=r"'tumour' .*is not the newest step"):
            session.record_losses(edit, [replace(LOSS, segment="b")])
    again = session.redo()
    assert again is not None
    assert list(again.others) == ["organ"]
    with pytest.raises(ArgumentError, match=r"'tumour' .*is not the newest step"):
        session.record_losses(first, [replace(LOSS, segment="b")])


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (ArgumentError, "'organ' lost is recorded", {}),
        (ArgumentError, "'node' lost is recorded", {"segment": "node"}),
        (ArgumentError, "must lose", {"segment": "b", "after": LOSS.before}),
        (ArgumentError, "must lose", {"segment": "b", "before": LOSS.after, "after": LOSS.before}),
        (GeometryError, "does not fill", {"segment": "b", "box": ((0, 2), (0, 1), (0, 1))}),
        (GeometryError, "leaves the grid", {"segment": "b", "box": ((-1, 0), (0, 1), (0, 1))}),
    ],
)
def test_impossible_losses_are_refused(error: type, message: str, changes: dict) -> None:
    session = new_session()
    session.add_segment("node")
    session.activate("tumour")
    edit = session.record_losses(session.add_click(Click((8, 8, 8))), [LOSS])
    with pytest.raises(error, match=message):
        session.record_losses(edit, [replace(LOSS, **changes)])


def test_a_segment_outside_may_have_the_name_of_the_one_edited() -> None:
    """Slicer's ids of segments know nothing of the names in a session."""
    session, scene = new_session(), {"tumour": ORGAN}
    overwrite(session, session.replace_mask(painted(TUMOUR)), scene)
    session = reopened(session)
    undo(session, scene)
    assert np.array_equal(scene["tumour"], ORGAN)
    assert not session.mask.array.any()


def test_a_full_disk_leaves_the_step_without_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    session, scene = new_session(), {"organ": ORGAN}
    session.add_click(Click((8, 8, 8)))
    edit = session.replace_mask(painted(TUMOUR))

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)
    monkeypatch.setattr(history_module.tempfile, "TemporaryFile", full)
    with pytest.raises(ResourceError, match="No space left"):
        overwrite(session, edit, scene)
    undone = session.undo()
    assert undone is not None
    assert undone.others == {}


boxes = st.tuples(st.tuples(*[st.integers(0, 6)] * 3), st.integers(1, 4))


class Overlapping(RuleBasedStateMachine):
    """Two segments of a session and two outside; whole copies of all masks are kept for every step."""

    @initialize(policy=st.sampled_from(Overlap), spill=st.booleans())
    def begin(self, policy: Overlap, spill: bool) -> None:
        self.budget = history_module.MEMORY_BUDGET
        history_module.MEMORY_BUDGET = 200 if spill else self.budget
        self.session = new_session(policy, initial=painted(TUMOUR))
        self.session.add_segment("node")
        self.scene = {"organ": ORGAN, "vessel": cube((0, 0, 0), 6)}
        self.states, self.at = [self.state()], 0

    def state(self) -> dict[str, bytes]:
        inside = {name: self.session.mask_of(name).array.tobytes() for name in self.session.segments}
        return inside | {f"{name} outside": array.tobytes() for name, array in self.scene.items()}

    @rule(name=st.sampled_from(["tumour", "node"]), at=boxes, erase=st.booleans(), policy=st.sampled_from(Overlap))
    def edit(self, name: str, at: tuple[tuple[int, int, int], int], erase: bool, policy: Overlap) -> None:
        self.session.activate(name)
        mask, brush = self.session.mask.array, cube(*at)
        edit = self.session.replace_mask(painted(mask & ~brush if erase else mask | brush))
        if edit.box == EMPTY_BOX:
            return
        if policy is Overlap.OVERWRITE:
            overwrite(self.session, edit, self.scene)
        self.at += 1
        self.states[self.at :] = [self.state()]

    def move(self, by: int) -> None:
        edit = self.session.undo() if by < 0 else self.session.redo()
        possible = 0 <= self.at + by < len(self.states)
        assert (edit is not None) == possible
        if edit is not None:
            apply(edit, self.scene)
            self.at += by
            assert self.state() == self.states[self.at]

    @rule(times=st.integers(1, 4))
    def undo(self, times: int) -> None:
        for _ in range(times):
            self.move(-1)

    @rule(times=st.integers(1, 4))
    def redo(self, times: int) -> None:
        for _ in range(times):
            self.move(1)

    @rule()
    def save_and_reopen(self) -> None:
        self.session = reopened(self.session)
        assert self.state() == self.states[self.at]

    def teardown(self) -> None:
        """Undo of everything, and redo of everything, restores every segment exactly."""
        if hasattr(self, "states"):
            history_module.MEMORY_BUDGET = self.budget
            for by in (-1, 1, -1):
                for _ in self.states:
                    self.move(by)


TestOverlapping = Overlapping.TestCase
TestOverlapping.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
