"""Sessions: how they begin, and what edits do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine, EllipsoidEngine, PaintingEngine, noise_volume, tiny_spec
from Testing.unit.sessions import GRID, IMAGES, TwoLevels, cube, new_session, painted, scribble, state
from TumorSegLib.errors import ArgumentError, GeometryError, ModelError, TumorSegError
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.probability import EMPTY
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.prompts.types import BoxPrompt, Click, Prompts, Scribble
from TumorSegLib.protocols import Refinement, Result
from TumorSegLib.session.segments import Overlap
from TumorSegLib.session.session import Session

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


def test_there_is_something_to_reset_once_voxels_or_prompts_are_others() -> None:
    session = new_session(initial=Mask(GRID, cube((1, 2, 3))))
    assert not session.can_reset
    session.add_click(Click((2, 3, 4)))
    assert session.can_reset
    session.undo()
    assert not session.can_reset
    session.replace_mask(Mask(GRID, cube((0, 0, 0))))
    assert session.can_reset
    session.reset()
    assert (session.can_reset, session.can_undo) == (False, True)
    session.replace_mask(Mask(GRID, np.maximum(session.mask.array, cube((0, 0, 0)))))
    assert session.can_reset


def test_a_click_that_changed_nothing_can_be_reset() -> None:
    class Content(BallEngine):
        def refine(self, prepared: Grid, probability: np.ndarray, *_: Any) -> Refinement:
            return Refinement(EMPTY_BOX, EMPTY)

    session = new_session(clicks=Content())
    session.add_click(Click((2, 3, 4)))
    assert (session.mask.array.any(), session.can_reset) == (False, True)


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
OTHER_SCRIBBLE = Scribble.from_mask(ELSEWHERE)


@pytest.mark.parametrize(
    ("error", "message", "act"),
    [
        (ArgumentError, "at least one image", lambda s: Session({})),
        (ArgumentError, "'mix' is not one of keep", lambda s: Session(IMAGES, overlap="mix")),
        (GeometryError, "mask is not .* first voxels .* apart", lambda s: Session(IMAGES, initial=ELSEWHERE)),
        (GeometryError, "mask is not .* first voxels .* apart", lambda s: s.replace_mask(ELSEWHERE)),
        (GeometryError, "mask is not .* first voxels .* apart", lambda s: s.add_segment("node", ELSEWHERE)),
        (
            GeometryError,
            "scribble is not .* first voxels .* apart",
            lambda s: s.add(OTHER_SCRIBBLE),
        ),
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
        new_session().add_scribble(Scribble.from_mask(Mask(larger, array)))


@pytest.mark.parametrize("act", ["segment", "prepare", "add_click", "add_scribble"])
def test_an_engine_that_is_missing_is_named(act: str) -> None:
    arguments = {"add_click": [Click((1, 1, 1))], "add_scribble": [scribble(cube((1, 1, 1)))]}.get(act, [])
    engine = "automatic engine" if act == "segment" else "click engine"
    with pytest.raises(ArgumentError, match=f"no {engine}; give one as Session"):
        getattr(Session(IMAGES), act)(*arguments)


# What edits do


@pytest.mark.parametrize(
    ("slot", "engine"),
    [
        ("auto", BallEngine()),
        ("auto", EllipsoidEngine()),
        ("clicks", TwoLevels()),
        ("clicks", EllipsoidEngine()),
        ("box", TwoLevels()),
        ("box", BallEngine()),
    ],
)
def test_an_engine_of_another_kind_is_refused_at_once(slot: str, engine: Any) -> None:
    kind = engine.spec.kind
    with pytest.raises(ModelError, match=f"is of kind '{kind}', one of kind '{slot}' is needed here"):
        Session(IMAGES, **{slot: engine})


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
    session._segments.commit("tumour", EMPTY_BOX, EMPTY, Prompts((box,)))
    session.replace_mask(painted(cube((5, 5, 5))))
    assert session.prompts.items == (box,)


def test_reset_goes_back_to_the_initial_mask_of_that_segment_and_can_be_undone() -> None:
    session = new_session(initial=painted(cube((1, 1, 1))), overlap=Overlap.ALLOW)
    session.add_segment("node")
    for name in session.segments:
        session.activate(name)
        session.add_click(Click((8, 2, 3)))
    session.activate("tumour")
    before = state(session)
    session.reset()
    assert np.array_equal(session.mask_of("tumour").array, cube((1, 1, 1)))
    assert session.mask_of("node").array[3, 2, 8] == 1
    assert len(session.prompts) == 0
    session.undo()
    assert state(session)[:3] == before[:3]


def test_a_click_into_a_segment_that_keeps_its_voxels_says_how_to_take_them() -> None:
    session = new_session(initial=painted(cube((1, 1, 1))))
    session.add_segment("node")
    with pytest.raises(ArgumentError, match=r"voxel \(2, 2, 2\) lies in segment 'tumour'.*overlap=\"overwrite\""):
        session.add_click(Click((2, 2, 2)))
    session.add_click(Click((2, 2, 2), positive=False))
    assert np.array_equal(session.mask_of("tumour").array, cube((1, 1, 1)))


def test_a_stroke_needs_a_voxel_that_no_other_segment_keeps() -> None:
    session = new_session(initial=painted(cube((1, 1, 1))))
    session.add_segment("node")
    with pytest.raises(ArgumentError, match=r"scribble in box \(\(1, 3\), .* lies in segment 'tumour', which keeps"):
        session.add_scribble(scribble(cube((1, 1, 1), 2)))
    session.add_scribble(scribble(cube((0, 0, 0), 2)))
    assert session.mask.array[0, 0, 0] == 1
    assert np.array_equal(session.mask_of("tumour").array, cube((1, 1, 1)))


@pytest.mark.parametrize("overlap", ["keep", "overwrite"])
def test_what_undo_brings_back_never_meets_a_segment_added_since(overlap: str) -> None:
    session = new_session(Overlap(overlap), initial=painted(cube((1, 1, 1))))
    session.replace_mask(painted(np.zeros(GRID.shape)))
    session.add_segment("node", painted(cube((1, 1, 1))))
    session.undo()
    session.undo()
    assert np.array_equal(session.mask_of("tumour").array, cube((1, 1, 1)))
    assert session.mask.array.max() == 0


def test_faint_probabilities_of_the_automatic_engine_are_nothing() -> None:
    """Else every undo of it would be as large as the body."""
    engine = TwoLevels()
    engine.low = 0.015
    session = new_session(auto=engine)
    session.segment()
    (step,) = session._segments.history.steps()
    assert step.changes[0].box == ((0, 4), (0, 4), (0, 4))


def test_a_segment_does_not_take_back_with_its_next_click_what_another_one_took() -> None:
    session = new_session(Overlap.OVERWRITE)
    session.add_click(Click((2, 2, 2)))
    session.add_segment("node")
    session.add_click(Click((2, 2, 2)))
    assert session.mask.array[2, 2, 2] == 1
    session.activate("tumour")
    assert session.prompts.items == ()
    session.add_click(Click((8, 7, 6)))
    assert session.mask_of("node").array[2, 2, 2] == 1
