"""The images of a case: reference image, agreement of roles."""

from __future__ import annotations

import numpy as np
import pytest

from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.volume import Volume

FINE, COARSE = Grid.from_spacing((4, 4, 4), (1, 1, 1)), Grid.from_spacing((2, 2, 2), (2, 2, 2))


def volume(role: str, grid: Grid = FINE) -> Volume:
    return Volume(grid, np.zeros(grid.shape, np.float32), role)


def test_reference_image_is_the_first_or_the_one_named() -> None:
    images = {"pet": volume("pet", COARSE), "ct": volume("ct"), "mr_t1": volume("mr_t1", COARSE)}
    first, named = ImageSet(images), ImageSet(images, "ct")
    assert (first.reference, first.grid, first.on_other_grids) == ("pet", COARSE, ("ct",))
    assert (named.reference, named.grid, named.on_other_grids) == ("ct", FINE, ("pet", "mr_t1"))
    assert list(first) == list(images)
    assert first["ct"] is images["ct"]
    assert ImageSet.of(first) is first
    images.clear()
    assert len(first) == 3


def test_image_of_another_role_than_its_key_is_refused() -> None:
    with pytest.raises(RoleError, match="given as 'pet' has the role 'ct'; read it with role='pet'"):
        ImageSet({"pet": volume("ct")})
    with pytest.raises(RoleError, match="no image 'mr'; there are ct"):
        ImageSet({"ct": volume("ct")}, "mr")
    with pytest.raises(ArgumentError, match="at least one image"):
        ImageSet({})
