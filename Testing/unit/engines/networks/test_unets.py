"""Every network that a model may name: it builds, learns, has the promised output and survives its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from Testing.fakes import RULES, any_image_spec, tiny_network, tiny_spec, write_model
from TumorSegLib.engines.auto.engine import SMALLEST_TILE
from TumorSegLib.engines.networks.unets import (
    FIXED_SIZE,
    UNET_BUILDERS,
    build_network,
    channel_count,
    check_patch,
    probabilities,
)
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ModelError
from TumorSegLib.models.folder import read_model_folder

# The smallest of each kind: patch and arguments.
NETWORKS = {
    "AttentionUnet": ((16, 16, 16), {"channels": [4, 8], "strides": [2]}),
    "BasicUNet": ((16, 16, 32), {"features": [4, 4, 4, 4, 4, 4]}),
    "BasicUNetPlusPlus": ((16, 16, 32), {"features": [4, 4, 4, 4, 4, 4]}),
    "DynUNet": ((8, 16, 16), {"filters": [4, 8, 8], "strides": [1, [1, 2, 2], 2]}),
    "ResidualDynUNet": ((8, 16, 16), {"filters": [4, 8, 8]}),
    "SegResNet": ((8, 8, 16), {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}),
    "SwinUNETR": ((32, 32, 64), {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1]}),
    "UNETR": ((16, 16, 32), {"feature_size": 4, "hidden_size": 24, "mlp_dim": 32, "num_heads": 2}),
    "VNet": ((16, 16, 32), {}),
}


def spec_of(name):
    patch, arguments = NETWORKS[name]
    labels = {"core": 1, "rim": 2}
    return tiny_spec(name, ["ct", "pet"], patch=patch, network=name, arguments=arguments, labels=labels)


@pytest.mark.parametrize("name", UNET_BUILDERS)
def test_a_step_of_training_reaches_every_weight_and_lowers_the_loss(name):
    spec = spec_of(name)
    network = tiny_network(spec).train()
    images = torch.randn(1, 2, *spec.volume_input.patch, generator=torch.Generator().manual_seed(0))

    def loss() -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same dropout before and after
            logits = network(images)
        assert logits.shape == (1, 2, *spec.volume_input.patch)
        return logits.square().mean()

    before = loss()
    before.backward()
    trained = [bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None]
    assert all(trained)
    # UNETR's blocks hold norms for a cross attention it does not use; UNet++ heads that only supervision uses.
    assert len(trained) >= 0.85 * len(list(network.parameters()))
    first = next(network.parameters())
    assert first.grad is not None
    assert first.grad.any()
    torch.optim.SGD(network.parameters(), 1e-3).step()
    assert loss() < before


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_survive_their_file_to_the_bit(name, tmp_path):
    spec = spec_of(name)
    # VNet cannot be made small; half of its 180 MB will do.
    dtype = torch.float16 if name == "VNet" else torch.float32
    network = tiny_network(spec, seed=1).to(dtype)
    expected, other = network.state_dict(), load_network(read_model_folder(write_model(tmp_path, spec, network)))
    found = other.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value.to(found[key].dtype)), key
    assert next(other.parameters()).dtype == torch.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smallest_tile_is_taken_except_by_networks_of_fixed_size(name):
    network = tiny_network(spec_of(name))
    with torch.inference_mode():
        if name not in FIXED_SIZE:
            assert network(torch.zeros(1, 2, *SMALLEST_TILE)).shape == (1, 2, *SMALLEST_TILE)
            return
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 2, 32, 32, 32))


@pytest.mark.parametrize(
    ("name", "patch"),
    [(name, NETWORKS[name][0]) for name in NETWORKS]
    + [("AttentionUnet", (18, 18, 18)), ("SegResNet", (18, 18, 18)), ("DynUNet", (4, 4, 4))],
)
def test_the_check_of_the_patch_accepts_it_and_leaves_random_numbers_alone(name, patch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        check_patch(spec_of(name).with_input(patch=patch))
        found = torch.rand(3)
    assert torch.equal(found, torch.rand(3, generator=torch.Generator().manual_seed(7)))


@pytest.mark.parametrize(
    ("name", "patch", "reason"),
    [
        ("BasicUNet", (18, 18, 18), "more than 1 spatial element"),
        ("BasicUNetPlusPlus", (18, 18, 18), "more than 1 spatial element"),
        ("DynUNet", (18, 18, 18), "Sizes of tensors must match"),
        ("ResidualDynUNet", (18, 18, 18), "Sizes of tensors must match"),
        ("ResidualDynUNet", (4, 4, 4), "more than 1 spatial element"),
        ("SwinUNETR", (48, 64, 64), "divisible by"),
        ("SwinUNETR", (32, 32, 32), "more than 1 spatial element"),
        ("UNETR", (18, 18, 18), "Sizes of tensors must match"),
        ("VNet", (18, 18, 18), "Sizes of tensors must match"),
    ],
)
def test_a_patch_the_network_cannot_take_is_refused(name, patch, reason):
    spec = spec_of(name).with_input(patch=patch)
    with torch.inference_mode(), pytest.raises((RuntimeError, ValueError)):  # what would happen at run time
        UNET_BUILDERS[name](2, 2, patch, spec.arguments).eval()(torch.zeros(1, 2, *patch))
    with pytest.raises(ModelError) as caught:
        check_patch(spec)
    words = f"model '{name}': {name} cannot take a patch of {patch} (k, j, i); multiples of 32, "
    assert str(caught.value).startswith(words)
    assert reason in str(caught.value)


def test_an_output_of_another_size_is_refused(monkeypatch):
    monkeypatch.setitem(UNET_BUILDERS, "Strided", lambda channels, labels, *_: nn.Conv3d(channels, labels, 1, stride=2))
    with pytest.raises(ModelError, match=r"Strided cannot take .*it gives \(1, 8, 8, 8\) instead of \(1, 16, 16, 16\)"):
        check_patch(tiny_spec(network="Strided", arguments={}))


def test_filters_default_to_five_levels():
    network = build_network(tiny_spec(patch=(32, 32, 32), arguments={}))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(4.2e6, rel=0.05)


def test_an_unknown_network_is_refused_with_those_known():
    with pytest.raises(ModelError, match=r"model 'tiny': network 'ResNet' is not one of AttentionUnet, .*VNet"):
        build_network(tiny_spec(network="ResNet"))


@pytest.mark.parametrize(
    ("network", "arguments", "named"),
    [
        ("ResidualDynUNet", {"filter": [4, 8]}, "unknown arguments.*'filter'.*filters and strides"),
        ("ResidualDynUNet", {"filters": [4, 8], "strides": [1]}, r"strides \[1\] are not one per filter"),
        ("DynUNet", {"filters": []}, "ValueError: strides"),
        ("DynUNet", {"filters": [4, -8]}, "RuntimeError: .*negative"),
        ("DynUNet", {"filters": "many"}, "TypeError"),
        ("BasicUNet", {"colour": "red"}, "TypeError.*colour"),
        ("BasicUNet", {"features": [4, 4]}, "ValueError"),
        ("BasicUNet", {"norm": "magic"}, "ValueError: .*MAGIC"),
        ("AttentionUnet", {}, "TypeError.*channels"),
        ("SegResNet", {"in_channels": 3}, "TypeError.*in_channels"),
        ("SwinUNETR", {"feature_size": 13}, "ValueError.*12"),
        ("UNETR", {"hidden_size": 25, "num_heads": 2}, "ValueError"),
        ("VNet", {}, "divisible by in_channels"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(network, arguments, named):
    with pytest.raises(ModelError, match=f"(?s)model 'tiny': {network} cannot be built from {{.*{named}"):
        build_network(tiny_spec("tiny", RULES, network=network, arguments=arguments))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labels", [1, 3])
def test_probabilities_are_the_softmax_of_labels_and_a_background_of_zero(labels, dtype):
    """Of one label that is the sigmoid."""
    logits = torch.randn(labels, 2, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype) * 4
    result = probabilities(logits)
    assert result.dtype == torch.float32
    exponentials = np.exp(logits.float().numpy())
    assert result.numpy() == pytest.approx(exponentials / (1 + exponentials.sum(axis=0)), abs=1e-6)


def test_a_model_of_any_image_has_channels_for_images_and_all_prompts():
    spec = any_image_spec(patch=(8, 16, 16))
    # ct, ct_wide, pet, mr; previous, positive, negative, box, line, like positive, like negative.
    assert channel_count(spec) == 11
    assert channel_count(tiny_spec(roles=("ct", "pet"), kind="clicks")) == 5
    assert channel_count(tiny_spec(roles=("ct", "pet"))) == 2
    with torch.inference_mode():
        assert tiny_network(spec)(torch.zeros(1, 11, 8, 16, 16)).shape == (1, 1, 8, 16, 16)
    check_patch(spec)
    with pytest.raises(ModelError, match=r"model 'any': ResidualDynUNet cannot take a patch of \(18, 18, 18\)"):
        check_patch(any_image_spec(patch=(18, 18, 18)))
