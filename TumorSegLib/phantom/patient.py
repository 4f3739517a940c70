"""Procedural FDG-PET/CT and T1 MR of a trunk or a thigh, with tumours whose extent is known exactly.

Tumours grow in a map of tissues (:mod:`TumorSegLib.phantom.anatomy`), which becomes images in
:mod:`TumorSegLib.phantom.acquisition`. For tests, demonstrations and training; not for dosimetry or for judging
accuracy on patients.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, UInt8Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.phantom.acquisition import Growth, acquire, space_of
from TumorSegLib.phantom.anatomy import REGIONS, Space, Tissue, Vector, paint

MAX_TUMOURS = 5
TUMOUR_VOLUME_ML = (5.0, 400.0)
#: A tumour that fits nowhere shrinks to no less than this radius.
SMALLEST_RADIUS_MM = 4.0
#: Below this extent (k, j, i) in mm there is no room for a limb, a tumour and some background.
SMALLEST_EXTENT_MM = (60.0, 120.0, 120.0)
#: Coarsest useful voxel edge in mm: with larger ones the femur's cortex and the skin are lost.
LARGEST_SPACING_MM = 8.0
# Mixed into every seed; chosen so that seed 0, the demonstration, shows a tumour of middling size beside hot organs.
_SALT = 35
# Lattice on which positions for tumours are searched; fixed in mm so that they do not depend on the voxel size.
_COARSE_MM = 6.0


# Tumours displace or go round these; everything else can be infiltrated.
_SPARED = (
    Tissue.AIR, Tissue.SKIN, Tissue.CORTICAL_BONE, Tissue.YELLOW_MARROW, Tissue.RED_MARROW, Tissue.DISC,
    Tissue.SPINAL_CANAL, Tissue.RENAL_PELVIS, Tissue.BLADDER, Tissue.GAS, Tissue.MYOCARDIUM, Tissue.TABLE,
    Tissue.TUMOUR,
)  # fmt: skip
_HOSTS = {Tissue.MUSCLE: 0.5, Tissue.FAT: 0.2, Tissue.LIVER: 0.1, Tissue.LUNG: 0.15, Tissue.BOWEL: 0.05}


@dataclass(frozen=True)
class Phantom:
    """A synthetic patient.

    Attributes:
        images: role to image, all on one grid whose voxel axes run L, P, S: ``ct`` int16 HU, ``pet`` float32 SUV
            (g/ml), ``mr_t1`` float32 a.u. (0 outside the MR field of view).
        tumour: uint8, 1 inside any tumour, on the same grid.
        tissues: uint8 labels of :class:`TumorSegLib.phantom.anatomy.Tissue`, on the same grid.
        seed: what it was made from.
    """

    images: dict[str, Volume]
    tumour: Mask
    tissues: Mask
    seed: int


@dataclass(frozen=True)
class _Lesion:
    """Where a tumour is to grow: centre (left, back, head) and radius of a ball of its volume, mm."""

    centre: Vector
    radius: float


def make_phantom(
    seed: int,
    *,
    shape: Sequence[int] = (72, 128, 128),
    spacing_mm: Sequence[float] = (1.953, 1.953, 3.27),
    region: str | None = None,
    tumours: int = 1,
) -> Phantom:
    """Makes a synthetic PET/CT/MR with known tumours.

    Equal arguments give equal phantoms. Random numbers come from numpy's PCG64, so a seed means the same patient on
    every machine, up to the rounding of floating-point functions; anatomy does not depend on the voxel size either.

    Args:
        seed: any whole number from 0.
        shape: ``(k, j, i)``; at least 60 x 120 x 120 mm.
        spacing_mm: ``(i, j, k)``, each above 0 and at most 8 mm.
        region: ``"trunk"``, ``"limb"`` (a thigh, often with a part of the other), or None: the seed chooses.
        tumours: how many, 0 to 5; each of 5 to 400 ml, smaller where there is no room.

    Raises:
        ArgumentError: the seed, region or number of tumours is outside its domain.
        GeometryError: shape or spacing is impossible, or leaves no room for the body or for that many tumours.
    """
    seed, tumours = _checked(seed, region, tumours)
    shape, spacing = _checked_lattice(shape, spacing_mm)
    streams = [np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence([seed, _SALT]).spawn(4)]
    drawn = REGIONS[int(streams[0].random() < 0.4)]
    region = drawn if region is None else region
    grid = _grid(shape, spacing, region, streams[0])
    body = int(streams[0].integers(2**62))
    lesions = _place(grid, region, body, tumours, streams[1])
    labels = paint(region, body, _pushed(space_of(grid), lesions))
    growths = [_grow(labels, grid, lesion, streams[2]) for lesion in lesions]
    tumour = Mask(grid, (labels == Tissue.TUMOUR).astype(np.uint8))
    return Phantom(acquire(labels, grid, growths, streams[3]), tumour, Mask(grid, labels), seed)


def checked_seed(seed: int) -> int:
    """A seed as an int.

    Raises:
        ArgumentError: it is no whole number from 0.
    """
    number = _whole("seed", seed)
    if number < 0:
        raise ArgumentError(f"seed must be 0 or more, got {number}")
    return number


def _whole(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError as error:
        raise ArgumentError(f"{name} must be a whole number, got {value!r}") from error


def _checked(seed: int, region: str | None, tumours: int) -> tuple[int, int]:
    seed, tumours = checked_seed(seed), _whole("tumours", tumours)
    if region is not None and region not in REGIONS:
        raise ArgumentError(f"region must be one of {', '.join(REGIONS)} or None, got {region!r}")
    if not 0 <= tumours <= MAX_TUMOURS:
        raise ArgumentError(f"tumours must be 0 to {MAX_TUMOURS}, got {tumours}")
    return seed, tumours


def _checked_lattice(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[tuple[int, int, int], Vector]:
    if len(spacing_mm) != 3 or not all(0.0 < s <= LARGEST_SPACING_MM for s in spacing_mm):
        raise GeometryError(
            f"spacing_mm must be three numbers (i, j, k) above 0 and at most {LARGEST_SPACING_MM:g}, "
            f"got {tuple(spacing_mm)}"
        )
    if len(shape) != 3 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise GeometryError(f"shape must be three positive whole numbers (k, j, i), got {tuple(shape)}")
    extent = tuple(n * s for n, s in zip(shape, reversed(spacing_mm)))
    if any(have < need for have, need in zip(extent, SMALLEST_EXTENT_MM)):
        raise GeometryError(
            f"shape {tuple(shape)} at {tuple(spacing_mm)} mm covers {' x '.join(f'{e:.0f}' for e in extent)} mm "
            f"(k, j, i), too small for the body: at least {' x '.join(f'{e:g}' for e in SMALLEST_EXTENT_MM)} mm"
        )
    i, j, k = (float(s) for s in spacing_mm)
    return (int(shape[0]), int(shape[1]), int(shape[2])), (i, j, k)


def _grid(shape: tuple[int, int, int], spacing: Vector, region: str, rng: np.random.Generator) -> Grid:
    """Voxel axes run L, P, S as in axial DICOM; the field of view is off the body's axis by an amount of the seed."""
    if region == "trunk":
        centre = (rng.uniform(-35, 35), rng.uniform(-12, 12), rng.uniform(115, 400))
    else:
        centre = (rng.uniform(-20, 20), rng.uniform(-12, 12), rng.uniform(-20, 20))
    direction = np.diag([-1.0, -1.0, 1.0])
    half = (np.array(shape[::-1]) - 1) * spacing / 2.0
    return Grid.from_spacing(shape, spacing, (direction @ (centre - half)).tolist(), direction)


def _place(grid: Grid, region: str, body: int, tumours: int, rng: np.random.Generator) -> list[_Lesion]:
    """Draws volumes and finds a host tissue with room for each, shrinking those that fit nowhere."""
    coarse = space_of(grid.with_spacing((_COARSE_MM,) * 3))
    labels = paint(region, body, coarse)
    # Outside the lattice counts as spared, so depth also keeps off the border.
    free = np.pad(~np.isin(labels, _SPARED), 1)
    depth = ndimage.distance_transform_edt(free, sampling=_COARSE_MM)[1:-1, 1:-1, 1:-1]
    edge = np.full(labels.shape, np.inf)
    for axis, coordinate in zip(coarse.axes, (coarse.left, coarse.back, coarse.head)):
        edge = np.minimum(edge, np.minimum(coordinate - axis[0], axis[-1] - coordinate))
    room = np.minimum(depth / 0.5, edge / 1.15)
    lesions: list[_Lesion] = []
    for _ in range(tumours):
        volume = math.exp(rng.uniform(*np.log(TUMOUR_VOLUME_ML)))
        lesion = _settled(labels, room, coarse, (3000.0 * volume / (4.0 * math.pi)) ** (1 / 3), rng)
        lesions.append(lesion)
        offsets = (c - m for c, m in zip((coarse.left, coarse.back, coarse.head), lesion.centre))
        distance = np.sqrt(sum((np.square(o) for o in offsets), np.zeros(labels.shape, np.float32)))
        room = np.minimum(room, (distance - 1.3 * lesion.radius - 8.0) / 1.3)
    return lesions


def _settled(labels: UInt8Array, room: Float32Array, space: Space, radius: float, rng: np.random.Generator) -> _Lesion:
    hosts = rng.choice(list(_HOSTS), size=len(_HOSTS), replace=False, p=list(_HOSTS.values()))
    share = rng.random()
    for smaller in np.geomspace(radius, SMALLEST_RADIUS_MM, 16):
        for host in hosts:
            places = np.argwhere((labels == host) & (room >= smaller))
            if len(places):
                k, j, i = places[int(share * len(places))]
                left, back, head = space.axes
                return _Lesion((float(left[i]), float(back[j]), float(head[k])), float(smaller))
    raise GeometryError(f"no room for another tumour in an image of this extent, not even of {smaller:g} mm radius")


def _pushed(space: Space, lesions: Sequence[_Lesion]) -> Space:
    """Where each voxel's tissue was before the tumours displaced it: the skin bulges, planes of fat bend."""
    coordinates = (space.left, space.back, space.head)
    pulled = list(coordinates)
    for lesion in lesions:
        offsets = [c - np.float32(m) for c, m in zip(coordinates, lesion.centre)]
        squared = np.square(offsets[0]) + np.square(offsets[1]) + np.square(offsets[2])
        weight = np.float32(0.4) * np.exp(squared * np.float32(-1.0 / lesion.radius**2))
        pulled = [p - o * weight for p, o in zip(pulled, offsets)]
    return Space(space.axes, *pulled)


def _grow(labels: UInt8Array, grid: Grid, lesion: _Lesion, rng: np.random.Generator) -> Growth:
    """Adds a tumour to the labels: a rough ellipsoid of the lesion's volume that follows the tissue it started in."""
    first = np.asarray(lesion.centre) * (-1, -1, 1)
    centre = np.round(grid.to_ijk(first)).astype(int)
    reach = np.ceil(2.3 * lesion.radius / np.asarray(grid.spacing)).astype(int)
    i, j, k = (slice(max(c - r, 0), c + r + 1) for c, r in zip(centre, reach))
    part, box = labels[k, j, i], (k, j, i)
    left, back, head = space_of(grid).axes
    space = Space.of_axes(left[i], back[j], head[k])
    distance = _rough_distance(space, lesion, rng)
    foreign = (part != labels[centre[2], centre[1], centre[0]]).astype(np.float32)
    foreign = ndimage.gaussian_filter(foreign, 5.0 / np.asarray(grid.spacing)[::-1])
    distance *= 1.0 + np.float32(0.45) * foreign
    interior = np.zeros(grid.shape, bool)
    interior[2:-2, 2:-2, 2:-2] = True
    # On coarse lattices no voxel may be of skin, so a layer next to the air is kept as well.
    outermost = ndimage.binary_dilation(np.isin(part, (Tissue.AIR, Tissue.TABLE)))
    distance[np.isin(part, _SPARED) | outermost | ~interior[box]] = np.inf
    wanted = 4.0 / 3.0 * math.pi * lesion.radius**3 / 1000.0 / grid.voxel_volume_ml
    count = min(max(round(wanted), 1), int(np.isfinite(distance).sum()) - 1)
    level = np.partition(distance, count, axis=None)[count]
    pieces, _ = ndimage.label(distance < level)
    inside = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    part[inside] = Tissue.TUMOUR
    return Growth(box, inside, _tumour_values(space, distance[inside] / level, inside, lesion.radius, rng))


def _rough_distance(space: Space, lesion: _Lesion, rng: np.random.Generator) -> Float32Array:
    """Distance from the centre in radii, stretched along random axes and modulated by noise of two scales."""
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    stretch = np.exp(rng.normal(0.0, 0.2, 3))
    axes = axes * (np.cbrt(stretch.prod()) / stretch)[:, None] / lesion.radius
    offsets = [c - np.float32(m) for c, m in zip((space.left, space.back, space.head), lesion.centre)]
    squared = np.zeros(space.shape, np.float32)
    for row in axes.astype(np.float32):
        squared += np.square(row[0] * offsets[0] + row[1] * offsets[1] + row[2] * offsets[2])
    lobes = np.float32(0.14) * space.smooth(rng, 0.6 * lesion.radius)
    ruggedness = np.float32(rng.uniform(0.02, 0.07)) * space.smooth(rng, 0.2 * lesion.radius)
    return np.asarray(np.sqrt(squared) * np.exp(lobes + ruggedness))


def _tumour_values(
    space: Space, depth: Float32Array, inside: BoolArray, radius: float, rng: np.random.Generator
) -> Float32Array:
    """HU, SUV and T1 ``(n, 3)`` of the voxels inside; ``depth`` is 0 in the centre and 1 at the boundary."""
    coarse = space.smooth(rng, 0.4 * radius + 3.0)[inside]
    fine = space.smooth(rng, 6.0)[inside]
    uptake = np.float32(np.clip(rng.lognormal(math.log(7.0), 0.4), 4.0, 15.0))
    suv = uptake * np.clip(1.0 + np.float32(0.22) * coarse + np.float32(0.12) * fine, 0.35, 1.6)
    hounsfield = np.float32(54 - rng.uniform(5, 20)) + np.float32(3.0) * coarse
    signal = np.float32(330 * rng.uniform(0.88, 1.18)) * (1.0 + np.float32(0.05) * coarse + np.float32(0.04) * fine)
    if rng.random() < 0.55:
        core = rng.uniform(0.4, 0.75)
        wavy = core - depth + np.float32(0.15) * space.smooth(rng, 0.35 * radius)[inside]
        dead = np.clip(wavy * np.float32(8.0) + np.float32(0.5), 0.0, 1.0)
        suv += dead * (np.float32(rng.uniform(0.5, 1.6)) - suv)
        hounsfield -= dead * np.float32(rng.uniform(5, 20))
        signal *= 1.0 + dead * np.float32(rng.uniform(-0.15, 0.1))
    return np.stack([hounsfield, suv, signal], axis=1).astype(np.float32)
