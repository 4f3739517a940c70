"""From a model folder to an engine: what loads, and what is refused and why."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec, write_model_folder, write_spec
from TumorSegLib.engines import load
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.load import load_engine, load_network, read_weights, write_weights
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, ModelError, ResourceError, WriteError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.models.folder import WEIGHTS_FILE, sha256_of
from TumorSegLib.models.spec import SPEC_FILE

SPEC = tiny_spec("two", ["ct", "pet"], optional=["pet"])


@pytest.fixture
def folder(tmp_path):
    return write_model_folder(tmp_path, SPEC, tiny_network(SPEC, seed=5))


def test_a_loaded_engine_gives_what_its_network_gave(folder):
    images = {role: noise_volume(Grid.from_spacing((18, 20, 17), (1, 1, 1)), role) for role in ("ct", "pet")}
    expected = AutoEngine(SPEC, tiny_network(SPEC, seed=5), Runtime(torch.device("cpu"), torch.float32)).segment(images)
    loaded = load_engine(folder, device="cpu", precision="float32")
    result = loaded.segment(images)
    assert loaded.spec == replace(SPEC, weights_sha256=sha256_of(folder / WEIGHTS_FILE))
    assert np.array_equal(result.probability.array, expected.probability.array)
    assert np.ptp(result.probability.array) > 0.05


def test_a_model_is_loaded_by_name(folder, monkeypatch):
    monkeypatch.setenv("TUMORSEG_MODELS", str(folder.parent))
    assert load_engine("two", "cpu").spec.version == SPEC.version
    with pytest.raises(ModelError, match=r"no model 'three'.*known \(.*two"):
        load_engine("three", "cpu")


@pytest.mark.parametrize("position", [0, 20, -1])
def test_tampered_weights_are_refused_before_they_are_read(folder, position):
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[position] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=r"'two'.*is corrupt or was changed"):
        load_engine(folder, "cpu")


def test_missing_weights_are_refused_by_name(folder):
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=f"{WEIGHTS_FILE} is missing"):
        load_engine(folder, "cpu")


def test_a_network_that_takes_no_boxes_is_refused_for_them(folder):
    write_spec(folder, replace(SPEC, kind="box", weights_sha256=sha256_of(folder / WEIGHTS_FILE)))
    with pytest.raises(ModelError, match=r"'two'.*ResidualDynUNet"):
        load_engine(folder, "cpu")


def test_the_kind_asked_for_is_given_or_refused_by_name(folder, tmp_path):
    clicks = replace(SPEC, name="clicker", kind="clicks")
    other = write_model_folder(tmp_path / "others", clicks, tiny_network(clicks))
    assert isinstance(load_engine(folder, "cpu", kind="auto"), AutoEngine)
    assert isinstance(load_engine(other, "cpu"), ClickEngine)
    assert isinstance(load_engine(other, "cpu", kind="clicks"), ClickEngine)
    with pytest.raises(ModelError, match="'two' is of kind 'auto', one of kind 'clicks' is needed here"):
        load_engine(folder, "cpu", kind="clicks")
    with pytest.raises(ModelError, match="'clicker' is of kind 'clicks', one of kind 'auto' is needed here"):
        load_engine(other, "cpu", kind="auto")


def test_a_bare_network_is_ready_for_inference(folder):
    network, expected = load_network(folder), tiny_network(SPEC, seed=5)
    assert not network.training
    assert network.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": {"filters": [4, 8, 16]}},
        {"arguments": {"filters": [4, 8, 8, 8]}},
        {"network": "DynUNet"},
        {"labels": {"core": 1, "rim": 2}},
    ],
    ids=["other widths", "deeper", "other network", "more labels"],
)
def test_weights_of_another_network_are_refused_by_name(folder, changes):
    checksum = sha256_of(folder / WEIGHTS_FILE)
    write_spec(folder, replace(SPEC, weights_sha256=checksum, **changes))
    network = changes.get("network", "ResidualDynUNet")
    with pytest.raises(ModelError, match=f"'two': .*{WEIGHTS_FILE} does not hold weights for {network}: ") as caught:
        load_engine(folder, "cpu")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"nonsense", (1 << 40).to_bytes(8, "little") + b"{}"])
def test_a_file_that_is_not_safetensors_is_refused_whatever_its_checksum(folder, content):
    (folder / WEIGHTS_FILE).write_bytes(content)
    write_spec(folder, replace(SPEC, weights_sha256=sha256_of(folder / WEIGHTS_FILE)))
    with pytest.raises(ModelError, match=f"{WEIGHTS_FILE} does not hold weights for ResidualDynUNet"):
        load_engine(folder, "cpu")


def test_a_pickle_is_never_loaded(folder):
    torch.save(tiny_network(SPEC).state_dict(), folder / WEIGHTS_FILE)
    write_spec(folder, replace(SPEC, weights_sha256=sha256_of(folder / WEIGHTS_FILE)))
    with pytest.raises(ModelError, match="does not hold weights"):
        load_engine(folder, "cpu")


def test_weights_that_do_not_fit_into_memory_are_not_called_wrong(folder, monkeypatch):
    def full(*_: object) -> None:
        raise OSError("unable to mmap 39257280 bytes: Cannot allocate memory (12)")

    monkeypatch.setattr(load, "load_model", full)
    with pytest.raises(ResourceError, match=r"^not enough memory to load 'two': unable to mmap"):
        load_network(folder)


def test_an_unknown_network_is_refused(folder):
    data = json.loads((folder / SPEC_FILE).read_text())
    (folder / SPEC_FILE).write_text(json.dumps({**data, "network": "ResNet"}))
    with pytest.raises(ModelError, match="network 'ResNet' is not one of"):
        load_engine(folder, "cpu")


def test_device_and_precision_are_checked_first(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ArgumentError, match="device 'gpu'"):
        load_engine(tmp_path / "nowhere", device="gpu")
    with pytest.raises(ArgumentError, match="precision 'int8'"):
        load_engine(tmp_path / "nowhere", precision="int8")
    with pytest.raises(ResourceError, match="'cuda' is not available here"):
        load_engine(tmp_path / "nowhere", device="cuda")


def test_loading_in_bfloat16_says_so(folder):
    image = noise_volume(Grid.from_spacing((16, 16, 16), (1, 1, 1)))
    info = load_engine(folder, "cpu", "bfloat16").segment({"ct": image}).info
    assert (info["device"], info["precision"]) == ("cpu", "bfloat16")


def test_weights_that_are_gone_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.safetensors does not hold weights"):
        read_weights(tiny_network(SPEC), tmp_path / "gone.safetensors", SPEC)


def test_weights_that_cannot_be_written_are_reported(tmp_path):
    with pytest.raises(WriteError, match=r"no_folder.*weights cannot be written"):
        write_weights(tiny_network(SPEC), tmp_path / "no_folder" / WEIGHTS_FILE)
