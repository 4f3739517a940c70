"""Reading a training configuration (TOML): one section per thing it decides."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from training.augment import Augmentation, check_range
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.registry import ModelSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section")

# How long a run lasts, how often it saves and how fast it draws its samples may change when it is resumed.
MAY_CHANGE = frozenset({"steps", "checkpoint_every", "validate_every", "workers", "results"})


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


@dataclass(frozen=True)
class Configuration:
    """A whole training configuration; ``text`` is the file it came from."""

    model: ModelSpec
    data: DataSettings
    augmentation: Augmentation
    optimisation: Optimisation
    text: str


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
    )
    _check_model(configuration, origin)
    return configuration


def differences(first: Configuration, second: Configuration) -> list[str]:
    """The settings, as ``[section] name``, in which two configurations differ that cannot be of one run."""
    differ = []
    for section in ("model", "data", "augmentation", "optimisation"):
        one, other = getattr(first, section), getattr(second, section)
        names = [field.name for field in fields(one) if field.name not in MAY_CHANGE]
        differ += [f"[{section}] {name}" for name in names if getattr(one, name) != getattr(other, name)]
    return differ


def _check_sections(values: Mapping[str, Any], origin: str) -> None:
    needed, known = ("model", "optimisation"), ("model", "data", "augmentation", "optimisation")
    for name, value in values.items():
        if name not in known:
            raise ArgumentError(f"{origin}: section [{name}] is unknown; there are {', '.join(known)}")
        if not isinstance(value, Mapping):
            raise ArgumentError(f"{origin}: {name} = {value!r} must be a section [{name}]")
    for name in needed:
        if name not in values:
            raise ArgumentError(f"{origin}: section [{name}] is missing")


def _check_model(configuration: Configuration, origin: str) -> None:
    model = configuration.model
    if model.kind != "auto":
        raise ArgumentError(f"{origin} [model]: kind {model.kind!r} cannot be trained; use 'auto'")
    for name in configuration.augmentation.role_subsets:
        unknown = [role for role in name.split("+") if role not in model.roles]
        if unknown:
            raise ArgumentError(
                f"{origin} [augmentation.role_subsets]: {name!r} holds {', '.join(map(repr, unknown))}; "
                f"roles are {', '.join(model.roles)}"
            )


def _section(kind: type[Section], values: Mapping[str, Any], origin: str) -> Section:
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise ArgumentError(f"{origin}: {key!r} is unknown; there are {', '.join(hints)}")
        if not _fits(value, hints[key]):
            raise ArgumentError(f"{origin}: {key} = {value!r} does not fit, {_in_words(hints[key])} needed")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.default is MISSING and field.default_factory is MISSING and field.name not in values:
            raise ArgumentError(f"{origin}: {field.name!r} is missing")
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
    return "a whole number is" if hint is int else "a number is"
