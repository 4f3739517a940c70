"""What a model is: the content of ``model.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from TumorSegLib.errors import ModelError
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.parsing import check_keys
from TumorSegLib.prompts.encoding import GUIDANCE

SPEC_FILE = "model.json"
KINDS = ("auto", "clicks", "box")
#: What is told of a source of training data.
SOURCE = ("name", "licence", "attribution")


@dataclass(frozen=True)
class ModelSpec:
    """Everything in ``model.json``; with the weights it alone rebuilds the network.

    Attributes:
        name: the name users give.
        kind: ``auto``, ``clicks`` or ``box``.
        version: of the weights, ``major.minor.patch``.
        licence: SPDX name of the licence of the weights.
        description: one line.
        roles: channels in the order the network takes them.
        optional: roles that may be missing; at least one role must be given in any case.
        spacing_mm: voxel size ``(i, j, k)`` the network works at.
        patch: window the network was trained on, ``(k, j, i)`` voxels.
        normalisation: by role.
        labels: name to label value, 1 and up without gaps.
        network, arguments: name in ``engines.networks`` and its keyword arguments.
        weights_sha256: of ``weights.safetensors``.
        training_data: one entry per source with its ``name``, ``licence`` and ``attribution``.
        results: measured figures by the command that gives them; those of "unseen patients", whom no data folder holds,
            have none.
        made_for: what the model was made for, a phrase that goes on "made for ...", e.g. "soft-tissue sarcoma of the
            limbs"; empty where nobody says.
        plausible_volume_ml: smallest and largest tumour of the training data in ml, to warn of answers outside; None
            where it is not known.
        trained_length_mm: length from head to foot of the longest training image in mm, to warn of longer ones; None
            where it is not known.

    Raises:
        ModelError: a value is missing or contradicts another.
    """

    name: str
    kind: str
    version: str
    licence: str
    description: str
    roles: tuple[str, ...]
    optional: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    normalisation: Mapping[str, Normalisation]
    labels: Mapping[str, int]
    network: str
    arguments: Mapping[str, Any]
    weights_sha256: str = ""
    training_data: tuple[Mapping[str, Any], ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    made_for: str = ""
    plausible_volume_ml: tuple[float, float] | None = None
    trained_length_mm: float | None = None

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise ModelError(f"model {self.name!r}: {'; '.join(problems)}")

    def _checks(self) -> Iterator[tuple[bool, str]]:
        """What may be wrong: (whether it is, in words)."""
        roles, values = set(self.roles), list(self.labels.values())
        yield self.kind not in KINDS, f"kind {self.kind!r} is not one of {', '.join(KINDS)}"
        yield not roles or len(roles) < len(self.roles), f"roles {list(self.roles)} are empty or repeat"
        yield (
            not set(self.optional) <= roles,
            f"optional roles {list(self.optional)} are not all among {list(self.roles)}",
        )
        yield (
            set(self.normalisation) != roles,
            f"normalisation is given for {sorted(self.normalisation)}, roles are {sorted(roles)}",
        )
        yield (
            len(self.spacing_mm) != 3 or not all(0 < edge < math.inf for edge in self.spacing_mm),
            f"spacing_mm {self.spacing_mm} is not three positive numbers",
        )
        yield (
            len(self.patch) != 3 or not all(isinstance(edge, int) and edge > 0 for edge in self.patch),
            f"patch {self.patch} is not three positive whole numbers",
        )
        yield (
            not values or sorted(values) != list(range(1, len(values) + 1)),
            f"labels {dict(self.labels)} do not count up from 1",
        )
        yield not isinstance(self.arguments, Mapping), f"arguments {self.arguments!r} are not names with values"
        yield not isinstance(self.results, Mapping), f"results {self.results!r} are not names with values"
        sources = self.training_data
        yield (
            not all(isinstance(source, Mapping) and "name" in source for source in sources),
            f"training_data {list(sources)} is not a list of entries with a name",
        )
        yield (
            self.plausible_volume_ml is not None and not _is_range(self.plausible_volume_ml),
            f"plausible_volume_ml {self.plausible_volume_ml!r} is not two volumes of at least 0 ml, smaller first",
        )
        yield (
            self.trained_length_mm is not None and not _is_length(self.trained_length_mm),
            f"trained_length_mm {self.trained_length_mm!r} is not a length above 0 mm",
        )
        for key in ("name", "version", "licence", "description", "made_for"):
            yield not isinstance(getattr(self, key), str), f"{key} {getattr(self, key)!r} is not text"

    @property
    def channels(self) -> int:
        """How many channels the network takes: one per role, for kind ``clicks`` those of the guidance as well."""
        return len(self.roles) + (len(GUIDANCE) if self.kind == "clicks" else 0)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], origin: str = SPEC_FILE) -> ModelSpec:
        """Checks and converts parsed JSON; ``origin`` names the source in errors. Raises :class:`ModelError`."""
        known = [f.name for f in fields(cls)]
        required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
        check_keys(data, known, origin, ModelError)
        missing = [key for key in required if key not in data]
        if missing:
            raise ModelError(f"{origin}: missing {', '.join(map(repr, missing))}")
        values = dict(data)
        try:
            for key in ("roles", "optional", "spacing_mm", "patch", "training_data"):
                values[key] = tuple(values.get(key, ()))
            if isinstance(values.get("plausible_volume_ml"), list):
                values["plausible_volume_ml"] = tuple(values["plausible_volume_ml"])
            rules = values["normalisation"].items()
            values["normalisation"] = {role: _rule(rule, f"normalisation of {role!r}") for role, rule in rules}
            for source in values["training_data"]:
                if isinstance(source, Mapping):
                    check_keys(source, SOURCE, "training_data", ModelError)
            return cls(**values)
        except (ModelError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{origin}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The content of ``model.json``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["normalisation"] = {role: rule.to_dict() for role, rule in self.normalisation.items()}
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _rule(values: Mapping[str, Any], origin: str) -> Normalisation:
    check_keys(values, [f.name for f in fields(Normalisation)], origin, ModelError)
    return Normalisation(**values)


def _is_range(values: object) -> bool:
    """Whether a value is two finite numbers of at least 0, the smaller first."""
    numbers = isinstance(values, tuple) and len(values) == 2 and all(type(x) in (int, float) for x in values)
    return numbers and 0 <= values[0] < values[1] < math.inf  # type: ignore[index]


def _is_length(value: object) -> bool:
    """Whether a value is a finite number above 0."""
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


def check_kind(spec: ModelSpec, kind: str) -> None:
    """Raises :class:`ModelError` where a model is of another kind than is needed."""
    if spec.kind != kind:
        raise ModelError(f"model {spec.name!r} is of kind {spec.kind!r}, one of kind {kind!r} is needed here")
