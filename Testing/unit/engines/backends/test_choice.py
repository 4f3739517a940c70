"""The back end that engines run on, as it is asked for or as the fastest one that was measured."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec, write_model
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib import ArgumentError, load_engine
from TumorSegLib.engines.backends import choice
from TumorSegLib.engines.backends.openvino import BackendError, OpenVinoNetwork, openvino_dtypes
from TumorSegLib.models.registry import find_model

CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda kept: None,
    lambda kept: {**kept, "name": ["torch"]},
    lambda kept: {**kept, "name": "openvino int4"},
    lambda kept: {**kept, "seconds": 3},
    lambda kept: {**kept, "seconds": {}},
    lambda kept: {**kept, "seconds": {kept["name"]: 0.1}},
    lambda kept: {**kept, "seconds": dict.fromkeys(kept["seconds"], "fast")},
    lambda kept: {**kept, "seconds": dict.fromkeys(kept["seconds"], math.nan)},
]
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUMORSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    spec = tiny_spec()
    return write_model(tmp_path, spec, tiny_network(spec))


def info(model: Path, **options: Any) -> Any:
    return load_engine(model, "cpu", **options).segment({"ct": noise_volume(CUBE)}).info


def test_the_fastest_back_end_is_measured_once_and_kept(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = info(model)
    (kept,) = json.loads((cache / "backends.json").read_text()).values()
    assert len(kept["seconds"]) == 1 + len(openvino_dtypes())
    assert kept["seconds"][kept["name"]] == min(kept["seconds"].values())
    assert f"{measured['backend']} {measured.precision}" == kept["name"]
    assert all(f"{name} {seconds:.3f} s" in measured["backend_reason"] for name, seconds in kept["seconds"].items())
    monkeypatch.setattr(choice, "_measured", None)
    again = info(model)
    assert (again.backend, again["backend_reason"]) == (measured.backend, measured["backend_reason"])


def test_where_one_pass_takes_long_it_counts_alone(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    monkeypatch.setattr(choice, "_seconds", lambda work: passes.append(1) or 30.0 + len(passes))
    measured = info(model)
    assert len(passes) == 1 + len(openvino_dtypes())
    assert (measured.backend, str(measured["backend_reason"]).count("31.000 s")) == ("torch", 1)


def test_the_choice_is_described_without_measuring(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_model(model)
    first = choice.describe_choice(found)
    assert first.startswith("not measured yet; the first run measures torch ")
    assert not cache.exists()
    measured = info(model)
    described = f"{measured.backend} {measured.precision} on cpu; {measured['backend_reason']}"
    assert choice.describe_choice(found) == described
    assert choice.describe_choice(replace(found, spec=replace(found.spec, weights_sha256="2" * 64))) == first
    boxes = replace(found, spec=tiny_spec("boxes", kind="box", network="SamViT"))
    assert choice.describe_choice(boxes).endswith("PyTorch, as SamViT is too large to keep a converted copy")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "PyTorch, as the package openvino does not load" in choice.describe_choice(found)


@pytest.mark.parametrize("name", ["torch float32", "openvino float32"])
def test_the_kept_choice_counts(cache: Path, model: Path, name: str) -> None:
    info(model, precision="float32")
    file = cache / "backends.json"
    choices = json.loads(file.read_text())
    for each in choices.values():
        each["name"] = name
    file.write_text(json.dumps(choices))
    assert info(model, precision="float32").backend == name.split(maxsplit=1)[0]


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 3}', ""])
def test_a_damaged_file_of_choices_is_made_anew(cache: Path, model: Path, content: str) -> None:
    cache.mkdir()
    (cache / "backends.json").write_text(content)
    assert info(model).notes == ()
    assert any("seconds" in str(each) for each in json.loads((cache / "backends.json").read_text()).values())


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_choice_is_measured_anew(
    cache: Path, model: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    info(model)
    file = cache / "backends.json"
    ((key, kept),) = json.loads(file.read_text()).items()
    file.write_text(json.dumps({key: change(kept)}))
    assert info(model).notes == ()
    again = json.loads(file.read_text())[key]
    assert again["name"] == min(again["seconds"], key=again["seconds"].get)
    assert all(isinstance(each, float) for each in again["seconds"].values())
    assert again["seconds"].keys() == kept["seconds"].keys()


def test_candidates_take_turns(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    def record(spec: object, network: object, runtime: Any) -> Any:
        return lambda: passes.append(f"{runtime.backend} {runtime.precision}")

    monkeypatch.setattr(choice, "_pass", record)
    info(model)
    names = passes[: 1 + len(openvino_dtypes())]
    assert len(set(names)) == len(names) > 1
    assert passes == names * (1 + choice.PASSES)


def test_a_back_end_that_fails_in_a_later_pass_is_left_out(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = OpenVinoNetwork.__call__, []

    def fail(self: Any, *batches: torch.Tensor) -> Any:
        calls.append(self)
        if len(calls) > 2:
            raise BackendError("OpenVINO failed (no more memory)")
        return compute(self, *batches)

    monkeypatch.setattr(OpenVinoNetwork, "__call__", fail)
    answer = info(model, precision="float32")
    assert (len(calls), answer.backend) == (3, "torch")
    assert answer.notes == ("tiny ran on PyTorch, slower: OpenVINO failed (no more memory).",)
    assert not (cache / "backends.json").exists()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_back_end_that_is_asked_for_runs_unmeasured(cache: Path, model: Path, backend: str) -> None:
    answer = info(model, backend=backend)
    assert answer.backend == backend
    assert "backend_reason" not in answer
    assert not (cache / "backends.json").exists()


def test_openvino_computes_in_the_precision_asked_for(cache: Path, model: Path) -> None:
    for dtype in openvino_dtypes():
        assert info(model, backend="openvino", precision=NAMES[dtype]).precision == NAMES[dtype]


def test_half_precision_runs_on_pytorch(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_fp16": True}, raising=False)
    assert info(model, precision="float16").backend == "torch"
    with pytest.raises(ArgumentError, match="float32 or bfloat16, not on cpu in float16"):
        load_engine(model, "cpu", "float16", "openvino")


def test_an_unknown_back_end_is_refused(model: Path) -> None:
    with pytest.raises(ArgumentError, match="backend 'onnx' is not one of auto, torch, openvino"):
        load_engine(model, "cpu", backend="onnx")


def test_an_unknown_precision_is_refused_with_all_that_there_are(model: Path) -> None:
    with pytest.raises(ArgumentError, match="precision 'fp8' is not one of auto, float32, bfloat16, float16, int8"):
        load_engine(model, "cpu", "fp8")


def test_without_openvino_pytorch_is_taken_and_the_reason_stands_in_the_result(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    answer = info(model)
    assert answer.backend == "torch"
    assert "the package openvino does not load" in answer["backend_reason"]
    assert answer.notes == ()
    (note,) = info(model, backend="openvino").notes
    assert note.startswith("tiny ran on PyTorch: the package openvino does not load")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("package", "why"),
    [
        ("", "does not load (AttributeError"),  # what remains after an uninstallation that was stopped
        ("__version__ = 'dev'", "does not load (ValueError"),
        ("raise OSError('libopenvino.so: no such file')", "does not load (OSError: libopenvino.so: no such file)"),
        ("__version__ = '2026.4.1'", "does not load (AttributeError"),
        ("__version__ = '2024.6.0'", "openvino 2024.6.0 is too old; 2025.0 or later is needed"),
        (
            "__version__ = '2026.4.1'\nfrom unittest.mock import MagicMock\nType = MagicMock()\n"
            "def Core(): raise RuntimeError('no plug-in\\nat all')",
            "OpenVINO does not find this CPU (RuntimeError: no plug-in)",
        ),
    ],
)
def test_a_damaged_openvino_is_left_out_and_one_sentence_says_so(
    cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, why: str
) -> None:
    (tmp_path / "site/openvino").mkdir(parents=True)
    (tmp_path / "site/openvino/__init__.py").write_text(package)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "openvino")
    for backend in ("auto", "openvino"):
        answer = info(model, backend=backend)
        assert answer.backend == "torch"
        (note,) = answer.notes
        assert note.startswith("tiny ran on PyTorch: ")
        assert why in note
    described = choice.describe_choice(find_model(model))
    assert described.endswith(note.replace("tiny ran on PyTorch: ", "; PyTorch, as ").rstrip("."))
    assert not cache.exists()


def test_bfloat16_is_left_out_where_onednn_is_kept_from_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert openvino_dtypes() == (torch.float32,)


def test_a_back_end_that_fails_is_noted_and_tried_again_the_next_time(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("openvino.convert_model", None)
        answer = info(model)
    (note,) = answer.notes
    assert answer.backend == "torch"
    assert note.startswith("tiny ran on PyTorch, slower: OpenVINO cannot convert")
    assert not (cache / "backends.json").exists()
    assert info(model).notes == ()
    assert (cache / "backends.json").exists()
