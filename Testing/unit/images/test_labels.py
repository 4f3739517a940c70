"""Named segments: layers as few as possible, overlaps, label maps, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from TumorSegLib.errors import ArgumentError, GeometryError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.cleanup import tidied
from TumorSegLib.images.labels import Segment, Segmentation, unique_names
from TumorSegLib.images.volume import Mask

GRID = Grid.from_spacing((8, 10, 12), (1.0, 1.0, 2.0))


def box(low: int, high: int, label: int = 1) -> Mask:
    """A cube of voxels from one index to another along every axis."""
    array = np.zeros(GRID.shape, np.uint8)
    array[low:high, low:high, low:high] = label
    return Mask(GRID, array)


def test_only_what_overlaps_gets_another_layer() -> None:
    masks = {"whole": box(1, 7), "core": box(2, 5), "far": box(7, 8), "enhancing": box(3, 4)}
    found = Segmentation.of_masks((Segment(name, n), mask) for n, (name, mask) in enumerate(masks.items(), start=1))
    assert [layer for layer, _ in found.places.values()] == [0, 1, 0, 2]
    for name, mask in masks.items():
        assert np.array_equal(found.mask_of(name).array, mask.array)
    assert found.overlapping_voxels == 3**3
    assert np.array_equal(found.foreground.array, (box(1, 7).array | box(7, 8).array))
    values = found.label_map().array
    assert [values[n, n, n] for n in (1, 2, 3, 7, 0)] == [1, 2, 4, 3, 0]  # the later one counts


def test_a_label_map_keeps_its_labels_and_array() -> None:
    mask = box(2, 5, 9)
    found = Segmentation.of_labels(mask, [Segment("node", 4)])
    assert found.names == ("node", "label 9")
    assert np.shares_memory(found.label_map().array, mask.array)
    assert not found.mask_of("node").array.any()
    assert not found.overlapping_voxels


def test_names_labels_and_places_are_of_one_segment_each() -> None:
    layer = box(1, 3).array
    for places in (
        {Segment("a", 1): (0, 1), Segment("a", 2): (0, 2)},
        {Segment("a", 1): (0, 1), Segment("b", 1): (0, 2)},
        {Segment("a", 1): (0, 1), Segment("b", 2): (0, 1)},
        {Segment("a", 1): (1, 1)},
    ):
        with pytest.raises(ArgumentError):
            Segmentation(GRID, (layer,), places)
    with pytest.raises(ArgumentError, match="label from 1 to 255, got 256"):
        Segment("a", 256)
    with pytest.raises(GeometryError, match="'b' is on another grid"):
        Segmentation.of_masks(
            [
                (Segment("a", 1), box(1, 2)),
                (Segment("b", 2), Mask(GRID.crop(((0, 2), (0, 2), (0, 2))), np.ones((2, 2, 2)))),
            ]
        )


def test_unique_names() -> None:
    assert unique_names(["liver", "liver", "", "liver (2)"], taken=["tumour"]) == [
        "liver",
        "liver (2)",
        "segment",
        "liver (2) (2)",
    ]
    assert unique_names(["tumour"], taken=["tumour"]) == ["tumour (2)"]


def test_each_region_is_filled_by_itself() -> None:
    """A cavity of the whole that the core fills in part, and a cavity of the core."""
    whole, core = box(1, 7).array.copy(), box(2, 6).array.copy()
    whole[3:5, 3:5, 3:5] = 0
    core[3, 3, 3] = 0
    speck = whole.copy()
    speck[7, 9, 11] = 1
    found = Segmentation.of_masks([(Segment("whole", 2), Mask(GRID, speck)), (Segment("core", 1), Mask(GRID, core))])
    filled = tidied(found, min_volume_ml=0.01, fill=True)
    assert np.array_equal(filled.mask_of("whole").array, box(1, 7).array)
    assert np.array_equal(filled.mask_of("core").array, box(2, 6).array)
    assert filled.segments == found.segments
    assert found.mask_of("whole").array[7, 9, 11]


def test_a_cavity_of_labels_gets_the_nearest_one() -> None:
    labels = box(1, 7, 2).array.copy()
    labels[2:5, 2:5, 2:5] = 1
    labels[3, 3, 3] = 0
    filled = tidied(Segmentation.of_labels(Mask(GRID, labels)), fill=True)
    assert filled.label_map().array[3, 3, 3] == 1
    assert len(filled.layers) == 1
