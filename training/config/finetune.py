"""Reading a configuration (TOML) for fine-tuning a box model: what it starts from, on which data, how long."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config.loader import check_range, parse_section, parse_sections, read_text
from training.config.optimiser import Optimiser
from TumorSegLib.errors import ArgumentError
from TumorSegLib.images.display_windows import CT_WINDOWS, DEFAULT_CT_WINDOW
from TumorSegLib.models.spec import SOURCE

LISTS = ("roles", "training_data")


def check_model_name(name: str) -> None:
    """Raises :class:`ArgumentError` unless a name may be that of a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ArgumentError(f"name = {name!r} is not a valid folder name: letters, digits, dots, dashes, underscores")


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
        check_model_name(self.name)
        if self.name == self.base:
            raise ArgumentError(f"name = {self.name!r} is that of the base model; the new one needs its own")


@dataclass(frozen=True)
class FinetuneData:
    """Which slices the network learns from, and how its boxes are drawn.

    Attributes:
        test_fold: of the data folder; never trained on; the figures are of its cases. Without it, every fifth case is
            held out at random.
        evaluation_cases: so many held-out cases, the first ones, give the figures; all if 0.
        slices_per_case: of every case and role, along k; half of them from the middle half of the tumour.
        ct_window: name of the display window of a CT.
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
class FinetuneOptimisation(Optimiser):
    """The optimiser of fine-tuning; samples are slices."""

    batch: int = 8
    learning_rate: float = 1e-4
    warm_up: int = 20
    gradient_clip: float = 1.0


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
    values = parse_sections(read_text(path), str(path), ("model", "data", "optimisation"), lists=LISTS)
    return FinetuneConfiguration(
        model=parse_section(ModelSettings, values, "model", str(path)),
        data=parse_section(FinetuneData, values, "data", str(path)),
        optimisation=parse_section(FinetuneOptimisation, values, "optimisation", str(path)),
        roles=_roles(values["roles"], path),
        training_data=_sources(values["training_data"], path),
        origin=path.name,
    )


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
