"""The automatic model that a refinement network begins as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from Testing.fakes import any_image_spec, tiny_network, tiny_spec, write_model
from training.clicks.first_stage import initialise, load_first_stage, start_objects_from
from training.config.train import Configuration, read_configuration
from TumorSegLib.engines.clicks.patches import network_input
from TumorSegLib.engines.networks.unets import build_network
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ModelError
from TumorSegLib.models.registry import find_model
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.patch_prompts import PROMPT_CHANNELS, PatchPrompts, prompt_channels

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


# A model of any image that starts from a click model

CONFIGURATION = Path(__file__).resolve().parents[3] / "training" / "configs" / "lesion_clicks.toml"


def test_a_model_of_any_image_begins_as_the_click_model_at_3_mm() -> None:
    """Where the new channels show nothing the answers are the same: the encoding of points is, too, in voxels."""
    spec = read_configuration(CONFIGURATION).model
    network = build_network(spec).eval()
    start_objects_from(network, spec, "sts-clicks")
    found = find_model("sts-clicks")
    assert (found.spec.roles, found.spec.volume_input.spacing_mm) == (("ct", "pet", "mr_t1"), (3, 3, 3))
    rng, shape = np.random.default_rng(0), (32, 32, 32)
    images, previous = rng.normal(0, 1, (3, *shape)).astype(np.float32), rng.random(shape, dtype=np.float32)
    points = [PointPrompt(np.array([[12.0, 17, 9]]), True), PointPrompt(np.array([[25.5, 3, 30]]), False)]
    own = np.zeros((len(spec.any_image_input.normalisation), *shape), dtype=np.float32)
    order = list(spec.any_image_input.normalisation)
    for image, channel in zip(images, ("ct", "pet", "mr")):
        own[order.index(channel)] = image
    prompts = prompt_channels(own, previous, PatchPrompts(points))
    prompts[[n for n, name in enumerate(PROMPT_CHANNELS) if name.startswith("like")]] = 0
    with torch.inference_mode():
        expected = load_network(found)(torch.from_numpy(network_input(images, previous, points, (3, 3, 3)))[None])
        answer = network(torch.from_numpy(np.concatenate([own, prompts]))[None])
    torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.1


def test_a_model_of_any_image_may_start_from_another(tmp_path: Path) -> None:
    spec = any_image_spec()
    given = tiny_network(spec, seed=3)
    folder, network = write_model(tmp_path, spec, given), tiny_network(spec, seed=4)
    start_objects_from(network, spec, str(folder))
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_start_with_other_layers_is_refused(tmp_path: Path) -> None:
    clicks = tiny_spec("clicks", ("ct", "pet"), kind="clicks", arguments={"filters": [4, 8, 16]})
    folder, spec = write_model(tmp_path, clicks), any_image_spec()
    with pytest.raises(ModelError, match=r"start_from '.*clicks': .* is \(16, .*\), not \(8, "):
        start_objects_from(tiny_network(spec), spec, str(folder))
    with pytest.raises(ModelError, match="no model 'no-such'"):
        start_objects_from(tiny_network(spec), spec, "no-such")
