"""Files that ``torch.save`` wrote: pickles, of which nothing is executed.

``torch.load(weights_only=True)`` builds plain data and tensors only. The few types of numpy that checkpoints have
besides, in records of the training, are replaced by harmless ones of this module; whatever else a file names is
refused.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import nn

from TumorSegLib.engines.weights import why_refused
from TumorSegLib.errors import ModelError, ResourceError
from TumorSegLib.memory import is_out_of_memory


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
        raise ValueError(f"_codecs.encode with {encoding!r} is not of a checkpoint")
    return text.encode("latin1")


#: What stands for a name in a file.
ALLOWED: list[Any] = [
    (_NumberType, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    (_encoded, "_codecs.encode"),
    torch.device,
]


def read_pickle(path: Path, kind: str, content: bytes | None = None) -> Any:
    """The plain data and tensors of a file, on the CPU; nothing in it is executed.

    Args:
        path: of the file, whose tensors lie in it until they are used; only its name where the content is given.
        kind: of the file, for errors, such as "nnU-Net's checkpoints".
        content: of a file that is not on the disk.

    Raises:
        ModelError: the file is damaged, or has objects other than plain data and tensors, the first of which is named.
        ResourceError: memory does not suffice.
    """
    source: Path | io.BytesIO = path if content is None else io.BytesIO(content)
    _check_archive(source, path, path.stat().st_size if content is None else len(content))
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=content is None)
    except Exception as error:  # a damaged or hostile file may raise errors of any type
        if is_out_of_memory(error):
            raise ResourceError(f"{path}: not enough memory to read it: {error}") from error
        raise ModelError(f"{path}: {_why_not(error, kind)}") from error


def _check_archive(source: Path | io.BytesIO, path: Path, size: int) -> None:
    """Refuses what is no archive of PyTorch, is cut short, or would unpack to more than its size."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: is not a checkpoint of PyTorch, or was not copied completely: {error}") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(f"{path}: is not a checkpoint of PyTorch: it is compressed")
    if sum(entry.file_size for entry in entries) > size:
        raise ModelError(f"{path}: is damaged: its parts are larger than the file")
    if isinstance(source, io.BytesIO):
        source.seek(0)


def _why_not(error: Exception, kind: str) -> str:
    """What a file has that is refused."""
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"contains the type {found[1]}, which is not of {kind} and could execute code; it was not read, and "
            "nothing was executed"
        )
    return f"is damaged, or contains objects other than plain data and tensors: {shorten(why_refused(error), 200)}"


def assign(network: nn.Module, tensors: Mapping[str, torch.Tensor], where: str, otherwise: str) -> None:
    """Gives a network, which may be on the meta device, the tensors of a file by their names.

    Args:
        network: floating-point tensors become float32.
        tensors: of the file.
        where: its name.
        otherwise: what the file is where the tensors are not the network's.

    Raises:
        ModelError: names or shapes are not the network's, or a tensor claims more than the file has.
    """
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    wrong = [
        f"{name} {_shape(tensors.get(name))} (planned {_shape(expected.get(name))})"
        for name in sorted(expected.keys() | tensors.keys())
        if name not in tensors or name not in expected or tensors[name].shape != expected[name]
    ]
    if wrong:
        raise ModelError(
            f"{where}: {otherwise}, which is not supported; they differ in {len(wrong)} tensors: {', '.join(wrong[:3])}"
        )
    for name, tensor in tensors.items():
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ModelError(f"{where}: {name} claims more numbers than the file has")
    given = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    network.load_state_dict(given, assign=True)


def _shape(tensor: torch.Tensor | torch.Size | None) -> object:
    if tensor is None:
        return "missing"
    return tuple(tensor.shape if isinstance(tensor, torch.Tensor) else tensor)
