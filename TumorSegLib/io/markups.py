"""Reading prompts from files: TumorSeg's own JSON, and points, lines, closed curves and boxes of 3D Slicer's
markups (``.mrk.json``).

The markups format is 3D Slicer's JSON schema, versions 1.x:
https://github.com/Slicer/Slicer/tree/main/Modules/Loadable/Markups/Resources/Schema
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.boxes import around_points
from TumorSegLib.geometry.grid import FARTHEST_MM, LPS_TO_RAS, ORTHONORMAL_TOLERANCE, Grid
from TumorSegLib.parsing import check_spelling, load_json
from TumorSegLib.prompts.lasso import lasso
from TumorSegLib.prompts.types import BoxPrompt, Click, Line, Prompt, Prompts, Scribble

SCHEMA = "markups-schema-v1."
NEGATIVE_WORDS = ("negative", "background")
# Names and, in files of Slicer 4.10, numbers of the coordinate systems, and what takes them to RAS.
TO_RAS: Mapping[str, Float64Array] = {
    "RAS": np.eye(3),
    "0": np.eye(3),
    "LPS": LPS_TO_RAS[:3, :3],
    "1": LPS_TO_RAS[:3, :3],
}
# What is read of markups; other keys are 3D Slicer's, unless they are nearly one of these.
MARKUP_KEYS = (
    *("type", "name", "labelFormat", "coordinateSystem", "coordinateUnits", "controlPoints"),
    *("center", "size", "orientation"),
)
POINT_KEYS = ("label", "description", "position", "positionStatus")


def read_prompts(path: str | os.PathLike[str], grid: Grid) -> Prompts:
    """Reads prompts from the JSON of :meth:`Prompts.to_json` or from 3D Slicer's markups, whichever the file contains.

    In markups, each point of a point list becomes a click, each line a line, each closed curve a lasso whose points
    straight lines join (see :func:`TumorSegLib.prompts.lasso.lasso`), and each ROI the smallest voxel box that contains
    it, cut to the image, in the order of the file. A click is negative where the point's label, its description or the
    name of its list contains "negative" or "background" in any letter case, or the label begins with "-", and a lasso
    where that is so of its first point. Points that were not placed are left out. Transforms of the scene are not in
    the file: harden them before saving.

    Args:
        path: the file.
        grid: of the image.

    Raises:
        ReadError: missing or unreadable file, not JSON, neither kind of content, no prompts in it, another unit than
            mm, a coordinate that is not a finite number, markups of other types, a key that no prompt has, or in
            markups one that is nearly, but not quite, one of those read.
        ArgumentError: a prompt lies outside the image, a line has no length, a lasso no area.
    """
    data = _parsed(Path(path))
    if isinstance(data, Mapping) and "markups" in data:
        prompts = _from_markups(data, grid, str(path))
    elif isinstance(data, Mapping) and "prompts" in data:
        prompts = Prompts.from_json(data, grid, str(path))
    else:
        kinds = 'prompts ({"prompts": [...]}) nor 3D Slicer markups ({"@schema": "...", "markups": [...]})'
        raise ReadError(f"{path}: contains neither {kinds}")
    if len(prompts) == 0:
        raise ReadError(f"{path}: contains no prompts; place at least one point or box before saving")
    return prompts


def _parsed(path: Path) -> Any:
    try:
        return load_json(path)
    except FileNotFoundError as error:
        raise ReadError(f"{path}: no such file") from error
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ReadError(f"{path}: not a JSON file ({error})") from error


def _from_markups(data: Mapping[str, Any], grid: Grid, origin: str) -> Prompts:
    schema, markups = data.get("@schema"), data["markups"]
    if SCHEMA not in str(schema).lower():
        raise ReadError(f'{origin}: "@schema" is {schema!r}; markups of a {SCHEMA}x of 3D Slicer are needed')
    check_spelling(data, ("@schema", "markups"), origin)
    if not isinstance(markups, list):
        raise ReadError(f'{origin}: "markups" is {markups!r}; it must be a list')
    items: list[Prompt] = []
    for n, markup in enumerate(markups, start=1):
        items += _from_markup(markup, grid, f"{origin}: markup {n}")
    return Prompts(tuple(items))


def _from_markup(markup: Any, grid: Grid, origin: str) -> list[Prompt]:
    kind = markup.get("type") if isinstance(markup, Mapping) else None
    if kind not in ("Fiducial", "ROI", "Line", "ClosedCurve"):
        raise ReadError(
            f"{origin} is of type {kind!r}; prompts are point lists ('Fiducial'), lines ('Line'), closed curves "
            "('ClosedCurve') and boxes ('ROI')"
        )
    check_spelling(markup, MARKUP_KEYS, origin)
    system, unit = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
    if str(system) not in TO_RAS:
        raise ReadError(f"{origin}: coordinateSystem is {system!r}; it must be 'LPS' or 'RAS'")
    # Either the unit, or a DICOM code: value, scheme, meaning.
    if (unit[0] if isinstance(unit, list) and unit else unit) != "mm":
        raise ReadError(f"{origin}: coordinateUnits is {unit!r}; it must be 'mm'")
    to_ras = TO_RAS[str(system)]
    if kind == "ROI":
        return [_box_of_roi(markup, grid, to_ras, origin)]
    if kind == "ClosedCurve":
        return [_lasso(markup, grid, to_ras, origin)]
    return [_line(markup, grid, to_ras, origin)] if kind == "Line" else _clicks(markup, grid, to_ras, origin)


def _line(markup: Mapping[str, Any], grid: Grid, to_ras: Float64Array, origin: str) -> Line:
    ends = [to_ras @ _numbers(point, "position", 3, what) for point, what in _placed(markup, origin)]
    if len(ends) != 2:
        raise ReadError(f"{origin}: a line has two points that are placed, this one has {len(ends)}")
    try:
        return Line.from_ras(grid, ends[0].tolist(), ends[1].tolist())
    except ArgumentError as error:
        raise ArgumentError(f"{origin}: {error}") from error


def _lasso(markup: Mapping[str, Any], grid: Grid, to_ras: Float64Array, origin: str) -> Scribble:
    placed = list(_placed(markup, origin))
    curve = [to_ras @ _numbers(point, "position", 3, what) for point, what in placed]
    try:
        return lasso(grid, np.array(curve).reshape(-1, 3), not (placed and _is_negative(placed[0][0], markup)))
    except ArgumentError as error:
        raise ArgumentError(f"{origin}: {error}") from error


def _placed(markup: Mapping[str, Any], origin: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The control points that were placed, with what names them in errors."""
    points = markup.get("controlPoints", [])
    if not (isinstance(points, list) and all(isinstance(point, Mapping) for point in points)):
        raise ReadError(f"{origin}: controlPoints must be a list of objects, got {points!r}")
    for n, point in enumerate(points, start=1):
        check_spelling(point, POINT_KEYS, f"{origin}, point {n}")
        if point.get("positionStatus", "defined") == "defined":
            yield point, f"{origin}, point {n} ({point.get('label', '')!r})"


def _clicks(markup: Mapping[str, Any], grid: Grid, to_ras: Float64Array, origin: str) -> list[Prompt]:
    clicks: list[Prompt] = []
    for point, what in _placed(markup, origin):
        ras = to_ras @ _numbers(point, "position", 3, what)
        try:
            clicks.append(Click.from_ras(grid, ras.tolist(), not _is_negative(point, markup)))
        except ArgumentError as error:
            raise ArgumentError(f"{what}: {error}") from error
    return clicks


def _is_negative(point: Mapping[str, Any], markup: Mapping[str, Any]) -> bool:
    label = str(point.get("label", ""))
    texts = (label, point.get("description", ""), markup.get("name", ""), markup.get("labelFormat", ""))
    named = any(word in str(text).lower() for text in texts for word in NEGATIVE_WORDS)
    return named or label.startswith("-")


def _box_of_roi(markup: Mapping[str, Any], grid: Grid, to_ras: Float64Array, origin: str) -> BoxPrompt:
    center, size = (_numbers(markup, key, 3, origin) for key in ("center", "size"))
    # Row by row; its columns are the axes of the box in the coordinates of the file.
    axes = _numbers(markup, "orientation", 9, origin).reshape(3, 3)
    if size.min() <= 0:
        raise ReadError(f"{origin}: size is {size.tolist()} mm; it must be positive")
    if np.abs(axes.T @ axes - np.eye(3)).max() > ORTHONORMAL_TOLERANCE:
        raise ReadError(
            f"{origin}: orientation {axes.tolist()} is not a rotation; its axes must be perpendicular, of length 1"
        )
    corners = center + (np.array(list(product((-0.5, 0.5), repeat=3))) * size) @ axes.T
    box = around_points(grid.to_ijk(corners @ to_ras.T), grid)
    if any(low >= high for low, high in box):
        where = ", ".join(f"{x:.1f}" for x in to_ras @ center)
        raise ArgumentError(f"{origin}: the ROI around RAS ({where}) mm lies outside the image, {grid}")
    return BoxPrompt(box)


def _numbers(item: Mapping[str, Any], key: str, count: int, origin: str) -> Float64Array:
    values = item.get(key)
    numeric = isinstance(values, list) and all(type(x) in (int, float) and abs(x) < FARTHEST_MM for x in values)
    if not (isinstance(values, list) and numeric and len(values) == count):
        raise ReadError(f"{origin}: {key} is {values!r}; {count} finite numbers are needed")
    return np.array(values, dtype=np.float64)
