"""Points, boxes and lines of the world as prompts of the library."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import slicer

from TumorSegSlicer.mrml.arguments import numbers
from TumorSegSlicer.mrml.volumes import arrayFromMatrix, checkLinear

if TYPE_CHECKING:
    from TumorSegLib import BoxPrompt, Click, Grid, Line, Scribble


def clickFromRas(grid: Grid, ras: Sequence[float], positive: bool = True, what: str = "the place clicked") -> Click:
    """The click on the voxel at a point of the world, RAS mm; ``what`` names it in errors.

    Raises:
        ArgumentError: the point is not three numbers; a ``StatusLineError`` where it lies outside the grid.
    """
    from TumorSegLib import ArgumentError, Click
    from TumorSegSlicer.quiet_errors import StatusLineError

    try:
        return Click.from_ras(grid, ras, positive)
    except ArgumentError as error:
        point = numbers(ras)
        if len(point) != 3 or not np.isfinite(point).all():
            raise
        place = ", ".join(f"{name} {x:.1f}" for name, x in zip("RAS", point))
        raise StatusLineError(f"{what} ({place} mm) lies outside the image that the segment is corrected in") from error


def boxFromRoi(roiNode: slicer.vtkMRMLMarkupsROINode, grid: Grid) -> BoxPrompt:
    """The smallest box of voxels that holds a ROI, rotated ones and parent transforms included, cut to the grid.

    Raises:
        ArgumentError: the ROI was not drawn yet, has no extent along an axis, or lies outside the grid.
        GeometryError: a parent transform of the ROI is not linear.
    """
    from TumorSegLib import BoxPrompt
    from TumorSegLib.geometry.boxes import around_points
    from TumorSegSlicer.quiet_errors import StatusLineError

    name, size = roiNode.GetName(), np.array(roiNode.GetSize())
    if roiNode.GetNumberOfControlPoints() == 0 or size.min() <= 0:
        raise StatusLineError(f"ROI '{name}' is {size.tolist()} mm large; draw a box with an extent along every axis")
    checkLinear(roiNode)
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * size
    matrix = arrayFromMatrix(roiNode.GetObjectToWorldMatrix())
    box = around_points(grid.to_ijk(corners @ matrix[:3, :3].T + matrix[:3, 3]), grid)
    if any(low >= high for low, high in box):
        raise StatusLineError(f"ROI '{name}' lies outside the image that the segment is corrected in")
    return BoxPrompt(box)


def scribbleFromRas(
    grid: Grid,
    points: Sequence[Sequence[float]],
    positive: bool = True,
    widthMm: float = 0.0,
    normal: Sequence[float] | None = None,
) -> Scribble:
    """The voxels that a line through points of the world passes, or a pen on one slice: see ``TumorSegLib``'s stroke.

    Args:
        grid: of the session, in the world.
        points: RAS mm, one at least.
        positive: whether the voxels are tumour.
        widthMm: of the pen.
        normal: of the slice that it is drawn on; without one there is no pen, and points may lie anywhere.

    Raises:
        ArgumentError: there is no point, a point is not three finite numbers, or one lies outside the grid; a pen has
            no slice. A ``StatusLineError`` where a pen passes no voxel of the grid.
    """
    from TumorSegLib import ArgumentError, Click, Scribble
    from TumorSegLib.prompts.stroke import stroke
    from TumorSegSlicer.quiet_errors import StatusLineError

    if len(points) == 0:
        raise ArgumentError("a scribble needs at least one point in RAS mm, got none")
    if normal is not None:
        try:
            return stroke(grid, points, widthMm, normal, positive)
        except ArgumentError as error:
            raise StatusLineError(str(error)) from error
    if widthMm:
        raise ArgumentError(f"a pen of {widthMm!r} mm draws on a slice: its normal is needed")
    corners = [np.array(Click.from_ras(grid, point).ijk) for point in points]
    voxels = np.unique(np.concatenate([corners[:1], *map(_between, corners, corners[1:])]), axis=0)
    return Scribble.of_voxels(grid, voxels, positive)


def lassoFromRas(grid: Grid, points: Sequence[Sequence[float]], positive: bool = True) -> Scribble:
    """The voxels inside a closed curve through points of the world, RAS mm: :func:`TumorSegLib.prompts.lasso.lasso`.

    Raises:
        StatusLineError: there is no area, the points are not on one slice, or no voxel of the grid lies inside.
    """
    from TumorSegLib import ArgumentError
    from TumorSegLib.prompts.lasso import lasso
    from TumorSegSlicer.quiet_errors import StatusLineError

    try:
        return lasso(grid, points, positive)
    except ArgumentError as error:
        raise StatusLineError(str(error)) from error


def lineFromRas(grid: Grid, ends: Sequence[Sequence[float]]) -> Line:
    """The line between two points of the world, RAS mm.

    Raises:
        StatusLineError: not two points, one lies outside the grid, or both in one voxel.
    """
    from TumorSegLib import ArgumentError, Line
    from TumorSegSlicer.quiet_errors import StatusLineError

    if len(ends) != 2:
        raise StatusLineError(f"a line has two ends, got {len(ends)}")
    start, end = (clickFromRas(grid, point, what="an end of the line") for point in ends)
    try:
        return Line((start.ijk, end.ijk))
    except ArgumentError as error:
        raise StatusLineError("the line has no length: both its ends lie in one voxel") from error


def _between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Voxels ``[n, 3]`` from one to another, without a gap."""
    count = int(np.abs(end - start).max()) + 1
    return np.rint(np.linspace(start, end, count)).astype(int)
