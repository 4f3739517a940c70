"""The weights of a base model and of models fine-tuned from it, merged group of layers by group of layers.

What fine-tuning changed is a "task vector", and sums of these behave like the models together (Ilharco et al.,
"Editing models with task arithmetic", ICLR 2023). Each group of layers has coefficients of its own here::

    merged = base + sum over models k of coefficient[group, k] * (model k - base)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.errors import ModelError
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.models.folder import ModelFolder

#: Stages or blocks of the image encoder and of the decoder's transformer: a group each.
_NUMBERED = re.compile(r"(image_encoder\.(?:layers|blocks)|mask_decoder\.transformer\.layers)\.(\d+)\.")
_TRANSFORMER, _UPSCALING = "mask_decoder.transformer.", "mask_decoder.output_upscaling."
# Tokens of the decoder and what reads them. The estimate of quality, which masks do not depend on, has the
# coefficients of the others: a search by masks alone would leave its own to chance.
_HEADS = "mask_decoder.heads"
_VARIANCE = "running_var"


def group_of(name: str) -> str:
    """The group of layers of a weight: ``image_encoder.layers.2``, ``prompt_encoder``, ``mask_decoder.heads``, ..."""
    found = _NUMBERED.match(name)
    if found:
        return f"{found[1]}.{found[2]}"
    if name.startswith(_TRANSFORMER):
        return f"{_TRANSFORMER}final"
    if name.startswith(_UPSCALING):
        return _UPSCALING.rstrip(".")
    part, _, rest = name.partition(".")
    if part == "mask_decoder":
        return _HEADS
    return f"{part}.{rest.partition('.')[0]}" if part == "image_encoder" else part


def check_alike(models: Sequence[tuple[ModelFolder, Sam]]) -> None:
    """Raises :class:`ModelError` that names the first difference unless the models have the architecture of the first.

    Their networks are compared weight by weight; pixels must be normalised alike.
    """
    (base, network), *others = models
    wanted = network.state_dict()
    for folder, other in others:
        found = other.state_dict()
        between = f"models {base.spec.name!r} and {folder.spec.name!r} cannot be merged"
        for name in [*wanted, *(name for name in found if name not in wanted)]:
            if name not in wanted or name not in found:
                owner = base if name in wanted else folder
                raise ModelError(f"{between}: only {owner.spec.name!r} has the weight {name}")
            if wanted[name].shape != found[name].shape:
                shapes = f"{tuple(wanted[name].shape)} and {tuple(found[name].shape)}"
                raise ModelError(f"{between}: {name} has the shapes {shapes}")
        if folder.spec.input != base.spec.input:
            raise ModelError(f"{between}: their pixels are normalised by {base.spec.input} and {folder.spec.input}")


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights that can be merged.

    Attributes:
        groups: of layers in which any model differs from the base, in the network's order.
        base: weights by name.
        changes: by name, what each model changed ``[models, ...]``; of the groups alone.
    """

    groups: tuple[str, ...]
    base: Mapping[str, torch.Tensor]
    changes: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, networks: Sequence[Sam]) -> Mixture:
        """Of a base and others of its architecture; what is not a floating-point number stays the base's."""
        base, *others = [network.state_dict() for network in networks]
        changes = {
            name: torch.stack([other[name] - weight for other in others])
            for name, weight in base.items()
            if weight.is_floating_point() and any(not torch.equal(other[name], weight) for other in others)
        }
        return cls(tuple(dict.fromkeys(map(group_of, changes))), base, changes)

    @property
    def changes_encoder(self) -> bool:
        """Whether merged models embed images in another way than the base."""
        return any(group.startswith("image_encoder") for group in self.groups)

    @torch.no_grad()
    def fill(self, network: Sam, coefficients: Float64Array) -> Sam:
        """Gives a network the merged weights.

        Args:
            network: of the same architecture, on any device.
            coefficients: ``[groups, models]``.
        """
        rows = dict(zip(self.groups, coefficients))
        own = network.state_dict()
        for name, changes in self.changes.items():
            weights = torch.from_numpy(rows[group_of(name)]).to(changes)
            merged = self.base[name] + torch.tensordot(weights, changes, dims=1)
            # Coefficients may sum to more than 1, and a variance below 0 has no root.
            own[name].copy_(merged.clamp(min=0) if name.endswith(_VARIANCE) else merged)
        return network
