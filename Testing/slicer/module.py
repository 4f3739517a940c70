"""The module itself on the test host: its file, small phantoms, engines that need no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from Testing.fakes import BallEngine, EllipsoidEngine, PaintingEngine, tiny_spec

REPOSITORY = Path(__file__).resolve().parents[2]
#: The module's file.
TUMORSEG = REPOSITORY / "TumorSeg" / "TumorSeg.py"
OUTPUT = REPOSITORY / "Testing" / "output"
#: A phantom of 18.8 ml that is made in a tenth of a second.
SMALL = {"seed": 1, "region": "limb", "shape": (32, 64, 64), "spacing_mm": (4.0, 4.0, 5.0)}


class FakeEngines:
    """Where engines come from: the same for the same kind, and a note of what was asked for."""

    def __init__(self, threshold: float = 3.0) -> None:
        spec = tiny_spec("painter", ("ct", "pet"), ("ct", "pet"))
        self.engines: dict[str, Any] = {
            "auto": PaintingEngine(spec, lambda images: images["pet"].array > threshold),
            "clicks": BallEngine(),
            "box": EllipsoidEngine(),
        }
        self.asked: set[tuple[str, str, str, str]] = set()

    def __call__(self, kind: str, name: str, device: str, precision: str) -> Any:
        self.asked.add((kind, name, device, precision))
        return self.engines[kind]


def load_phantom() -> dict[str, Any]:
    """Role to volume of a small phantom in the scene; the module must be loaded."""
    from TumorSegSlicer.mrml.sample_data import loadPhantom

    return loadPhantom(**SMALL)


def voxels(node: Any, segment_id: str, volume: Any) -> np.ndarray:
    """A segment on a volume as Slicer's own function reads it, uint8 0 or 1 ``[k, j, i]``."""
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume).astype(np.uint8)


def ras_of(volume: Any, ijk: tuple[int, int, int]) -> tuple[float, float, float]:
    """RAS mm, in the world, of a voxel."""
    from TumorSegSlicer.mrml import volumes

    r, a, s = volumes.gridFromVolume(volume).to_ras(ijk).tolist()
    return r, a, s


def segment_ids(node: Any) -> list[str]:
    """Ids of the segments of a segmentation."""
    return list(node.GetSegmentation().GetSegmentIDs())
