"""What the folder of an nnU-Net v2 training says, ``dataset.json`` and ``plans.json`` of versions 2.0 to 2.8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from TumorSegLib.engines.importers.descriptions import Description, roles_of
from TumorSegLib.engines.networks.nnunet import NETWORKS, PLAIN, Triple, UNetShape
from TumorSegLib.errors import ModelError
from TumorSegLib.models.foreign import PLANS
from TumorSegLib.models.nnunet import SCHEMES, NnunetChannel, NnunetInput, NnunetResampling
from TumorSegLib.parsing import load_json

DATASET = "dataset.json"
#: Readers of images whose arrays are as ours, and whether they turn the image to right-anterior-superior first.
READERS = {"SimpleITKIO": False, "NibabelIO": False, "NibabelIOWithReorient": True}
RESAMPLING, PREPROCESSOR = "resample_data_or_seg_to_shape", "DefaultPreprocessor"
#: nnU-Net's, which cannot be another.
ANISOTROPY = 3


@dataclass(frozen=True)
class Plan:
    """What a training planned.

    Attributes:
        network: class of the network.
        shape: its arguments.
        input: what it takes; ``folds`` and ``mirror_axes`` are in the checkpoints.
        labels: name to value.
    """

    network: str
    shape: UNetShape
    input: NnunetInput
    labels: Mapping[str, int]


def read_descriptions(folder: Path) -> tuple[Description, Description]:
    """``dataset.json`` and ``plans.json`` of a training's folder; raises :class:`ModelError` where it is none."""
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: there is no such folder; that of a training, Trainer__Plans__Configuration, is needed"
        )
    if any((folder / name).exists() for name in ("plans.pkl", "model_final_checkpoint.model")):
        raise ModelError(f"{folder}: a training of nnU-Net v1, which is not read; only those of v2 are")
    if (folder / PLANS).exists():
        return _read(folder / DATASET), _read(folder / PLANS)
    if inside := sorted(path.parent.name for path in folder.glob(f"*/{PLANS}")):
        raise ModelError(f"{folder}: holds {len(inside)} trainings, give one of them: {', '.join(inside)}")
    if (folder.parent / PLANS).is_file():
        raise ModelError(f"{folder}: one fold of a training; give the folder above, and --folds to choose")
    return _read(folder / DATASET), _read(folder / PLANS)


def _read(file: Path) -> Description:
    try:
        values = load_json(file)
    except FileNotFoundError as error:
        raise ModelError(
            f"{file.parent}: {file.name} is missing; not a complete folder of an nnU-Net v2 training"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file}: does not hold a JSON object")
    return Description(values, str(file))


def make_plan(dataset: Description, plans: Description, configuration: str) -> Plan:
    """What the descriptions say of a configuration.

    Raises:
        ModelError: they are of nnU-Net v1, the configuration is missing or a cascade, or has what is not supported.
    """
    try:
        return _plan(dataset, plans, configuration)
    except ModelError as error:
        if str(error).startswith((dataset.where, plans.where)):
            raise
        raise ModelError(f"{plans.where}, {configuration}: {error}") from error


def _plan(dataset: Description, plans: Description, configuration: str) -> Plan:
    if "plans_per_stage" in plans:
        raise ModelError(f"{plans.where}: plans of nnU-Net v1, which are not read; only those of v2 are")
    values = _inherited(plans.part("configurations"), configuration)
    if "previous_stage" in values:
        raise ModelError(
            f"{plans.where}: {configuration} is the second stage of a cascade, which takes the answer of "
            f"{values.values['previous_stage']!r}; import 3d_fullres or 3d_lowres instead"
        )
    _check_code(values)
    network, shape = _network(values)
    labels, regions = parse_labels(dataset)
    patch = values.numbers("patch_size")
    a, b, c = plans.numbers("transpose_forward")
    return Plan(
        network,
        shape,
        NnunetInput(
            channels=_channels(dataset, plans, values),
            spacing_mm=tuple(float(edge) for edge in values.numbers("spacing", float)),
            patch=_triple(patch, len(patch), values.where),
            transpose=(a, b, c),
            image_resampling=_resampling(values, "data"),
            logits_resampling=_resampling(values, "probabilities"),
            regions=regions,
            reorient=_reorients(plans),
        ),
        labels,
    )


def _inherited(configurations: Description, name: str) -> Description:
    """A configuration with what it inherits."""
    chain: list[str] = []
    while name:
        if name in chain:
            raise ModelError(f"{configurations.where}: configurations {', '.join(chain)} inherit from each other")
        if name not in configurations:
            known = ", ".join(configurations.values)
            raise ModelError(f"{configurations.where}: there is no configuration {name!r}; there are {known}")
        chain.append(name)
        name = configurations.part(name).values.get("inherits_from") or ""
    merged: dict[str, Any] = {}
    for each in reversed(chain):
        merged |= configurations.part(each).values
    return Description(merged, f"{configurations.where}, {chain[0]}")


def _check_code(values: Description) -> None:
    """Refuses a configuration that names functions other than those that are repeated here."""
    for key, known in (
        ("preprocessor_name", PREPROCESSOR),
        ("resampling_fn_data", RESAMPLING),
        ("resampling_fn_probabilities", RESAMPLING),
    ):
        if (found := values.get(key, str)) != known:
            raise ModelError(f"{values.where}: {key} is {found!r}, which is not supported; {known!r} is")


def _resampling(values: Description, what: str) -> NnunetResampling:
    key = f"resampling_fn_{what}_kwargs"
    arguments = dict(values.get(key, dict))
    threshold = arguments.pop("separate_z_anisotropy_threshold", ANISOTROPY)
    arguments.pop("is_seg", None)
    order, order_z = arguments.pop("order", 3), arguments.pop("order_z", 0)
    # nnU-Net's function does not separate axes where it is not told to; its planner always states it.
    separate = arguments.pop("force_separate_z", False)
    if arguments or threshold != ANISOTROPY or not isinstance(separate, bool | None):
        raise ModelError(f"{values.where}: {key} = {values.values[key]} is not supported")
    if not (isinstance(order, int) and isinstance(order_z, int)):
        raise ModelError(f"{values.where}: {key} = {values.values[key]} has an order that is not a whole number")
    return NnunetResampling(order, order_z, separate)


def _reorients(plans: Description) -> bool:
    reader = plans.values.get("image_reader_writer", "SimpleITKIO")
    if reader not in READERS:
        raise ModelError(
            f"{plans.where}: images were read by {reader!r}, which is not supported; by {', '.join(READERS)} is"
        )
    return READERS[reader]


# Labels


def parse_labels(dataset: Description) -> tuple[dict[str, int], bool]:
    """Name to value of the labels without background and ignored voxels, and whether they are regions that may overlap.

    A region gets the value that nnU-Net writes into its label map where no later region lies, see
    ``regions_class_order``.
    """
    raw = dict(dataset.get("labels", dict))
    if raw.get("0") == "background" or all(isinstance(value, str) for value in raw.values()):
        raise ModelError(f"{dataset.where}: labels {str(raw)[:60]} are written as for nnU-Net v1; v2 is needed")
    if raw.pop("background", None) != 0:
        raise ModelError(f"{dataset.where}: labels need 'background' with the value 0")
    raw.pop("ignore", None)
    groups = {" ".join(name.split()): value if isinstance(value, list) else [value] for name, value in raw.items()}
    if not groups or not all(_are_labels(values) for values in groups.values()):
        raise ModelError(f"{dataset.where}: labels {str(raw)[:60]} are not names with numbers from 1 to 255")
    if any(len(values) > 1 for values in groups.values()):
        order = dataset.numbers("regions_class_order")
        if len(order) != len(groups) or len(set(order)) < len(order):
            raise ModelError(
                f"{dataset.where}: regions_class_order {order} has not one number per region of {list(groups)}"
            )
        return dict(zip(groups, order)), True
    labels = {name: int(value) for name, (value,) in groups.items()}
    if sorted(labels.values()) != list(range(1, len(labels) + 1)):
        raise ModelError(f"{dataset.where}: labels {str(labels)[:60]} do not count up from 1")
    return labels, False


def _are_labels(values: Sequence[Any]) -> bool:
    return bool(values) and all(type(value) is int and 0 < value <= 255 for value in values)


# Channels


def _channels(dataset: Description, plans: Description, values: Description) -> dict[str, NnunetChannel]:
    key = "channel_names" if "channel_names" in dataset else "modality"
    named = dataset.get(key, dict)
    if not named or sorted(named) != sorted(map(str, range(len(named)))):
        raise ModelError(f"{dataset.where}: {key} {str(named)[:60]} does not count channels from '0'")
    names = [str(named[str(number)]) for number in range(len(named))]
    schemes, masked = values.get("normalization_schemes", list), values.get("use_mask_for_norm", list)
    if not len(schemes) == len(masked) == len(names):
        raise ModelError(f"{values.where}: normalization_schemes {schemes} are not one per channel of {names}")
    old = "foreground_intensity_properties_by_modality"
    intensities = plans.part(old if old in plans else "foreground_intensity_properties_per_channel")
    channels = {}
    for number, (name, role) in enumerate(zip(names, roles_of(names))):
        if schemes[number] not in SCHEMES:
            raise ModelError(
                f"{values.where}: normalisation {schemes[number]!r} of channel {name!r} is not supported; "
                f"{', '.join(SCHEMES)} are"
            )
        scheme = SCHEMES[schemes[number]]
        statistics = _statistics(intensities.part(str(number))) if scheme == "ct" else {}
        channels[role] = NnunetChannel(name, scheme, masked[number] is True, **statistics)
    return channels


def _statistics(intensities: Description) -> dict[str, float]:
    names = {"mean": "mean", "std": "std", "low": "percentile_00_5", "high": "percentile_99_5"}
    return {own: float(intensities.get(name, int, float)) for own, name in names.items()}


# Network


def _network(values: Description) -> tuple[str, UNetShape]:
    axes = len(values.numbers("patch_size"))
    if "architecture" in values:
        architecture = values.part("architecture")
        name = architecture.get("network_class_name", str).rpartition(".")[2]
        arguments = architecture.part("arch_kwargs")
        _check_network(name, architecture.where)
        _check_layers(arguments)
        features = arguments.values.get("features_per_stage")
        keys = ("kernel_sizes", "strides", "n_conv_per_stage" if name == PLAIN else "n_blocks_per_stage")
        count = arguments.get("n_stages", int)
    else:
        arguments, name = values, values.get("UNet_class_name", str)
        _check_network(name, values.where)
        keys = ("conv_kernel_sizes", "pool_op_kernel_sizes", "n_conv_per_stage_encoder")
        count = len(values.get(keys[2], list))
        base, most = values.get("UNet_base_num_features", int), values.get("unet_max_num_features", int)
        features = [min(base * 2**stage, most) for stage in range(min(count, 32))]
    if not 2 <= count <= 32:
        raise ModelError(f"{arguments.where}: a network of {count} stages is not supported")
    decoder = _per_stage(arguments.values.get("n_conv_per_stage_decoder"), count - 1)
    return name, UNetShape(
        features_per_stage=tuple(_per_stage(features, count)),
        kernel_sizes=_triples(arguments, keys[0], count, axes),
        strides=_triples(arguments, keys[1], count, axes),
        blocks=tuple(_per_stage(arguments.values.get(keys[2]), count)),
        decoder_blocks=tuple(decoder),
        **_options(arguments),
    )


def _check_network(name: str, where: str) -> None:
    if name not in NETWORKS:
        raise ModelError(f"{where}: the network is {name!r}, which is not supported; {' and '.join(NETWORKS)} are")


def _check_layers(arguments: Description) -> None:
    """Refuses layers other than those of nnU-Net's own plans."""
    for key, endings in (
        ("conv_op", ("Conv2d", "Conv3d")),
        ("norm_op", ("InstanceNorm2d", "InstanceNorm3d")),
        ("nonlin", ("LeakyReLU",)),
    ):
        if (found := arguments.get(key, str)).rpartition(".")[2] not in endings:
            raise ModelError(f"{arguments.where}: {key} is {found!r}, which is not supported; {endings[-1]} is")
    for key in ("bottleneck_channels", "stem_channels", "block"):
        if key in arguments:
            raise ModelError(f"{arguments.where}: {key} = {arguments.values[key]!r} is not supported")


def _options(arguments: Description) -> dict[str, Any]:
    norm, rectifier = (arguments.values.get(key) or {} for key in ("norm_op_kwargs", "nonlin_kwargs"))
    if "conv_op" in arguments and norm.get("affine") is not True:
        raise ModelError(f"{arguments.where}: norm_op_kwargs {norm} are not supported; affine is needed")
    return {
        "bias": bool(arguments.values.get("conv_bias", "conv_op" not in arguments)),
        "eps": float(norm.get("eps", 1e-5)),
        "slope": float(rectifier.get("negative_slope", 0.01)),
        "activate_first": bool(arguments.values.get("nonlin_first", False)),
    }


def _per_stage(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, list) else [value] * count


def _triples(arguments: Description, key: str, count: int, axes: int) -> tuple[Triple, ...]:
    return tuple(
        _triple(each, axes, f"{arguments.where}, {key}") for each in _per_stage(arguments.values.get(key), count)
    )


def _triple(value: Any, axes: int, where: str) -> Triple:
    """Three numbers, of which the first is 1 in two dimensions."""
    numbers = _per_stage(value, axes)
    if not (len(numbers) == axes and axes in (2, 3) and all(type(number) is int for number in numbers)):
        raise ModelError(f"{where}: {value} is not {axes} whole numbers")
    k, j, i = [1] * (3 - axes) + numbers
    return k, j, i
