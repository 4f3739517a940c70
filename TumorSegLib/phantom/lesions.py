"""Synthetic images of lesions that no automatic model of ours was made for: two nodules in a lung, and one in a brain.

To learn and to show how any lesion is outlined from prompts. Shapes are plausible in size and place, not anatomical.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.phantom.acquisition import ct_image, mr_image, space_of
from TumorSegLib.phantom.anatomy import Space, Vector
from TumorSegLib.phantom.patient import checked_seed

# Of images: voxels (k, j, i) and edges (i, j, k) in mm.
CHEST = (40, 100, 100), (1.2, 1.2, 2.0)
HEAD = (38, 112, 96), (1.8, 1.8, 3.6)
# HU of what a chest consists of.
LUNG, VESSEL, WALL, RIB, NODULE = -860.0, 45.0, 40.0, 420.0, 25.0
# Signal of FLAIR in arbitrary units.
SCALP, SKULL, FLUID, GREY, WHITE, LESION = 520.0, 40.0, 60.0, 330.0, 270.0, 520.0
VESSELS = 26


@dataclass(frozen=True)
class LesionPhantom:
    """A synthetic image of a lesion.

    Attributes:
        image: ``ct`` int16 HU, or ``mr_flair`` float32 a.u.; voxel axes run L, P, S.
        lesions: uint8, 1 inside the first lesion, 2 inside the second, if there is one, on the same grid.
    """

    image: Volume
    lesions: Mask


def make_lung_nodules(seed: int) -> LesionPhantom:
    """Makes a CT of a part of a lung with two nodules; vessels and chest wall are about as bright as these.

    Args:
        seed: any whole number from 0.

    Raises:
        ArgumentError: the seed is not one.
    """
    rng = _random(seed, 1)
    grid = _grid(*CHEST)
    space = space_of(grid)
    wall = space.left + np.float32(0.004) * np.square(space.back) + np.float32(3.0) * space.smooth(rng, 30.0)
    hounsfield = LUNG + np.float32(25.0) * space.smooth(rng, 9.0)
    lesions = np.zeros(grid.shape, np.uint8)
    for label, back, radius in ((1, (-20, -5), (8.0, 10.0)), (2, (22, 34), (5.0, 6.5))):
        centre = (float(rng.uniform(-2, 10)), float(rng.uniform(*back)), float(rng.uniform(-8, 8)))
        lesions[_rough_ball(space, centre, float(rng.uniform(*radius)), rng)] = label
    hounsfield[_vessels(space, rng) & ~ndimage.binary_dilation(lesions > 0, iterations=2)] = VESSEL
    hounsfield[wall > 34.0] = WALL
    across = np.abs(np.mod(space.head + np.float32(0.3) * space.back, np.float32(24.0)) - 12.0)
    hounsfield[(wall > 40.0) & (wall < 49.0) & (across < 5.0)] = RIB
    hounsfield[lesions > 0] = NODULE
    return LesionPhantom(Volume(grid, ct_image(hounsfield, grid, rng), "ct"), Mask(grid, lesions))


def make_brain_lesion(seed: int) -> LesionPhantom:
    """Makes a FLAIR of a head with a bright lesion in the white matter, beside a ventricle.

    Args:
        seed: any whole number from 0.

    Raises:
        ArgumentError: the seed is not one.
    """
    rng = _random(seed, 2)
    grid = _grid(*HEAD)
    space = space_of(grid)
    depth = 1.0 - np.sqrt(sum(np.square(c / np.float32(r)) for c, r in zip(_axes(space), (70.0, 88.0, 78.0))))
    folds = np.float32(0.05) * np.abs(space.smooth(rng, 7.0))
    signal = np.zeros(grid.shape, np.float32)
    for least, value in ((0.0, SCALP), (0.06, SKULL), (0.13, FLUID), (0.15, GREY)):
        signal[depth > least] = value
    signal[depth > 0.2 + folds] = WHITE
    side = float(rng.choice([-1.0, 1.0]))
    bent = np.abs(space.left) - np.float32(12.0) - np.float32(0.1) * np.abs(space.back)
    ventricle = (np.abs(bent) < 5.0) & (np.abs(space.back) < 34.0) & (np.abs(space.head - np.float32(8.0)) < 9.0)
    signal[ventricle] = FLUID
    centre = (side * float(rng.uniform(28, 32)), float(rng.uniform(-12, 12)), float(rng.uniform(4, 14)))
    lesion = _rough_ball(space, centre, float(rng.uniform(10.0, 13.0)), rng) & (signal == WHITE)
    signal[lesion] = LESION
    image = mr_image(signal, space, grid, rng)
    return LesionPhantom(Volume(grid, image, "mr_flair"), Mask(grid, lesion.astype(np.uint8)))


def _random(seed: int, kind: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([checked_seed(seed), kind]))


def _grid(shape: tuple[int, int, int], spacing: Vector) -> Grid:
    """A lattice about the origin whose axes run L, P, S."""
    direction = np.diag([-1.0, -1.0, 1.0])
    half = (np.array(shape[::-1]) - 1) * spacing / 2.0
    return Grid.from_spacing(shape, spacing, (-direction @ half).tolist(), direction)


def _axes(space: Space) -> tuple[Float32Array, Float32Array, Float32Array]:
    return space.left, space.back, space.head


def _rough_ball(space: Space, centre: Vector, radius: float, rng: np.random.Generator) -> BoolArray:
    """A ball in mm with a lobed surface."""
    squared = sum(np.square(c - np.float32(m)) for c, m in zip(_axes(space), centre))
    lobes = np.exp(np.float32(0.13) * space.smooth(rng, 0.6 * radius))
    inside: BoolArray = np.sqrt(squared) * lobes < radius
    return inside


def _vessels(space: Space, rng: np.random.Generator) -> BoolArray:
    """Tubes from the hilum outwards, the thinner the farther they go."""
    inside = np.zeros(space.shape, bool)
    hilum = np.array([-52.0, 0.0, 0.0])
    for _ in range(VESSELS):
        towards = np.array([rng.uniform(0.4, 1.0), rng.uniform(-1.0, 1.0), rng.uniform(-0.8, 0.8)])
        towards /= math.sqrt(float(towards @ towards))
        offsets = [c - np.float32(m) for c, m in zip(_axes(space), hilum + rng.normal(0, 9, 3))]
        along = sum(np.float32(t) * o for t, o in zip(towards, offsets))
        bent = np.float32(rng.uniform(1.0, 3.0)) * space.smooth(rng, 20.0, modes=12)
        across = np.sqrt(np.maximum(sum(np.square(o) for o in offsets) - np.square(along), 0)) + bent
        thickness = np.float32(rng.uniform(2.0, 4.0)) * (1.0 - along / np.float32(110.0))
        inside |= (along > 0) & (across < thickness) & (thickness > 0.8)
    return inside
