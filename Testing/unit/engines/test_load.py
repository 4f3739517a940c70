"""From a model folder to an engine: what loads, and what is refused and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec, write_model
from TumorSegLib.engines import load
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.models.folder import WEIGHTS_FILE, read_model_folder, sha256_of

SPEC = tiny_spec("two", ["ct", "pet"], optional=["pet"])


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path, SPEC, tiny_network(SPEC, seed=5))


def test_a_loaded_engine_gives_the_result_of_its_network(folder):
    images = {role: noise_volume(Grid.from_spacing((18, 20, 17), (1, 1, 1)), role) for role in ("ct", "pet")}
    expected = AutoEngine(SPEC, tiny_network(SPEC, seed=5), Runtime(torch.device("cpu"), torch.float32)).segment(images)
    loaded = load_engine(folder, device="cpu", precision="float32", backend="torch")
    result = loaded.segment(images)
    assert result.info["precision"] == "float32"
    assert load_engine(folder, "cpu", "bfloat16", "torch").segment(images).info["precision"] == "bfloat16"
    assert loaded.spec == replace(SPEC, weights_sha256=sha256_of(folder / WEIGHTS_FILE))
    assert np.array_equal(result.probability.array, expected.probability.array)
    assert np.ptp(result.probability.array) > 0.05


def test_the_kind_asked_for_is_given_or_refused_by_name(folder, tmp_path):
    boxes = write_model(tmp_path / "others", replace(SPEC, input=tiny_spec(kind="box").input), tiny_network(SPEC))
    with pytest.raises(ModelError, match=r"'two'.*ResidualDynUNet"):
        load_engine(boxes, "cpu")
    clicks = tiny_spec("clicker", SPEC.roles, SPEC.optional, kind="clicks")
    other = write_model(tmp_path / "others", clicks, tiny_network(clicks))
    assert isinstance(load_engine(folder, "cpu", kind="auto"), AutoEngine)
    assert isinstance(load_engine(other, "cpu"), ClickEngine)
    assert isinstance(load_engine(other, "cpu", kind="clicks"), ClickEngine)
    with pytest.raises(ModelError, match="'two' is of kind 'auto', one of kind 'clicks' is needed here"):
        load_engine(folder, "cpu", kind="clicks")
    with pytest.raises(ModelError, match="'clicker' is of kind 'clicks', one of kind 'auto' is needed here"):
        load_engine(other, "cpu", kind="auto")


def test_the_device_is_checked_before_the_model(tmp_path):
    with pytest.raises(ArgumentError, match="device 'gpu'"):
        load_engine(tmp_path / "nowhere", device="gpu")


def test_description_and_weights_come_from_one_folder_even_if_the_models_change_meanwhile(folder, monkeypatch):
    """A folder of the same name that appears first in the list must not give the weights to another's description."""
    found = []

    def once(name):
        assert not found, "the folder is looked for twice"
        found.append(read_model_folder(folder))
        return found[0]

    monkeypatch.setattr(load, "find_model", once)
    assert load_engine("two", "cpu").spec == found[0].spec
