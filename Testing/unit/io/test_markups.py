"""Files of prompts: markups as 3D Slicer writes them, TumorSeg's own JSON, and what is refused in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from Testing.unit.io.markup_cases import GRID, TURN, line, point, points, roi, saved
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.io.markups import read_prompts
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompts, Scribble

# Points


@pytest.mark.parametrize(
    ("system", "position"),
    [("LPS", [-3.5, -7.0, 10.5]), ("1", [-3.5, -7.0, 10.5]), ("RAS", [3.5, 7.0, 10.5]), ("0", [3.5, 7.0, 10.5])],
)
def test_coordinate_systems_by_name_and_number(tmp_path: Path, system: str, position: Any) -> None:
    path = saved(tmp_path, points(point(position), coordinateSystem=system))
    assert read_prompts(path, GRID).items == (Click((3, 3, 3)),)


def test_a_minimal_markups_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "points.txt"
    text = {"@schema": "Markups-Schema-v1.0.0.json", "markups": [{"type": "Fiducial", "controlPoints": []}]}
    text["markups"].append({"type": "Fiducial", "controlPoints": [{"position": [-3, -7, 10]}]})
    path.write_text(json.dumps(text), encoding="utf-8-sig")
    assert read_prompts(path, GRID).items == (Click((3, 3, 3)),)


@pytest.mark.parametrize(
    ("markup", "positive"),
    [
        (points(point([-3, -7, 10])), True),
        (points(point([-3, -7, 10], "Negative-1")), False),
        (points(point([-3, -7, 10], "liver BACKGROUND")), False),
        (points(point([-3, -7, 10], "-")), False),
        (points(point([-3, -7, 10], "-3")), False),
        (points(point([-3, -7, 10], "F-3")), True),
        (points(point([-3, -7, 10], description="in the background")), False),
        (points(point([-3, -7, 10]), name="Negative points"), False),
        (points(point([-3, -7, 10]), name="Tumour"), True),
        (points(point([-3, -7, 10]), labelFormat="negative-%d"), False),
        (points(point([-3, -7, 10], label=None)), True),
        (points(point([-3, -7, 10]), coordinateUnits=["mm", "UCUM", "millimeter"]), True),
    ],
)
def test_which_points_are_negative(tmp_path: Path, markup: Any, positive: bool) -> None:
    assert read_prompts(saved(tmp_path, markup), GRID).items == (Click((3, 3, 3), positive),)


def test_points_that_were_not_placed_are_left_out(tmp_path: Path) -> None:
    controls = [point("", positionStatus="undefined"), point([-999, 0, 0], positionStatus="preview")]
    path = saved(tmp_path, points(*controls, point([-3, -7, 10])))
    assert read_prompts(path, GRID).items == (Click((3, 3, 3)),)


# Boxes


def test_points_and_boxes_keep_the_order_of_the_file(tmp_path: Path) -> None:
    box, positive, negative = roi([20, 30, 45], [10, 20, 30]), point([-3, -7, 10]), point([-3, -7, 10], "-")
    path = saved(tmp_path, points(positive), box, points(negative, positive))
    expected = (Click((3, 3, 3)), BoxPrompt(((15, 25), (10, 20), (10, 20))), Click((3, 3, 3), False), Click((3, 3, 3)))
    assert read_prompts(path, GRID).items == expected


@pytest.mark.parametrize(
    ("markup", "box"),
    [
        # On voxel edges, give or take rounding, no voxel is gained; a little beyond them one on each side.
        (roi([20, 30, 45], [10, 20, 30]), ((15, 25), (10, 20), (10, 20))),
        (roi([20, 30, 45], [10.001, 20.001, 30.001]), ((15, 25), (10, 20), (10, 20))),
        (roi([20, 30, 45], [10.2, 20.2, 30.2]), ((14, 26), (9, 21), (9, 21))),
        (roi([-20, -30, 45], [10, 20, 30], coordinateSystem="LPS"), ((15, 25), (10, 20), (10, 20))),
        (roi([20, 30, 45], [10, 20, 30], roiType="BoundingBox"), ((15, 25), (10, 20), (10, 20))),
        # A quarter turn about S swaps the first two edges; an eighth widens both to 15 / sqrt(2) from the centre.
        (roi([20, 30, 45], [20, 10, 30], [0, -1, 0, 1, 0, 0, 0, 0, 1]), ((15, 25), (10, 20), (10, 20))),
        (
            roi([20, 30, 45], [10, 20, 30], Rotation.from_euler("z", 45, degrees=True).as_matrix().ravel()),
            ((9, 31), (9, 21), (10, 20)),
        ),
        # Cut to the image.
        (roi([0, 30, 90], [10, 200, 30]), ((0, 5), (0, 30), (25, 30))),
        # Less than a voxel.
        (roi([20.5, 30.5, 45.5], [1e-4, 0.1, 0.1]), ((20, 21), (15, 16), (15, 16))),
        (roi([20, 30, 45], [1e-4, 1e-4, 1e-4]), ((20, 21), (15, 16), (15, 16))),
    ],
)
def test_an_roi_becomes_a_box(tmp_path: Path, markup: Any, box: Any) -> None:
    assert read_prompts(saved(tmp_path, markup), GRID).items == (BoxPrompt(box),)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.floats(-40, 40)] * 3),
    st.tuples(*[st.floats(0.5, 60)] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.sampled_from([np.eye(3), TURN, TURN * [1, 1, -1]]),
)
def test_a_rotated_roi_becomes_its_bounding_box(
    tmp_path: Path, center: Any, size: Any, angles: Any, direction: Any
) -> None:
    grid = Grid.from_spacing((400, 400, 400), (0.6, 0.8, 1.1), direction=direction)
    grid = Grid.from_spacing(grid.shape, grid.spacing, -grid.to_ras((200, 200, 200)), direction)
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    path = saved(
        tmp_path,
        roi([-center[0], -center[1], center[2]], size, (axes.T * [-1, -1, 1]).T.ravel(), coordinateSystem="LPS"),
    )
    (prompt,) = read_prompts(path, grid).items
    # The reach of a box along a line is the sum of its half edges' shadows on it.
    middle = grid.to_ijk(center)
    reach = (np.abs(grid.direction.T @ axes) @ size) / 2 / grid.spacing
    for (low, high), first, last in zip(prompt.box, middle - reach, middle + reach):
        assert low - 0.5 <= first + 2e-3
        assert high - 0.5 >= last - 2e-3
        assert low + 0.5 > first - 2e-3
        assert high - 1.5 < last + 2e-3


# Lines


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_a_line_joins_the_voxels_of_its_ends(tmp_path: Path, system: str) -> None:
    turn = np.array([-1, -1, 1]) if system == "LPS" else np.ones(3)
    ends = [(turn * ras).tolist() for ras in ([3.4, 7.9, 10.5], [20.6, 30.1, 10.5])]
    path = saved(tmp_path, line(*ends, coordinateSystem=system), points(point([-3, -7, 10])))
    # Voxels of 1 x 2 x 3 mm whose first begins at 0: 20.6 / 1, 30.1 / 2, 10.5 / 3.
    assert read_prompts(path, GRID).items == (Line(((3, 3, 3), (20, 15, 3))), Click((3, 3, 3)))


def test_a_point_of_a_line_that_was_not_placed_does_not_count(tmp_path: Path) -> None:
    ends = [point([-3, -7, 10]), point([-9, -7, 10], positionStatus="preview"), point([-20, -7, 10])]
    path = saved(tmp_path, points(*ends, type="Line"))
    assert read_prompts(path, GRID).items == (Line(((3, 3, 3), (20, 3, 3))),)


# TumorSeg's own files


def test_prompts_in_tumorseg_json_are_read(tmp_path: Path) -> None:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[3:5, 7, 9:12] = 1
    scribble = Scribble.from_mask(Mask(GRID, array), False)
    prompts = Prompts((Click((1, 2, 3), False), scribble, BoxPrompt(((0, 7), (1, 2), (4, 5)))))
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(prompts.to_json()))
    assert read_prompts(path, GRID) == prompts
    assert read_prompts(str(path), GRID) == prompts


# What Slicer writes


@pytest.fixture(scope="module")
def scene() -> Any:
    pytest.importorskip("slicer_core", reason="the wheel slicer-core is not installed", exc_type=ImportError)
    import slicer

    scene, application = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logic = slicer.vtkSlicerMarkupsLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    yield scene
    logic.SetMRMLScene(None)
    scene.Clear(True)


def written(scene: Any, node: Any, kind: str, path: Path, system: int) -> Path:
    storage = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}StorageNode")
    storage.SetCoordinateSystem(system)
    storage.SetFileName(str(path))
    assert storage.WriteData(node) == 1
    return path


@pytest.mark.parametrize("system", [0, 1])
def test_points_written_by_slicer(scene: Any, tmp_path: Path, system: int) -> None:
    grid = Grid.from_spacing((30, 30, 40), (1.0, 2.0, 3.0), (-20.0, 5.0, 7.0), TURN)
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Tumour")
    for ijk in [(3, 4, 5), (39, 0, 29), (7, 7, 7)]:
        node.AddControlPoint(*grid.to_ras(ijk).tolist())
    node.SetNthControlPointLabel(1, "Background")
    node.UnsetNthControlPointPosition(2)
    path = written(scene, node, "Json", tmp_path / "points.mrk.json", system)
    assert read_prompts(path, grid).items == (Click((3, 4, 5)), Click((39, 0, 29), False))
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Negative points")
    node.AddControlPoint(*grid.to_ras((3, 4, 5)).tolist())
    path = written(scene, node, "Json", tmp_path / "points.mrk.json", system)
    assert read_prompts(path, grid).items == (Click((3, 4, 5), False),)


@pytest.mark.parametrize("system", [0, 1])
def test_a_turned_box_written_by_slicer(scene: Any, tmp_path: Path, system: int) -> None:
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    matrix = vtk.vtkMatrix4x4()
    for row, column in np.ndindex(3, 3):
        matrix.SetElement(row, column, TURN[row, column])
    for row, x in enumerate((20.0, 30.0, 45.0)):
        matrix.SetElement(row, 3, x)
    node.SetAndObserveObjectToNodeMatrix(matrix)
    node.SetSize(11.0, 14.0, 17.0)
    path = written(scene, node, "ROIJson", tmp_path / "roi.mrk.json", system)
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    low, high = GRID.to_ijk(bounds[::2]) + 0.5, GRID.to_ijk(bounds[1::2]) + 0.5
    expected = tuple(zip(np.floor(low).astype(int).tolist(), np.ceil(high).astype(int).tolist()))
    assert read_prompts(path, GRID).items == (BoxPrompt(expected),)


@pytest.mark.parametrize("system", [0, 1])
def test_a_line_written_by_slicer(scene: Any, tmp_path: Path, system: int) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "L")
    node.AddControlPoint(3.5, 7.0, 10.5)
    with pytest.raises(ReadError, match="a line has two points that are placed, this one has 1"):
        read_prompts(written(scene, node, "Json", tmp_path / "line.mrk.json", system), GRID)
    node.AddControlPoint(20.5, 31.0, 10.5)
    path = written(scene, node, "Json", tmp_path / "line.mrk.json", system)
    assert read_prompts(path, GRID).items == (Line(((3, 3, 3), (20, 15, 3))),)


def test_a_curve_written_by_slicer_is_refused(scene: Any, tmp_path: Path) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsCurveNode", "C")
    node.AddControlPoint(3.5, 7.0, 10.5)
    with pytest.raises(ReadError, match="is of type 'Curve'"):
        read_prompts(written(scene, node, "Json", tmp_path / "curve.mrk.json", 1), GRID)


# What is refused


@pytest.mark.parametrize(
    ("markups", "words"),
    [
        ([], "contains no prompts"),
        ([points()], "contains no prompts"),
        ([points(point("", positionStatus="undefined"))], "contains no prompts"),
        ([points(point([-3, -7, 10])), {"type": "Plane"}], "markup 2 is of type 'Plane'; prompts are point lists"),
        (
            [points(point([-3, -7, 10])), {"type": "Line"}],
            "markup 2: a line has two points that are placed, this one h",
        ),
        ([line([-3, -7, 10])], "markup 1: a line has two points that are placed, this one has 1"),
        ([line(*[[-n, -7, 10] for n in (3, 9, 20)])], "a line has two points that are placed, this one has 3"),
        ([line([-3, -7, 10], [-9, -7])], "point 2 ('F-1'): position is [-9, -7]; 3 finite numbers"),
        ([{"type": ["Angle"]}], "is of type ['Angle']"),
        (["Fiducial"], "markup 1 is of type None"),
        ([points(coordinateSystem="HFS")], "coordinateSystem is 'HFS'; it must be 'LPS' or 'RAS'"),
        ([points(coordinateUnits="um")], "coordinateUnits is 'um'; it must be 'mm'"),
        ([points(coordinateUnits=["um", "UCUM", "micrometer"])], "coordinateUnits is ['um', 'UCUM', 'micrometer']"),
        ([points(coordinateUnits=[])], "coordinateUnits is []"),
        ([points(7)], "controlPoints must be a list of objects"),
        ([points(controlPoints={})], "controlPoints must be a list of objects"),
        ([points(point([-3, -7, 10]), point([1, 2], "F-2"))], "point 2 ('F-2'): position is [1, 2]; 3 finite numbers"),
        ([points(point([1, float("nan"), 2]))], "point 1 ('F-1'): position is [1, nan, 2]; 3 finite numbers"),
        ([points(point([1, float("inf"), 2]))], "3 finite numbers are needed"),
        ([points(point([1, 10**400, 2]))], "3 finite numbers are needed"),
        ([points(point([1, True, 2]))], "3 finite numbers are needed"),
        ([points(point(["1", "2", "3"]))], "3 finite numbers are needed"),
        ([points({"label": "F-1"})], "position is None"),
        ([points(coordinatesystem="RAS")], "unknown key 'coordinatesystem'; did you mean 'coordinateSystem'?"),
        ([{"type": "Fiducial", "controlPoint": []}], "unknown key 'controlPoint'; did you mean 'controlPoints'?"),
        ([points(point([-3, -7, 10], descripton="negative"))], "point 1: unknown key 'descripton'; did you mean"),
        ([points(point([-3, -7, 10], PositionStatus="undefined"))], "did you mean 'positionStatus'?"),
        ([roi([20, 30], [1, 1, 1])], "center is [20, 30]; 3 finite numbers"),
        ([roi([20, 30, 45], [1, 1, float("nan")])], "size is [1, 1, nan]"),
        ([roi([20, 30, 45], [0, 1, 1])], "size is [0.0, 1.0, 1.0] mm; it must be positive"),
        ([roi([20, 30, 45], [1, 1, 1], [1, 0, 0])], "orientation is [1, 0, 0]; 9 finite numbers"),
        ([roi([20, 30, 45], [1, 1, 1], [0] * 9)], "is not a rotation"),
        ([{"type": "ROI"}], "center is None"),
    ],
)
def test_markups_that_are_refused(tmp_path: Path, markups: Any, words: str) -> None:
    path = saved(tmp_path, *markups)
    with pytest.raises(ReadError) as caught:
        read_prompts(path, GRID)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        (
            points(point([-3, -7, 10]), point([3, 7, 10], "F-2")),
            "markup 1, point 2 ('F-2'): click at RAS (-3.0, -7.0, 10.0)",
        ),
        (
            roi([-20, 30, 45], [10, 20, 30]),
            "markup 1: the ROI around RAS (-20.0, 30.0, 45.0) mm lies outside the image",
        ),
        (
            line([-3, -7, 10], [-45, -7, 10]),
            "markup 1: an end of a line at RAS (45.0, 7.0, 10.0) mm, voxel (45, 3, 3), lies outside the image",
        ),
        (
            line([-3.1, -7.1, 10], [-3.9, -7.9, 11]),
            "markup 1: a line needs a length, both its ends are in voxel (3, 3, 3)",
        ),
        (roi([20, 30, 145], [10, 20, 30]), "lies outside the image, 40 x 30 x 30 voxels of 1 x 2 x 3 mm"),
    ],
)
def test_prompts_outside_the_image(tmp_path: Path, markup: Any, words: str) -> None:
    path = saved(tmp_path, markup)
    with pytest.raises(ArgumentError) as caught:
        read_prompts(path, GRID)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a JSON file"),
        (b'{"prompts": [', "not a JSON file"),
        (b"\x1f\x8b\x08\x00", "not a JSON file"),
        (b"[" * 100_000, "not a JSON file"),
        (
            b'{"prompts": [{"click": [0, 0, 0], "positive": false, "positive": true}]}',
            "the key 'positive' is given twice",
        ),
        (b"[]", "contains neither prompts"),
        (b"7", "contains neither prompts"),
        (b'{"points": []}', "contains neither prompts"),
        (b'{"prompts": []}', "contains no prompts"),
        (b'{"prompts": [7]}', "prompt 1 is 7"),
        (b'{"markups": []}', '"@schema" is None'),
        (b'{"@schema": "markups-schema-v2.0.0.json#", "markups": []}', "markups of a markups-schema-v1.x"),
        (b'{"@schema": "markups-schema-v1.0.0.json#", "markups": {}}', '"markups" is {}; it must be a list'),
    ],
)
def test_content_that_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "case.json"
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read_prompts(path, GRID)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"nothing\.json: no such file"):
        read_prompts(tmp_path / "nothing.json", GRID)
    with pytest.raises(ReadError, match="cannot be read: "):
        read_prompts(tmp_path, GRID)
    (tmp_path / "own.json").write_text('{"prompts": [{"click": [0, 0, 30]}]}')
    with pytest.raises(ArgumentError, match=r"own\.json: prompt 1: click, voxel \(0, 0, 30\), lies outside"):
        read_prompts(tmp_path / "own.json", GRID)


# Lassos


@pytest.mark.parametrize("name", ["Lasso", "negative lasso"])
def test_a_closed_curve_becomes_a_lasso(tmp_path: Path, name: str) -> None:
    corners = [[-5, -11, 46.5], [-15, -11, 46.5], [-15, -31, 46.5], [-5, -31, 46.5]]  # LPS, on the slice k = 15
    curve = points(*map(point, corners), type="ClosedCurve", name=name)
    (lasso,) = read_prompts(saved(tmp_path, curve), GRID).of(Scribble)
    assert lasso.box == ((5, 15), (5, 15), (15, 16))
    assert lasso.mask.array.sum() == 100
    assert lasso.positive == (name == "Lasso")


def test_a_closed_curve_without_an_area_is_named(tmp_path: Path) -> None:
    curve = points(*map(point, [[-5, -11, 46.5], [-15, -11, 46.5]]), type="ClosedCurve")
    with pytest.raises(ArgumentError, match=r"case.mrk.json: markup 1: a lasso needs at least three points .*, got 2"):
        read_prompts(saved(tmp_path, curve), GRID)
