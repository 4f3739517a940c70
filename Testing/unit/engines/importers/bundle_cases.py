"""MONAI bundles as the model zoo has them, with small networks of random weights, and MONAI's own answers to them."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import yaml
from monai.bundle import ConfigParser

from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.io.images import write_volume

LABELS = {"0": "background", "1": "spleen"}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_dtype": "$numpy.float32"}
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "meta_key_postfix": "meta_dict",
    "nearest_interp": False,
    "to_tensor": True,
}
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "num_res_units": 2,
    "norm": "batch",
}
RESNET = {"_target_": "SegResNet", "init_filters": 8, "blocks_down": [1, 2], "blocks_up": [1], "dropout_prob": 0.2}


def compose(*transforms: Mapping[str, Any]) -> dict[str, Any]:
    """A chain of transforms; those without keys are for the image."""
    return {"_target_": "Compose", "transforms": [{"keys": "image", **each} for each in transforms]}


def transform(name: str, **arguments: Any) -> dict[str, Any]:
    """A transform of a chain."""
    return {"_target_": name, **arguments}


def post(*transforms: Mapping[str, Any]) -> dict[str, Any]:
    """A chain of transforms of the answer, which is saved then."""
    return compose(*({"keys": "pred", **each} for each in (*transforms, SAVE)))


LOAD = (transform("LoadImaged"), transform("EnsureChannelFirstd"))
SOFTMAX, ARGMAX = transform("Activationsd", softmax=True), transform("AsDiscreted", argmax=True)
HU = transform("ScaleIntensityRanged", a_min=-57, a_max=164, b_min=0, b_max=1, clip=True)


def metadata(
    channels: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None, **changes: Any
) -> dict[str, Any]:
    """The content of ``metadata.json``; ``changes`` replace its entries, those of None leave them out."""
    image = {"type": "image", "format": "magnitude", "modality": "MR", "channel_def": channels}
    if channels is None:
        image = {"type": "image", "format": "hounsfield", "modality": "CT", "channel_def": {"0": "image"}}
    values = {
        "version": "0.2.0",
        "monai_version": "1.6.1",
        "task": "Decathlon spleen segmentation",
        "description": "A pre-trained model for volumetric (3D) segmentation of the spleen from CT image",
        "authors": "MONAI team",
        "copyright": "Copyright (c) MONAI Consortium",
        "data_source": "Task09_Spleen.tar from http://medicaldecathlon.com/",
        "network_data_format": {
            "inputs": {"image": {**image, "num_channels": len(channels or "1"), "is_patch_data": True}},
            "outputs": {"pred": {"type": "image", "format": "segmentation", "channel_def": dict(labels or LABELS)}},
        },
        **changes,
    }
    return {key: value for key, value in values.items() if value is not None}


def configuration(**changes: Any) -> dict[str, Any]:
    """The content of ``inference.json``, like that of the spleen bundle of the model zoo."""
    values = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@bundle_root + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": copy.deepcopy(UNET),
        "network": "$@network_def.to(@device)",
        "preprocessing": compose(
            *LOAD,
            transform("Orientationd", axcodes="RAS"),
            transform("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear"),
            HU,
            transform("EnsureTyped"),
        ),
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 16], "sw_batch_size": 4, "overlap": 0.5},
        "postprocessing": post(SOFTMAX, INVERT, ARGMAX),
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {"_target_": "SupervisedEvaluator", "network": "@network", "amp": True},
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@evaluator.run()"],
    }
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


@dataclass(frozen=True)
class Layout:
    """A kind of bundle.

    Attributes:
        metadata, configuration: content of the files.
        suffix: of the configuration's file.
        zipped: whether the bundle is a zip, with a folder in it.
    """

    metadata: Mapping[str, Any]
    configuration: Mapping[str, Any]
    suffix: str = "json"
    zipped: bool = False

    @property
    def channels(self) -> int:
        return len(self.metadata["network_data_format"]["inputs"]["image"]["channel_def"])


_BRATS = {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}
_TUMOUR = {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}
_PAINTED = "torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
_THREE = {"0": "background", "1": "liver", "2": "tumour"}
_SIGMOID, _THRESHOLD = transform("Activationsd", sigmoid=True), transform("AsDiscreted", threshold=0.5)
_BRATS_CONFIGURATION = configuration(
    network_def={**RESNET, "in_channels": 4, "out_channels": 3},
    preprocessing=compose(LOAD[0], transform("NormalizeIntensityd", nonzero=True, channel_wise=True)),
    inferer={"_target_": "SlidingWindowInferer", "roi_size": [64, 24, 16], "sw_batch_size": 1, "overlap": 0.5},
    postprocessing=post(_SIGMOID, INVERT, _THRESHOLD, transform("Lambdad", func=f"$lambda x: {_PAINTED}")),
)
_WHOLE_BODY = configuration(
    displayable_configs={"highres": True, "sw_overlap": 0.25},
    image_key="image",
    pixdim="$[2.0, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
    modelname="$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
    network_def={**RESNET, "_target_": "monai.networks.nets.SegResNet", "in_channels": 1, "out_channels": 3},
    preprocessing=compose(
        *({**each, "keys": "@image_key"} for each in LOAD),
        transform("Orientationd", keys=["@image_key"], axcodes="LPS"),
        transform("Spacingd", pixdim="@pixdim", mode="bilinear"),
        transform("NormalizeIntensityd", nonzero=True),
        transform("ScaleIntensityd", minv=-1.0, maxv=1.0),
    ),
    inferer={
        "_target_": "SlidingWindowInferer",
        "roi_size": [48, 24, 16],
        "overlap": "@displayable_configs#sw_overlap",
        "padding_mode": "replicate",
        "mode": "gaussian",
        "device": "$torch.device('cpu')",
    },
    postprocessing=post(SOFTMAX, ARGMAX, {**INVERT, "nearest_interp": True}),
    handlers=None,
    checkpointloader={
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/' + @modelname",
        "load_dict": {"model": "@network"},
    },
)
_CROPPED = configuration(
    spatial_size=[24, 16, 16],
    spatial_dims="$len(@spatial_size)",
    network_def={
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": "@spatial_dims",
        "in_channels": 1,
        "out_channels": 3,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, [2, 2, 1]],
        "upsample_kernel_size": [2, [2, 2, 1]],
        "filters": [4, 8, 8],
        "norm_name": "instance",
        "deep_supervision": False,
        "res_block": True,
    },
    preprocessing=compose(
        *LOAD,
        transform("Spacingd", keys=["image"], pixdim=[1.5, 1.5, 3.0], mode=["bilinear"]),
        transform("Orientationd", axcodes="RAS"),
        HU,
        transform("CropForegroundd", source_key="image", margin=2, k_divisible=8, allow_smaller=False),
        transform("CastToTyped", dtype="$torch.float32"),
    ),
    inferer={"_target_": "SlidingWindowInferer", "roi_size": "@spatial_size", "overlap": 0.75, "mode": "gaussian"},
)
_LARGEST = configuration(
    network_def={**UNET, "out_channels": 3, "act": "prelu", "dropout": 0.15},
    preprocessing=compose(
        *LOAD, transform("ScaleIntensityd", minv=0, maxv=1), transform("NormalizeIntensityd"), transform("EnsureTyped")
    ),
    postprocessing=post(
        SOFTMAX,
        ARGMAX,
        transform("KeepLargestConnectedComponentd", applied_labels=[1, 2]),
        {**INVERT, "nearest_interp": True},
    ),
)
_SWIN = configuration(
    network_def={"_target_": "SwinUNETR", "in_channels": 1, "out_channels": 3, "feature_size": 12},
    inferer={"_target_": "SlidingWindowInferer", "roi_size": [64, 32, 32], "overlap": 0.25},
)
_LATE = configuration(
    network_def={"_target_": "BasicUNet", "in_channels": 1, "out_channels": 3, "features": [4, 4, 8, 8, 8, 4]},
    preprocessing=compose(
        *LOAD,
        transform("CropForegroundd", source_key="image", select_fn="$lambda x: x > 20", margin=1, allow_smaller=True),
        transform("Orientationd", axcodes="SAR"),
        transform("Spacingd", pixdim=[2.0, 1.2, 1.4]),
        transform("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0, b_max=1, clip=True),
    ),
    inferer={"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "overlap": 0.5},
    postprocessing=post(INVERT, SOFTMAX, ARGMAX),
)
LAYOUTS: Mapping[str, Layout] = {
    "spleen": Layout(metadata(), configuration()),
    "spleen in yaml": Layout(metadata(), configuration(), "yaml", zipped=True),
    "brats": Layout(metadata(_BRATS, _TUMOUR), _BRATS_CONFIGURATION, zipped=True),
    "whole body": Layout(metadata(labels=_THREE), _WHOLE_BODY, "yml"),
    "cropped": Layout(metadata(labels=_THREE), _CROPPED, "yaml"),
    "largest": Layout(metadata({"0": "T2"}, _THREE), _LARGEST),
    "swin": Layout(metadata(labels=_THREE), _SWIN),
    "late activation": Layout(metadata(labels=_THREE), _LATE),
}


def write_bundle(folder: Path, layout: Layout, weights: Any = None, *, seed: int = 0, name: str = "bundle") -> Path:
    """Writes a bundle, with the weights given or random ones, and returns its folder or zip."""
    root = folder / name
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "models").mkdir(exist_ok=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(layout.metadata))
    text = json.dumps(layout.configuration) if layout.suffix == "json" else yaml.safe_dump(dict(layout.configuration))
    (root / "configs" / f"inference.{layout.suffix}").write_text(text)
    if weights is None:
        weights = random_network(layout, seed).state_dict()
    torch.save(weights, root / "models" / "model.pt")
    return Path(shutil.make_archive(str(root), "zip", folder, name)) if layout.zipped else root


def random_network(layout: Layout, seed: int = 0) -> torch.nn.Module:
    """The network that MONAI makes of the configuration; its last layer is scaled so that few answers are close."""
    parser = ConfigParser(dict(layout.configuration))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: torch.nn.Module = parser.get_parsed_content("network_def")
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
    last = [each for each in network.modules() if isinstance(each, torch.nn.Conv3d | torch.nn.ConvTranspose3d)][-1]
    last.weight.data *= 5
    return network.eval()


#: Oblique, its axes in an order and directions of their own.
GRID = Grid.from_spacing(
    (22, 40, 44),
    (1.1, 1.3, 2.4),
    (-10, 5, 7),
    np.array([[0, -1, 0], [-1, 0, 0], [0, 0, 1]])
    @ np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]]),
)


def write_images(folder: Path, channels: int) -> list[Path]:
    """NIfTI files of a case: blobs of tissue within air."""
    rng, files = np.random.default_rng(1), []
    k, j, i = np.indices(GRID.shape)
    inside = ((k - 11) / 9) ** 2 + ((j - 19) / 15) ** 2 + ((i - 23) / 17) ** 2 < 1
    for number in range(channels):
        smooth = sum(np.cos((k * a + j * b + i * c) / 5 + number) for a, b, c in rng.uniform(-1, 1, (6, 3)))
        array = np.where(inside, 60 + 25 * smooth + rng.normal(0, 3, GRID.shape), 0).astype(np.float32)
        files.append(folder / f"channel_{number}.nii.gz")
        write_volume(Volume(GRID, array, "image"), files[-1])
    return files


def monai_answer(
    layout: Layout, bundle: Path, files: list[Path]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What MONAI makes of the configuration, as ``monai.bundle run`` would: answer and probabilities ``[c, k, j, i]``.

    Probabilities are those just before ``AsDiscreted``, turned back linearly where the bundle turns label maps back.
    """
    parser = ConfigParser(copy.deepcopy(dict(layout.configuration)))
    folder = bundle.with_suffix("")
    parser["bundle_root"] = str(folder)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    case = parser.get_parsed_content("preprocessing")({"image": files if len(files) > 1 else files[0]})
    with torch.inference_mode():
        pred = parser.get_parsed_content("inferer")(case["image"][None], network)[0]
    pred.affine, pred.applied_operations = case["image"].affine, case["image"].applied_operations
    steps = list(parser.get_parsed_content("postprocessing").transforms)[:-1]
    found, probabilities = {"image": case["image"], "pred": pred}, None
    for step in steps:
        if type(step).__name__ == "AsDiscreted" and probabilities is None:
            probabilities = np.asarray(found["pred"]).astype(np.float32)
        found = step(found)
    answer = np.asarray(found["pred"]).astype(np.float32)
    return answer.transpose(0, 3, 2, 1), probabilities.transpose(0, 3, 2, 1)
