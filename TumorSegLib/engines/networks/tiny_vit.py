"""TinyViT, the image encoder of LiteMedSAM.

Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", ECCV 2022: convolutional blocks, then
attention in windows with a learned bias per offset, each followed by a depthwise convolution through which neighbouring
windows see each other. LiteMedSAM changes three things: the stem keeps every pixel, the step to the last stage does not
halve the map, and SAM's neck replaces the classifier. Names of parameters are those of its checkpoint.

Feature maps are ``[n, channels, h, w]`` with channels last in memory, where a map is a list of tokens without a copy.
Under autocast attention, perceptrons and neck are computed in its precision; the convolutions with batch normalisation,
and the sums that run through all blocks, stay in float32: in bfloat16 they alone move contours (Dice to float32 of four
sarcomas 0.991 to 0.994, of the rest together 0.998).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from TumorSegLib.errors import ModelError

#: Channels of a block's hidden layer, in multiples of the block's own.
EXPANSION = 4
Convolve: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
# Rows of a map convolved in one go: hidden maps of 4 MB are computed twice as fast as those of 64 MB, which neither
# cache nor allocator keeps.
STRIP = 16


class Stage(NamedTuple):
    """Channels, number of blocks, attention heads and window edge in tokens; a first stage has no heads and windows."""

    width: int
    depth: int
    heads: int = 0
    window: int = 0


@dataclass(frozen=True)
class TinyViTSizes:
    """Configuration of a TinyViT; the defaults are LiteMedSAM's.

    Attributes:
        stages: the first is convolutional, the others attend; every step between two halves the map, the last does not.
        output: channels of the embeddings.
    """

    stages: tuple[Stage, ...] = (Stage(64, 2), Stage(128, 2, 4, 7), Stage(160, 6, 5, 14), Stage(320, 2, 10, 7))
    output: int = 256


class TinyViT(nn.Module):
    """Images float ``[n, 3, S, S]`` of values 0..1 to embeddings ``[n, 256, S / 4, S / 4]`` of the same dtype.

    LiteMedSAM was trained with S = 256; any multiple of 4 can be computed.
    """

    def __init__(self, sizes: TinyViTSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or TinyViTSizes()
        stages = sizes.stages
        self.patch_embed = _Stem(stages[0].width)
        self.layers = nn.ModuleList([_Stage(stage) for stage in stages])
        for number, following in enumerate(stages[1:], start=1):
            stride = 1 if following is stages[-1] else 2
            self.layers[number - 1].downsample = _Step(stages[number - 1].width, following.width, stride)
        self.neck = nn.Sequential(
            nn.Conv2d(stages[-1].width, sizes.output, kernel_size=1, bias=False),
            _ChannelNorm(sizes.output),
            nn.Conv2d(sizes.output, sizes.output, kernel_size=3, padding=1, bias=False),
            _ChannelNorm(sizes.output),
        )
        self.apply(_initialise)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float images ``[n, 3, S, S]`` to embeddings ``[n, 256, S / 4, S / 4]``; gradients flow."""
        features = self.patch_embed(images.contiguous(memory_format=torch.channels_last))
        for stage in self.layers:
            features = stage(features)
        embeddings: torch.Tensor = self.neck(features)
        return embeddings.contiguous()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class _NormalisedConvolution(nn.Module):
    """A convolution without bias (``c``) and its batch normalisation (``bn``); padding keeps the map's size."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.bn.training:
            normalised: torch.Tensor = self.bn(self.c(features))
            return normalised
        return self.folded()(features)

    def folded(self) -> Convolve:
        """The convolution with the normalisation by fixed statistics in it, which saves a pass over large maps.

        Folded when needed (0.3 million weights), not once, so that fine-tuning and the checkpoint need nothing special;
        in float32, since bfloat16 would round twice.
        """
        mean, variance = self.bn.running_mean, self.bn.running_var
        if mean is None or variance is None:
            raise ModelError("batch normalisation without statistics cannot be folded")
        scale = self.bn.weight.float() * (variance.float() + self.bn.eps).rsqrt()
        kind, convolution = self.c.weight.dtype, self.c
        weight = (convolution.weight.float() * scale[:, None, None, None]).to(kind)
        bias = (self.bn.bias.float() - mean.float() * scale).to(kind)

        def convolve(features: torch.Tensor) -> torch.Tensor:
            with torch.autocast(features.device.type, enabled=False):
                return F.conv2d(
                    features.to(kind), weight, bias, convolution.stride, convolution.padding, groups=convolution.groups
                )

        return convolve


def _ready(*convolutions: _NormalisedConvolution) -> list[Convolve]:
    """Folded once for many strips; in training as they are."""
    return [convolution if convolution.bn.training else convolution.folded() for convolution in convolutions]


class _ChannelNorm(nn.Module):
    """Layer normalisation over the channels of a map, as in SAM's neck."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens = features.permute(0, 2, 3, 1)
        return F.layer_norm(tokens, self.weight.shape, self.weight, self.bias, eps=1e-6).permute(0, 3, 1, 2)


class _Stem(nn.Module):
    """Pixels to features, one by one: TinyViT's own stem would quarter the edge of the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            _NormalisedConvolution(3, width // 2), nn.GELU(), _NormalisedConvolution(width // 2, width)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.seq(images)
        return features


class _Stage(nn.Module):
    """Blocks of one kind at one resolution, then the step to the next stage where there is one."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_AttentionBlock(stage) if stage.heads else _ConvolutionBlock(stage.width) for _ in range(stage.depth)]
        )
        self.downsample: nn.Module = nn.Identity()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            features = block(features)
        following: torch.Tensor = self.downsample(features)
        return following


class _Step(nn.Module):
    """From one stage's channels and resolution to the next one's."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _NormalisedConvolution(inputs, outputs)
        self.conv2 = _NormalisedConvolution(outputs, outputs, kernel=3, stride=stride, groups=outputs)
        self.conv3 = _NormalisedConvolution(outputs, outputs)

        self.stride = stride

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        first, second, third = _ready(self.conv1, self.conv2, self.conv3)

        def project(some: torch.Tensor) -> torch.Tensor:
            return third(F.gelu(second(F.gelu(first(some)))))

        return project(features) if self.training else _in_strips(project, features, self.stride)


class _ConvolutionBlock(nn.Module):
    """MBConv (Sandler et al., "MobileNetV2", CVPR 2018): widen, a depthwise 3 x 3, narrow, and add the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = EXPANSION * width
        self.conv1 = _NormalisedConvolution(width, hidden)
        self.conv2 = _NormalisedConvolution(hidden, hidden, kernel=3, groups=hidden)
        self.conv3 = _NormalisedConvolution(hidden, width)
        nn.init.zeros_(self.conv3.bn.weight)  # an untrained block passes its input on

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        first, second, third = _ready(self.conv1, self.conv2, self.conv3)

        def convolve(some: torch.Tensor) -> torch.Tensor:
            return F.gelu(some + third(F.gelu(second(F.gelu(first(some))))))

        # In training every map is normalised by its own statistics, which strips do not know.
        return convolve(features) if self.training else _in_strips(convolve, features, stride=1)


def _in_strips(convolve: Convolve, features: torch.Tensor, stride: int) -> torch.Tensor:
    """The same as ``convolve(features)``, which sees one row beyond each of its own, some rows at a time."""
    strips = []
    for first in range(0, features.shape[2], STRIP):
        # As many rows more as the stride: the one that is seen, without moving the stride's phase.
        low = max(first - stride, 0)
        convolved = convolve(features[:, :, low : first + STRIP + stride])
        strips.append(convolved[:, :, (first - low) // stride :][:, :, : STRIP // stride])
    return torch.cat(strips, dim=2)


class _AttentionBlock(nn.Module):
    """Attention in windows, a depthwise 3 x 3 across them, and a perceptron per token."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.attn = _WindowAttention(stage)
        self.local_conv = _NormalisedConvolution(stage.width, stage.width, kernel=3, groups=stage.width)
        self.mlp = _Perceptron(stage.width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens = features.permute(0, 2, 3, 1)
        tokens = tokens + self.attn(tokens)
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        tokens = tokens + self.mlp(tokens)
        mapped: torch.Tensor = tokens.permute(0, 3, 1, 2)
        return mapped


class _Perceptron(nn.Module):
    """Two layers on each token ``[..., width]``, normalised first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, EXPANSION * width)
        self.fc2 = nn.Linear(EXPANSION * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return output


class _WindowAttention(nn.Module):
    """Multi-head attention of the tokens ``[n, h, w, width]`` of each window, normalised first.

    A bias is learned per head for every ``(|rows|, |columns|)`` between two tokens (Graham et al., "LeViT", ICCV 2021).
    """

    offsets: torch.Tensor

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.heads, self.window = stage.heads, stage.window
        self.norm = nn.LayerNorm(stage.width)
        self.qkv = nn.Linear(stage.width, 3 * stage.width)
        self.proj = nn.Linear(stage.width, stage.width)
        self.attention_biases = nn.Parameter(torch.zeros(stage.heads, stage.window**2))
        self.register_buffer("offsets", _offsets(stage.window), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        _, height, width, _ = tokens.shape
        # What fills incomplete windows up is normalised and attended to like any other token: the checkpoint was
        # trained so.
        tokens = F.pad(tokens, (0, 0, 0, -width % self.window, 0, -height % self.window))
        windows = _split(tokens, self.window)
        attended = _join(self._attend(self.norm(windows)), self.window, tokens.shape)
        return attended[:, :height, :width]

    def _attend(self, windows: torch.Tensor) -> torch.Tensor:
        """``[windows, tokens, width]`` to the same."""
        count, length, width = windows.shape
        # The checkpoint keeps query, key and value of one head together.
        projected = self.qkv(windows).view(count, length, self.heads, 3, width // self.heads)
        query, key, value = projected.permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.offsets][None].to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        output: torch.Tensor = self.proj(attended.transpose(1, 2).reshape(windows.shape))
        return output


def _offsets(window: int) -> torch.Tensor:
    """int64 ``[tokens, tokens]``: number of the offset between two tokens of a window, by rows, then columns."""
    position = torch.arange(window)
    apart = (position[:, None] - position).abs()
    numbers = apart[:, None, :, None] * window + apart[None, :, None, :]
    return numbers.reshape(window**2, window**2)


def _split(tokens: torch.Tensor, window: int) -> torch.Tensor:
    """``[n, h, w, width]`` to windows ``[n * windows, window * window, width]``."""
    count, height, width, channels = tokens.shape
    tiles = tokens.reshape(count, height // window, window, width // window, window, channels)
    return tiles.transpose(2, 3).reshape(-1, window * window, channels)


def _join(windows: torch.Tensor, window: int, shape: torch.Size) -> torch.Tensor:
    """Undoes :func:`_split` for tokens of the given shape."""
    count, height, width, channels = shape
    tiles = windows.reshape(count, height // window, width // window, window, window, channels)
    return tiles.transpose(2, 3).reshape(shape)
