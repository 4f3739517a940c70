"""The surface of the body in a CT, for orientation beside a tumour."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter, generate_binary_structure

from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.cleanup import largest_component
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.render.scene import RenderedSurface
from TumorSegLib.render.surface import surface_from_probability, without_border_faces

SKIN_HU = -300.0
SKIN_VOXEL_MM = 4.0
SKIN_REACH_MM = 180.0  # of the body round the tumour's centre, so that a small tumour still shows

_SKIN_COLOUR = (0.78, 0.83, 0.9)


def skin_surface(ct: Volume, centre_ras: Float64Array) -> RenderedSurface | None:
    """The body's outline near a point, on a coarse grid; None where the CT shows no body."""
    step = [max(round(SKIN_VOXEL_MM / s), 1) for s in ct.grid.spacing]
    ranges = []
    for centre, s, size in zip(ct.grid.to_ijk(centre_ras), ct.grid.spacing, ct.grid.size):
        reach = SKIN_REACH_MM / s
        ranges.append((max(math.floor(centre - reach), 0), min(math.ceil(centre + reach) + 1, size)))
    box = (ranges[0], ranges[1], ranges[2])
    coarse = ct.array[slices(box)][:: step[2], :: step[1], :: step[0]]
    affine = ct.grid.crop(box).affine.copy()
    affine[:3, :3] *= step
    # Opening takes off the table, where it touches the body, and clothes; padded, since it must not wear down a body at
    # the border of the image.
    body = binary_opening(np.pad(coarse > SKIN_HU, 2, mode="edge"), iterations=2)[2:-2, 2:-2, 2:-2]
    mask = largest_component(Mask(Grid(coarse.shape, affine), body))
    # Lungs and bowel gas, which are closed in axial slices also where the image ends.
    in_plane = generate_binary_structure(3, 1)
    foot_to_head = 2 - int(np.abs(mask.grid.direction[2]).argmax())
    in_plane[tuple(slice(None, None, 2) if axis == foot_to_head else slice(None) for axis in range(3))] = False
    smooth = gaussian_filter(binary_fill_holes(mask.array, in_plane).astype(np.float32), 1.0)
    if smooth.max() <= 0.5:
        return None
    surface = surface_from_probability(Volume(mask.grid, smooth, "skin"))
    return RenderedSurface(without_border_faces(surface, mask.grid), _SKIN_COLOUR, glass=True)
