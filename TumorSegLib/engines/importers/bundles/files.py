"""The files of a MONAI bundle, in a folder or a zip, of which what is needed is read; nothing is unpacked to disk."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from TumorSegLib.errors import ModelError
from TumorSegLib.models.foreign import METADATA

CONFIGURATIONS = tuple(f"configs/inference.{suffix}" for suffix in ("json", "yaml", "yml"))
# A description is a few kilobytes; the largest published weights are about a gigabyte.
MOST_TEXT, MOST_WEIGHTS = 1 << 20, 8 << 30
# Weights hardly get smaller when packed; a file that unpacks to so many times its size is made to fill memory.
MOST_UNPACKED = 50


class BundleFiles(Protocol):
    """Reads files of a bundle by their name in it, with slashes."""

    @property
    def where(self) -> Path:
        """The folder or the zip."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def text(self, name: str) -> str:
        """A small file in UTF-8; raises :class:`ModelError` where it is missing, too large or not text."""

    def weights(self, name: str) -> Path | bytes:
        """A large file: where it lies, or its content; raises :class:`ModelError` where it is missing or too large."""


def open_bundle(path: Path) -> BundleFiles:
    """The files of a bundle.

    Raises:
        ModelError: the path is neither a folder nor a zip of a bundle, or the zip names files outside of it, links,
            one file twice, or what is encrypted.
    """
    if path.is_dir():
        files: BundleFiles = FolderFiles(path)
        inside = sorted(found.parents[1].name for found in path.glob(f"*/{METADATA}"))
        if not files.has(METADATA) and inside:
            raise ModelError(f"{path}: holds {len(inside)} bundles, give one of them: {', '.join(inside)}")
    elif path.is_file():
        files = ZipFiles(path)
    else:
        raise ModelError(f"{path}: there is no such folder or zip of a MONAI bundle")
    if not files.has(METADATA):
        raise ModelError(f"{path}: {METADATA} is missing; not a MONAI bundle, or not a complete one")
    return files


class FolderFiles:
    """The files of a bundle that is a folder."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.where / name).is_file()

    def text(self, name: str) -> str:
        """A small file in UTF-8; raises :class:`ModelError`."""
        file = self.where / name
        try:
            with file.open("rb") as opened:
                return _decoded(opened.read(MOST_TEXT + 1), str(file))
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror or error}") from error

    def weights(self, name: str) -> Path:
        """Where a large file lies; raises :class:`ModelError`."""
        file = self.where / name
        if not file.is_file():
            raise ModelError(f"{self.where}: {name} is missing")
        return file


class ZipFiles:
    """The files of a bundle that is a zip; they may lie in one folder within."""

    def __init__(self, where: Path) -> None:
        """Reads the directory of the zip and checks all it names; raises :class:`ModelError`."""
        self.where = where
        try:
            with zipfile.ZipFile(where) as archive:
                entries = archive.infolist()
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ModelError(f"{where}: is not a zip, or was not copied completely: {error}") from error
        self._entries = self._checked(entries)

    def _checked(self, entries: list[zipfile.ZipInfo]) -> Mapping[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            name = entry.filename
            if _leaves(name):
                raise ModelError(f"{self.where}: names {name[:80]!r}, which is outside of the zip; it was not unpacked")
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise ModelError(f"{self.where}: {name[:80]!r} is a link, which is not read; it was not unpacked")
            if name in found:
                raise ModelError(f"{self.where}: holds {name[:80]!r} twice")
            found[name] = entry
        tops = {name.removesuffix(METADATA) for name in found if name == METADATA or name.endswith(f"/{METADATA}")}
        if len(tops) > 1:
            raise ModelError(f"{self.where}: holds {len(tops)} bundles; give a zip of one: {', '.join(sorted(tops))}")
        top = next(iter(tops), "")
        return {name.removeprefix(top): entry for name, entry in found.items() if name.startswith(top)}

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._entries

    def text(self, name: str) -> str:
        """A small file in UTF-8; raises :class:`ModelError`."""
        return _decoded(self._read(name, MOST_TEXT), f"{self.where}, {name}")

    def weights(self, name: str) -> bytes:
        """The content of a large file; raises :class:`ModelError`."""
        return self._read(name, MOST_WEIGHTS)

    def _read(self, name: str, most: int) -> bytes:
        entry, where = self._entries.get(name), f"{self.where}, {name}"
        if entry is None:
            raise ModelError(f"{self.where}: {name} is missing")
        size = entry.file_size
        if size > most or size > MOST_UNPACKED * entry.compress_size + MOST_TEXT:
            raise ModelError(
                f"{where}: claims {size / 1e9:.3g} GB, packed to {entry.compress_size / 1e9:.3g} GB, which is not "
                "believed; it was not unpacked"
            )
        if entry.flag_bits & 1:
            raise ModelError(f"{where}: is encrypted")
        try:
            with zipfile.ZipFile(self.where) as archive, archive.open(entry) as opened:
                content = opened.read(size)
        except Exception as error:  # damaged archives raise errors of many types
            raise ModelError(f"{where}: cannot be read: {type(error).__name__}: {error}") from error
        if len(content) != size:
            raise ModelError(f"{where}: is damaged: {len(content)} bytes instead of {size}")
        return content


def _leaves(name: str) -> bool:
    """Whether the name of a file in a zip leads out of it, on any system."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return not parts or ".." in parts or parts[0] == "/" or ":" in parts[0] or "\\" in name or "\0" in name


def _decoded(content: bytes, where: str) -> str:
    if len(content) > MOST_TEXT:
        raise ModelError(f"{where}: is larger than {MOST_TEXT // 1024} kB, which no description is")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{where}: is not text in UTF-8: {error}") from error
