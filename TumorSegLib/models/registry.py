"""Model folders: what a model is, where models lie, and whether their files are what they claim.

A model is a folder with ``model.json`` (a :class:`ModelSpec`), ``weights.safetensors`` and ``MODEL_CARD.md``. Models
are looked for by name among those bundled with the library, then in ``$TUMORSEG_MODELS`` (default
``~/.tumorseg/models``), and last as the path of a folder; a path with a separator, ``./NAME``, is always a path.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.parsing import check_keys, load_json
from TumorSegLib.prompts.encoding import GUIDANCE

BUNDLED = Path(__file__).resolve().parents[1] / "bundled"
KINDS = ("auto", "clicks", "box")
#: What is told of a source of training data.
SOURCE = ("name", "licence", "attribution")
SPEC_FILE, WEIGHTS_FILE, CARD_FILE = "model.json", "weights.safetensors", "MODEL_CARD.md"


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


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk."""

    path: Path
    spec: ModelSpec

    @property
    def weights(self) -> Path:
        """Path of the weights."""
        return self.path / WEIGHTS_FILE

    def verify(self) -> None:
        """Compares the weights with the checksum in ``model.json``.

        Raises:
            ModelError: the weights are missing or not those the model was published with.
        """
        if not self.weights.is_file():
            raise ModelError(f"model {self.spec.name!r}: {self.weights} is missing")
        try:
            digest = sha256_of(self.weights)
        except OSError as error:
            raise ModelError(f"model {self.spec.name!r}: {self.weights} cannot be read: {error.strerror}") from error
        if digest != self.spec.weights_sha256:
            raise ModelError(
                f"model {self.spec.name!r}: {self.weights} is corrupt or was changed: its sha256 is {digest}, "
                f"model.json says {self.spec.weights_sha256 or 'nothing'}"
            )


@dataclass(frozen=True)
class BrokenFolder:
    """A folder among the models that is none, and why."""

    path: Path
    error: ModelError


def check_kind(spec: ModelSpec, kind: str) -> None:
    """Raises :class:`ModelError` where a model is of another kind than is needed."""
    if spec.kind != kind:
        raise ModelError(f"model {spec.name!r} is of kind {spec.kind!r}, one of kind {kind!r} is needed here")


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_roots() -> tuple[Path, Path]:
    """The folders models are looked for in, first match wins: bundled, then the user's."""
    return BUNDLED, Path(os.environ.get("TUMORSEG_MODELS") or "~/.tumorseg/models").expanduser()


def read_model_folder(path: str | os.PathLike[str]) -> ModelFolder:
    """Reads the description of the model in a folder; raises :class:`ModelError`."""
    folder = Path(path)
    file = folder / SPEC_FILE
    try:
        data = load_json(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not a model folder: {file.name} cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise ModelError(f"{file} does not hold a JSON object")
    return ModelFolder(folder, ModelSpec.from_dict(data, str(file)))


def new_model_folder(name: str) -> Path:
    """The folder among the user's models that a new model of this name gets; it is not made.

    Raises:
        ArgumentError: the name is none for a folder, or is taken.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ArgumentError(f"{name!r} is no name for a model: letters, digits, dots, dashes and underscores are taken")
    taken = next((root / name for root in model_roots() if (root / name).exists()), None)
    taken = taken or next((model.path for model in _scan()[0] if model.spec.name == name), None)
    if taken is not None:
        raise ArgumentError(f"there is a model {name!r} already, in {taken}; remove it or choose another name")
    return model_roots()[1] / name


def list_models() -> list[ModelFolder]:
    """All models found, by name; a bundled one hides a user's of the same name.

    A folder whose description is wrong is left out with a warning: it must not keep the others from use.
    """
    found, broken = _scan()
    for each in broken:
        warnings.warn(f"left out: {each.error}", stacklevel=2)
    return found


def broken_folders() -> list[BrokenFolder]:
    """The folders that :func:`list_models` leaves out: their description is wrong, or is missing beside weights."""
    return _scan()[1]


def find_model(name_or_path: str | os.PathLike[str]) -> ModelFolder:
    """Finds a model by name or, where none has that name, by the path of its folder.

    Args:
        name_or_path: text with a separator (``./NAME``) and path objects are tried as a path first.

    Raises:
        ModelError: there is no such model; the message lists those there are.
    """
    is_folder = (Path(name_or_path) / SPEC_FILE).is_file()
    if is_folder and (not isinstance(name_or_path, str) or os.path.dirname(name_or_path)):
        return read_model_folder(name_or_path)
    models, broken = _scan()
    for model in models:
        if model.spec.name == str(name_or_path):
            return model
    if is_folder:
        return read_model_folder(name_or_path)
    names = ", ".join(m.spec.name for m in models) or "none"
    raise ModelError(
        f"no model {str(name_or_path)!r}: neither a model folder nor one of the models known ({names})"
        + "".join(f"; left out: {each.error}" for each in broken)
    )


def _scan() -> tuple[list[ModelFolder], list[BrokenFolder]]:
    """The models under all roots, by name, and what is wrong with the folders that are none."""
    found: dict[str, ModelFolder] = {}
    broken = []
    for folder in (folder for root in model_roots() for folder in _folders(root)):
        try:
            model = read_model_folder(folder)
        except ModelError as error:
            broken.append(BrokenFolder(folder, error))
            continue
        found.setdefault(model.spec.name, model)
    return [found[name] for name in sorted(found)], broken


def _folders(root: Path) -> list[Path]:
    """The folders that have a file of a model, by name; not those just being written, see files.replacing."""
    files = (file for name in (SPEC_FILE, WEIGHTS_FILE) for file in root.glob(f"*/{name}"))
    return sorted({file.parent for file in files if not file.parent.name.startswith(".")})
