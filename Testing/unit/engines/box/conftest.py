"""Box engines compute every slice, also of thin ones; test_thin_slices.py tests that some are left out."""

from __future__ import annotations

import pytest

from TumorSegLib.engines.box import rectangles


@pytest.fixture(autouse=True)
def every_slice(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.module.__name__.endswith("test_thin_slices"):
        monkeypatch.setattr(rectangles, "STEP_MM", 0.0)
