"""Named segments that may overlap; terminology and colours, the same in files, pictures and 3D Slicer."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX, slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask

#: "Neoplasm" of DICOM CID 7159 (SNOMED CT), without an anatomical region, in the notation of 3D Slicer's terminology
#: entries and in its DICOM master list. Not "Neoplasm, Primary": no model here distinguishes a primary tumour from a
#: metastasis, and Slicer's list and DICOM's current edition have different codes for it.
TUMOUR_TERMINOLOGY = (
    "Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
#: Colours that can be distinguished on grey images, red, green and blue from 0 to 1.
TUMOUR_COLOURS = (
    (0.90, 0.30, 0.24),
    (0.95, 0.77, 0.06),
    (0.20, 0.60, 0.86),
    (0.18, 0.80, 0.44),
    (0.61, 0.35, 0.71),
    (0.90, 0.49, 0.13),
)


#: Hues so far apart, as shares of the circle, meet again late (golden angle).
HUE_STEP = 0.381966


def label_colour(number: int) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1 of a label, or of the n-th segment, counted from 1; no colour comes twice."""
    if number <= len(TUMOUR_COLOURS):
        return TUMOUR_COLOURS[number - 1]
    return colorsys.hsv_to_rgb(number * HUE_STEP % 1, (0.85, 0.55)[number % 2], (0.95, 0.8, 0.65)[number % 3])


@dataclass(frozen=True)
class Segment:
    """What a :class:`Segmentation` says of one of its segments.

    Attributes:
        name: no other segment has it.
        label: its value in label maps, 1 to 255.
        own_colour: red, green and blue from 0 to 1; None for that of the label.
        named: whether the file or model gave the name; else it is "label 3".
        tags: what 3D Slicer keeps with it (terminology, status), as in the file; empty for what has none.
    """

    name: str
    label: int
    own_colour: tuple[float, float, float] | None = None
    named: bool = True
    tags: str = ""

    def __post_init__(self) -> None:
        if not self.name or not 1 <= self.label <= 255:
            raise ArgumentError(f"segment {self.name!r} needs a name, and a label from 1 to 255, got {self.label}")

    @property
    def colour(self) -> tuple[float, float, float]:
        """Red, green and blue from 0 to 1."""
        return self.own_colour or label_colour(self.label)

    @classmethod
    def unnamed(cls, label: int) -> Segment:
        """That of a label without a name."""
        return cls(f"label {label}", label, named=False)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Named segments on one grid. Those that overlap lie in different layers, so memory grows with what overlaps.

    Attributes:
        grid: of all segments.
        layers: uint8 ``[k, j, i]``, read-only, at least one.
        places: by segment, in the order of the file or model, its layer and its value there.
        notes: sentences about how it was read that its user must know; empty for most.

    Raises:
        GeometryError: a layer does not have the shape of the grid.
        ArgumentError: there is no layer, a place is none, or two segments have one name, label or place.
    """

    grid: Grid
    layers: tuple[UInt8Array, ...]
    places: Mapping[Segment, tuple[int, int]]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(Mask(self.grid, layer).array for layer in self.layers))
        for what in ([each.name for each in self.places], [each.label for each in self.places], self.places.values()):
            if len(set(what)) < len(self.places):
                raise ArgumentError(f"two segments have one name, label or place: {', '.join(map(str, what))}")
        for segment, (layer, value) in self.places.items():
            if not (0 <= layer < len(self.layers) and 1 <= value <= 255):
                raise ArgumentError(f"segment {segment.name!r} is value {value} of layer {layer}, which is none")
        if not self.layers:
            raise ArgumentError("a segmentation needs a layer")

    @classmethod
    def of_labels(cls, mask: Mask, segments: Iterable[Segment] = ()) -> Segmentation:
        """That of a label map; labels that no segment is given for have "label 3" and so on."""
        known = {segment.label: segment for segment in segments}
        found = present_labels(mask.array)
        every = [*known.values(), *(Segment.unnamed(label) for label in found if label not in known)]
        return cls(mask.grid, (mask.array,), {each: (0, each.label) for each in every}, mask.notes)

    @classmethod
    def of_masks(cls, masks: Iterable[tuple[Segment, Mask]]) -> Segmentation:
        """That of segments with a mask each, on one grid; what is not 0 is the segment. Layers are as few as possible.

        Raises:
            GeometryError: the masks lie on different grids.
            ArgumentError: there is no mask; see the class.
        """
        layers: list[UInt8Array] = []
        places: dict[Segment, tuple[int, int]] = {}
        grid = None
        for segment, mask in masks:
            grid = grid or mask.grid
            if mask.grid != grid:
                raise GeometryError(f"segment {segment.name!r} is on another grid: {grid.difference(mask.grid)}")
            at = slices(mask.bounding_box() or EMPTY_BOX)
            inside = mask.array[at] != 0
            free = (number for number, layer in enumerate(layers) if not (layer[at][inside]).any())
            number = next(free, len(layers))
            if number == len(layers):
                layers.append(np.zeros(grid.shape, np.uint8))
            layers[number][at][inside] = segment.label
            places[segment] = number, segment.label
        if grid is None:
            raise ArgumentError("a segmentation needs a segment")
        return cls(grid, tuple(layers), places)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """In the order of the file or model."""
        return tuple(self.places)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the segments, in their order."""
        return tuple(each.name for each in self.places)

    def segment(self, name: str) -> Segment:
        """The segment of a name, or of a label written as a number; raises :class:`ArgumentError` if there is none."""
        for segment in self.places:
            if segment.name == name:
                return segment
        for segment in self.places:
            if str(segment.label) == name:
                return segment
        raise ArgumentError(f"there is no label {name!r}; there are {', '.join(self.names) or 'none'}")

    def mask_of(self, name: str) -> Mask:
        """A segment, 0 or 1, whole where others overlap it; raises as :meth:`segment`."""
        return self.mask_of_segment(self.segment(name))

    def mask_of_segment(self, segment: Segment | None) -> Mask:
        """As :meth:`mask_of`; empty for no segment, or one that is not there."""
        layer, value = self.places.get(segment, (0, 0)) if segment else (0, 0)
        inside = self.layers[layer] == value if value else np.zeros(self.grid.shape, bool)
        return Mask(self.grid, inside.view(np.uint8))

    @property
    def foreground(self) -> Mask:
        """All segments together, 0 or 1."""
        inside = self.layers[0] != 0
        for layer in self.layers[1:]:
            inside |= layer != 0
        return Mask(self.grid, inside.view(np.uint8))

    @property
    def overlapping_voxels(self) -> int:
        """How many voxels are in more than one segment."""
        twice, once = np.zeros(self.grid.shape, bool), self.layers[0] != 0
        for layer in self.layers[1:]:
            twice |= once & (layer != 0)
            once |= layer != 0
        return int(np.count_nonzero(twice))

    def label_map(self) -> Mask:
        """One label per voxel; where segments overlap, the later one counts."""
        if all(place == (0, each.label) for each, place in self.places.items()) and len(self.layers) == 1:
            return Mask(self.grid, self.layers[0], self.notes)
        array = np.zeros(self.grid.shape, np.uint8)
        for segment, (layer, value) in self.places.items():
            array[self.layers[layer] == value] = segment.label
        return Mask(self.grid, array, self.notes)

    def with_notes(self, *notes: str) -> Segmentation:
        """A copy with more notes."""
        return replace(self, notes=(*self.notes, *notes))


def present_labels(array: UInt8Array) -> list[int]:
    """The labels of an array ``[k, j, i]``, ascending, without the background; in half the time of ``np.unique``."""
    there = np.zeros(256, bool)
    for layer in array:
        there |= np.bincount(layer.ravel(), minlength=256) > 0
    return [int(label) for label in np.flatnonzero(there) if label]


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names, with " (2)" and so on behind those that are taken; empty ones become "segment"."""
    used, found = set(taken), []
    for name in names:
        wanted, number = name or "segment", 1
        chosen = wanted
        while chosen in used:
            number += 1
            chosen = f"{wanted} ({number})"
        used.add(chosen)
        found.append(chosen)
    return found
