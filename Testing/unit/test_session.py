"""Sessions: random work against a plain model that copies everything, threads, and edits that fail."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Testing.fakes import BallEngine, PaintingEngine, noise_volume, tiny_spec, voxels_of
from TumorSegLib import history as history_module
from TumorSegLib.boxes import NOTHING, bounding_box, slices
from TumorSegLib.errors import ArgumentError, Cancelled, GeometryError, ResourceError, TumorSegError
from TumorSegLib.geometry import Grid
from TumorSegLib.prompts import BoxPrompt, Click, Prompts, Scribble
from TumorSegLib.protocols import Result
from TumorSegLib.segments import EMPTY, TUMOUR, Edit, Overlap
from TumorSegLib.session import Session
from TumorSegLib.volume import Images, Mask, Volume

GRID = Grid.from_spacing((9, 10, 11), (1.0, 1.5, 2.0), (5, -3, 40), np.eye(3)[[1, 2, 0]])
IMAGES = {"ct": noise_volume(GRID)}
ALL = Overlap.KEEP, Overlap.OVERWRITE, Overlap.ALLOW


def painted(array: np.ndarray) -> Mask:
    return Mask(GRID, array.astype(np.uint8))


def cube(at: tuple[int, int, int], edge: int = 3) -> np.ndarray:
    i, j, k = at
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[k : k + edge, j : j + edge, i : i + edge] = 1
    return array


def scribble(array: np.ndarray, positive: bool = True) -> Scribble:
    return Scribble(painted(array), positive)


class TwoLevels:
    """An automatic engine with a probability of its own in a corner, and half, which is no tumour, elsewhere."""

    def __init__(self) -> None:
        self.spec = tiny_spec()
        self.low = 0.5

    def segment(self, images: Images, *, mirror: bool = False, progress: Any = None, cancel: Any = None) -> Result:
        if cancel is not None and cancel():
            raise Cancelled("stopped")
        probability = np.full(GRID.shape, self.low, dtype=np.float32)
        probability[:4, :4, :4] = 0.8
        mask = Mask(GRID, (probability > 0.5).astype(np.uint8))
        return Result(mask, Volume(GRID, probability, "probability"), info={"model": "levels"})


def new_session(overlap: Overlap = Overlap.KEEP, **changes: Any) -> Session:
    return Session(IMAGES, **{"auto": TwoLevels(), "clicks": BallEngine(), "overlap": overlap, **changes})


def state(session: Session) -> tuple:
    """All that a user can see, in values."""
    segments = [(name, session.mask_of(name).array.tobytes()) for name in session.segments]
    return segments, session.probability.array.tobytes(), session.prompts, session.can_undo, session.can_redo


# A model that keeps whole copies


@dataclass
class Reference:
    """What a session should be: whole arrays, and whole arrays before and after every step."""

    overlap: Overlap
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    prompts: dict[str, tuple] = field(default_factory=dict)
    begun: dict[str, np.ndarray] = field(default_factory=dict)
    done: list[tuple] = field(default_factory=list)
    undone: list[tuple] = field(default_factory=list)
    active: str = ""

    def add(self, name: str, mask: np.ndarray | None) -> None:
        self.arrays[name] = np.zeros(GRID.shape, np.uint8) if mask is None else 255 * (mask > 0).astype(np.uint8)
        self.begun[name], self.prompts[name], self.active = self.arrays[name].copy(), (), name

    def edit(self, wanted: np.ndarray, prompts: tuple) -> None:
        old, new = dict(self.arrays), dict(self.arrays)
        name, entered = self.active, (wanted >= TUMOUR) & (self.arrays[self.active] < TUMOUR)
        new[name] = wanted.copy()
        for other in set(self.arrays) - {name}:
            met = entered & (old[other] >= TUMOUR)
            if self.overlap is Overlap.KEEP:
                new[name][met] = old[name][met]
            elif self.overlap is Overlap.OVERWRITE:
                new[other] = np.where(met, 0, old[other])
        if prompts == self.prompts[name] and all(np.array_equal(new[each], old[each]) for each in old):
            return  # nothing to undo, and what was undone can still be done again
        self.done.append((name, old, new, self.prompts[name], prompts))
        self.undone.clear()
        self.arrays, self.prompts[name] = new, prompts

    def back(self) -> str:
        step = self.done.pop()
        self.undone.append(step)
        return self._go(step[0], step[1], step[3])

    def forward(self) -> str:
        step = self.undone.pop()
        self.done.append(step)
        return self._go(step[0], step[2], step[4])

    def _go(self, name: str, arrays: dict[str, np.ndarray], prompts: tuple) -> str:
        self.arrays = {**self.arrays, **arrays}  # segments added since are not part of the step
        self.prompts[name] = prompts
        return name


class Walk:
    """One random walk through everything a session can do, each step compared with the reference."""

    def __init__(self, seed: int, overlap: Overlap) -> None:
        self.random = np.random.default_rng(seed)
        self.engine, self.auto = BallEngine(), TwoLevels()
        initial = painted(cube((2, 3, 4))) if seed % 2 else None
        self.session = new_session(overlap, clicks=self.engine, auto=self.auto, initial=initial)
        self.reference = Reference(overlap)
        self.reference.add("tumour", None if initial is None else initial.array)
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []

    def step(self) -> None:
        weighted = [
            (self.click, 8),
            (self.scribble, 2),
            (self.replace, 3),
            (self.back, 5),
            (self.forward, 4),
            (self.activate, 2),
            (self.stopped, 1),
            (self.automatic, 0.3),
            (self.reset, 0.5),
            (self.add, 0.3),
            (self.there_and_back, 0.2),
            (self.save, 0.1),
            (self.keep_masks, 3),
        ]
        shares = np.array([weight for _, weight in weighted])
        weighted[self.random.choice(len(weighted), p=shares / shares.sum())][0]()

    def voxel(self) -> tuple[int, int, int]:
        i, j, k = self.random.integers(0, GRID.size).tolist()
        return i, j, k

    def sign(self) -> bool:
        return bool(self.random.random() < 0.7)

    def stroke(self) -> np.ndarray:
        i, j, k = self.voxel()
        array = np.zeros(GRID.shape, dtype=np.uint8)
        array[k, j, i : i + int(self.random.integers(1, 5))] = 1
        return array

    def expect(self, edit: Edit | None, name: str, old: dict[str, np.ndarray]) -> None:
        """Compares an edit with how the reference changed from ``old``, the arrays before."""
        assert edit is not None
        now = self.reference.arrays
        changed = [other for other in now if ((now[other] >= TUMOUR) != (old[other] >= TUMOUR)).any() and other != name]
        assert edit.segment == name
        assert sorted(other.segment for other in edit.others) == sorted(changed)
        for each in (edit, *edit.others):
            before, after = (arrays[each.segment] >= TUMOUR for arrays in (old, now))
            assert each.box == (bounding_box(before != after) or NOTHING)
            assert np.array_equal(each.before, before[slices(each.box)])
            assert np.array_equal(each.after, after[slices(each.box)])
        self.compare_cheaply()

    def compare_cheaply(self) -> None:
        assert self.session.segments == tuple(self.reference.arrays)
        assert self.session.active == self.reference.active
        assert self.session.prompts.items == self.reference.prompts[self.session.active]
        assert self.session.can_undo == bool(self.reference.done)
        assert self.session.can_redo == bool(self.reference.undone)

    def compare(self) -> None:
        self.compare_cheaply()
        for name, array in self.reference.arrays.items():
            assert np.array_equal(self.session.mask_of(name).array, array >= TUMOUR)
        probability = self.session.probability.array
        assert probability.dtype == np.float32
        assert np.array_equal(np.rint(probability * 255), self.reference.arrays[self.session.active])
        for array, copy in self.kept:
            assert np.array_equal(array, copy)

    def refine(self, prompt: Click | Scribble, give: Callable[[], Edit]) -> None:
        reference, old = self.reference, dict(self.reference.arrays)
        prompts = (*reference.prompts[reference.active], prompt)
        answer = self.engine.refine(GRID, old[reference.active], Prompts(prompts))
        wanted = old[reference.active].copy()
        wanted[slices(answer.box)] = answer.probability
        edit = give()
        reference.edit(wanted, prompts)
        self.expect(edit, reference.active, old)
        assert edit.info == answer.info
        changed = np.logical_or.reduce([reference.arrays[name] != old[name] for name in old])
        changed[slices(answer.box)] = False
        assert not changed.any()

    def click(self) -> None:
        click = Click(self.voxel(), self.sign())
        i, j, k = click.ijk
        reference = self.reference
        taken = any(a[k, j, i] >= TUMOUR for name, a in reference.arrays.items() if name != reference.active)
        if taken and click.positive and reference.overlap is Overlap.KEEP:
            with pytest.raises(ArgumentError, match="keeps its voxels"):
                self.session.add_click(click)
            self.compare()
        else:
            self.refine(click, lambda: self.session.add_click(click))

    def scribble(self) -> None:
        stroke = scribble(self.stroke(), self.sign())
        self.refine(stroke, lambda: self.session.add_scribble(stroke))

    def replace(self) -> None:
        reference = self.reference
        mask = (reference.arrays[reference.active] >= TUMOUR).astype(np.uint8)
        for _ in range(2):
            i, j, k = self.voxel()
            mask[k : k + 3, j : j + 3, i : i + 3] = 7 * self.sign()
        old = dict(reference.arrays)
        wanted = old[reference.active].copy()
        wanted[(mask > 0) & (wanted < TUMOUR)] = 255
        wanted[(mask == 0) & (wanted >= TUMOUR)] = 0
        held = []
        edited = (mask > 0) != (old[reference.active] >= TUMOUR)
        for prompt in reference.prompts[reference.active]:
            against = np.argwhere(edited & ((mask > 0) != prompt.positive))[:, ::-1]
            distance = (against[:, None] - voxels_of(prompt)) * GRID.spacing
            if not (np.linalg.norm(distance, axis=-1) <= 3 + 1e-6).any():
                held.append(prompt)
        edit = self.session.replace_mask(Mask(GRID, mask))
        reference.edit(wanted, tuple(held))
        self.expect(edit, reference.active, old)

    def automatic(self) -> None:
        old = dict(self.reference.arrays)
        self.auto.low = float(self.random.choice([0.0, 0.5, 0.2]))
        found = np.full(GRID.shape, {0.0: 0, 0.5: 127, 0.2: 51}[self.auto.low], dtype=np.uint8)
        found[:4, :4, :4] = 204
        edit = self.session.segment()
        self.reference.edit(found, ())
        self.expect(edit, self.reference.active, old)

    def reset(self) -> None:
        old, active = dict(self.reference.arrays), self.reference.active
        edit = self.session.reset()
        self.reference.edit(self.reference.begun[active], ())
        self.expect(edit, active, old)

    def back(self) -> None:
        self.go(self.session.undo, self.reference.done, self.reference.back)

    def forward(self) -> None:
        self.go(self.session.redo, self.reference.undone, self.reference.forward)

    def go(self, move: Callable[[], Edit | None], steps: list, model: Callable[[], str]) -> None:
        old = dict(self.reference.arrays)
        if steps:
            self.expect(move(), model(), old)
        else:
            assert move() is None
            self.compare_cheaply()

    def activate(self) -> None:
        name = str(self.random.choice(self.session.segments))
        self.session.activate(name)
        self.reference.active = name
        self.compare_cheaply()

    def add(self) -> None:
        if len(self.session.segments) == 4:
            return self.activate()
        name, mask = f"segment {len(self.session.segments)}", cube(self.voxel()) if self.sign() else None
        self.session.add_segment(name, None if mask is None else Mask(GRID, mask))
        self.reference.add(name, mask)
        return self.compare()

    def stopped(self) -> None:
        answers = iter([False, True] if self.sign() else [True])
        click = Click(self.voxel(), False)
        with pytest.raises(Cancelled):
            self.session.add_click(click, cancel=lambda: next(answers))
        self.compare()

    def there_and_back(self) -> None:
        """Undo to the beginning, redo to the end."""
        position = len(self.reference.done), len(self.reference.undone)
        for move, times in (self.back, position[0]), (self.forward, sum(position)), (self.back, position[1]):
            for _ in range(times):
                move()
        self.compare()

    def save(self) -> None:
        text = json.dumps(self.session.to_json(), allow_nan=False)
        self.session = Session.from_json(json.loads(text), IMAGES, auto=self.auto, clicks=self.engine)
        assert json.dumps(self.session.to_json(), allow_nan=False) == text
        self.compare()

    def keep_masks(self) -> None:
        """Masks that were handed out are compared at the end with copies of what they were."""
        arrays = self.session.mask.array, self.session.probability.array
        self.kept = [*self.kept, *((array, array.copy()) for array in arrays)][-40:]


@pytest.mark.parametrize("overlap", ALL)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), spill=st.booleans())
def test_10000_random_operations_are_those_of_the_model(overlap: Overlap, seed: int, spill: bool) -> None:
    """3 ways of overlapping x 20 walks x 170 operations; in half of the walks most undo steps lie on disk."""
    with pytest.MonkeyPatch.context() as patch:
        if spill:
            patch.setattr(history_module, "MEMORY_BUDGET", 500)
        walk = Walk(seed, overlap)
        for _ in range(170):
            walk.step()
        walk.compare()
        walk.there_and_back()
        while walk.session.can_undo:
            walk.back()
        for name in walk.session.segments:
            assert np.array_equal(walk.session.mask_of(name).array, walk.reference.begun[name] > 0)


# Beginning


def test_a_session_begins_with_an_empty_tumour() -> None:
    session = new_session()
    assert (session.segments, session.active, session.overlap) == (("tumour",), "tumour", Overlap.KEEP)
    assert session.mask.array.max() == 0
    assert session.mask.array.dtype == np.uint8
    assert session.mask.grid == session.probability.grid == GRID
    assert session.probability.role == "probability"
    assert (session.undo(), session.redo(), session.can_undo, session.can_redo) == (None, None, False, False)


def test_any_label_of_an_initial_mask_is_tumour_and_no_step() -> None:
    session = new_session(initial=Mask(GRID, cube((1, 2, 3)) * 5))
    assert np.array_equal(session.mask.array, cube((1, 2, 3)))
    assert np.array_equal(session.probability.array, cube((1, 2, 3)))
    assert not session.can_undo


def test_the_caller_keeps_no_hold_on_what_a_session_was_given() -> None:
    array, images = cube((1, 2, 3)), dict(IMAGES)
    session = new_session(initial=Mask(GRID, array))
    session.replace_mask(Mask(GRID, array))
    array[:] = 1
    images.clear()
    assert np.array_equal(session.mask.array, cube((1, 2, 3)))
    session.reset()
    assert np.array_equal(session.mask.array, cube((1, 2, 3)))
    assert list(session.images) == ["ct"]


def test_images_are_prepared_once() -> None:
    engine = BallEngine()
    session = new_session(clicks=engine)
    assert engine.prepared == 0
    session.prepare()
    for n in range(3):
        session.add_click(Click((n, n, n)))
    assert engine.prepared == 1


OTHER = Grid.from_spacing(GRID.shape, (1.0, 1.5, 2.5))
ELSEWHERE = Mask(OTHER, cube((1, 2, 3)))


@pytest.mark.parametrize(
    ("error", "message", "act"),
    [
        (ArgumentError, "at least one image", lambda s: Session({})),
        (ArgumentError, "'mix' is not one of keep", lambda s: Session(IMAGES, overlap="mix")),
        (GeometryError, "the mask .* is not on the grid", lambda s: Session(IMAGES, initial=ELSEWHERE)),
        (GeometryError, "the mask .* is not on the grid", lambda s: s.replace_mask(ELSEWHERE)),
        (GeometryError, "the mask .* is not on the grid", lambda s: s.add_segment("node", ELSEWHERE)),
        (GeometryError, "the scribble .* is not on the first", lambda s: s.add_scribble(Scribble(ELSEWHERE))),
        (ArgumentError, "'tumour' is empty or taken", lambda s: s.add_segment("tumour")),
        (ArgumentError, "no segment 'node'; there are tumour", lambda s: s.activate("node")),
        (ArgumentError, "no segment 'node'; there are tumour", lambda s: s.mask_of("node")),
        (ArgumentError, r"voxel \(11, 0, 0\), lies outside", lambda s: s.add_click(Click((11, 0, 0)))),
        (ArgumentError, r"voxel \(0, 0, -1\), lies outside", lambda s: s.add_click(Click((0, 0, -1)))),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    error: type[TumorSegError], message: str, act: Callable[[Session], Any]
) -> None:
    session = new_session()
    session.add_click(Click((4, 4, 4)))
    session.add_click(Click((5, 4, 4)))
    session.undo()
    before = state(session)
    with pytest.raises(error, match=message):
        act(session)
    assert state(session) == before


def test_a_scribble_drawn_on_a_larger_image_is_refused() -> None:
    larger = Grid(tuple(n + 5 for n in GRID.shape), GRID.affine)
    array = np.zeros(larger.shape, dtype=np.uint8)
    array[-1, -1, -1] = 1
    with pytest.raises(GeometryError, match="not on the first image's grid"):
        new_session().add_scribble(Scribble(Mask(larger, array)))


@pytest.mark.parametrize("act", ["segment", "prepare", "add_click", "add_scribble"])
def test_an_engine_that_is_missing_is_named(act: str) -> None:
    arguments = {"add_click": [Click((1, 1, 1))], "add_scribble": [scribble(cube((1, 1, 1)))]}.get(act, [])
    engine = "automatic engine" if act == "segment" else "click engine"
    with pytest.raises(ArgumentError, match=f"no {engine}; give one as Session"):
        getattr(Session(IMAGES), act)(*arguments)


# What edits do


def test_the_mask_of_an_automatic_answer_is_the_engines_own() -> None:
    """Half is not more than half; the next larger float is."""
    half = np.float32(0.5)
    near = np.array([0, np.nextafter(half, 0), half, np.nextafter(half, 1), 1], dtype=np.float32)
    grid = Grid.from_spacing((1, 1, 5), (1, 1, 1))
    engine = TwoLevels()
    engine.segment = lambda images, **_: Result(  # type: ignore[method-assign]
        Mask(grid, (near > 0.5).astype(np.uint8)[None, None]), Volume(grid, near[None, None], "probability")
    )
    session = Session({"ct": noise_volume(grid)}, auto=engine)
    session.segment()
    assert session.mask.array.ravel().tolist() == [0, 0, 0, 1, 1]
    assert np.array_equal(session.probability.array > 0.5, session.mask.array > 0)


def test_the_automatic_answer_replaces_mask_and_prompts_and_can_be_undone() -> None:
    engine = PaintingEngine(tiny_spec(), lambda images: cube((6, 6, 5)))
    session = new_session(auto=engine)
    session.add_click(Click((1, 1, 1)))
    before = session.mask
    edit = session.segment()
    assert np.array_equal(session.mask.array, cube((6, 6, 5)))
    assert len(session.prompts) == 0
    assert edit.box == bounding_box(before.array | session.mask.array)
    assert engine.shown == [IMAGES]
    session.undo()
    assert np.array_equal(session.mask.array, before.array)
    assert session.prompts.items == (Click((1, 1, 1)),)


def test_the_last_prompt_is_obeyed_and_the_edit_says_what_changed() -> None:
    session = new_session()
    edit = session.add_click(Click((5, 4, 3)))
    assert session.mask.array[3, 4, 5] == 1
    assert edit.info["model"] == "balls"
    assert np.array_equal(edit.after, session.mask.array[slices(edit.box)])
    session.add_click(Click((5, 4, 3), positive=False))
    assert session.mask.array[3, 4, 5] == 0
    session.add_scribble(scribble(cube((0, 0, 0), 2)))
    assert session.mask.array[:2, :2, :2].all()
    assert [type(item) for item in session.prompts.items] == [Click, Click, Scribble]


def test_undo_and_redo_return_the_edit_in_its_direction() -> None:
    session = new_session()
    done = session.replace_mask(painted(cube((2, 3, 4))))
    undone, redone = session.undo(), session.redo()
    assert undone is not None
    assert redone is not None
    assert done.box == undone.box == redone.box == ((2, 5), (3, 6), (4, 7))
    assert (done.after.all(), undone.after.any(), redone.after.all()) == (True, False, True)
    assert (done.before.any(), undone.before.all(), redone.before.any()) == (False, True, False)


def test_a_new_edit_ends_what_could_be_done_again() -> None:
    session = new_session()
    session.add_click(Click((2, 2, 2)))
    session.undo()
    session.add_click(Click((7, 7, 7)))
    assert session.redo() is None
    assert session.prompts.items == (Click((7, 7, 7)),)


def test_a_mask_from_elsewhere_keeps_the_probability_where_it_agrees() -> None:
    session = new_session()
    session.segment()
    mask = session.mask.array.copy()
    mask[0, 0, 0], mask[8, 8, 8] = 0, 9
    edit = session.replace_mask(Mask(GRID, mask))
    assert edit.box == ((0, 9), (0, 9), (0, 9))
    tenths = np.rint(session.probability.array * 255)
    assert (tenths[0, 0, 0], tenths[8, 8, 8], tenths[1, 1, 1], tenths[5, 5, 5]) == (0, 255, 204, 127)


def test_prompts_that_a_mask_contradicts_are_dropped_and_come_back_with_undo() -> None:
    session = new_session()
    inside, outside, wrong = Click((1, 1, 1)), Click((9, 8, 7), False), Click((5, 5, 5))
    line, partly = cube((0, 0, 0), 2), cube((6, 0, 0), 2)
    for click in (inside, outside, wrong):
        session.add_click(click)
    session.add_scribble(scribble(line))
    session.add_scribble(scribble(partly))
    given = session.prompts
    mask = session.mask.array.copy()
    mask[5, 5, 5], mask[0, 0, 7] = 0, 0
    session.replace_mask(Mask(GRID, mask))
    assert session.prompts.items == (inside, outside, scribble(line))
    session.undo()
    assert session.prompts == given
    session.redo()
    assert session.prompts.items == (inside, outside, scribble(line))
    session.add_click(Click((1, 1, 2)))
    assert session.mask.array[5, 5, 5] == 0


def test_negative_prompts_are_dropped_where_the_mask_is_tumour() -> None:
    session = new_session()
    session.add_click(Click((1, 1, 1), positive=False))
    session.add_scribble(scribble(cube((5, 5, 5)), positive=False))
    session.replace_mask(painted(cube((7, 7, 7), 1)))
    assert session.prompts.items == (Click((1, 1, 1), positive=False),)


def test_boxes_are_never_contradicted() -> None:
    session = new_session()
    box = BoxPrompt(((0, 3), (0, 3), (0, 3)))
    session._segments.commit("tumour", NOTHING, EMPTY, Prompts((box,)))
    session.replace_mask(painted(cube((5, 5, 5))))
    assert session.prompts.items == (box,)


def test_reset_goes_back_to_the_initial_mask_of_that_segment_and_can_be_undone() -> None:
    session = new_session(initial=painted(cube((1, 1, 1))), overlap=Overlap.ALLOW)
    session.add_segment("node", painted(cube((5, 5, 5))))
    for name in session.segments:
        session.activate(name)
        session.add_click(Click((8, 2, 3)))
    before = state(session)
    session.reset()
    assert np.array_equal(session.mask_of("node").array, cube((5, 5, 5)))
    assert session.mask_of("tumour").array[3, 2, 8] == 1
    assert len(session.prompts) == 0
    session.undo()
    assert state(session)[:3] == before[:3]


def test_undo_takes_back_the_last_edit_of_any_segment_and_leaves_the_active_one() -> None:
    session = new_session()
    session.replace_mask(painted(cube((0, 0, 0))))
    session.add_segment("node")
    edit = session.undo()
    assert edit is not None
    assert (edit.segment, session.active, session.segments) == ("tumour", "node", ("tumour", "node"))
    assert session.mask_of("tumour").array.max() == 0


def test_a_click_into_a_segment_that_keeps_its_voxels_says_how_to_take_them() -> None:
    session = new_session(initial=painted(cube((1, 1, 1))))
    session.add_segment("node")
    with pytest.raises(ArgumentError, match=r"voxel \(2, 2, 2\) lies in segment 'tumour'.*overlap=\"overwrite\""):
        session.add_click(Click((2, 2, 2)))
    session.add_click(Click((2, 2, 2), positive=False))
    assert np.array_equal(session.mask_of("tumour").array, cube((1, 1, 1)))


def test_a_click_takes_the_voxels_of_another_segment_where_it_may() -> None:
    session = new_session(Overlap.OVERWRITE, initial=painted(cube((1, 1, 1))))
    session.add_segment("node")
    edit = session.add_click(Click((2, 2, 2)))
    assert [other.segment for other in edit.others] == ["tumour"]
    assert not (session.mask.array & session.mask_of("tumour").array).any()
    assert session.mask.array[2, 2, 2] == 1
    session.undo()
    assert np.array_equal(session.mask_of("tumour").array, cube((1, 1, 1)))


# Edits that fail


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


# Threads


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


def test_two_writers_take_turns() -> None:
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
