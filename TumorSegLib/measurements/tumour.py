"""What is reported of a tumour: volume, diameters, uptake of FDG, values in other images.

All labels of a mask are measured together; ``tumorseg measure`` takes one label after the other. Volumes and diameters
are those of the mask on its own grid, values in images those of :mod:`TumorSegLib.measurements.uptake`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from TumorSegLib.errors import GeometryError
from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.geometry.boxes import origin, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.measurements.diameters import AxialDiameters, Line, RasPoint, axial_diameters, maximum_diameter
from TumorSegLib.measurements.uptake import Intensities, Uptake, intensities_of, sample_image, uptake_of


@dataclass(frozen=True)
class Measurements:
    """Measurements of all foreground of a mask; what an empty mask does not have is None.

    Attributes:
        volume_ml: volume of its voxels.
        voxels: their number.
        lesions: number of connected regions (26 neighbours).
        centroid_ras: mean of the voxel centres, RAS mm; may lie outside a bent tumour.
        box: smallest half-open voxel box ``((i0, i1), (j0, j1), (k0, k1))`` that holds it.
        axial: longest axial diameter and its perpendicular (RECIST 1.1, WHO). Of several lesions that of the largest
            one: RECIST adds up lesions that are measured one by one.
        maximum_diameter: the longest diameter of any one lesion in 3D.
        pet: uptake, where an image of role ``pet`` was given.
        intensities: role to values, for every other image.
    """

    volume_ml: float
    voxels: int
    lesions: int
    centroid_ras: RasPoint | None
    box: Box | None
    axial: AxialDiameters | None
    maximum_diameter: Line | None
    pet: Uptake | None = None
    intensities: Mapping[str, Intensities] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Name to value, ready for JSON: units in the names, points in RAS mm, lists in place of tuples."""
        values = asdict(self)
        if self.axial is not None:
            values["axial"]["product_mm2"] = self.axial.product_mm2
        plain: dict[str, Any] = _plain(values)
        return plain


def measure(mask: Mask, images: Images | None = None) -> Measurements:
    """Measures a tumour, and images in it.

    Args:
        mask: uint8 ``[k, j, i]``, on a grid of any spacing and direction; every label other than 0 is foreground, and
            all labels are measured together. It may be empty.
        images: role to image, each on any grid; ``pet`` is taken to be in SUV (g/ml).

    Raises:
        GeometryError: the grid of an image does not overlap that of the mask.
    """
    for role, volume in (images or {}).items():
        if not volume.grid.overlaps(mask.grid):
            raise GeometryError(
                f"the {role} image ({volume.grid}) does not overlap the mask ({mask.grid}); they must show one region"
            )
    samples = {role: sample_image(mask, volume) for role, volume in (images or {}).items()}
    box = mask.bounding_box()
    foreground = mask.array[slices(box)] != 0 if box else np.zeros((1, 1, 1), bool)
    return Measurements(
        volume_ml=mask.volume_ml,
        voxels=int(np.count_nonzero(foreground)),
        lesions=int(ndimage.label(foreground, np.ones((3, 3, 3)))[1]),
        centroid_ras=_centroid(foreground, box, mask.grid) if box else None,
        box=box,
        axial=axial_diameters(mask),
        maximum_diameter=maximum_diameter(mask),
        pet=uptake_of(samples["pet"], mask.volume_ml) if "pet" in samples else None,
        intensities={role: intensities_of(sample) for role, sample in samples.items() if role != "pet"},
    )


def _centroid(foreground: BoolArray, box: Box, grid: Grid) -> RasPoint:
    """RAS mm of the mean voxel centre of the foreground in a box."""
    sums = [foreground.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in (2, 1, 0)]
    ijk = [float(np.average(np.arange(len(counts)), weights=counts)) for counts in sums]
    r, a, s = grid.to_ras(np.add(ijk, origin(box)))
    return float(r), float(a), float(s)


def _plain(value: Any) -> Any:
    """Tuples as lists, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
