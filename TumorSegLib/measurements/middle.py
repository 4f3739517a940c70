"""A point in the middle of a tumour, which lies inside it, unlike the centroid of a bent one."""

from __future__ import annotations

import numpy as np

from TumorSegLib.geometry.boxes import origin, slices
from TumorSegLib.images.volume import Mask
from TumorSegLib.measurements.diameters import RasPoint, axial_axis


def middle_of(mask: Mask) -> RasPoint | None:
    """The voxel deepest inside the axial section with most foreground; None for an empty mask.

    Args:
        mask: uint8 ``[k, j, i]``; every label other than 0 is foreground. Sections are those of
            :func:`TumorSegLib.measurements.diameters.axial_diameters`.

    Returns:
        RAS mm of the centre of the voxel: of several sections as large the middle one, of several voxels as deep
        the one nearest to the centroid of the section in mm.
    """
    from scipy.ndimage import distance_transform_edt

    box = mask.bounding_box()
    if box is None:
        return None
    foreground, axis = mask.array[slices(box)] != 0, 2 - axial_axis(mask.grid)
    counts = foreground.sum(axis=tuple(each for each in range(3) if each != axis))
    ties = np.flatnonzero(counts == counts.max())
    largest = int(ties[len(ties) // 2])
    section = np.pad(foreground.take(largest, axis), 1)  # what lies beyond the box is background
    spacing = np.delete(np.array(mask.grid.spacing[::-1]), axis)
    depth = distance_transform_edt(section, spacing)
    deepest, centroid = np.argwhere(depth == depth.max()), np.argwhere(section).mean(axis=0)
    place = deepest[(((deepest - centroid) * spacing) ** 2).sum(axis=1).argmin()]
    kji = np.insert(place - 1, axis, largest)
    r, a, s = mask.grid.to_ras(kji[::-1] + np.array(origin(box)))
    return float(r), float(a), float(s)
