"""A tiny model to fine-tune, and configurations and slices for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from Testing.fakes import tiny_spec, write_model
from Testing.training.training_runs import replaced, write_ball
from training.config.finetune import FinetuneConfiguration, read_finetune_configuration
from training.sam.examples import Choice, Encoder, Example, encode_examples
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.networks.sam import Sam, build_sam
from TumorSegLib.engines.runtime import choose_runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.models.folder import read_model_folder

TINY = {"image_size": 64, "depth": 1, "width": 32, "heads": 2, "global_attention": [0], "channels": 64}
CONFIGURATION = """
roles = ["ct", "pet"]

[model]
base = "tiny-sam"
name = "tiny-tuned"
version = "0.1.0"
description = "for tests"

[data]
test_fold = 2
slices_per_case = 4
margin_mm = 3.0
jitter_mm = 4.0

[optimisation]
steps = 3
batch = 4
learning_rate = 3e-3
warm_up = 5
seed = 1

[[training_data]]
name = "balls"
licence = "CC0-1.0"
attribution = "nobody"
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with a SAM of random weights in it."""
    root = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_sam("SamViT", TINY, "tiny")
    spec = tiny_spec("tiny-sam", kind="box", network="SamViT", arguments=TINY)
    return write_model(root, spec, network)


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases a to d in three folds, each a bright ball of about 32 mm, wide enough for masks of 16 pixels."""
    folder = tmp_path_factory.mktemp("balls")
    for seed, name in enumerate("abcd"):
        write_ball(folder, name, Grid.from_spacing((32, 32, 32), (2, 2, 2)), seed, 7.0 + seed / 2)
    (folder / "splits.json").write_text(json.dumps({"folds": [["a"], ["b"], ["c", "d"]]}), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _known(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORSEG_MODELS", str(base.parent))


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes the configuration; ``written("old text", "new text", ...)`` replaces parts of it first."""

    def write(*changes: str) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(replaced(CONFIGURATION, *changes), encoding="utf-8")
        return path

    return write


@pytest.fixture
def tuning(written: Callable[..., Path]) -> Callable[..., FinetuneConfiguration]:
    return lambda *changes: read_finetune_configuration(written(*changes))


@pytest.fixture
def examples(base: Path, data: Path, tuning: Callable[..., FinetuneConfiguration], tmp_path: Path) -> list[Example]:
    """Slices of case a, CT then PET."""
    (tmp_path / "embeddings").mkdir()
    network = load_network(read_model_folder(base))
    assert isinstance(network, Sam)
    engine = BoxEngine(read_model_folder(base).spec, network, choose_runtime("cpu"))
    encoder = Encoder(engine, network, tmp_path / "embeddings")
    choice = Choice(tuning().roles, tuning().data, tuning().optimisation.seed)
    return encode_examples(encoder, choice, data, ["a"])[0]
