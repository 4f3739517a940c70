"""MONAI bundles become models: what they say is kept, what is incomplete or not supported is refused by name."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from Testing.unit.engines.importers.bundle_cases import (
    ARGMAX,
    HU,
    INVERT,
    LAYOUTS,
    LOAD,
    RESNET,
    SOFTMAX,
    UNET,
    Layout,
    compose,
    configuration,
    metadata,
    post,
    random_network,
    transform,
    write_bundle,
    write_images,
)
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.importers.bundles.model import import_bundle
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError, ModelError, WriteError
from TumorSegLib.io.images import read_volume
from TumorSegLib.models.folder import CARD_FILE, read_model_folder, sha256_of

SPLEEN = LAYOUTS["spleen"]


def layout(**changes: Any) -> Layout:
    return Layout(metadata(), configuration(**changes))


# What is kept


def test_a_bundle_becomes_a_model_with_its_weights(tmp_path: Path, models: Path) -> None:
    described = metadata(license="Apache-2.0", monai_version="0.9.0", data_license="CC BY-SA 4.0")
    bundle = write_bundle(tmp_path, replace(SPLEEN, metadata=described))
    model = import_bundle(bundle, "spleen")
    model.verify()
    spec = model.spec
    assert read_model_folder(model.path).spec == spec
    assert (spec.kind, spec.roles, spec.labels, spec.licence) == ("auto", ("ct",), {"spleen": 1}, "Apache-2.0")
    assert (spec.version, spec.network, spec.arguments["channels"]) == ("0.2.0", "UNet", [4, 8, 16])
    source = {"name": described["data_source"], "licence": "CC BY-SA 4.0", "attribution": described["copyright"]}
    assert spec.training_data[0] == source
    digest = sha256_of(bundle / "models" / "model.pt")
    assert spec.source["sha256"] == {"models/model.pt": digest}
    assert digest in (model.path / CARD_FILE).read_text(encoding="utf-8")
    taken = spec.monai_input
    assert [step.name for step in taken.steps] == ["Orientation", "Spacing", "ScaleIntensityRange"]
    assert (taken.patch, taken.overlap, taken.activate_first) == ((24, 24, 16), (0.5, 0.5, 0.5), True)
    given, saved = torch.load(bundle / "models" / "model.pt", weights_only=True), load_file(model.weights)
    assert saved.keys() == {f"network.{name}" for name in given}
    assert all(torch.equal(saved[f"network.{name}"], tensor) for name, tensor in given.items())
    assert sorted(path.name for path in model.path.iterdir()) == [CARD_FILE, "model.json", "weights.safetensors"]


def test_what_is_not_stated_is_said(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path, replace(SPLEEN, metadata=metadata(data_source=None, copyright=None, authors=None)))
    assert main(["models", "add", "spleen", "--monai", str(bundle)]) == 0
    printed = capsys.readouterr().out
    assert "images: ct (its channel 'image'); labels: spleen; licence: not stated" in printed
    assert main(["models", "show", "spleen"]) == 0
    shown = capsys.readouterr().out
    assert "- Licence of the weights: not stated" in shown
    assert "- Training data: not stated; licence: not stated; not stated" in shown


@pytest.mark.parametrize("key", ["model", "state_dict", "module."])
def test_weights_lie_under_a_name_or_have_a_prefix(key: str, tmp_path: Path, models: Path) -> None:
    weights = random_network(SPLEEN).state_dict()
    given: Any = {f"module.{name}": each for name, each in weights.items()} if key == "module." else {key: weights}
    model = import_bundle(
        write_bundle(tmp_path, SPLEEN, {"epoch": np.float64(3), **given} if key != "module." else given), "m"
    )
    assert len(load_file(model.weights)) == len(weights)


def test_the_file_of_weights_is_the_one_that_is_loaded(tmp_path: Path, models: Path) -> None:
    changed = copy.deepcopy(dict(SPLEEN.configuration))
    changed["handlers"][0]["load_path"] = "$@bundle_root + '/models/fine_tuned.pt'"
    bundle = write_bundle(tmp_path, replace(SPLEEN, configuration=changed))
    torch.save(random_network(SPLEEN, seed=5).state_dict(), bundle / "models" / "fine_tuned.pt")
    assert list(import_bundle(bundle, "m").spec.source["sha256"]) == ["models/fine_tuned.pt"]


def test_a_label_map_without_an_order_shows_the_smaller_region(tmp_path: Path, models: Path) -> None:
    brats = LAYOUTS["brats"]
    steps = [each for each in brats.configuration["postprocessing"]["transforms"] if each["_target_"] != "Lambdad"]
    changed = {**brats.configuration, "postprocessing": {"_target_": "Compose", "transforms": steps}}
    bundle = write_bundle(tmp_path, replace(brats, configuration=changed))
    spec = import_bundle(bundle, "brats").spec
    assert spec.labels == {"Tumor core": 1, "Whole tumor": 2, "Enhancing tumor": 3}
    files = write_images(tmp_path, 4)
    engine = load_engine("brats", "cpu", "float32", "torch", kind="auto")
    result = engine.segment({role: read_volume(file, role) for role, file in zip(spec.roles, files)})
    smallest = min(spec.labels, key=lambda name: int(result.mask_of(name).array.sum()))
    assert np.array_equal(result.mask.array == spec.labels[smallest], result.mask_of(smallest).array > 0)


def test_a_label_map_that_is_interpolated_is_said_to_differ(tmp_path: Path, models: Path) -> None:
    model = import_bundle(write_bundle(tmp_path, layout(postprocessing=post(ARGMAX, INVERT))), "m")
    assert "- Differs: The bundle turns its label map back" in (model.path / CARD_FILE).read_text(encoding="utf-8")
    assert not model.spec.monai_input.activate_first


def test_torchscript_is_read_where_it_is_allowed(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_bundle(tmp_path, SPLEEN)
    (bundle / "models" / "model.pt").unlink()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(random_network(SPLEEN)).save(str(bundle / "models" / "model.ts"))
    assert main(["models", "add", "m", "--monai", str(bundle)]) != 0
    assert "is a program that PyTorch loads and may execute; if you trust" in capsys.readouterr().err
    assert not models.exists()
    assert main(["models", "add", "m", "--monai", str(bundle), "--allow-torchscript"]) == 0
    saved, given = load_file(models / "m" / "weights.safetensors"), random_network(SPLEEN).state_dict()
    assert all(torch.equal(saved[f"network.{name}"], tensor) for name, tensor in given.items())


_SMALL = {"in_channels": 1, "out_channels": 2}
_NETWORKS: dict[str, dict[str, Any]] = {
    "AttentionUnet": {"spatial_dims": 3, "channels": [4, 8, 16], "strides": [2, 2]},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "BasicUNetPlusPlus": {"features": [4, 4, 8, 8, 8, 4]},
    "HighResNet": {"spatial_dims": 3},
    "MedNeXt": {"spatial_dims": 3, "init_filters": 4},
    "SegResNetDS": {"init_filters": 8, "blocks_down": [1, 1]},
    "SwinUNETR": {"feature_size": 12},
    "UNETR": {"img_size": [64, 64, 32], "feature_size": 4, "hidden_size": 48, "mlp_dim": 64, "num_heads": 4},
    "VNet": {"spatial_dims": 3},
}


@pytest.mark.filterwarnings("ignore:::monai")  # what MONAI's own defaults warn of
@pytest.mark.parametrize("name", _NETWORKS)
def test_each_network_answers_as_that_of_monai(name: str, tmp_path: Path, models: Path) -> None:
    given = layout(
        network_def={"_target_": name, **_SMALL, **_NETWORKS[name]},
        inferer={"_target_": "SlidingWindowInferer", "roi_size": [64, 64, 32]},
    )
    network = random_network(given)
    own = load_network(import_bundle(write_bundle(tmp_path, given, network.state_dict()), "m"))
    window = torch.rand(1, 1, 64, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(window)
        assert torch.equal(own(window), expected[0] if isinstance(expected, list) else expected)


def test_size_arguments_of_a_former_monai_change_nothing(tmp_path: Path, models: Path) -> None:
    swin = {"_target_": "SwinUNETR", **_SMALL, "feature_size": 12}
    windows = {"_target_": "SlidingWindowInferer", "roi_size": [64, 64, 32]}
    weights = random_network(layout(network_def=swin)).state_dict()
    former = layout(network_def={**swin, "img_size": 96}, inferer=windows)
    import_bundle(write_bundle(tmp_path, former, weights), "m").verify()


# What is refused

_PRE, _POST = "preprocessing", "postprocessing"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a network of its own": (
        {"network_def": {"_target_": "scripts.net.Mine"}},
        "network_def: 'scripts.net.Mine' is not a class of MONAI",
    ),
    "another network of MONAI": (
        {"network_def": {"_target_": "DiNTS"}},
        "network_def, DiNTS is not supported; of MONAI's networks",
    ),
    "two dimensions": ({"network_def": {**UNET, "spatial_dims": 2}}, "spatial_dims is not 3"),
    "an argument that it has not": ({"network_def": {**UNET, "depth": 3}}, "UNet cannot be built from"),
    "an enormous network": ({"network_def": {**UNET, "channels": [4, 8, 10**6]}}, "1000000 is larger than 8192"),
    "channels that differ": ({"network_def": {**UNET, "in_channels": 3}}, "in_channels is 3, .* names 1"),
    "another transform": (
        {_PRE: compose(*LOAD, transform("ResizeWithPadOrCropd", spatial_size=[9, 9, 9]))},
        "ResizeWithPadOrCrop.* is not supported; Orientation",
    ),
    "a spline": (
        {_PRE: compose(*LOAD, transform("Spacingd", pixdim=[1, 1, 1], mode=3))},
        "mode = 3 is not supported; 'bilinear', 'nearest' is",
    ),
    "a spacing of nothing": (
        {_PRE: compose(*LOAD, transform("Spacingd", pixdim=[1, 0, 1]))},
        "pixdim = .* is not three positive numbers",
    ),
    "two spacings": (
        {_PRE: compose(*LOAD, *[transform("Spacingd", pixdim=[1, 1, 1])] * 2)},
        "another spacing more than once",
    ),
    "directions that are none": (
        {_PRE: compose(*LOAD, transform("Orientationd", axcodes="RAX"))},
        "axcodes = 'RAX' are not three letters",
    ),
    "another reader": (
        {_PRE: compose(transform("LoadImaged", reader="scripts.Reader"), HU)},
        "reader = 'scripts.Reader' is not supported",
    ),
    "an unknown argument": ({_PRE: compose(*LOAD, {**HU, "relative": True})}, "argument 'relative' is not supported"),
    "a whole image": (
        {"inferer": {"_target_": "SimpleInferer"}},
        "inferer.*SimpleInferer is not supported; SlidingWindowInferer is",
    ),
    "a window of no size": (
        {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, -1, 96]}},
        "roi_size .* is not three whole numbers",
    ),
    "windows that do not fit": (
        {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [25, 24, 16]}},
        r"UNet .* windows of \(25, 24, 16\)",
    ),
    "an overlap of all": (
        {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 16], "overlap": 1.0}},
        "overlap 1.0 is not supported",
    ),
    "another threshold": (
        {_POST: post(transform("Activationsd", sigmoid=True), transform("AsDiscreted", threshold=0.3))},
        "threshold = 0.3 is not supported; 0.5 is",
    ),
    "a threshold of a softmax": (
        {_POST: post(SOFTMAX, INVERT, transform("AsDiscreted", threshold=0.5))},
        "softmax with threshold is not supported",
    ),
    "holes filled": ({_POST: post(SOFTMAX, INVERT, ARGMAX, transform("FillHolesd"))}, "FillHolesd is not supported"),
    "two components kept": (
        {_POST: post(SOFTMAX, INVERT, ARGMAX, transform("KeepLargestConnectedComponentd", num_components=2))},
        "2 components here are not supported",
    ),
    "no post-processing": ({_POST: None}, "'postprocessing' is missing"),
    "a missing reference": ({"network_def": {**UNET, "channels": "@nothing"}}, "refers to 'nothing', which is missing"),
    "a circle": ({"a": "@b", "b": "@a", "network_def": {**UNET, "channels": "@a"}}, "its references go in a circle"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_named(case: str, tmp_path: Path, models: Path) -> None:
    changes, message = REFUSED[case]
    bundle = write_bundle(tmp_path, layout(**changes), random_network(SPLEEN).state_dict())
    with pytest.raises(ModelError, match=message) as refused:
        import_bundle(bundle, "m")
    assert "\n" not in str(refused.value)
    assert not models.exists()


def test_weights_of_another_network_are_refused(tmp_path: Path, models: Path) -> None:
    resnet = layout(network_def={**RESNET, "in_channels": 1, "out_channels": 2})
    bundle = write_bundle(tmp_path, SPLEEN, random_network(resnet).state_dict())
    with pytest.raises(ModelError, match="its weights are of another network than UNet as network_def describes it"):
        import_bundle(bundle, "m")
    assert not models.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network_data_format": None}, "'network_data_format' is missing"),
        ({"network_data_format": {"inputs": {"image": {}}, "outputs": {}}}, "'channel_def' is missing"),
        ({"network_data_format": []}, r"network_data_format = '\[\]' is not a dict"),
    ],
)
def test_metadata_that_does_not_name_images_and_labels_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path, models: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        import_bundle(write_bundle(tmp_path, replace(SPLEEN, metadata=metadata(**changes))), "m")


def test_a_softmax_needs_the_background_first(tmp_path: Path, models: Path) -> None:
    labels = metadata(labels={"0": "liver", "1": "spleen"})
    with pytest.raises(ModelError, match="the first channel of the answer is 'liver', not the background"):
        import_bundle(write_bundle(tmp_path, replace(SPLEEN, metadata=labels)), "m")


@pytest.mark.parametrize("missing", ["configs/metadata.json", "configs/inference.json", "models/model.pt"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_bundle_that_is_not_complete_is_refused(missing: str, zipped: bool, tmp_path: Path, models: Path) -> None:
    bundle = write_bundle(tmp_path, SPLEEN)
    (bundle / missing).unlink()
    if zipped:
        bundle = Path(shutil.make_archive(str(bundle), "zip", bundle))
    with pytest.raises(ModelError, match=f"{re.escape(missing)}.*(is missing|is there; not a complete)"):
        import_bundle(bundle, "m")
    assert not models.exists()


def test_a_folder_of_bundles_is_refused_with_their_names(tmp_path: Path, models: Path) -> None:
    write_bundle(tmp_path, SPLEEN)
    with pytest.raises(ModelError, match="holds 1 bundles, give one of them: bundle"):
        import_bundle(tmp_path, "m")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 2}', "[" * 10**5, "\xff"])
@pytest.mark.parametrize("name", ["metadata.json", "inference.json"])
def test_descriptions_that_are_damaged_are_refused(text: str, name: str, tmp_path: Path, models: Path) -> None:
    bundle = write_bundle(tmp_path, SPLEEN)
    (bundle / "configs" / name).write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=rf"{name}: (cannot be read|does not hold an object|is not text)"):
        import_bundle(bundle, "m")


def test_a_name_that_is_taken_and_options_of_others_are_refused(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_bundle(tmp_path, SPLEEN)
    import_bundle(bundle, "m")
    with pytest.raises(ArgumentError, match="there is a model 'm' already"):
        import_bundle(bundle, "m")
    assert main(["models", "optimise", "m"]) != 0
    assert "model 'm' was imported; only models trained with TumorSeg can be int8" in capsys.readouterr().err
    assert main(["models", "add", "n", "--monai", str(bundle), "--folds", "0"]) != 0
    assert "--folds is for --nnunet, not for --monai" in capsys.readouterr().err
    assert main(["models", "add", "n", "--nnunet", str(bundle), "--allow-torchscript"]) != 0
    assert "--allow-torchscript is for --monai, not for --nnunet" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    bundle = write_bundle(tmp_path, SPLEEN)
    monkeypatch.setattr("TumorSegLib.engines.weights.save_file", full)
    with pytest.raises(WriteError, match="the weights cannot be written"):
        import_bundle(bundle, "m")
    assert os.listdir(models) == []
    assert json.loads((bundle / "configs" / "inference.json").read_text()) == dict(SPLEEN.configuration)
