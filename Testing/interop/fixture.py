"""What ``make interop`` leaves for the tests: trainings of nnU-Net v2 with tiny networks, a case, and its answers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from TumorSegLib.images.volume import Images
from TumorSegLib.io.images import read_volume

FIXTURE = Path(__file__).parent / "nnunet_trainings"
EXPECTED, IMAGES = "expected.npz", "images"
#: Probabilities are kept as whole numbers up to this.
SCALE = 65535


@dataclass(frozen=True, eq=False)
class Expected:
    """A training and what nnU-Net answers: its label map ``[k, j, i]``, probabilities ``[labels, k, j, i]``."""

    training: Path
    labels: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
    mirrored: bool

    def images(self, roles: tuple[str, ...]) -> Images:
        """The case, by the roles of the channels."""
        files = sorted((self.training.parent / IMAGES).glob("*.nii.gz"))
        return {role: read_volume(file, role) for role, file in zip(roles, files, strict=True)}


def write_expected(
    training: Path,
    images: list[Path],
    labels: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.float32],
    mirrored: bool,
) -> None:
    """Adds a training to the fixture."""
    folder = FIXTURE / training.parent.name / training.name
    descriptions = (training / name for name in ("dataset.json", "plans.json"))
    for file in [*descriptions, *training.glob("fold_*/checkpoint_final.pth")]:
        target = folder / file.relative_to(training)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (folder.parent / IMAGES).mkdir(exist_ok=True)
    for file in images:
        shutil.copy(file, folder.parent / IMAGES / file.name)
    rounded = np.rint(probabilities * SCALE).astype(np.uint16)
    np.savez_compressed(folder / EXPECTED, labels=labels, probabilities=rounded, mirrored=mirrored)


def read_expected() -> list[Expected]:
    """All trainings of the fixture, by name."""
    found = []
    for file in sorted(FIXTURE.glob(f"*/*/{EXPECTED}")):
        with np.load(file) as content:
            probabilities = content["probabilities"].astype(np.float32) / SCALE
            found.append(Expected(file.parent, content["labels"], probabilities, bool(content["mirrored"])))
    return found
