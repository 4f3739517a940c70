"""OpenVINO as the back end of the engines, against PyTorch in float32 on the same networks."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from Testing.fakes import noise_volume, tiny_network, tiny_spec
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.backends import openvino as backend
from TumorSegLib.engines.backends.cache import MOST_KEPT, CachedModels
from TumorSegLib.engines.backends.openvino import BackendError, OpenVinoNetwork
from TumorSegLib.engines.runtime import OPENVINO, Runtime

CPU = torch.device("cpu")
TORCH_FLOAT32, OPENVINO_FLOAT32 = Runtime(CPU, torch.float32), Runtime(CPU, torch.float32, OPENVINO)
SPEC = tiny_spec(weights_sha256="1" * 64)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUMORSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def converted(network: nn.Module | None = None, spec: Any = SPEC) -> OpenVinoNetwork:
    return OpenVinoNetwork(spec, tiny_network(spec) if network is None else network, torch.float32)


def folders(cache: Path) -> list[Path]:
    return sorted((cache / "networks").iterdir())


@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 16), (2, 1, 16, 32, 48)])
def test_a_converted_network_answers_as_the_original(cache: Path, shape: tuple[int, ...]) -> None:
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = tiny_network(SPEC)(batch)
    torch.testing.assert_close(converted()(batch), expected, rtol=0, atol=1e-4)


def test_a_converted_network_is_kept_and_read_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = torch.randn(1, 1, 16, 16, 16)
    before = converted()(batch)
    (folder,) = folders(cache)
    assert sorted(file.name for file in folder.iterdir()) == ["checksums.json", "network.bin", "network.xml"]
    monkeypatch.setattr(backend.load_openvino(), "convert_model", None)
    torch.testing.assert_close(converted()(batch), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["network.bin", "network.xml", "checksums.json"])
def test_a_kept_network_that_was_altered_is_made_anew(cache: Path, name: str) -> None:
    batch = torch.randn(1, 1, 16, 16, 16)
    before = converted()(batch)
    file = folders(cache)[0] / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    torch.testing.assert_close(converted()(batch), before, rtol=0, atol=0)
    assert file.read_bytes() != data


def test_files_of_another_network_are_not_taken_though_their_checksums_match(cache: Path) -> None:
    batch, other = torch.randn(1, 1, 16, 16, 16), tiny_spec(weights_sha256="2" * 64)
    before = converted()(batch)
    (own,) = folders(cache)
    assert not torch.equal(converted(tiny_network(other, seed=1), other)(batch), before)
    (foreign,) = set(folders(cache)) - {own}
    shutil.rmtree(own)
    shutil.copytree(foreign, own)
    torch.testing.assert_close(converted()(batch), before, rtol=0, atol=0)


def test_a_kept_network_that_cannot_be_read_is_made_anew(cache: Path) -> None:
    batch = torch.randn(1, 1, 16, 16, 16)
    before = converted()(batch)

    def save(path: Path) -> None:
        path.write_text("<net/>")
        path.with_suffix(".bin").write_bytes(b"")

    name = f"openvino {backend.load_openvino().__version__} {type(tiny_network(SPEC)).__qualname__}"
    CachedModels(name, SPEC).write(save)
    assert len(folders(cache)) == 1
    torch.testing.assert_close(converted()(batch), before, rtol=0, atol=0)


def test_a_read_only_cache_is_used_as_it_is(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(backend.load_openvino(), "convert_model", None)
    assert converted()(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_another_process_may_keep_the_same_network_at_the_same_time(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = torch.randn(1, 1, 16, 16, 16)
    expected = converted()(batch)
    (folder,) = folders(cache)
    theirs = folder.rename(tmp_path / "theirs")

    def meet(*_: object, **__: object) -> None:
        theirs.rename(folder)
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(backend.load_openvino(), "save_model", meet)
    torch.testing.assert_close(converted()(batch), expected)
    assert folders(cache) == [folder]


def test_a_full_disk_is_told_with_what_is_free(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")  # which is all that OpenVINO says then

    monkeypatch.setattr(backend.load_openvino(), "save_model", fail)
    with pytest.raises(BackendError, match=r"cannot be written with \d+\.\d MB free: basic_ios::clear"):
        converted()
    assert folders(cache) == []


def test_other_weights_have_another_kept_network_and_the_oldest_go(cache: Path) -> None:
    def save(path: Path) -> None:
        path.write_text("network")
        path.with_suffix(".bin").write_text("weights")

    kept = [CachedModels("openvino 1", tiny_spec(weights_sha256=f"{number:064d}")) for number in range(MOST_KEPT + 2)]
    for number, each in enumerate(kept):
        each.write(save)
        os.utime(max(folders(cache), key=lambda folder: folder.stat().st_mtime_ns), (number, number))
    assert [each.read() is not None for each in kept] == [False, False, *[True] * MOST_KEPT]
    assert CachedModels("openvino 2", tiny_spec(weights_sha256=f"{9:064d}")).read() is None


def test_a_network_without_checksum_is_not_converted(cache: Path) -> None:
    with pytest.raises(BackendError, match="no checksum"):
        converted(spec=tiny_spec())
    assert not cache.exists()


class Branching(nn.Module):
    """Answers zeros, which networks are traced with, otherwise than anything else: a traced copy is always wrong."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 2 if images.any() else images * 3 + 1


class Failing(nn.Module):
    """Cannot be traced."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise NotImplementedError("an operator of its own")
        return images


@pytest.mark.parametrize("problem", ["cache", "answers", "graph", "missing", "too old"])
def test_pytorch_runs_where_openvino_cannot_be_used_and_a_note_says_why(
    cache: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    network = tiny_network(SPEC)
    if problem == "cache":
        cache.write_text("a file where the folder should be")
    if problem in {"answers", "graph"}:
        network = Branching() if problem == "answers" else Failing()
    if problem == "missing":
        monkeypatch.setitem(sys.modules, "openvino", None)
    if problem == "too old":
        monkeypatch.setattr(backend.load_openvino(), "__version__", "2023.1.0-12185")
    images = {"ct": noise_volume(CUBE)}
    expected = AutoEngine(SPEC, network, TORCH_FLOAT32).segment(images)
    result = AutoEngine(SPEC, network, OPENVINO_FLOAT32).segment(images)
    np.testing.assert_array_equal(result.probability.array, expected.probability.array)
    assert result.info.backend == "torch"
    (note,) = result.info.notes
    assert note.startswith("tiny ran on PyTorch, slower: ")
    assert {
        "cache": "the folder cannot be made",
        "answers": "the converted network's answers differ by",
        "graph": "OpenVINO cannot convert ResidualDynUNet",
        "missing": "the package openvino does not load",
        "too old": "openvino 2023.1.0-12185 is too old; 2025.0 or later is needed",
    }[problem] in note
    assert not (cache / "networks").exists()


def test_the_automatic_engine_gives_the_result_of_pytorch(cache: Path) -> None:
    images, network = {"ct": noise_volume(CUBE)}, tiny_network(SPEC)
    expected, result = (
        AutoEngine(SPEC, network, runtime).segment(images, mirror=True) for runtime in (TORCH_FLOAT32, OPENVINO_FLOAT32)
    )
    assert (result.info.backend, result.info.notes) == ("openvino", ())
    np.testing.assert_allclose(result.probability.array, expected.probability.array, atol=1e-3)
    assert result.mask.array.any()


def test_pytorch_goes_on_where_openvino_fails_while_it_runs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, network = {"ct": noise_volume(CUBE)}, tiny_network(SPEC)
    engine = AutoEngine(SPEC, network, OPENVINO_FLOAT32)

    def fail(*_: object) -> Any:
        raise RuntimeError("[CPU] primitive descriptor was not found")

    monkeypatch.setattr(OpenVinoNetwork, "_compile", fail)
    result = engine.segment(images)
    expected = AutoEngine(SPEC, network, TORCH_FLOAT32).segment(images)
    np.testing.assert_array_equal(result.probability.array, expected.probability.array)
    assert "primitive descriptor was not found" in result.info.notes[0]
    assert engine.segment(images).info.backend == "torch"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_forked_process_goes_on_with_pytorch(cache: Path) -> None:
    code = """
import os, torch
from Testing.fakes import noise_volume, tiny_network
from Testing.unit.engines.backends.test_openvino import CUBE, OPENVINO_FLOAT32, SPEC
from TumorSegLib.engines.auto.engine import AutoEngine
engine, images = AutoEngine(SPEC, tiny_network(SPEC), OPENVINO_FLOAT32), {"ct": noise_volume(CUBE)}
assert engine.segment(images).info.backend == "openvino"
child = os.fork()
info = engine.segment(images).info
print("child" if not child else "parent", info["backend"], *info.notes, flush=True)
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert sorted(done.stdout.splitlines()) == [
        "child torch tiny ran on PyTorch, slower: OpenVINO does not run in a forked process.",
        "parent openvino",
    ]


def test_telemetry_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "openvino_telemetry.py").write_text("raise SystemExit('telemetry was imported')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from TumorSegLib.engines.backends.openvino import load_openvino
print(load_openvino().__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "openvino"


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="the order of threads cannot be decided here")
def test_two_threads_may_use_a_kept_network_first_at_once(cache: Path) -> None:
    converted()
    code = """
import os, sys, threading, time
from Testing.unit.engines.backends.test_openvino import converted
compiled = converted()._compile([(1, 1, 16, 16, 16)], 2)
requests = [compiled.create_infer_request() for _ in range(2)]
tensors = [request.get_input_tensor(0) for request in requests]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
sys.setswitchinterval(10)
begin, ready = threading.Lock(), threading.Event()
begin.acquire()

def second():
    try:  # it runs as soon as the first one lets go of the interpreter's lock
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("not permitted")
    ready.set()
    begin.acquire()
    print(tensors[1].data.shape)

thread = threading.Thread(target=second)
thread.start()
ready.wait()
time.sleep(0.5)
begin.release()
print(tensors[0].data.shape)
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    if "not permitted" in done.stdout:
        pytest.skip("the order of threads cannot be decided without permission")
    assert done.stdout.splitlines() == ["(1, 1, 16, 16, 16)"] * 2
