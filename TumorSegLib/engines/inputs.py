"""From images of a user to the channels of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import RoleError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.normalisation import Normalisation, mr_tissue_threshold
from TumorSegLib.images.resample import average_blocks, resample
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.models.spec import ModelSpec

# A CT or PET has tissue where it differs from "outside" by more than this, in network units: for CT a few HU above
# -160 (so lungs and air show nothing), for PET SUV 0.16 (above scatter in air).
LEAST_CONTRAST = {"linear": 0.05, "log1p": 0.15}
# An MR shows nothing outside its field of view, where it is 0 in network units, but for rounding.
OUTSIDE_MR = 1e-6


@dataclass(frozen=True, eq=False)
class Channels:
    """The input of a network.

    Attributes:
        grid: the lattice at the model's spacing.
        array: float32 ``[roles, k, j, i]``, 0 for a role that is missing.
        tissue: bool ``[k, j, i]``: where any channel has tissue: CT and PET see ``LEAST_CONTRAST``, MR where it exceeds
            the air around, see :func:`TumorSegLib.images.normalisation.mr_tissue_threshold`.
        fill: value of each channel outside the image.
        resampled: roles whose image lay on another grid than the first.
    """

    grid: Grid
    array: Float32Array
    tissue: BoolArray
    fill: tuple[float, ...]
    resampled: tuple[str, ...]


def check_roles(images: Images, spec: ModelSpec) -> None:
    """Raises :class:`RoleError` unless the images are channels the model takes, none of those it needs missing."""
    takes = ", ".join(f"{role} (optional)" if role in spec.optional else role for role in spec.roles)
    unknown = [role for role in images if role not in spec.roles]
    if unknown:
        raise RoleError(f"model {spec.name!r} does not take {', '.join(unknown)}; its roles are {takes}")
    missing = [role for role in spec.roles if role not in images and role not in spec.optional]
    if missing or not images:
        lacking = ", ".join(missing) or "any image"
        raise RoleError(f"model {spec.name!r} needs {lacking}; its roles are {takes}")
    ImageSet.of(images)  # checks that keys and roles agree


def network_grid(grid: Grid, spec: ModelSpec) -> Grid:
    """The lattice a network works on for an image: the image's own where its spacing is within 1 % of the model's."""
    ratio = np.asarray(grid.spacing) / spec.volume_input.spacing_mm
    return grid if np.abs(ratio - 1).max() < 0.01 else grid.with_spacing(spec.volume_input.spacing_mm)


def prepare(images: Images, spec: ModelSpec) -> Channels:
    """Brings the images to one lattice at the model's spacing, as network input.

    In this order: blocks of voxels averaged where the model's are at least twice as long, values normalised, linear
    interpolation. Training does the same.

    Raises:
        RoleError: see :func:`check_roles`.
        GeometryError: an image does not overlap the first.
    """
    check_roles(images, spec)
    images = ImageSet.of(images)
    grid = network_grid(images.grid, spec)
    array = np.zeros((len(spec.roles), *grid.shape), dtype=np.float32)
    tissue = np.zeros(grid.shape, dtype=bool)
    fill = []
    for number, role in enumerate(spec.roles):
        rule = spec.volume_input.normalisation[role]
        fill.append(rule.fill if role in images else 0.0)
        if role in images:
            averaged = average_blocks(images[role], grid)  # in HU or SUV, before any logarithm
            rule = rule.fitted(averaged.array)
            normalised = Volume(averaged.grid, rule(averaged.array), role)
            array[number] = resample(normalised, grid, outside=rule.fill).array
            tissue |= _tissue(array[number], averaged.array, rule)
    return Channels(grid, array, tissue, tuple(fill), images.on_other_grids)


def _tissue(channel: Float32Array, image: npt.NDArray[Any], rule: Normalisation) -> BoolArray:
    """Where a channel has tissue; ``image`` is what the rule was fitted to."""
    shown: BoolArray = np.abs(channel - np.float32(rule.fill)) > LEAST_CONTRAST.get(rule.method, OUTSIDE_MR)
    if rule.method == "fitted_zscore" and image.size and image.min() >= 0:  # else no MR, and 0 is not its darkest
        (least,) = rule(np.array([mr_tissue_threshold(np.clip(image, rule.low, rule.high, dtype=np.float32))]))
        shown &= channel > least
    return shown
