"""Segments of a session from results with several labels, and from segmentations of files."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, full_box, origin, slices, translate, union, within
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.probability import EMPTY, TUMOUR, to_uint8
from TumorSegLib.images.volume import Mask
from TumorSegLib.protocols import Result
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.entries import Begun
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.parts import FAINT, check_grid, initial_part, part_from_result
from TumorSegLib.session.segments import Segments

FIRST_SEGMENT = "tumour"


def begun_with(initial: Mask | Segmentation | Result | None, grid: Grid, overlap: Overlap | str) -> Segments:
    """The segments that a session begins with: one, or of several labels one for each.

    Args:
        initial, overlap: see :class:`TumorSegLib.session.session.Session`.
        grid: of the session.

    Raises:
        GeometryError: the mask, segmentation or result lies on another grid.
        ArgumentError: the segmentation has no segment; there is no such overlap policy.
    """
    parts, overlapping = {FIRST_SEGMENT: (EMPTY_BOX, EMPTY)}, False
    if isinstance(initial, Result):
        check_grid(initial.mask, grid)
        several, overlapping = len(initial.labels) > 1, are_regions(initial)
        parts = label_parts(initial) if several else {FIRST_SEGMENT: _cut(part_from_result(initial)[1])}
    elif isinstance(initial, Segmentation):
        if not initial.segments:
            raise ArgumentError("the segmentation to begin with has no segment")
        parts = {name: initial_part(initial.mask_of(name), grid) for name in initial.names}
        overlapping = initial.overlapping_voxels > 0
    elif initial is not None:
        parts = {FIRST_SEGMENT: initial_part(initial, grid)}
    segments = Segments(grid, overlap)
    for name, part in parts.items():
        segments.add(name, *part)
    if overlapping:
        segments.overlap = Overlap.ALLOW
    return segments


def are_regions(result: Result) -> bool:
    """Whether labels of a result may overlap."""
    return any(answer.region for answer in result.labels.values())


def label_parts(result: Result) -> Begun:
    """By label its half-open voxel box and its probability there, uint8 ``[k, j, i]``, tumour where the result has it.

    The most probable of several labels may be less probable than one half; it is tumour all the same.
    """
    return {name: label_part(result, name) for name in result.labels}


def label_part(result: Result, name: str) -> tuple[Box, UInt8Array]:
    """As :func:`label_parts`, of one label; raises :class:`ArgumentError` for one that is not there."""
    mask = result.mask_of(name)
    answer = result.labels[name]
    boxes = [each for each in (answer.box, mask.bounding_box()) if each not in (None, EMPTY_BOX)]
    box = union(boxes or [EMPTY_BOX])
    values = np.zeros(tuple(high - low for low, high in reversed(box)), np.uint8)
    if answer.probability.size:
        at = slices(within(answer.box, box))
        values[at] = to_uint8(np.asarray(answer.probability, np.float32))
    values[values < FAINT] = 0
    inside = mask.array[slices(box)] > 0
    values = np.where(inside, np.maximum(values, TUMOUR), np.minimum(values, TUMOUR - 1)).astype(np.uint8)
    inner, cut = _cut(values)
    return (translate(inner, origin(box)) if cut.size else EMPTY_BOX), cut


def whole_part(result: Result, name: str) -> tuple[Box, UInt8Array]:
    """As :func:`label_part`, with the box of the whole grid."""
    box, part = label_part(result, name)
    values = np.zeros(result.mask.grid.shape, np.uint8)
    values[slices(box)] = part
    return full_box(values.shape), values


def _cut(values: UInt8Array) -> tuple[Box, UInt8Array]:
    """The box of what is not 0, and a copy of the values in it."""
    box = bounding_box(values) or EMPTY_BOX
    return box, values[slices(box)].copy()


def check_labels(segments: Segments, labels: Iterable[str], replace: bool) -> None:
    """Raises :class:`ArgumentError` where labels have the names of segments that hold something."""
    taken = [
        name for name in labels if name in segments.names and (segments.voxels(name) or len(segments.prompts(name)))
    ]
    if taken and not replace:
        raise ArgumentError(
            f"the session's segment {', '.join(map(repr, taken))} is not empty, and the model has a label of this "
            "name; segment(replace=True) replaces it, which can be undone"
        )


def commit_labels(segments: Segments, result: Result) -> Edit:
    """Writes each label of a result into the segment of its name, which is added where it is missing, as one step.

    A first segment that was never used goes: it only stood for one to come. Raises as :meth:`Segments.commit`.
    """
    parts = label_parts(result)
    unused = segments.names == (FIRST_SEGMENT,) and not len(segments.history) and not segments.voxels(FIRST_SEGMENT)
    if unused:
        segments.discard(FIRST_SEGMENT)
    added = [name for name in parts if name not in segments.names]
    for name in added:
        segments.add(name)
    try:
        edit = segments.commit_labels(parts, result.info)
    except Exception:
        for name in added:
            segments.discard(name)
        if unused:
            segments.add(FIRST_SEGMENT)
        raise
    if are_regions(result):
        segments.overlap = Overlap.ALLOW
    return edit
