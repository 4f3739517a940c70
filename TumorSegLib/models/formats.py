"""Formats of ``model.json`` so far, and the way from an older one to the current one.

Format 2 has the keys of :class:`~TumorSegLib.models.spec.ModelSpec` and describes what the network takes in ``input``.
Format 1 has no key ``format``: ``kind`` and the values of the input are beside the others, and a model of kind ``box``
names its pixel statistics in ``arguments``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from TumorSegLib.errors import ModelError

FORMAT = 2
#: Pixel statistics by name. MedSAM and LiteMedSAM take values from 0 to 1 as they are, Meta's SAM those of ImageNet.
PIXELS: Mapping[str, Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "unit": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
        "imagenet": {
            "mean": (123.675 / 255, 116.28 / 255, 103.53 / 255),
            "std": (58.395 / 255, 57.12 / 255, 57.375 / 255),
        },
    }
)
_TYPES = {"auto": "volume", "clicks": "prompted volume", "box": "slice"}
_INPUT_KEYS = ("roles", "optional", "spacing_mm", "patch", "normalisation")


def to_current_format(data: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The content of a ``model.json`` in the current format, without the key ``format``; values are not checked.

    Raises:
        ModelError: the format is unknown, the kind of a model of format 1 is, or a box model's pixel statistics are.
    """
    values = dict(data)
    found = values.pop("format", FORMAT if "input" in values else 1)
    if found not in (1, FORMAT):
        raise ModelError(
            f"{origin}: format {found!r} is unknown, 1 and {FORMAT} can be read; a newer TumorSeg may read it"
        )
    return _from_format_1(values, origin) if found == 1 else values


def _from_format_1(values: dict[str, Any], origin: str) -> dict[str, Any]:
    kind = values.pop("kind", None)
    if kind not in _TYPES:
        raise ModelError(f"{origin}: kind {kind!r} is not one of {', '.join(_TYPES)}")
    own = {key: values.pop(key) for key in _INPUT_KEYS if key in values}
    if kind == "box":  # roles, spacing and normalisation of a box model were never used
        arguments = dict(values.get("arguments", {}))
        pixels = arguments.pop("pixels", None)
        if pixels not in PIXELS:
            raise ModelError(f"{origin}: pixels {pixels!r} is not one of {', '.join(PIXELS)}")
        own, values["arguments"] = dict(PIXELS[pixels]), arguments
    return {**values, "input": {"type": _TYPES[kind], **own}}
