"""A check that PyTorch computes the gradients of a network rightly on this computer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from TumorSegLib.engines.networks.unets import build_network, channel_count
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ModelError
from TumorSegLib.models.spec import ModelSpec

# Depth at which the gradient of a convolution's weights is wrong in bfloat16 on CPUs (PyTorch 2.13, oneDNN): it has a
# cosine of 0.5 with the right one, or is not a number, at any width and height.
WRONG_DEPTH = 2


def check_gradients(spec: ModelSpec, runtime: Runtime) -> None:
    """Raises :class:`ModelError` where a layer of the model would be trained with wrong gradients.

    Args:
        spec: the model.
        runtime: where it is to be trained.
    """
    if runtime.device.type != "cpu" or runtime.dtype is not torch.bfloat16:
        return
    wrong: list[str] = []
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec).eval().to("meta")
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
            layer.register_forward_pre_hook(_noting(name, wrong))
    with torch.inference_mode():
        network(torch.zeros(1, channel_count(spec), *spec.patch, device="meta"))
    if wrong:
        raise ModelError(
            f"patch {list(spec.patch)} (k, j, i) leaves {WRONG_DEPTH} voxels along k at {wrong[0]}, "
            "where PyTorch computes wrong gradients in bfloat16; use a deeper patch, e.g. of 48, or --precision float32"
        )


def _noting(name: str, wrong: list[str]) -> Any:
    def note(_layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[2] == WRONG_DEPTH:
            wrong.append(name)

    return note
