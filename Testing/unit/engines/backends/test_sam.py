"""LiteMedSAM on OpenVINO against PyTorch in float32, with a small encoder of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, tiny_spec, write_model
from Testing.unit.engines.box_cases import PROMPTS, SLICE_BOX, TINY, VOLUME_BOX
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib import load_engine
from TumorSegLib.engines.backends import choice
from TumorSegLib.engines.backends.openvino import OpenVinoNetwork, load_openvino
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.networks import sam
from TumorSegLib.engines.networks.tiny_vit import Stage, TinyViT, TinyViTSizes
from TumorSegLib.engines.processor import has_bfloat16
from TumorSegLib.engines.runtime import OPENVINO, TORCH, Runtime
from TumorSegLib.models.folder import read_model_folder
from TumorSegLib.prompts.types import BoxPrompt

CPU = torch.device("cpu")
SPEC = tiny_spec("boxes", kind="box", network="LiteMedSAM", arguments={}, weights_sha256="2" * 64)
SIZES = TinyViTSizes((Stage(8, 1), Stage(16, 1, 2, 7), Stage(16, 1, 2, 14), Stage(16, 1, 2, 7)), output=16)
IMAGES = {"ct": noise_volume(CUBE)}


def small_lite_med_sam() -> sam.Sam:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = sam._assembled(TinyViT(SIZES), image_size=64, embedding_size=16, channels=16).eval()
    for perceptron in network.mask_decoder.output_hypernetworks_mlps:
        perceptron.layers[-1].weight.data *= 300  # random weights answer 0.5 everywhere
    return network


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One for all tests: converting takes seconds."""
    folder = tmp_path_factory.mktemp("models") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORSEG_CACHE", str(folder))
        yield folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sam.SAM_BUILDERS, "LiteMedSAM", small_lite_med_sam)  # type: ignore[arg-type]  # it is a dict
    return write_model(tmp_path, replace(SPEC, weights_sha256=""), small_lite_med_sam())


def engine(backend: str) -> BoxEngine:
    return BoxEngine(SPEC, small_lite_med_sam(), Runtime(CPU, torch.float32, backend))


def answer(boxes: BoxEngine, prompt: BoxPrompt) -> Any:
    return boxes.segment(boxes.prepare(IMAGES), prompt)


@PROMPTS
@pytest.mark.usefixtures("two_threads")
def test_boxes_get_the_answer_of_pytorch(prompt: BoxPrompt) -> None:
    found, expected = (answer(engine(backend), prompt) for backend in (OPENVINO, TORCH))
    assert (found.info.backend, found.info.precision, found.info.notes) == ("openvino", "float32", ())
    assert found.box == expected.box
    assert np.ptp(expected.probability) > 10
    np.testing.assert_allclose(found.probability.astype(int), expected.probability, atol=1)


def test_encoder_and_decoder_are_kept_and_read_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answer(engine(OPENVINO), SLICE_BOX)
    kept = [file for file in (cache / "networks").glob("*/network.bin") if file.stat().st_size]
    assert len(kept) >= 2
    monkeypatch.setattr(load_openvino(), "convert_model", None)
    again = answer(engine(OPENVINO), SLICE_BOX)
    assert again.info.backend == "openvino"
    np.testing.assert_array_equal(again.probability, before.probability)


def test_pytorch_goes_on_where_openvino_fails_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, expected = engine(OPENVINO), answer(engine(TORCH), VOLUME_BOX)

    def fail(*_: object) -> Any:
        raise RuntimeError("[CPU] primitive descriptor was not found")

    monkeypatch.setattr(OpenVinoNetwork, "_compile", fail)
    for _ in range(2):
        found = answer(boxes, VOLUME_BOX)
        np.testing.assert_array_equal(found.probability, expected.probability)
        assert found.info.backend == "torch"
        assert "primitive descriptor was not found" in found.info.notes[0]


def test_a_forked_process_goes_on_with_pytorch() -> None:
    boxes, expected = engine(OPENVINO), answer(engine(TORCH), SLICE_BOX)
    boxes.model.placement.renew_locks()  # what a forked process does
    found = answer(boxes, SLICE_BOX)
    np.testing.assert_array_equal(found.probability, expected.probability)
    assert "OpenVINO does not run in a forked process" in found.info.notes[0]


def test_the_fastest_back_end_is_measured_once(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = load_engine(model, "cpu", "float32").info
    (kept,) = json.loads((cache / "backends.json").read_text()).values()
    assert set(kept["seconds"]) == {"torch float32", "openvino float32"}
    assert kept["name"] == min(kept["seconds"], key=kept["seconds"].get) == f"{measured.backend} float32"
    monkeypatch.setattr(choice, "_measured", None)
    assert load_engine(model, "cpu", "float32").info.backend == measured.backend
    assert load_engine(model, "cpu", "float32", "openvino").info.backend == "openvino"


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_bfloat16_stays_with_pytorch_and_the_reason_is_told(model: Path, backend: str) -> None:
    info = load_engine(model, "cpu", "bfloat16", backend).info
    assert (info.backend, info.precision) == ("torch", "bfloat16")
    assert info["backend_reason"] == "PyTorch, as OpenVINO would move contours in bfloat16"
    if has_bfloat16():
        assert choice.describe_choice(read_model_folder(model)) == f"torch bfloat16 on cpu; {info['backend_reason']}"


def test_large_networks_stay_with_pytorch(tmp_path: Path) -> None:
    spec = tiny_spec("large", kind="box", network="SamViT", arguments=TINY)
    folder = write_model(tmp_path, spec, sam.build_sam("SamViT", TINY, "large"))
    info = load_engine(folder, "cpu", "float32").info
    assert (info.backend, info["backend_reason"]) == (
        "torch",
        "PyTorch, as SamViT is too large to keep a converted copy",
    )
