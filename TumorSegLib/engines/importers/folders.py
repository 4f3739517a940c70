"""Trainings of nnU-Net and MONAI bundles made into models that are named after them."""

from __future__ import annotations

import re
from pathlib import Path

from TumorSegLib.engines.importers.bundles.model import import_bundle
from TumorSegLib.engines.importers.nnunet import import_nnunet
from TumorSegLib.models.folder import ModelFolder
from TumorSegLib.models.foreign import PLANS
from TumorSegLib.models.registry import model_roots
from TumorSegLib.models.totalsegmentator import training_of


def import_foreign(path: Path) -> ModelFolder:
    """Makes a model of what :func:`TumorSegLib.models.foreign.foreign_in` found.

    It is named after the dataset or the bundle, with a number where there is a model of that name. See
    :func:`import_nnunet` and :func:`import_bundle` for what is raised.
    """
    if (path / PLANS).is_file():
        known = training_of(path)
        dataset = re.sub(r"^Dataset\d+_", "", path.resolve().parent.name)
        return import_nnunet(path, _free(known.name if known else dataset))
    return import_bundle(path, _free(path.stem if path.is_file() else path.resolve().name))


def _free(words: str) -> str:
    """A valid name that no model has."""
    name = re.sub(r"[^a-z0-9._-]+", "-", words.lower()).strip("-._") or "imported"
    taken = {path.name for root in model_roots() if root.is_dir() for path in root.iterdir()}
    numbered = (f"{name}-{number}" if number > 1 else name for number in range(1, len(taken) + 2))
    return next(each for each in numbered if each not in taken)
