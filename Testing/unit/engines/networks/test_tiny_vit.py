"""TinyViT: windows, biases and folded normalisation against plain computations; names, gradients, precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from TumorSegLib.engines.networks import tiny_vit
from TumorSegLib.engines.networks.tiny_vit import Stage, TinyViT, TinyViTSizes

SMALL = TinyViTSizes((Stage(8, 1), Stage(8, 1, 2, 3), Stage(12, 1, 3, 4), Stage(16, 1, 4, 3)), 8)


def shaken(network):
    """Random values everywhere: a fresh network has zero biases and unit norms, which hide errors."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if "var" in name or name.endswith("bn.weight") else 0.6 * (noise - 0.5))
    return network


@pytest.fixture
def network():
    return shaken(TinyViT(SMALL)).eval()


def test_default_has_the_size_of_the_published_encoder():
    state = TinyViT().state_dict()
    assert (
        sum(tensor.numel() for name, tensor in state.items() if "running" not in name and "num_" not in name) == 5726740
    )
    assert state["layers.2.blocks.5.attn.attention_biases"].shape == (5, 196)
    assert state["layers.2.downsample.conv3.c.weight"].shape == (320, 320, 1, 1)
    assert state["neck.2.weight"].shape == (256, 256, 3, 3)
    assert not any("offsets" in name for name in state)


@pytest.mark.parametrize("size", [32, 40])  # 40: maps of 20 and 10 tokens, which fill no whole number of windows
def test_embedding_has_a_quarter_of_the_edge_and_does_not_depend_on_the_batch(network, size):
    images = torch.rand(3, 3, size, size)
    together = network(images)
    assert together.shape == (3, 8, size // 4, size // 4)
    torch.testing.assert_close(together, torch.cat([network(image[None]) for image in images]), rtol=0, atol=1e-5)


def test_attention_equals_the_formula_token_by_token():
    attention = shaken(tiny_vit._WindowAttention(Stage(6, 1, 2, 3)))
    tokens = torch.randn(1, 9, 6)
    projected = attention.qkv(tokens)[0].view(9, 2, 3, 3)
    expected = torch.zeros(9, 2, 3)
    for head in range(2):
        query, key, value = projected[:, head].unbind(1)
        for one in range(9):
            bias = [
                attention.attention_biases[head, abs(one // 3 - two // 3) * 3 + abs(one % 3 - two % 3)]
                for two in range(9)
            ]
            scores = key @ query[one] / 3**0.5 + torch.stack(bias)
            expected[one, head] = scores.softmax(0) @ value
    torch.testing.assert_close(attention._attend(tokens)[0], attention.proj(expected.view(9, 6)), rtol=1e-5, atol=1e-5)


def test_windows_come_back_to_their_places():
    tokens = torch.arange(2 * 6 * 9 * 2.0).view(2, 6, 9, 2)
    windows = tiny_vit._split(tokens, 3)
    assert torch.equal(windows[1], tokens[0, :3, 3:6].reshape(9, 2))
    assert torch.equal(tiny_vit._join(windows, 3, tokens.shape), tokens)


def test_incomplete_windows_are_filled_with_zeros_before_normalisation():
    attention = shaken(tiny_vit._WindowAttention(Stage(6, 1, 2, 3)))
    tokens = torch.randn(1, 4, 5, 6)
    filled = F.pad(tokens, (0, 0, 0, 1, 0, 2))
    torch.testing.assert_close(attention(tokens), attention(filled)[:, :4, :5])


def test_folded_normalisation_equals_the_two_steps():
    convolution = shaken(tiny_vit._NormalisedConvolution(4, 8, kernel=3, stride=2, groups=4)).eval()
    features = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(convolution(features), convolution.bn(convolution.c(features)))


@pytest.mark.parametrize(("kind", "rows"), [("block", 72), ("block", 33), ("step", 72), ("step", 33), ("step", 8)])
def test_strips_change_nothing(kind, rows, monkeypatch):
    part = shaken(tiny_vit._ConvolutionBlock(4) if kind == "block" else tiny_vit._Step(4, 8, stride=2)).eval()
    features = torch.randn(2, 4, rows, 9)
    strips = part(features)
    monkeypatch.setattr(tiny_vit, "STRIP", 100)
    torch.testing.assert_close(strips, part(features))


def test_autocast_spares_convolutions_with_normalisation(network):
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        spared = network.layers[0].blocks[0](network.patch_embed(images))
        mixed = network(images)
    with torch.inference_mode():
        assert torch.equal(spared, network.layers[0].blocks[0](network.patch_embed(images)))
        exact = network(images)
    assert not torch.equal(mixed.float(), exact)
    assert (mixed.float() - exact).square().mean().sqrt() < 0.02 * exact.std()


@pytest.mark.parametrize("statistics", [True, False], ids=["updated", "fixed"])
def test_training_reaches_every_weight(network, statistics):
    network.train(statistics)
    before = network.patch_embed.seq[0].bn.running_mean.clone()
    network(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert torch.equal(before, network.patch_embed.seq[0].bn.running_mean) != statistics
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_bfloat16_stays_near_float32(network):
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        exact = network(images)
        rounded = network.to(torch.bfloat16)(images.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).square().mean().sqrt() < 0.03 * exact.std()
