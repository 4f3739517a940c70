"""NRRD files, .nrrd and .nhdr (http://teem.sourceforge.net/nrrd/format.html), 3D Slicer's own among them."""

from __future__ import annotations

import gzip
import math
import os
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import GeometryError, ReadError
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.grid import LPS_TO_RAS, Grid
from TumorSegLib.io.stored_image import (
    COMPRESSION,
    GZIP,
    MOST_INFLATION,
    StoredImage,
    check_3d,
    filled,
    inflated,
    parsed,
)
from TumorSegLib.io.text_header import (
    LONGEST_HEADER,
    check_no_field_within,
    data_files,
    millimetres,
    numbers,
    read_parts,
    read_raw,
    unit_note,
    whole_numbers,
)

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_WRITTEN_TYPES = {
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "i8": "int64",
    "u8": "uint64",
    "f4": "float",
    "f8": "double",
}
#: Signs that turn the axes of a space to LPS.
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (1, 1, 1)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1, -1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1, -1, 1)),
}
# Spaces of no anatomical direction, which all readers take for LPS.
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_SPATIAL_KINDS = ("domain", "space")
_OTHER_KINDS = ("list", "vector", "covariant-vector", "normal", "point", "time", "none", "???", "stub", "scalar")
_MORE_KINDS = re.compile(
    r"complex|2-vector|(3|4)-(color|vector)|3-(gradient|normal)|(RGB|RGBA|HSV|XYZ)-color|quaternion"
)
_FIELDS = {
    *("type", "dimension", "sizes", "encoding", "endian", "data file", "line skip", "byte skip"),
    *("space", "space dimension", "space directions", "space origin", "space units", "measurement frame"),
    *("spacings", "units", "kinds", "axis mins", "axis maxs", "centers", "centerings", "labels", "thicknesses"),
    *("content", "number", "block size", "sample units", "min", "max", "old min", "old max"),
}
# The same fields are also written without the space or with a blank.
_SPELLINGS = {name.replace(" ", ""): name for name in _FIELDS} | {name: name for name in _FIELDS}
_FIELD_WITHIN = re.compile(rf"({'|'.join(name for name in _FIELDS if ' ' in name)}|sizes|spacings|kinds|encoding): ")
_VECTOR = re.compile(r"none|\([^()]*\)")


def read_nrrd(path: Path) -> StoredImage:
    """Reads a .nrrd or .nhdr file with its voxels in it, in another file, in a list or in a counted series of files.

    Raises:
        ReadError: truncated, damaged, or not one 3D image.
        GeometryError: voxel spacing that is missing or not positive; a direction that is not orthonormal.
        OSError: a file cannot be read.
        MemoryError: it does not fit.
    """
    with path.open("rb") as file:
        fields, free = _fields(file)
        size = _sizes(fields)
        spatial = _spatial_axes(fields, len(size))
        channels = _channels(size, spatial)
        kind = _kind(fields)
        count = math.prod(size)
        if "data file" in fields:
            following = os.fsdecode(file.read(LONGEST_HEADER)).splitlines()
            files = data_files(fields["data file"], following, path)
            array = read_parts(files, count, lambda part, n: _read(part, n, kind, fields))
        else:
            array = _read(file, count, kind, fields)
    grid, notes = _place(fields, size, spatial)
    array = array.reshape(size[::-1])
    if channels is not None:
        array = np.moveaxis(array, len(size) - 1 - channels, -1)
    shape = grid.shape if channels is None or array.shape[-1] == 1 else (*grid.shape, array.shape[-1])
    return StoredImage(array.reshape(shape), grid, notes, free)


def _fields(file: BinaryIO) -> tuple[dict[str, str], dict[str, str]]:
    """The fields of the header, and its key/value pairs; the file stands behind the blank line that ends them."""
    if not re.fullmatch(rb"NRRD000[1-5]\r?\n", file.readline(16)):
        raise ReadError("damaged, or not an NRRD file: it must begin with NRRD0001 to NRRD0005")
    fields: dict[str, str] = {}
    free: dict[str, str] = {}
    while line := os.fsdecode(file.readline(LONGEST_HEADER)).rstrip("\r\n"):
        if file.tell() > LONGEST_HEADER:
            raise ReadError("damaged, its header does not end")
        if line.startswith("#"):
            check_no_field_within(line, "a comment", _FIELD_WITHIN)
            continue
        free_key, sign, free_value = line.partition(":=")
        key, colon, value = line.partition(": ")
        if sign and not (colon and len(key) < len(free_key)):
            _add(free, free_key, free_value)
            continue
        name = _SPELLINGS.get(key.strip().lower() if colon else "")
        if name is None:
            raise ReadError(f"damaged header, unknown field in the line {line[:80]!r}")
        check_no_field_within(value, key, _FIELD_WITHIN)
        _add(fields, name, value.strip())
        if name == "data file" and value.split()[:1] == ["LIST"]:
            break
    missing = [name for name in ("type", "dimension", "sizes", "encoding") if name not in fields]
    if missing:
        raise ReadError(f"damaged header, it lacks {', '.join(missing)}")
    return fields, free


def _add(known: dict[str, str], name: str, value: str) -> None:
    if name in known:
        raise ReadError(f"damaged header, {name} is given twice")
    known[name] = value


def _sizes(fields: Mapping[str, str]) -> list[int]:
    return whole_numbers(fields["sizes"], "sizes", whole_numbers(fields["dimension"], "dimension", 1)[0])


def _kind(fields: Mapping[str, str]) -> np.dtype[Any]:
    name = fields["type"].lower()
    if name not in _TYPES:
        raise ReadError(f"damaged header, or an unsupported number type: {fields['type']!r}")
    kind = np.dtype(_TYPES[name])
    endian = fields.get("endian", "little" if kind.itemsize == 1 or _encoding(fields) == "text" else "")
    if endian not in ("little", "big"):
        raise ReadError(f"damaged header, endian is {endian!r}; little or big is needed")
    return kind.newbyteorder("<" if endian == "little" else ">")


def _encoding(fields: Mapping[str, str]) -> str:
    names = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "txt": "text", "text": "text", "ascii": "text", "hex": "hex"}
    name = fields["encoding"].lower()
    if name not in names:
        raise ReadError(f"damaged header, or an unsupported encoding: {name!r}; raw, gzip, text and hex are supported")
    return names[name]


def _spatial_axes(fields: Mapping[str, str], axes: int) -> list[int]:
    """The spatial axes, by their kinds, or, where these are not stated, by their directions."""
    kinds = fields["kinds"].split() if "kinds" in fields else []
    if kinds and len(kinds) != axes:
        raise ReadError(f"damaged header, kinds is {fields['kinds']!r}; {axes} are needed")
    for kind in kinds:
        if kind.lower() not in (*_SPATIAL_KINDS, *_OTHER_KINDS) and not _MORE_KINDS.fullmatch(kind):
            raise ReadError(f"damaged header, the kind of an axis is {kind!r}")
    vectors = _VECTOR.findall(fields.get("space directions", "")) if "space directions" in fields else ["()"] * axes
    if len(vectors) != axes:
        raise ReadError(f"damaged header, space directions is {fields['space directions']!r}; {axes} are needed")
    return [
        n
        for n in range(axes)
        if vectors[n] != "none" and (not kinds or kinds[n].lower() in (*_SPATIAL_KINDS, "none", "???"))
    ]


def _channels(size: Sequence[int], spatial: Sequence[int]) -> int | None:
    """The axis of values per voxel, None where there is none."""
    check_3d([size[n] for n in spatial])
    others = [n for n in range(len(size)) if n not in spatial]
    if len(others) > 1:
        raise ReadError(f"{len(others)} of its {len(size)} axes are not of space; at most one is supported")
    return others[0] if others else None


def _read(file: BinaryIO, count: int, kind: np.dtype[Any], fields: Mapping[str, str]) -> npt.NDArray[Any]:
    """The voxels from here to the end of a file."""
    encoding = _encoding(fields)
    skip = whole_numbers(fields.get("byte skip", "0"), "byte skip", 1, -1)[0]
    for _ in range(whole_numbers(fields.get("line skip", "0"), "line skip", 1, 0)[0]):
        file.readline(LONGEST_HEADER)
    if encoding == "raw":
        return read_raw(file, kind, count, skip)
    if skip:
        raise ReadError(f"byte skip is {skip}; it is supported with the encoding raw only")
    if encoding == "gzip":
        begin = file.tell()
        left = file.seek(0, 2) - begin
        file.seek(begin)
        return filled(inflated(file, GZIP), kind, count, left * MOST_INFLATION)
    text = file.read()
    if encoding == "text":
        return parsed(text, kind, count)
    try:
        packed = bytes.fromhex(text.decode("ascii"))
    except ValueError as error:
        raise ReadError(f"damaged, its voxels are not hexadecimal numbers ({error})") from error
    return filled(iter([packed]), kind, count, len(packed))


def _place(fields: Mapping[str, str], size: Sequence[int], spatial: Sequence[int]) -> tuple[Grid, tuple[str, ...]]:
    if "space directions" in fields:
        directions, origin, units = _in_space(fields, spatial)
    else:
        directions, origin, units = _along_axes(fields, len(size), spatial)
    scales = [millimetres(unit, "space units") for unit in units]
    affine = np.eye(4)
    affine[:3, :3] = directions * np.reshape(scales, (3, 1))
    affine[:3, 3] = origin * scales
    notes = unit_note(units)
    space = fields.get("space", "")
    signs = _SPACES.get(space.lower().removesuffix("-time").removesuffix("t") if space else "lps")
    if signs is None:
        if space.lower().removesuffix("-time") not in _OTHER_SPACES:
            raise ReadError(f"damaged header, or an unsupported space: {space!r}; there are {', '.join(_SPACES)}")
        notes += (f"its space is {space!r}, which does not name anatomical axes; LPS assumed",)
        signs = (1, 1, 1)
    i, j, k = (size[n] for n in spatial[:3])
    return Grid((k, j, i), LPS_TO_RAS @ np.diag([*signs, 1.0]) @ affine), notes


def _in_space(fields: Mapping[str, str], spatial: Sequence[int]) -> tuple[Float64Array, Float64Array, list[str]]:
    """Columns of the axes' steps, origin, and the unit of each axis of space."""
    text = fields["space directions"]
    words = dict(enumerate(_VECTOR.findall(text)))
    vectors = {n: _vector(word, "space directions") for n, word in words.items() if word != "none"}
    length = {len(vector) for vector in vectors.values()}
    if _VECTOR.sub("", text).strip() or length not in ({3}, {4}):
        raise ReadError(f"damaged header, space directions is {text!r}")
    (axes,) = length
    if whole_numbers(fields.get("space dimension", str(axes)), "space dimension", 1)[0] != axes:
        raise ReadError(
            f"damaged header, space dimension is {fields['space dimension']}, but space directions {text!r}"
        )
    origin = _vector(fields.get("space origin", f"({','.join('0' * axes)})"), "space origin")
    if len(origin) != axes:
        raise ReadError(f"damaged header, space origin is {fields['space origin']!r}; {axes} numbers are needed")
    units = re.findall(r'"([^"]*)"', fields.get("space units", '"mm" ' * axes))
    if len(units) != axes:
        raise ReadError(f"damaged header, space units is {fields['space units']!r}; {axes} quoted names are needed")
    columns = np.array([vectors[n] for n in spatial[:3]])
    return columns[:, :3].T, np.array(origin[:3]), [unit or "mm" for unit in units[:3]]


def _along_axes(
    fields: Mapping[str, str], axes: int, spatial: Sequence[int]
) -> tuple[Float64Array, Float64Array, list[str]]:
    """The same where axes have lengths only."""
    if "spacings" not in fields:
        raise GeometryError(
            "the header has no voxel spacing (space directions or spacings), so lengths and volumes are unknown"
        )
    if "axis mins" in fields or "axis maxs" in fields:
        raise GeometryError(
            "the header gives the position as axis mins and maxs; space directions and origin are needed"
        )
    words = fields["spacings"].split()
    if len(words) != axes:
        raise ReadError(f"damaged header, spacings is {fields['spacings']!r}; {axes} are needed")
    edges = [numbers(words[n], "spacings", 1)[0] for n in spatial[:3]]
    if min(edges) <= 0:
        raise GeometryError(f"voxel spacing must be positive, got {edges} mm")
    if "space origin" in fields or "space" in fields:
        raise GeometryError("the header has a space but no space directions, so the direction of the axes is unknown")
    units = re.findall(r'"([^"]*)"', fields.get("units", '"mm" ' * axes))
    if len(units) != axes:
        raise ReadError(f"damaged header, units is {fields['units']!r}; {axes} names in quotes are needed")
    return np.diag(edges), np.zeros(3), [units[n] or "mm" for n in spatial[:3]]


def _vector(text: str, name: str) -> list[float]:
    text = text.strip()
    if not (text.startswith("(") and text.endswith(")")):
        raise ReadError(f"damaged header, {name} is {text!r}; (x,y,z) is needed")
    return [numbers(word, name, 1)[0] for word in text[1:-1].split(",")]


def write_nrrd(path: Path, array: npt.NDArray[Any], grid: Grid, free: Mapping[str, str] | None = None) -> None:
    """Writes a .nrrd file with compressed voxels.

    Args:
        path: of the file.
        array: ``[k, j, i]`` or ``[k, j, i, layer]``, integers or float32 or float64.
        grid: RAS mm.
        free: key/value pairs for the header.

    Raises:
        OSError: the file cannot be written.
    """
    affine, layers = LPS_TO_RAS @ grid.affine, array.ndim - 3
    fields = {
        "type": _WRITTEN_TYPES[array.dtype.str[1:]],
        "dimension": str(array.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, (*array.shape[3:], *grid.size))),
        "space directions": " ".join(layers * ["none"] + [_in_brackets(column) for column in affine[:3, :3].T]),
        "kinds": " ".join(layers * ["list"] + ["domain"] * 3),
        "endian": "little",
        "encoding": "gzip",
        "space origin": _in_brackets(affine[:3, 3]),
    }
    lines = chain(
        ["NRRD0004", "# http://teem.sourceforge.net/nrrd/format.html"],
        (f"{name}: {value}" for name, value in fields.items()),
        (f"{key}:={value}" for key, value in (free or {}).items()),
        ["", ""],
    )
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    with path.open("wb") as file:
        file.write("\n".join(lines).encode("utf-8"))
        with gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed:
            packed.write(little.data)


def _in_brackets(values: Float64Array) -> str:
    return f"({','.join(repr(value) for value in values.tolist())})"
