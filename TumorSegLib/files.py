"""Writing files so that no half-written one ever exists."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from TumorSegLib.errors import WriteError

# Temporary files and folders that are being written.
_unfinished: set[Path] = set()
LONGEST_SUFFIX = 12  # of those in use, .safetensors is


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place on success and is removed on any failure.

    The temporary name is short and of ASCII, so that it can be used where the name just fits; it keeps the last
    suffixes, since writers choose the format by them. A folder is replaced as a whole.

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
            raise WriteError(f"{target}: cannot be written, it is a device or a pipe and no file to be replaced")
        yield temporary
        if temporary.is_dir() and target.is_dir() and not target.is_symlink():
            _replace_folder(temporary, target)
        else:
            os.replace(temporary, target)
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
    """Removes what is only half written; for a process that is about to end without tidying up."""
    for temporary in list(_unfinished):
        _remove(temporary)


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
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
    """No system moves a folder over a full one, so the old one steps aside, and back if the new one cannot move in."""
    old = new.with_name(f".old{new.name}")
    os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)  # the new folder is in place: what cannot be deleted is no failure


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 text in one step, with file names in it made :func:`readable`; raises :class:`WriteError`."""
    with replacing(path) as temporary:
        temporary.write_bytes(readable(text).encode("utf-8"))


def readable(text: str) -> str:
    """The text with each byte of a file name that is no UTF-8, which Python keeps as a lone surrogate, as ``\\xNN``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
