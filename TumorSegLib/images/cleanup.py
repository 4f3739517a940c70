"""Cleaning masks: small connected regions, all but the largest, holes.

Two voxels are connected when they share a face, an edge or a corner (26 neighbours), so that a thin oblique strand
does not fall apart; a hole is background that cannot reach the border of the image through shared faces (6 neighbours),
its topological counterpart. Masks are never changed in place. All labels count as one foreground and stay as they are,
so a small necrotic core stays inside its tumour. Segments that overlap are filled one by one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, slices
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.volume import Mask

if TYPE_CHECKING:
    from TumorSegLib.geometry.grid import Box

_NEIGHBOURS_26 = 3  # connectivity in axis steps
# Summing voxel volumes must not lose a component that is exactly as large as the limit.
_ROUNDING_ML = 1e-9


def remove_small(mask: Mask, min_volume_ml: float) -> Mask:
    """The mask without the connected regions of its foreground that are smaller than ``min_volume_ml``.

    Args:
        mask: uint8 ``[k, j, i]``.
        min_volume_ml: smallest volume that stays; a region of exactly this volume stays.

    Raises:
        ArgumentError: the volume is negative or not finite.
    """
    if not (math.isfinite(min_volume_ml) and min_volume_ml >= 0):
        raise ArgumentError(f"min_volume_ml must be a finite volume of at least 0 ml, got {min_volume_ml}")
    box = mask.bounding_box() or EMPTY_BOX
    labels = mask.array[slices(box)]
    numbers = number_regions(labels != 0)
    keep = _sizes(numbers) * mask.grid.voxel_volume_ml >= min_volume_ml - _ROUNDING_ML
    keep[:1] = False  # the background
    return _with_crop(mask, np.where(keep[numbers], labels, 0), box)


def largest_component(mask: Mask) -> Mask:
    """The mask with only the largest connected region of its foreground; an empty mask stays empty.

    Of several regions of the same size, the one that comes first in ``[k, j, i]`` order stays.
    """
    box = mask.bounding_box() or EMPTY_BOX
    labels = mask.array[slices(box)]
    numbers = number_regions(labels != 0)
    counts = _sizes(numbers)
    counts[0] = 0  # the background
    return _with_crop(mask, np.where(numbers == counts.argmax(), labels, 0), box)


def fill_holes(mask: Mask) -> Mask:
    """The mask with every closed cavity filled; a filled voxel gets the label of the nearest foreground voxel in mm.

    A cavity that is open at the border of the image is not closed.
    """
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    box = mask.bounding_box() or EMPTY_BOX
    labels = mask.array[slices(box)]
    foreground = labels != 0
    holes = binary_fill_holes(foreground) & ~foreground
    if not holes.any():
        return mask
    spacing = mask.grid.spacing[::-1]
    nearest = distance_transform_edt(~foreground, spacing, return_distances=False, return_indices=True)
    return _with_crop(mask, np.where(holes, labels[tuple(nearest)], labels), box)


def tidied(segmentation: Segmentation, min_volume_ml: float = 0.0, fill: bool = False) -> Segmentation:
    """Segments without the small connected regions of all of them together, then without closed cavities.

    Args:
        segmentation: segments of one layer stay apart: a cavity gets the label of the nearest foreground. Of segments
            in several layers, which may overlap, each is filled by itself.
        min_volume_ml: see :func:`remove_small`.
        fill: whether to fill.

    Raises:
        ArgumentError: as :func:`remove_small`.
    """
    if min_volume_ml:
        kept = remove_small(segmentation.foreground, min_volume_ml).array
        segmentation = replace(segmentation, layers=tuple(layer * kept for layer in segmentation.layers))
    if not fill:
        return segmentation
    if len(segmentation.layers) == 1:
        filled = fill_holes(Mask(segmentation.grid, segmentation.layers[0]))
        return replace(segmentation, layers=(filled.array,))
    masks = ((segment, fill_holes(segmentation.mask_of(segment.name))) for segment in segmentation.segments)
    return replace(Segmentation.of_masks(masks), notes=segmentation.notes)


def _with_crop(mask: Mask, labels: UInt8Array, box: Box) -> Mask:
    """A copy of the mask with the labels of a box replaced."""
    array = mask.array.copy()
    array[slices(box)] = labels
    return Mask(mask.grid, array)


def _sizes(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Voxels of the background and of each region; slice by slice, as numpy copies what it counts as int64."""
    count = int(numbers.max(initial=0)) + 1
    sizes = np.zeros(max(count, 2), np.int64)
    for layer in numbers:
        sizes[:count] += np.bincount(layer.ravel(), minlength=count)
    return sizes


def number_regions(labels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Connected regions of equal value numbered from 1 in ``[k, j, i]`` order; 0 is background."""
    numbers = np.zeros(labels.shape, np.int32)
    if ((labels != 0) & (labels != labels.max(initial=0))).any():
        from skimage.measure import label as label_values

        numbers[...] = label_values(labels, background=0, connectivity=_NEIGHBOURS_26)
    else:  # half the time, and a quarter of the memory: scikit-image works on int64
        from scipy.ndimage import generate_binary_structure, label

        label(labels, generate_binary_structure(3, _NEIGHBOURS_26), output=numbers)
    return numbers
