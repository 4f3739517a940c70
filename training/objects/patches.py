"""Patches of cubic voxels cut from the images of a case, turned, mirrored, stretched and deformed in one resampling.

Coordinates of places are ``(i, j, k)``; arrays are ``[k, j, i]``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from training.objects.library import Contour, TrainingCase
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.prompts.encoding import Shape

# Largest rotation about the axes (i, j, k) in degrees, stretch of one axis against another, and how often each.
ROTATION_DEGREES, ROTATED = (15.0, 15.0, 30.0), 0.5
STRETCH, STRETCHED = 1.3, 0.4
# Smooth deformation: largest displacement in voxels of control points so many voxels apart, and how often.
ELASTIC_VOXELS, ELASTIC_SPACING, DEFORMED = 4.0, 16, 0.35
# Axes i and j change places this often.
TRANSPOSED = 0.3


@dataclass(frozen=True, eq=False)
class Frame:
    """A patch in the world of a case.

    Attributes:
        scale_mm: edge of its voxels.
        places_mm: float32 ``[k, j, i, 3]``, RAS mm of every voxel.
    """

    scale_mm: float
    places_mm: torch.Tensor

    @classmethod
    def around(cls, grid: Grid, centre: Float64Array, scale_mm: float, shape: Shape, rng: np.random.Generator) -> Frame:
        """A random frame whose middle is a voxel ``(i, j, k)`` of a grid, along its axes but for what is random."""
        steps = [torch.arange(n) - (n - 1) / 2 for n in shape]
        k, j, i = torch.meshgrid(*steps, indexing="ij")
        offset = torch.stack([i, j, k], dim=-1)
        if rng.random() < DEFORMED:
            offset = offset + _elastic(shape, rng)
        matrix = grid.direction @ _deformation(rng) * scale_mm
        middle = torch.tensor(grid.to_ras(centre), dtype=torch.float32)
        return cls(scale_mm, offset @ torch.tensor(matrix.T, dtype=torch.float32) + middle)

    def nearer(self, voxel: Float64Array, times: float) -> Frame:
        """The frame with voxels so many times smaller, whose middle is a voxel ``(k, j, i)`` of this one."""
        return Frame(self.scale_mm / times, magnified(self.places_mm.movedim(-1, 0), voxel, times).movedim(0, -1))

    def sampled(self, volume: Volume, outside: float) -> Float32Array:
        """An image, linearly interpolated, float32 ``[k, j, i]``."""
        inverse = np.linalg.inv(volume.grid.affine)
        place = self.places_mm @ torch.tensor(inverse[:3, :3].T, dtype=torch.float32)
        place = place + torch.tensor(inverse[:3, 3], dtype=torch.float32)
        where = ((2 * place + 1) / torch.tensor(volume.grid.size) - 1)[None]
        image = torch.from_numpy(volume.array - np.float32(outside))
        sampled = F.grid_sample(image[None, None], where, align_corners=False)[0, 0] + outside
        result: Float32Array = sampled.numpy()
        return result

    def truth(self, contour: Contour, grid: Grid) -> BoolArray:
        """A contour on a grid, bool ``[k, j, i]``."""
        corner = contour.corner
        i, j, k = ((low, low + n) for low, n in zip(corner, contour.array.shape[::-1]))
        part = Volume(grid.crop((i, j, k)), contour.array.astype(np.float32))
        inside: BoolArray = self.sampled(part, 0.0) > 0.5
        return inside


def magnified(patch: torch.Tensor, voxel: Float64Array, times: float) -> torch.Tensor:
    """A patch ``[channels, k, j, i]`` seen from nearer; beyond its border it goes on as at the border.

    Args:
        patch: float32.
        voxel: ``(k, j, i)``, the middle of the result.
        times: how many times longer everything is.
    """
    size = np.array(patch.shape[:0:-1])
    middle = torch.tensor((2 * np.asarray(voxel)[::-1] + 1) / size - 1, dtype=torch.float32)
    matrix = torch.cat([torch.eye(3) / times, middle[:, None]], dim=1)
    where = F.affine_grid(matrix[None], [1, *patch.shape], align_corners=False)
    return F.grid_sample(patch[None], where, padding_mode="border", align_corners=False)[0]


def _deformation(rng: np.random.Generator) -> Float64Array:
    matrix = np.eye(3)
    if rng.random() < ROTATED:
        angles = rng.uniform(-1, 1, 3) * ROTATION_DEGREES
        matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    if rng.random() < STRETCHED:
        matrix = matrix @ np.diag(np.exp(rng.uniform(-1, 1, 3) * np.log(STRETCH)))
    if rng.random() < TRANSPOSED:
        matrix = matrix @ np.eye(3)[[1, 0, 2]]
    return np.asarray(matrix @ np.diag(rng.choice([-1.0, 1.0], 3)))


def _elastic(shape: Shape, rng: np.random.Generator) -> torch.Tensor:
    points = [3, *(n // ELASTIC_SPACING + 2 for n in shape)]
    control = torch.tensor(rng.uniform(-1, 1, points) * rng.uniform(0, ELASTIC_VOXELS), dtype=torch.float32)
    return F.interpolate(control[None], size=shape, mode="trilinear", align_corners=True)[0].movedim(0, -1)


def object_scale(contour: Contour, case: TrainingCase, shape: Shape, rng: np.random.Generator) -> float:
    """A scale in mm at which an object is from 2.5 times as long as a patch to an eighth as long."""
    extent = np.multiply(contour.array.shape[::-1], case.grid.spacing)
    fits = float(np.max(extent / np.array(shape[::-1])))
    return limited(fits * float(np.exp(rng.uniform(np.log(0.4), np.log(3.5 if rng.random() < 0.75 else 8)))), case)


def limited(scale_mm: float, case: TrainingCase) -> float:
    """A scale no finer than half of the image's finest spacing, and at most 8 mm."""
    return float(np.clip(scale_mm, max(min(case.grid.spacing) / 2, 0.3), 8.0))
