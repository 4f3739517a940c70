"""Checkpoints of nnU-Net v2: pickles, of which nothing is executed.

``torch.load(weights_only=True)`` builds plain data and tensors only. The few types of numpy that nnU-Net's checkpoints
have besides, in records of the training, are replaced by harmless ones of this module; whatever else a file names is
refused.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import nn

from TumorSegLib.engines.networks.nnunet import own_name
from TumorSegLib.engines.weights import why_refused
from TumorSegLib.errors import ModelError, ResourceError
from TumorSegLib.memory import is_out_of_memory


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


class _NumberType:
    """In place of ``numpy.dtype``: the code of a type of numbers, as in ``f8``, and its byte order."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf]\d{1,2}", str(code)):
            raise ValueError(f"numpy.dtype {code!r} is not of plain numbers")
        self.code, self.order = str(code), "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _number(type_: _NumberType, content: bytes) -> Any:
    """In place of ``numpy.core.multiarray.scalar``."""
    return np.frombuffer(content, np.dtype(type_.order + type_.code), 1)[0].item()


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """In place of ``_codecs.encode``, by which older protocols of pickle write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"_codecs.encode with {encoding!r} is not of a checkpoint of nnU-Net")
    return text.encode("latin1")


#: What stands for a name in a checkpoint.
ALLOWED: list[Any] = [
    (_NumberType, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    (_encoded, "_codecs.encode"),
    torch.device,
]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint; nothing in the file is executed.

    Raises:
        ModelError: the file is damaged, has objects other than plain data and tensors, the first of which is named, or
            is no checkpoint of nnU-Net.
        ResourceError: memory does not suffice.
    """
    _check_archive(path)
    try:
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged or hostile file may raise errors of any type
        if is_out_of_memory(error):
            raise ResourceError(f"{path}: not enough memory to read it: {error}") from error
        raise ModelError(f"{path}: {_why_not(error)}") from error
    return _checked(path, content)


def _check_archive(path: Path) -> None:
    """Refuses what is no archive of PyTorch, is cut short, or would unpack to more than its size."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: is not a checkpoint of PyTorch, or was not copied completely: {error}") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(f"{path}: is not a checkpoint of PyTorch: it is compressed")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelError(f"{path}: is damaged: its parts are larger than the file")


def _why_not(error: Exception) -> str:
    """What a checkpoint has that is refused."""
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"contains the type {found[1]}, which is not of nnU-Net's checkpoints and could execute code; it was not "
            "read, and nothing was executed"
        )
    return f"is damaged, or contains objects other than plain data and tensors: {shorten(why_refused(error), 200)}"


def _checked(path: Path, content: Any) -> Checkpoint:
    content = content if isinstance(content, dict) else {}
    tensors, settings = content.get("network_weights"), content.get("init_args")
    if not isinstance(tensors, dict) or not isinstance(settings, dict):
        raise ModelError(f"{path}: is not a checkpoint of nnU-Net v2: it has no network_weights or no init_args")
    if not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in tensors.items()):
        raise ModelError(f"{path}: network_weights are not all named tensors")
    axes = content.get("inference_allowed_mirroring_axes") or ()
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
    wrong = [
        f"{name} {_shape(found.get(name))} (planned {_shape(expected.get(name))})"
        for name in sorted(expected.keys() | found.keys())
        if name not in found or name not in expected or found[name].shape != expected[name]
    ]
    if wrong:
        raise ModelError(
            f"{checkpoint.path}: {checkpoint.trainer} trained another network than the plans describe, which is not "
            f"supported; they differ in {len(wrong)} tensors: {', '.join(wrong[:3])}"
        )
    for name, tensor in found.items():
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ModelError(f"{checkpoint.path}: {name} claims more numbers than the file has")
    fold.load_state_dict({name: tensor.float() for name, tensor in found.items()}, assign=True)


def _as_3d(tensor: torch.Tensor, shape: torch.Size | None) -> torch.Tensor:
    """Kernels of two dimensions with one of a single voxel before."""
    return tensor.unsqueeze(2) if shape is not None and tensor.ndim == 4 and len(shape) == 5 else tensor


def _shape(tensor: torch.Tensor | torch.Size | None) -> object:
    if tensor is None:
        return "missing"
    return tuple(tensor.shape if isinstance(tensor, torch.Tensor) else tensor)
