"""Checkpoints of SAM, MedSAM and LiteMedSAM as PyTorch saves them: their tensors, and the network they belong to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from TumorSegLib.engines.networks.sam import PATCH, WINDOW, build_sam
from TumorSegLib.engines.weights import why_refused
from TumorSegLib.errors import ModelError


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Reads the tensors of a PyTorch checkpoint onto the CPU; nothing in the file is executed.

    Taken are a plain dictionary of tensors or one under ``model`` or ``state_dict``. The prefix ``module.`` of parallel
    training is removed, and so are SAM's two constants for pixels, which the model's description has.

    Raises:
        ModelError: the file is missing, damaged, has Python objects other than plain data, or has no tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"{file}: there is no such file; the path of a SAM, MedSAM or LiteMedSAM checkpoint is needed")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise errors of any type
        reason = shorten(why_refused(error), 200)
        raise ModelError(
            f"{file}: is not a checkpoint, is damaged, or contains objects other than tensors: {reason}"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    found = content.items() if isinstance(content, dict) else ()
    tensors = {str(k).removeprefix("module."): v for k, v in found if isinstance(v, torch.Tensor)}
    tensors = {k: v for k, v in tensors.items() if k not in ("pixel_mean", "pixel_std")}
    if not tensors:
        raise ModelError(f"{file}: contains no named tensors, at the top level or under model or state_dict")
    return tensors


def architecture_of(tensors: Mapping[str, torch.Tensor]) -> tuple[str, dict[str, Any]]:
    """The network a checkpoint's tensors belong to, and its arguments, as :func:`build_sam` takes them.

    It is decided by names and shapes, all of which are compared, so that the network built from it loads the tensors
    strictly. How images are normalised is not in them: Meta's ViT-B and MedSAM look the same.

    Raises:
        ModelError: names or shapes are not understood; the message names the first few.
    """
    network, arguments = ("LiteMedSAM", {}) if _STEM in tensors else ("SamViT", _vit_arguments(tensors))
    with torch.device("meta"):
        expected = {
            name: tuple(t.shape) for name, t in build_sam(network, arguments, "checkpoint").state_dict().items()
        }
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    wrong = [
        f"{name} {got.get(name, 'missing')} (expected {expected.get(name, 'none')})"
        for name in sorted(expected.keys() | got.keys())
        if got.get(name) != expected.get(name)
    ]
    if wrong:
        raise ModelError(
            f"checkpoint looks like {network} {arguments}, but not in {len(wrong)}: {', '.join(wrong[:3])}"
        )
    return network, arguments


_STEM = "image_encoder.patch_embed.seq.0.c.weight"


def _vit_arguments(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    positions = _tensor(tensors, "image_encoder.pos_embed", 4)
    size, width = int(positions.shape[1]), int(positions.shape[3])
    blocks = [re.match(r"image_encoder\.blocks\.(\d+)\.", name) for name in tensors]
    depth = 1 + max((int(block[1]) for block in blocks if block), default=0)
    offsets = [_tensor(tensors, f"image_encoder.blocks.{n}.attn.rel_pos_h", 2) for n in range(depth)]
    return {
        "image_size": PATCH * size,
        "depth": depth,
        "width": width,
        "heads": width // max(int(offsets[0].shape[1]), 1),
        # A window has 27 offsets between two of its rows; 14 rows in all make the slice itself one window.
        "global_attention": [n for n in range(depth) if offsets[n].shape[0] != 2 * WINDOW - 1],
        "channels": int(_tensor(tensors, "image_encoder.neck.0.weight", 4).shape[0]),
    }


def _tensor(tensors: Mapping[str, torch.Tensor], name: str, axes: int) -> torch.Tensor:
    if name not in tensors:
        few = ", ".join(list(tensors)[:3])
        raise ModelError(f"checkpoint has no {name}: neither LiteMedSAM nor a SAM with a ViT; it holds {few}, ...")
    if tensors[name].ndim != axes:
        raise ModelError(f"checkpoint's {name} has shape {tuple(tensors[name].shape)}, {axes} axes are expected")
    return tensors[name]
