"""Preparation and post-processing of a MONAI bundle: transforms of a list, with arguments of a list, and no others."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from TumorSegLib.engines.importers.bundles.configuration import Component, Configuration, shown
from TumorSegLib.errors import ModelError
from TumorSegLib.models.monai import CROP, ORIENTATION, SIGMOID, SOFTMAX, SPACING, STEPS, MonaiLargest, MonaiStep

#: Of the argument of a transform that may have any value, as it changes nothing here.
ANY = None
_LOADING: Mapping[str, Collection[Any] | None] = {
    "reader": ("NibabelReader", "ITKReader", "nibabelreader", "itkreader", None),
    "image_only": ANY,
    "ensure_channel_first": ANY,
    "dtype": ANY,
    "prune_meta_pattern": (None,),
    "simple_keys": ANY,
    "allow_missing_keys": ANY,
    "overwriting": ANY,
    "meta_keys": ANY,
    "meta_key_postfix": ANY,
}
_TYPE: Mapping[str, Collection[Any] | None] = {
    "data_type": ("tensor", "numpy"),
    "dtype": ("float32", "float", "float64", None),
    "device": ANY,
    "track_meta": ANY,
    "wrap_sequence": ANY,
    "drop_meta": ANY,
    "allow_missing_keys": ANY,
}
#: Transforms that change nothing here, and the values that their arguments may have.
NEUTRAL: Mapping[str, Mapping[str, Collection[Any] | None]] = {
    "LoadImage": _LOADING,
    "EnsureChannelFirst": {"channel_dim": ANY, "strict_check": ANY, "meta_keys": ANY, "meta_key_postfix": ANY},
    "AddChannel": {},
    "AsChannelFirst": {"channel_dim": ANY},
    "EnsureType": _TYPE,
    "ToTensor": _TYPE,
    "ToDevice": _TYPE,
    "CastToType": _TYPE,
    "Identity": {},
}
#: Arguments of transforms that are not taken over, and the values that they may have.
FIXED: Mapping[str, Mapping[str, Collection[Any] | None]] = {
    ORIENTATION: {"as_closest_canonical": (False,), "labels": (None,), "lazy": ANY},
    SPACING: {
        "mode": ("bilinear", "nearest"),
        "padding_mode": ("border",),
        "diagonal": (False,),
        "align_corners": (False, None),
        "scale_extent": (False,),
        "recompute_affine": (False,),
        "min_pixdim": (None,),
        "max_pixdim": (None,),
        "ensure_same_shape": ANY,
        "dtype": ANY,
        "lazy": ANY,
        "meta_keys": ANY,
        "meta_key_postfix": ANY,
    },
    CROP: {
        "source_key": ANY,
        "channel_indices": (None,),
        "mode": ANY,
        "start_coord_key": ANY,
        "end_coord_key": ANY,
        "constant_values": ANY,
        "lazy": ANY,
    },
}
_EVERYWHERE: Mapping[str, Collection[Any] | None] = {"dtype": ANY, "allow_missing_keys": ANY}
_THRESHOLD = re.compile(r"\$?lambda (\w+): \1 ?> ?(-?\d+(?:\.\d+)?)")
#: MONAI's default of ``allow_smaller`` changed with this version.
CROP_CHANGED = (1, 5)


def transforms_of(configuration: Configuration, raw: Any, where: str) -> Iterator[Component]:
    """The transforms of a ``Compose`` in order, by their names without the ``d`` of those for dictionaries.

    Raises:
        ModelError: it is no ``Compose``, or a transform asks for code.
    """
    composed = configuration.component(raw, where)
    if composed is None:
        return
    if composed.name != "Compose":
        raise ModelError(f"{where}: {composed.name!r} is not supported; 'Compose' is")
    listed = composed.arguments.get("transforms")
    if isinstance(listed, str):
        listed = configuration.section(listed.lstrip("$@"))
    if not isinstance(listed, list):
        raise ModelError(f"{where}, transforms: {shown(listed)} is not a list")
    for number, each in enumerate(listed):
        found = configuration.component(each, f"{where}, {number}")
        if found is not None:
            yield Component(re.sub(r"(?:d|D|Dict)$", "", found.name), found.arguments, found.where)


def keys_of(configuration: Configuration, transform: Component) -> list[str]:
    """The keys that a transform is for; none where it is for no dictionary."""
    keys = configuration.value(transform.arguments.get("keys"), f"{transform.where}, keys")
    return [str(key) for key in keys] if isinstance(keys, list) else [] if keys is None else [str(keys)]


# Preparation


def read_steps(configuration: Configuration, raw: Any, where: str, monai: tuple[int, ...]) -> tuple[MonaiStep, ...]:
    """The steps of the preparation of the image.

    Args:
        configuration: of the bundle.
        raw: the part that describes them.
        where: for errors.
        monai: version of MONAI that the bundle was made with.

    Raises:
        ModelError: a transform or an argument is not supported.
    """
    steps, image = [], ""
    for transform in transforms_of(configuration, raw, where):
        keys = keys_of(configuration, transform)
        image = image or ("image" if "image" in keys else keys[0] if keys else "")
        if keys and image not in keys:
            continue  # it is for the label
        chosen = _for_key(configuration, transform, keys.index(image) if keys else 0, len(keys))
        if transform.name in NEUTRAL:
            _check_fixed(chosen, NEUTRAL[transform.name], transform)
        elif transform.name in STEPS:
            steps.append(_step(chosen, transform, monai))
        else:
            raise ModelError(f"{transform.where} is not supported; {', '.join([*STEPS, *NEUTRAL])} are")
    return tuple(steps)


def _for_key(configuration: Configuration, transform: Component, number: int, keys: int) -> dict[str, Any]:
    """Plain arguments, of those given per key the one for the image; some that need code are left as they are."""
    chosen = {}
    for name, raw in transform.arguments.items():
        if name == "keys":
            continue
        where = f"{transform.where}, {name}"
        code = isinstance(raw, str) and name in ("select_fn", "device", "dtype")
        value = raw if code and name == "select_fn" else _plain_or_text(configuration, raw, where, code)
        if name in ("mode", "padding_mode", "align_corners", "dtype") and isinstance(value, list):
            value = value[number] if len(value) == keys > 0 else value[0] if len(value) == 1 else value
        chosen[name] = value
    return chosen


def _plain_or_text(configuration: Configuration, raw: Any, where: str, code: bool) -> Any:
    try:
        return configuration.value(raw, where)
    except ModelError:
        if not code:
            raise
        return raw


def _check_fixed(
    arguments: Mapping[str, Any], allowed: Mapping[str, Collection[Any] | None], transform: Component
) -> None:
    for name, value in arguments.items():
        if name not in allowed:
            raise ModelError(f"{transform.where}: argument {name!r} is not supported")
        values = allowed[name]
        if values is not ANY and (isinstance(value, list | dict) or value not in values):
            raise ModelError(
                f"{transform.where}: {name} = {shown(value)} is not supported; {', '.join(map(repr, values))} is"
            )


def _step(arguments: dict[str, Any], transform: Component, monai: tuple[int, ...]) -> MonaiStep:
    name = transform.name
    own = {key: value for key, value in arguments.items() if key in STEPS[name]}
    rest = {key: value for key, value in arguments.items() if key not in own and key != "select_fn"}
    if name == ORIENTATION and rest.get("as_closest_canonical") is True:
        own, rest = {"axcodes": "RAS"}, {}
    _check_fixed(rest, {**_EVERYWHERE, **FIXED.get(name, {})}, transform)
    if name == SPACING:
        own |= {"nearest": rest.get("mode", "bilinear") == "nearest", "pixdim": _three(own.get("pixdim"))}
    elif name == CROP:
        own = _crop(own, arguments, transform, monai)
    elif name == "ScaleIntensity":
        own = {"minv": 0.0, "maxv": 1.0, **own}
    try:
        return MonaiStep(name, own)
    except ModelError as error:
        raise ModelError(f"{transform.where}: {error}") from error


def _three(value: Any) -> Any:
    return [value] * 3 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _crop(
    own: dict[str, Any], arguments: Mapping[str, Any], transform: Component, monai: tuple[int, ...]
) -> dict[str, Any]:
    above, function = 0.0, arguments.get("select_fn")
    if function is not None:
        found = _THRESHOLD.fullmatch(str(function))
        if found is None:
            raise ModelError(f"{transform.where}: select_fn = {shown(function)} is code, which is not executed")
        above = float(found[2])
    margin, divisible = _three(own.get("margin", 0)), _three(own.get("k_divisible", 1))
    if not all(_whole(each, least) for each, least in ((margin, 0), (divisible, 1))):
        raise ModelError(
            f"{transform.where}: margin {shown(margin)} or k_divisible {shown(divisible)} is not supported"
        )
    mode, value = arguments.get("mode", "constant"), arguments.get("constant_values", arguments.get("value", 0))
    padded = any(margin) or set(divisible) != {1}
    if padded and (mode != "constant" or not isinstance(value, int | float)):
        raise ModelError(f"{transform.where}: mode {shown(mode)} with {shown(value)} is not supported; 'constant' is")
    return {
        "above": above,
        "margin": margin,
        "k_divisible": divisible,
        "allow_smaller": bool(own.get("allow_smaller", monai < CROP_CHANGED)),
        "value": float(value) if padded else 0.0,
    }


def _whole(values: Any, least: int) -> bool:
    return isinstance(values, list) and len(values) == 3 and all(type(n) is int and least <= n <= 512 for n in values)


# Post-processing


@dataclass
class Post:
    """What is done with the network's answer.

    Attributes:
        activation: ``softmax``, ``sigmoid``, or empty where none is named.
        discrete: ``argmax``, ``threshold``, or empty where the answer stays a probability.
        order: of ``activate``, ``invert`` and ``discrete``, as they are done.
        nearest: whether the answer is turned back by the nearest voxel.
        largest: by numbers of labels, None for all, what stays; None where all does.
        painting: value in the label map by channel, in the order in which they are painted; empty where not stated.
        notes: sentences on what differs here.
    """

    activation: str = ""
    discrete: str = ""
    order: list[str] = field(default_factory=list)
    nearest: bool = False
    largest: tuple[list[int] | None, bool, int] | None = None
    painting: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


# Transforms after the answer that write or convert it.
_WRITING = frozenset({"SaveImage", "EnsureType", "ToTensor", "CastToType", "Identity", "ToDevice"})


def read_post(configuration: Configuration, raw: Any, where: str) -> Post:
    """What is done with the network's answer; raises :class:`ModelError` for what is not supported."""
    post, pred = Post(), ""
    for transform in transforms_of(configuration, raw, where):
        keys = keys_of(configuration, transform)
        pred = pred or ("pred" if "pred" in keys else keys[0] if keys else "")
        if transform.name in _WRITING or (keys and pred not in keys):
            continue
        read = _POST.get(transform.name)
        if read is None:
            raise ModelError(f"{transform.where} is not supported; {', '.join([*_POST, *sorted(_WRITING)])} are")
        if keys and keys != [pred]:
            raise ModelError(f"{transform.where}: keys {keys} are not supported; {pred!r} alone is")
        read(post, configuration, transform)
    return post


def _arguments(configuration: Configuration, transform: Component, *names: str) -> list[Any]:
    found = []
    for name in names:
        value = configuration.value(transform.arguments.get(name), f"{transform.where}, {name}")
        found.append(value[0] if isinstance(value, list) and len(value) == 1 else value)
    return found


def _refuse_others(transform: Component, *known: str) -> None:
    for name, value in transform.arguments.items():
        if name not in (*known, "keys", "allow_missing_keys") and value not in (None, False):
            raise ModelError(f"{transform.where}: argument {name!r} is not supported")


def _read_activations(post: Post, configuration: Configuration, transform: Component) -> None:
    _refuse_others(transform, "softmax", "sigmoid")
    softmax, sigmoid = _arguments(configuration, transform, "softmax", "sigmoid")
    if (softmax is True) == (sigmoid is True) or post.discrete:
        raise ModelError(
            f"{transform.where}: softmax = {shown(softmax)} and sigmoid = {shown(sigmoid)} here is not "
            "supported; one of them, before AsDiscrete, is"
        )
    post.activation = SOFTMAX if softmax is True else SIGMOID
    post.order.append("activate")


def _read_discrete(post: Post, configuration: Configuration, transform: Component) -> None:
    _refuse_others(transform, "argmax", "threshold", "to_onehot", "dtype", "dim", "keepdim")
    argmax, threshold = _arguments(configuration, transform, "argmax", "threshold")
    if argmax is True:
        post.discrete = "argmax"
    elif threshold is not None and float(threshold) == 0.5:
        post.discrete = "threshold"
    elif argmax or threshold is not None:
        raise ModelError(f"{transform.where}: threshold = {shown(threshold)} is not supported; 0.5 is")
    post.order.append("discrete")


def _read_invert(post: Post, configuration: Configuration, transform: Component) -> None:
    """Whatever it names, the preparation is inverted; ``post_func`` would be code."""
    if transform.arguments.get("post_func") is not None:
        raise ModelError(f"{transform.where}: post_func is code, which is not executed")
    (nearest,) = _arguments(configuration, transform, "nearest_interp")
    post.nearest = nearest is not False
    post.order.append("invert")


def _read_largest(post: Post, configuration: Configuration, transform: Component) -> None:
    names = ("applied_labels", "independent", "connectivity", "num_components")
    _refuse_others(transform, *names, "is_onehot")
    labels, independent, connectivity, components = (
        configuration.value(transform.arguments.get(name), f"{transform.where}, {name}") for name in names
    )
    if isinstance(labels, int):
        labels = [labels]
    listed = labels is None or (isinstance(labels, list) and all(type(each) is int for each in labels))
    if components not in (None, 1) or not listed or connectivity not in (None, 1, 2, 3) or not post.discrete:
        raise ModelError(
            f"{transform.where}: labels {shown(labels)}, connectivity {connectivity}, {components} components here are "
            "not supported; one component of labels by number, after AsDiscrete, is"
        )
    post.largest = (labels, independent is False, connectivity or 3)


_WHERE = re.compile(r"torch\.where\(x\[\[(\d+)\]\] ?(?:> ?0|== ?1), ?(\d+), ?(.*)\)")


def _read_lambda(post: Post, _: Configuration, transform: Component) -> None:
    """A label map of regions, as the BraTS bundle has it: nested ``torch.where``, the innermost painted first."""
    text = str(transform.arguments.get("func", "")).removeprefix("$").strip()
    _refuse_others(transform, "func", "overwrite")
    rest, chain = text.removeprefix("lambda x:").strip(), []
    while (found := _WHERE.fullmatch(rest)) is not None:
        chain.append((int(found[1]), int(found[2])))
        rest = found[3].strip()
    if not text.startswith("lambda x:") or rest != "0" or not chain or post.discrete != "threshold":
        raise ModelError(f"{transform.where}: {shown(text)} is code, which is not executed")
    post.painting = dict(reversed(chain))


_POST: Mapping[str, Callable[[Post, Configuration, Component], None]] = {
    "Activations": _read_activations,
    "AsDiscrete": _read_discrete,
    "Invert": _read_invert,
    "KeepLargestConnectedComponent": _read_largest,
    "Lambda": _read_lambda,
}


def largest_of(post: Post, outputs: Mapping[str, int]) -> MonaiLargest | None:
    """What of the answer stays, by the names of the labels; raises :class:`ModelError` for a number that is none."""
    if post.largest is None:
        return None
    numbers, together, connectivity = post.largest
    names = {channel: name for name, channel in outputs.items()}
    if unknown := [number for number in numbers or () if number not in names]:
        raise ModelError(f"KeepLargestConnectedComponent: labels {unknown} are not among {dict(outputs)}")
    kept = tuple(outputs) if numbers is None else tuple(names[number] for number in numbers)
    return MonaiLargest(kept, together, connectivity)
