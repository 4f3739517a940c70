"""Networks in int8, made by nncf and run by OpenVINO, against the same networks in float32."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec, write_model
from Testing.unit.engines.click_cases import CUBE
from TumorSegLib import ArgumentError, ModelError, ResourceError, load_engine
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.backends import choice, int8
from TumorSegLib.engines.backends.calibration import example_inputs
from TumorSegLib.engines.backends.int8 import made_with, quantised
from TumorSegLib.engines.backends.openvino import OpenVinoNetwork, load_openvino
from TumorSegLib.engines.placement import Placement
from TumorSegLib.engines.runtime import OPENVINO, Runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.models.folder import ModelFolder, read_model_folder, write_description, write_int8
from TumorSegLib.models.int8 import Agreement

IMAGES = {"ct": noise_volume(CUBE)}
HOLDS, FAILS = Agreement(8, 0.999, 0.99, 0.0), Agreement(8, 0.99, 0.98, 0.0)
IN_BODY_ONLY_NEARLY = Agreement(1, 0.997, 0.997)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUMORSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelFolder, bytes, bytes]:
    """A model folder, and the copy of its network."""
    model = read_model_folder(write_model(tmp_path_factory.mktemp("models"), tiny_spec()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        return model, *quantised(model.spec, load_network(model), windows_of(model))


@pytest.fixture
def model(tmp_path: Path, files: tuple[ModelFolder, bytes, bytes]) -> ModelFolder:
    """A model folder with a copy that nobody has measured."""
    own = Path(shutil.copytree(files[0].path, tmp_path / "tiny"))
    return write_int8(read_model_folder(own), *files[1:], made_with(), calibration={})


def windows_of(model: ModelFolder) -> Sequence[Any]:
    return example_inputs(model.spec, load_network(model), IMAGES, None, 20)


def record(model: ModelFolder, *agreements: Agreement) -> None:
    assert model.spec.int8 is not None
    copy = replace(model.spec.int8, measured={str(number): each for number, each in enumerate(agreements)})
    write_description(model.path, replace(model.spec, int8=copy))


def info(model: ModelFolder, **options: Any) -> Any:
    return load_engine(model.path, "cpu", **options).segment(IMAGES).info


def test_a_copy_answers_nearly_as_the_network_at_any_size(model: ModelFolder) -> None:
    network = load_network(model)
    copy = OpenVinoNetwork(model.spec, network, torch.int8, folder=model.path)
    for shape in ((1, 1, 16, 16, 16), (2, 1, 16, 24, 32)):
        batch = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
        with torch.inference_mode():
            expected = network(batch)
        answer = copy(batch)
        assert 0 < float((answer - expected).abs().mean()) < 0.05 * float(expected.std())


def test_convolutions_between_others_are_rounded_and_nothing_else(
    files: tuple[ModelFolder, bytes, bytes],
) -> None:
    copy = load_openvino().Core().read_model(*files[1:])
    rounded, exact = [], []
    for node in copy.get_ordered_ops():
        if node.get_type_name() in int8.CONVOLUTIONS:
            before = node.input_value(0).get_node().get_type_name()
            (rounded if before in ("FakeQuantize", "Concat") else exact).append(node.get_friendly_name())
    names = " ".join(exact)
    assert len(exact) == 3  # two that read the image in the first residual block, and the last
    assert "skip_layers.downsample.conv1" in names
    assert "skip_layers.downsample.conv3" in names
    assert "output_block" in names
    assert len(rounded) > 8
    kinds = {node.get_element_type().get_type_name() for node in copy.get_ops() if node.get_type_name() == "Constant"}
    assert "i8" in kinds


def test_more_convolutions_at_the_ends_may_stay_float(model: ModelFolder) -> None:
    network = OpenVinoNetwork(model.spec, load_network(model), torch.float32).model
    one, two = ({node.get_friendly_name() for node in int8._inner_convolutions(network, ends)} for ends in (1, 2))
    assert two < one
    more = " ".join(sorted(one - two))
    assert "skip_layers.downsample.conv2" in more  # behind the first convolution
    assert "skip_layers.next_layer.downsample.conv1" in more  # the first block's short cut leads here
    assert "skip_layers.upsample.conv_block.conv2" in more  # before the last


def test_equal_ranges_of_channels_leave_the_answers_as_they_are(model: ModelFolder) -> None:
    network, windows = OpenVinoNetwork(model.spec, load_network(model), torch.float32).model.clone(), windows_of(model)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    before = load_openvino().compile_model(network, "CPU", exact)([windows[0][None]])[0]
    inner = int8._inner_convolutions(network, 1)
    int8._equalise(network, inner, windows)
    after = load_openvino().compile_model(network, "CPU", exact)([windows[0][None]])[0]
    np.testing.assert_allclose(after, before, atol=1e-3 * np.ptp(before))
    for largest in int8._largest_values(network, int8._inner_convolutions(network, 1), windows):
        np.testing.assert_allclose(largest, largest.max(), rtol=1e-3)


def test_a_network_without_inner_convolutions_is_refused(model: ModelFolder) -> None:
    network = torch.nn.Conv3d(1, 1, 3, padding=1).eval()
    with pytest.raises(
        ModelError, match="'tiny' cannot be made int8: ValueError: it has no convolution between others"
    ):
        quantised(model.spec, network, windows_of(model))


@pytest.mark.parametrize("package", ["nncf", "openvino"])
def test_without_its_packages_nothing_is_made(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ResourceError, match=r"needed to make a network int8: pip install 'tumorseg\[export\]'"):
        quantised(model.spec, tiny_network(model.spec), [])


def test_int8_runs_where_it_is_asked_for(model: ModelFolder) -> None:
    result = info(model, precision="int8")
    assert (result.backend, result.precision, result.notes) == ("openvino", "int8", ())
    engine, exact = (load_engine(model.path, "cpu", precision) for precision in ("int8", "float32"))
    first, second = (each.segment(IMAGES).probability.array for each in (engine, exact))
    assert 0 < np.abs(first - second).mean() < 0.02


@pytest.mark.parametrize(
    ("measured", "able", "used"),
    [
        ([HOLDS], True, True),
        ([FAILS], True, False),
        ([HOLDS, IN_BODY_ONLY_NEARLY], True, False),
        ([HOLDS], False, False),
        ([], True, False),
    ],
)
def test_int8_competes_where_it_was_measured_to_hold_on_processors_that_have_it(
    model: ModelFolder, cache: Path, monkeypatch: pytest.MonkeyPatch, measured: list[Agreement], able: bool, used: bool
) -> None:
    monkeypatch.setattr(choice, "has_int8", lambda: able)
    record(model, *measured)
    result = info(model)
    assert result.notes == ()
    (kept,) = json.loads((cache / "backends.json").read_text()).values()
    assert ("openvino int8" in kept["seconds"]) == ("openvino int8" in result["backend_reason"]) == used
    described = choice.describe_choice(read_model_folder(model.path))
    fails = not all(each.holds for each in measured) or not measured
    assert ("its copy in int8 runs with --precision int8 only" in described) == fails


def test_int8_is_taken_where_it_is_the_fastest(
    model: ModelFolder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "has_int8", lambda: True)
    record(model, HOLDS)
    info(model)
    kept = json.loads((cache / "backends.json").read_text())
    for each in kept.values():
        each["name"] = "openvino int8"
    (cache / "backends.json").write_text(json.dumps(kept))
    assert info(model).precision == "int8"
    assert choice.describe_choice(read_model_folder(model.path)).startswith("openvino int8 on cpu; ")


@pytest.mark.parametrize("name", ["int8.xml", "int8.bin"])
def test_a_damaged_copy_is_never_used_and_one_sentence_says_so(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(choice, "has_int8", lambda: True)
    record(model, HOLDS)
    (model.path / name).write_bytes(b"foreign")
    result = info(model)
    assert result.precision != "int8"
    (note,) = result.notes
    assert note.startswith("Its copy in int8 was not used: model 'tiny': ")
    assert f"{name} is corrupt or was changed" in note
    assert "Its copy in int8 was not used" in choice.describe_choice(read_model_folder(model.path))
    with pytest.raises(ModelError, match=f"{name} is corrupt or was changed"):
        load_engine(model.path, "cpu", "int8")


def test_a_copy_that_fails_later_gives_way_to_float_and_then_to_pytorch(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(torch.device("cpu"), torch.int8, OPENVINO, model.path)
    (model.path / "int8.bin").write_bytes(b"foreign")
    placement = Placement(model.spec, load_network(model), runtime)
    assert (placement.wanted.backend, placement.wanted.folder) == ("openvino", None)
    assert placement.notes[0].startswith("tiny ran on OpenVINO in ")
    monkeypatch.setitem(sys.modules, "openvino", None)
    placement = Placement(model.spec, load_network(model), runtime)
    assert placement.wanted.backend == "torch"
    (note,) = placement.notes
    assert note.startswith("tiny ran on PyTorch, slower: the package openvino does not load")


def test_a_forked_process_goes_on_with_pytorch_at_once(model: ModelFolder) -> None:
    runtime = Runtime(torch.device("cpu"), torch.int8, OPENVINO, model.path)
    placement = Placement(model.spec, load_network(model), runtime)
    placement.renew_locks()  # what a forked process does
    engine = AutoEngine(model.spec, load_network(model), runtime)
    engine._placement = placement
    assert engine.segment(IMAGES).info.backend == "torch"
    assert "OpenVINO does not run in a forked process" in placement.notes[0]


def test_int8_is_refused_where_it_cannot_run(
    tmp_path: Path, model: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError, match="int8 runs on the CPU, on OpenVINO, not on cpu with backend torch"):
        load_engine(model.path, "cpu", "int8", "torch")
    plain = write_model(tmp_path, tiny_spec("plain"))
    with pytest.raises(
        ModelError, match=r"'plain' has no copy in int8; make one with: tumorseg models optimise .*plain"
    ):
        load_engine(plain, "cpu", "int8")
    monkeypatch.setattr(load_openvino(), "__version__", "2023.1.0-12185")
    with pytest.raises(ArgumentError, match=r"int8 runs on OpenVINO, and openvino 2023.1.0-12185 is too old"):
        load_engine(model.path, "cpu", "int8")
