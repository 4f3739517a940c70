"""Where models are.

Models are found by name among those bundled with the library, then in ``$TUMORSEG_MODELS`` (default
``~/.tumorseg/models``), and last as the path of a folder; a path with a separator, ``./NAME``, is always a path.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.models.catalogue import how_to_get
from TumorSegLib.models.folder import WEIGHTS_FILE, ModelFolder, read_model_folder
from TumorSegLib.models.spec import SPEC_FILE

_log = logging.getLogger(__name__)

#: The click model where none is named: after which automatic model, and otherwise.
CLICKS_AFTER, ANY_CLICKS = {"sts-auto": "sts-clicks"}, "lesion-clicks"
BUNDLED = Path(__file__).resolve().parents[1] / "bundled"


@dataclass(frozen=True)
class BrokenFolder:
    """A folder among the models whose description cannot be used, and why."""

    path: Path
    error: ModelError


def default_clicks(auto: str | None = None, roles: Iterable[str] = (), shapes: bool = False) -> str:
    """The click model to take where none is named: one for the automatic model, if it may, or the one for any image.

    Args:
        auto: name of the automatic model whose mask is corrected; None where there is none.
        roles: of the images of the case.
        shapes: whether there are lines or boxes among the prompts, which not every click model takes.
    """
    name = CLICKS_AFTER.get(auto or "")
    if name is None:
        return ANY_CLICKS
    spec = find_model(name).spec
    takes = not spec.roles or set(roles) in map(set, spec.role_subsets)
    return name if takes and (spec.takes_shapes or not shapes) else ANY_CLICKS


def model_roots() -> tuple[Path, Path]:
    """The folders models are looked for in, first match wins: bundled, then the user's."""
    return BUNDLED, Path(os.environ.get("TUMORSEG_MODELS") or "~/.tumorseg/models").expanduser()


def check_new_name(name: str) -> None:
    """Raises :class:`ArgumentError` if a name is not a valid folder name, or is that of a model or folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ArgumentError(
            f"model name {name!r} is not a valid folder name; letters, digits, dots, dashes and underscores are allowed"
        )
    taken = next((root / name for root in model_roots() if (root / name).exists()), None)
    taken = taken or next((model.path for model in _scan()[0] if model.spec.name == name), None)
    if taken is not None:
        raise ArgumentError(f"there is a model {name!r} already, in {taken}; remove it or choose another name")


def new_model_folder(name: str) -> Path:
    """The folder among the user's models for a new model; it is not made. Raises as :func:`check_new_name`."""
    check_new_name(name)
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
            place = "bundled" if model.path.parent == BUNDLED else "among the user's models"
            _log.debug("%s %s: found, %s", model.spec.name, model.spec.version, place)
            return model
    if is_folder:
        return read_model_folder(name_or_path)
    names = ", ".join(m.spec.name for m in models) or "none"
    raise ModelError(
        f"no model {str(name_or_path)!r}: neither a model folder nor one of the models known ({names})"
        + how_to_get(str(name_or_path))
        + "".join(f"; left out: {each.error}" for each in broken)
    )


def _scan() -> tuple[list[ModelFolder], list[BrokenFolder]]:
    """The models under all roots, by name, and the folders whose description cannot be used."""
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
    """The folders that have a file of a model, by name; not those that are being written, see files.replacing."""
    files = (file for name in (SPEC_FILE, WEIGHTS_FILE) for file in root.glob(f"*/{name}"))
    return sorted({file.parent for file in files if not file.parent.name.startswith(".")})
