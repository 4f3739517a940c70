"""The U-Nets of nnU-Net v2, plain and with a residual encoder; their tensors have the names of its checkpoints.

Isensee et al., Nature Methods 2021; Isensee et al., "nnU-Net Revisited", MICCAI 2024. The networks are 3D: those of 2D
configurations have kernels, strides and windows of one voxel along the first axis, which computes the same. A
checkpoint names a tensor several times, and has heads of deep supervision, which only training needs:
:func:`own_name` gives the one name used here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from TumorSegLib.errors import ModelError, TumorSegError
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.parsing import parse_dataclass

Triple = tuple[int, int, int]
#: By the last part of the class name that the plans have.
PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
NETWORKS = (PLAIN, RESIDUAL)
#: No plan has more of these; a larger network would not fit any computer.
MOST_FEATURES, MOST_STAGES, MOST_BLOCKS = 4096, 12, 64


@dataclass(frozen=True)
class UNetShape:
    """Arguments of the networks, all but the kernels as nnU-Net names them.

    Attributes:
        features_per_stage: channels at each resolution, the finest first.
        kernel_sizes, strides: per stage and axis; the stride of a stage is that of its first convolution.
        blocks: convolutions, or residual blocks, per stage of the encoder.
        decoder_blocks: convolutions per stage of the decoder, the coarsest first.
        bias: whether convolutions have one.
        eps: of the instance normalisation.
        slope: of the leaky rectifier.
        activate_first: whether the rectifier comes before the normalisation.

    Raises:
        ModelError: the numbers per stage contradict each other or are out of range.
    """

    features_per_stage: tuple[int, ...]
    kernel_sizes: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    bias: bool = True
    eps: float = 1e-5
    slope: float = 0.01
    activate_first: bool = False

    def __post_init__(self) -> None:
        stages = len(self.features_per_stage)
        counts = [len(each) for each in (self.kernel_sizes, self.strides, self.blocks)] + [len(self.decoder_blocks) + 1]
        if not 2 <= stages <= MOST_STAGES or any(count != stages for count in counts):
            raise ModelError(f"features of {stages} stages, but kernels, strides, blocks, decoder of {counts}")
        limits = {
            "features_per_stage": (self.features_per_stage, MOST_FEATURES),
            "kernel_sizes": ([k for kernel in self.kernel_sizes for k in kernel], 31),
            "strides": ([k for stride in self.strides for k in stride], 31),
            "blocks": ((*self.blocks, *self.decoder_blocks), MOST_BLOCKS),
        }
        for name, (numbers, most) in limits.items():
            if not all(1 <= number <= most for number in numbers):
                raise ModelError(f"{name} {tuple(numbers)} are not all from 1 to {most}")


class NnunetEnsemble(nn.Module):
    """The networks of several folds: the mean of their logits."""

    def __init__(self, folds: Sequence[nn.Module]) -> None:
        super().__init__()
        self.folds = nn.ModuleList(folds)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits float ``[batch, labels, k, j, i]`` of windows ``[batch, channels, k, j, i]``."""
        summed: torch.Tensor = self.folds[0](images)
        for fold in list(self.folds)[1:]:
            summed = summed + fold(images)
        return summed / len(self.folds) if len(self.folds) > 1 else summed


class NnunetUNet(nn.Module):
    """The network of one fold."""

    def __init__(self, channels: int, heads: int, shape: UNetShape, residual: bool) -> None:
        super().__init__()
        self.encoder = _Encoder(channels, shape, residual)
        self.decoder = _Decoder(heads, shape)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, heads, k, j, i]`` of windows ``[batch, channels, k, j, i]``."""
        logits: torch.Tensor = self.decoder(self.encoder(images))
        return logits


class _Encoder(nn.Module):
    def __init__(self, channels: int, shape: UNetShape, residual: bool) -> None:
        super().__init__()
        self.stem = None
        if residual:
            self.stem = _Stack(1, channels, shape.features_per_stage[0], shape.kernel_sizes[0], (1, 1, 1), shape)
            channels = shape.features_per_stage[0]
        self.stages = nn.ModuleList()
        for blocks, features, kernel, stride in zip(
            shape.blocks, shape.features_per_stage, shape.kernel_sizes, shape.strides
        ):
            if residual:
                self.stages.append(_ResidualStack(blocks, channels, features, kernel, stride, shape))
            else:
                self.stages.append(nn.Sequential(_Stack(blocks, channels, features, kernel, stride, shape)))
            channels = features

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The maps of every stage, the finest first."""
        current, maps = images if self.stem is None else self.stem(images), []
        for stage in self.stages:
            current = stage(current)
            maps.append(current)
        return maps


class _Decoder(nn.Module):
    def __init__(self, heads: int, shape: UNetShape) -> None:
        super().__init__()
        features = shape.features_per_stage
        self.stages, self.transpconvs = nn.ModuleList(), nn.ModuleList()
        for number, blocks in enumerate(shape.decoder_blocks, start=1):
            below, beside, stride = features[-number], features[-number - 1], shape.strides[-number]
            self.transpconvs.append(nn.ConvTranspose3d(below, beside, stride, stride, bias=shape.bias))
            kernel = shape.kernel_sizes[-number - 1]
            self.stages.append(_Stack(blocks, 2 * beside, beside, kernel, (1, 1, 1), shape))
        # The other stages have heads in checkpoints, for deep supervision.
        self.seg_layers = nn.ModuleDict({str(len(features) - 2): nn.Conv3d(features[0], heads, 1)})

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        current = maps[-1]
        for enlarge, stage, beside in zip(self.transpconvs, self.stages, maps[-2::-1]):
            current = stage(torch.cat([enlarge(current), beside], dim=1))
        (head,) = self.seg_layers.values()
        logits: torch.Tensor = head(current)
        return logits


class _Stack(nn.Module):
    """Convolutions one after the other, the first with the stride."""

    def __init__(
        self, blocks: int, channels: int, features: int, kernel: Triple, stride: Triple, shape: UNetShape
    ) -> None:
        super().__init__()
        first = _Convolution(channels, features, kernel, stride, shape)
        rest = [_Convolution(features, features, kernel, (1, 1, 1), shape) for _ in range(blocks - 1)]
        self.convs = nn.Sequential(first, *rest)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.convs(maps)
        return result


class _Convolution(nn.Module):
    """Convolution, instance normalisation and, unless it ends a residual block, the rectifier."""

    def __init__(
        self, channels: int, features: int, kernel: Triple, stride: Triple, shape: UNetShape, **options: bool
    ) -> None:
        super().__init__()
        self._slope = shape.slope if options.get("activate", True) else None
        self._activate_first = shape.activate_first
        k, j, i = ((edge - 1) // 2 for edge in kernel)
        self.conv = nn.Conv3d(channels, features, kernel, stride, (k, j, i), bias=options.get("bias", shape.bias))
        self.norm = nn.InstanceNorm3d(features, eps=shape.eps, affine=True)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        convolved = self.conv(maps)
        if self._slope is None:
            normalised: torch.Tensor = self.norm(convolved)
            return normalised
        if self._activate_first:
            activated: torch.Tensor = self.norm(functional.leaky_relu(convolved, self._slope))
            return activated
        return functional.leaky_relu(self.norm(convolved), self._slope)


class _ResidualStack(nn.Module):
    """Residual blocks one after the other, the first with the stride."""

    def __init__(
        self, blocks: int, channels: int, features: int, kernel: Triple, stride: Triple, shape: UNetShape
    ) -> None:
        super().__init__()
        first = _Residual(channels, features, kernel, stride, shape)
        rest = [_Residual(features, features, kernel, (1, 1, 1), shape) for _ in range(blocks - 1)]
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.blocks(maps)
        return result


class _Residual(nn.Module):
    """Two convolutions and a way past them, which averages blocks of voxels where there is a stride (ResNet-D)."""

    def __init__(self, channels: int, features: int, kernel: Triple, stride: Triple, shape: UNetShape) -> None:
        super().__init__()
        self._slope = shape.slope
        self.conv1 = _Convolution(channels, features, kernel, stride, shape)
        self.conv2 = _Convolution(features, features, kernel, (1, 1, 1), shape, activate=False)
        past: list[nn.Module] = [_BlockMeans(stride)] if max(stride) > 1 else []
        if channels != features:
            past.append(_Convolution(channels, features, (1, 1, 1), (1, 1, 1), shape, bias=False, activate=False))
        self.skip = nn.Sequential(*past)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(self.conv2(self.conv1(maps)) + self.skip(maps), self._slope)


class _BlockMeans(nn.Module):
    def __init__(self, stride: Triple) -> None:
        super().__init__()
        self._stride = stride

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        # torch has no average pooling in bfloat16 on CPUs
        return functional.avg_pool3d(maps.float(), self._stride, self._stride).to(maps.dtype)


def own_name(name: str, stages: int) -> str | None:
    """The name here of a tensor of a checkpoint; None for a second name of a tensor and for heads that only train.

    Args:
        name: in the checkpoint, also of a network trained in parallel or compiled.
        stages: of the network.
    """
    name = re.sub(r"^((module|_orig_mod)\.)*", "", name)
    if name.startswith("decoder.encoder.") or ".all_modules." in name:
        return None
    head = re.match(r"decoder\.seg_layers\.(\d+)\.", name)
    return None if head and int(head[1]) < stages - 2 else name


def parse_shape(arguments: Mapping[str, Any], origin: str) -> UNetShape:
    """The arguments in a ``model.json``, checked; raises :class:`ModelError`."""
    return parse_dataclass(UNetShape, arguments, origin, ModelError)


def build_fold(network: str, channels: int, heads: int, shape: UNetShape) -> nn.Module:
    """The network of one fold with random weights; raises :class:`ModelError` for an unknown one."""
    if network not in NETWORKS:
        raise ModelError(f"network {network!r} is not one of {', '.join(NETWORKS)}")
    return NnunetUNet(channels, heads, shape, network == RESIDUAL)


def heads_of(spec: ModelSpec) -> int:
    """Maps that the network gives: one per label, and one of the background unless the labels are regions."""
    return len(spec.labels) + (not spec.nnunet_input.regions)


def build_nnunet(spec: ModelSpec) -> nn.Module:
    """The networks of all folds of a model of nnU-Net, with random weights; raises :class:`ModelError`."""
    try:
        shape = parse_shape(spec.arguments, "arguments")
        folds = range(spec.nnunet_input.folds)
        return NnunetEnsemble([build_fold(spec.network, len(spec.roles), heads_of(spec), shape) for _ in folds])
    except TumorSegError as error:
        raise ModelError(f"model {spec.name!r}: {error}") from error
