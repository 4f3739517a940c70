"""The module's logic without a window: segments from elsewhere are corrected from what they hold."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer.desk import Case
from TumorSegLib import ArgumentError, Grid


def draw(case: Case, low: tuple[int, int, int] = (20, 22, 10), grid: Grid | None = None) -> np.ndarray:
    """A segment of 8 x 7 x 6 voxels of a lattice, the CT's by default, as another module leaves it; on the CT."""
    import slicer

    from Testing.slicer.scene import add_segment, add_segmentation, paint, volumes

    case.node = add_segmentation(slicer.mrmlScene)
    case.segment = add_segment(case.node, "GTV")
    paint(case.node, case.segment, grid or volumes.gridFromVolume(case.volumes["ct"]), low, (8, 7, 6))
    return case.mask()


def open_segment(case: Case) -> None:
    case.logic.openSegment(case.inputs, case.node, case.segment)


def beside(case: Case) -> Grid:
    """A lattice of other voxels than the CT's, turned against it, that reaches beyond it."""
    from Testing.slicer.scene import rotation, volumes

    middle = volumes.gridFromVolume(case.volumes["ct"]).to_ras((10, 12, 8))
    return Grid.from_spacing((20, 30, 30), (3.0, 5.0, 4.0), tuple(middle), rotation((0.2, -0.1, 0.3)))


# A click keeps the rest


def test_a_click_on_a_segment_from_elsewhere_keeps_the_rest(case: Case) -> None:
    drawn = draw(case)
    assert drawn.sum() == 8 * 7 * 6
    open_segment(case)
    np.testing.assert_array_equal(case.mask(), drawn)
    assert case.logic.hasSession(case.node, case.segment)
    case.click((50, 50, 20))
    case.click((20, 22, 10), positive=False)
    corrected = case.mask()
    assert (corrected[20, 50, 50], corrected[10, 22, 20]) == (1, 0)
    far = np.zeros(drawn.shape, bool)
    far[12:16, 25:29, 23:28] = True  # of the 8 x 7 x 6 voxels those that are no neighbours of the second click
    assert corrected[far].all()
    assert corrected.sum() > drawn[far].sum()
    case.logic.reset(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), drawn)
    for _ in range(3):
        case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), drawn)
    assert case.logic.undo(case.node, case.segment) is None


@pytest.mark.parametrize("low", [(2, 3, 4), (22, 23, 14)], ids=["inside the image", "outside the image"])
def test_a_segment_on_another_lattice_keeps_its_place(case: Case, low: tuple[int, int, int]) -> None:
    from Testing.slicer.scene import volumes, world_points

    grid = beside(case)
    drawn = draw(case, low, grid)
    millilitres = 8 * 7 * 6 * grid.voxel_volume_ml
    place = world_points(case.node, case.segment).mean(axis=0)
    open_segment(case)
    case.click((50, 50, 20))
    corrected, ball = case.mask(), np.zeros(drawn.shape, bool)
    ball[17:24, 47:54, 47:54] = True
    assert corrected[20, 50, 50] == 1
    np.testing.assert_array_equal(corrected[~ball], drawn[~ball])
    case.click((50, 50, 20), positive=False)
    case.logic.undo(case.node, case.segment)
    case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), drawn)
    left = world_points(case.node, case.segment)  # on the CT's voxels now, beyond its edge, too
    assert len(left) * volumes.gridFromVolume(case.volumes["ct"]).voxel_volume_ml == pytest.approx(
        millilitres, rel=0.06
    )
    np.testing.assert_allclose(left.mean(axis=0), place, atol=1.0)


# What is wrong


def test_segment_without_session_is_refused_with_advice(case: Case) -> None:
    drawn = draw(case)
    for act in (lambda: case.click((50, 50, 20)), lambda: case.logic.undo(case.node, case.segment)):
        with pytest.raises(ArgumentError, match=r"segment 'GTV': choose them under Images, .* openSegment\(inputs"):
            act()
    np.testing.assert_array_equal(case.mask(), drawn)
