"""A model's folder: ``model.json``, ``weights.safetensors`` and ``MODEL_CARD.md``."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from TumorSegLib.errors import ModelError
from TumorSegLib.models.spec import SPEC_FILE, ModelSpec
from TumorSegLib.parsing import load_json

WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "MODEL_CARD.md"


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


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
