"""Sessions: how they begin, what they refuse, what reaches the engines. What edits do is tested by random walks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine, EllipsoidEngine, any_image_spec, noise_volume
from Testing.unit.cases.sessions import GRID, IMAGES, THIN, TwoLevels, cube, new_session, painted, scribble, state
from TumorSegLib.errors import ArgumentError, Cancelled, GeometryError, ModelError, RoleError, TumorSegError
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.probability import CERTAIN
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.prompts.constraints import CONSTRAINT_RADIUS_MM, apply_constraints, nearest_mm
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompts, Scribble
from TumorSegLib.protocols import BoxOptions, Refinement, Result
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session


def test_a_session_begins_with_an_empty_tumour() -> None:
    session = new_session()
    assert (session.segments, session.active, session.overlap) == (("tumour",), "tumour", Overlap.KEEP)
    assert session.mask.array.max() == 0
    assert session.mask.array.dtype == np.uint8
    assert session.mask.grid == session.probability.grid == GRID
    assert session.probability.role == "probability"
    assert (session.undo(), session.redo(), session.can_undo, session.can_redo) == (None, None, False, False)


def test_any_label_of_an_initial_mask_is_tumour_and_later_changes_of_the_arguments_change_nothing() -> None:
    array, images = 5 * cube((1, 2, 3)), dict(IMAGES)
    session = Session(images, initial=Mask(GRID, array))
    assert not session.can_undo
    session.replace_mask(Mask(GRID, array))
    array[:] = 1
    images.clear()
    for _ in range(2):
        assert np.array_equal(session.mask.array, cube((1, 2, 3)))
        assert np.array_equal(session.probability.array, cube((1, 2, 3)))
        session.reset()
    assert list(session.images) == ["ct"]


def test_the_mask_of_an_automatic_answer_is_the_engines_own() -> None:
    """Half is not more than half; the next larger float is."""
    half = np.float32(0.5)
    near = np.array([0, np.nextafter(half, 0), half, np.nextafter(half, 1), 1], dtype=np.float32)
    grid = Grid.from_spacing((1, 1, 5), (1, 1, 1))
    engine = TwoLevels()
    engine.segment = lambda images, **_: Result(  # type: ignore[method-assign]
        Mask(images["ct"].grid, (near > 0.5).astype(np.uint8)[None, None]),
        Volume(grid, near[None, None], "probability"),
    )
    session = Session({"ct": noise_volume(grid)}, auto=engine)
    session.segment()
    assert session.mask.array.ravel().tolist() == [0, 0, 0, 1, 1]
    assert np.array_equal(session.probability.array > 0.5, session.mask.array > 0)


# Refused

OTHER = Mask(Grid.from_spacing(GRID.shape, (1.0, 1.5, 2.5)), cube((1, 2, 3)))
LARGER = Grid(tuple(n + 5 for n in GRID.shape), GRID.affine)
OUTSIDE = Scribble.in_box(LARGER, ((15, 16), (14, 15), (13, 14)), np.ones((1, 1, 1), np.uint8))
KEEPS = r"lies in segment 'lung', which keeps its voxels; .* overlap=\"overwrite\""


@pytest.mark.parametrize(
    ("error", "message", "act"),
    [
        (ArgumentError, "at least one image", lambda s: Session({})),
        (ArgumentError, "'mix' is not one of keep", lambda s: Session(IMAGES, overlap="mix")),
        (ModelError, "is of kind 'clicks', one of kind 'auto' is needed", lambda s: Session(IMAGES, auto=BallEngine())),
        (ModelError, "is of kind 'auto', one of kind 'box' is needed", lambda s: s.use_engines(box=TwoLevels())),
        (GeometryError, "mask is not .* first voxels .* apart", lambda s: Session(IMAGES, initial=OTHER)),
        (GeometryError, "mask is not .* first voxels .* apart", lambda s: s.replace_mask(OTHER)),
        (GeometryError, "mask is not .* first voxels .* apart", lambda s: s.add_segment("node", OTHER)),
        (GeometryError, "scribble is not .* first voxels .* apart", lambda s: s.add(Scribble.from_mask(OTHER))),
        (GeometryError, "scribble is not on the first image's grid", lambda s: s.add_scribble(OUTSIDE)),
        (ArgumentError, "'tumour' is empty or taken", lambda s: s.add_segment("tumour")),
        (ArgumentError, "no segment 'node'; there are tumour, lung", lambda s: s.activate("node")),
        (ArgumentError, r"voxel \(11, 0, 0\), lies outside", lambda s: s.add_click(Click((11, 0, 0)))),
        (ArgumentError, rf"click at voxel \(7, 7, 7\) {KEEPS}", lambda s: s.add_click(Click((7, 7, 7)))),
        (ArgumentError, rf"scribble in box .* {KEEPS}", lambda s: s.add_scribble(scribble(cube((7, 7, 7), 2)))),
        (ArgumentError, "box .* leaves the image", lambda s: s.add_box(BoxPrompt(((0, 12), (0, 3), (0, 3))))),
        (RoleError, "no image 'pet'", lambda s: s.add_box(THIN, options=BoxOptions(role="pet"), refine=True)),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    error: type[TumorSegError], message: str, act: Callable[[Session], Any]
) -> None:
    session = new_session(box=EllipsoidEngine())
    session.add_segment("lung", painted(cube((7, 7, 7))))
    session.activate("tumour")
    session.add_click(Click((4, 4, 4)))
    session.undo()
    before = state(session)
    with pytest.raises(error, match=message):
        act(session)
    assert state(session) == before


@pytest.mark.parametrize(
    ("engine", "act"),
    [
        ("automatic", lambda s: s.segment()),
        ("click", lambda s: s.prepare()),
        ("click", lambda s: s.add_click(Click((1, 1, 1)))),
        ("box", lambda s: s.add_box(THIN)),
        ("box", lambda s: s.embed_box(THIN)),
    ],
)
def test_an_engine_that_is_missing_is_named(engine: str, act: Callable[[Session], Any]) -> None:
    with pytest.raises(ArgumentError, match=f"no {engine} engine; give one as Session"):
        act(Session(IMAGES))


def test_a_missing_click_engine_is_named_before_the_box_engine_works() -> None:
    engine = EllipsoidEngine()
    with pytest.raises(ArgumentError, match="no click engine; give one as Session"):
        Session(IMAGES, box=engine).add_box(THIN, refine=True)
    assert engine.segmented == engine.prepared == []


# What reaches the engines


def test_images_are_prepared_once_and_for_boxes_once_per_window() -> None:
    clicks, boxes = BallEngine(), EllipsoidEngine()
    session = new_session(clicks=clicks, box=boxes)
    assert clicks.prepared == 0
    session.prepare()
    for n in range(3):
        session.add_click(Click((n, n, n)))
    assert clicks.prepared == 1
    session.add(THIN)
    lung, sideways = BoxOptions(ct_window="lung"), BoxOptions(axes=(0,))
    for options in (None, BoxOptions(), sideways, lung, BoxOptions(ct_window="lung")):
        session.add_box(THIN, options=options)
    assert boxes.prepared == [BoxOptions(), lung]


def test_region_options_and_progress_reach_the_box_engine() -> None:
    engine, told = EllipsoidEngine(), []
    within = BoxPrompt(((2, 9), (1, 8), (3, 6)))
    options = BoxOptions(role="ct", axes=(0, 1), ct_window="lung")
    new_session(box=engine).add_box(THIN, within=within, options=options, progress=lambda *steps: told.append(steps))
    assert (engine.segmented, engine.prepared, told) == ([(THIN, within)], [options], [(3, 3)])


def test_embedding_ahead_is_no_edit() -> None:
    engine, other = EllipsoidEngine(), BoxPrompt(((2, 9), (1, 8), (2, 8)))
    session = new_session(box=engine)
    assert [session.embed_box(THIN), session.embed_box(THIN), session.embed_box(other)] == [1, 0, 1]
    assert engine.prepared == [BoxOptions()]
    assert (session.can_undo, len(session.prompts)) == (False, 0)
    with pytest.raises(Cancelled):
        session.embed_box(THIN, cancel=lambda: True)


def test_a_region_that_is_not_a_box_is_refused() -> None:
    class Lasso:
        engine = "box"
        box = THIN.box

        def __str__(self) -> str:
            return "lasso"

        def point_prompt(self) -> None:
            """It is a region."""

    session = new_session(box=EllipsoidEngine())
    before = state(session)
    with pytest.raises(ArgumentError, match="lasso needs an engine of kind 'box', which no session can use for it"):
        session.add(Lasso())
    assert state(session) == before
    assert [each.engine for each in (Click((1, 1, 1)), scribble(cube((6, 6, 6))), THIN)] == ["clicks", "clicks", "box"]


def balls_for_shapes() -> BallEngine:
    engine = BallEngine()
    engine.spec = any_image_spec("shapes")
    return engine


def test_a_click_model_of_points_takes_no_line_and_nothing_changes() -> None:
    session = new_session()
    before = state(session)
    line = Line(((2, 3, 4), (6, 3, 4)))
    with pytest.raises(
        ArgumentError, match=r"line from voxel .* needs a click model that takes lines and boxes, 'balls' t"
    ):
        session.add(line)
    assert state(session) == before
    with pytest.raises(ArgumentError, match="this session has no click engine"):
        Session(IMAGES).add(line)


def test_a_line_is_answered_and_kept_by_a_click_model_that_takes_it() -> None:
    session = new_session(clicks=balls_for_shapes())
    line = Line(((2, 3, 4), (6, 3, 4)))
    session.add(line)
    assert session.prompts.items == (line,)
    assert session.mask.array[4, 3, 4] == 1  # about the middle of its box
    again = Session.from_json(session.to_json(), IMAGES)
    assert again.prompts.items == (line,)
    assert np.array_equal(again.mask.array, session.mask.array)
    with pytest.raises(ArgumentError, match=r"an end of a line, voxel \(11, 3, 4\), lies outside the image"):
        session.add(Line(((2, 3, 4), (11, 3, 4))))


def test_a_box_goes_to_the_click_engine_only_where_there_is_no_box_engine_and_it_takes_boxes() -> None:
    box = BoxPrompt(((2, 7), (2, 7), (2, 7)))
    session = new_session(clicks=balls_for_shapes())
    session.add(box)
    assert session.prompts.items == (box,)
    assert session.mask.array[4, 4, 4] == 1
    assert session.mask.array.sum() < 5**3
    with pytest.raises(ArgumentError, match="leaves the image"):
        session.add(BoxPrompt(((2, 99), (2, 7), (2, 7))))
    boxes = EllipsoidEngine()
    new_session(clicks=balls_for_shapes(), box=boxes).add(box)
    assert [prompt for prompt, _ in boxes.segmented] == [box]
    with pytest.raises(ArgumentError, match="this session has no box engine"):
        new_session().add(box)


def test_a_box_goes_to_the_click_engine_where_that_is_asked_for() -> None:
    box, boxes = BoxPrompt(((2, 7), (2, 7), (2, 7))), EllipsoidEngine()
    session = new_session(clicks=balls_for_shapes(), box=boxes)
    session.add(box, by_clicks=True)
    assert boxes.segmented == []
    assert session.prompts.items == (box,)
    with pytest.raises(ArgumentError, match="needs a click model that takes lines and boxes, 'balls' takes none"):
        new_session(box=boxes).add(box, by_clicks=True)


# Answers with nothing in them


def engine_that_finds(*voxels: tuple[int, int, int], shapes: bool = True) -> BallEngine:
    """A click engine that answers every prompt with these voxels, and those that the prompts decide."""
    engine = balls_for_shapes() if shapes else BallEngine()

    def refine(_prepared: Any, probability: np.ndarray, prompts: Prompts, _cancel: Any = None) -> Refinement:
        values = probability.copy()
        for i, j, k in voxels:
            values[k, j, i] = 255
        reach = nearest_mm(GRID) if shapes else CONSTRAINT_RADIUS_MM
        apply_constraints(values, prompts.point_prompts(), GRID.spacing, CERTAIN, reach)
        return Refinement(full_box(GRID.shape), values)

    engine.refine = refine  # type: ignore[method-assign]
    return engine


@pytest.mark.parametrize(
    ("prompt", "shapes", "beside"),
    [
        (Click((5, 5, 4)), True, (5, 6, 4)),
        (Click((5, 5, 4)), False, (5, 8, 4)),
        (scribble(cube((5, 5, 4), 2)), True, (4, 4, 4)),
        (Line(((3, 5, 4), (7, 5, 4))), True, (4, 5, 4)),
        (BoxPrompt(((3, 7), (3, 7), (3, 7))), True, (6, 6, 6)),
    ],
    ids=str,
)
def test_an_answer_with_nothing_but_what_the_prompt_decides_is_told(prompt: Any, shapes: bool, beside: Any) -> None:
    assert new_session(clicks=engine_that_finds(shapes=shapes)).add(prompt).nothing_found
    assert new_session(clicks=engine_that_finds((0, 0, 8), shapes=shapes)).add(prompt).nothing_found  # elsewhere
    assert not new_session(clicks=engine_that_finds(beside, shapes=shapes)).add(prompt).nothing_found


def test_a_click_on_an_answer_with_nothing_tells_so_again_and_one_within_a_lesion_does_not() -> None:
    session = new_session(clicks=engine_that_finds())
    assert [session.add(Click((5, 5, 5))).nothing_found for _ in range(2)] == [True, True]
    session.replace_mask(painted(cube((4, 4, 4), 4)))
    assert not session.add(Click((5, 5, 5))).nothing_found  # which changes nothing
    assert not session.add(Click((5, 5, 5), False)).nothing_found


def test_an_empty_box_is_told_by_a_box_engine_too() -> None:
    boxes = EllipsoidEngine()
    session = new_session(box=boxes)
    assert not session.add_box(BoxPrompt(((2, 7), (2, 7), (2, 7)))).nothing_found
    boxes.segment = lambda _prepared, prompt, *_, **__: Refinement(  # type: ignore[method-assign]
        prompt.box, np.zeros([high - low for low, high in prompt.box[::-1]], np.uint8)
    )
    assert session.add_box(BoxPrompt(((2, 7), (2, 7), (2, 7)))).nothing_found


def test_prompts_on_images_that_show_nothing_are_refused() -> None:
    flat = Volume(GRID, np.full(GRID.shape, -1000, np.int16), "ct")
    session = Session({"ct": flat}, clicks=BallEngine(), box=EllipsoidEngine())
    before = state(session)
    words = r"nothing to outline: every voxel of the image \(ct\) has the same value, -1000"
    for prompt in (Click((5, 5, 5)), BoxPrompt(((2, 7), (2, 7), (2, 7)))):
        with pytest.raises(ArgumentError, match=words):
            session.add(prompt)
    assert state(session) == before
    session = Session({"ct": flat, "mr": noise_volume(GRID, "mr")}, clicks=BallEngine())
    session.add(Click((5, 5, 5)))
    dot = np.zeros(GRID.shape, np.float32)
    dot[1, 1, 1] = 1
    Session({"mr": Volume(GRID, dot, "mr")}, clicks=BallEngine()).add(Click((5, 5, 5)))


@pytest.mark.parametrize("shapes", [True, False], ids=["any image", "one disease"])
def test_clicks_bind_so_far_after_a_box_and_a_brush_as_with_the_model_that_answers_them(shapes: bool) -> None:
    """To the nearest neighbours, or within 3 mm."""
    session, click = new_session(clicks=engine_that_finds(shapes=shapes), box=EllipsoidEngine()), Click((9, 8, 4))
    session.add(click)
    decided, elsewhere = session.mask.array.copy(), np.ones(GRID.shape, dtype=bool)
    assert decided.sum() < 8 if shapes else decided.sum() > 20
    elsewhere[2:7, 2:7, 2:7] = False
    session.add_box(BoxPrompt(((2, 7), (2, 7), (2, 7))))
    assert np.array_equal(session.mask.array[elsewhere], decided[elsewhere])
    drawn = painted(np.ones(GRID.shape, dtype=np.uint8))
    session.replace_mask(drawn)
    erased = drawn.array.copy()
    erased[4, 8, 7] = 0  # two voxels from the click
    session.replace_mask(Mask(GRID, erased))
    assert (click in session.prompts.items) is shapes
    erased[4, 8, 9] = 0
    session.replace_mask(Mask(GRID, erased))
    assert click not in session.prompts.items


def test_what_is_no_prompt_is_named() -> None:
    with pytest.raises(ArgumentError, match="'here' is no prompt; prompts are clicks, scribbles, lines and boxes"):
        new_session(clicks=BallEngine()).add("here")  # type: ignore[arg-type]
