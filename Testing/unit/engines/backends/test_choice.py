"""The back end that engines run on, as it is asked for or as the fastest one that was measured."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec, write_model
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib import ArgumentError, load_engine
from TumorSegLib.engines.backends import choice
from TumorSegLib.engines.backends.openvino import openvino_dtypes
from TumorSegLib.models.registry import find_model

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


@pytest.mark.parametrize("change", [{"seconds": {"torch float32": "fast"}}, {"name": ["torch"]}, {"seconds": 3}, {}])
def test_a_damaged_choice_is_measured_anew(cache: Path, model: Path, change: dict[str, object]) -> None:
    info(model)
    file = cache / "backends.json"
    ((key, kept),) = json.loads(file.read_text()).items()
    file.write_text(json.dumps({key: {**kept, **change} if change else None}))
    assert info(model).notes == ()
    assert all(isinstance(each, float) for each in json.loads(file.read_text())[key]["seconds"].values())


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_back_end_that_is_asked_for_runs_unmeasured(cache: Path, model: Path, backend: str) -> None:
    answer = info(model, backend=backend)
    assert answer.backend == backend
    assert "backend_reason" not in answer
    assert not (cache / "backends.json").exists()


def test_openvino_computes_in_the_precision_asked_for(cache: Path, model: Path) -> None:
    for dtype in openvino_dtypes():
        assert info(model, backend="openvino", precision=NAMES[dtype]).precision == NAMES[dtype]


def test_half_precision_runs_on_pytorch(cache: Path, model: Path) -> None:
    assert info(model, precision="float16").backend == "torch"
    with pytest.raises(ArgumentError, match="float32 or bfloat16, not on cpu in float16"):
        load_engine(model, "cpu", "float16", "openvino")


def test_an_unknown_back_end_is_refused(model: Path) -> None:
    with pytest.raises(ArgumentError, match="backend 'onnx' is not one of auto, torch, openvino"):
        load_engine(model, "cpu", backend="onnx")


def test_without_openvino_pytorch_is_taken_and_the_reason_stands_in_the_result(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    answer = info(model)
    assert answer.backend == "torch"
    assert "the package openvino does not load" in answer["backend_reason"]
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
