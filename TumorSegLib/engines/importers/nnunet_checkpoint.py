"""Checkpoints of nnU-Net v2: pickles, of which nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from TumorSegLib.engines.importers.pickles import assign, read_pickle
from TumorSegLib.engines.networks.nnunet import own_name
from TumorSegLib.errors import ModelError


@dataclass(frozen=True)
class Checkpoint:
    """What inference needs of a checkpoint.

    Attributes:
        path: of the file.
        tensors: of the network, by the names in the file; they lie in the file until they are used.
        trainer: class of the trainer.
        configuration: of the plans.
        mirror_axes: of the images ``[k, j, i]``, or ``[j, i]`` in 2D.
    """

    path: Path
    tensors: Mapping[str, torch.Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; nothing in the file is executed.

    Raises:
        ModelError: the file is damaged, has objects other than plain data and tensors, the first of which is named, or
            is no checkpoint of nnU-Net.
        ResourceError: memory does not suffice.
    """
    return _checked(path, read_pickle(path, "nnU-Net's checkpoints"))


def _checked(path: Path, content: Any) -> Checkpoint:
    content = content if isinstance(content, dict) else {}
    tensors, settings = content.get("network_weights"), content.get("init_args")
    if not isinstance(tensors, dict) or not isinstance(settings, dict):
        raise ModelError(f"{path}: is not a checkpoint of nnU-Net v2: it has no network_weights or no init_args")
    if not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in tensors.items()):
        raise ModelError(f"{path}: network_weights are not all named tensors")
    axes = content.get("inference_allowed_mirroring_axes") or ()
    if "NoMirroring" in str(content.get("trainer_name")):
        axes = ()
    if not (isinstance(axes, list | tuple) and all(type(axis) is int and 0 <= axis <= 2 for axis in axes)):
        raise ModelError(f"{path}: inference_allowed_mirroring_axes {axes!r} are not some of 0, 1 and 2")
    configuration = settings.get("configuration")
    if not isinstance(configuration, str):
        raise ModelError(f"{path}: init_args name no configuration")
    return Checkpoint(path, tensors, str(content.get("trainer_name", "not stated")), configuration, tuple(sorted(axes)))


def fill(fold: nn.Module, checkpoint: Checkpoint, stages: int) -> None:
    """Gives the network of a fold, which may be on the meta device, the tensors of its checkpoint.

    Raises:
        ModelError: names or shapes are not the network's: it was trained with another one than the plans describe.
    """
    expected = {name: tensor.shape for name, tensor in fold.state_dict().items()}
    named = {own_name(name, stages): tensor for name, tensor in checkpoint.tensors.items()}
    found = {name: _as_3d(tensor, expected.get(name)) for name, tensor in named.items() if name is not None}
    assign(fold, found, str(checkpoint.path), f"{checkpoint.trainer} trained another network than the plans describe")


def _as_3d(tensor: torch.Tensor, shape: torch.Size | None) -> torch.Tensor:
    """Kernels of two dimensions with one of a single voxel before."""
    return tensor.unsqueeze(2) if shape is not None and tensor.ndim == 4 and len(shape) == 5 else tensor
