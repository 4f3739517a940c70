"""A small image and small masks, for the tests of reading and writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume

REPOSITORY = Path(__file__).resolve().parents[3]
GRID = Grid.from_spacing(
    (5, 6, 7), (1.5, 2.0, 3.0), (10, -20, 30), Rotation.from_euler("z", 30, degrees=True).as_matrix()
)
#: Half a turn about the S axis.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
KINDS = ["uint8", "int16", "uint16", "int32", "float32", "float64"]


def volume(grid: Grid = GRID, kind: Any = "int16") -> Volume:
    values = np.random.default_rng(0).integers(0, 200, grid.shape)
    return Volume(grid, values.astype(kind), "mr_t1")


def mask(*labels: int) -> Mask:
    """A voxel row per label, on GRID."""
    array = np.zeros(GRID.shape, np.uint8)
    for n, label in enumerate(labels):
        array[n + 1, 2, 1:4] = label
    return Mask(GRID, array)


def image_from_array(array: npt.NDArray[Any], grid: Grid) -> sitk.Image:
    """An image (LPS) of SimpleITK of an array ``[k, j, i]`` on a grid (RAS): what other programs make of it."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin((RAS_TO_LPS @ grid.origin).tolist())
    image.SetDirection((RAS_TO_LPS @ grid.direction).ravel().tolist())
    return image
