"""A data folder of four small synthetic cases, and a configuration whose network learns from it in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from Testing.fakes import tiny_network, write_model
from Testing.training.training_runs import replaced, write_ball
from training.config.train import Configuration, parse_configuration
from training.data.batches import Pools
from training.data.cases import Case, coarsened, read_case
from training.loop.train import train
from TumorSegLib.geometry.grid import Grid

FOLDS = [["a"], ["b"], ["c", "d"]]
WINDOW = [[2, 20], [3, 21], [1, 19]]
CONFIGURATION = """
[model]
name = "tiny"
version = "1.0.0"
licence = "Apache-2.0"
description = "for tests"
network = "ResidualDynUNet"
arguments = { filters = [4, 8, 8] }
labels = { tumour = 1 }

[model.input]
type = "volume"
roles = ["ct", "pet"]
optional = ["ct", "pet"]
spacing_mm = [2.0, 2.0, 2.0]
patch = [16, 16, 16]

[model.input.normalisation]
ct = { method = "linear", low = -160.0, high = 240.0, offset = -20.0, scale = 100.0, outside = -1000.0 }
pet = { method = "log1p", low = 0.0, high = 30.0 }

[data]
test_fold = 2

[optimisation]
steps = 6
batch = 1
learning_rate = 1e-2
warm_up = 2
seed = 3
checkpoint_every = 3
"""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def new_data(tmp_path: Path) -> Path:
    """A data folder that a test may change."""
    return write_data(tmp_path / "data")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases a, b, c and d (d without PET) in three folds, case c with a window; shared, not to be changed."""
    return write_data(tmp_path_factory.mktemp("cases") / "data")


def write_data(folder: Path) -> Path:
    folder.mkdir()
    for seed, name in enumerate("abcd"):
        grid = Grid.from_spacing((20, 24, 22), (2, 2, 2), (30.0, 40.0, -500.0 - seed), np.diag([-1.0, -1.0, 1.0]))
        write_ball(folder, name, grid, seed, 4.0, ("ct",) if name == "d" else ("ct", "pet"))
    (folder / "splits.json").write_text(json.dumps({"folds": FOLDS}), encoding="utf-8")
    (folder / "patients.json").write_text(json.dumps({"c": {"jitter_window_xyz": WINDOW}}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def configured() -> Callable[..., Configuration]:
    """Makes the configuration; ``configured("old text", "new text", ...)`` replaces parts of it first."""

    def make(*changes: str) -> Configuration:
        return parse_configuration(replaced(CONFIGURATION, *changes), "tiny.toml")

    return make


@pytest.fixture
def model(configured: Callable[..., Configuration], tmp_path: Path) -> Path:
    """A model folder with random weights."""
    spec = configured().model
    return write_model(tmp_path / "models", spec, tiny_network(spec))


@pytest.fixture(scope="session")
def finished_run(
    data: Path, configured: Callable[..., Configuration], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of 40 steps, which suffice to find the bright ball; shared, not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    changes = "steps = 6", "steps = 40", "batch = 1", "batch = 2", "every = 3", "every = 20\nvalidate_every = 40"
    train(configured(*changes), data, run, "cpu", "float32")
    return run


@pytest.fixture(scope="session")
def clicking(configured: Callable[..., Configuration]) -> Callable[..., Configuration]:
    """Makes that of a refinement network: ``clicking("settings of [clicks]", "old text", "new text", ...)``.

    Patches have a voxel of the tumour in their middle, and do not move unless the settings name a ``context``.
    """

    def make(settings: str = "", *changes: str) -> Configuration:
        context = "" if "context" in settings else "context = 0"
        sections = f"[augmentation]\ntumour_share = 1.0\n\n[clicks]\n{context}\n{settings}\n\n[data]"
        return configured('type = "volume"', 'type = "prompted volume"', "[data]", sections, *changes)

    return make


@pytest.fixture
def refiner_folder(configured: Callable[..., Configuration], tmp_path: Path) -> Path:
    changes = 'name = "tiny"', 'name = "tiny-clicks"', 'type = "volume"', 'type = "prompted volume"'
    spec = configured(*changes, "[data]", "[clicks]\n[data]").model
    return write_model(tmp_path / "refiners", spec, tiny_network(spec))


@pytest.fixture(scope="session")
def case(data: Path) -> Case:
    return read_case(data, "a", ("ct", "pet"))


@pytest.fixture(scope="session")
def pools(case: Case) -> dict[float, Pools]:
    return {1.0: Pools([case], []), 2.0: Pools([coarsened(case, (4.0, 4.0, 4.0))], [])}
