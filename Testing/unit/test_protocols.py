"""Results with regions: which is on top in a label map."""

from __future__ import annotations

import numpy as np
import pytest

from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.protocols import LabelAnswer, Result

GRID = Grid.from_spacing((6, 6, 6), (1.0, 1.0, 1.0))
WHOLE, CORE = (slice(0, 5),) * 3, (slice(1, 3),) * 3


@pytest.mark.parametrize("names", [("core", "whole"), ("whole", "core")])
def test_the_segmentation_has_the_label_map_of_the_result(names: tuple[str, str]) -> None:
    """Also where the smaller region, which comes first, is on top, as in bundles of MONAI."""
    probability = {name: np.zeros(GRID.shape, np.float32) for name in names}
    probability["whole"][WHOLE] = probability["core"][CORE] = 0.9
    values = {name: n for n, name in enumerate(names, start=1)}
    mask = np.zeros(GRID.shape, np.uint8)
    mask[WHOLE] = values["whole"]
    mask[CORE] = values["core"]
    box = ((0, 6), (0, 6), (0, 6))
    labels = {name: LabelAnswer(values[name], box, probability[name], region=True) for name in names}
    result = Result(Mask(GRID, mask), Volume(GRID, probability["whole"], "probability"), labels=labels)
    found = result.segmentation
    assert np.array_equal(found.label_map().array, mask)
    for name in names:
        assert np.array_equal(found.mask_of(name).array, probability[name] > 0.5)
