"""``make interop``: this project against nnU-Net v2 on what ``nnunet_side.py`` trained and predicted.

Prints agreement and times, writes the fixture of the tests, and fails where an answer differs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from Testing.interop.comparison import LEAST_DICE, agreements
from Testing.interop.fixture import FIXTURE, write_expected
from TumorSegLib.engines.importers.nnunet import import_nnunet
from TumorSegLib.engines.load import load_engine
from TumorSegLib.images.volume import Images
from TumorSegLib.io.images import read_mask, read_volume
from TumorSegLib.jobs import timed
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import AutoSegmenter, Result

LARGEST_FIXTURE_BYTES = 2e6
#: The fastest of so many runs counts, as with nnU-Net.
REPEATED = 3


@dataclass(frozen=True)
class Answered:
    """A training and nnU-Net's answer, with the seconds it took."""

    training: Path
    images: list[Path]
    mirrored: bool
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.training.parent.name}/{self.training.name}{'+mirror' if self.mirrored else ''}"

    @property
    def output(self) -> Path:
        return self.training / f"predicted{'_mirrored' if self.mirrored else ''}"

    @property
    def exact_output(self) -> Path:
        """With nnU-Net's sums in float32."""
        return self.output.with_name(f"{self.output.name}_float32")


def main(folder: Path) -> int:
    """Returns the exit status."""
    failed = 0
    shutil.rmtree(FIXTURE, ignore_errors=True)
    for number, each in enumerate(answered(folder)):
        os.environ["TUMORSEG_MODELS"] = tempfile.mkdtemp()
        model = import_nnunet(each.training, "imported")
        engine = load_engine("imported", "cpu", "float32", "torch", kind="auto")
        seconds = min(timed(lambda: segment(engine, each))[1] for _ in range(REPEATED))  # noqa: B023
        result = segment(engine, each)
        print(f"{each.name}: {seconds:.2f} s, nnU-Net {each.seconds:.2f} s, ratio {each.seconds / seconds:.1f}")
        for output, exact in ((each.output, False), (each.exact_output, True)):
            labels = read_mask(output / "case.nii.gz").array
            probabilities = np.load(output / "case.npz")["probabilities"][not engine.spec.nnunet_input.regions :]
            print(f"  nnU-Net's sums in {'float32' if exact else 'float16'}")
            for agreement in agreements(result, labels, probabilities):
                holds = agreement.holds if exact else agreement.dice >= LEAST_DICE
                failed += not holds
                print(f"    {agreement}{'' if holds else '  TOO DIFFERENT'}")
        if each.mirrored == bool(number % 4 == 1):  # one of them with mirror images
            write_expected(each.training, each.images, labels, probabilities, each.mirrored)
        shutil.rmtree(model.path.parent)
    size = sum(path.stat().st_size for path in FIXTURE.rglob("*") if path.is_file())
    print(f"fixture of {size / 1e6:.2f} MB in {FIXTURE}")
    return int(failed > 0 or size > LARGEST_FIXTURE_BYTES)


def segment(engine: AutoSegmenter, each: Answered) -> Result:
    """Reads the case and segments it."""
    return engine.segment(read_images(engine.spec, each.images), mirror=each.mirrored)


def answered(folder: Path) -> Iterator[Answered]:
    """What nnU-Net answered, in the order of its trainings."""
    for name, seconds in json.loads((folder / "seconds.json").read_text()).items():
        path, _, mirrored = name.partition("+")
        training = folder / "results" / path
        images = sorted((folder / "raw" / training.parent.name / "imagesTs").glob("*.nii.gz"))
        yield Answered(training, images, bool(mirrored), seconds)


def read_images(spec: ModelSpec, files: list[Path]) -> Images:
    """The channels of a case, in nnU-Net's order, by role."""
    return {role: read_volume(file, role) for role, file in zip(spec.roles, files, strict=True)}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
