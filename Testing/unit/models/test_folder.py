"""Model folders: reading, writing in one step, and whether the weights are those published."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

from Testing.fakes import tiny_spec, write_spec
from TumorSegLib.errors import ModelError, WriteError
from TumorSegLib.models.folder import (
    CARD_FILE,
    WEIGHTS_FILE,
    read_model_folder,
    sha256_of,
    write_description,
    write_model_folder,
)
from TumorSegLib.models.spec import SPEC_FILE


def folder_with_weights(root: Path, content: bytes = b"weights") -> Path:
    return write_model_folder(root / "m", tiny_spec("m"), partial(Path.write_bytes, data=content)).path


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1, 2]", b'"text"', b"\x00", b"{}", b'{"name": "\xff"}'])
def test_a_folder_without_a_valid_description_is_refused_by_name(tmp_path, content):
    if content is not None:
        (tmp_path / SPEC_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=str(tmp_path)):
        read_model_folder(tmp_path)


def test_a_written_folder_is_read_as_it_was_with_the_checksum_of_its_weights(tmp_path):
    spec = tiny_spec("m", weights_sha256="0" * 64)
    written = write_model_folder(tmp_path / "new" / "m", spec, partial(Path.write_bytes, data=b"weights"), "# Card\n")
    assert read_model_folder(written.path) == written
    written.verify()
    assert written.verified_weights() == b"weights"
    assert (written.path / CARD_FILE).read_text() == "# Card\n"
    assert json.loads((written.path / SPEC_FILE).read_text())["format"] == 2


def test_a_description_with_new_results_survives_a_power_failure(tmp_path, monkeypatch):
    folder = folder_with_weights(tmp_path)
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (flushed.append(os.fstat(descriptor).st_ino), fsync(descriptor))
    )
    write_description(folder, tiny_spec("m", results={"evaluate": {"dice": 0.8}}))
    assert (folder / SPEC_FILE).stat().st_ino in flushed
    assert read_model_folder(folder).spec.results == {"evaluate": {"dice": 0.8}}


def test_a_folder_written_again_keeps_its_card_unless_another_is_given(tmp_path):
    for content, card in ((b"1", "old"), (b"2", None), (b"3", "new")):
        model = write_model_folder(tmp_path / "m", tiny_spec("m"), partial(Path.write_bytes, data=content), card)
        model.verify()
        assert (model.path / CARD_FILE).read_text() == (card or "old")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_failure_while_weights_are_written_leaves_the_old_folder_and_names_it(tmp_path):
    folder = folder_with_weights(tmp_path)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise WriteError(f"{path}: disk full")

    with pytest.raises(WriteError, match=rf"{folder}: the weights cannot be written: .*disk full"):
        write_model_folder(folder, tiny_spec("m"), fail)
    assert read_model_folder(folder).verified_weights() == b"weights"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("method", ["verify", "verified_weights"])
def test_changed_and_missing_weights_are_refused(tmp_path, method):
    model = read_model_folder(folder_with_weights(tmp_path, bytes(3 << 20)))
    content = bytearray(model.weights.read_bytes())
    content[2_500_000] ^= 1
    model.weights.write_bytes(content)
    with pytest.raises(ModelError, match=f"model 'm': .*{WEIGHTS_FILE} is corrupt or was changed: its sha256 is "):
        getattr(model, method)()
    model.weights.unlink()
    with pytest.raises(ModelError, match=f"model 'm': .*{WEIGHTS_FILE} is missing"):
        getattr(model, method)()


@pytest.mark.parametrize(("checksum", "words"), [("0" * 64, "0" * 64), ("", "nothing")])
def test_verify_refuses_a_description_with_another_checksum_or_none(tmp_path, checksum, words):
    model = read_model_folder(write_spec(folder_with_weights(tmp_path), tiny_spec("m", weights_sha256=checksum)))
    with pytest.raises(ModelError, match=f"model.json says {words}"):
        model.verify()


def test_sha256_is_that_of_the_standard(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")  # the example of FIPS 180-2
    assert sha256_of(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
