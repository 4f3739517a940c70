"""One picture that shows a result: slices of every modality with the tumour's outline, and the tumour in 3D.

The three columns are slices along the voxel axes, so no value is interpolated; on an oblique grid each is named after
the direction that its axis is closest to. Radiological convention: the patient's right on the left, front on the left.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from TumorSegLib.errors import GeometryError, WriteError
from TumorSegLib.files import replacing
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, full_box, intersection, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.render.panels import BACKGROUND, FloatImage, TurnedCase, draw_figure
from TumorSegLib.render.scene import RenderedSurface
from TumorSegLib.render.skin import skin_surface
from TumorSegLib.render.surface import surface_from_probability

MARGIN_MM = 60.0  # shown round the tumour


def write_preview(
    images: Images, mask: Mask | Segmentation, path: str | os.PathLike[str], probability: Volume | None = None
) -> None:
    """Writes a PNG with one row of slices per modality, the mask's outline in each, and the tumour's surface.

    Slices go through the largest cross-section of the mask, cropped to it and a margin of 6 cm. All panels have one
    scale. An empty mask gives slices through the middle of the image and the words "nothing marked". Where OpenGL
    cannot draw, the 3D panel says so.

    Args:
        images: role to image, all on the mask's grid; shown in this order. ``ct`` in HU is shown from -160 to 240,
            ``pet`` in SUV inverted from 0 to 5 or what the tumour reaches, others from their 1st to 99.5th percentile.
        mask: uint8 ``[k, j, i]``, or segments, which may overlap; each has its outline, surface, name and colour.
        path: ``.png``; an existing file is replaced in one step.
        probability: of a single-label mask, float ``[k, j, i]``; makes the outline smoother, where it agrees with the
            mask.

    Raises:
        ArgumentError: no image.
        RoleError: an image was read for another role than it is given as.
        GeometryError: an image or the probability lies on another grid than the mask.
        WriteError: another suffix than ``.png``, or the file cannot be written.
    """
    if Path(path).suffix.lower() != ".png":
        raise WriteError(f"{path}: a preview is written as .png, not '{Path(path).suffix}'")
    images = ImageSet.of(images)
    for name, volume in [*images.items(), *([("probability", probability)] if probability else [])]:
        if volume.grid != mask.grid:
            difference = mask.grid.difference(volume.grid)
            raise GeometryError(f"{name} is not on the mask's grid ({mask.grid}): {difference}; resample one of them")
    figure = draw_preview(images, mask, probability)
    picture = io.BytesIO()  # the file is written here, by any name, and not by Matplotlib
    figure.savefig(picture, format="png", facecolor=BACKGROUND)
    with replacing(path) as temporary:
        temporary.write_bytes(picture.getvalue())


def draw_preview(images: Images, mask: Mask | Segmentation, probability: Volume | None = None) -> Figure:
    """The picture of :func:`write_preview` as a Matplotlib figure: a row of axes per image, and last the 3D view."""
    segments = mask if isinstance(mask, Segmentation) else Segmentation.of_labels(mask)
    fields, grid, box = outline_fields(segments, probability)
    case = turned_case(images, fields, grid, box)
    return draw_figure(case, segments, _surfaces(fields, segments, grid, images.get("ct")))


def outline_fields(segments: Segmentation, probability: Volume | None) -> tuple[dict[str, FloatImage], Grid, Box]:
    """For each segment a field ``[k, j, i]`` above 0.5 exactly inside it, on the shown box; its grid; the box."""
    box = shown_box(segments.foreground)
    masks = {name: segments.mask_of(name).array[slices(box)] > 0 for name in segments.names}
    present = {name: inside for name, inside in masks.items() if inside.any()}
    fields = {}
    for name, inside in present.items():
        if probability is not None and len(present) == 1:
            smooth = probability.array[slices(box)].astype(np.float32)
        else:
            smooth = gaussian_filter(inside.astype(np.float32), 0.8)
        fields[name] = np.where(inside, np.maximum(smooth, 0.52), np.minimum(smooth, 0.48))
    return fields, segments.grid.crop(box), box


def shown_box(mask: Mask) -> Box:
    """The mask with its margin, equally long along all axes where the image allows; all of it for an empty mask."""
    found = mask.bounding_box()
    if found is None:
        return full_box(mask.grid.shape)
    length_mm = max((high - low) * s for (low, high), s in zip(found, mask.grid.spacing)) + 2 * MARGIN_MM
    ranges = []
    for (low, high), s, size in zip(found, mask.grid.spacing, mask.grid.size):
        count = min(math.ceil(length_mm / s), size)
        start = min(max((low + high - count) // 2, 0), size - count)
        ranges.append((start, start + count))
    return ranges[0], ranges[1], ranges[2]


def turned_case(images: Images, fields: Mapping[str, FloatImage], grid: Grid, box: Box) -> TurnedCase:
    """Turns everything by whole axes to [S to I, A to P, R to L], without copying."""
    # Row: world axis R, A, S; column: voxel axis i, j, k.
    along = np.abs(grid.direction)
    i_like = max(permutations(range(3)), key=lambda order: sum(along[world, order[world]] for world in range(3)))
    voxel_axes = i_like[::-1]  # of S, A, R
    flips = tuple(n for n, axis in enumerate(voxel_axes) if grid.direction[2 - n, axis] > 0)

    def turned(array: npt.NDArray[Any]) -> FloatImage:
        return np.asarray(np.flip(array.transpose([2 - axis for axis in voxel_axes]), flips))

    spacing = [grid.spacing[axis] for axis in voxel_axes]
    turned_fields = {name: turned(field) for name, field in fields.items()}
    inside = np.zeros(turned(np.empty(grid.shape, bool)).shape, bool)
    for field in turned_fields.values():
        inside |= field > 0.5
    areas = [inside.sum(axis=tuple(a for a in range(3) if a != n)) for n in range(3)]
    centre = [int(area.argmax()) if area.any() else len(area) // 2 for area in areas]
    return TurnedCase(
        images={role: turned(volume.array[slices(box)]) for role, volume in images.items()},
        fields=turned_fields,
        inside=inside,
        spacing=(spacing[0], spacing[1], spacing[2]),
        centre=(centre[0], centre[1], centre[2]),
    )


def _surfaces(
    fields: Mapping[str, FloatImage], segments: Segmentation, grid: Grid, ct: Volume | None
) -> list[RenderedSurface]:
    """The surface of each segment, see-through where another one may lie in it, and of a CT the skin."""
    boxes = {name: bounding_box(field > 0.5) or EMPTY_BOX for name, field in fields.items()}
    surfaces = []
    for name, field in fields.items():
        others = [box for other, box in boxes.items() if other != name]
        glass = any(intersection(box, boxes[name]) == box and box != boxes[name] for box in others)
        surface = surface_from_probability(Volume(grid, field, "probability"))
        surfaces.append(RenderedSurface(surface, segments.segment(name).colour, glass))
    skin = None if ct is None else skin_surface(ct, grid.to_ras((np.asarray(grid.size) - 1) / 2))
    return surfaces if skin is None else [*surfaces, skin]
