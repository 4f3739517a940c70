"""SAM, MedSAM and LiteMedSAM: an image encoder, and a decoder from its embedding and prompts to masks of one slice.

Kirillov et al., "Segment Anything", ICCV 2023; Ma et al., "Segment anything in medical images", Nature Communications
2024. Prompt encoder, mask decoder and ViT are those of the package ``segment-anything`` (Meta, Apache-2.0), the encoder
of LiteMedSAM is :mod:`TumorSegLib.engines.networks.tiny_vit`. Images are square slices ``[n, 3, S, S]`` (rows,
columns); points and boxes are in their pixels, x along columns, with whole numbers at pixel centres.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from TumorSegLib.engines.networks.tiny_vit import TinyViT
from TumorSegLib.errors import ArgumentError, ModelError

#: The package, and the name that its modules get here.
PACKAGE, OWN_NAME = "segment_anything", "TumorSegLib.engines.networks.segment_anything_modeling"
#: Edge of a patch and of an attention window (in patches) of every published SAM.
PATCH, WINDOW = 16, 14
#: Width of the embeddings, prompts and decoder of every published SAM.
CHANNELS = 256
_IMPORT_LOCK = threading.Lock()


def import_segment_anything() -> ModuleType:
    """The modules of ``segment_anything.modeling``, which need torch only, without the package around them.

    The package itself imports torchvision. Its modules import each other relatively, so they are imported under a
    name of their own: ``segment_anything`` in ``sys.modules`` is untouched, for all threads.

    Raises:
        ModelError: the package is not installed or cannot be located, or its modules do not import.
    """
    with _IMPORT_LOCK:
        return _modeling()


@functools.cache
def _modeling() -> ModuleType:
    try:
        package = importlib.util.find_spec(PACKAGE)
    except ValueError as error:
        raise ModelError(
            f"the package segment-anything cannot be located: sys.modules has a module {PACKAGE!r} without __spec__; "
            "remove that module or restart Python"
        ) from error
    if package is None or not package.submodule_search_locations:
        raise ModelError("SAM's networks need the package segment-anything; pip install segment-anything")
    folder = Path(package.submodule_search_locations[0]) / "modeling"
    spec = importlib.util.spec_from_file_location(
        OWN_NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    try:
        if spec is None or spec.loader is None:
            raise ImportError(f"{folder} is not a package")
        module = importlib.util.module_from_spec(spec)
        sys.modules[OWN_NAME] = module
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        sys.modules.pop(OWN_NAME, None)
        raise ModelError(
            f"the package segment-anything does not import ({error}); pip install --force-reinstall segment-anything"
        ) from error
    return module


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder, named as in Meta's, MedSAM's and LiteMedSAM's checkpoints.

    The prompt encoder stays float32 whatever the network is converted to: its position code is the sine of an angle of
    up to tens of radians, which bfloat16 would round by up to 0.1.

    Attributes:
        image_size: edge S of the images, in pixels.
        embedding_size: edge s of the embeddings; masks have edge 4 s.
    """

    image_encoder: nn.Module
    prompt_encoder: Any
    mask_decoder: Any

    def __init__(self, image_encoder: nn.Module, prompt_encoder: nn.Module, mask_decoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = int(self.prompt_encoder.input_image_size[0])
        self.embedding_size = int(self.prompt_encoder.image_embedding_size[0])

    @property
    def encodes_mixed(self) -> bool:
        """Whether encoding under autocast was found to keep the masks: by LiteMedSAM's TinyViT."""
        return isinstance(self.image_encoder, TinyViT)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Sam:
        """Called by ``to``, ``cuda``, ``half``, ...; the prompt encoder changes its device, not its number type."""
        self.image_encoder._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mask_decoder._apply(fn, recurse)
        self.prompt_encoder._apply(partial(_keeping_float32, fn), recurse)
        return self

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embeds slices.

        Args:
            images: float ``[n, 3, S, S]``, normalised as the model's :class:`~TumorSegLib.models.spec.SliceInput` says.

        Returns:
            ``[n, 256, s, s]`` in the network's own dtype.

        Raises:
            ArgumentError: the images have another shape.
        """
        wanted = (3, self.image_size, self.image_size)
        if images.shape[1:] != wanted:
            raise ArgumentError(
                f"images have shape {tuple(images.shape)}; [n, {', '.join(map(str, wanted))}] is needed"
            )
        embeddings: torch.Tensor = self.image_encoder(images.to(next(self.image_encoder.parameters()).dtype))
        return embeddings

    def decode(self, embeddings: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Segments n slices, each by its own box, in one pass.

        Args:
            embeddings: ``[n, 256, s, s]`` of :meth:`encode`.
            boxes: ``[n, 4]`` as x0, y0, x1, y1 in pixels of the images.

        Returns:
            Mask logits ``[n, 1, 4 s, 4 s]`` and predicted intersection over union ``[n, 1]``, float32.

        Raises:
            ArgumentError: shapes do not fit.
        """
        size, channels, count = self.embedding_size, self.mask_decoder.transformer_dim, len(embeddings)
        if embeddings.shape[1:] != (channels, size, size):
            raise ArgumentError(f"embeddings have shape {tuple(embeddings.shape)}, not [n, {channels}, {size}, {size}]")
        if boxes.shape != (count, 4):
            raise ArgumentError(f"boxes of {count} slices have shape {tuple(boxes.shape)}, not {(count, 4)}")
        sparse, dense, position = self._prompts(boxes)
        kind = self.mask_decoder.iou_token.weight.dtype
        # The decoder adds the dense prompt to ONE image, repeated for every prompt. With the n images added to their
        # prompts beforehand, and that one image zero, the same sums come out for n images in one pass.
        nothing = embeddings.new_zeros((1, embeddings.shape[1], 1, 1), dtype=kind)
        logits, overlap = self.mask_decoder(
            image_embeddings=nothing,
            image_pe=position.to(kind),
            sparse_prompt_embeddings=sparse.to(kind),
            dense_prompt_embeddings=dense.to(kind) + embeddings.to(kind),
            multimask_output=False,
        )
        return logits.float(), overlap.float()

    def _prompts(self, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sparse and dense embeddings of the prompts, and the image's position code; float32 even under autocast."""
        device = self.prompt_encoder.no_mask_embed.weight.device
        with torch.autocast(device.type, enabled=False):
            sparse, dense = self.prompt_encoder(points=None, boxes=boxes.to(device, torch.float32), masks=None)
            return sparse, dense, self.prompt_encoder.get_dense_pe()


def _keeping_float32(fn: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    changed = fn(tensor)
    return changed if changed.dtype == tensor.dtype else tensor.to(changed.device)


def build_sam(network: str, arguments: Mapping[str, Any], name: str) -> Sam:
    """Builds a network with random weights.

    Args:
        network: ``LiteMedSAM``, which takes no arguments, or ``SamViT``.
        arguments: of ``SamViT``: image_size (pixels, a multiple of 16), depth (blocks), width, heads, global_attention
            (numbers of the blocks that attend to the whole slice, the others to windows) and channels of the embeddings
            (256 unless given). SAM's ViT-B is 1024, 12, 768, 12, [2, 5, 8, 11].
        name: of the model, for messages.

    Raises:
        ModelError: the name is unknown, its arguments do not fit, or segment-anything is missing.
    """
    if network not in SAM_BUILDERS:
        raise ModelError(f"model {name!r}: network {network!r} is not one of {', '.join(SAM_BUILDERS)}")
    import_segment_anything()
    try:
        return SAM_BUILDERS[network](**arguments)
    except Exception as error:  # torch raises errors of many types for wrong arguments
        reason = f"{type(error).__name__}: {error}"
        raise ModelError(f"model {name!r}: {network} cannot be built from {dict(arguments)}: {reason}") from error


def _lite_med_sam() -> Sam:
    return _assembled(TinyViT(), image_size=256, embedding_size=64, channels=CHANNELS)


def _sam_vit(
    *, image_size: int, depth: int, width: int, heads: int, global_attention: list[int], channels: int = CHANNELS
) -> Sam:
    numbers = {"image_size": image_size, "depth": depth, "width": width, "heads": heads, "channels": channels}
    wrong = [f"{key} {value!r}" for key, value in numbers.items() if not isinstance(value, int) or value < 1]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: whole numbers from 1 on are needed")
    if image_size % PATCH or width % heads or channels % PATCH:
        raise ValueError(f"image_size and channels must be multiples of {PATCH}, width one of heads")
    if not set(global_attention) <= set(range(depth)):
        raise ValueError(f"global_attention {list(global_attention)} must name blocks from 0 to {depth - 1}")
    encoder = import_segment_anything().ImageEncoderViT(
        img_size=image_size,
        patch_size=PATCH,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        out_chans=channels,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        global_attn_indexes=tuple(global_attention),
        window_size=WINDOW,
    )
    return _assembled(encoder, image_size, image_size // PATCH, channels)


def _assembled(encoder: nn.Module, image_size: int, embedding_size: int, channels: int) -> Sam:
    """Adds prompt encoder and mask decoder, the same in all published SAMs."""
    parts = import_segment_anything()
    prompt_encoder = parts.PromptEncoder(
        embed_dim=channels,
        image_embedding_size=(embedding_size, embedding_size),
        input_image_size=(image_size, image_size),
        mask_in_chans=16,
    )
    mask_decoder = parts.MaskDecoder(
        num_multimask_outputs=3,
        transformer=parts.TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=8 * channels, num_heads=8),
        transformer_dim=channels,
        iou_head_depth=3,
        iou_head_hidden_dim=channels,
    )
    return Sam(encoder, prompt_encoder, mask_decoder)


SAM_BUILDERS: Mapping[str, Callable[..., Sam]] = {"LiteMedSAM": _lite_med_sam, "SamViT": _sam_vit}
