"""Patches for a refinement network: cut from the images at several spacings, and pasted back.

A patch is a small lattice along the axes of the user's grid, at a multiple (the scale) of the model's spacing. The
images are brought to the model's spacing and to twice that once; detail finer than that is read from the images when
asked for. Probabilities are uint8 on the user's grid, 255 for 1; a voxel is tumour from 128 on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TumorSegLib.engines.inputs import Channels, prepare
from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array, IntArray, UInt8Array
from TumorSegLib.geometry.boxes import bounding_box, grown, slices, translate, within
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.probability import CERTAIN, nearest_steps, to_float
from TumorSegLib.images.resample import average_blocks, resample, resample_probability
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.encoding import PointPrompt, Shape, guidance_maps
from TumorSegLib.prompts.types import Prompts

#: Multiples of the model's spacing: fine detail, the model's own, and a view of large tumours.
FINE, OWN, COARSE = 0.5, 1.0, 2.0
# Changes this near to a patch's border, in voxels, may go on beyond it; smaller changes of the probability are noise.
MARGIN, REAL_CHANGE = 2, 0.1
# Changes of the probability below this are noise; not writing them keeps edits small.
WRITTEN_CHANGE = 0.02
# A part of a patch must not reach a voxel farther than the patch by rounding; in voxels.
ROUNDING = 1e-6
# Where the probability changes by this much or more nothing is left of detail that the patch could not show.
FULL_CHANGE = 0.5


@dataclass(frozen=True, eq=False)
class Patch:
    """One window.

    Attributes:
        grid: its lattice, which may reach beyond the image.
        images: float32 ``[roles, k, j, i]``, network input.
        inner: half-open voxel box of the part of the lattice that lies in the image.
        goes_on: per axis ``(i, j, k)``, whether the image goes on before the patch, and behind it.
    """

    grid: Grid
    images: Float32Array
    inner: Box
    goes_on: tuple[tuple[bool, bool], ...]


@dataclass(frozen=True, eq=False)
class CaseImages:
    """Images of one case, prepared for patches at several scales.

    Attributes:
        grid: of the first image.
        images: role to image, as given.
        spec: the model they were prepared for.
        levels: by scale, network input of the whole image.
        rules: role to normalisation, fitted to the whole image.
    """

    grid: Grid
    images: Images
    spec: ModelSpec
    levels: Mapping[float, Channels]
    rules: Mapping[str, Normalisation]

    def patch(self, ras: Float64Array, scale: float) -> Patch:
        """The patch around a point.

        It is moved inwards where it would leave the image, and centred on it where the image is smaller.

        Args:
            ras: RAS mm, ``(3,)``, inside the image.
            scale: ``FINE``, ``OWN`` or ``COARSE``.
        """
        lattice = self.levels[scale].grid if scale in self.levels else self._lattice(scale)
        starts = patch_origin(lattice.to_ijk(ras), self.spec.volume_input.patch, lattice.shape)
        affine = lattice.affine.copy()
        affine[:3, 3] = lattice.to_ras(starts)
        grid = Grid(self.spec.volume_input.patch, affine)
        i, j, k = ((max(-start, 0), min(n - start, size)) for start, n, size in zip(starts, lattice.size, grid.size))
        level = self.levels.get(scale)
        images = self._sampled(grid) if level is None else _cut(level, starts, (i, j, k), grid.shape)
        goes_on = tuple((start > 0, start + n < size) for start, n, size in zip(starts, grid.size, lattice.size))
        return Patch(grid, images, (i, j, k), goes_on)

    def _lattice(self, scale: float) -> Grid:
        i, j, k = (edge * scale for edge in self.spec.volume_input.spacing_mm)
        return self.grid.with_spacing((i, j, k))

    def _sampled(self, grid: Grid) -> Float32Array:
        """Network input read from the images themselves, at a spacing finer than the model's."""
        images = np.zeros((len(self.spec.roles), *grid.shape), dtype=np.float32)
        for number, role in enumerate(self.spec.roles):
            if role not in self.images:
                continue
            rule, volume = self.rules[role], self.images[role]
            images[number] = rule.fill
            box = covering_box(grid, volume.grid)
            if box is None or not grid.overlaps(volume.grid.crop(box)):
                continue
            part = average_blocks(Volume(volume.grid.crop(box), volume.array[slices(box)], role), grid)
            images[number] = resample(Volume(part.grid, rule(part.array), role), grid, outside=rule.fill).array
        return images


def prepare_patches(images: Images, spec: ModelSpec) -> CaseImages:
    """Resamples and normalises the images once, for all patches to come.

    Raises:
        RoleError: the images are not what the model takes.
        GeometryError: an image does not overlap the first.
    """
    own = prepare(images, spec)
    images = ImageSet.of(images)
    rules = {role: spec.volume_input.normalisation[role] for role in images}
    for role in [role for role, rule in rules.items() if rule.method == "zscore"]:
        rules[role] = rules[role].fitted(average_blocks(images[role], own.grid).array)
    i, j, k = (COARSE * edge for edge in spec.volume_input.spacing_mm)
    coarse = prepare(images, spec.with_input(spacing_mm=(i, j, k)))
    return CaseImages(images.grid, images, spec, {OWN: own, COARSE: coarse}, rules)


def prompt_centre(points: Float64Array) -> Float64Array:
    """The point of a scribble ``[n, 3]`` nearest its middle, around which its patch lies; a click's own point."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    return np.asarray(points[np.linalg.norm(points - middle, axis=1).argmin()])


def patch_origin(centre: Float64Array, patch: Shape, lattice: Shape) -> list[int]:
    """First voxel ``(i, j, k)`` of the patch around a point of a lattice, for inference and training alike.

    The patch is moved inwards where it would leave the lattice, and centred on the lattice along axes that are shorter.

    Args:
        centre: ``(i, j, k)`` in voxels of the lattice.
        patch, lattice: shapes ``(k, j, i)``.
    """
    starts = []
    for at, size, n in zip(np.floor(centre + 0.5).astype(int).tolist(), patch[::-1], lattice[::-1]):
        starts.append(min(max(at - size // 2, 0), n - size) if n > size else -((size - n) // 2))
    return starts


def network_input(
    images: Float32Array,
    previous: Float32Array,
    prompts: Sequence[PointPrompt],
    spacing_mm: Sequence[float],
) -> Float32Array:
    """The channels of a refinement network for one patch, for inference and training alike.

    Args:
        images: float32 ``[roles, k, j, i]``, normalised.
        previous: the probability so far, float32 ``[k, j, i]`` from 0 to 1.
        prompts: all prompts so far, in voxels of the patch.
        spacing_mm: ``(i, j, k)`` of the patch.

    Returns:
        float32 ``[roles + 3, k, j, i]``: the images, and the channels of :data:`TumorSegLib.prompts.encoding.GUIDANCE`.
    """
    k, j, i = previous.shape
    return np.concatenate([images, previous[None], guidance_maps(prompts, (k, j, i), spacing_mm)])


def covering_box(part: Grid, grid: Grid) -> Box | None:
    """The voxels of ``grid`` that bear on any voxel of ``part`` by linear interpolation; None if there are none.

    Where blocks of voxels are averaged for ``part`` the box is of whole blocks, counted from the first voxel of
    ``grid`` as for the whole image: blocks half a patch voxel off would blur what is seen by as much.
    """
    corners = grid.to_ijk(part.corners_ras())
    low = np.maximum(np.floor(corners.min(axis=0) + ROUNDING).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0) - ROUNDING).astype(int) + 1, grid.size)
    if (low >= high).any():
        return None
    blocks = _blocks(part, grid)
    low, high = low // blocks * blocks, np.minimum(-(-high // blocks) * blocks, grid.size)
    i, j, k = ((int(first), int(end)) for first, end in zip(low, high))
    return i, j, k


def sample_probability(probability: UInt8Array, box: Box, grid: Grid, patch: Grid) -> Float32Array:
    """A probability on the lattice of a patch, float32 from 0 to 1.

    Args:
        probability: uint8 ``[k, j, i]`` of the part ``box`` of ``grid``; must hold the patch as far as the image goes.
        box: see ``probability``.
        grid: the user's grid.
        patch: lattice of the patch.
    """
    covering = covering_box(patch, grid)
    if covering is None:
        return np.zeros(patch.shape, dtype=np.float32)
    part = probability[slices(within(covering, box))]
    if not part.any():
        return np.zeros(patch.shape, dtype=np.float32)
    volume = _with_border(Volume(grid.crop(covering), to_float(part)), covering, grid, patch)
    sampled: Float32Array = np.clip(resample(volume, patch).array, 0, 1)
    return sampled


def add_change(probability: UInt8Array, box: Box, grid: Grid, change: Float32Array, patch: Grid) -> None:
    """Adds the change of a probability in a patch to the probability on the user's grid, in place.

    Adding the difference instead of pasting the answer leaves alone what the network agrees with: contours finer than
    its voxels stay as they were drawn. The more it changes, the less of such detail is kept; else crumbs of the old
    contour would stay behind where a voxel of the patch was mixed (0.2 less takes nothing away that was 1).

    Args:
        probability: uint8 ``[k, j, i]``, of the part ``box`` of ``grid``; must hold the patch as far as the image goes.
        box: see ``probability``.
        grid: the user's grid.
        change: float32 ``[k, j, i]`` from -1 to 1 on the patch.
        patch: lattice of the patch.
    """
    tight = bounding_box(np.abs(change) >= WRITTEN_CHANGE)
    if tight is None:
        return
    part = grown(tight, (1, 1, 1), patch.shape)
    source = patch.crop(part)
    covering = covering_box(source, grid)
    if covering is None:
        return
    target, view = grid.crop(covering), probability[slices(within(covering, box))]
    values = np.where(np.abs(change) < WRITTEN_CHANGE, 0, change)[slices(part)]
    added = resample_probability(np.ascontiguousarray(values, dtype=np.float32), source, target)
    coarse = resample_probability(sample_probability(probability, box, grid, source), source, target)
    faded = np.minimum(np.abs(added) / np.float32(FULL_CHANGE), 1)
    view[...] = nearest_steps(view + CERTAIN * added + faded * (CERTAIN * coarse - view))


def _blocks(patch: Grid, grid: Grid) -> IntArray:
    """How many voxels (i, j, k) of a grid are averaged for one of a patch along its axes; 1 where none are."""
    blocks: IntArray = np.maximum((np.divide(patch.spacing, grid.spacing) + 0.01).astype(int), 1)
    return blocks


def _with_border(part: Volume, box: Box, grid: Grid, patch: Grid) -> Volume:
    """A part of an image continued beyond the image's sides, by as much as a voxel of a patch may stand out there.

    By whole blocks, so that those that are averaged stay where :func:`covering_box` put them.
    """
    blocks = _blocks(patch, grid)
    reach = (
        np.ceil(np.max(patch.spacing) / np.asarray(grid.spacing) / blocks - ROUNDING).astype(int) * blocks
    ).tolist()
    sides = [(n * (low == 0), n * (high == size)) for n, (low, high), size in zip(reach, box, grid.size)]
    if not np.any(sides):
        return part
    affine = part.grid.affine.copy()
    affine[:3, 3] = part.grid.to_ras([-before for before, _ in sides])
    array = np.pad(part.array, sides[::-1], mode="edge")
    return Volume(Grid((array.shape[0], array.shape[1], array.shape[2]), affine), array)


def _cut(level: Channels, starts: Sequence[int], inner: Box, shape: tuple[int, int, int]) -> Float32Array:
    at = slices(translate(inner, starts))
    images = np.empty((len(level.array), *shape), dtype=np.float32)
    for channel, whole, fill in zip(images, level.array, level.fill):
        channel[...] = fill
        channel[slices(inner)] = whole[at]
    return images


def check_correction(probability: UInt8Array, prompts: Prompts, grid: Grid) -> None:
    """Checks what a click engine is given.

    Args:
        probability: of the segment.
        prompts: all in force.
        grid: of the first image.

    Raises:
        ArgumentError: there is no prompt, or the probability is not uint8.
        GeometryError: the probability has not the shape of the grid.
    """
    if not prompts.items:
        raise ArgumentError("a correction needs at least one prompt")
    if probability.dtype != np.uint8:
        raise ArgumentError(f"the probability is {probability.dtype}; uint8 is needed, 255 for 1")
    if probability.shape != grid.shape:
        raise GeometryError(f"the probability has shape {probability.shape}, the first image {grid.shape} (k, j, i)")


def reaches_border(changed: BoolArray, goes_on: Sequence[tuple[bool, bool]]) -> bool:
    """Whether a change reaches a side of its patch behind which the image goes on.

    Args:
        changed: bool ``[k, j, i]`` of the patch.
        goes_on: per axis ``(i, j, k)``, whether the image goes on before the patch, and behind it.
    """
    i, j, k = (
        slice(MARGIN if before else 0, size - MARGIN if behind else size)
        for (before, behind), size in zip(goes_on, changed.shape[::-1])
    )
    return bool(np.count_nonzero(changed) > np.count_nonzero(changed[k, j, i]))


def components(mask: BoolArray, points: Float64Array) -> BoolArray:
    """The connected parts of a mask (shared faces) that contain any of the points ``(i, j, k)``."""
    voxels = np.floor(points + 0.5).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < mask.shape[::-1])).all(axis=1)]
    seeds = [at for at in voxels.tolist() if mask[at[2], at[1], at[0]]]
    if not seeds:
        return np.zeros(mask.shape, dtype=bool)
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    flooded = sitk.ConnectedThreshold(image, seedList=seeds, lower=1, upper=1)
    connected: BoolArray = sitk.GetArrayFromImage(flooded).view(bool)
    return connected
