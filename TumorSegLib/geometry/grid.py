"""Geometry of a voxel lattice in RAS world coordinates.

Arrays are ``[k, j, i]``; voxel coordinates are ``(i, j, k)``; world coordinates are RAS millimetres. Files and ITK
use LPS: images turn where they are read and written, surfaces in :mod:`TumorSegLib.render.surface`, by ``LPS_TO_RAS``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.arrays import Float64Array

#: Half-open voxel ranges ``((i0, i1), (j0, j1), (k0, k1))``.
Box: TypeAlias = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: ``(i, j, k)``.
Voxel: TypeAlias = tuple[int, int, int]

#: No coordinate of a patient is larger; voxels computed from a larger one could overflow.
FARTHEST_MM = 1e9

#: Half a turn about the S axis, ``(4, 4)``; its own inverse, so RAS to LPS as well.
LPS_TO_RAS: Float64Array = np.diag([-1.0, -1.0, 1.0, 1.0])
LPS_TO_RAS.setflags(write=False)

# Two grids are the same when no corner differs by more than this share of the finest voxel edge: far above the rounding
# of DICOM decimal strings and of NIfTI's float32 affines (about 1e-4 mm over a body), far below anything visible.
SAME_GRID_TOLERANCE = 0.01
# Largest |D^T D - I| of a direction matrix; a gantry tilt of 0.1 degree gives 1.7e-3.
ORTHONORMAL_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class NiftiForms:
    """How a NIfTI file states the place of its voxels, so that results state it in the same way.

    Attributes:
        sform_code: what the sform leads to (nifti1.h): 0 where it is none, 1 scanner, 2 aligned, 3 Talairach, 4 MNI.
        qform_code: the same of the qform.
        qform: float64 ``(4, 4)``, RAS mm, where it is another place than the grid's; None where it is not.
    """

    sform_code: int
    qform_code: int
    qform: Float64Array | None = None


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxels with any orthonormal direction, oblique and mirrored ones included.

    Attributes:
        shape: array shape ``(k, j, i)``.
        affine: float64 ``(4, 4)``, read-only, from homogeneous voxel ``(i, j, k, 1)`` (voxel centres at integers)
            to RAS millimetres.
        forms: of the NIfTI file that the grid is from; None for others. It has no part in comparisons, and grids
            derived from this one have none.

    Raises:
        GeometryError: the shape is not three positive numbers, a spacing is zero or not finite, or the axes are not
            perpendicular.
    """

    shape: tuple[int, int, int]
    affine: Float64Array
    forms: NiftiForms | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"grid shape must be three positive numbers (k, j, i), got {tuple(self.shape)}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.allclose(affine[3], (0, 0, 0, 1)):
            raise GeometryError(f"affine must be 4 x 4 with last row 0 0 0 1, got {affine.tolist()}")
        if not np.isfinite(affine).all():
            raise GeometryError(f"affine has values that are not finite: {affine.tolist()}")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() < 1e-6:
            raise GeometryError(f"voxel spacing must be positive, got {spacing.tolist()} mm")
        direction = affine[:3, :3] / spacing
        skew = float(np.abs(direction.T @ direction - np.eye(3)).max())
        if skew > ORTHONORMAL_TOLERANCE:
            raise GeometryError(
                f"direction is not orthonormal (largest deviation {skew:.3g}, at most {ORTHONORMAL_TOLERANCE:g}): "
                f"{direction.tolist()}; sheared or gantry-tilted images must be resampled first"
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing: Sequence[float],
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        direction: npt.ArrayLike | None = None,
    ) -> Grid:
        """Builds a grid from its parts.

        Args:
            shape: ``(k, j, i)``.
            spacing: ``(i, j, k)`` in mm, positive.
            origin: RAS of the centre of voxel (0, 0, 0), mm.
            direction: ``(3, 3)``, columns are the RAS directions of the i, j, k axes; identity by default.
        """
        _check_spacing(spacing)
        affine = np.eye(4)
        affine[:3, :3] = (np.eye(3) if direction is None else np.asarray(direction, float)) * np.asarray(spacing, float)
        affine[:3, 3] = origin
        return cls((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths ``(i, j, k)`` in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def direction(self) -> Float64Array:
        """Float64 ``(3, 3)``; column n is the RAS unit vector of voxel axis n (i, j, k)."""
        return np.asarray(self.affine[:3, :3] / np.asarray(self.spacing))

    @property
    def origin(self) -> Float64Array:
        """RAS of the centre of voxel (0, 0, 0), mm, shape ``(3,)``."""
        return np.asarray(self.affine[:3, 3])

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along ``(i, j, k)``."""
        return self.shape[2], self.shape[1], self.shape[0]

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing)) / 1000.0

    def to_ras(self, ijk: npt.ArrayLike) -> Float64Array:
        """Voxel coordinates ``(..., 3)`` as ``(i, j, k)`` to RAS millimetres ``(..., 3)``."""
        return np.asarray(np.asarray(ijk, float) @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_ijk(self, ras: npt.ArrayLike) -> Float64Array:
        """RAS millimetres ``(..., 3)`` to fractional voxel coordinates ``(..., 3)`` as ``(i, j, k)``."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return np.asarray((np.asarray(ras, float) - self.affine[:3, 3]) @ inverse.T)

    def corners_ras(self) -> Float64Array:
        """RAS of the eight outer corners of the lattice (voxel edges, not centres), shape ``(8, 3)``."""
        return self.to_ras(
            [[s - 0.5 if c else -0.5 for c, s in zip(choice, self.size)] for choice in product((0, 1), repeat=3)]
        )

    def check_box(self, box: Box) -> None:
        """Raises :class:`GeometryError` where a half-open voxel box is empty or leaves this grid."""
        for name, (low, high), size in zip("ijk", box, self.size):
            if not 0 <= low < high <= size:
                raise GeometryError(f"box range {name} = [{low}, {high}) is empty or leaves the grid's [0, {size})")

    def crop(self, box: Box) -> Grid:
        """The grid of the voxels inside a half-open voxel box; raises as :meth:`check_box`."""
        self.check_box(box)
        (i0, i1), (j0, j1), (k0, k1) = box
        affine = self.affine.copy()
        affine[:3, 3] = self.to_ras((i0, j0, k0))
        return Grid((k1 - k0, j1 - j0, i1 - i0), affine)

    def box_of(self, part: Grid) -> Box | None:
        """The half-open voxel box whose :meth:`crop` is a grid; None where it is no part of this one."""
        low = np.rint(self.to_ijk(part.origin)).astype(int)
        i, j, k = ((int(first), int(first) + size) for first, size in zip(low, part.size))
        try:
            return (i, j, k) if self.crop((i, j, k)) == part else None
        except GeometryError:
            return None

    def with_spacing(self, spacing: Sequence[float]) -> Grid:
        """The grid of the same directions and outer corner at another spacing ``(i, j, k)`` mm, covering this one."""
        _check_spacing(spacing)
        extent = np.asarray(self.size) * self.spacing
        # An exact multiple must not gain a voxel by rounding, hence the small allowance.
        size = np.maximum(np.ceil(extent / np.asarray(spacing, float) - 1e-3).astype(int), 1)
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.asarray(spacing, float)
        corner = self.to_ras((-0.5, -0.5, -0.5))
        affine[:3, 3] = corner + affine[:3, :3] @ (0.5, 0.5, 0.5)
        return Grid((int(size[2]), int(size[1]), int(size[0])), affine)

    def overlaps(self, other: Grid) -> bool:
        """Whether the bounds of the two grids overlap, both along the axes of this grid and along those of the other.

        The bounds along one grid's axes alone may overlap where an oblique grid lies beside it.
        """
        for one, seen in ((self, other), (other, self)):
            corners = one.to_ijk(seen.corners_ras())
            low, high = corners.min(axis=0), corners.max(axis=0)
            if (high <= -0.5).any() or (low >= np.asarray(one.size) - 0.5).any():
                return False
        return True

    def __eq__(self, other: object) -> bool:
        """Same shape, and no corner farther than 1 % of the finest voxel edge from its counterpart."""
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and self.corner_distance(other) <= self._tolerance(other)

    def difference(self, other: Grid) -> str:
        """How another grid differs, as text that completes "the two grids differ: "."""
        if self.shape != other.shape:
            one, two = (" x ".join(map(str, grid.size)) for grid in (self, other))
            return f"one has {one} voxels, the other {two}"
        parts = []
        apart = float(np.linalg.norm(self.origin - other.origin))
        if apart > 0.1 * self._tolerance(other):
            parts.append(f"first voxels {apart:.3g} mm apart")
        if not np.allclose(self.spacing, other.spacing, rtol=1e-4):
            one, two = (" x ".join(f"{edge:.7g}" for edge in grid.spacing) for grid in (self, other))
            parts.append(f"voxels of {one} and {two} mm")
        cosine = (self.direction * other.direction).sum(axis=0).min()
        if cosine < 1 - 1e-9:
            parts.append(f"axes turned by up to {math.degrees(math.acos(max(cosine, -1.0))):.3g} degrees")
        parts.append(f"corners up to {self.corner_distance(other):.3g} mm apart")
        return f"{', '.join(parts)}; {self._tolerance(other):.2g} mm are allowed"

    def corner_distance(self, other: Grid) -> float:
        """Largest distance, mm, between an outer corner and its counterpart on another grid."""
        return float(np.linalg.norm(self.corners_ras() - other.corners_ras(), axis=1).max())

    def _tolerance(self, other: Grid) -> float:
        return SAME_GRID_TOLERANCE * min(self.spacing + other.spacing)

    def __hash__(self) -> int:
        return hash(self.shape)  # coarser than equality, which has a tolerance

    def __str__(self) -> str:
        size, spacing = " x ".join(map(str, self.size)), " x ".join(f"{s:.4g}" for s in self.spacing)
        return f"{size} voxels of {spacing} mm at RAS ({', '.join(f'{x:.1f}' for x in self.origin)})"


def _check_spacing(spacing: Sequence[float]) -> None:
    if not all(0 < edge < math.inf for edge in spacing):
        raise GeometryError(f"voxel spacing must be positive, got {tuple(spacing)} mm")


def voxel_at(grid: Grid, ras: Sequence[float], what: str) -> Voxel:
    """The voxel ``(i, j, k)`` of a grid that contains a point.

    Args:
        grid: of the image.
        ras: point in RAS mm.
        what: names it in errors.

    Raises:
        ArgumentError: the point is not three finite numbers, or lies outside the grid.
    """
    try:
        point = np.array(ras)
    except ValueError:  # lists within the list, not of one length
        point = np.empty(0)
    numbers = point.shape == (3,) and point.dtype.kind in "iuf"
    if not numbers or not (np.abs(point) < FARTHEST_MM).all():  # NaN fails this comparison, too
        raise ArgumentError(f"{what} needs three finite RAS coordinates in mm, got {ras!r}")
    i, j, k = np.floor(grid.to_ijk(point) + 0.5).astype(int).tolist()
    check_inside((i, j, k), grid, f"{what} at RAS ({', '.join(f'{x:.1f}' for x in point)}) mm")
    return i, j, k


def check_inside(ijk: Sequence[int], grid: Grid, what: str = "click") -> None:
    """Raises :class:`ArgumentError` unless a voxel ``(i, j, k)`` is one of the grid's."""
    if not all(0 <= n < size for n, size in zip(ijk, grid.size)):
        raise ArgumentError(f"{what}, voxel {tuple(ijk)}, lies outside the image of {grid.size} voxels (i, j, k)")


def checked_voxel(ijk: Sequence[int], what: str = "a click") -> Voxel:
    """Three whole numbers as a voxel ``(i, j, k)``; :class:`ArgumentError`, which ``what`` begins, for others."""
    try:
        i, j, k = ijk
        voxel = (int(i), int(j), int(k))
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"{what} needs a voxel (i, j, k), got {ijk!r}") from error
    if voxel != (i, j, k):
        raise ArgumentError(f"{what} needs whole voxel coordinates (i, j, k), got {ijk!r}; use from_ras for mm")
    return voxel
