"""What a merged model scores on a few slices with known contours: the objective of the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from training.data.layout import read_folds, read_layout
from training.sam.examples import Choice, Encoder, Example, encode_examples, make_batch
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, RoleError
from TumorSegLib.images.roles import family
from TumorSegLib.models.spec import ModelSpec

# Slices that the decoder answers at once.
BATCH = 8


@dataclass(frozen=True)
class Task:
    """Images of one family.

    Attributes:
        name: the family, e.g. ``mr``.
        roles: of the images.
        calibration, held_out: cases that have such an image.
    """

    name: str
    roles: tuple[str, ...]
    calibration: tuple[str, ...]
    held_out: tuple[str, ...]


def find_tasks(data: Path, fold: int, wanted: Sequence[str], cases: int, seed: int) -> list[Task]:
    """The tasks of a data folder.

    Args:
        data: data folder, see :mod:`training.data.cases`.
        fold: whose cases are held out.
        wanted: families of images; all that the folder has if empty.
        cases: so many of the others, at random, calibrate each task.
        seed: of that choice.

    Raises:
        ReadError: the data folder cannot be read.
        ArgumentError: there is no such fold, or a task is named twice.
        RoleError: a task has no case to calibrate on or none that is held out.
    """
    layout, folds = read_layout(data), read_folds(data)
    if not 0 <= fold < len(folds):
        raise ArgumentError(f"fold {fold} does not exist; {data} has folds 0 to {len(folds) - 1}")
    if len(set(wanted)) < len(wanted):
        raise ArgumentError(f"tasks {', '.join(wanted)}: each once")
    tasks = []
    for name in wanted or dict.fromkeys(map(family, layout.roles)):
        roles = tuple(role for role in layout.roles if family(role) == name)
        having = {case for case, files in layout.cases.items() if files.images.keys() & set(roles)}
        others = [case for number, each in enumerate(folds) if number != fold for case in each if case in having]
        held_out = tuple(case for case in folds[fold] if case in having)
        for what, some in (("to calibrate on", others), (f"in fold {fold}, which is held out", held_out)):
            if not some:
                raise RoleError(f"{data}: task {name!r} has no case {what}; there are images {', '.join(layout.roles)}")
        order = np.random.default_rng([seed, *name.encode()]).permutation(len(others))[:cases]
        tasks.append(Task(name, roles, tuple(others[n] for n in sorted(order)), held_out))
    return tasks


class Calibration:
    """Slices to score merged models on, each with one loose box, the same for all models.

    Args:
        base: describes the architecture.
        runtime: device to compute on, in float32.
        choice: of slices; its roles are those of all tasks.
        data: data folder.
        tasks: whose calibration cases are used.
    """

    def __init__(self, base: ModelSpec, runtime: Runtime, choice: Choice, data: Path, tasks: Sequence[Task]) -> None:
        self._base, self._runtime, self._choice, self._data, self._tasks = base, runtime, choice, data, tasks
        #: Where networks must be to be scored.
        self.device = runtime.device
        self._encoded: Mapping[str, list[Example]] = {}

    def encode(self, network: Sam, folder: Path) -> int:
        """Embeds the slices with a network whose encoder all models share; returns how many were not in the folder."""
        self._encoded, count = self._examples(network, folder, silent=False)
        return count

    def scores(self, network: Sam) -> dict[str, float]:
        """Dice by task: of each image over its slices together, then the mean over images.

        A slice on which the tumour has ended counts by what is found on it. Unless :meth:`encode` was called the slices
        are embedded by the network itself.
        """
        if self._encoded:
            return {task: self._dice(network, examples) for task, examples in self._encoded.items()}
        with TemporaryDirectory() as folder:
            examples, _ = self._examples(network, Path(folder), silent=True)
            return {task: self._dice(network, some) for task, some in examples.items()}

    def _examples(self, network: Sam, folder: Path, silent: bool) -> tuple[dict[str, list[Example]], int]:
        encoder = Encoder(BoxEngine(self._base, network, self._runtime), network, folder)
        found, encoded = {}, 0
        for task in self._tasks:
            choice = Choice(task.roles, self._choice.data, self._choice.seed)
            say = {"say": _silent} if silent else {}
            found[task.name], new = encode_examples(encoder, choice, self._data, task.calibration, **say)
            encoded += new
        return found, encoded

    @torch.inference_mode()
    def _dice(self, network: Sam, examples: Sequence[Example]) -> float:
        rng = np.random.default_rng(self._choice.seed)
        shared, total = dict[str, int](), dict[str, int]()
        for first in range(0, len(examples), BATCH):
            some = examples[first : first + BATCH]
            embeddings, boxes, targets = make_batch(some, self._choice.data, rng, self.device)
            found = network.decode(embeddings, boxes)[0][:, 0] > 0
            for example, mask, target in zip(some, found, targets):
                image = example.image
                shared[image] = shared.get(image, 0) + int((mask & target).sum())
                total[image] = total.get(image, 0) + int(mask.sum()) + int(target.sum())
        return float(np.mean([2 * shared[image] / total[image] if total[image] else 1.0 for image in total]))


def _silent(_: str) -> None:
    """Says nothing."""
