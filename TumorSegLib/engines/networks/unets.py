"""Networks by name, so that ``model.json`` alone rebuilds one.

All come from MONAI (Apache-2.0). A network maps ``[batch, channels, k, j, i]`` to logits ``[batch, labels, k, j, i]``:
one per label that is not background, whose own logit is fixed at 0. With one label the probability is then a sigmoid,
with several a softmax over zero and the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from TumorSegLib.engines.networks.nnunet import NETWORKS
from TumorSegLib.errors import ModelError
from TumorSegLib.models.spec import AnyImageInput, ModelSpec, PromptedVolumeInput
from TumorSegLib.prompts.encoding import GUIDANCE
from TumorSegLib.prompts.patch_prompts import PROMPT_CHANNELS

PatchShape = tuple[int, int, int]
Builder = Callable[[int, int, PatchShape, Mapping[str, Any]], nn.Module]


def _dynunet(residual: bool) -> Builder:
    def build(channels: int, labels: int, _patch: PatchShape, arguments: Mapping[str, Any]) -> nn.Module:
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
    def build(channels: int, labels: int, _patch: PatchShape, arguments: Mapping[str, Any]) -> nn.Module:
        return network(spatial_dims=3, in_channels=channels, out_channels=labels, **arguments)

    return build


def _basic_unet_plus_plus(channels: int, labels: int, _patch: PatchShape, arguments: Mapping[str, Any]) -> nn.Module:
    return _FirstOutput(nets.BasicUNetPlusPlus(spatial_dims=3, in_channels=channels, out_channels=labels, **arguments))


def _unetr(channels: int, labels: int, patch: PatchShape, arguments: Mapping[str, Any]) -> nn.Module:
    network: nn.Module = nets.UNETR(
        in_channels=channels, out_channels=labels, img_size=patch, spatial_dims=3, **arguments
    )
    return network


class _FirstOutput(nn.Module):
    """UNet++ returns one map per nesting depth; without deep supervision there is one, of the deepest."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(images)[0]
        return output


UNET_BUILDERS: Mapping[str, Builder] = {
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


#: Networks that are bound to the patch they were built for, by a position embedding or as nnU-Net uses them.
FIXED_SIZE = frozenset({"UNETR", *NETWORKS})


def build_network(spec: ModelSpec) -> nn.Module:
    """Builds the network a model describes, with random weights.

    Raises:
        ModelError: the name is unknown, its arguments do not fit, or the model takes no volumes.
    """
    if spec.network not in UNET_BUILDERS:
        raise ModelError(f"model {spec.name!r}: network {spec.network!r} is not one of {', '.join(UNET_BUILDERS)}")
    patch = spec.patch
    try:
        return UNET_BUILDERS[spec.network](channel_count(spec), len(spec.labels), patch, spec.arguments)
    except Exception as error:  # networks and torch raise errors of many types for wrong arguments
        reason = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"model {spec.name!r}: {spec.network} cannot be built from {dict(spec.arguments)}: {reason}"
        ) from error


def channel_count(spec: ModelSpec) -> int:
    """Channels the network takes: those of the images, and those of the prompts if it takes any."""
    if isinstance(spec.input, AnyImageInput):
        return len(spec.input.normalisation) + len(PROMPT_CHANNELS)
    return len(spec.roles) + (len(GUIDANCE) if isinstance(spec.input, PromptedVolumeInput) else 0)


def check_patch(spec: ModelSpec) -> None:
    """Checks that the network maps the model's patch to logits of the same size; nothing is computed.

    Torch's meta device, where tensors have shapes only, takes a second for the first call in a process, so models are
    checked when they are trained and exported, not when they are loaded.

    Raises:
        ModelError: it does not, or the network cannot be built.
    """
    patch, labels = spec.patch, len(spec.labels)
    refusal = f"model {spec.name!r}: {spec.network} cannot take a patch of {patch} (k, j, i)"
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec).eval().to("meta")
    with torch.inference_mode():
        try:
            shape = tuple(network(torch.zeros(1, channel_count(spec), *patch, device="meta")).shape[1:])
        except Exception as error:  # as above
            raise ModelError(
                f"{refusal}; multiples of 32, not all 32 itself, suit most networks: {type(error).__name__}: {error}"
            ) from error
    if shape != (labels, *patch):
        raise ModelError(f"{refusal}: it gives {shape} instead of {(labels, *patch)}")


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logits ``[labels, ...]`` of the labels to their probabilities, background's logit being 0, in float32."""
    if logits.shape[0] == 1:
        return torch.sigmoid(logits.float())
    background = torch.zeros_like(logits[:1], dtype=torch.float32)
    return torch.softmax(torch.cat([background, logits.float()]), dim=0)[1:]
