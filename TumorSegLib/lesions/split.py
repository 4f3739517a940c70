"""A mask split into lesions: the connected regions of its foreground.

Two voxels are connected when they share a face, an edge or a corner (26 neighbours), as in
:mod:`TumorSegLib.images.cleanup` and in measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import from_corners, origin, slices, translate
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.cleanup import number_regions
from TumorSegLib.images.volume import Mask

#: Regions of fewer voxels are specks, such as noise at the rim of a lesion, and no lesions of their own.
SMALLEST_VOXELS = 4
#: So many lesions at most; a mask of more is noise, or was made by a threshold.
MOST_LESIONS = 60


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion of a mask.

    Attributes:
        box: smallest half-open voxel box that holds it, on the mask's grid.
        array: uint8 0 or 1 ``[k, j, i]`` of the box.
    """

    box: Box
    array: UInt8Array


@dataclass(frozen=True, eq=False)
class Split:
    """What a mask was split into.

    Attributes:
        lesions: the lesions, the largest first; of two of one size the one that comes first in ``[k, j, i]`` order.
        left: regions that are no lesions of their own, since they are specks or more than were asked for.
    """

    lesions: tuple[Lesion, ...]
    left: int


def split_lesions(mask: Mask, smallest_voxels: int = SMALLEST_VOXELS, most: int = MOST_LESIONS) -> list[Mask]:
    """Splits a mask into its lesions: regions of voxels that share faces, edges or corners (26 neighbours).

    All labels but background count as one foreground. No voxel is lost: specks, and what is more than ``most`` lesions,
    stay with the largest lesion.

    Args:
        mask: uint8 ``[k, j, i]``; may be empty.
        smallest_voxels: regions of fewer voxels are specks; 1 for none.
        most: so many lesions at most, the largest ones; at least 1.

    Returns:
        One mask per lesion, uint8 0 or 1 on the same grid, the largest first, by number of voxels; none for an empty
        mask.

    Raises:
        ArgumentError: a number is smaller than 1.
    """
    lesions = find_lesions(mask, smallest_voxels, most).lesions
    return [
        Mask(mask.grid, _without(mask, lesions[1:]) if each is lesions[0] else _alone(mask, each)) for each in lesions
    ]


def find_lesions(mask: Mask, smallest_voxels: int = SMALLEST_VOXELS, most: int = MOST_LESIONS) -> Split:
    """As :func:`split_lesions`, each lesion in its box and without specks: a small part of a large image."""
    for name, number in (("smallest_voxels", smallest_voxels), ("most", most)):
        if number < 1:
            raise ArgumentError(f"{name} must be at least 1, got {number}")
    whole = mask.bounding_box()
    if whole is None:
        return Split((), 0)
    numbers = number_regions(mask.array[slices(whole)] != 0)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0  # the background
    order = np.argsort(-sizes, kind="stable")[: len(sizes) - 1]
    kept = [number for at, number in enumerate(order) if at < most and (at == 0 or sizes[number] >= smallest_voxels)]
    places = find_objects(numbers)
    lesions = []
    for number in kept:
        at = places[number - 1]
        box = from_corners(np.array([n.start for n in at[::-1]]), np.array([n.stop for n in at[::-1]]))
        lesions.append(Lesion(translate(box, origin(whole)), (numbers[at] == number).view(np.uint8)))
    return Split(tuple(lesions), len(order) - len(kept))


def _alone(mask: Mask, lesion: Lesion) -> UInt8Array:
    array = np.zeros(mask.grid.shape, np.uint8)
    array[slices(lesion.box)] = lesion.array
    return array


def _without(mask: Mask, lesions: tuple[Lesion, ...]) -> UInt8Array:
    """The foreground of a mask, 0 or 1, but for these lesions."""
    array: UInt8Array = (mask.array != 0).view(np.uint8)
    for each in lesions:
        array[slices(each.box)] &= 1 - each.array
    return array
