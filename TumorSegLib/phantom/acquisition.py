"""From a map of tissues to low-dose CT, FDG-PET and T1 MR.

Tissues get HU, the FDG uptake one hour after injection, and a T1 signal normalised to subcutaneous fat; then the images
get the point spread, noise and bias field of their modality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from TumorSegLib.geometry.arrays import BoolArray, Float32Array, UInt8Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.phantom.anatomy import Space, Tissue, Vector

_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))


# HU, SUV, T1 (a.u.) per tissue, in the order of Tissue; CT and MR as in the public sarcoma cases (muscle 50 HU and 330
# a.u., fat -98 HU and 900 a.u.), SUV typical means of normal organs one hour after injection.
_VALUES = np.array(
    [
        (-1000, 0.0, 0), (0, 0.4, 420), (-102, 0.28, 950), (54, 0.6, 330), (1150, 0.5, 75), (-30, 0.45, 820),
        (190, 1.1, 480), (85, 0.7, 290), (25, 0.8, 220), (44, 1.6, 170), (58, 2.2, 430), (50, 1.9, 300),
        (33, 4.0, 320), (12, 12.0, 200), (6, 18.0, 190), (35, 1.1, 340), (-850, 0.4, 15), (-830, 0.45, 50),
        (45, 3.0, 330), (-150, 0.0, 0), (42, 7.0, 330),
    ],
    dtype=np.float32,
)  # fmt: skip


@dataclass(frozen=True)
class Growth:
    """A grown tumour: the part ``box`` of the lattice, the voxels ``inside`` it, their HU, SUV and T1 ``(n, 3)``."""

    box: tuple[slice, slice, slice]
    inside: BoolArray
    values: Float32Array


def space_of(grid: Grid) -> Space:
    first = grid.origin * (-1, -1, 1)
    left, back, head = ((first[a] + grid.spacing[a] * np.arange(grid.size[a])).astype(np.float32) for a in range(3))
    return Space.of_axes(left, back, head)


def acquire(labels: UInt8Array, grid: Grid, growths: Sequence[Growth], rng: np.random.Generator) -> dict[str, Volume]:
    """The three images of a map of tissues; ``pet`` and ``mr_t1`` float32, ``ct`` int16."""
    values = _VALUES.copy()
    organs = slice(Tissue.FAT, Tissue.TABLE)
    values[organs, 0] += rng.normal(0.0, 3.0, Tissue.TABLE - Tissue.FAT)
    values[organs, 1] *= rng.lognormal(0.0, 0.18, Tissue.TABLE - Tissue.FAT)
    values[organs, 2] *= rng.lognormal(0.0, 0.06, Tissue.TABLE - Tissue.FAT)
    values[Tissue.BLADDER, 1] = rng.uniform(10.0, 30.0)
    values[Tissue.MYOCARDIUM, 1] = rng.uniform(1.5, 8.0)
    space = space_of(grid)
    texture = space.smooth(rng, 14.0)
    activity = space.smooth(rng, 22.0)
    body = labels > Tissue.SKIN
    ct = values[:, 0][labels] + np.float32(3.0) * texture * body
    pet = values[:, 1][labels] * np.exp(np.where(labels == Tissue.BOWEL, 0.55, 0.12).astype(np.float32) * activity)
    mr = values[:, 2][labels] * (1.0 + np.float32(0.05) * texture)
    for growth in growths:
        for channel, image in enumerate((ct, pet, mr)):
            image[growth.box][growth.inside] = growth.values[:, channel]
    seen = _mr_field_of_view(labels, grid, rng)
    return {
        "ct": Volume(grid, ct_image(ct, grid, rng), "ct"),
        "pet": Volume(grid, _pet(pet, grid, rng), "pet"),
        "mr_t1": Volume(grid, mr_image(mr, space, grid, rng) * seen, "mr_t1"),
    }


def _blurred(image: Float32Array, grid: Grid, fwhm_mm: Vector) -> Float32Array:
    """Gaussian point spread of the given widths along (i, j, k)."""
    sigma = [width / _FWHM / spacing for width, spacing in zip(fwhm_mm, grid.spacing)]
    return np.asarray(ndimage.gaussian_filter(image, sigma[::-1], truncate=3.0))


def _noise(grid: Grid, fwhm_mm: Vector, rng: np.random.Generator) -> Float32Array:
    """Gaussian noise of deviation 1, correlated over the given widths along (i, j, k)."""
    noise = _blurred(rng.standard_normal(grid.shape, dtype=np.float32), grid, fwhm_mm)
    return np.asarray(noise / noise.std())


def ct_image(ct: Float32Array, grid: Grid, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Low-dose CT: quantum noise, and streaks from left to right where the pelvis or two thighs attenuate most.

    Widths and deviations reproduce those of the public sarcoma cases: muscle varies by 9 to 20 HU from voxel to voxel,
    with correlation 0.4, -0.2 and 0.3 between neighbours along i, j and k after a 3 mm high-pass.
    """
    streaks = np.float32(rng.uniform(0.2, 0.7)) * _noise(grid, (14.0, 1.0, 4.2), rng)
    noise = np.float32(rng.uniform(10, 19)) * (_noise(grid, (2.5, 1.5, 4.2), rng) + streaks)
    image = _blurred(ct, grid, (1.5, 1.5, 2.0)) + noise
    return np.asarray(np.round(np.clip(image, -1000, 3071)).astype(np.int16))


def _pet(pet: Float32Array, grid: Grid, rng: np.random.Generator) -> Float32Array:
    """Uptake through the scanner's point spread, with noise that grows as the root of the uptake (counts)."""
    width = rng.uniform(5.0, 7.0)
    image = _blurred(pet, grid, (width, width, width))
    noise = _noise(grid, (5.5, 5.5, 4.5), rng) * np.float32(rng.uniform(0.06, 0.14))
    return np.asarray(np.maximum(image + noise * np.sqrt(image + np.float32(0.03)), 0.0))


def mr_image(mr: Float32Array, space: Space, grid: Grid, rng: np.random.Generator) -> Float32Array:
    """T1 magnitude image: what bias field correction left, and Rician noise (Gudbjartsson and Patz, 1995)."""
    bias = np.exp(np.float32(rng.uniform(0.02, 0.08)) * space.smooth(rng, 90.0))
    image = _blurred(mr, grid, (2.0, 2.0, 3.0)) * bias
    deviation = np.float32(rng.uniform(6, 16))
    real, imaginary = (deviation * rng.standard_normal(grid.shape, dtype=np.float32) for _ in range(2))
    return np.asarray(np.hypot(image + real, imaginary))


def _mr_field_of_view(labels: UInt8Array, grid: Grid, rng: np.random.Generator) -> BoolArray:
    """In half of the patients MR covers only a window round the tumours, at least 10 mm wider than these."""
    partial, margins = rng.random() < 0.5, rng.uniform(10.0, 70.0, 6)
    seen = np.ones(grid.shape, bool)
    box = Mask(grid, (labels == Tissue.TUMOUR).astype(np.uint8)).bounding_box()
    if partial and box is not None:
        seen[:] = False
        low = [max(b[0] - round(m / s), 0) for b, m, s in zip(box, margins[:3], grid.spacing)]
        high = [b[1] + round(m / s) for b, m, s in zip(box, margins[3:], grid.spacing)]
        seen[low[2] : high[2], low[1] : high[1], low[0] : high[0]] = True
    return seen
