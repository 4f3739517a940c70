"""Views of a case for a network that sees patches of cubic voxels at any scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from TumorSegLib.engines.clicks.patches import covering_box
from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.arrays import Float32Array, Float64Array
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.pyramid import Pyramid
from TumorSegLib.images.resample import resample
from TumorSegLib.images.roles import PET_WITHOUT_SUV, channel_family, family
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.models.spec import ModelSpec

# A single slice is taken to go on unchanged so far to either side.
ENDLESS_MM = 1e4
# Half a voxel but for rounding: points half a voxel apart always lie on the same side of each other.
HALF = 0.5 - 1e-6
# What exceeds a share of a percentile of a PET is tissue. Its median is about so many SUV: in 44 FDG PET 0.61, with a
# factor of 1.3 for a standard deviation.
TISSUE_SHARE, TISSUE_PERCENTILE, TISSUE_SUV, MOST_SAMPLES = 0.2, 80.0, 0.61, 1_000_000


@dataclass(frozen=True, eq=False)
class View:
    """What the network sees of a case.

    Attributes:
        grid: lattice of cubes along the axes of the user's grid; it may reach beyond the image.
        images: float32 ``[views, channels, k, j, i]``, one for each image of the family that has most.
        inner: half-open voxel box of the part of the lattice that lies in the image.
        goes_on: per axis ``(i, j, k)``, whether the image goes on before the view, and behind it.
    """

    grid: Grid
    images: Float32Array
    inner: Box
    goes_on: tuple[tuple[bool, bool], ...]


@dataclass(frozen=True, eq=False)
class ScaledImages:
    """Images of one case, prepared for views at any scale.

    Attributes:
        grid: of the first image.
        endless: the same grid, with axes along which it has one slice made so thick that this fills every view.
        images: role to image, as given.
        spec: the model they were prepared for.
        sources: per channel, the images that it can show.
    """

    grid: Grid
    endless: Grid
    images: Images
    spec: ModelSpec
    sources: Sequence[Sequence[_Source]]

    @property
    def finest_mm(self) -> float:
        """The shortest voxel edge of the first image, along axes that have several."""
        return min(edge for edge, n in zip(self.grid.spacing, self.grid.size) if n > 1 or self.grid.size == (1, 1, 1))

    @property
    def finest_view_mm(self) -> float:
        """Nothing is looked at from nearer: half the shortest edge, as far as the model can."""
        return max(self.finest_mm / 2, self.spec.any_image_input.scales_mm[0])

    def view(self, centre: Float64Array, scale_mm: float, prompt: Float64Array | None = None) -> View:
        """The view around a point.

        Args:
            centre: RAS mm, ``(3,)``; up to half a voxel of the view from its middle.
            scale_mm: edge of its voxels.
            prompt: RAS mm, ``(3,)``, which lies at the middle of a voxel: on the border of two, rounding would decide
                which of them was meant. The centre if None.
        """
        prompt = centre if prompt is None else prompt
        shape = self.spec.any_image_input.patch
        affine = np.eye(4)
        affine[:3, :3] = self.grid.direction * scale_mm
        from_centre = np.linalg.solve(affine[:3, :3], prompt - centre)
        affine[:3, 3] = prompt - affine[:3, :3] @ (np.array(shape[::-1]) // 2 + np.floor(from_centre + HALF))
        grid = Grid(shape, affine)
        views = max(len(sources) for sources in self.sources)
        images = np.zeros((views, len(self.sources), *shape), dtype=np.float32)
        for channel, sources in enumerate(self.sources):
            for number, source in enumerate(sources):
                images[number, channel] = source.sampled(grid, scale_mm)
            if sources:
                images[len(sources) :, channel] = images[len(sources) - 1, channel]
        return View(grid, images, *self._reach(grid))

    def _reach(self, grid: Grid) -> tuple[Box, tuple[tuple[bool, bool], ...]]:
        """The part of a lattice within the image, and per axis whether the image goes on on either side."""
        first = grid.to_ijk(self.endless.to_ras((-0.5, -0.5, -0.5)))
        last = grid.to_ijk(self.endless.to_ras(np.array(self.endless.size) - 0.5))
        inner, goes_on = [], []
        for low, high, size, slices_ in zip(first, last, grid.size, self.grid.size):
            start, end = int(np.clip(np.ceil(low), 0, size - 1)), int(np.clip(np.floor(high) + 1, 1, size))
            inner.append((start, max(end, start + 1)))
            goes_on.append((slices_ > 1 and low < -0.5, slices_ > 1 and high > size - 0.5))
        return (inner[0], inner[1], inner[2]), tuple(goes_on)


@dataclass(frozen=True, eq=False)
class _Source:
    """One image as one channel."""

    pyramid: Pyramid
    rule: Normalisation

    def sampled(self, grid: Grid, scale_mm: float) -> Float32Array:
        """Network input on a lattice, float32 ``[k, j, i]``."""
        volume = self.pyramid.level(scale_mm)
        box = covering_box(grid, volume.grid)
        if box is None or not grid.overlaps(volume.grid.crop(box)):
            return np.full(grid.shape, self.rule.fill, dtype=np.float32)
        part = Volume(volume.grid.crop(box), self.rule(volume.array[slices(box)]), volume.role)
        return np.asarray(resample(part, grid, outside=self.rule.fill).array, dtype=np.float32)


def prepare_views(images: Images, spec: ModelSpec) -> ScaledImages:
    """Prepares the images of a case for all views to come.

    Raises:
        GeometryError: an image does not overlap the first.
    """
    images = ImageSet.of(images)
    for role, volume in images.items():
        if not volume.grid.overlaps(images.grid):
            raise GeometryError(f"the {role} image ({volume.grid}) does not overlap the first ({images.grid})")
    rules: Mapping[str, Normalisation] = spec.any_image_input.normalisation
    shown = {role: _in_suv(volume) if role == PET_WITHOUT_SUV else volume for role, volume in images.items()}
    pyramids = {role: Pyramid(_thickened(volume)) for role, volume in shown.items()}
    sources = [
        [
            _Source(pyramids[role], rule.fitted(volume.array))
            for role, volume in shown.items()
            if channel_family(role) == family(channel)
        ]
        for channel, rule in rules.items()
    ]
    return ScaledImages(images.grid, endless(images.grid), images, spec, sources)


def endless(grid: Grid) -> Grid:
    """The grid with axes of one voxel so long that this fills every view."""
    affine = grid.affine.copy()
    for axis, n in enumerate(grid.size):
        if n == 1:
            affine[:3, axis] *= ENDLESS_MM / grid.spacing[axis]
    return Grid(grid.shape, affine)


def _in_suv(volume: Volume) -> Volume:
    """A PET in any unit, scaled so that its tissue takes up what tissue does in SUV."""
    sample = volume.array.reshape(-1)[:: max(1, volume.array.size // MOST_SAMPLES)]
    tissue = sample[sample > max(TISSUE_SHARE * float(np.percentile(sample, TISSUE_PERCENTILE)), 0.0)]
    if not tissue.size:
        return volume
    factor = np.float32(TISSUE_SUV / float(np.median(tissue)))
    return Volume(volume.grid, volume.array.astype(np.float32) * factor, volume.role, volume.notes)


def _thickened(volume: Volume) -> Volume:
    """The image with a single slice repeated, so that linear interpolation finds it all over a view."""
    if min(volume.grid.size) > 1:
        return volume
    array, affine = volume.array, endless(volume.grid).affine.copy()
    for axis, n in enumerate(volume.grid.size):
        if n == 1:
            array = np.repeat(array, 2, axis=2 - axis)
            affine[:3, 3] -= affine[:3, axis] / 2
    return Volume(Grid((array.shape[0], array.shape[1], array.shape[2]), affine), array, volume.role, volume.notes)
