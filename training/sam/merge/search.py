"""The search for coefficients by CMA-ES, which needs values alone, no gradients.

Hansen, "The CMA evolution strategy: a tutorial", 2016 (arXiv:1604.00772), by the package ``cmaes``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

import numpy as np

from training.config.loader import check_range
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.files import write_text
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.parsing import load_json

#: Of the coefficients, as in MedSAMix.
LIMITS = (0.0, 1.0)
# Standard deviation of the first trials, about a third of the range.
SIGMA = 0.3


@dataclass(frozen=True)
class SearchSettings:
    """How long to search.

    Attributes:
        trials: points to try beside the known ones.
        minutes: after which no other trial begins; those on file are not counted.
        seed: of the points.
    """

    trials: int
    minutes: float
    seed: int

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "trials")
        check_range(self, 0, 2**32 - 1, "seed")
        if not self.minutes >= 0:
            raise ArgumentError(f"minutes = {self.minutes} must be at least 0")


@dataclass(frozen=True)
class Trial:
    """One point and what it scored.

    Attributes:
        name: of a known point, or the number of the trial.
        coefficients: ``[groups][models]``.
        scores: mean Dice by task.
        objective: what the search makes large.
    """

    name: str
    coefficients: list[list[float]]
    scores: Mapping[str, float]
    objective: float


class TrialFile:
    """The trials of a search on disk; a search with the same settings finds there what it has tried.

    Raises:
        ReadError: the file is damaged.
        ArgumentError: it is of a search with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path, self._settings = path, json.loads(json.dumps(settings))
        self.trials: list[Trial] = []
        if not path.is_file():
            return
        try:
            values = load_json(path)
            found, self.trials = values["settings"], [Trial(**trial) for trial in values["trials"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReadError(f"{path}: is not a file of trials ({error}); delete it to begin again") from error
        for name, value in self._settings.items():
            if found.get(name) != value:
                raise self.of_another(f"{name} was {found.get(name)!r}, is {value!r}")

    def of_another(self, why: str) -> ArgumentError:
        """The error that tells of other trials in the file."""
        return ArgumentError(f"{self._path}: has the trials of another search: {why}; choose another --run-folder")

    def add(self, trial: Trial) -> None:
        """Writes a trial, in one step; raises :class:`WriteError`."""
        self.trials.append(trial)
        values = {"settings": self._settings, "trials": [asdict(each) for each in self.trials]}
        write_text(self._path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def import_cmaes() -> ModuleType:
    """The package ``cmaes``; raises :class:`ArgumentError` where it is not installed."""
    try:
        import cmaes
    except ImportError as error:
        raise ArgumentError(f"cmaes is needed to merge models: pip install 'tumorseg[merge]' ({error})") from error
    module: ModuleType = cmaes
    return module


def search(
    known: Mapping[str, Float64Array],
    score: Callable[[Float64Array], Mapping[str, float]],
    objective: Callable[[Mapping[str, float]], float],
    file: TrialFile,
    settings: SearchSettings,
) -> list[Trial]:
    """Tries known points first, then those of CMA-ES round the best of them.

    The same seed asks for the same points, so that trials in the file are replayed, not computed.

    Args:
        known: points ``[groups, models]`` by name.
        score: gives what a point scores, by task.
        objective: makes one number of these, to be large.
        file: of trials so far; others are added.
        settings: how long to search.

    Returns:
        The trials, known points first.

    Raises:
        ArgumentError: the file has the trials of another search.
        WriteError: the file cannot be written.
    """
    start, trials = monotonic(), list[Trial]()

    def tried(name: str, point: Float64Array) -> Trial:
        if len(trials) < len(file.trials):
            trial = file.trials[len(trials)]
            if trial.name != name or not np.allclose(trial.coefficients, point, atol=1e-9):
                raise file.of_another(f"trial {len(trials) + 1} is at another point")
        else:
            scores = score(point)
            trial = Trial(name, point.tolist(), dict(scores), float(objective(scores)))
            file.add(trial)
            told = ", ".join(f"{task} {value:.4f}" for task, value in trial.scores.items())
            print(f"{name}: {told}; {monotonic() - start:.0f} s", flush=True)
        trials.append(trial)
        return trial

    for name, point in known.items():
        tried(name, point)
    asked = _asked(np.array(best_of(trials).coefficients), trials, settings.seed)
    for number, point in zip(range(1, settings.trials + 1), asked):
        if len(trials) >= len(file.trials) and monotonic() - start >= 60 * settings.minutes:
            break
        tried(f"trial {number}", point)
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial with the largest objective, the first of equal ones."""
    return max(trials, key=lambda trial: trial.objective)


def _asked(start: Float64Array, trials: list[Trial], seed: int) -> Iterator[Float64Array]:
    """Points of CMA-ES round a start; the caller appends what each scored to the trials."""
    bounds = np.tile(LIMITS, (start.size, 1))
    optimiser = import_cmaes().CMA(start.ravel(), SIGMA, bounds, seed=seed)
    while not optimiser.should_stop():
        generation = []
        for _ in range(optimiser.population_size):
            point = optimiser.ask()
            yield point.reshape(start.shape)
            generation.append((point, -trials[-1].objective))  # it makes values small
        optimiser.tell(generation)
