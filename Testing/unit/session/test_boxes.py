"""Sessions with boxes: what a box does to the segment, its prompts, its neighbours and the undo steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine, EllipsoidEngine
from Testing.unit.sessions import ALL, GRID, IMAGES, cube, new_session, painted, scribble, state
from TumorSegLib.errors import ArgumentError, Cancelled, ResourceError, RoleError
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.prompts.types import BoxPrompt, Click, Prompts
from TumorSegLib.protocols import BoxOptions, BoxSegmenter, Refinement
from TumorSegLib.session.segments import Overlap
from TumorSegLib.session.session import Session

BOX = BoxPrompt(((2, 9), (1, 8), (2, 8)))
THIN = BoxPrompt(((2, 9), (1, 8), (4, 5)))


def held(box: Box) -> np.ndarray:
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[slices(box)] = True
    return inside


def answer(prompt: BoxPrompt = BOX, grid: Grid = GRID, within: BoxPrompt | None = None) -> np.ndarray:
    """The probability uint8 that the engine alone would give, 0 where it says nothing."""
    engine = EllipsoidEngine()
    refinement = engine.segment((grid, BoxOptions()), prompt, within=within)
    values = np.zeros(grid.shape, dtype=np.uint8)
    values[slices(refinement.box)] = refinement.probability
    return values


def with_boxes(overlap: Overlap = Overlap.KEEP, **changes: Any) -> Session:
    return new_session(overlap, **{"box": EllipsoidEngine(), **changes})


def values_of(session: Session) -> np.ndarray:
    return np.rint(session.probability.array * 255).astype(np.uint8)


def law(*clicks: Click) -> np.ndarray:
    """Voxels within 3 mm of clicks."""
    place = GRID.to_ras(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1)[..., ::-1])
    return np.any([np.linalg.norm(place - GRID.to_ras(click.ijk), axis=-1) <= 3 + 1e-4 for click in clicks], axis=0)


# What a box does


def test_the_fake_is_a_box_engine() -> None:
    engine: BoxSegmenter[Any] = EllipsoidEngine()
    assert engine.spec.kind == "box"
    assert answer().max() >= 128
    assert (answer(THIN)[2:7] >= 128).any(axis=(1, 2)).all()
    assert not answer(THIN)[:2].any()


def test_a_box_from_nothing() -> None:
    session = with_boxes()
    edit = session.add_box(BOX)
    assert np.array_equal(values_of(session), answer())
    assert session.prompts.items == (BOX,)
    assert edit.segment == "tumour"
    assert np.array_equal(edit.after, session.mask.array[slices(edit.box)])
    assert not edit.before.any()
    assert [edit.info[name] for name in ("model", "slices", "role")] == ["ellipsoids", 6, "ct"]


def test_what_was_in_the_box_is_replaced_and_what_was_outside_stays() -> None:
    before = np.ones(GRID.shape, dtype=np.uint8)
    session = with_boxes(initial=painted(before))
    session.add_box(BOX)
    assert np.array_equal(values_of(session), np.where(held(BOX.box), answer(), 255))
    assert not session.mask.array[2, 1, 2]  # the corner of the box, outside its ellipsoid


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_box_on_one_slice_adds_along_its_axis(axis: int) -> None:
    ranges = list(BOX.box)
    ranges[axis] = (4, 5)
    thin = BoxPrompt((ranges[0], ranges[1], ranges[2]))
    start = cube((2, 1, 2), 4)
    session = with_boxes(initial=painted(start))
    session.add_box(thin)
    found = answer(thin)
    assert ((found >= 128) & ~held(thin.box)).any()
    assert ((start > 0) & (found < 128) & (found > 0)).any()  # which a box in 3D would have taken away
    assert np.array_equal(values_of(session), np.maximum(start * 255, found))


def test_a_box_in_an_image_of_one_slice_replaces() -> None:
    grid = Grid.from_spacing((1, 10, 11), (1, 1, 1))
    images = {"ct": Volume(grid, np.zeros(grid.shape, np.float32))}
    session = Session(images, box=EllipsoidEngine(), initial=Mask(grid, np.ones(grid.shape, np.uint8)))
    flat = BoxPrompt(((2, 9), (1, 8), (0, 1)))
    session.add_box(flat)
    assert session.mask.array[0, 1, 2] == 0
    assert session.mask.array[0, 4, 5] == 1
    assert session.mask.array[0, 0, 0] == 1


def test_region_options_and_progress_reach_the_engine() -> None:
    engine = EllipsoidEngine()
    session, told = with_boxes(box=engine), []
    within = BoxPrompt(((2, 9), (1, 8), (3, 6)))
    options = BoxOptions(role="ct", axes=(0, 1), ct_window="lung")
    session.add_box(THIN, within=within, options=options, progress=lambda *steps: told.append(steps))
    assert engine.asked == [(THIN, within)]
    assert engine.prepared == [options]
    assert told == [(3, 3)]
    assert np.array_equal(values_of(session), answer(THIN, within=within))


def test_images_are_prepared_once_per_window() -> None:
    engine = EllipsoidEngine()
    session = with_boxes(box=engine)
    lung, sideways = BoxOptions(ct_window="lung"), BoxOptions(axes=(0,))
    for options in (None, BoxOptions(), sideways, lung, BoxOptions(ct_window="lung")):
        session.add_box(BOX, options=options)
    assert engine.prepared == [BoxOptions(), lung]


# Clicks and boxes


def test_clicks_and_strokes_given_before_stay_law() -> None:
    drawn = cube((9, 8, 7), 1)
    session = with_boxes()
    no, yes = Click((5, 4, 4), False), Click((1, 1, 1))
    session.add_click(no)
    session.add_click(yes)
    session.add_scribble(scribble(drawn))
    for prompt in (BOX, THIN):
        session.add_box(prompt)
        assert not session.mask.array[law(no)].any()
        assert session.mask.array[law(yes)].all()
        assert session.mask.array[drawn > 0].all()
    assert [type(item).__name__ for item in session.prompts.items] == [
        "Click",
        "Click",
        "Scribble",
        "BoxPrompt",
        "BoxPrompt",
    ]
    assert session.mask.array[(answer() >= 128) & ~law(no)].all()


def test_a_click_after_a_box_is_shown_the_box() -> None:
    shown: list[Prompts] = []

    class Remembering(BallEngine):
        def refine(self, prepared: Grid, probability: np.ndarray, prompts: Prompts, cancel: Any = None) -> Refinement:
            shown.append(prompts)
            assert np.array_equal(probability, answer())
            return super().refine(prepared, probability, prompts, cancel)

    session = with_boxes(clicks=Remembering())
    session.add_box(BOX)
    session.add_click(Click((5, 5, 5)))
    assert shown == [Prompts((BOX, Click((5, 5, 5))))]


def test_refining_is_part_of_the_same_step() -> None:
    clicks = BallEngine()
    session = with_boxes(clicks=clicks)
    session.add_click(Click((1, 8, 7)))
    before = state(session)
    edit = session.add_box(BOX, refine=True)
    after = state(session)
    assert clicks.prepared == 1
    assert edit.info["model"] == "ellipsoids"
    assert edit.info["refined"]["model"] == "balls"
    start = answer()
    click = law(Click((1, 8, 7)))
    middle = np.zeros(GRID.shape, dtype=bool)
    middle[5, 4, 5] = True
    now = values_of(session)
    assert not np.array_equal(now, start)
    assert now[middle] >= 128
    far = (
        held(BOX.box) & ~click & (np.abs(np.indices(GRID.shape) - np.reshape([5, 4, 5], (3, 1, 1, 1))).max(axis=0) > 2)
    )
    assert np.array_equal(now[far], start[far])
    assert session.undo() is not None
    assert state(session)[:3] == before[:3]
    assert session.redo() is not None
    assert state(session) == after


def test_refining_starts_from_the_answer_with_the_law_in_it() -> None:
    seen: list[np.ndarray] = []

    class Remembering(BallEngine):
        def refine(self, prepared: Grid, probability: np.ndarray, prompts: Prompts, cancel: Any = None) -> Refinement:
            seen.append(probability.copy())
            return super().refine(prepared, probability, prompts, cancel)

    session = with_boxes(clicks=Remembering())
    no = Click((5, 4, 4), False)
    session.add_click(no)
    seen.clear()
    session.add_box(BOX, refine=True)
    assert len(seen) == 1
    assert (seen[0][law(no)] == 0).all()
    inside = held(BOX.box) & ~law(no)
    assert np.array_equal(seen[0][inside], answer()[inside])


# Undo and redo


@pytest.mark.parametrize("overlap", ALL)
def test_undo_and_redo_restore_masks_and_prompts(overlap: Overlap) -> None:
    session = with_boxes(overlap)
    acts: list[Callable[[], Any]] = [
        lambda: session.add_box(BOX),
        lambda: session.add_click(Click((1, 8, 7))),
        lambda: session.add_box(THIN, refine=True),
        lambda: session.add_box(BoxPrompt(((0, 11), (0, 10), (0, 9)))),
    ]
    session.add_segment("node", painted(cube((8, 7, 6))))  # an edit too
    session.activate("tumour")
    seen = [state(session)[:3]]
    for act in acts:
        act()
        seen.append(state(session)[:3])
    for wanted in reversed(seen[:-1]):
        session.undo()
        assert state(session)[:3] == wanted
    assert session.undo() is not None
    assert not session.can_undo
    session.redo()
    for wanted in seen[1:]:
        session.redo()
        assert state(session)[:3] == wanted


def test_the_same_box_again_is_a_prompt_more_and_no_voxel_other() -> None:
    session = with_boxes()
    session.add_box(BOX)
    mask = session.mask.array
    edit = session.add_box(BOX)
    assert np.array_equal(session.mask.array, mask)
    assert edit.before.size == 0
    assert edit.info["slices"] == 6
    assert session.prompts.items == (BOX, BOX)


def test_reset_and_automatic_answers_forget_boxes() -> None:
    session = with_boxes()
    session.add_box(BOX)
    session.reset()
    assert not session.mask.array.any()
    assert session.prompts.items == ()
    session.add_box(BOX)
    session.segment()
    assert session.prompts.items == ()


# Other segments


@pytest.mark.parametrize("overlap", ALL)
def test_overlap(overlap: Overlap) -> None:
    node = cube((4, 3, 3), 3)
    session = with_boxes(overlap)
    session.add_segment("node", painted(node))
    session.activate("tumour")
    edit = session.add_box(BOX)
    found = answer() >= 128
    both = found & (node > 0)
    assert both.any()
    assert np.array_equal(session.mask.array > 0, found & ~both if overlap is Overlap.KEEP else found)
    lost = (node > 0) & ~both if overlap is Overlap.OVERWRITE else node > 0
    assert np.array_equal(session.mask_of("node").array > 0, lost)
    assert len(edit.others) == (overlap is Overlap.OVERWRITE)


# What goes wrong


def broken_progress(*_: int) -> None:
    raise ResourceError("no memory")


class Failing(BallEngine):
    def refine(self, prepared: Grid, probability: np.ndarray, prompts: Prompts, cancel: Any = None) -> Refinement:
        raise ResourceError("no memory")


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (Cancelled, lambda: {"cancel": lambda: True}),
        (Cancelled, lambda: {"cancel": iter([0, 1]).__next__}),
        (ResourceError, lambda: {"progress": broken_progress}),
        (RoleError, lambda: {"options": BoxOptions(role="pet")}),
        (ArgumentError, lambda: {"box": BoxPrompt(((0, 12), (0, 3), (0, 3)))}),
    ],
    ids=["cancelled at once", "cancelled after the work", "error within the engine", "role", "outside"],
)
def test_a_box_that_fails_leaves_everything_as_it_was(error: type, arguments: Callable, refine: bool) -> None:
    session = with_boxes(initial=painted(cube((1, 1, 1))))
    session.add_box(THIN)
    session.add_click(Click((3, 3, 3)))
    session.undo()
    before, saved = state(session), session.to_json()
    with pytest.raises(error):
        session.add_box(**{"box": BOX, "refine": refine, **arguments()})
    assert state(session) == before
    assert session.to_json() == saved
    session.redo()
    session.add_box(BOX, refine=refine)
    assert session.prompts.items == (THIN, Click((3, 3, 3)), BOX)


@pytest.mark.parametrize("clicks", [Failing(), BallEngine()], ids=["error", "cancelled"])
def test_a_correction_that_fails_takes_the_box_with_it(clicks: BallEngine) -> None:
    session = with_boxes(clicks=clicks)
    session.add_box(THIN)
    before = state(session)
    stop = iter([0, 0, 0, 1])  # twice asked by the box engine, then twice by the click engine
    with pytest.raises((ResourceError, Cancelled)):
        session.add_box(BOX, refine=True, cancel=lambda: bool(next(stop)))
    assert state(session) == before
    session.add_box(BOX)
    assert session.prompts.items == (THIN, BOX)


def test_an_engine_that_is_missing_is_named_before_any_work() -> None:
    engine = EllipsoidEngine()
    with pytest.raises(ArgumentError, match=r"no box engine; give one as Session\(\.\.\., box=\.\.\.\)"):
        new_session().add_box(BOX)
    session = Session(IMAGES, box=engine)
    with pytest.raises(ArgumentError, match="no click engine; give one as Session"):
        session.add_box(BOX, refine=True)
    assert engine.asked == engine.prepared == []
    session.add_box(BOX)
    assert session.mask.array.any()


def test_images_that_cannot_be_prepared_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EllipsoidEngine()
    session = with_boxes(box=engine)

    def bad(images: Images, options: BoxOptions | None = None) -> Any:
        raise ResourceError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "prepare", bad)
        with pytest.raises(ResourceError):
            session.add_box(BOX)
    session.add_box(BOX)
    assert session.prompts.items == (BOX,)


# As text


def test_boxes_and_their_steps_come_back_from_text() -> None:
    session = with_boxes(Overlap.OVERWRITE)
    session.add_click(Click((5, 4, 4), False))
    session.add_box(BOX, refine=True)
    session.add_segment("node")
    session.add_box(THIN)
    session.add_box(BoxPrompt(((0, 11), (0, 10), (0, 1))))
    session.undo()
    text = json.dumps(session.to_json(), allow_nan=False)
    again = Session.from_json(json.loads(text), IMAGES, clicks=BallEngine(), box=EllipsoidEngine())
    assert state(again) == state(session)
    assert again.prompts.items == (THIN,)
    while session.can_undo:
        session.undo()
        again.undo()
        assert state(again) == state(session)
    while session.can_redo:
        session.redo()
        again.redo()
        assert state(again) == state(session)
    session.add_box(BOX)
    again.add_box(BOX)
    assert state(again) == state(session)
