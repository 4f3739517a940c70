"""The scripted module ``Tiny`` that the host is tested with, and what its tests work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: The module's file.
TINY = Path(__file__).resolve().parent / "host" / "tiny" / "Tiny.py"


def cube() -> Any:
    """A volume of 16 x 14 x 12 voxels of 2 x 2 x 3 mm with a cube of 4 voxels; the module must be loaded."""
    from Tiny import TinyLogic

    return TinyLogic().makeCube()


def segmented() -> tuple[Any, Any, str]:
    """The cube's volume, its segmentation and the ID of the segment."""
    from Tiny import TinyLogic

    volume = cube()
    return volume, *TinyLogic().threshold(volume, 50.0)
