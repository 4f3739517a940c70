"""The module itself on the test host: its file, small phantoms, engines that need no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from Testing.fakes import BallEngine, EllipsoidEngine, PaintingEngine, any_image_spec, tiny_spec

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
        self.engines["clicks"].spec = any_image_spec("balls")  # which takes lines and boxes, too
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


def choose(ui: Any, role: str, volume: Any) -> None:
    """Chooses an image in the panel in place of the one that has a role, or as one more; None takes that one away."""
    from TumorSegSlicer.parameters import ImageRole

    roles = list(ImageRole)
    rows = [(getattr(ui, f"image{n}Selector"), getattr(ui, f"role{n}Selector")) for n in range(1, 5)]
    named = [row for row in rows if row[0].currentNode() and roles[row[1].currentIndex] is ImageRole(role)]
    image, kind = (named or [row for row in rows if not row[0].currentNode()])[0]
    image.setCurrentNode(volume)
    if volume is not None and roles[kind.currentIndex] is not ImageRole(role):
        kind.setCurrentIndex(roles.index(ImageRole(role)))


def take(ui: Any, tool: str, positive: bool = True) -> None:
    """Takes a tool up, with a sign, by their buttons."""
    button = getattr(ui, f"{tool}Button")
    if not button.checked:
        button.click()
    if ui.signButton.text.startswith("+") is not positive:
        ui.signButton.click()


def put_down(widget: Any) -> None:
    """Puts the tool of the panel down, as the key Esc does."""
    widget.panel.correct.keyActions()["leave"]()


def chosen(ui: Any, role: str) -> Any:
    """The image that is chosen in the panel for a role; None where there is none."""
    from TumorSegSlicer.parameters import ImageRole

    for n in range(1, 5):
        image, kind = getattr(ui, f"image{n}Selector"), getattr(ui, f"role{n}Selector")
        if image.currentNode() and list(ImageRole)[kind.currentIndex] is ImageRole(role):
            return image.currentNode()
    return None
