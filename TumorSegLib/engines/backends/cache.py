"""Converted networks, kept on the machine in ``$TUMORSEG_CACHE`` (default ``~/.tumorseg/cache``).

A folder per network, with its name and the checksums of its files; what does not match them is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from TumorSegLib.errors import WriteError
from TumorSegLib.files import digest_of, make_folder, replacing, write_text
from TumorSegLib.models.spec import ModelSpec

#: Networks that are kept; the one that was not used for longest goes first.
MOST_KEPT = 8
NETWORK, WEIGHTS, CHECKSUMS = "network.xml", "network.bin", "checksums.json"
#: In the file of checksums: the folder that they were written for, so that files of another network are not taken.
FOLDER = "folder"


def cache_folder() -> Path:
    """The folder of what can be made again."""
    return Path(os.environ.get("TUMORSEG_CACHE") or "~/.tumorseg/cache").expanduser()


class CachedModels:
    """The converted networks of one converter."""

    def __init__(self, converter: str, spec: ModelSpec) -> None:
        """Finds the folder.

        Args:
            converter: name and version, and class of the network; another one has other files.
            spec: the model; other weights, or another network, have another folder.
        """
        identity = [converter, spec.weights_sha256, spec.network, dict(spec.arguments)]
        key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:32]
        self._root = cache_folder() / "networks"
        self._folder = self._root / key

    def read(self) -> tuple[bytes, bytes] | None:
        """The network's description and weights; None where they are missing, another's, or were changed."""
        try:
            wanted = json.loads((self._folder / CHECKSUMS).read_text("utf-8"))
            files = [(self._folder / name).read_bytes() for name in (NETWORK, WEIGHTS)]
            found = [hashlib.sha256(data).hexdigest() for data in files]
            if [*found, self._folder.name] != [wanted[NETWORK], wanted[WEIGHTS], wanted[FOLDER]]:
                return None
        except (OSError, ValueError, LookupError, TypeError):
            return None
        with suppress(OSError):  # a read-only cache, of a cluster, is used as well
            os.utime(self._folder)
        return files[0], files[1]

    def write(self, save: Callable[[Path], None]) -> None:
        """Keeps a network in one step, and removes those that were not used for longest.

        Args:
            save: writes the description to a path, and the weights beside it.

        Raises:
            WriteError: the folder is read-only, or the disk is full.
        """
        make_folder(self._root)
        with replacing(self._folder) as temporary:
            try:
                temporary.mkdir()
                save(temporary / NETWORK)
                sums = {name: digest_of(temporary / name).hexdigest() for name in (NETWORK, WEIGHTS)}
            except (OSError, RuntimeError) as error:  # OpenVINO does not say that the disk is full
                free = f"with {shutil.disk_usage(self._root).free / 1e6:.1f} MB free"
                raise WriteError(f"{self._folder}: the converted network cannot be written {free}: {error}") from error
            write_text(temporary / CHECKSUMS, json.dumps({**sums, FOLDER: self._folder.name}))
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        try:
            folders = sorted(self._root.iterdir(), key=lambda folder: folder.stat().st_mtime)
        except OSError:  # another process removes them
            return
        for folder in folders[:-MOST_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)
