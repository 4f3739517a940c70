"""Reading a training configuration (TOML): one section per thing it decides."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from training.data.augment import Augmentation, check_range
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.parsing import check_keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section")

# How long a run lasts, how often it saves, how fast it draws its samples, which version comes of it and what is said of
# it may change when it is resumed.
MAY_CHANGE = frozenset(
    {
        "steps",
        "checkpoint_every",
        "validate_every",
        "workers",
        "results",
        "version",
        "made_for",
        "plausible_volume_ml",
        "trained_length_mm",
    }
)


@dataclass(frozen=True)
class DataSettings:
    """Which cases: all folds but ``test_fold``, and ``phantoms`` synthetic ones drawn with ``phantom_share``."""

    test_fold: int = 0
    phantoms: int = 0
    phantom_share: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "phantom_share")
        check_range(self, 0, math.inf, "test_fold", "phantoms")


@dataclass(frozen=True)
class Optimisation:
    """The optimiser and how long it runs.

    Attributes:
        steps, batch: optimiser steps, and patches per step and process.
        learning_rate, warm_up: peak, reached linearly after that many steps, then a half cosine down to 0.
        weight_decay, gradient_clip: AdamW's, and the largest gradient norm.
        ema_decay: of the averaged weights, which are those exported.
        seed: of weights and samples.
        checkpoint_every, validate_every: steps; both happen after the last step too, validation not at all if 0.
        workers: threads that draw samples ahead; any number draws the same. One makes about 28 patches per second.
    """

    steps: int
    batch: int = 2
    learning_rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 1e-2
    gradient_clip: float = 5.0
    ema_decay: float = 0.999
    seed: int = 0
    checkpoint_every: int = 250
    validate_every: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "steps", "batch", "checkpoint_every", "workers")
        check_range(self, 0, math.inf, "learning_rate", "warm_up", "weight_decay", "seed", "validate_every")
        check_range(self, 1e-12, math.inf, "gradient_clip")
        check_range(self, 0, 1, "ema_decay")
        if self.validate_every % self.checkpoint_every:
            raise ArgumentError(
                f"validate_every = {self.validate_every} must be a multiple of "
                f"checkpoint_every = {self.checkpoint_every}"
            )


#: What an episode may begin with.
STARTS = ("first_stage", "empty", "corrupted", "shifted")


@dataclass(frozen=True)
class ClickSettings:
    """How a simulated user teaches a refinement network; each random number is uniform unless said otherwise.

    Attributes:
        first_stage: automatic model whose weights the network starts from and whose answers episodes may start from;
            empty: none.
        starts: relative frequency of what an episode begins with, see ``STARTS``.
        context: voxels by which an episode's images are longer than a patch along each axis; patches move with the
            clicks.
        mean_rounds, most_rounds: clicks per episode: 1 plus an exponential number of this mean, at most so many.
        off_centre_share: how often a click goes to a random voxel of the error instead of its centre.
        stroke_share: how often it is a brush stroke.
        previous_dropout: how often the network is not shown its previous answer.
        zooms: relative frequency of multiples of the model's spacing.
        small_share, small_scale: how often, and by which magnifications, tumours become small.
        warp_share, warp_mm, warp_length_mm: how often the target's boundary is moved by a smooth random distance, so
            that it is the clicks that say where it lies; its largest displacement and correlation length.
        corruption_mm, corruption_length_mm: the same of a corrupted first mask.
        shift_mm: largest displacement of a shifted first mask along each axis.
    """

    first_stage: str = ""
    starts: Mapping[str, float] = field(
        default_factory=lambda: {"first_stage": 0.4, "empty": 0.3, "corrupted": 0.2, "shifted": 0.1}
    )
    context: int = 32
    mean_rounds: float = 4.0
    most_rounds: int = 15
    off_centre_share: float = 0.3
    stroke_share: float = 0.1
    previous_dropout: float = 0.1
    zooms: Mapping[str, float] = field(default_factory=lambda: {"1": 1.0})
    small_share: float = 0.0
    small_scale: tuple[float, float] = (0.25, 0.7)
    warp_share: float = 0.0
    warp_mm: float = 6.0
    warp_length_mm: float = 30.0
    corruption_mm: float = 20.0
    corruption_length_mm: float = 40.0
    shift_mm: float = 20.0

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "off_centre_share", "stroke_share", "previous_dropout", "small_share", "warp_share")
        check_range(self, 0, math.inf, "context", "mean_rounds", "warp_mm", "corruption_mm", "shift_mm")
        check_range(self, 1, math.inf, "most_rounds", "warp_length_mm", "corruption_length_mm")
        if not 0 < self.small_scale[0] <= self.small_scale[1] < math.inf:
            raise ArgumentError(f"small_scale = {list(self.small_scale)} must be two positive numbers, smaller first")
        if not _frequencies(self.starts) or not set(self.starts) <= set(STARTS):
            raise ArgumentError(f"starts = {dict(self.starts)} must give frequencies of {', '.join(STARTS)}")
        if not _frequencies(self.zooms) or not all(_is_positive(zoom) for zoom in self.zooms):
            raise ArgumentError(f"zooms = {dict(self.zooms)} must give frequencies of positive numbers, in quotes")
        if len({float(zoom) for zoom in self.zooms}) < len(self.zooms):
            raise ArgumentError(f"zooms = {dict(self.zooms)} names one number twice")


def _frequencies(values: Mapping[str, float]) -> bool:
    return all(0 <= value < math.inf for value in values.values()) and sum(values.values()) > 0


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


@dataclass(frozen=True)
class Configuration:
    """A whole training configuration; ``text`` is the file it came from, ``clicks`` is there for kind ``clicks``."""

    model: ModelSpec
    data: DataSettings
    augmentation: Augmentation
    optimisation: Optimisation
    text: str
    clicks: ClickSettings | None = None


def read_configuration(path: Path) -> Configuration:
    """Reads a configuration file; raises :class:`ReadError` or :class:`ArgumentError` naming what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReadError(f"{path}: not a TOML file: {error}") from error
    return parse_configuration(text, str(path))


def parse_configuration(text: str, origin: str) -> Configuration:
    """Parses a configuration; ``origin`` names it in errors.

    Raises:
        ReadError: the text is not TOML.
        ArgumentError: a section or setting is unknown, missing or impossible.
        ModelError: the model contradicts itself.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ReadError(f"{origin}: not valid TOML: {error}") from error
    _check_sections(values, origin)
    configuration = Configuration(
        model=ModelSpec.from_dict(values["model"], f"{origin} [model]"),
        data=_section(DataSettings, values.get("data", {}), f"{origin} [data]"),
        augmentation=_section(Augmentation, values.get("augmentation", {}), f"{origin} [augmentation]"),
        optimisation=_section(Optimisation, values["optimisation"], f"{origin} [optimisation]"),
        text=text,
        clicks=_section(ClickSettings, values["clicks"], f"{origin} [clicks]") if "clicks" in values else None,
    )
    _check_model(configuration, origin)
    return configuration


def differences(first: Configuration, second: Configuration) -> list[str]:
    """The settings, as ``[section] name``, in which two configurations differ that cannot be of one run."""
    differ = []
    for section in ("model", "data", "augmentation", "optimisation", "clicks"):
        one, other = getattr(first, section), getattr(second, section)
        if one is None or other is None:
            differ += [f"[{section}]"] if one is not other else []
            continue
        names = [each.name for each in fields(one) if each.name not in MAY_CHANGE]
        differ += [f"[{section}] {name}" for name in names if getattr(one, name) != getattr(other, name)]
    return differ


def _check_sections(values: Mapping[str, Any], origin: str) -> None:
    needed, known = ("model", "optimisation"), ("model", "data", "augmentation", "optimisation", "clicks")
    check_keys(values, known, origin, ArgumentError)
    for name, value in values.items():
        if not isinstance(value, Mapping):
            raise ArgumentError(f"{origin}: {name} = {value!r} must be a section [{name}]")
    for name in needed:
        if name not in values:
            raise ArgumentError(f"{origin}: section [{name}] is missing")


def _check_model(configuration: Configuration, origin: str) -> None:
    model = configuration.model
    if model.kind not in ("auto", "clicks"):
        raise ArgumentError(f"{origin} [model]: kind {model.kind!r} cannot be trained; use 'auto' or 'clicks'")
    if model.kind == "clicks" and configuration.clicks is None:
        raise ArgumentError(f"{origin}: kind 'clicks' needs a section [clicks], which may be empty")
    if model.kind != "clicks" and configuration.clicks is not None:
        raise ArgumentError(f"{origin}: the section [clicks] goes with kind 'clicks', the model's is {model.kind!r}")
    if model.kind == "clicks" and configuration.optimisation.validate_every:
        raise ArgumentError(
            f"{origin} [optimisation]: validate_every must be 0 for kind 'clicks'; see evaluate --refiner"
        )
    for name in configuration.augmentation.role_subsets:
        unknown = [role for role in name.split("+") if role not in model.roles]
        if unknown:
            raise ArgumentError(
                f"{origin} [augmentation.role_subsets]: {name!r} holds {', '.join(map(repr, unknown))}; "
                f"roles are {', '.join(model.roles)}"
            )


def _section(kind: type[Section], values: Mapping[str, Any], origin: str) -> Section:
    hints = get_type_hints(kind)
    check_keys(values, hints, origin, ArgumentError)
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise ArgumentError(f"{origin}: {key} = {value!r} does not fit, {_in_words(hints[key])} needed")
    for each in fields(kind):  # type: ignore[arg-type]
        if each.default is MISSING and each.default_factory is MISSING and each.name not in values:
            raise ArgumentError(f"{origin}: {each.name!r} is missing")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except ArgumentError as error:
        raise ArgumentError(f"{origin}: {error}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a TOML value has the type of a field: int, float, a tuple of them, or a table of numbers."""
    if get_origin(hint) is tuple:
        hints = get_args(hint)
        return isinstance(value, list) and len(value) == len(hints) and all(map(_fits, value, hints))
    if get_origin(hint) is Mapping:
        return isinstance(value, Mapping) and all(_fits(number, float) for number in value.values())
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float if hint is float else hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list of {len(get_args(hint))} numbers is"
    if get_origin(hint) is Mapping:
        return "a table of numbers is"
    return {int: "a whole number is", str: "text is"}.get(hint, "a number is")
