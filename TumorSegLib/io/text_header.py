"""What the text headers of NRRD and MetaImage share: strict values, units of length, and voxels in other files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ReadError
from TumorSegLib.io.stored_image import filled, joined, naming, raw

#: Longer text is not taken for a header, bytes.
LONGEST_HEADER = 1 << 20
# Millimetres in a unit, by its names.
_UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron", "microns"), 0.001),
}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_SERIES = re.compile(r"(.*%0?\d*d.*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(\s+\d+)?")


def numbers(text: str, name: str, count: int) -> list[float]:
    """As many finite numbers as wanted; raises :class:`ReadError`."""
    words = text.split()
    if len(words) != count or not all(_NUMBER.fullmatch(word) for word in words):
        raise ReadError(f"damaged header, {name} is {text!r}; {count} number(s) are needed")
    return [float(word) for word in words]


def whole_numbers(text: str, name: str, count: int, least: int = 1) -> list[int]:
    """As many whole numbers as wanted, none too small; raises :class:`ReadError`."""
    words = text.split()
    if len(words) != count or not all(_WHOLE.fullmatch(word) and int(word) >= least for word in words):
        raise ReadError(f"damaged header, {name} is {text!r}; {count} whole number(s) from {least} on are needed")
    return [int(word) for word in words]


def millimetres(unit: str, name: str) -> float:
    """Millimetres in a unit of length; raises :class:`ReadError` for one that is not known."""
    if unit.lower() not in _UNITS:
        raise ReadError(f"{name} is {unit!r}; lengths in mm, cm, m and um are supported")
    return _UNITS[unit.lower()]


def unit_note(units: Sequence[str]) -> tuple[str, ...]:
    """Notes on units other than mm."""
    others = sorted({unit for unit in units if millimetres(unit, "unit") != 1})
    return (f"its lengths are in {' and '.join(others)} and were converted to mm",) if others else ()


def check_no_field_within(value: str, name: str, pattern: re.Pattern[str]) -> None:
    """Raises :class:`ReadError` where a value holds another field: then a line break was lost."""
    found = pattern.search(value)
    if found:
        raise ReadError(f"damaged header, the value of {name!r} contains the field {found.group(0).strip()!r}")


def data_files(value: str, following: Sequence[str], header: Path) -> list[Path]:
    """The files that hold the voxels: one by its name, a LIST in the lines that follow, or a counted series.

    Raises:
        ReadError: there is none, or one is missing.
    """
    series = _SERIES.fullmatch(value)
    if value.split()[:1] == ["LIST"]:
        names = [line.strip() for line in following if line.strip()]
    elif series:
        first, last, step = (int(number) for number in series.groups()[1:4])
        if step == 0:
            raise ReadError(f"damaged header, the files {value!r} are counted in steps of 0")
        names = [series.group(1) % n for n in range(first, last + (1 if step > 0 else -1), step)]
    else:
        names = [value]
    if not names:
        raise ReadError(f"damaged header, {value!r} does not name a file with voxels")
    paths = [header.parent / name for name in names]
    for path in paths:
        if not path.is_file():
            raise ReadError(f"its voxels, the file {path}, are missing")
    return paths


def read_parts(
    paths: Sequence[Path], count: int, read: Callable[[BinaryIO, int], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """The voxels of files that hold equal parts of an image.

    Args:
        paths: of the files, in the order of the voxels.
        count: of voxels in all.
        read: called with each file and the number of its voxels.

    Raises:
        ReadError: the voxels cannot be parted so; as ``read``, with the file's name.
    """
    if count % len(paths):
        raise ReadError(f"damaged header, {count} voxels do not lie in {len(paths)} files of the same size")
    parts = []
    for path in paths:
        with naming(path), path.open("rb") as file:
            parts.append(read(file, count // len(paths)))
    return joined(parts)


def read_raw(file: BinaryIO, kind: np.dtype[Any], count: int, skip: int) -> npt.NDArray[Any]:
    """The voxels from here to the end of a file, which must be theirs.

    Args:
        file: at the first byte that belongs to them.
        kind: number type.
        count: of voxels.
        skip: bytes to pass over; -1 where the voxels are the last of the file, whatever comes before.

    Raises:
        ReadError: there are fewer or more.
    """
    begin = file.tell()
    left = file.seek(0, 2) - begin
    skip = max(left - count * kind.itemsize, 0) if skip == -1 else skip
    file.seek(begin + skip)
    return filled(raw(file), kind, count, left - skip)
