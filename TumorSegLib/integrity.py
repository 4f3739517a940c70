"""Whether an image file is whole, where ITK does not look.

Measured with ITK 5.4: for a truncated .nii or .nii.gz, and for a .nii.gz, .mha or .mhd whose compressed voxels are
damaged, the reader returns an image without an error, the missing voxels being whatever memory held. A full disk leaves
such files, since the NIfTI writer reports no error either. NaN and infinity in NIfTI files it turns into 0 unsaid.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from TumorSegLib.errors import ArgumentError, GeometryError, ReadError

CHUNK = 1 << 20
GZIP, ZLIB = 31, 15  # window bits: which of the two wrappings of deflate zlib expects
LONGEST_HEADER = 1 << 16


class _Fields(NamedTuple):
    """Offset and struct format of the header fields that tell where the voxels are."""

    magic: int
    dimensions: tuple[int, str]
    number_type: tuple[int, str]
    edges: tuple[int, str]
    voxels: tuple[int, str]


#: By header length: NIfTI-1.1 and NIfTI-2 (nifti1.h, nifti2.h of nifti.nimh.nih.gov).
NIFTI = {
    348: _Fields(344, (40, "8h"), (70, "2h"), (76, "8f"), (108, "f")),
    540: _Fields(4, (16, "8q"), (12, "2h"), (104, "8d"), (168, "q")),
}
#: NIfTI's codes for number types that can be NaN.
FLOATS = {16: "f4", 64: "f8"}


class _Voxels(NamedTuple):
    """First byte and the one behind the last; numpy type of floating point voxels."""

    start: int
    end: int
    floats: np.dtype[Any] | None


def check_nifti(path: Path) -> None:
    """Checks that a .nii or .nii.gz file unpacks, is as long as its header says, and holds finite numbers.

    Raises:
        ReadError: it is truncated, damaged, or no NIfTI file of one piece.
        GeometryError: voxel edges (pixdim) that are not positive; ITK would mirror the image or take 1 mm.
        ArgumentError: NaN or infinite voxels.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(CHUNK)
        zipped = header.startswith(b"\x1f\x8b")
        if zipped:
            header = _inflate_start(header, path)
        voxels = _nifti_voxels(header, path)
        file.seek(0)
        chunks = _inflated(file, GZIP, path) if zipped else iter(lambda: file.read(CHUNK), b"")
        size, bad = _size_and_bad(chunks, voxels)
    if size < voxels.end:
        raise ReadError(f"{path}: truncated, it holds {size} of {voxels.end} bytes")
    if bad:
        raise ArgumentError(f"{path}: {bad} voxels are NaN or infinite; finite values are needed")


def check_metaimage(path: Path) -> None:
    """Checks that the compressed voxels of a .mha or .mhd file unpack; uncompressed ones are checked by ITK.

    Raises:
        ReadError: they are truncated or damaged, or their file is missing.
        OSError: a file cannot be read.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields and file.tell() < LONGEST_HEADER and (line := file.readline(CHUNK)):
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
        if fields.get("CompressedData", "").lower() != "true":
            return
        data = fields.get("ElementDataFile", "")
        if data.upper() == "LOCAL":
            _exhaust(_inflated(file, ZLIB, path))
            return
    voxels = path.parent / data
    if not voxels.is_file():
        raise ReadError(f"{path}: its voxels, the file {voxels}, are missing")
    with voxels.open("rb") as file:
        _exhaust(_inflated(file, ZLIB, voxels))


def _inflate_start(start: bytes, path: Path) -> bytes:
    try:
        return zlib.decompressobj(GZIP).decompress(start, max(NIFTI))
    except zlib.error as error:
        raise ReadError(f"{path}: damaged, it cannot be unpacked ({error})") from error


def _inflated(file: BinaryIO, window_bits: int, path: Path) -> Iterator[bytes]:
    """The decompressed bytes; only at the end are the checksums, so it must be exhausted."""
    size, inflate, chunk = 0, zlib.decompressobj(window_bits), b""
    try:
        while chunk := chunk or file.read(CHUNK):
            if inflate.eof:  # a gzip file may have several members, and zeros behind the last
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    continue
                inflate = zlib.decompressobj(window_bits)
            plain = inflate.decompress(chunk, 16 * CHUNK)  # an empty mask shrinks to a thousandth: limit memory
            size += len(plain)
            yield plain
            chunk = inflate.unconsumed_tail or inflate.unused_data
    except zlib.error as error:
        raise ReadError(f"{path}: damaged, its compressed voxels cannot be unpacked ({error})") from error
    if not inflate.eof:
        raise ReadError(f"{path}: truncated, its compressed voxels end after {size} bytes")


def _exhaust(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


def _size_and_bad(chunks: Iterator[bytes], voxels: _Voxels) -> tuple[int, int]:
    """Number of bytes, and of voxels that are NaN or infinite."""
    size, bad, rest = 0, 0, b""
    for chunk in chunks:
        if voxels.floats is not None:
            rest += chunk[max(voxels.start - size, 0) : max(voxels.end - size, 0)]
            whole = len(rest) // voxels.floats.itemsize
            bad += whole - int(np.isfinite(np.frombuffer(rest, voxels.floats, whole)).sum())
            rest = rest[whole * voxels.floats.itemsize :]
        size += len(chunk)
    return size, bad


def _nifti_voxels(header: bytes, path: Path) -> _Voxels:
    order = next((o for o in "<>" if len(header) >= 4 and struct.unpack_from(o + "i", header)[0] in NIFTI), None)
    if order is None:
        raise ReadError(f"{path}: not a NIfTI file, or damaged")
    length: int = struct.unpack_from(order + "i", header)[0]
    if len(header) < length:
        raise ReadError(f"{path}: truncated, it ends within its header of {length} bytes")
    fields = NIFTI[length]
    if header[fields.magic : fields.magic + 3] not in (b"n+1", b"n+2"):
        raise ReadError(f"{path}: no NIfTI file of one piece; an .hdr and .img pair must be converted to .nii first")
    axes, *sizes = (int(n) for n in _unpack(header, order, fields.dimensions))
    if not 1 <= axes <= 7 or min(sizes[:axes]) < 1:
        raise ReadError(f"{path}: damaged NIfTI header, number and lengths of the axes are {axes}, {sizes}")
    edges = _unpack(header, order, fields.edges)[1 : 1 + min(axes, 3)]
    if not all(0 < edge < math.inf for edge in edges):
        raise GeometryError(f"{path}: voxel spacing must be positive, got {edges} mm")
    code, bits = _unpack(header, order, fields.number_type)
    start = int(_unpack(header, order, fields.voxels)[0])
    kind = FLOATS.get(int(code))
    end = start + math.prod(sizes[:axes]) * int(bits) // 8
    return _Voxels(start, end, np.dtype(order + kind) if kind else None)


def _unpack(header: bytes, order: str, field: tuple[int, str]) -> tuple[float, ...]:
    return struct.unpack_from(order + field[1], header, field[0])
