"""The anatomy of the phantoms: a map of tissues painted in millimetres, so that a seed means one patient on any grid.

Coordinates are millimetres to the patient's left, back and head: RAS with the first two negated. In the trunk, head = 0
is the level of the pubic bone, 45 the bladder, 270 the kidneys, 340 the liver and 450 the heart; a limb's is mid-thigh.
Shapes are plausible in size and place, not anatomical.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np

from TumorSegLib.geometry.arrays import BoolArray, Float32Array, UInt8Array

Vector: TypeAlias = tuple[float, float, float]

REGIONS = ("trunk", "limb")


class Tissue(IntEnum):
    """Labels of :attr:`TumorSegLib.phantom.patient.Phantom.tissues`."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    CORTICAL_BONE = 4
    YELLOW_MARROW = 5
    RED_MARROW = 6
    DISC = 7
    SPINAL_CANAL = 8
    BLOOD = 9
    LIVER = 10
    SPLEEN = 11
    KIDNEY = 12
    RENAL_PELVIS = 13
    BLADDER = 14
    BOWEL = 15
    GAS = 16
    LUNG = 17
    MYOCARDIUM = 18
    TABLE = 19
    TUMOUR = 20


@dataclass(frozen=True)
class Space:
    """Coordinates in mm: ``axes`` (left, back, head) 1-D; the arrays ``[k, j, i]`` follow them unless displaced."""

    axes: tuple[Float32Array, Float32Array, Float32Array]
    left: Float32Array
    back: Float32Array
    head: Float32Array

    @classmethod
    def of_axes(cls, left: Float32Array, back: Float32Array, head: Float32Array) -> Space:
        shape = len(head), len(back), len(left)
        full = (np.broadcast_to(a, shape) for a in (left[None, None, :], back[None, :, None], head[:, None, None]))
        return cls((left, back, head), *full)

    @property
    def shape(self) -> tuple[int, int, int]:
        left, back, head = self.axes
        return len(head), len(back), len(left)

    def smooth(self, rng: np.random.Generator, scale_mm: float, modes: int = 48) -> Float32Array:
        """Random field of mean 0, deviation 1 and Gaussian correlation: a sum of plane waves, hence lattice-free."""
        waves = rng.normal(0.0, 1.0 / scale_mm, (3, modes))
        phase = rng.uniform(0.0, 2.0 * np.pi, modes)
        along_left, along_back, along_head = (np.exp(1j * np.outer(a, w)) for a, w in zip(self.axes, waves))
        planes = (along_head * np.exp(1j * phase))[:, None, :] * along_back[None, :, :]
        first = np.concatenate([planes.real, -planes.imag], axis=2).astype(np.float32)
        second = np.concatenate([along_left.real, along_left.imag], axis=1).astype(np.float32)
        return np.asarray(first @ second.T * np.float32(math.sqrt(2.0 / modes)))

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float]) -> BoolArray:
        """Whether a voxel lies in an axis-parallel ellipsoid; an infinite radius makes it a cylinder."""
        distance: Any = 0.0
        for coordinate, middle, radius in zip((self.left, self.back, self.head), centre, radii):
            if math.isfinite(radius):
                distance = distance + np.square((coordinate - np.float32(middle)) * np.float32(1.0 / radius))
        return np.asarray(distance < 1.0)


def paint(region: str, seed: int, space: Space) -> UInt8Array:
    """The patient of one seed on any lattice: uint8 :class:`Tissue` labels."""
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = np.full(space.shape, Tissue.AIR, np.uint8)
    (_paint_trunk if region == "trunk" else _paint_limb)(labels, space, rng)
    return labels


def _paint_limb(labels: UInt8Array, space: Space, rng: np.random.Generator) -> None:
    width, thickness = rng.uniform(70, 90), rng.uniform(66, 86)
    side = rng.choice([-1.0, 1.0])
    plane = width * 1.08 + rng.uniform(2, 25)
    # The other thigh is the mirror image beyond a sagittal plane: folding space paints both at once.
    across = plane - np.abs(plane - space.left * np.float32(side))
    y, z = space.back, space.head
    taper = 1.0 + z * np.float32(rng.uniform(0.0004, 0.001))
    wobble = 1.0 + np.float32(0.035) * space.smooth(rng, 45.0)
    rho = np.hypot(across / np.float32(width), y / np.float32(thickness)) / (taper * wobble)
    depth = (1.0 - rho) * np.float32(thickness)
    fat = np.float32(rng.uniform(5, 20)) * (1.0 + np.float32(0.3) * space.smooth(rng, 60.0))
    _paint_table(labels, space, thickness * 1.12)
    labels[depth > 0] = Tissue.FAT
    labels[(depth > 0) & (depth < 2.0)] = Tissue.SKIN
    muscle = depth > np.maximum(fat, 3.0)
    labels[muscle & ~_septa(space, across, (width, thickness), rng)] = Tissue.MUSCLE
    _paint_femur(labels, space, across, rng)
    for angle in (rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.9)):  # artery and vein in their fat, medial to the femur
        centre = (np.float32(0.52 * width * math.cos(angle)), np.float32(-0.4 * thickness * math.sin(angle)))
        distance = np.hypot(across - centre[0] - z * np.float32(0.06), y - centre[1])
        labels[(distance < 6.0) & (labels == Tissue.MUSCLE)] = Tissue.FAT
        labels[distance < rng.uniform(3.0, 4.5)] = Tissue.BLOOD


def _septa(space: Space, across: Float32Array, size: tuple[float, float], rng: np.random.Generator) -> BoolArray:
    """Fat between muscles, where the two nearest of some wandering points are about equally far, and flecks within."""
    bent, back = (c + np.float32(4.0) * space.smooth(rng, 22.0) for c in (across, space.back))
    nearest = np.full(space.shape, np.inf, np.float32)
    second = nearest.copy()
    for n in range(11):
        angle, reach = 2.4 * n + rng.uniform(-0.4, 0.4), (0.35 if n % 3 == 0 else 0.72) * rng.uniform(0.85, 1.15)
        x = np.float32(size[0] * reach * math.cos(angle)) + space.head * np.float32(rng.uniform(-0.12, 0.12))
        y = np.float32(size[1] * reach * math.sin(angle)) + space.head * np.float32(rng.uniform(-0.12, 0.12))
        distance = np.hypot(bent - x, back - y)
        np.minimum(second, np.maximum(nearest, distance), out=second)
        np.minimum(nearest, distance, out=nearest)
    width = np.float32(rng.uniform(1.2, 2.6)) * (1.0 + np.float32(0.7) * space.smooth(rng, 16.0))
    infiltration = space.smooth(rng, 5.0) > np.float32(rng.uniform(1.9, 3.2))
    return np.asarray((second - nearest < width) | infiltration)


def _paint_femur(labels: UInt8Array, space: Space, across: Float32Array, rng: np.random.Generator) -> None:
    x, y = rng.uniform(-14, 6), rng.uniform(-12, 8)
    lean = rng.uniform(-0.08, 0.08, 2).astype(np.float32)
    distance = np.hypot(
        across - np.float32(x) - space.head * lean[0], space.back - np.float32(y) - space.head * lean[1]
    )
    shaft = rng.uniform(13, 16)
    flare = shaft + 10.0 * np.minimum(np.abs(space.head) / np.float32(130), 1.0) ** 4
    labels[distance < flare] = Tissue.CORTICAL_BONE
    labels[distance < flare - np.float32(rng.uniform(5.0, 7.5))] = Tissue.YELLOW_MARROW


def _paint_table(labels: UInt8Array, space: Space, below: float) -> None:
    """A shallow carbon-fibre trough under the back, seen only by CT."""
    height = space.back - np.float32(below) + np.square(space.left) * np.float32(0.0006)
    labels[(height > 0) & (height < 3.5)] = Tissue.TABLE


def _paint_trunk(labels: UInt8Array, space: Space, rng: np.random.Generator) -> None:
    half_width, half_depth = rng.uniform(135, 165), rng.uniform(88, 112)
    x, y, z = space.left, space.back, space.head
    waist = 1.0 - np.float32(0.07) * np.exp(-np.square((z - 240.0) / np.float32(70.0)))
    wobble = waist * (1.0 + np.float32(0.02) * space.smooth(rng, 60.0))
    rho = (np.abs(x / np.float32(half_width)) ** 2.4 + np.abs(y / np.float32(half_depth)) ** 2.4) ** (1 / 2.4)
    depth = (1.0 - rho / wobble) * np.float32(half_depth)
    fat = np.maximum(np.float32(rng.uniform(7, 24)) * (1.0 + np.float32(0.25) * space.smooth(rng, 70.0)), 3.0)
    inside = depth - fat
    cavity = inside > np.float32(rng.uniform(11, 17))
    _paint_table(labels, space, half_depth * 1.05)
    labels[depth > 0] = Tissue.FAT
    labels[(depth > 0) & (depth < 2.0)] = Tissue.SKIN
    labels[inside > 0] = Tissue.MUSCLE
    labels[cavity] = Tissue.FAT
    _paint_abdomen(labels, space, cavity, half_depth, rng)
    _paint_chest(labels, space, cavity, rng)
    _paint_back(labels, space, inside, half_depth, rng)
    _paint_pelvis(labels, space, inside, (half_width, half_depth), rng)


def _paint_abdomen(
    labels: UInt8Array, space: Space, cavity: BoolArray, half_depth: float, rng: np.random.Generator
) -> None:
    loops = space.smooth(rng, 13.0)
    gut = cavity & (space.head < 350) & (space.back < 0.25 * half_depth) & (loops > rng.uniform(-0.4, 0.5))
    labels[gut] = Tissue.BOWEL
    labels[gut & (loops > 1.9)] = Tissue.GAS
    jitter = rng.normal(0.0, 5.0, (8, 3))
    size = rng.uniform(0.88, 1.12, 8)

    def organ(n: int, tissue: Tissue, centre: Vector, radii: Vector) -> None:
        labels[cavity & space.ellipsoid(centre + jitter[n], np.array(radii) * size[n])] = tissue

    organ(0, Tissue.BOWEL, (55, -35, 340), (42, 32, 38))  # stomach
    organ(1, Tissue.LIVER, (-62, -8, 335), (85, 78, 66))
    organ(2, Tissue.SPLEEN, (98, 35, 340), (28, 38, 44))
    for n, side in ((3, -1), (4, 1)):
        centre = (62.0 * side, 0.4 * half_depth, 272.0)
        organ(n, Tissue.KIDNEY, centre, (25, 22, 50))
        x, y, z = centre + jitter[n]
        labels[cavity & space.ellipsoid((x - 9 * side, y, z), (10, 7, 17))] = Tissue.RENAL_PELVIS
    full = rng.uniform(0.75, 1.2)
    organ(5, Tissue.BLADDER, (0, -22, 42 + 20 * full), (38 * full, 30 * full, 28 * full))
    organ(6, Tissue.BOWEL, (0, 42, 60), (15, 15, 55))  # rectum


def _paint_chest(labels: UInt8Array, space: Space, cavity: BoolArray, rng: np.random.Generator) -> None:
    x, y, z = space.left, space.back, space.head
    dome = np.float32(rng.uniform(385, 405)) - np.float32(0.007) * (np.square(np.abs(x) - 60) + np.square(y + 20))
    dome = dome - np.maximum(y, 0) * np.float32(0.5)  # the recess behind liver and spleen reaches lower
    lung = cavity & (z > dome) & (np.abs(x) > 22 + space.smooth(rng, 40.0) * np.float32(4))
    labels[lung] = Tissue.LUNG
    vessels = space.smooth(rng, 5.0)
    labels[lung & (vessels > 2.0)] = Tissue.BLOOD
    heart = (np.array([18, -28, 448]) + rng.normal(0, 4, 3)).tolist()
    labels[cavity & (z > dome) & space.ellipsoid(heart, (52, 42, 46))] = Tissue.MYOCARDIUM
    labels[cavity & (z > dome) & space.ellipsoid(heart, (41, 31, 35))] = Tissue.BLOOD


def _paint_back(
    labels: UInt8Array, space: Space, inside: Float32Array, half_depth: float, rng: np.random.Generator
) -> None:
    """Spine, the muscles along it, great vessels and ribs."""
    x, y, z = np.abs(space.left), space.back, space.head
    lordosis = np.float32(6.0) * np.sin((z - 240) / np.float32(60)) + np.maximum(110 - z, 0) * np.float32(0.25)
    middle = np.float32(0.42 * half_depth) + lordosis
    level = np.mod(z + np.float32(rng.uniform(0, 36)), 36.0)
    muscle = (np.hypot((x - 30) / 27, (y - middle - 36) / 21) < 1) & (inside > 0)
    muscle |= (np.hypot((x - 42) / 17, (y - middle) / 19) < 1) & (z > 70) & (z < 310)
    labels[muscle & (labels != Tissue.LUNG) & (labels != Tissue.KIDNEY)] = Tissue.MUSCLE
    for centre, radius in ((-17, 11), (14, rng.uniform(9, 12))):  # vena cava, aorta
        trunk = np.hypot(space.left - centre, y - middle + 32) < radius
        labels[trunk & (z > 150) & (inside > 0)] = Tissue.BLOOD
    branches = (np.hypot(x - 20 - np.maximum(150 - z, 0) * np.float32(0.35), y - middle + 34) < 6) & (z <= 150)
    labels[branches] = Tissue.BLOOD
    body = np.hypot(x / 24, (y - middle) / 19)
    bone = (body < 1) | ((x < 4) & (y > middle) & (y < middle + 52) & (level < 20)) | _arch(x, y - middle, level)
    labels[bone & (inside > 0)] = Tissue.CORTICAL_BONE
    labels[(body < 0.9) & (inside > 0)] = Tissue.RED_MARROW
    labels[(body < 1) & (level > 28) & (inside > 0)] = Tissue.DISC
    labels[(np.hypot(x, y - middle - 27) < 8.5) & (inside > 0)] = Tissue.SPINAL_CANAL
    rib = (inside > 2) & (inside < 9) & (z > 275) & (np.mod(z - y * np.float32(0.4), 27.0) < 11) & (x > 20)
    labels[rib] = Tissue.CORTICAL_BONE
    labels[rib & (inside > 4) & (inside < 7)] = Tissue.RED_MARROW


def _arch(x: Float32Array, behind: Float32Array, level: Float32Array) -> BoolArray:
    ring = np.abs(np.hypot(x, behind - 27) - 10.5) < 2.2
    return np.asarray((ring | ((np.abs(behind - 20) < 4) & (x > 8) & (x < 40) & (level < 11))) & (level < 26))


def _paint_pelvis(
    labels: UInt8Array, space: Space, inside: Float32Array, size: tuple[float, float], rng: np.random.Generator
) -> None:
    x, y, z = np.abs(space.left), space.back, space.head
    within = inside > 3
    start, stop = (38.0, 0.55 * size[1]), (0.72 * size[0], -0.12 * size[1])
    along = np.array(stop) - start
    share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / float(along @ along), 0.0, 1.0)
    bow = share * (1.0 - share) * np.float32(rng.uniform(40, 70))
    distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1] - bow)
    plate = within & (z > 62) & (z < np.float32(rng.uniform(165, 185)) - 30 * share) & (distance < 7 - 3 * share)
    sacrum = within & (z > 30) & (z < 125) & (np.hypot((x - 14) / 26, (y - 0.6 * size[1]) / 13) < 1)
    socket = np.array([0.56 * size[0], 4.0, 32.0])
    head = np.square(x - socket[0]) + np.square(y - socket[1]) + np.square(z - socket[2])
    labels[within & (head < 31**2) & (head > 26**2) & (z > 20)] = Tissue.CORTICAL_BONE
    for bone, core in ((plate, distance < 4.5 - 2.5 * share), (within & (head < 24**2), head < 21**2)):
        labels[bone] = Tissue.CORTICAL_BONE
        labels[bone & core] = Tissue.RED_MARROW
    labels[sacrum & (labels != Tissue.SPINAL_CANAL)] = Tissue.RED_MARROW
