"""Diameters of a mask: the longest axial one with its perpendicular (RECIST 1.1, WHO), and the longest in 3D.

A diameter ends half way between the centre of a voxel inside and that of its neighbour outside, as on a surface drawn
at 0.5: the convention of IBSI (Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145, L0JK) and of pyradiomics. A
single voxel then has the length of its edge, neither 0 as between centres (ITK's Feret diameter) nor its diagonal as
between corners. Diameters of what is drawn on voxels are good to about one voxel edge.

A diameter joins two points of one connected region, neighbours by corners included, never two lesions. Like callipers
it goes from outer wall to outer wall, so it may cross background where a region is bent or hollow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from TumorSegLib.geometry.arrays import BoolArray, Float64Array
from TumorSegLib.geometry.boxes import origin, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask

RasPoint: TypeAlias = tuple[float, float, float]

# Two voxel axes are equally near to superior up to the rounding of direction cosines in files.
_SAME_DIRECTION = 1e-4
# Lengths that differ by less are equal but for rounding, and so are positions along a line.
_DECIMALS_MM = 9
_ROUNDING_MM = 10.0**-_DECIMALS_MM
# So many numbers of 8 bytes are worked on at a time: pairs of points grow with the square of their number.
_AT_A_TIME = 2_000_000


@dataclass(frozen=True)
class Line:
    """A straight line.

    Attributes:
        length_mm: its length.
        ends_ras: both ends, RAS mm.
    """

    length_mm: float
    ends_ras: tuple[RasPoint, RasPoint]


@dataclass(frozen=True)
class AxialDiameters:
    """The longest axial diameter and its perpendicular.

    Attributes:
        axis: the voxel axis that runs across the slices: ``i``, ``j`` or ``k``.
        slice: the slice that both lie in, counted along that axis from 0.
        longest: the longest diameter in the plane of any slice.
        perpendicular: the longest line at a right angle to it in that slice, across the same region.
    """

    axis: str
    slice: int
    longest: Line
    perpendicular: Line

    @property
    def product_mm2(self) -> float:
        """Longest times perpendicular, mm2: the bidimensional size of the WHO (Miller et al. 1981)."""
        return self.longest.length_mm * self.perpendicular.length_mm


class _Region(NamedTuple):
    """One connected region: ``array`` of 2 or 3 axes, where it starts in the whole, and its longest diameter.

    ``start`` is the first voxel, three numbers in the order of the whole's axes; ``ends`` is float64 ``(2, axes)``, in
    voxels from there.
    """

    array: BoolArray
    start: Float64Array
    ends: Float64Array
    length_mm: float


def axial_axis(grid: Grid) -> int:
    """The voxel axis nearest to superior, 0 for i, 1 for j, 2 for k; k where another one is as near."""
    nearness = np.abs(grid.direction[2])
    return int(2 - np.flatnonzero(nearness[::-1] >= nearness.max() - _SAME_DIRECTION)[0])


def axial_diameters(mask: Mask) -> AxialDiameters | None:
    """The longest axial diameter and its perpendicular in the same slice (RECIST 1.1, Eisenhauer et al. 2009).

    Axial are the slices across the voxel axis nearest to superior: in an axial image, tilted or not, those of the
    acquisition (k); in a sagittal or coronal image the planes that cut across its own slices. Regions are connected
    within a slice (8 neighbours).

    Args:
        mask: uint8 ``[k, j, i]``; every label other than 0 is foreground.

    Returns:
        None for an empty mask.
    """
    box = mask.bounding_box()
    if box is None:
        return None
    across = 2 - axial_axis(mask.grid)
    order = [across, *(axis for axis in range(3) if axis != across)]  # array axes, that across the slices first
    foreground = (mask.array[slices(box)] != 0).transpose(order)
    spacing = np.asarray([mask.grid.spacing[2 - axis] for axis in order[1:]])
    region = _longest(foreground, spacing)
    low = np.asarray(origin(box)[::-1])[order] + region.start
    lines = []
    for ends in (region.ends, _perpendicular(region, spacing)):
        kji = np.empty((2, 3))
        kji[:, order] = np.column_stack([np.zeros(2), ends]) + low
        lines.append(_line(kji, mask.grid))
    return AxialDiameters("kji"[across], int(low[0]), *lines)


def maximum_diameter(mask: Mask) -> Line | None:
    """The longest diameter in any direction of any one connected region (26 neighbours); None for an empty mask.

    Args:
        mask: uint8 ``[k, j, i]``; every label other than 0 is foreground.
    """
    box = mask.bounding_box()
    if box is None:
        return None
    region = _longest(mask.array[slices(box)] != 0, np.asarray(mask.grid.spacing[::-1]))
    return _line(region.ends + region.start + origin(box)[::-1], mask.grid)


def _line(kji: Float64Array, grid: Grid) -> Line:
    """The line between two points ``(2, 3)`` in voxels."""
    start, end = grid.to_ras(kji[:, ::-1])
    return Line(float(np.linalg.norm(end - start)), (_point(start), _point(end)))


def _point(ras: Float64Array) -> RasPoint:
    return float(ras[0]), float(ras[1]), float(ras[2])


def _longest(foreground: BoolArray, spacing: Float64Array) -> _Region:
    """The connected region with the longest diameter.

    Args:
        foreground: three axes, not empty.
        spacing: mm along the last two or three axes; regions and diameters extend along these only.
    """
    axes = len(spacing)
    neighbours = np.zeros((3, 3, 3), bool)
    neighbours[slice(None) if axes == 3 else 1] = True
    labels, _ = ndimage.label(foreground, neighbours)
    windows = ndimage.find_objects(labels)
    bounds = _longest_possible(np.asarray([[s.stop - s.start for s in window[-axes:]] for window in windows]), spacing)
    order = np.argsort(-bounds, kind="stable")
    best = _measured(labels, windows[order[0]], int(order[0]) + 1, spacing)
    for n in order[1:]:
        if bounds[n] <= best.length_mm + _ROUNDING_MM:
            break  # nor can those that follow be longer, whose boxes are smaller still
        best = max(best, _measured(labels, windows[n], int(n) + 1, spacing), key=lambda region: region.length_mm)
    return best


def _measured(labels: npt.NDArray[Any], window: tuple[slice, ...], label: int, spacing: Float64Array) -> _Region:
    array = labels[window] == label
    array = array.reshape(array.shape[-len(spacing) :])
    ends = _farthest(array, spacing)
    length = float(np.linalg.norm((ends[1] - ends[0]) * spacing))
    return _Region(array, np.asarray([s.start for s in window], np.float64), ends, length)


def _longest_possible(sizes: npt.NDArray[Any], spacing: Float64Array) -> Float64Array:
    """Diameters in mm ``(n,)`` of boxes full of foreground, of so many voxels ``(n, axes)`` each."""
    between_centres = ((sizes - 1) * spacing) ** 2
    from_edge_to_edge = (sizes * spacing) ** 2
    gain = (from_edge_to_edge - between_centres).max(axis=1)
    return np.asarray(np.sqrt(between_centres.sum(axis=1) + gain))


def _farthest(region: BoolArray, spacing: Float64Array) -> Float64Array:
    """The two outer points of a region that are farthest apart in mm: ``(2, axes)`` in voxels."""
    # Only what lies first or last along every axis can be a corner of the convex hull, and only those can be farthest.
    axes = region.ndim
    to_faces = np.concatenate([np.eye(axes), -np.eye(axes)]) / 2
    points = (np.argwhere(_extreme(region))[:, None] + to_faces).reshape(-1, axes)
    points = points[ConvexHull(points * spacing).vertices]
    scaled = points * spacing
    best, pair = -1.0, (0, 0)
    step = max(1, _AT_A_TIME // len(scaled))
    for low in range(0, len(scaled), step):
        distances = cdist(scaled[low : low + step], scaled, "sqeuclidean")
        first, second = divmod(int(distances.argmax()), len(scaled))
        if distances[first, second] > best:
            best, pair = float(distances[first, second]), (low + first, second)
    return np.asarray(points[list(pair)])


def _extreme(region: BoolArray) -> BoolArray:
    """The voxels of a region that are its first or last along every axis."""
    extreme = region.copy()
    for axis in range(region.ndim):
        ends = np.zeros_like(region)
        last = region.shape[axis] - 1 - np.flip(region, axis).argmax(axis)
        for position in (region.argmax(axis), last):
            np.put_along_axis(ends, np.expand_dims(position, axis), True, axis)
        extreme &= ends
    return extreme


def _perpendicular(region: _Region, spacing: Float64Array) -> Float64Array:
    """Ends ``(2, 2)``, in voxels, of the longest line across a region in 2D at a right angle to its diameter."""
    start, end = region.ends * spacing
    along = (end - start) / np.linalg.norm(end - start)
    upright = np.asarray([-along[1], along[0]])
    outline = _outline(region.array) * spacing
    places, heights = np.round(outline @ along, _DECIMALS_MM), outline @ upright
    where, low, high = _profile(places, heights)
    widest = int(np.argmax(high - low))
    ends = where[widest] * along + np.outer([low[widest], high[widest]], upright)
    return np.asarray(ends / spacing)


def _outline(region: BoolArray) -> Float64Array:
    """The closed outer contour of a connected region in 2D, half way to the voxels outside: ``(n, 2)`` in voxels."""
    from skimage.measure import find_contours

    # Without its holes a region has one contour; holes and regions are complementary in their neighbours, 4 and 8.
    filled = np.pad(ndimage.binary_fill_holes(region), 1)
    (contour,) = find_contours(filled.astype(np.float32), 0.5, fully_connected="high")
    return np.asarray(contour - 1, np.float64)


def _profile(places: Float64Array, heights: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Lowest and highest point of a closed polygon over each place where it has a corner.

    Between these places both limits are straight lines or end at a corner, so the widest place is among them.

    Args:
        places: of the corners in order, the last being the first again, ``(n,)`` mm.
        heights: of the same corners, ``(n,)`` mm.

    Returns:
        The places in order without repetition, and the limits there.
    """
    where, index = np.unique(places, return_inverse=True)
    low, high = np.full(where.shape, np.inf), np.full(where.shape, -np.inf)
    np.minimum.at(low, index, heights)
    np.maximum.at(high, index, heights)
    left = np.minimum(index[:-1], index[1:])
    between = np.maximum(np.abs(np.diff(index)) - 1, 0)  # places that a side passes over, its ends left out
    slopes = np.divide(np.diff(heights), np.diff(places), out=np.zeros(len(left)), where=between > 0)
    parts = max(1, int(between.sum()) // _AT_A_TIME)
    for sides in np.array_split(np.arange(len(left)), parts):
        counts = between[sides]
        side = np.repeat(sides, counts)
        place = left[side] + 1 + np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts, counts)
        height = heights[:-1][side] + slopes[side] * (where[place] - places[:-1][side])
        np.minimum.at(low, place, height)
        np.maximum.at(high, place, height)
    return where, low, high
