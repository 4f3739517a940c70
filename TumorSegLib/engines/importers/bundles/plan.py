"""What a MONAI bundle says: images, labels, network, preparation, windows and post-processing, as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from TumorSegLib.engines.importers.bundles.configuration import Configuration, shown
from TumorSegLib.engines.importers.bundles.transforms import Post, largest_of, read_post, read_steps
from TumorSegLib.engines.importers.descriptions import Description, roles_of
from TumorSegLib.engines.networks.monai_nets import MONAI_NETS, SAME
from TumorSegLib.errors import ModelError
from TumorSegLib.models.monai import PADDINGS, SIGMOID, SOFTMAX, MonaiInput

BACKGROUND = ("background", "bg", "back ground")
#: What the inferer may be told and what makes no difference to the answer.
_COMPUTING = frozenset(
    {
        "sw_batch_size",
        "sw_device",
        "device",
        "progress",
        "cache_roi_weight_map",
        "cpu_thresh",
        "buffer_steps",
        "buffer_dim",
        "with_coord",
    }
)
_WINDOWS = frozenset({"roi_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval"})
#: By words of the metadata's modality, DICOM's code.
_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PT", "PT": "PT"}


@dataclass(frozen=True)
class BundlePlan:
    """What inference needs of a bundle.

    Attributes:
        network: class of the network.
        arguments: of it.
        input: what it takes and how its answer is read.
        labels: name to value.
        notes: sentences on what is done otherwise than the bundle says.
    """

    network: str
    arguments: Mapping[str, Any]
    input: MonaiInput
    labels: Mapping[str, int]
    notes: tuple[str, ...]


def make_plan(metadata: Description, configuration: Configuration) -> BundlePlan:
    """What the descriptions of a bundle say.

    Raises:
        ModelError: something is missing, needs code, or is not supported; it is named.
    """
    network, arguments = _network(configuration)
    form = metadata.part("network_data_format")
    channels = _channels(form)
    post_where, post_raw = _part(configuration, "postprocessing", "evaluator#postprocessing")
    post = _completed(read_post(configuration, post_raw, post_where), post_where)
    names = _names(_only(form.part("outputs"), "pred"))
    outputs = _outputs(names, post, form.where)
    wanted = {"in_channels": len(channels), "out_channels": len(names)}
    for key, count in wanted.items():
        if arguments.get(key, count) != count:
            raise ModelError(f"{configuration.where}: {key} is {arguments[key]}, {metadata.where} names {count}")
    where, raw = _part(configuration, "preprocessing", "dataset#transform", "pre_transforms")
    steps = read_steps(configuration, raw, where, _version(metadata))
    labels = (
        {name: post.painting[channel] for name, channel in outputs.items()}
        if post.painting
        else {name: channel + (1 if post.activation == SIGMOID else 0) for name, channel in outputs.items()}
    )
    taken = MonaiInput(
        channels=channels,
        steps=steps,
        outputs=outputs,
        activation=post.activation,
        activate_first=_activates_first(post),
        nearest=post.nearest,
        ordered=post.activation == SOFTMAX or bool(post.painting),
        largest=largest_of(post, outputs),
        **_windows(configuration),
    )
    return BundlePlan(network, arguments, taken, labels, tuple(post.notes))


def weights_name(configuration: Configuration) -> str:
    """Name of the file of weights that the configuration loads, without a folder; empty where it does not say."""
    handlers = configuration.section("handlers") if "handlers" in configuration else []
    others = [configuration.section(key) for key in ("checkpointloader", "ckpt_loader") if key in configuration]
    for each in [*(handlers if isinstance(handlers, list) else []), *others]:
        if isinstance(each, Mapping) and str(each.get("_target_", "")).endswith("CheckpointLoader"):
            try:
                path = configuration.value(each.get("load_path"), "load_path")
            except ModelError:
                return ""
            return PurePosixPath(str(path).replace("\\", "/")).name if isinstance(path, str) else ""
    return ""


def _part(configuration: Configuration, *keys: str) -> tuple[str, Any]:
    return f"{configuration.where}, {keys[0]}", configuration.section(*keys)


def _version(metadata: Description) -> tuple[int, ...]:
    """Of MONAI, the first two numbers; a late one where it is not stated."""
    found = re.match(r"(\d+)\.(\d+)", str(metadata.values.get("monai_version", "")))
    return (int(found[1]), int(found[2])) if found else (99, 0)


# Network


def _network(configuration: Configuration) -> tuple[str, dict[str, Any]]:
    where, raw = _part(configuration, "network_def", "network", "net")
    component = configuration.component(raw, where)
    name = "" if component is None else SAME.get(component.name, component.name)
    if component is None or name not in MONAI_NETS:
        named = where if component is None else component.where
        raise ModelError(f"{named} is not supported; of MONAI's networks {', '.join(MONAI_NETS)} are")
    arguments = configuration.value(dict(component.arguments), component.where)
    if arguments.get("spatial_dims", 3) != 3 or arguments.get("dimensions", 3) != 3:
        raise ModelError(f"{component.where}: spatial_dims is not 3; only networks of three dimensions are supported")
    return name, arguments


# Images and labels


def _only(part: Description, key: str) -> Description:
    """An entry by its usual name, or the only one."""
    if key not in part and len(part.values) == 1:
        key = next(iter(part.values))
    return part.part(key)


def _names(entry: Description) -> list[str]:
    """The names of the channels of an entry, in order."""
    named = entry.part("channel_def").values
    if not named or sorted(map(str, named)) != sorted(map(str, range(len(named)))):
        raise ModelError(f"{entry.where}: channel_def {shown(named)} does not count channels from '0'")
    texts = {str(number): " ".join(str(name).split()) for number, name in named.items()}
    names = [texts[str(number)] for number in range(len(texts))]
    if len(set(names)) < len(names) or not all(names) or len(names) > 256:
        raise ModelError(f"{entry.where}: channel_def {shown(named)} are not different names, 256 at most")
    return names


def _channels(form: Description) -> dict[str, str]:
    inputs = form.part("inputs")
    if len(inputs.values) > 1:
        raise ModelError(f"{inputs.where}: inputs {', '.join(inputs.values)}; a network of one input is supported")
    entry = _only(inputs, "image")
    names = _names(entry)
    words = re.findall(r"[A-Z]+", str(entry.values.get("modality", "")).upper())
    told = {_MODALITIES[word] for word in words if word in _MODALITIES}
    if str(entry.values.get("format", "")).lower() == "hounsfield":
        told = {"CT"}
    return dict(zip(roles_of(names, told.pop() if len(told) == 1 else ""), names))


def _outputs(names: list[str], post: Post, where: str) -> dict[str, int]:
    """Channel by label, in the order in which regions are painted."""
    first_is_background = names[0].lower() in BACKGROUND
    if post.activation == SOFTMAX and not (first_is_background and len(names) > 1):
        raise ModelError(
            f"{where}: the first channel of the answer is {names[0]!r}, not the background, as softmax needs"
        )
    if post.activation == SIGMOID and any(name.lower() in BACKGROUND for name in names):
        raise ModelError(f"{where}: the background among regions of a sigmoid is not supported")
    outputs = {name: number for number, name in enumerate(names) if post.activation == SIGMOID or number}
    if not post.painting:
        return outputs
    if sorted(post.painting) != sorted(outputs.values()):
        raise ModelError(f"{where}: the label map has channels {list(post.painting)}, the answer {len(names)}")
    return {names[channel]: channel for channel in post.painting}


def _completed(post: Post, where: str) -> Post:
    """With what is not said but meant; raises :class:`ModelError` for what does not fit together."""
    meant = {"argmax": SOFTMAX, "threshold": SIGMOID, "": post.activation}[post.discrete]
    if post.discrete == "threshold" and not post.activation:
        raise ModelError(f"{where}: a threshold of logits is not supported; one of a sigmoid is")
    if not meant or post.activation not in ("", meant):
        raise ModelError(
            f"{where}: {post.activation or 'no activation'} with {post.discrete or 'no label map'} is not "
            "supported; softmax with argmax and sigmoid with a threshold are"
        )
    post.activation = meant
    order = post.order
    if "invert" not in order:
        post.notes.append(
            "The bundle leaves its answer on the lattice of the network; here it is turned back to the image."
        )
        post.nearest = False
    elif "discrete" in order and order.index("discrete") < order.index("invert") and not post.nearest:
        post.notes.append(
            "The bundle turns its label map back to the image by linear interpolation, which mixes labels; here "
            "probabilities are, and the most probable label is taken then."
        )
    return post


def _activates_first(post: Post) -> bool:
    if "activate" not in post.order:
        return False
    return "invert" not in post.order or post.order.index("activate") < post.order.index("invert")


# Windows


def _windows(configuration: Configuration) -> dict[str, Any]:
    where, raw = _part(configuration, "inferer", "evaluator#inferer")
    component = configuration.component(raw, where)
    if component is None or component.name != "SlidingWindowInferer":
        named = where if component is None else component.where
        raise ModelError(f"{named} is not supported; SlidingWindowInferer is")
    given = {}
    for name, each in component.arguments.items():
        if name in _WINDOWS:
            given[name] = configuration.value(each, f"{component.where}, {name}")
        elif name not in _COMPUTING:
            raise ModelError(f"{component.where}: argument {name!r} is not supported")
    size, overlap = (_per_axis(given.get(key, 0.25)) for key in ("roi_size", "overlap"))
    mode, padding = given.get("mode", "constant"), given.get("padding_mode", "constant")
    numbers = {"sigma_scale": given.get("sigma_scale", 0.125), "padding_value": given.get("cval", 0.0)}
    checks = {
        f"roi_size {shown(given.get('roi_size'))} is not three whole numbers": not all(
            type(n) is int and 1 <= n <= 2048 for n in size
        )
        or math.prod(size) > 2**27,
        f"overlap {shown(given.get('overlap'))} is not supported": not all(
            _is_number(n) and 0 <= n < 1 for n in overlap
        ),
        f"mode {shown(mode)} is not supported; constant and gaussian are": mode not in ("constant", "gaussian"),
        f"padding_mode {shown(padding)} is not supported; {' and '.join(PADDINGS)} are": padding not in PADDINGS,
        f"sigma_scale or cval {numbers} are not numbers": not all(map(_is_number, numbers.values())),
    }
    if wrong := [text for text, found in checks.items() if found]:
        raise ModelError(f"{component.where}: {'; '.join(wrong)}")
    return {
        "patch": tuple(size),
        "overlap": tuple(float(share) for share in overlap),
        "gaussian": mode == "gaussian",
        "padding": padding,
        **{name: float(value) for name, value in numbers.items()},
    }


def _per_axis(value: Any) -> list[Any]:
    numbers = value if isinstance(value, list) else [value] * 3
    return numbers if len(numbers) == 3 else [None] * 3


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
