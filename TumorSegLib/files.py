"""Writing files and folders in one step, so that a reader never sees a partial one."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from TumorSegLib.errors import WriteError

# Temporary files and folders that are being written.
_unfinished: set[Path] = set()
#: Bytes read at a time.
BLOCK = 1 << 18
LONGEST_SUFFIX = 12  # of those in use, .safetensors is


@contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place on success and is removed on any failure.

    The temporary name is short and of ASCII, so that it can be used where the name just fits; it keeps the last
    suffixes, since writers choose the format by them. A folder is replaced as a whole.

    Args:
        path: of the file or folder.
        durable: what was written is on the disk before it takes its place, so that after a power failure the old or
            the new is there, never an empty file: for model folders, sessions and manifests. Takes 10 to 15 ms more for
            a small file on a solid-state disk, so not for images, which can be computed again.

    Raises:
        WriteError: the folder does not exist or is not writable, the disk is full, or there is a device or a pipe.
    """
    target = Path(path)
    temporary = target.parent / f".{uuid.uuid4().hex[:8]}{_suffixes(target)}"
    _unfinished.add(temporary)
    try:
        if not target.parent.is_dir():
            raise WriteError(f"{target}: cannot be written, the folder {target.parent} does not exist")
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise WriteError(f"{target}: cannot be written, it is a device or a pipe")
        yield temporary
        if durable:
            _flush(temporary)
        if temporary.is_dir() and target.is_dir() and not target.is_symlink():
            _replace_folder(temporary, target)
        else:
            os.replace(temporary, target)
        if durable:
            _flush_folder(target.parent)
    except OSError as error:
        raise WriteError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        _remove(temporary)
        _unfinished.discard(temporary)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Makes a folder and those above it, where they are absent; raises :class:`WriteError`."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: the folder cannot be made: {error.strerror or error}") from error


def remove_unfinished() -> None:
    """Removes temporary files and folders that are being written, for a process that ends at once."""
    for temporary in list(_unfinished):
        _remove(temporary)


def _flush(path: Path) -> None:
    """Has the system write a file, or all in a folder, to the disk."""
    if not path.is_dir():
        with path.open("rb+") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        return
    for entry in path.iterdir():
        _flush(entry)
    _flush_folder(path)


def _flush_folder(path: Path) -> None:
    """Has the system write the names in a folder to the disk; Windows does so itself and opens no folders."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
        return
    # A read-only file system refuses also where there is none, which would hide why writing failed.
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def _suffixes(path: Path) -> str:
    """The last two suffixes, or fewer where what looks like one is part of the name."""
    suffixes = ""
    for suffix in path.suffixes[:-3:-1]:
        if len(suffix) > LONGEST_SUFFIX or not suffix.isascii():
            break
        suffixes = suffix + suffixes
    return suffixes


def _replace_folder(new: Path, target: Path) -> None:
    """Renames the old folder first, as no system moves a folder over a full one, and restores it on failure."""
    old = new.with_name(f".old{new.name}")
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)  # a failure to delete it is not an error: the new folder is in place


def write_text(path: str | os.PathLike[str], text: str, durable: bool = False) -> None:
    """Writes UTF-8 text in one step, with file names in it made :func:`readable`; ``durable`` as :func:`replacing`.

    Raises:
        WriteError: the file cannot be written; what was there before is unchanged.
    """
    with replacing(path, durable) as temporary:
        temporary.write_bytes(readable(text).encode("utf-8"))


def readable(text: str) -> str:
    """The text with bytes of file names that are not UTF-8, which Python keeps as lone surrogates, as ``\\xNN``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def digest_of(path: Path, check: Callable[[], None] = lambda: None) -> hashlib._Hash:
    """SHA-256 of a file; ``check`` is called between blocks and may raise."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            check()
            digest.update(block)
    return digest
