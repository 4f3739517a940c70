"""The channels that show prompts to a network that sees a patch of any scale; for training and inference alike.

Such a network knows no millimetres: lengths are voxels of the patch, whose voxels are cubes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from TumorSegLib.geometry.arrays import Float32Array, Float64Array, IntArray
from TumorSegLib.prompts.encoding import PointPrompt, Shape, guidance_maps

#: Channels after those of the images: the probability so far, maps of distance from positive and from negative points,
#: the inside of boxes, the map of distance from diameters, and what looks like positive and like negative points.
PROMPT_CHANNELS = ("previous", "positive", "negative", "box", "line", "like positive", "like negative")
# A difference of this, in network units, makes a voxel 1/e like another: 35 HU, 0.35 deviations of an MR's tissue.
UNLIKE = 0.35
# Maps fall to 1/e within 10 mm of a lattice of this spacing: within 3.3 voxels.
VOXEL_MM = (3.0, 3.0, 3.0)
REACH_VOXELS = 10.0 / 3.0


@dataclass(frozen=True, eq=False)
class PatchPrompts:
    """The prompts of one patch, in its voxels ``(i, j, k)``; they may lie outside it.

    Attributes:
        points: clicks, scribbles and lassos.
        boxes: float64 ``[2, 3]`` each, centres of the first and of the last voxel inside.
        lines: float64 ``[2, 3]`` each, the ends of a diameter of the object.
    """

    points: Sequence[PointPrompt] = ()
    boxes: Sequence[Float64Array] = ()
    lines: Sequence[Float64Array] = ()


def prompt_channels(images: Float32Array, previous: Float32Array, prompts: PatchPrompts) -> Float32Array:
    """The channels ``PROMPT_CHANNELS`` of one patch.

    Args:
        images: network input ``[channels, k, j, i]``, float32; channels that are the same all over are not given.
        previous: the probability so far, float32 ``[k, j, i]`` from 0 to 1.
        prompts: all so far.

    Returns:
        float32 ``[7, k, j, i]``, each from 0 to 1.
    """
    k, j, i = previous.shape
    shape = (k, j, i)
    channels = np.zeros((len(PROMPT_CHANNELS), *shape), dtype=np.float32)
    channels[0] = previous
    channels[1:3] = guidance_maps(prompts.points, shape, VOXEL_MM)
    for low, high in prompts.boxes:
        channels[3][_inside(low, high, shape)] = 1
    for start, end in prompts.lines:
        np.maximum(channels[4], segment_map(start, end, shape), out=channels[4])
    given = [image for image in images if np.ptp(image[::2, ::2, ::2]) > 0]
    for prompt in [*prompts.points, *map(_middle_of_line, prompts.lines)]:
        channel = channels[5 if prompt.positive else 6]
        np.maximum(channel, likeness(given, prompt.points, shape), out=channel)
    return channels


def likeness(images: Sequence[Float32Array], points: Float64Array, shape: Shape) -> Float32Array:
    """How much every voxel looks like those at points, float32 ``[k, j, i]``: 1 where alike, 1/e at 35 HU.

    A network would else have to carry what is seen at a click over the whole patch, which takes long to learn.

    Args:
        images: network input of each image that is given, ``[k, j, i]``.
        points: ``[n, 3]`` as ``(i, j, k)``; those outside the patch do not count.
        shape: ``(k, j, i)``.
    """
    voxels = np.floor(points + 0.5).astype(int)[:, ::-1]
    voxels = voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
    if not len(voxels) or not images:
        return np.zeros(shape, dtype=np.float32)
    difference = np.zeros(shape, dtype=np.float32)
    for image in images:
        seen = image[tuple(voxels.T)] if len(voxels) > 1 else image[_around(voxels[0], shape)]
        difference += np.maximum(np.abs(image - np.float32(seen.mean())) - np.float32(seen.std()), 0)
    result: Float32Array = np.exp(difference / np.float32(-UNLIKE * len(images)))
    return result


def _around(voxel: IntArray, shape: Shape) -> tuple[slice, ...]:
    """A voxel ``(k, j, i)`` with its neighbours, whose mean has less noise."""
    return tuple(slice(max(int(at) - 1, 0), min(int(at) + 2, n)) for at, n in zip(voxel, shape))


def _middle_of_line(ends: Float64Array) -> PointPrompt:
    """The middle half of a diameter, which lies in the object even where its ends do not."""
    start, end = ends
    steps = np.linspace(0.25, 0.75, max(int(np.abs(end - start).max() / 2), 1) + 1)[:, None]
    return PointPrompt(start + steps * (end - start), True)


def segment_map(start: Float64Array, end: Float64Array, shape: Shape) -> Float32Array:
    """``exp(-distance / 3.3 voxels)`` to the closest point of a segment, float32 ``[k, j, i]``.

    Args:
        start, end: ``(i, j, k)`` in voxels.
        shape: ``(k, j, i)``.
    """
    k, j, i = (np.arange(n, dtype=np.float32) for n in shape)
    offset = [
        i[None, None, :] - np.float32(start[0]),
        j[None, :, None] - np.float32(start[1]),
        k[:, None, None] - np.float32(start[2]),
    ]
    way = (np.asarray(end) - start).astype(np.float32)
    length = max(float(way @ way), 1e-6)
    along = np.clip(sum(o * w for o, w in zip(offset, way)) / np.float32(length), 0, 1)
    squared = sum((o - along * w) ** 2 for o, w in zip(offset, way))
    result: Float32Array = np.exp(-np.sqrt(squared) / np.float32(REACH_VOXELS)).astype(np.float32)
    return result


def _inside(low: Float64Array, high: Float64Array, shape: Shape) -> tuple[slice, ...]:
    """The voxels nearest to what lies between two centres, as slices ``(k, j, i)``."""
    first = np.maximum(np.floor(np.asarray(low) + 0.5).astype(int), 0)
    end = np.minimum(np.floor(np.asarray(high) + 0.5).astype(int) + 1, shape[::-1])
    return tuple(slice(int(a), max(int(b), int(a))) for a, b in zip(first[::-1], end[::-1]))
