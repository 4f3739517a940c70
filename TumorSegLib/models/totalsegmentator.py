"""Trainings of TotalSegmentator on this computer, which can be made models: Wasserthal et al., Radiology: AI 2023.

TotalSegmentator keeps its weights as folders of nnU-Net v2, ``DatasetNNN_*``. It turns images to
right-anterior-superior before nnU-Net sees them. Tasks and licences are those that its README of version 2 names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OPEN = "Apache-2.0"
RESTRICTED = "TotalSegmentator licence: free for non-commercial use, else on request"
NOT_STATED = "not stated"
#: Names of its datasets that tell them apart from others' anywhere.
NAMED_AS_THEIRS = re.compile(r"Dataset\d+_TotalSeg(mentator|MRI)(_|$)")
# Numbers of the datasets, one for each part of a task.
_OPEN: Mapping[str, tuple[int, ...]] = {
    "total": (291, 292, 293, 294, 295),
    "total_fast": (297,),
    "total_fastest": (298,),
    "total_mr": (850, 851),
    "total_mr_fast": (852,),
    "total_mr_fastest": (853,),
    "body": (299,),
    "body_fast": (300,),
    "body_mr": (597,),
    "body_mr_fast": (598,),
    "vertebrae_mr": (756,),
    "lung_vessels": (117,),
    "lung_vessels_legacy": (258,),
    "cerebral_bleed": (150,),
    "hip_implant": (260,),
    "pleural_pericard_effusion": (315,),
    "head_glands_cavities": (775,),
    "headneck_bones_vessels": (776,),
    "head_muscles": (777,),
    "headneck_muscles": (778, 779),
    "liver_vessels": (8,),
    "oculomotor_muscles": (351,),
    "lung_nodules": (913,),
    "kidney_cysts": (789,),
    "breasts": (527,),
    "liver_segments": (570,),
    "liver_segments_mr": (576,),
    "liver_lesions": (591,),
    "liver_lesions_mr": (589,),
    "craniofacial_structures": (115,),
    "abdominal_muscles": (952,),
    "teeth": (113,),
}
_RESTRICTED: Mapping[str, tuple[int, ...]] = {
    "heartchambers_highres": (301,),
    "appendicular_bones": (304,),
    "appendicular_bones_mr": (855,),
    "tissue_types": (481,),
    "tissue_types_mr": (925,),
    "tissue_4_types": (485,),
    "brain_structures": (409,),
    "vertebrae_body": (305,),
    "face": (303,),
    "face_mr": (856,),
    "thigh_shoulder_muscles": (857,),
    "coronary_arteries": (507,),
    "aortic_sinuses": (920,),
}


@dataclass(frozen=True)
class Training:
    """A training of TotalSegmentator.

    Attributes:
        path: of its folder, ``Trainer__Plans__Configuration``.
        task: as TotalSegmentator names it; empty where the dataset is none of those known.
        part, parts: which of the datasets of the task it is, and how many there are.
        licence: of the weights.
    """

    path: Path
    task: str = ""
    part: int = 1
    parts: int = 1
    licence: str = NOT_STATED

    @property
    def name(self) -> str:
        """A name for the model."""
        words = self.task or re.sub(r"^Dataset\d+_", "", self.path.parent.name)
        plain = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
        return f"ts-{plain}-{self.part}" if self.parts > 1 else f"ts-{plain}"

    @property
    def title(self) -> str:
        """What it is, as text."""
        part = f", part {self.part} of {self.parts}" if self.parts > 1 else ""
        return f"TotalSegmentator, task {self.task or NOT_STATED}{part} ({self.path.parent.name})"


def weights_folder() -> Path:
    """Where TotalSegmentator keeps its weights, as its environment variables say."""
    if told := os.environ.get("TOTALSEG_WEIGHTS_PATH"):
        return Path(told)
    home = Path(os.environ.get("TOTALSEG_HOME_DIR") or "~/.totalsegmentator").expanduser()
    return home / "nnunet" / "results"


def find_trainings() -> list[Training]:
    """The trainings in that folder, by their dataset; none where it is absent or cannot be read."""
    try:
        found = sorted(file.parent for file in weights_folder().glob("Dataset*/*__*__*/plans.json"))
    except OSError:
        return []
    return [training for training in map(training_of, found) if training is not None]


def training_of(folder: Path) -> Training | None:
    """The training in a folder where it is one of TotalSegmentator's; None for any other."""
    dataset = folder.resolve().parent
    if dataset.parent != weights_folder().resolve() and not NAMED_AS_THEIRS.match(dataset.name):
        return None
    number = re.match(r"Dataset(\d+)_", dataset.name)
    for tasks, licence in ((_OPEN, OPEN), (_RESTRICTED, RESTRICTED)):
        for task, numbers in tasks.items():
            if number is not None and int(number[1]) in numbers:
                return Training(folder, task, numbers.index(int(number[1])) + 1, len(numbers), licence)
    return Training(folder)
