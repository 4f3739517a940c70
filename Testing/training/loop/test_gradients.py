"""Layers whose gradients PyTorch computes wrongly are refused before training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from training.config.train import Configuration
from training.loop.gradients import check_gradients
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ModelError

BFLOAT16, FLOAT32 = (Runtime(torch.device("cpu"), dtype) for dtype in (torch.bfloat16, torch.float32))


def test_two_voxels_along_k_are_refused_in_bfloat16_alone(configured: Callable[..., Configuration]) -> None:
    spec = replace(configured().model, arguments={"filters": [4, 4, 4, 4]}).with_input(patch=(16, 16, 16))
    with pytest.raises(ModelError, match=r"patch \[16, 16, 16\] \(k, j, i\) leaves 2 voxels along k at bottleneck"):
        check_gradients(spec, BFLOAT16)
    check_gradients(spec, FLOAT32)
    check_gradients(spec.with_input(patch=(24, 16, 16)), BFLOAT16)


@pytest.mark.parametrize("depth", [1, 3, 4, 6])
def test_gradients_at_other_depths_are_right(depth: int) -> None:
    torch.manual_seed(depth)
    layer = torch.nn.Conv3d(16, 16, 3, padding=1, bias=False)
    image, weight = torch.randn(2, 16, depth, 4, 4), torch.randn(2, 16, depth, 4, 4)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            answer = layer(image)
        (answer.float() * weight).sum().backward()  # type: ignore[no-untyped-call]
        assert layer.weight.grad is not None
        gradients.append(layer.weight.grad.clone().ravel())
    cosine = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0)
    assert cosine > 0.99
