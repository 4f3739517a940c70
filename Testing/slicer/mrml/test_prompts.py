"""Boxes of voxels from the ROIs of a scene."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from Testing.slicer.scene import OBLIQUE, PLAIN, TRANSFORMS, add_transform, moved, prompts, vtk_matrix
from TumorSegLib import ArgumentError, BoxPrompt


def add_roi(scene: Any, center: Any, size: Any, turn: np.ndarray | None = None, transform: Any = None) -> Any:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetSize(*size)
    matrix = np.eye(4)
    if turn is not None:
        matrix[:3, :3] = turn
    matrix[:3, 3] = center
    roi.SetAndObserveObjectToNodeMatrix(vtk_matrix(matrix))
    roi.SetAndObserveTransformNodeID(add_transform(scene, transform))
    return roi


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_roi_along_the_voxels_is_their_box(scene: Any, transform: str) -> None:
    matrix = np.eye(4) if TRANSFORMS[transform] is None else TRANSFORMS[transform]
    box = ((2, 7), (3, 6), (5, 11))
    center = np.array([(low + high - 1) / 2 for low, high in box])
    size = [(high - low) * edge for (low, high), edge in zip(box, OBLIQUE.spacing)]
    roi = add_roi(scene, OBLIQUE.to_ras(center), size, OBLIQUE.direction, matrix)
    assert prompts.boxFromRoi(roi, moved(OBLIQUE, matrix)) == BoxPrompt(box)


def test_a_turned_roi_lies_within_its_box_and_touches_it(scene: Any) -> None:
    roi = add_roi(scene, (9, 8, 7), (6, 4, 3), OBLIQUE.direction)
    box = prompts.boxFromRoi(roi, PLAIN).box
    corners = np.array(
        [(9, 8, 7) + OBLIQUE.direction @ (np.array(s) * (3, 2, 1.5)) for s in product((-1, 1), repeat=3)]
    )
    for axis, (low, high) in enumerate(box):
        assert low - 0.5 <= corners[:, axis].min() < low + 0.5
        assert high - 1.5 < corners[:, axis].max() <= high - 0.5


def test_a_roi_is_cut_to_the_image_and_refused_outside(scene: Any) -> None:
    assert prompts.boxFromRoi(add_roi(scene, (0, 8, 20), (10, 4, 30)), PLAIN).box == ((0, 6), (6, 11), (5, 14))
    with pytest.raises(ArgumentError, match="'ROI' lies outside the image"):
        prompts.boxFromRoi(add_roi(scene, (0, 8, 200), (10, 4, 30)), PLAIN)
    with pytest.raises(ArgumentError, match="draw a box"):
        prompts.boxFromRoi(add_roi(scene, (5, 5, 5), (10, 0, 10)), PLAIN)
    with pytest.raises(ArgumentError, match="draw a box"):
        prompts.boxFromRoi(scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "new"), PLAIN)
