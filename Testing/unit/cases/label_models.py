"""Trainings of nnU-Net with several labels, imported, and their case: labels that exclude each other, and regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from Testing.interop.fixture import Expected, read_expected
from TumorSegLib.engines.imported.engine import ImportedEngine
from TumorSegLib.engines.importers.nnunet import import_nnunet
from TumorSegLib.engines.load import load_engine
from TumorSegLib.images.volume import Images
from TumorSegLib.protocols import Result

LABELS, REGIONS = "Dataset701_Labels", "Dataset702_Regions"
_TRAINING = {LABELS: "nnUNetTrainer_1epoch__nnUNetPlans__2d", REGIONS: "nnUNetTrainer_1epoch__nnUNetPlans__3d_fullres"}


@dataclass(frozen=True, eq=False)
class LabelModel:
    """An imported model, its case, and the files of the images by role."""

    engine: ImportedEngine
    images: Images
    files: dict[str, Path]

    def result(self) -> Result:
        return self.engine.segment(self.images)


def label_model(data_set: str, name: str) -> LabelModel:
    """Imports a training of the fixture under a name, into ``$TUMORSEG_MODELS``."""
    found: Expected = next(
        each
        for each in read_expected()
        if each.training.parent.name == data_set and each.training.name == _TRAINING[data_set]
    )
    roles = import_nnunet(found.training, name).spec.roles
    files = sorted((found.training.parent / "images").glob("*.nii.gz"))
    engine = load_engine(name, "cpu", "float32", "torch", kind="auto")
    return LabelModel(engine, found.images(roles), dict(zip(roles, files, strict=True)))


def same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    """Whether two sets of masks by name are equal."""
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def middle(mask: np.ndarray) -> tuple[int, int, int]:
    """A voxel ``(i, j, k)`` of a mask near its centre."""
    voxels = np.argwhere(mask)
    k, j, i = voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()]
    return int(i), int(j), int(k)
