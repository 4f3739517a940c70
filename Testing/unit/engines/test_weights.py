"""Networks from model folders: their weights have the published checksum, fit the network, and are read once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from Testing.fakes import tiny_network, tiny_spec, write_model, write_spec
from TumorSegLib.engines import weights
from TumorSegLib.engines.weights import load_network, write_weights
from TumorSegLib.errors import ModelError, ResourceError, WriteError
from TumorSegLib.models.folder import WEIGHTS_FILE, read_model_folder, sha256_of

SPEC = tiny_spec("two", ["ct", "pet"], optional=["pet"])


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path, SPEC, tiny_network(SPEC, seed=5))


def changed_spec(folder, **changes):
    """Writes other values into ``model.json``, with the checksum of the weights that are there."""
    return write_spec(folder, replace(SPEC, weights_sha256=sha256_of(folder / WEIGHTS_FILE), **changes))


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
    changed_spec(folder, **changes)
    network = changes.get("network", "ResidualDynUNet")
    with pytest.raises(ModelError, match=f"'two': .*{WEIGHTS_FILE} does not hold weights for {network}: ") as caught:
        load_network(read_model_folder(folder))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"nonsense", (1 << 40).to_bytes(8, "little") + b"{}", None])
def test_pickles_and_other_files_are_refused_with_a_correct_checksum(folder, content):
    if content is None:
        torch.save(tiny_network(SPEC).state_dict(), folder / WEIGHTS_FILE)
    else:
        (folder / WEIGHTS_FILE).write_bytes(content)
    changed_spec(folder)
    with pytest.raises(ModelError, match=f"{WEIGHTS_FILE} does not hold weights for ResidualDynUNet"):
        load_network(read_model_folder(folder))


def test_weights_that_do_not_fit_into_memory_are_not_called_wrong(folder, monkeypatch):
    def full(*_: object) -> None:
        raise MemoryError("39257280 bytes")

    monkeypatch.setattr(weights, "load", full)
    with pytest.raises(ResourceError, match=r"^not enough memory to load 'two': 39257280 bytes"):
        load_network(read_model_folder(folder))


def test_weights_with_another_checksum_are_refused(folder):
    write_weights(tiny_network(SPEC, seed=6), folder / WEIGHTS_FILE)
    with pytest.raises(ModelError, match=r"'two'.*is corrupt or was changed"):
        load_network(read_model_folder(folder))


def test_weights_replaced_after_their_check_are_not_those_loaded(folder, monkeypatch):
    """What is loaded is what the checksum was computed of, whatever happens to the file meanwhile."""
    read = Path.read_bytes

    def read_then_replaced(path):
        content = read(path)
        write_weights(tiny_network(SPEC, seed=6), path)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_then_replaced)
    network, expected = load_network(read_model_folder(folder)), tiny_network(SPEC, seed=5).state_dict()
    loaded = network.state_dict()
    assert not network.training
    assert sha256_of(folder / WEIGHTS_FILE) != read_model_folder(folder).spec.weights_sha256
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_the_same_weights_are_the_same_bytes(tmp_path):
    """Modules of the network share tensors; under which name each is kept must not depend on chance."""
    network, other = tiny_network(SPEC, seed=6), tiny_network(SPEC, seed=7)
    paths = [tmp_path / f"{n}.safetensors" for n in range(6)]
    for path in paths:
        write_weights(network, path)
    assert len({sha256_of(path) for path in paths}) == 1
    write_weights(other, paths[0])
    assert sha256_of(paths[0]) != sha256_of(paths[1])


def test_weights_that_cannot_be_written_are_reported(tmp_path):
    with pytest.raises(WriteError, match=r"no_folder.*weights cannot be written"):
        write_weights(tiny_network(SPEC), tmp_path / "no_folder" / WEIGHTS_FILE)
