"""A model's folder: ``model.json``, ``weights.safetensors``, ``MODEL_CARD.md``, and a copy in int8 if there is one."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from TumorSegLib.errors import ModelError, WriteError
from TumorSegLib.files import digest_of, make_folder, replacing, write_text
from TumorSegLib.models.int8 import INT8_NETWORK, INT8_WEIGHTS, Int8Copy
from TumorSegLib.models.spec import SPEC_FILE, ModelSpec
from TumorSegLib.parsing import load_json

WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "MODEL_CARD.md"
Content = TypeVar("Content")

_log = logging.getLogger(__name__)

# By folder: the state of its description when that was read last, and the model.
_known: dict[Path, tuple[tuple[int, ...], ModelFolder]] = {}


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
        """Compares the weights, and the copy in int8 if there is one, with the checksums in ``model.json``.

        Raises:
            ModelError: a file is missing or not the one that the model was published with.
        """
        self._compare(self.weights, self._read(self.weights, sha256_of), self.spec.weights_sha256)
        if self.spec.int8 is not None:
            self.verified_int8()

    def verified_weights(self) -> bytes:
        """The content of the weights' file, compared with the checksum; raises as :meth:`verify`."""
        return self._verified(WEIGHTS_FILE, self.spec.weights_sha256)

    def verified_int8(self) -> tuple[bytes, bytes]:
        """Description and weights of the copy in int8, compared with their checksums.

        Raises:
            ModelError: there is none, a file is missing or another one, or it was made from other weights.
        """
        name, copy = self.spec.name, self.spec.int8
        if copy is None:
            raise ModelError(f"model {name!r} has no copy in int8; make one with: tumorseg models optimise {self.path}")
        if copy.weights_sha256 != self.spec.weights_sha256:
            raise ModelError(
                f"model {name!r}: its copy in int8 was made from other weights; make it again with: "
                f"tumorseg models optimise {self.path}"
            )
        return self._verified(INT8_NETWORK, copy.network_sha256), self._verified(INT8_WEIGHTS, copy.constants_sha256)

    def _verified(self, name: str, wanted: str) -> bytes:
        content = self._read(self.path / name, Path.read_bytes)
        self._compare(self.path / name, hashlib.sha256(content).hexdigest(), wanted)
        return content

    def _read(self, file: Path, read: Callable[[Path], Content]) -> Content:
        try:
            return read(file)
        except FileNotFoundError as error:
            raise ModelError(f"model {self.spec.name!r}: {file} is missing") from error
        except OSError as error:
            raise ModelError(f"model {self.spec.name!r}: {file} cannot be read: {error.strerror}") from error

    def _compare(self, file: Path, digest: str, wanted: str) -> None:
        if digest != wanted:
            raise ModelError(
                f"model {self.spec.name!r}: {file} is corrupt or was changed: its sha256 is {digest}, "
                f"model.json says {wanted or 'nothing'}"
            )
        _log.debug("%s %s: %s has the checksum of the description", self.spec.name, self.spec.version, file.name)


def read_model_folder(path: str | os.PathLike[str]) -> ModelFolder:
    """Reads the description of the model in a folder; raises :class:`ModelError`.

    A file that has not changed since it was read last is not read again: models are looked up at every click.
    """
    folder = Path(path)
    file = folder / SPEC_FILE
    try:
        state = _state(file)
        if (known := _known.get(folder)) is not None and known[0] == state:
            return known[1]
        data = load_json(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is not a model folder: {file.name} cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise ModelError(f"{file} does not hold a JSON object")
    model = ModelFolder(folder, ModelSpec.from_dict(data, str(file)))
    _known[folder] = (state, model)
    return model


def _state(file: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced."""
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def write_model_folder(
    path: Path, spec: ModelSpec, save_weights: Callable[[Path], None], card: str | None = None
) -> ModelFolder:
    """Writes a model folder, all at once or not at all.

    Files of an older model at ``path`` that are not written now are kept: its card, where none is given. A copy in
    int8, which was made from other weights, is not.

    Args:
        path: the folder; those above it are made.
        spec: of the model; the checksum of the weights is filled in.
        save_weights: writes the weights to the path it is given.
        card: text of the model card, Markdown.

    Raises:
        WriteError: the folder cannot be written; what was there before is unchanged.
    """
    make_folder(path.parent)
    with replacing(path, durable=True) as temporary:
        if path.is_dir():
            shutil.copytree(path, temporary)
        else:
            temporary.mkdir()
        try:
            save_weights(temporary / WEIGHTS_FILE)
        except WriteError as error:  # names the temporary folder, which no longer exists
            raise WriteError(f"{path}: the weights cannot be written: {error.__cause__ or error}") from error
        for name in (INT8_NETWORK, INT8_WEIGHTS):
            (temporary / name).unlink(missing_ok=True)
        spec = replace(spec, weights_sha256=sha256_of(temporary / WEIGHTS_FILE), int8=None)
        write_description(temporary, spec)
        if card is not None:
            write_text(temporary / CARD_FILE, card)
    return ModelFolder(path, spec)


def write_int8(model: ModelFolder, network: bytes, constants: bytes, made_with: str, **figures: Any) -> ModelFolder:
    """Puts a copy in int8 into a model folder, all at once or not at all; one that was there is replaced.

    Args:
        model: its weights are those that the copy was made from.
        network, constants: content of ``int8.xml`` and ``int8.bin``.
        made_with: see :class:`~TumorSegLib.models.int8.Int8Copy`.
        figures: its ``calibration`` and ``held_out``.

    Raises:
        WriteError: the folder cannot be written; what was there before is unchanged.
    """
    digests = [hashlib.sha256(content).hexdigest() for content in (network, constants)]
    copy = Int8Copy(digests[0], digests[1], model.spec.weights_sha256, made_with, **figures)
    spec = replace(model.spec, int8=copy)
    with replacing(model.path, durable=True) as temporary:
        shutil.copytree(model.path, temporary)
        (temporary / INT8_NETWORK).write_bytes(network)
        (temporary / INT8_WEIGHTS).write_bytes(constants)
        write_description(temporary, spec)
    return ModelFolder(model.path, spec)


def write_description(folder: Path, spec: ModelSpec) -> None:
    """Writes ``model.json`` in one step, durably; raises :class:`WriteError`."""
    write_text(folder / SPEC_FILE, json.dumps(spec.to_dict(), indent=2) + "\n", durable=True)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return digest_of(path).hexdigest()
