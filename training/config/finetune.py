"""Reading a configuration (TOML) for fine-tuning a box model: what it starts from, on which data, how long."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config.loader import _section
from training.data.augment import check_range
from TumorSegLib.errors import ArgumentError, ReadError
from TumorSegLib.images.display_windows import CT_WINDOWS, DEFAULT_CT_WINDOW
from TumorSegLib.models.spec import SOURCE
from TumorSegLib.parsing import check_keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECTIONS = ("model", "data", "optimisation")
LISTS = ("roles", "training_data")


@dataclass(frozen=True)
class ModelSettings:
    """The model that fine-tuning begins with, and the one it makes.

    Attributes:
        base: name or folder of a model of kind ``box``.
        name, version, description: of the new one. Its licence is that of the base model, whose encoder it has.
        made_for: what the new one is made for, a phrase, see :class:`TumorSegLib.models.spec.ModelSpec`.
    """

    base: str
    name: str
    version: str
    description: str
    made_for: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ArgumentError(
                f"name = {self.name!r} is none for a folder: letters, digits, dots, dashes, underscores"
            )
        if self.name == self.base:
            raise ArgumentError(f"name = {self.name!r} is that of the base model; the new one needs its own")


@dataclass(frozen=True)
class FinetuneData:
    """Which slices the network learns from, and how its boxes are drawn.

    Attributes:
        test_fold: of the data folder; never trained on, and what the figures are of. Left out, every fifth case is held
            out at random.
        evaluation_cases: the first so many of those held out give the figures; all if 0.
        slices_per_case: of every case and role, along k; half of them from the middle half of the tumour.
        ct_window: name of the window a CT is shown through.
        margin_mm, jitter_mm: a box leaves that margin on every side, and up to so much more at random.
    """

    slices_per_case: int
    test_fold: int | None = None
    evaluation_cases: int = 0
    ct_window: str = DEFAULT_CT_WINDOW
    margin_mm: float = 5.0
    jitter_mm: float = 5.0

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "slices_per_case")
        check_range(self, 0, math.inf, "evaluation_cases", "margin_mm", "jitter_mm")
        if self.ct_window not in CT_WINDOWS:
            raise ArgumentError(f"ct_window = {self.ct_window!r} is not one of {', '.join(CT_WINDOWS)}")


@dataclass(frozen=True)
class FinetuneOptimisation:
    """The optimiser and how long it runs.

    Attributes:
        steps, batch: optimiser steps, and slices per step.
        learning_rate, warm_up: peak, reached linearly after that many steps, then a half cosine down to 0.
        weight_decay, gradient_clip: AdamW's, and the largest gradient norm.
        seed: of slices, boxes and batches.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 1e-4
    warm_up: int = 20
    weight_decay: float = 1e-2
    gradient_clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, 1, math.inf, "steps", "batch")
        check_range(self, 0, math.inf, "learning_rate", "warm_up", "weight_decay", "seed")
        check_range(self, 1e-12, math.inf, "gradient_clip")


@dataclass(frozen=True)
class FinetuneConfiguration:
    """A whole configuration.

    Attributes:
        model, data, optimisation: its sections.
        roles: images the network learns on, each slice from one.
        training_data: the sources of the data folder, each with name, licence and attribution.
        origin: name of the file.
    """

    model: ModelSettings
    data: FinetuneData
    optimisation: FinetuneOptimisation
    roles: tuple[str, ...]
    training_data: tuple[Mapping[str, str], ...]
    origin: str


def read_finetune_configuration(path: Path) -> FinetuneConfiguration:
    """Reads a configuration file.

    Raises:
        ReadError: the file cannot be read or is not TOML.
        ArgumentError: a section or setting is unknown, missing or impossible; the message names it.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # of the encoding as of the syntax
        raise ReadError(f"{path}: not valid TOML: {error}") from error
    _check_names(values, path)
    return FinetuneConfiguration(
        model=_section(ModelSettings, values["model"], f"{path} [model]"),
        data=_section(FinetuneData, values["data"], f"{path} [data]"),
        optimisation=_section(FinetuneOptimisation, values["optimisation"], f"{path} [optimisation]"),
        roles=_roles(values["roles"], path),
        training_data=_sources(values["training_data"], path),
        origin=path.name,
    )


def _check_names(values: Mapping[str, Any], path: Path) -> None:
    known = (*LISTS, *SECTIONS)
    check_keys(values, known, str(path), ArgumentError)
    for name, value in values.items():
        if name in SECTIONS and not isinstance(value, Mapping):
            raise ArgumentError(f"{path}: {name} = {value!r} must be a section [{name}]")
    for name in known:
        if name not in values:
            raise ArgumentError(f"{path}: {name!r} is missing")


def _roles(value: Any, path: Path) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ArgumentError(f'{path}: roles = {value!r} must be a list of roles, each once, e.g. ["ct", "pet"]')
    return tuple(names)


def _sources(value: Any, path: Path) -> tuple[Mapping[str, str], ...]:
    entries = value if isinstance(value, list) else []
    if not entries:
        raise ArgumentError(f"{path}: training_data = {value!r} must be sections [[training_data]]")
    for entry in entries:
        if not isinstance(entry, Mapping) or set(entry) != set(SOURCE):
            raise ArgumentError(f"{path} [[training_data]]: {entry!r} must have {', '.join(SOURCE)}, and no more")
        if not all(isinstance(text, str) and text for text in entry.values()):
            raise ArgumentError(f"{path} [[training_data]]: {entry!r} must have text for each of {', '.join(SOURCE)}")
    return tuple(entries)
