"""The case of a training of nnU-Net with several labels in the scene."""

from __future__ import annotations

from typing import Any

from Testing.slicer.scene import add_volume
from Testing.unit.cases.label_models import LabelModel

NAMES = {"ct": "CT", "mr_t1": "T1"}


def load_case(model: LabelModel) -> dict[str, Any]:
    """Role to volume node of the model's case."""
    import slicer

    return {
        role: add_volume(slicer.mrmlScene, volume.grid, volume.array, name=NAMES.get(role, role))
        for role, volume in model.images.items()
    }
