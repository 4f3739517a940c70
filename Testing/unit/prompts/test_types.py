"""Prompts: voxels from RAS on any grid, JSON and back, and the words in which impossible prompts are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from Testing.unit.cases.grids import grids
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid, check_inside, voxel_at
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.constraints import MaskEdit
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompts, Scribble

fast = settings(max_examples=50, deadline=None)
TURN = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
PLAIN = Grid.from_spacing((5, 6, 7), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
GRIDS = [
    pytest.param(PLAIN, id="axial"),
    pytest.param(Grid.from_spacing((5, 6, 7), (1, 2, 3), (-9, 4, 1), np.diag([-1, -1, 1])), id="mirrored twice"),
    pytest.param(Grid.from_spacing((5, 6, 7), (1, 2, 3), (-9, 4, 1), np.eye(3)[[2, 0, 1]]), id="sagittal"),
    pytest.param(Grid.from_spacing((5, 6, 7), (1, 2, 3), (-9, 4, 1), TURN), id="oblique"),
    pytest.param(Grid.from_spacing((5, 6, 7), (1, 2, 3), (-9, 4, 1), TURN * [1, -1, 1]), id="oblique and mirrored"),
]


def scribble(grid: Grid, *voxels: tuple[int, int, int], positive: bool = True) -> Scribble:
    array = np.zeros(grid.shape, dtype=np.uint8)
    for i, j, k in voxels:
        array[k, j, i] = 1
    return Scribble.from_mask(Mask(grid, array), positive)


# What prompts are


def test_adding_returns_a_new_object_and_keeps_the_order() -> None:
    click, box, line = Click((1, 2, 3), False), BoxPrompt(((0, 2), (1, 3), (2, 4))), scribble(PLAIN, (6, 5, 4))
    empty = Prompts()
    full = empty.with_click(click).with_box(box).with_scribble(line).with_click(click)
    assert len(empty) == 0
    assert full.items == (click, box, line, click)
    assert len(full) == 4


def test_numpy_numbers_become_plain_ones() -> None:
    click = Click(tuple(np.array([1, 2, 3])), np.True_)
    assert click == Click((1, 2, 3), True)
    assert {type(n) for n in click.ijk} == {int}
    assert click.positive is True
    assert Click([4.0, 5.0, 6.0]).ijk == (4, 5, 6)
    box = BoxPrompt(np.array([[0, 1], [0, 2], [0, 3]]))
    assert box.box == ((0, 1), (0, 2), (0, 3))
    assert {type(n) for limits in box.box for n in limits} == {int}
    assert scribble(PLAIN, (0, 0, 0), positive=np.False_).positive is False


WHOLE = r"whole voxel coordinates .* use from_ras for mm"
NO_VOXEL = r"a click needs a voxel \(i, j, k\), got "
NO_LINE = r"a line needs the voxels of its two ends, got "
NO_BOX = r"a box is \(\(i0, i1\), \(j0, j1\), \(k0, k1\)\) in whole voxels, got "


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        *(
            (Click, NO_VOXEL, ijk)
            for ijk in [(1, 2), (1, 2, 3, 4), 5, None, (1, 2, None), (1, 2, np.inf), (1, 2, np.nan)]
        ),
        *((Click, WHOLE, ijk) for ijk in [(1, 2, 2.5), "123"]),
        *((BoxPrompt, NO_BOX, box) for box in [None, ((0, 1),) * 2, ((0, 1),) * 4, ((0, 1), (0, 1), "01")]),
        *((BoxPrompt, NO_BOX, ((0, 1), (0, 1), limits)) for limits in [(0, 1.5), (0, np.inf), (0, np.nan), (0, 1, 2)]),
        *((Line, NO_LINE, ends) for ends in [None, 5, ((1, 2, 3),), ((1, 2, 3),) * 3]),
        *((Line, NO_VOXEL.replace("click", "line"), ends) for ends in [((1, 2), (3, 4)), (1, 2), (None, (1, 2, 3))]),
        (Line, WHOLE, ((1, 2, 3), (1, 2, 3.5))),
        (Line, r"a line needs a length, both its ends are in voxel \(1, 2, 3\)", ((1, 2, 3), (1.0, 2.0, 3.0))),
        (BoxPrompt, r"box range i = \[3, 3\) is empty", ((3, 3), (0, 5), (0, 5))),
        (BoxPrompt, r"box range k = \[4, 2\) is empty", ((0, 5), (0, 5), (4, 2))),
    ],
)
def test_invalid_voxels_and_boxes_are_refused(kind: type, words: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=words):
        kind(value)


@pytest.mark.parametrize(
    ("box", "size", "axis"),
    [
        (((2, 9), (1, 8), (4, 5)), (11, 10, 9), 2),
        (((2, 3), (1, 8), (2, 5)), (11, 10, 9), 0),
        (((2, 9), (1, 8), (2, 5)), (11, 10, 9), None),
        (((2, 3), (1, 2), (2, 5)), (11, 10, 9), None),
        (((2, 9), (1, 8), (0, 1)), (11, 10, 1), None),
    ],
)
def test_a_box_on_one_slice_is_one_voxel_thick_where_the_image_is_not(box: Any, size: Any, axis: int | None) -> None:
    assert BoxPrompt(box).thin_axis(Grid.from_spacing(size[::-1], (1, 1, 1))) == axis


def test_scribbles() -> None:
    one = scribble(PLAIN, (6, 0, 4), (1, 5, 2))
    assert sorted(map(tuple, one.point_prompt().points.tolist())) == [(1, 5, 2), (6, 0, 4)]
    assert one.box == ((1, 7), (0, 6), (2, 5))
    assert one.grid == PLAIN
    assert np.argwhere(one.mask.array).tolist() == [[2, 5, 1], [4, 0, 6]]
    labels = np.zeros(PLAIN.shape)
    labels[4, 0, 6], labels[2, 5, 1] = 7, 2
    labelled = Scribble.from_mask(Mask(PLAIN, labels))
    assert labelled == one
    assert hash(labelled) == hash(one)
    assert one != scribble(PLAIN, (6, 0, 4), (1, 5, 2), positive=False)
    assert one != scribble(PLAIN, (6, 0, 4), (1, 5, 3))
    assert one != scribble(GRIDS[1].values[0], (6, 0, 4), (1, 5, 2))
    assert one != Click((6, 0, 4))
    with pytest.raises(ArgumentError, match="at least one voxel"):
        scribble(PLAIN)


def test_a_line_is_the_box_of_its_ends_and_neither_points_nor_a_constraint() -> None:
    line = Line(np.array([[6, 1, 4], [2, 5, 4]]))
    assert line == Line(((6, 1, 4), (2, 5, 4)))
    assert hash(line) == hash(Line(((6, 1, 4), (2, 5, 4))))
    assert line != Line(((2, 5, 4), (6, 1, 3)))
    assert {type(n) for end in line.ends for n in end} == {int}
    assert line.box == ((2, 7), (1, 6), (4, 5))
    assert str(line) == "line from voxel (6, 1, 4) to (2, 5, 4)"
    everywhere = np.ones((5, 6, 7), dtype=bool)
    edit = MaskEdit(((0, 7), (0, 6), (0, 5)), everywhere, everywhere, PLAIN.spacing)
    click = Click((6, 1, 4))
    prompts = Prompts((click, line))
    assert [each.points.tolist() for each in prompts.point_prompts()] == [[[6, 1, 4]]]
    assert prompts.without_conflicts(edit).items == (line,)
    assert prompts.of(Line) == (line,)
    assert Prompts().with_line(line).items == (line,)


def test_a_line_must_lie_in_the_image() -> None:
    Line(((0, 0, 0), (6, 5, 4))).check_on(PLAIN)
    for ends in [((0, 0, 0), (7, 5, 4)), ((0, -1, 0), (6, 5, 4))]:
        with pytest.raises(ArgumentError, match=r"^an end of a line, voxel .* lies outside the image of \(7, 6, 5\)"):
            Line(ends).check_on(PLAIN)


def test_a_scribble_across_an_image_takes_little_memory_and_keeps_its_voxels() -> None:
    grid = Grid.from_spacing((300, 300, 300), (1, 1, 1))
    array = np.zeros(grid.shape, dtype=np.uint8)
    diagonal = np.arange(300)
    array[diagonal, diagonal, diagonal] = 1
    line = Scribble.from_mask(Mask(grid, array))
    assert len(line.packed) < 30_000  # its box has 27 million voxels
    assert line.point_prompt().points.tolist() == np.stack([diagonal] * 3, axis=1).tolist()


def test_a_scribble_of_a_box_is_that_of_the_image() -> None:
    values = np.zeros((3, 4, 5), dtype=np.uint8)
    values[1, 2, 3] = values[2, 0, 1] = 9
    box = ((1, 6), (2, 6), (2, 5))
    array = np.zeros(PLAIN.shape, dtype=np.uint8)
    array[slices(box)] = values
    assert Scribble.in_box(PLAIN, box, values, positive=False) == Scribble.from_mask(Mask(PLAIN, array), positive=False)


def test_a_scribble_gives_its_mask_back_and_fills_its_box() -> None:
    given = scribble(PLAIN, (6, 0, 4), (1, 5, 2))
    assert Scribble.from_mask(given.mask) == given
    assert given.mask.array.sum() == 2
    with pytest.raises(GeometryError, match=r"values of shape \(5, 5, 5\) do not fill the box"):
        Scribble.in_box(PLAIN, ((0, 2), (0, 2), (0, 2)), np.ones((5, 5, 5), np.uint8))


# From RAS


@pytest.mark.parametrize("grid", GRIDS)
def test_from_ras_gives_the_voxel_that_contains_the_point(grid: Grid) -> None:
    for ijk in [(0, 0, 0), (6, 5, 4), (3, 0, 4)]:
        # By hand: origin plus so many steps along the axes; 0.49 of a voxel off the centre is still inside.
        ras = grid.origin + grid.direction @ (
            np.multiply(ijk, grid.spacing) + np.multiply([0.49, -0.49, 0.49], (1, 2, 3))
        )
        assert Click.from_ras(grid, ras.tolist(), False) == Click(ijk, False)


@fast
@given(grids(), st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3), st.tuples(*[st.floats(-0.49, 0.49)] * 3))
def test_from_ras_undoes_to_ras(grid: Grid, share: Any, offset: Any) -> None:
    ijk = np.floor(np.multiply(share, grid.size)).astype(int)
    click = Click.from_ras(grid, grid.to_ras(ijk + offset))
    assert click == Click(tuple(ijk.tolist()))


@fast
@given(grids(), st.integers(0, 2), st.sampled_from([-1, 1]), st.floats(0.01, 100))
def test_a_point_beyond_any_face_is_refused(grid: Grid, axis: int, side: int, beyond: float) -> None:
    ijk = (np.array(grid.size) - 1) / 2
    ijk[axis] += side * (grid.size[axis] / 2 + beyond)
    with pytest.raises(ArgumentError, match="lies outside the image"):
        Click.from_ras(grid, grid.to_ras(ijk))


@pytest.mark.parametrize(
    "ras",
    [
        (1.0, 2.0),
        (1.0, 2.0, 3.0, 4.0),
        (1.0, 2.0, np.nan),
        (-np.inf, 2.0, 3.0),
        (1e300, 0, 0),
        (10**400, 0, 0),
        None,
        "123",
        ["1", "2", "3"],
        [1, 2, None],
        (1.0, 2.0, (3.0, 4.0)),
    ],
)
def test_invalid_coordinates_are_refused(ras: Any) -> None:
    with pytest.raises(ArgumentError, match="three finite RAS coordinates in mm"):
        Click.from_ras(PLAIN, ras)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_line_from_ras_joins_the_voxels_that_contain_its_ends(grid: Grid) -> None:
    start, end = (grid.to_ras(np.add(ijk, (0.4, -0.4, 0.4))).tolist() for ijk in [(6, 1, 4), (2, 5, 0)])
    assert Line.from_ras(grid, start, end) == Line(((6, 1, 4), (2, 5, 0)))
    with pytest.raises(ArgumentError, match=r"a line needs a length, both its ends are in voxel \(6, 1, 4\)"):
        Line.from_ras(grid, start, grid.to_ras((6, 1, 4)).tolist())
    with pytest.raises(ArgumentError, match=r"an end of a line at RAS \(.*\) mm, voxel \(7, 1, 4\), lies outside"):
        Line.from_ras(grid, start, grid.to_ras((6.6, 1, 4)).tolist())


def test_voxel_at_names_what_it_is_asked_for() -> None:
    # By hand: the origin is the centre of voxel (0, 0, 0), so its voxel begins half of (1, 2, 3) mm before it.
    assert voxel_at(PLAIN, (9.51, 19.01, 28.51), "corner") == (0, 0, 0)
    assert voxel_at(PLAIN, [16.49, 30.99, 43.49], "corner") == (6, 5, 4)
    with pytest.raises(ArgumentError, match=r"^corner at RAS \(9\.4, 20\.0, 30\.0\) mm, voxel \(-1, 0, 0\), lies out"):
        voxel_at(PLAIN, (9.4, 20, 30), "corner")
    with pytest.raises(ArgumentError, match=r"^corner needs three finite RAS coordinates in mm, got"):
        voxel_at(PLAIN, (9.4, 20), "corner")


def test_check_inside_names_what_is_outside() -> None:
    check_inside((6, 5, 4), PLAIN)
    for ijk in [(7, 0, 0), (0, 6, 0), (0, 0, 5), (-1, 0, 0)]:
        with pytest.raises(ArgumentError, match=r"^seed, voxel .* lies outside the image"):
            check_inside(ijk, PLAIN, "seed")


# JSON


def test_the_format_is_the_documented_one() -> None:
    prompts = Prompts((Click((1, 2, 3)), BoxPrompt(((0, 7), (1, 2), (4, 5))), Line(((6, 1, 4), (2, 5, 4)))))
    line = {"line": [[6, 1, 4], [2, 5, 4]]}
    box = {"box": [[0, 7], [1, 2], [4, 5]]}
    assert prompts.to_json() == {"prompts": [{"click": [1, 2, 3], "positive": True}, box, line]}
    entry = Prompts((scribble(PLAIN, (6, 0, 4), (1, 5, 2)),)).to_json()["prompts"][0]
    assert entry["box"] == [[1, 7], [0, 6], [2, 5]]
    assert set(entry) == {"scribble", "box", "positive"}


@fast
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 4)), min_size=1), st.booleans())
def test_prompts_survive_json(voxels: Any, positive: bool) -> None:
    drawn, box = scribble(PLAIN, *voxels, positive=positive), BoxPrompt(((0, 7), (1, 2), (4, 5)))
    line = Line(((6, 5, 4), (0, 0, 1) if voxels[0] == (6, 5, 4) else voxels[0]))
    prompts = Prompts((Click((1, 2, 3), not positive), drawn, box, line, Click(voxels[0], positive)))
    assert Prompts.from_json(json.loads(json.dumps(prompts.to_json(), allow_nan=False)), PLAIN) == prompts


def test_a_large_scribble_is_small_in_json() -> None:
    grid = Grid.from_spacing((128, 128, 128), (1, 1, 1))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[20:25, 10:110, 10:110] = 1
    assert len(json.dumps(Prompts((Scribble.from_mask(Mask(grid, array)),)).to_json())) < 500


def test_points_in_mm_and_the_default_sign() -> None:
    data = {"prompts": [{"ras": [11.0, 24.0, 39.0]}, {"click": [0, 0, 0]}, {"ras": [10, 20, 30], "positive": False}]}
    assert Prompts.from_json(data, PLAIN).items == (Click((1, 2, 3)), Click((0, 0, 0)), Click((0, 0, 0), False))


@pytest.mark.parametrize("data", [None, [], "text", {}, {"prompts": {}}, {"clicks": []}])
def test_invalid_prompts_json_is_refused(data: Any) -> None:
    with pytest.raises(ReadError, match=r'^case\.json: must hold \{"prompts": '):
        Prompts.from_json(data, PLAIN, "case.json")


def test_a_key_beside_the_prompts_is_refused() -> None:
    with pytest.raises(ReadError, match=r"^case\.json: unknown key 'prompt' \(did you mean 'prompts'\?\)"):
        Prompts.from_json({"prompts": [], "prompt": [{"click": [0, 0, 0]}]}, PLAIN, "case.json")


SCRIBBLE = Prompts((scribble(PLAIN, (6, 0, 4), (1, 5, 2)),)).to_json()["prompts"][0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (7, 'is 7; it must be an object with "click"'),
        ({"positive": True}, 'it must be an object with "click"'),
        ({"click": [0, 0, 0], "positive": "no"}, "\"positive\" is 'no'; it must be true or false"),
        (
            {"click": [0, 0, 0], "postive": False},
            "unknown key 'postive' (did you mean 'positive'?); there are click, po",
        ),
        ({"click": [0, 0, 0], "Positive": False}, "unknown key 'Positive' (did you mean 'positive'?)"),
        ({"ras": [11, 24, 39], "negative": True}, "unknown key 'negative'; there are ras, positive"),
        ({"click": [0, 0, 0], "ras": [11, 24, 39]}, "unknown key 'ras'; there are click, positive"),
        ({"box": [[0, 1], [0, 1], [0, 1]], "positive": False}, "unknown key 'positive'; there are box"),
        ({"line": [[0, 0, 0], [1, 1, 1]], "positive": True}, "unknown key 'positive'; there are line"),
        ({"line": [[0, 0, 0], [1, 1, 1]], "box": [[0, 1]] * 3}, "there are box"),
        ({"line": 5}, "cannot be understood"),
        ({"line": [0, 1]}, "cannot be understood"),
        (SCRIBBLE | {"sign": -1}, "unknown key 'sign'"),
        ({"box": 5}, "cannot be understood"),
        ({"box": [0, 1, 2]}, "cannot be understood"),
        ({"scribble": SCRIBBLE["scribble"]}, "cannot be understood: 'box'"),
        (SCRIBBLE | {"scribble": 5}, "cannot be understood"),
        (SCRIBBLE | {"scribble": "no base 64!"}, "cannot be understood"),
        (SCRIBBLE | {"scribble": "aGVsbG8="}, "cannot be understood"),
        (SCRIBBLE | {"scribble": SCRIBBLE["scribble"][:4] + "!" + SCRIBBLE["scribble"][4:]}, "cannot be understood"),
        (SCRIBBLE | {"scribble": SCRIBBLE["scribble"][:-8]}, "cannot be understood"),
        (SCRIBBLE | {"box": [[0, 1], [0, 1], [0, 1]]}, "the voxels do not fill its box"),
    ],
)
def test_invalid_prompt_entries_are_refused(entry: Any, words: str) -> None:
    with pytest.raises(ReadError, match=r"^case\.json: prompt 2 ?.*") as caught:
        Prompts.from_json({"prompts": [{"click": [0, 0, 0]}, entry]}, PLAIN, "case.json")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"click": [7, 0, 0]}, "click, voxel (7, 0, 0), lies outside the image of (7, 6, 5) voxels"),
        ({"click": [0, 0]}, "a click needs a voxel"),
        ({"ras": [0, 0, 0]}, "click at RAS (0.0, 0.0, 0.0) mm"),
        ({"ras": 5}, "three finite RAS coordinates in mm, got 5"),
        ({"box": [[0, 8], [0, 1], [0, 1]]}, "box ((0, 8), (0, 1), (0, 1)) leaves the image of (7, 6, 5) voxels"),
        ({"box": [[0, 1], [2, 2], [0, 1]]}, "box range j = [2, 2) is empty"),
        ({"box": [[0, 1], [0, 1]]}, "a box is"),
        ({"line": [[0, 0, 0], [7, 0, 0]]}, "an end of a line, voxel (7, 0, 0), lies outside the image of (7, 6, 5)"),
        ({"line": [[1, 2, 3], [1, 2, 3]]}, "a line needs a length, both its ends are in voxel (1, 2, 3)"),
        ({"line": [[1, 2, 3]]}, "a line needs the voxels of its two ends, got ((1, 2, 3),)"),
        ({"line": [[0, 0, 0], [1.5, 0, 0]]}, "a line needs whole voxel coordinates"),
        (SCRIBBLE | {"box": [[2, 8], [0, 6], [2, 5]]}, "leaves the image"),
        (SCRIBBLE | {"scribble": "eJxjYGBgAAAABAAB", "box": [[0, 4], [0, 4], [0, 2]]}, "at least one voxel"),
    ],
)
def test_prompt_entries_outside_the_image_are_refused(entry: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=r"^case\.json: prompt 1: ") as caught:
        Prompts.from_json({"prompts": [entry]}, PLAIN, "case.json")
    assert words in str(caught.value)


def test_a_box_in_3d_on_an_image_of_one_slice_is_refused_with_what_would_be_right() -> None:
    grid = Grid.from_spacing((1, 10, 12), (1.0, 1.0, 5.0))
    words = r"box .*\(0, 3\)\) leaves the image of .*; it has one slice along k, where a box is \(0, 1\)"
    with pytest.raises(ArgumentError, match=words):
        BoxPrompt(((2, 5), (2, 5), (0, 3))).check_on(grid)
    BoxPrompt(((2, 5), (2, 5), (0, 1))).check_on(grid)
