"""The configuration of a training run: model, data, augmentation, optimiser and, for refinement networks, clicks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from training.config.clicks import ClickSettings
from training.config.loader import check_range, parse_section, parse_sections, read_text
from training.config.negatives import NegativeSettings
from training.config.objects import ObjectSettings
from training.config.optimiser import Optimiser
from training.data.augment import Augmentation
from training.losses.by_name import LOSSES, WITH_FOCUS
from TumorSegLib.errors import ArgumentError
from TumorSegLib.models.spec import AnyImageInput, ModelSpec

# A resumed run may have other lengths, intervals, threads, versions and descriptions.
MAY_CHANGE = frozenset(
    {
        "steps",
        "checkpoint_every",
        "folder",
        "validate_every",
        "workers",
        "input",  # its own values are compared
        "results",
        "version",
        "made_for",
        "plausible_volume_ml",
        "trained_length_mm",
        "body_parts",
    }
)


@dataclass(frozen=True)
class DataSettings:
    """Which cases: all folds but ``test_fold``, and ``phantoms`` synthetic ones drawn with ``phantom_share``.

    ``folder`` is the data set that ``--data`` names otherwise; empty for that of the sarcomas.
    """

    folder: str = ""
    test_fold: int = 0
    phantoms: int = 0
    phantom_share: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "phantom_share")
        check_range(self, 0, math.inf, "test_fold", "phantoms")


@dataclass(frozen=True)
class Optimisation(Optimiser):
    """The optimiser of a training run.

    Attributes:
        loss: name of the loss, see :data:`training.losses.by_name.LOSSES`.
        ema_decay: of the averaged weights, which are those exported.
        checkpoint_every, validate_every: steps; both happen after the last step too, validation not at all if 0.
        workers: threads that draw samples ahead; any number draws the same. One makes about 28 patches per second.
    """

    loss: str = "dice_ce"
    ema_decay: float = 0.999
    checkpoint_every: int = 250
    validate_every: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, math.inf, "checkpoint_every", "workers")
        check_range(self, 0, math.inf, "validate_every")
        check_range(self, 0, 1, "ema_decay")
        if self.loss not in LOSSES:
            raise ArgumentError(f"loss = {self.loss!r} is not one of {', '.join(LOSSES)}")
        if self.validate_every % self.checkpoint_every:
            raise ArgumentError(
                f"validate_every = {self.validate_every} must be a multiple of "
                f"checkpoint_every = {self.checkpoint_every}"
            )


@dataclass(frozen=True)
class Configuration:
    """A whole training configuration; ``text`` is the file it came from.

    ``objects`` is there for a model of any image, ``clicks`` for others of kind ``clicks``, ``negatives`` may be for
    one of kind ``auto``.
    """

    model: ModelSpec
    data: DataSettings
    augmentation: Augmentation
    optimisation: Optimisation
    text: str
    clicks: ClickSettings | None = None
    objects: ObjectSettings | None = None
    negatives: NegativeSettings | None = None


def read_configuration(path: Path) -> Configuration:
    """Reads a configuration file; raises :class:`ReadError` or :class:`ArgumentError` naming what is wrong."""
    return parse_configuration(read_text(path), str(path))


def parse_configuration(text: str, origin: str) -> Configuration:
    """Parses a configuration; ``origin`` names it in errors.

    Raises:
        ReadError: the text is not TOML.
        ArgumentError: a section or setting is unknown, missing or impossible.
        ModelError: the model contradicts itself.
    """
    optional = ("data", "augmentation", "clicks", "objects", "negatives")
    values = parse_sections(text, origin, ("model", "optimisation"), optional)
    configuration = Configuration(
        model=ModelSpec.from_dict(values["model"], f"{origin} [model]"),
        data=parse_section(DataSettings, values, "data", origin),
        augmentation=parse_section(Augmentation, values, "augmentation", origin),
        optimisation=parse_section(Optimisation, values, "optimisation", origin),
        text=text,
        clicks=parse_section(ClickSettings, values, "clicks", origin) if "clicks" in values else None,
        objects=parse_section(ObjectSettings, values, "objects", origin) if "objects" in values else None,
        negatives=parse_section(NegativeSettings, values, "negatives", origin) if "negatives" in values else None,
    )
    _check_model(configuration, origin)
    return configuration


def with_test_fold(configuration: Configuration, fold: int) -> Configuration:
    """The configuration that leaves out another fold."""
    line, text = f"test_fold = {fold}", configuration.text
    if re.search(r"(?m)^test_fold\s*=", text):
        text = re.sub(r"(?m)^test_fold\s*=[^#\n]*", f"{line} ", text)
    elif re.search(r"(?m)^\[data\]", text):
        text = re.sub(r"(?m)^\[data\][^\n]*", lambda found: f"{found[0]}\n{line}", text)
    else:
        text += f"\n[data]\n{line}\n"
    changed = parse_configuration(text, "the configuration")
    if changed.data.test_fold != fold:
        raise ArgumentError(f"--fold {fold}: write test_fold on a line of its own in the section [data]")
    return changed


def differences(first: Configuration, second: Configuration) -> list[str]:
    """The settings, as ``[section] name``, that differ and may not change when a run is resumed."""
    differ = []
    for section in ("model", "model.input", "data", "augmentation", "optimisation", "clicks", "objects", "negatives"):
        one, other = attrgetter(section)(first), attrgetter(section)(second)
        if type(one) is not type(other):  # of another type of input, or a section that one has alone
            differ.append(f"[{section}]")
            continue
        names = [each.name for each in fields(one) if each.name not in MAY_CHANGE] if one is not None else []
        differ += [f"[{section}] {name}" for name in names if getattr(one, name) != getattr(other, name)]
    return differ


def _check_model(configuration: Configuration, origin: str) -> None:
    model = configuration.model
    if model.kind not in ("auto", "clicks"):
        raise ArgumentError(f"{origin} [model]: kind {model.kind!r} cannot be trained; use 'auto' or 'clicks'")
    any_image = isinstance(model.input, AnyImageInput)
    if any_image != (configuration.objects is not None):
        raise ArgumentError(
            f"{origin}: input of type 'any image' and a section [objects], which may be empty, go together"
        )
    if any_image and configuration.clicks is not None:
        raise ArgumentError(f"{origin}: a model of any image has its prompts in section [objects], not in [clicks]")
    if model.kind == "clicks" and not any_image and configuration.clicks is None:
        raise ArgumentError(f"{origin}: kind 'clicks' needs a section [clicks], which may be empty")
    if model.kind != "clicks" and configuration.clicks is not None:
        raise ArgumentError(
            f"{origin}: section [clicks] is for kind 'clicks' only; this model's kind is {model.kind!r}"
        )
    if model.kind != "auto" and configuration.negatives is not None:
        raise ArgumentError(
            f"{origin}: section [negatives] is for kind 'auto' only; this model's kind is {model.kind!r}"
        )
    if model.kind == "clicks":
        _check_of_clicks(configuration.optimisation, origin)
    for name in configuration.augmentation.role_subsets:
        unknown = [role for role in name.split("+") if role not in model.roles]
        if unknown:
            raise ArgumentError(
                f"{origin} [augmentation.role_subsets]: {name!r} holds {', '.join(map(repr, unknown))}; "
                f"roles are {', '.join(model.roles)}"
            )


def _check_of_clicks(optimisation: Optimisation, origin: str) -> None:
    if optimisation.validate_every:
        raise ArgumentError(f"{origin} [optimisation]: validate_every must be 0 for kind 'clicks'; see evaluate-clicks")
    if optimisation.loss not in WITH_FOCUS:
        raise ArgumentError(
            f"{origin} [optimisation]: loss = {optimisation.loss!r} weighs all voxels alike; kind 'clicks' needs "
            f"{' or '.join(WITH_FOCUS)}"
        )
