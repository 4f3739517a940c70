"""MetaImage files, .mha and .mhd (https://itk.org/Wiki/MetaIO/Documentation)."""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import GeometryError, ReadError
from TumorSegLib.geometry.grid import LPS_TO_RAS, Grid
from TumorSegLib.io.stored_image import (
    COMPRESSION,
    MOST_INFLATION,
    ZLIB_OR_GZIP,
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
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # of 32 bits, whatever the machine's is
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
#: The fields that describe voxels and their place, in their first spelling, with others that mean the same.
_FIELDS = {
    "NDims": (),
    "DimSize": (),
    "ElementType": (),
    "ElementNumberOfChannels": (),
    "ElementDataFile": (),
    "ElementSpacing": (),
    "ElementSize": (),
    "Offset": ("Position", "Origin"),
    "TransformMatrix": ("Rotation", "Orientation"),
    "DistanceUnits": (),
    "BinaryData": (),
    "BinaryDataByteOrderMSB": ("ElementByteOrderMSB",),
    "CompressedData": (),
    "CompressedDataSize": (),
    "HeaderSize": (),
    "HeaderSizePerSlice": (),
    "ElementToIntensityFunctionSlope": (),
    "ElementToIntensityFunctionOffset": (),
}
_FIRST_SPELLING = {spelling: name for name, others in _FIELDS.items() for spelling in (name, *others)}
_NEEDED = ("NDims", "DimSize", "ElementType", "ElementDataFile")
_FIELD_WITHIN = re.compile(rf"({'|'.join(_FIRST_SPELLING)})\s*=")


@dataclass(frozen=True)
class _Voxels:
    """How the voxels are stored."""

    kind: np.dtype[Any]
    binary: bool
    compressed: bool
    compressed_size: int
    skip: int


def read_metaimage(path: Path) -> StoredImage:
    """Reads a .mha or .mhd file with its voxels in it, in another file, in a list or in a counted series of files.

    Raises:
        ReadError: truncated, damaged, or not one 3D image.
        GeometryError: voxel spacing that is missing or not positive; a direction that is not orthonormal.
        OSError: a file cannot be read.
        MemoryError: it does not fit.
    """
    with path.open("rb") as file:
        fields = _fields(file)
        size, channels = _size(fields)
        voxels = _voxels(fields)
        count = math.prod(size) * channels
        data = fields["ElementDataFile"]
        if data.upper() == "LOCAL":
            array = _read(file, count, voxels)
        else:
            following = os.fsdecode(file.read(LONGEST_HEADER)).splitlines()
            array = read_parts(data_files(data, following, path), count, lambda part, n: _read(part, n, voxels))
    grid, notes = _place(fields, size)
    return StoredImage(array.reshape(grid.shape if channels == 1 else (*grid.shape, channels)), grid, notes)


def _fields(file: BinaryIO) -> dict[str, str]:
    """The header up to ElementDataFile, its last line, by the first spelling of each field."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = os.fsdecode(file.readline(LONGEST_HEADER))
        if not line or file.tell() > LONGEST_HEADER:
            raise ReadError("truncated, or not a MetaImage file: its header has no ElementDataFile")
        if not line.strip():
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise ReadError(f"damaged header, or not a MetaImage file: the line {line.strip()[:80]!r} has no '='")
        _check_spelling(key)
        check_no_field_within(value, key, _FIELD_WITHIN)
        name = _FIRST_SPELLING.get(key, key)
        if name in fields:
            raise ReadError(f"damaged header, {key} is given twice")
        fields[name] = value
    missing = [name for name in _NEEDED if not fields.get(name)]
    if missing:
        raise ReadError(f"damaged header, it lacks {', '.join(missing)}")
    return fields


def _check_spelling(key: str) -> None:
    """Other programs add fields of their own; one letter off, or with one more, it is one of ours, and damaged."""
    for known in _FIRST_SPELLING:
        if len(key) - len(known) in (0, 1) and sum(a != b for a, b in zip_longest(key, known)) == 1:
            raise ReadError(f"damaged header, unknown field {key!r}; {known!r} is meant")


def _size(fields: Mapping[str, str]) -> tuple[list[int], int]:
    axes = whole_numbers(fields["NDims"], "NDims", 1)[0]
    size = whole_numbers(fields["DimSize"], "DimSize", axes)
    check_3d(size)
    return size, whole_numbers(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", 1)[0]


def _voxels(fields: Mapping[str, str]) -> _Voxels:
    name = fields["ElementType"].removesuffix("_ARRAY")
    if name not in _TYPES:
        raise ReadError(f"damaged header, ElementType is {name!r}; there are {', '.join(_TYPES)}")
    for field, plain in (
        ("ElementToIntensityFunctionSlope", 1),
        ("ElementToIntensityFunctionOffset", 0),
        ("HeaderSizePerSlice", 0),
    ):
        if numbers(fields.get(field, str(plain)), field, 1)[0] != plain:
            raise ReadError(
                f"{field} is {fields[field]}; only {plain} is supported, since programs interpret it differently"
            )
    return _Voxels(
        np.dtype((">" if _flag(fields, "BinaryDataByteOrderMSB", False) else "<") + _TYPES[name]),
        _flag(fields, "BinaryData", True),
        _flag(fields, "CompressedData", False),
        whole_numbers(fields.get("CompressedDataSize", "0"), "CompressedDataSize", 1, 0)[0],
        whole_numbers(fields.get("HeaderSize", "0"), "HeaderSize", 1, -1)[0],
    )


def _flag(fields: Mapping[str, str], name: str, default: bool) -> bool:
    value = fields.get(name, str(default))
    if value.lower() not in ("true", "false", "1", "0"):
        raise ReadError(f"damaged header, {name} is {value!r}; True or False is needed")
    return value.lower() in ("true", "1")


def _read(file: BinaryIO, count: int, voxels: _Voxels) -> npt.NDArray[Any]:
    """The voxels from here to the end of a file."""
    if not voxels.binary:
        return parsed(file.read(), voxels.kind, count)
    if not voxels.compressed:
        return read_raw(file, voxels.kind, count, voxels.skip)
    begin = file.tell()
    left = file.seek(0, 2) - begin
    file.seek(begin)
    # 0, or no such field, leaves the size open (MetaIO); else it must be the true one.
    if voxels.compressed_size not in (0, left):
        raise ReadError(
            f"truncated or damaged, CompressedDataSize is {voxels.compressed_size}, but {left} bytes of voxels follow"
        )
    if voxels.skip not in (0, -1):
        raise ReadError(f"HeaderSize is {voxels.skip}; before compressed voxels only 0 and -1 are supported")
    return filled(inflated(file, ZLIB_OR_GZIP), voxels.kind, count, left * MOST_INFLATION)


def _place(fields: Mapping[str, str], size: list[int]) -> tuple[Grid, tuple[str, ...]]:
    axes = len(size)
    spacing = fields.get("ElementSpacing") or fields.get("ElementSize")
    if spacing is None:
        raise GeometryError("the header has no voxel spacing (ElementSpacing), so lengths and volumes are unknown")
    try:
        edges = numbers(spacing, "ElementSpacing", axes)
    except ReadError as error:
        raise GeometryError(f"voxel spacing must be positive, got {spacing!r} ({error})") from error
    if min(edges[:3]) <= 0:
        raise GeometryError(f"voxel spacing must be positive, got {edges[:3]} mm")
    origin = numbers(fields.get("Offset", "0 " * axes), "Offset", axes)
    identity = " ".join("1" if n % (axes + 1) == 0 else "0" for n in range(axes * axes))
    # The file has the direction of one axis after the other.
    direction = np.reshape(
        numbers(fields.get("TransformMatrix", identity), "TransformMatrix", axes * axes), (axes, axes)
    ).T
    unit = fields.get("DistanceUnits", "mm")
    unit = "mm" if unit == "?" else unit
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * edges[:3]
    affine[:3, 3] = origin[:3]
    affine[:3] *= millimetres(unit, "DistanceUnits")
    i, j, k = size[:3]
    return Grid((k, j, i), LPS_TO_RAS @ affine), unit_note([unit])


def write_metaimage(path: Path, array: npt.NDArray[Any], grid: Grid) -> None:
    """Writes a .mha file with compressed voxels.

    Args:
        path: of the file.
        array: ``[k, j, i]``, integers or float32 or float64.
        grid: RAS mm.

    Raises:
        OSError: the file cannot be written.
    """
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    compress = zlib.compressobj(COMPRESSION)
    pieces = [compress.compress(plane.data) for plane in little] + [compress.flush()]
    affine = LPS_TO_RAS @ grid.affine
    name = next(name for name, kind in _TYPES.items() if np.dtype(kind) == array.dtype.newbyteorder("="))
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": True,
        "CompressedDataSize": sum(map(len, pieces)),
        "TransformMatrix": _words((affine[:3, :3] / grid.spacing).T.ravel()),
        "Offset": _words(affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _words(grid.spacing),
        "DimSize": _words(grid.size),
        "ElementType": name,
        "ElementDataFile": "LOCAL",
    }
    header = "".join(f"{field} = {value}\n" for field, value in fields.items())
    with path.open("wb") as file:
        file.writelines(chain([header.encode("ascii")], pieces))


def _words(values: Any) -> str:
    """Numbers with all the digits that bring them back."""
    return " ".join(repr(value) for value in np.asarray(values).tolist())
