"""The automatic model that a refinement network begins as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from Testing.fakes import tiny_network, write_model
from training.clicks.first_stage import initialise, load_first_stage
from training.config.train import Configuration
from TumorSegLib.engines.networks.unets import build_network
from TumorSegLib.errors import ModelError

Configured = Callable[..., Configuration]
ONE_ROLE = ('roles = ["ct", "pet"]\noptional = ["ct", "pet"]', 'roles = ["ct"]\noptional = []', "pet = {", "# {")


def test_first_stage_initialises_a_refinement_network(configured: Configured, clicking: Configured) -> None:
    first_stage, network = tiny_network(configured().model, seed=5), tiny_network(clicking().model, seed=6)
    initialise(network, first_stage)
    inputs = torch.randn(2, 5, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = first_stage(inputs[:, :2])
        torch.testing.assert_close(network(inputs), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01
    assert sum(value.shape[1] == 5 for value in network.state_dict().values() if value.ndim == 5) > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("[4, 8, 8]", "[4, 8, 16]"), r"\(16, 8, 3, 3, 3\) there and \(8, 8, 3, 3, 3\) here"),
        (("[4, 8, 8]", "[4, 8, 8, 8]"), r"\(8, 8, 2, 2, 2\) there and \(8, 4, 2, 2, 2\) here"),
        (ONE_ROLE, r"\(4, 1, 3, 3, 3\) there and \(4, 5, 3, 3, 3\) here"),
        (('"ResidualDynUNet"', '"DynUNet"'), r"missing there and \(4, 5, 1, 1, 1\) here"),
    ],
    ids=["filters", "deeper", "roles", "network"],
)
def test_first_stage_of_another_architecture_is_refused(
    configured: Configured, clicking: Configured, changes: tuple[str, ...], words: str
) -> None:
    first_stage, network = build_network(configured(*changes).model), build_network(clicking().model)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=f"the first stage is another network: weights '.*' are .*{words}; name, arg"):
        initialise(network, first_stage)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_first_stage_of_another_normalisation_layer_is_refused(clicking: Configured) -> None:
    with pytest.raises(ModelError, match=r"'weight' are \(3,\) there and \(2,\) here"):
        initialise(nn.InstanceNorm1d(2, affine=True), nn.InstanceNorm1d(3, affine=True))


# Loading


def test_first_stage_is_none_unless_named(configured: Configured, clicking: Configured) -> None:
    assert load_first_stage(configured()) is None
    assert load_first_stage(clicking()) is None


def test_first_stage_is_the_model_named(clicking: Configured, configured: Configured, model: Path) -> None:
    loaded = load_first_stage(clicking(f"first_stage = '{model}'"))
    assert loaded is not None
    wanted = tiny_network(configured().model).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("[2.0, 2.0, 2.0]", "[2.0, 2.0, 3.0]"), r"has spacing_mm \(2.0, 2.0, 2.0\), 'tiny' \(2.0, 2.0, 3.0\)"),
        (('roles = ["ct", "pet"]', 'roles = ["pet", "ct"]'), r"has roles \('ct', 'pet'\), 'tiny' \('pet', 'ct'\)"),
        (("high = 240.0", "high = 300.0"), "has normalisation .*high=240.0.*, 'tiny' .*high=300.0"),
    ],
    ids=["spacing", "order of roles", "normalisation"],
)
def test_first_stage_with_other_inputs_is_refused(
    clicking: Configured, model: Path, changes: tuple[str, ...], words: str
) -> None:
    """All of them would load: the weights do not show what they were trained on."""
    with pytest.raises(ModelError, match=f"first_stage 'tiny' {words}.*; they must be the same"):
        load_first_stage(clicking(f"first_stage = '{model}'", *changes))


def test_first_stage_of_another_kind_is_refused(clicking: Configured, tmp_path: Path) -> None:
    spec = clicking().model
    folder = write_model(tmp_path, spec, tiny_network(spec))
    with pytest.raises(ModelError, match="'tiny' is of kind 'clicks'; an automatic model is needed"):
        load_first_stage(clicking(f"first_stage = '{folder}'"))


def test_first_stage_must_take_images_of_patch_and_context(clicking: Configured, model: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot take a patch of \(19, 19, 19\)"):
        load_first_stage(clicking(f"first_stage = '{model}'\ncontext = 3"))
