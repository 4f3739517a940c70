"""DICOM image files in folders: which there are, to which series they belong, and which cannot be read."""

from __future__ import annotations

import logging
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from TumorSegLib.errors import ReadError
from TumorSegLib.io.dicom.pixel_data import check_pixel_data, states_types

#: What pydicom raises for a value missing, cut off, or of a wrong or unknown type, when it is first used; and for a
#: file, on reading.
VALUE_ERRORS = (AttributeError, BytesLengthException, IndexError, KeyError, NotImplementedError, TypeError, ValueError)
FILE_ERRORS = (*VALUE_ERRORS, EOFError, InvalidDicomError, OSError, struct.error)
# What a series is listed by.
LISTED = ("SeriesInstanceUID", "Modality", "SeriesDescription")
# Groups that a file without the preamble of PS3.10 begins with: the file's own, or the first of the data set.
FIRST_GROUPS = (0x0002, 0x0008)
VALUE_TYPES = frozenset(b"AE AS CS DA DS DT IS LO LT OB OW PN SH SQ ST TM UI UL UN US UT".split())
# The first elements are short; text taken for an element would state a length of millions.
LONGEST_FIRST_ELEMENT = 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slice:
    """One image file.

    Attributes:
        path: where it is.
        tags: its tags, without pixels.
        fault: what is wrong with its pixels, as text; empty where nothing is.
        typed: whether its elements state their value type (explicit VR), which its transfer syntax may contradict; None
            where that is not known.
    """

    path: Path
    tags: Dataset
    fault: str = ""
    typed: bool | None = None


@dataclass(frozen=True)
class Series:
    """One image series of a folder.

    Attributes:
        uid: SeriesInstanceUID.
        modality: e.g. ``CT``, ``PT``, ``MR``.
        description: SeriesDescription, may be empty.
        slices: in the order of their position along the slice normal.
    """

    uid: str
    modality: str
    description: str
    slices: tuple[Slice, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of each slice."""
        return tuple(one.path for one in self.slices)

    @property
    def tags(self) -> tuple[Dataset, ...]:
        """The tags of each slice, without pixels."""
        return tuple(one.tags for one in self.slices)

    def __str__(self) -> str:
        return f'{self.uid}  {self.modality}  "{self.description}"  {len(self.slices)} slices'


def is_dicom(path: Path) -> bool:
    """Whether a file starts like a DICOM file: ``DICM`` after 128 bytes (PS3.10), or with the first tags themselves.

    Raises:
        ReadError: it cannot be opened.
    """
    head = _head(path)
    return head[128:] == b"DICM" or is_bare(head)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(132)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from error


def is_bare(head: bytes) -> bool:
    """Whether a file that starts so is DICOM without preamble."""
    if len(head) < 8 or head[128:132] == b"DICM" or struct.unpack("<H", head[:2])[0] not in FIRST_GROUPS:
        return False
    return head[4:6] in VALUE_TYPES or struct.unpack("<I", head[4:8])[0] <= LONGEST_FIRST_ELEMENT


def scan(root: Path) -> tuple[list[Series], dict[Path, ReadError]]:
    """The image series below a folder, and what is wrong with each file or folder that cannot be read.

    Links are followed, and nothing is read twice. Hidden files and what is not a regular file are left out.

    Raises:
        ReadError: no such folder.
    """
    if not root.is_dir():
        raise ReadError(f"{root}: no such folder")
    damaged: dict[Path, ReadError] = {}
    groups: dict[str, list[Slice]] = {}
    others = 0
    for path in sorted(_files(root, damaged)):
        try:
            found = image_slice(path)
        except ReadError as error:
            damaged[path] = error
            continue
        if found is not None:
            groups.setdefault(series_uid(found.tags), []).append(found)
        others += found is None
    series = [series_of(group) for group in groups.values()]
    sizes = [(one.modality, len(one.slices)) for one in series]
    _log.debug("DICOM series (modality, slices): %s; left out: %d other files, %d damaged", sizes, others, len(damaged))
    return sorted(series, key=lambda one: (one.modality, one.description, one.uid)), damaged


def image_slice(path: Path) -> Slice | None:
    """An image slice; None for anything else.

    Raises:
        ReadError: an image cut off before its series is stated; a file that cannot be opened.
    """
    head = _head(path)
    if not (head[128:] == b"DICM" or is_bare(head)):
        if path.suffix.lower() == ".dcm":
            raise ReadError(f"{path}: not a DICOM file, or truncated ({path.stat().st_size} bytes)")
        return None
    try:
        named = "Image Storage" if is_bare(head) else _storage(read_file_meta_info(path).get("MediaStorageSOPClassUID"))
        if not named:
            return None
        with path.open("rb") as file:
            tags = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            if not _storage(tags.get("SOPClassUID")):
                return None
            typed = states_types(file)
            complete = _states_series(tags)
            fault = _fault(file, tags) if complete else ""
            _ = [tags.get(name) for name in LISTED]  # damaged ones are found here
    except FILE_ERRORS as error:
        raise ReadError(f"{path}: truncated or damaged DICOM file: {error}") from error
    if not complete:
        raise ReadError(f"{path}: truncated DICOM file: a {named[:-8]} without Rows (0028,0010)")
    return Slice(path, tags, fault, typed)


def _fault(file: BinaryIO, tags: Dataset) -> str:
    try:
        check_pixel_data(file, tags)
    except ReadError as error:
        return str(error)
    except FILE_ERRORS as error:
        return f"truncated or damaged DICOM file: {error}"
    return ""


def series_uid(tags: Dataset) -> str:
    """SeriesInstanceUID, or words where there is none."""
    return str(tags.get("SeriesInstanceUID") or "without UID")


def _storage(sop_class: UID | None) -> str:
    """Name of an image class, or of one unknown; empty for RTSTRUCT, SEG, dose, reports: they can take long to read."""
    name = UID(sop_class).name if sop_class else "unknown Image Storage"
    return "" if name.endswith("Storage") and not name.endswith("Image Storage") else name


def _files(root: Path, damaged: dict[Path, ReadError]) -> Iterator[Path]:
    """The regular files below a folder, each once; what cannot be read goes to ``damaged``."""
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        path = Path(error.filename or root)
        damaged[path] = ReadError(f"{path}: cannot be read: {error.strerror or error}")

    def is_new(path: Path) -> bool:
        try:
            state = path.stat()
        except OSError as error:
            note(error)
            return False
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            return False  # a named pipe would wait for a writer for ever
        key = (state.st_dev, state.st_ino)
        known = key in seen and state.st_ino != 0  # some file systems number nothing
        seen.add(key)
        return not known

    for parent, folders, names in os.walk(root, onerror=note, followlinks=True):
        if not is_new(Path(parent)):
            folders.clear()
            continue
        folders.sort()
        yield from (path for path in (Path(parent, name) for name in sorted(names)) if _shown(path) and is_new(path))


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")


def _states_series(tags: Dataset) -> bool:
    """Whether the series of a slice is known: the last tag of a truncated file may be cut off itself."""
    if tags.get("Rows"):
        return True
    return bool(tags.get("SeriesInstanceUID")) and max(tags.keys()) > (tag_for_keyword("SeriesInstanceUID") or 0)


def series_of(group: Sequence[Slice]) -> Series:
    """The series that slices make up, in the order of their position."""
    ordered = tuple(sorted(group, key=lambda one: (_height(one.tags), one.path)))
    first = ordered[0].tags
    modality, description = str(first.get("Modality") or "unknown modality"), str(first.get("SeriesDescription") or "")
    return Series(series_uid(first), modality, description, ordered)


def _height(tags: Dataset) -> float:
    """Position along the slice normal in mm; 0 where the slice states none, so that such series can be listed."""
    try:
        row, column = np.asarray(tags.ImageOrientationPatient, float).reshape(2, 3)
        return float(np.cross(row, column) @ np.asarray(tags.ImagePositionPatient, float))
    except VALUE_ERRORS:
        return 0.0
