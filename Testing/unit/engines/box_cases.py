"""A network of SAM's shape whose answers are known, and small images, for the tests of the box engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from Testing.fakes import tiny_spec
from Testing.unit.engines.click_cases import CPU, distance
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.networks.sam import Sam, build_sam
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.geometry.boxes import bounding_box, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions, Refinement

SIZE = 64
TINY = {"image_size": SIZE, "depth": 1, "width": 16, "heads": 2, "global_attention": [0], "channels": 16}
VOLUME_BOX = BoxPrompt(((9, 31), (9, 31), (9, 31)))
SLICE_BOX = BoxPrompt(((9, 31), (9, 31), (20, 21)))
PROMPTS = pytest.mark.parametrize("prompt", [VOLUME_BOX, SLICE_BOX], ids=["volume", "slice"])


class BrightSam(nn.Module):
    """Embeds a slice as itself; bright pixels within the box are tumour.

    Attributes:
        encoded: slices of every call of ``encode``.
        before: called before every encoding and decoding; may raise.
    """

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.image_size, self.embedding_size, self.encodes_mixed = SIZE, SIZE // 4, True
        self.encoded: list[int] = []
        self.before = before

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.before()
        assert images.shape[1:] == (3, SIZE, SIZE)
        assert torch.equal(images[:, 0], images[:, 2])
        self.encoded.append(len(images))
        return images[:, :1]

    def decode(self, embeddings: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.before()
        assert embeddings.dtype == boxes.dtype == torch.float32
        assert len(embeddings) == len(boxes)
        at = torch.arange(SIZE) + 0.5
        left, top, right, bottom = boxes.T[:, :, None]
        inside = ((at >= top) & (at < bottom))[:, :, None] & ((at >= left) & (at < right))[:, None]
        found = (embeddings[:, 0] > 0.5) & inside
        return torch.where(found, 10.0, -10.0)[:, None], found.flatten(1).any(dim=1).float()[:, None]


def box_spec(pixels: str = "unit") -> ModelSpec:
    return tiny_spec("bright", kind="box", network="SamViT", pixels=pixels)


def bright_engine(network: Any = None, dtype: torch.dtype = torch.float32) -> BoxEngine:
    return BoxEngine(box_spec(), BrightSam() if network is None else network, Runtime(CPU, dtype))


def tiny_sam(pixels: str = "imagenet", dtype: torch.dtype = torch.float32) -> tuple[BoxEngine, Sam]:
    """A box engine with a SAM of random weights, and its network."""
    torch.manual_seed(0)
    network = build_sam("SamViT", TINY, "tiny")
    return BoxEngine(box_spec(pixels), network, Runtime(CPU, dtype)), network


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def ball(grid: Grid, radius_mm: float, centre: tuple[float, float, float] | None = None) -> np.ndarray:
    """Voxels of a ball, about the middle of the grid unless a voxel ``(i, j, k)`` is given."""
    return distance(grid, [centre or [(n - 1) / 2 for n in grid.size]]) < radius_mm


def ct_of(grid: Grid, tumour: np.ndarray) -> Volume:
    """CT of 200 HU in the tumour, -100 HU elsewhere."""
    return Volume(grid, np.where(tumour, 200, -100).astype(np.int16), "ct")


def box_about(tumour: np.ndarray, grid: Grid, margin_mm: float = 2.0) -> Box:
    """The box around a tumour with a margin, cut to the image."""
    tight = bounding_box(tumour)
    assert tight is not None
    ranges = []
    for (low, high), n, step in zip(tight, grid.size, grid.spacing):
        margin = round(margin_mm / step)
        ranges.append((max(low - margin, 0), min(high + margin, n)))
    return ranges[0], ranges[1], ranges[2]


def pasted(grid: Grid, refinement: Refinement) -> np.ndarray:
    """The answer as a mask of the whole grid."""
    assert refinement.probability.dtype == np.uint8
    assert refinement.probability.flags.c_contiguous
    mask = np.zeros(grid.shape, dtype=bool)
    assert mask[slices(refinement.box)].shape == refinement.probability.shape
    mask[slices(refinement.box)] = refinement.probability >= 128
    return mask


def segmented(engine: BoxEngine, volume: Volume, box: Box, axes: tuple[int, ...] = (2,), **more: Any) -> np.ndarray:
    prepared = engine.prepare({volume.role: volume})
    return pasted(volume.grid, engine.segment(prepared, BoxPrompt(box), BoxOptions(axes=axes), **more))


def on_slice(box: Box, axis: int, number: int) -> BoxPrompt:
    ranges = list(box)
    ranges[axis] = (number, number + 1)
    return BoxPrompt((ranges[0], ranges[1], ranges[2]))
