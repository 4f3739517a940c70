"""Networks by name, so that ``model.json`` alone rebuilds one.

All come from MONAI (Apache-2.0). A network maps ``[batch, channels, k, j, i]`` to logits ``[batch, labels, k, j, i]``:
one per label that is not background, whose own logit is fixed at 0. With one label the probability is then a sigmoid,
with several a softmax over zero and the logits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from TumorSegLib.errors import ModelError
from TumorSegLib.models.spec import ModelSpec

Patch = tuple[int, int, int]
Builder = Callable[[int, int, Patch, Mapping[str, Any]], nn.Module]


def _dynunet(residual: bool) -> Builder:
    def build(channels: int, labels: int, _patch: Patch, arguments: Mapping[str, Any]) -> nn.Module:
        unknown = set(arguments) - {"filters", "strides"}
        if unknown:
            raise TypeError(f"unknown arguments {sorted(unknown)}; filters and strides are taken")
        filters = tuple(arguments.get("filters", (16, 32, 64, 128, 160)))
        strides = [1] + [2] * (len(filters) - 1)
        # Anisotropic voxels: an axis may skip the first halvings, e.g. strides [1, [1, 2, 2], 2, 2].
        strides = list(arguments.get("strides", strides))
        if len(strides) != len(filters):
            raise ValueError(f"strides {strides} are not one per filter")
        network: nn.Module = nets.DynUNet(
            spatial_dims=3,
            in_channels=channels,
            out_channels=labels,
            kernel_size=[3] * len(filters),
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=filters,
            norm_name=("INSTANCE", {"affine": True}),
            res_block=residual,
        )
        return network

    return build


def _convolutional(network: Callable[..., nn.Module]) -> Builder:
    def build(channels: int, labels: int, _patch: Patch, arguments: Mapping[str, Any]) -> nn.Module:
        return network(spatial_dims=3, in_channels=channels, out_channels=labels, **arguments)

    return build


def _basic_unet_plus_plus(channels: int, labels: int, _patch: Patch, arguments: Mapping[str, Any]) -> nn.Module:
    return _FirstOutput(nets.BasicUNetPlusPlus(spatial_dims=3, in_channels=channels, out_channels=labels, **arguments))


def _unetr(channels: int, labels: int, patch: Patch, arguments: Mapping[str, Any]) -> nn.Module:
    network: nn.Module = nets.UNETR(
        in_channels=channels, out_channels=labels, img_size=patch, spatial_dims=3, **arguments
    )
    return network


class _FirstOutput(nn.Module):
    """UNet++ returns one map per nesting depth; the deepest, its last without supervision, is the answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(images)[0]
        return output


BUILDERS: Mapping[str, Builder] = {
    "AttentionUnet": _convolutional(nets.AttentionUnet),
    "BasicUNet": _convolutional(nets.BasicUNet),
    "BasicUNetPlusPlus": _basic_unet_plus_plus,
    "DynUNet": _dynunet(residual=False),
    "ResidualDynUNet": _dynunet(residual=True),
    "SegResNet": _convolutional(nets.SegResNet),
    "SwinUNETR": _convolutional(nets.SwinUNETR),
    "UNETR": _unetr,
    "VNet": _convolutional(nets.VNet),
}


#: Networks whose position embedding ties them to the patch they were built for.
FIXED_SIZE = frozenset({"UNETR"})


#: Networks that cannot run on an empty batch, which :func:`build_network` tries the patch with.
NEEDS_A_PATCH = frozenset({"SwinUNETR"})


def build_network(spec: ModelSpec) -> nn.Module:
    """Builds the network a model describes, with random weights.

    Raises:
        ModelError: the name is unknown, its arguments do not fit, or it cannot take the model's patch.
    """
    if spec.network not in BUILDERS:
        raise ModelError(f"model {spec.name!r}: network {spec.network!r} is not one of {', '.join(BUILDERS)}")
    try:
        network = BUILDERS[spec.network](spec.channels, len(spec.labels), spec.patch, spec.arguments)
    except Exception as error:  # the networks check their arguments in ways too many to list, down to torch itself
        reason = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"model {spec.name!r}: {spec.network} cannot be built from {dict(spec.arguments)}: {reason}"
        ) from error
    _check_patch(spec, network)
    return network


def _check_patch(spec: ModelSpec, network: nn.Module) -> None:
    """Raises :class:`ModelError` unless the network maps the model's patch to logits of the same size."""
    refusal = f"model {spec.name!r}: {spec.network} cannot take a patch of {spec.patch} (k, j, i)"
    try:
        shape = _output_shape(spec, network)
    except Exception as error:  # as above
        raise ModelError(
            f"{refusal}; multiples of 32, not all 32 itself, suit most networks: {type(error).__name__}: {error}"
        ) from error
    if shape != (len(spec.labels), *spec.patch):
        raise ModelError(f"{refusal}: it gives {shape} instead of {(len(spec.labels), *spec.patch)}")


def _output_shape(spec: ModelSpec, network: nn.Module) -> tuple[int, ...]:
    """Shape of one patch's logits, found in milliseconds and without weights being copied or anything computed.

    An empty batch does for all networks but those that divide by its size. These are tried on the meta device, which
    would do for all, but costs more than a second once per process: it imports torch's compiler.
    """
    device, batch = ("meta", 1) if spec.network in NEEDS_A_PATCH else ("cpu", 0)
    stand_ins: dict[int, Any] = {id(t): t.detach().to(device) for t in chain(network.parameters(), network.buffers())}
    stand_ins |= {id(m): _InstanceNormOfNothing() for m in network.modules() if isinstance(m, nn.InstanceNorm3d)}
    twin = copy.deepcopy(network, stand_ins).eval()
    with torch.inference_mode():
        logits: torch.Tensor = twin(torch.zeros(batch, spec.channels, *spec.patch, device=device))
    return tuple(logits.shape[1:])


class _InstanceNormOfNothing(nn.Module):
    """Torch's own instance norm refuses an empty batch; like that, this refuses a single voxel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2:].numel() == 1:
            raise ValueError("it leaves a single voxel to normalise over")
        return images


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logits ``[labels, ...]`` of the labels to their probabilities, background's logit being 0, in float32."""
    if logits.shape[0] == 1:
        return torch.sigmoid(logits.float())
    background = torch.zeros_like(logits[:1], dtype=torch.float32)
    return torch.softmax(torch.cat([background, logits.float()]), dim=0)[1:]
