"""Segmentations by the box engine with a network whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.fakes import noise_volume, rotation
from Testing.unit.engines.box_cases import ball, box_about, bright_engine, ct_of, on_slice, pasted, segmented
from Testing.unit.engines.click_cases import CUBE, GRIDS, block
from TumorSegLib.evaluation.metrics import dice
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions

LARGE = [name for name in GRIDS if name != "smaller than the patch"]


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2), (2, 0)])
@pytest.mark.parametrize("name", LARGE)
def test_a_ball_is_found_along_every_axis_of_every_grid(name: str, axes: tuple[int, ...]) -> None:
    grid = GRIDS[name]
    radius = min(np.multiply(grid.size, grid.spacing)) * 0.35
    tumour = ball(grid, radius)
    found = segmented(bright_engine(), ct_of(grid, tumour), box_about(tumour, grid, 0.25 * radius), axes)
    assert dice(found, tumour) > 0.9


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_ball_and_not_its_neighbour(axis: int) -> None:
    """A neighbour outside the box is not in the answer."""
    tumour, other = ball(CUBE, 7, (12, 14, 16)), ball(CUBE, 7, (28, 27, 26))
    box = box_about(tumour, CUBE)
    engine = bright_engine()
    prepared = engine.prepare({"ct": ct_of(CUBE, tumour | other)})
    answer = engine.segment(prepared, BoxPrompt(box), BoxOptions(axes=(axis,)))
    assert answer.box == box
    assert dice(pasted(CUBE, answer), tumour) > 0.93
    assert not (pasted(CUBE, answer) & other).any()


def test_answers_along_several_axes_are_averaged() -> None:
    tumour = ball(CUBE, 8, (17, 20, 22))
    volume = noise_volume(CUBE)
    volume = Volume(CUBE, np.where(tumour, volume.array + 80, volume.array), "ct")
    box, engine = BoxPrompt(box_about(tumour, CUBE)), bright_engine()

    def values(*axes: int) -> np.ndarray:
        return engine.segment(engine.prepare({"ct": volume}), box, BoxOptions(axes=axes)).probability.astype(float)

    single = [values(axis) for axis in range(3)]
    assert not np.array_equal(single[0], single[2])
    assert np.abs(values(0, 1, 2) - np.mean(single, axis=0)).max() <= 1
    assert np.abs(values(2, 0) - (single[0] + single[2]) / 2).max() <= 1


@pytest.mark.parametrize("name", LARGE)
def test_an_image_on_another_grid_is_brought_to_the_first(name: str) -> None:
    first = GRIDS[name]
    radius = min(np.multiply(first.size, first.spacing)) * 0.35
    centre = first.to_ras([(n - 1) / 2 for n in first.size])
    spacing = np.full(3, max(radius / 6, 1.0))
    other = Grid.from_spacing((50, 50, 50), spacing, (0, 0, 0), rotation((1.0, 0.3, -0.5)))
    affine = other.affine.copy()
    affine[:3, 3] = centre - affine[:3, :3] @ (24.5, 24.5, 24.5)
    other = Grid(other.shape, affine)
    pet = Volume(other, np.where(ball(other, radius), 12, 0.5).astype(np.float32), "pet")
    images = {"ct": Volume(first, np.zeros(first.shape, np.int16), "ct"), "pet": pet}
    tumour, engine = ball(first, radius), bright_engine()
    answer = engine.segment(
        engine.prepare(images, BoxOptions(role="pet")), BoxPrompt(box_about(tumour, first, 0.25 * radius))
    )
    assert dice(pasted(first, answer), tumour) > 0.85
    assert answer.info["role"] == "pet"
    nothing = engine.segment(engine.prepare(images), BoxPrompt(box_about(tumour, first)))
    assert nothing.info["role"] == "ct"
    assert (nothing.probability < 128).all()


def test_the_requested_intensity_window_is_used() -> None:
    tumour = ball(CUBE, 8)
    lungs = Volume(CUBE, np.where(tumour, -300, -900).astype(np.int16), "ct")
    engine = bright_engine()
    for window, visible in (("lung", True), ("soft-tissue", False)):
        prepared = engine.prepare({"ct": lungs}, BoxOptions(ct_window=window))
        answer = engine.segment(prepared, BoxPrompt(box_about(tumour, CUBE)))
        assert (answer.probability >= 128).any() == visible


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_image_of_one_slice_is_segmented(axis: int) -> None:
    """Nothing to follow, and nothing beside it that could fade it."""
    size = [40, 40, 40]
    size[axis] = 1
    grid = Grid.from_spacing(size[::-1], (1, 1, 1))
    tumour = ball(grid, 9)
    assert dice(segmented(bright_engine(), ct_of(grid, tumour), box_about(tumour, grid), (axis,)), tumour) > 0.9


@pytest.mark.parametrize("shape", [(1, 1, 12), (1, 12, 1), (12, 1, 1), (1, 1, 1), (15, 15, 2)])
def test_a_box_thin_along_two_axes_or_of_two_slices_is_a_volume(shape: tuple[int, int, int]) -> None:
    i, j, k = ((14, 14 + n) for n in shape)
    engine = bright_engine()
    answer = engine.segment(engine.prepare({"ct": ct_of(CUBE, np.ones(CUBE.shape, bool))}), BoxPrompt((i, j, k)))
    assert answer.box == (i, j, k)
    assert answer.probability.shape == shape[::-1]
    assert (answer.probability[:, 5:9, 5:9] >= 128).all()  # none of the thin ones has these voxels


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", LARGE)
def test_a_ball_boxed_on_one_slice_is_propagated(name: str, axis: int) -> None:
    grid = GRIDS[name]
    radius = min(np.multiply(grid.size, grid.spacing)) * 0.35
    tumour = ball(grid, radius)
    box = on_slice(box_about(tumour, grid, 0.2 * radius), axis, grid.size[axis] // 2)
    engine = bright_engine()
    answer = engine.segment(engine.prepare({"ct": ct_of(grid, tumour)}), box)
    found = pasted(grid, answer)
    assert dice(found, tumour) > 0.85
    box_found, box_wanted = bounding_box(found), bounding_box(tumour)
    assert box_found is not None
    assert box_wanted is not None
    assert np.abs(np.subtract(box_found, box_wanted)[axis]).max() <= 1 + np.ceil(3 / grid.spacing[axis])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_propagation_does_not_leave_the_region(axis: int) -> None:
    tumour = ball(CUBE, 12)
    ranges = [(6, 34)] * 3
    ranges[axis] = (16, 23)
    cut = ranges.copy()
    cut[(axis + 1) % 3] = (6, 24)
    engine = bright_engine()
    prepared = engine.prepare({"ct": ct_of(CUBE, tumour)})
    for region in (BoxPrompt((box[0], box[1], box[2])) for box in (ranges, cut)):
        answer = engine.segment(prepared, on_slice(region.box, axis, 20), within=region)
        inside, found = block(CUBE, *region.box), pasted(CUBE, answer)
        assert not (found & ~inside).any()
        assert dice(found, tumour & inside) > 0.9
        assert all(a <= low and high <= b for (low, high), (a, b) in zip(answer.box, region.box))


@pytest.mark.parametrize("thickness", [1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_tumour_of_few_slices_is_found_on_each_of_them(axis: int, thickness: int) -> None:
    disc = ball(CUBE, 9)
    only = np.zeros(40, dtype=bool)
    only[20 : 20 + thickness] = True
    shape = [1, 1, 1]
    shape[2 - axis] = 40
    tumour = np.broadcast_to(np.take(disc, [20], axis=2 - axis), CUBE.shape) & only.reshape(shape)
    engine = bright_engine()
    answer = engine.segment(engine.prepare({"ct": ct_of(CUBE, tumour)}), on_slice(box_about(tumour, CUBE, 3), axis, 20))
    assert dice(pasted(CUBE, answer), tumour) > 0.9


def test_a_box_without_a_tumour_gives_an_empty_mask() -> None:
    engine = bright_engine()
    prepared = engine.prepare({"ct": ct_of(CUBE, np.zeros(CUBE.shape, bool))})
    answer = engine.segment(prepared, BoxPrompt(((5, 15), (5, 15), (7, 8))))
    assert answer.box == EMPTY_BOX
    assert answer.probability.size == 0
    assert (engine.segment(prepared, BoxPrompt(((5, 15), (5, 15), (7, 12)))).probability < 128).all()
