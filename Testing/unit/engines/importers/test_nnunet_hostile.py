"""Checkpoints of nnU-Net that would execute code, or claim more than they have: refused, and nothing is executed."""

from __future__ import annotations

import builtins
import importlib
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.unit.engines.importers.nnunet_cases import state_dict, write_checkpoint, write_training
from TumorSegLib.engines.importers.nnunet import import_nnunet
from TumorSegLib.engines.importers.nnunet_checkpoint import read_checkpoint
from TumorSegLib.errors import ModelError, ResourceError


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    return write_training(tmp_path)


def checkpoint_of(training: Path) -> Path:
    return training / "fold_0" / "checkpoint_final.pth"


class Calls:
    """Calls a function when it is unpickled, as any pickle may."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


CALLS = {
    "a command": (os.system, lambda sign: (f"touch {sign}",), r"(posix|nt)\.system"),
    "an expression": (eval, lambda sign: (f"open({str(sign)!r}, 'w')",), "eval"),
    "a program": (exec, lambda sign: (f"open({str(sign)!r}, 'w')",), "exec"),
    "a process": (subprocess.Popen, lambda sign: (["touch", str(sign)],), "Popen"),
    "a file": (builtins.open, lambda sign: (str(sign), "w"), r"(io|_io)\.open"),
    "a module": (importlib.import_module, lambda sign: ("os",), r"importlib\.import_module"),
    "another pickle": (pickle.loads, lambda sign: (b"N.",), "loads"),
    "an array of objects": (np.load, lambda sign: (str(sign),), r"numpy\.load"),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("place", ["logging", "init_args", "network_weights"])
def test_a_pickle_that_would_execute_code_is_refused_by_its_type(training: Path, case: str, place: str) -> None:
    function, arguments, name = CALLS[case]
    sign = training / "executed"
    if case == "an array of objects":
        np.save(training / "objects.npy", np.array([Calls(os.system, f"touch {sign}")], dtype=object))
    hostile = Calls(function, *arguments(sign if case != "an array of objects" else training / "objects.npy"))
    write_checkpoint(
        checkpoint_of(training), **({place: {"x": hostile}} if place != "network_weights" else {"x": hostile})
    )
    with pytest.raises(ModelError, match=rf"contains the type .*{name}.* nothing was executed"):
        import_nnunet(training, "m")
    assert not sign.exists()
    assert not (training.parent / "models").exists()


def test_the_corpus_would_execute_elsewhere(tmp_path: Path) -> None:
    """What is refused above is dangerous indeed."""
    pickle.loads(pickle.dumps(Calls(os.system, f"touch {tmp_path / 'executed'}")))
    assert (tmp_path / "executed").exists()


def test_numbers_of_numpy_that_hide_objects_are_refused(training: Path) -> None:
    scalar = np.float64(0).__reduce__()[0]
    write_checkpoint(checkpoint_of(training), logging=Calls(scalar, np.dtype(object), b"cos\nsystem\n."))
    with pytest.raises(ModelError, match="not of plain numbers"):
        import_nnunet(training, "m")


def test_the_allowed_types_are_allowed_while_a_checkpoint_is_read_only(training: Path) -> None:
    read_checkpoint(checkpoint_of(training))
    with pytest.raises(pickle.UnpicklingError, match="Unsupported"):
        torch.load(checkpoint_of(training), weights_only=True)


def test_tensors_that_claim_more_than_the_file_has_are_refused(training: Path) -> None:
    weights = state_dict()
    name = "encoder.stages.0.0.convs.0.conv.weight"
    weights[name] = torch.zeros(1).expand(weights[name].shape)
    write_checkpoint(checkpoint_of(training), weights)
    with pytest.raises(ModelError, match=f"{name} claims more numbers than the file has"):
        import_nnunet(training, "m")


def repacked(training: Path, change: Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes]]) -> None:
    """Writes the entries of the checkpoint anew, each as changed."""
    file = checkpoint_of(training)
    with zipfile.ZipFile(file) as archive:
        entries = [change(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(file, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)


def test_archives_that_unpack_to_more_are_refused(training: Path) -> None:
    def compressed(entry: zipfile.ZipInfo, content: bytes) -> tuple[zipfile.ZipInfo, bytes]:
        entry.compress_type = zipfile.ZIP_DEFLATED
        return entry, content + bytes(10**6)

    repacked(training, compressed)
    with pytest.raises(ModelError, match="is not a checkpoint of PyTorch: it is compressed"):
        import_nnunet(training, "m")


def test_sizes_of_a_hundred_gigabytes_in_headers_are_refused(training: Path) -> None:
    file = checkpoint_of(training)
    content = bytearray(file.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # of the last entry in the directory
    content[at + 20 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little") * 2
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"larger than the file|is damaged|not copied completely"):
        import_nnunet(training, "m")


def test_a_pickle_that_asks_for_a_hundred_gigabytes_takes_none(training: Path) -> None:
    write_checkpoint(checkpoint_of(training), logging=Calls(bytearray, 10**17))
    with pytest.raises((ModelError, ResourceError)):
        import_nnunet(training, "m")


@pytest.mark.parametrize("length", [0, 1, 100, 5000])
def test_other_files_are_refused(training: Path, length: int) -> None:
    checkpoint_of(training).write_bytes(np.random.default_rng(length).bytes(length))
    with pytest.raises(ModelError, match="is not a checkpoint of PyTorch"):
        import_nnunet(training, "m")


def test_a_pickle_without_an_archive_is_refused(training: Path) -> None:
    sign = training / "executed"
    checkpoint_of(training).write_bytes(pickle.dumps(Calls(os.system, f"touch {sign}")))
    with pytest.raises(ModelError, match="is not a checkpoint of PyTorch"):
        import_nnunet(training, "m")
    assert not sign.exists()
