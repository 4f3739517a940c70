"""Folders of trainings as nnU-Net v2 writes them, with tiny networks of random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from TumorSegLib.engines.networks.nnunet import PLAIN, UNetShape, build_fold

SHAPE = UNetShape(
    features_per_stage=(4, 6, 8),
    kernel_sizes=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    blocks=(2, 2, 2),
    decoder_blocks=(2, 2),
)
DATASET = {
    "channel_names": {"0": "CT", "1": "T1"},
    "labels": {"background": 0, "liver": 1, "tumour": 2},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
_INTENSITIES = {"max": 3000.0, "mean": 60.0, "median": 60.0, "min": -900.0, "std": 40.0}
_RESAMPLING = {"is_seg": False, "order_z": 0, "force_separate_z": None}


def architecture(shape: UNetShape = SHAPE, network: str = PLAIN, axes: int = 3) -> dict[str, Any]:
    """As the plans of nnU-Net 2.4 and later describe a network."""
    blocks = "n_conv_per_stage" if network == PLAIN else "n_blocks_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
        "arch_kwargs": {
            "n_stages": len(shape.features_per_stage),
            "features_per_stage": list(shape.features_per_stage),
            "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
            "kernel_sizes": [list(kernel[-axes:]) for kernel in shape.kernel_sizes],
            "strides": [list(stride[-axes:]) for stride in shape.strides],
            blocks: list(shape.blocks),
            "n_conv_per_stage_decoder": list(shape.decoder_blocks),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def old_architecture(shape: UNetShape = SHAPE, network: str = PLAIN) -> dict[str, Any]:
    """As the plans of nnU-Net 2.0 to 2.3 do, within the configuration; every stage has twice the features."""
    return {
        "UNet_class_name": network,
        "UNet_base_num_features": shape.features_per_stage[0],
        "unet_max_num_features": max(shape.features_per_stage),
        "n_conv_per_stage_encoder": list(shape.blocks),
        "n_conv_per_stage_decoder": list(shape.decoder_blocks),
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": [list(stride) for stride in shape.strides],
        "conv_kernel_sizes": [list(kernel) for kernel in shape.kernel_sizes],
    }


def configuration(**changes: Any) -> dict[str, Any]:
    """A configuration of the plans; a change to None leaves the key out."""
    values = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 16, 16],
        "spacing": [2.0, 1.0, 1.0],
        "normalization_schemes": ["CTNormalization", "ZScoreNormalization"],
        "use_mask_for_norm": [False, True],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**_RESAMPLING, "order": 3},
        "resampling_fn_seg_kwargs": {**_RESAMPLING, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**_RESAMPLING, "order": 1},
        "batch_dice": False,
        "architecture": architecture(),
    }
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def plans(configurations: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The content of ``plans.json``."""
    statistics = {**_INTENSITIES, "percentile_00_5": -100.0, "percentile_99_5": 240.0}
    return {
        "dataset_name": "Dataset003_Liver",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": configurations or {"3d_fullres": configuration()},
        "foreground_intensity_properties_per_channel": {"0": statistics, "1": statistics},
        **changes,
    }


def state_dict(
    shape: UNetShape = SHAPE, network: str = PLAIN, channels: int = 2, heads: int = 3, seed: int = 0, axes: int = 3
) -> dict[str, torch.Tensor]:
    """Weights by all names that a checkpoint of nnU-Net has: tensors twice and more, and heads of deep supervision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        own = build_fold(network, channels, heads, shape).state_dict()
    named = {}
    for name, tensor in own.items():
        kernel = tensor.squeeze(2) if axes == 2 and tensor.ndim == 5 else tensor
        layer, _, kind = name.rpartition(".")
        named[name] = kernel
        for part, number in ((".conv", 0), (".norm", 1)):
            if layer.endswith(part):
                named[f"{layer.removesuffix(part)}.all_modules.{number}.{kind}"] = kernel
    encoder = {f"decoder.encoder.{name}".replace(".encoder.encoder.", ".encoder."): named[name] for name in named}
    named |= {name: tensor for name, tensor in encoder.items() if not name.startswith("decoder.encoder.decoder.")}
    for stage in range(len(shape.features_per_stage) - 2):
        features = shape.features_per_stage[-stage - 2]
        named[f"decoder.seg_layers.{stage}.weight"] = torch.zeros(heads, features, *[1] * axes)
        named[f"decoder.seg_layers.{stage}.bias"] = torch.zeros(heads)
    return named


def write_checkpoint(path: Path, weights: Mapping[str, torch.Tensor] | None = None, **changes: Any) -> None:
    """Saves a checkpoint with what nnU-Net's have besides the weights, numbers of numpy among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "network_weights": state_dict() if weights is None else weights,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "epoch_start_timestamps": [1.0]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu"), "plans": plans()},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        **changes,
    }
    torch.save(content, path)


def write_training(
    folder: Path,
    *,
    dataset: Mapping[str, Any] | None = None,
    described: Mapping[str, Any] | None = None,
    folds: Sequence[object] = (0,),
    checkpoint: str = "final",
    channels: int = 2,
    **changes: Any,
) -> Path:
    """Writes the folder of a training and returns it; ``changes`` are those of its checkpoints."""
    training = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    training.mkdir(parents=True, exist_ok=True)
    (training / "dataset.json").write_text(json.dumps({**DATASET, **(dataset or {})}))
    (training / "plans.json").write_text(json.dumps(plans() if described is None else described))
    for number, fold in enumerate(folds):
        weights = changes.pop("weights", None) if len(folds) == 1 else None
        weights = state_dict(channels=channels, seed=number) if weights is None else weights
        write_checkpoint(training / f"fold_{fold}" / f"checkpoint_{checkpoint}.pth", weights, **changes)
    return training


RESIDUAL_SHAPE = UNetShape(
    features_per_stage=(4, 8, 8),
    kernel_sizes=SHAPE.kernel_sizes,
    strides=SHAPE.strides,
    blocks=(1, 2, 1),
    decoder_blocks=(1, 1),
)
