"""The list with lesions in it."""

from __future__ import annotations

import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.lesion_list import BOXES, LesionList, paint


@pytest.fixture
def lesions(desk: Desk) -> LesionList:
    """The list, with one segment of three lesions that were painted."""
    desk.press("newSegmentButton")
    for low, size in BOXES:
        paint(desk, low, size)
    desk.wait_saved()
    return LesionList(desk).settled()
