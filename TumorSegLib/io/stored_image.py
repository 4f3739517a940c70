"""Voxels of image files: raw, compressed or as text, in one file or in several, exactly as many as the header states.

No length is trusted: a stream that ends early, goes on too long or fails its checksum is an error, so that no damaged
file gives an image. Damage to uncompressed voxels alone cannot be detected, since these formats have no checksum for
them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ReadError, ResourceError, TumorSegError
from TumorSegLib.files import readable
from TumorSegLib.geometry.grid import Grid

CHUNK = 1 << 20
#: Level of compression of written files, 1 to 9; at 6 a CT of 6 million voxels takes 0.44 s in place of 0.21 s, for a
#: file as large.
COMPRESSION = 3
#: Window bits: which wrapping of deflate zlib expects.
GZIP, ZLIB_OR_GZIP = 31, 47
# No stream of deflate unpacks to more than 1032 times its length (RFC 1951).
MOST_INFLATION = 1040


@dataclass(frozen=True, eq=False)
class StoredImage:
    """What a file holds.

    Attributes:
        array: ``[k, j, i]``, or ``[k, j, i, n]`` with n values per voxel; of the file's number type, or float32 or
            float64 where the file scales its values.
        grid: RAS mm.
        notes: sentences on how the file was read.
        fields: free text of the header, name to value.
        step: distance between neighbouring values where the file scales whole numbers; 0 where it does not.
    """

    array: npt.NDArray[Any]
    grid: Grid
    notes: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    step: float = 0.0


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file in front of what is wrong with its content, or names it where memory does not suffice."""
    try:
        yield
    except TumorSegError as error:
        raise type(error)(f"{readable(str(path))}: {error}") from error
    except MemoryError as error:
        raise ResourceError(f"{readable(str(path))}: not enough memory to read it ({error})") from error


def raw(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file, in pieces."""
    return iter(lambda: file.read(CHUNK), b"")


def inflated(file: BinaryIO, window_bits: int) -> Iterator[bytes]:
    """The rest of a file unpacked, in pieces; checksums are checked at the end, so it must be exhausted.

    Raises:
        ReadError: it is truncated, damaged, or followed by something other than zeros or another stream.
    """
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
        if "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        raise ReadError(f"damaged, its compressed voxels cannot be unpacked ({error})") from error
    if not inflate.eof:
        raise ReadError(f"truncated, its compressed voxels end after {size} bytes")


def head(chunks: Iterator[bytes], count: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes of a stream, fewer where it ends before, and the whole stream once more."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= count:
            break
    return start[:count], chain([start], chunks)


def skipped(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The stream without its first bytes."""
    for chunk in chunks:
        yield chunk[count:]
        count = max(count - len(chunk), 0)


def filled(chunks: Iterator[bytes], kind: np.dtype[Any], count: int, most: int) -> npt.NDArray[Any]:
    """Exactly as many numbers as the header states, in the byte order of this machine.

    Args:
        chunks: their bytes.
        kind: number type, in the file's byte order.
        count: of numbers.
        most: bytes that the file can hold at the most; memory for more is not even asked for.

    Raises:
        ReadError: there are fewer or more.
        MemoryError: they do not fit.
    """
    needed = count * kind.itemsize
    if most < needed:
        raise ReadError(f"truncated, its voxels take at most {most} of {needed} bytes")
    room, size = np.empty(needed, np.uint8), 0
    for chunk in chunks:
        end = size + len(chunk)
        if end > needed:
            raise ReadError(f"damaged, it contains more than the {needed} bytes of voxels that its header states")
        room[size:end] = np.frombuffer(chunk, np.uint8)
        size = end
    if size < needed:
        raise ReadError(f"truncated, its voxels take {size} of {needed} bytes")
    return _native(room.view(kind))


def parsed(text: bytes, kind: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    """Exactly as many numbers from text, apart from each other by white space or commas.

    Raises:
        ReadError: there are fewer or more, or a word is not a number of the type.
    """
    words = text.replace(b",", b" ").split()
    if len(words) != count:
        raise ReadError(f"truncated or damaged, it contains {len(words)} voxels as text, its header states {count}")
    try:
        return np.array([int(word) for word in words] if kind.kind in "iu" else words, kind.newbyteorder("="))
    except (ValueError, OverflowError) as error:
        raise ReadError(f"damaged, its voxels as text are not {kind.name} numbers ({error})") from error


def joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The voxels of several files, one after the other."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def check_3d(size: Sequence[int]) -> None:
    """Raises :class:`ReadError` unless there are three axes, further ones being of length 1.

    Args:
        size: number of voxels along i, j, k ...
    """
    shape = f"a {len(size)}D image of {' x '.join(map(str, size))} voxels"
    if len(size) < 3:
        one_slice = " x ".join([*map(str, size), "1"])
        raise ReadError(f"{shape}; a 3D image is needed, so save it as one slice, {one_slice} voxels")
    if max(size[3:], default=1) > 1:
        raise ReadError(f"{shape}; a 3D image is needed, so save a single time point")


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
