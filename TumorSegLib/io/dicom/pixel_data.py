"""Whether the pixel data of a DICOM file are as long as its tags say (PS3.5 A.4, annex G for RLE).

GDCM decodes pixel data that are too short without an error and leaves uninitialised memory in the rest of the slice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from TumorSegLib.errors import ReadError

PIXEL_DATA = 0x7FE00010
NAME = "PixelData (7fe0,0010)"
ITEM, DELIMITER = 0xFFFEE000, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
LONG_FORMS = (b"OB", b"OW", b"UN")
# What JPEG, JPEG-LS and JPEG 2000 streams end with.
END_OF_IMAGE = b"\xff\xd9"


def check_pixel_data(file: BinaryIO, tags: Dataset) -> None:
    """Checks that the pixel data of one slice are as long as its tags say.

    Args:
        file: at the pixel data element, where ``pydicom.dcmread(file, stop_before_pixels=True)`` stops.
        tags: the tags before it.

    Raises:
        ReadError: they are missing or too short; the message leaves the file to the caller.
    """
    syntax = getattr(tags, "file_meta", {}).get("TransferSyntaxUID", "")
    if syntax == DeflatedExplicitVRLittleEndian:  # the file is at its end, since it was inflated as a whole
        file.seek(0)
        whole = pydicom.dcmread(file, specific_tags=["PixelData"])
        _check_length(len(whole.get("PixelData") or b""), tags)
        return
    untyped = not states_types(file)
    length = _element_length(file, ">" if syntax == ExplicitVRBigEndian else "<")
    if length == UNDEFINED:
        _check_fragments(file, tags, str(syntax))
        return
    there, needed = _size(file) - file.tell(), _bytes_of(tags)
    if untyped and syntax not in ("", ImplicitVRLittleEndian) and length - needed not in (0, 1):
        raise ReadError(f"damaged DICOM file: the value type of its {NAME} is unknown")
    if there < min(length, needed):
        raise ReadError(f"truncated DICOM file, with {there} of the {length} bytes of its {NAME}")
    _check_length(length, tags)


def states_types(file: BinaryIO) -> bool | None:
    """Whether the pixel data element states its value type (explicit VR); None where there is none.

    Args:
        file: at the element; it is left there.
    """
    here = file.tell()
    head = file.read(8)
    file.seek(here)
    return head[4:6] in LONG_FORMS if len(head) == 8 else None


def _element_length(file: BinaryIO, order: str) -> int:
    """Length of the value that the header of the pixel data element states (PS3.5 7.1)."""
    head = file.read(8)
    if len(head) < 8:
        raise ReadError(f"truncated DICOM file, without {NAME}")
    group, element = struct.unpack(order + "HH", head[:4])
    if group << 16 | element != PIXEL_DATA:
        raise ReadError(f"has ({group:04x},{element:04x}) in place of {NAME}; pixels of whole numbers are needed")
    length = file.read(4) if head[4:6] in LONG_FORMS else head[4:]
    if len(length) < 4:
        raise ReadError(f"truncated DICOM file, without {NAME}")
    return int(struct.unpack(order + "I", length)[0])


def _size(file: BinaryIO) -> int:
    here = file.tell()
    size = file.seek(0, 2)
    file.seek(here)
    return size


def _bytes_of(tags: Dataset) -> int:
    frames = int(tags.get("NumberOfFrames") or 1)
    values = int(tags.Rows) * int(tags.Columns) * int(tags.get("SamplesPerPixel") or 1) * frames
    return (values * int(tags.BitsAllocated) + 7) // 8


def _check_length(length: int, tags: Dataset) -> None:
    needed = _bytes_of(tags)
    if length < needed:
        shape = f"{tags.Columns} x {tags.Rows} pixels of {tags.BitsAllocated} bits"
        raise ReadError(f"{NAME} has {length} of the {needed} bytes of {shape}")


def _check_fragments(file: BinaryIO, tags: Dataset, syntax: str) -> None:
    """Compressed pixel data: a table of offsets, then the fragments of one stream (PS3.5 A.4)."""
    stream = b"".join(list(_fragments(file))[1:])
    if int(tags.get("NumberOfFrames") or 1) > 1:
        return
    if syntax == RLELossless:
        _check_rle(stream, int(tags.Rows) * int(tags.Columns))
    elif not stream.rstrip(b"\0").endswith(END_OF_IMAGE):
        raise ReadError(f"compressed {NAME} is cut off: it does not end with the mark FF D9")


def _fragments(file: BinaryIO) -> Iterator[bytes]:
    """The items up to the delimiter."""
    size = _size(file)
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ReadError(f"truncated DICOM file, within its compressed {NAME}")
        group, element, length = struct.unpack("<HHI", head)
        mark = group << 16 | element
        if mark == DELIMITER:
            return
        if mark != ITEM or length > size - file.tell():
            raise ReadError(f"truncated DICOM file, or damaged within its compressed {NAME}")
        yield file.read(length)


def _check_rle(stream: bytes, pixels: int) -> None:
    """RLE: a header with the offsets of the segments, each of which holds one byte of every pixel (PS3.5 annex G)."""
    count, *offsets = struct.unpack("<16I", stream[:64].ljust(64, b"\0"))
    if not 0 < count <= 15:
        raise ReadError(f"RLE {NAME} states {count} segments; 1 to 15 are possible")
    for start, end in pairwise([*offsets[:count], len(stream)]):
        decoded = _unpacked_length(stream[start:end])
        if decoded < pixels:
            raise ReadError(f"RLE {NAME} is cut off: a segment has {decoded} of {pixels} bytes")


def _unpacked_length(segment: bytes) -> int:
    """Number of bytes that a PackBits segment unpacks to."""
    position = total = 0
    while position < len(segment):
        run = segment[position]
        if run < 128:  # run + 1 bytes follow as they are
            total += min(run + 1, len(segment) - position - 1)
            position += run + 2
        elif run > 128:  # the next byte is repeated
            total += 257 - run if position + 1 < len(segment) else 0
            position += 2
        else:
            position += 1
    return total
