"""Trainings of nnU-Net with several labels, imported, and their case: labels that exclude each other, and regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
