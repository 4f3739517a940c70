"""Networks of MONAI bundles: MONAI's own (Apache-2.0), built from plain arguments.

The classes are these and no others, whatever a bundle names; none of them fetches anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from TumorSegLib.errors import ModelError
from TumorSegLib.models.spec import ModelSpec

#: By the name of the class.
MONAI_NETS: Mapping[str, Callable[..., nn.Module]] = {
    name: getattr(nets, name)
    for name in (
        "AttentionUnet",
        "BasicUNet",
        "BasicUNetPlusPlus",
        "DynUNet",
        "HighResNet",
        "MedNeXt",
        "SegResNet",
        "SegResNetDS",
        "SwinUNETR",
        "UNETR",
        "UNet",
        "VNet",
    )
    if hasattr(nets, name)  # MedNeXt is of MONAI 1.6
}
#: Other names of the same classes.
SAME: Mapping[str, str] = {
    "Unet": "UNet",
    "unet": "UNet",
    "DynUnet": "DynUNet",
    "Dynunet": "DynUNet",
    "BasicUnet": "BasicUNet",
}
# Arguments that a former MONAI asked for, and which change nothing.
FORMER: Mapping[str, frozenset[str]] = {"SwinUNETR": frozenset({"img_size"})}
#: No network has a larger argument, or more of them in a list; it would not fit any computer.
LARGEST, LONGEST = 8192, 64


class FirstOutput(nn.Module):
    """A network whose answer may be several maps, as with deep supervision, of which the first is the segmentation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, channels, i, j, k]``."""
        answer = self.network(images)
        first: torch.Tensor = answer[0] if isinstance(answer, list | tuple) else answer
        return first


def build_monai(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A network by the name of its class and its arguments, with random weights; on the meta device where it can be.

    Raises:
        ModelError: the class is none of :data:`MONAI_NETS`, or the arguments are not its own, not plain or too large.
    """
    if name not in MONAI_NETS:
        raise ModelError(f"network {name!r} is not supported; {', '.join(MONAI_NETS)} are")
    _check_plain(arguments, name)
    given = {key: value for key, value in arguments.items() if key not in FORMER.get(name, ())}
    try:
        return FirstOutput(MONAI_NETS[name](**given))
    except Exception as error:  # networks and torch raise errors of many types for wrong arguments
        raise ModelError(f"{name} cannot be built from {given}: {type(error).__name__}: {error}") from error


def _check_plain(value: Any, where: str) -> None:
    """Refuses what is not numbers, short texts, true, false, none, or lists and tables of them."""
    if isinstance(value, Mapping | list | tuple):
        if len(value) > LONGEST:
            raise ModelError(f"{where}: {len(value)} values are more than {LONGEST}")
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, each in items:
            _check_plain(each, f"{where}, {key}")
        return
    plain = value is None or isinstance(value, bool | int | float | str)
    if not plain or (isinstance(value, str) and not value.replace("_", "").replace(" ", "").isalnum() and value):
        raise ModelError(f"{where}: {str(value)[:60]!r} is not a plain value")
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ModelError(f"{where}: {value} is larger than {LARGEST}")


def build_monai_model(spec: ModelSpec) -> nn.Module:
    """The network of a model of a MONAI bundle, with random weights; raises :class:`ModelError`."""
    try:
        return build_monai(spec.network, spec.arguments)
    except ModelError as error:
        raise ModelError(f"model {spec.name!r}: {error}") from error
