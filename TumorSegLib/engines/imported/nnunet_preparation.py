"""From the images of a case to the input of a network of nnU-Net: turned, cropped, normalised and resampled, in this
order, as ``DefaultPreprocessor`` of nnU-Net v2 does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes

from TumorSegLib.engines.imported.case import PreparedCase, Turn
from TumorSegLib.engines.imported.nnunet_resampling import (
    LogitResampling,
    Shape,
    new_shape,
    resample_image,
    separate_axis,
)
from TumorSegLib.engines.inputs import check_roles
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.geometry.boxes import bounding_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.resample import resample
from TumorSegLib.images.volume import Images
from TumorSegLib.models.nnunet import NnunetChannel, NnunetInput
from TumorSegLib.models.spec import ModelSpec

# In place of a deviation of zero.
SMALLEST_DEVIATION = 1e-8


def turn_of(grid: Grid, taken: NnunetInput) -> Turn:
    """The turn for an image on a grid."""
    if not taken.reorient:
        return Turn(taken.transpose)
    return Turn.towards(grid, "".join("SAR"[axis] for axis in taken.transpose))


def prepare(images: Images, spec: ModelSpec) -> PreparedCase:
    """The input of a network for the images of a case.

    Raises:
        RoleError: the images are not what the model takes.
        GeometryError: an image does not overlap the first.
        ArgumentError: an image for the scheme ``rgb`` has values outside 0 to 255.
    """
    check_roles(images, spec)
    images, taken = ImageSet.of(images), spec.nnunet_input
    turn = turn_of(images.grid, taken)
    arrays = [turn(resample(images[role], images.grid).array) for role in taken.roles]
    shown = _shown(arrays)
    crop = _crop(shown)
    at = tuple(slice(low, high) for low, high in crop)
    inside = binary_fill_holes(shown)[at] if any(each.masked for each in taken.channels.values()) else shown[at]
    spacing = [images.grid.spacing[::-1][axis] for axis in turn.order]
    target = [*spacing[: 3 - len(taken.spacing_mm)], *taken.spacing_mm]
    cropped: Shape = (inside.shape[0], inside.shape[1], inside.shape[2])
    lattice = new_shape(cropped, spacing, target)
    axis = separate_axis(spacing, target, taken.image_resampling)
    result = np.empty((len(arrays), *lattice), dtype=np.float32)
    for number, channel in enumerate(taken.channels.values()):
        normalised = normalise(arrays[number][at].astype(np.float32), inside, channel)
        result[number] = resample_image(normalised, lattice, taken.image_resampling, axis)
    back = separate_axis(target, spacing, taken.logits_resampling)
    restoring = LogitResampling.of(lattice, cropped, taken.logits_resampling, back)
    return PreparedCase(result, images.grid, turn, crop, restoring, tuple(target), images.on_other_grids)


def _shown(arrays: Sequence[npt.NDArray[np.generic]]) -> BoolArray:
    """Where any channel is not zero."""
    shown: BoolArray = arrays[0] != 0
    for array in arrays[1:]:
        shown |= array != 0
    return shown


def _crop(shown: BoolArray) -> tuple[tuple[int, int], ...]:
    """Ranges along the axes that hold all that is shown; all of an image where nothing is."""
    box = bounding_box(shown)
    return tuple((0, n) for n in shown.shape) if box is None else tuple(reversed(box))


def normalise(image: Float32Array, inside: BoolArray, channel: NnunetChannel) -> Float32Array:
    """Raw values to network input, float32; the array given is overwritten.

    Args:
        image: the cropped image.
        inside: what is not zero in any channel, without holes.
        channel: how.
    """
    if channel.scheme == "ct":
        np.clip(image, channel.low, channel.high, out=image)
        image -= np.float32(channel.mean)
        image /= np.float32(max(channel.std, SMALLEST_DEVIATION))
    elif channel.scheme == "zscore":
        at = inside if channel.masked and inside.any() else np.ones_like(inside)
        values = image[at]
        image[at] = (values - values.mean()) / max(values.std(), np.float32(SMALLEST_DEVIATION))
    elif channel.scheme == "rescale":
        image -= image.min()
        image /= max(image.max(), np.float32(SMALLEST_DEVIATION))
    elif channel.scheme == "rgb":
        if not (image.min() >= 0 and image.max() <= 255):
            raise ArgumentError(
                f"channel {channel.name!r} needs values from 0 to 255, got {image.min()} to {image.max()}"
            )
        image /= np.float32(255)
    return image
