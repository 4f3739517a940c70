"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the public patient data; the test is skipped where it is absent. Mark such tests ``data``."""
    root = Path(os.environ.get("TUMORSEG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "sts" / "splits.json").is_file():
        pytest.skip(f"no patient data at {root}; set TUMORSEG_DATA")
    return root
