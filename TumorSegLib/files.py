"""Writing files so that no half-written one ever exists."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from TumorSegLib.errors import WriteError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place on success and is removed on any failure.

    The temporary name keeps the suffixes, since writers choose the format by them. A folder is replaced as a whole.

    Raises:
        WriteError: the folder does not exist or is not writable, or the disk is full.
    """
    target = Path(path)
    temporary = target.parent / f".{uuid.uuid4().hex[:8]}.{target.name}"
    try:
        if not target.parent.is_dir():
            raise WriteError(f"{target}: cannot be written, the folder {target.parent} does not exist")
        yield temporary
        if temporary.is_dir() and target.is_dir() and not target.is_symlink():
            _replace_folder(temporary, target)
        else:
            os.replace(temporary, target)
    except OSError as error:
        raise WriteError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


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
    """Writes UTF-8 text in one step; raises :class:`WriteError`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
