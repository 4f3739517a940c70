"""The automatic model a refinement network begins as, and whose answers it learns to correct."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from training.config.train import Configuration
from TumorSegLib.engines.networks.unets import check_patch
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ModelError
from TumorSegLib.images.roles import channel_family
from TumorSegLib.models.registry import find_model
from TumorSegLib.models.spec import AnyImageInput, ModelSpec
from TumorSegLib.prompts.encoding import GUIDANCE
from TumorSegLib.prompts.patch_prompts import PROMPT_CHANNELS

# Settings that decide what a network reads: both networks must read the same channels.
SHARED = ("roles", "spacing_mm", "normalisation")


def load_first_stage(configuration: Configuration) -> nn.Module | None:
    """The automatic network that a configuration names, float32 on the CPU; None where it names none.

    Raises:
        ModelError: there is no such model, it is not automatic, it reads images otherwise than the model to be
            trained, or it cannot take an image as large as an episode's.
    """
    clicks, model = configuration.clicks, configuration.model
    if clicks is None or not clicks.first_stage:
        return None
    network = load_auto(clicks.first_stage, model, "first_stage")
    k, j, i = (edge + clicks.context for edge in model.volume_input.patch)
    check_patch(find_model(clicks.first_stage).spec.with_input(patch=(k, j, i)))
    return network


def load_auto(name: str, model: ModelSpec, setting: str) -> nn.Module:
    """The network of an automatic model that reads images as another does, float32 on the CPU.

    Args:
        name: name or folder of the automatic model.
        model: the other.
        setting: that names it, for errors.

    Raises:
        ModelError: there is no such model, it is not automatic, or it reads images otherwise.
    """
    found = find_model(name)
    spec = found.spec
    if spec.kind != "auto":
        raise ModelError(f"{setting} {spec.name!r} is of kind {spec.kind!r}; an automatic model is needed")
    for shared in SHARED:
        given, wanted = getattr(spec.volume_input, shared), getattr(model.volume_input, shared)
        if given != wanted:
            raise ModelError(
                f"{setting} {spec.name!r} has {shared} {given}, {model.name!r} {wanted}; they must be the same"
            )
    return load_network(found)


def initialise(network: nn.Module, first_stage: nn.Module) -> None:
    """Gives a refinement network the weights of the automatic one, and weights of 0 for its further channels.

    Args:
        network: takes the channels of the automatic network and after them those of ``GUIDANCE``; changed in place.
        first_stage: the automatic network.

    Raises:
        ModelError: the two are not the same network but for these channels; nothing is changed then.
    """
    source, target = first_stage.state_dict(), network.state_dict()
    _check_same(target, source)
    with torch.no_grad():
        for name, value in target.items():
            given = source[name].to(value.dtype)
            if given.shape == value.shape:
                value.copy_(given)
            else:
                value.zero_()
                value[:, : given.shape[1]] = given


def _check_same(target: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> None:
    shapes = {name: tuple(value.shape) for name, value in target.items()}
    given = {name: tuple(value.shape) for name, value in source.items()}
    for name in dict.fromkeys([*shapes, *given]):
        own, other = shapes.get(name), given.get(name)
        if own != other and (own is None or other is None or own != _with_guidance(other)):
            raise ModelError(
                f"the first stage is another network: weights {name!r} are {other or 'missing'} there and "
                f"{own or 'missing'} here; name, arguments and number of roles must be the same"
            )


def _with_guidance(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a layer's weights with the further channels of a refinement network."""
    return (shape[0], shape[1] + len(GUIDANCE), *shape[2:]) if len(shape) > 1 else shape


def start_objects_from(network: nn.Module, spec: ModelSpec, name: str) -> None:
    """Gives the network of a model of any image the weights of a click model, and 0 for channels that one lacks.

    Args:
        network: of ``spec``; changed in place.
        spec: a model of any image.
        name: of a click model with the same layers, whose roles are of different families.

    Raises:
        ModelError: there is no such model, or its layers are others.
    """
    found = find_model(name)
    source, target = load_network(found).state_dict(), network.state_dict()
    channels = list(spec.any_image_input.normalisation)
    if isinstance(found.spec.input, AnyImageInput):
        places = list(range(len(channels) + len(PROMPT_CHANNELS)))
    else:
        places = [channels.index(channel_family(role)) for role in found.spec.roles]
        places += [len(channels) + PROMPT_CHANNELS.index(prompt) for prompt in GUIDANCE]
    total = len(channels) + len(PROMPT_CHANNELS)
    with torch.no_grad():
        for key, value in target.items():
            given = source[key].to(value.dtype)
            if given.shape == value.shape:
                value.copy_(given)
            elif given.shape[1] == len(places) and value.shape[1] == total and given.shape[2:] == value.shape[2:]:
                value.zero_()
                value[:, places] = given
            else:
                raise ModelError(f"start_from {name!r}: {key} is {tuple(given.shape)}, not {tuple(value.shape)}")
