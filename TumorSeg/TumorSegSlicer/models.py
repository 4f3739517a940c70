"""The models on this computer, for the panel: what they are, and how they come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from TumorSegLib.registry import ModelFolder, ModelSpec


def modelsOfKind(kind: str) -> list[ModelSpec]:
    """Descriptions of all models of a kind (``auto``, ``clicks``, ``box``), by name; broken folders are left out."""
    return [folder.spec for folder in allModels() if folder.spec.kind == kind]


def allModels() -> list[ModelFolder]:
    """All models, by name; broken folders are left out."""
    import warnings

    from TumorSegLib import list_models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one line on a terminal nobody sees; verifying names what is wrong
        return list_models()


def accuracy(spec: ModelSpec) -> str:
    """The measured accuracy of a model in words; empty where its description has none.

    Taken is the first measurement with the most roles; its name says how it was made.
    """
    found = sorted(_dices(spec.results, ""), key=lambda each: -each[0].count("+"))
    if not found:
        return ""
    roles, dice, cases = found[0]
    return f"median Dice {dice:.2f}" + (f" on {cases} cases" if cases else "") + (f" ({roles})" if roles else "")


def _dices(results: Mapping[str, Any], name: str) -> Iterator[tuple[str, float, int]]:
    """All (name, median Dice, number of cases) anywhere in a model's results."""
    dice = results.get("dice")
    median = dice.get("median") if isinstance(dice, Mapping) else dice
    if isinstance(median, int | float):
        yield name, float(median), int(results.get("cases", 0))
    for key, value in results.items():
        if isinstance(value, Mapping) and key != "dice":
            yield from _dices(value, key)


def importModel(folder: str | Path) -> str:
    """Copies a model folder to the user's models, once its weights are verified, and returns the model's name.

    Raises:
        ModelError: it is no model folder, its weights are not those it was published with, or a model of that name is
            there already.
        WriteError: the user's models cannot be written.
    """
    from TumorSegLib import ModelError, WriteError
    from TumorSegLib.files import replacing
    from TumorSegLib.registry import model_roots, read_model_folder

    model = read_model_folder(folder)
    model.verify()
    name, root = model.spec.name, model_roots()[1]
    if any(other.spec.name == name for other in allModels()):
        raise ModelError(f"there is a model '{name}' already; delete it first, or give this one another name")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{root}: cannot be made: {error.strerror or error}") from error
    with replacing(root / name) as temporary:
        shutil.copytree(model.path, temporary)
    return str(name)


def verifyModel(name: str) -> None:
    """Compares the weights of a model with their checksum; raises ``ModelError`` where they differ."""
    from TumorSegLib.registry import find_model

    find_model(name).verify()


def deleteModel(name: str) -> None:
    """Deletes a model of the user; raises ``ModelError`` for one that came with the extension, or cannot be deleted."""
    from TumorSegLib import ModelError
    from TumorSegLib.registry import find_model, model_roots

    model = find_model(name)
    if model.path.parent.resolve() != model_roots()[1].resolve():
        raise ModelError(f"model '{name}' lies in {model.path}, not among the user's models, and stays")
    try:
        shutil.rmtree(model.path)
    except OSError as error:
        raise ModelError(f"{model.path}: cannot be deleted: {error.strerror or error}") from error
