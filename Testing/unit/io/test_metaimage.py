"""MetaImage: lengths, streams, files of a list; what other programs write is read, what is short or damaged is not."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.unit.cases.volume_cases import GRID, image_from_array, volume
from TumorSegLib.errors import GeometryError, ReadError
from TumorSegLib.io.images import read_volume
from TumorSegLib.io.metaimage import read_metaimage

VALUES = volume().array


def written(path: Path, compressed: bool = True) -> bytes:
    sitk.WriteImage(image_from_array(VALUES, GRID), str(path), compressed)
    return path.read_bytes()


def field(data: bytes, name: str, value: str | None) -> bytes:
    """The file with another value of a field, or without the field."""
    lines = data.split(b"\n")
    n = next(n for n, line in enumerate(lines) if line.startswith(f"{name} =".encode()))
    lines[n : n + 1] = [] if value is None else [f"{name} = {value}".encode()]
    return b"\n".join(lines)


def assert_read(path: Path) -> None:
    image = read_metaimage(path)
    assert image.grid == GRID
    assert np.array_equal(image.array, VALUES)


@pytest.mark.parametrize("size", [None, "0"])
def test_the_size_of_compressed_voxels_may_be_left_open(tmp_path: Path, size: str | None) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(field(written(path), "CompressedDataSize", size))
    assert_read(path)


def test_another_size_of_compressed_voxels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    data = written(path)
    size = len(data.split(b"LOCAL\n", 1)[1])
    path.write_bytes(field(data, "CompressedDataSize", str(size // 2)))
    with pytest.raises(ReadError, match=f"CompressedDataSize is {size // 2}, but {size} bytes of voxels follow"):
        read_metaimage(path)


@pytest.mark.parametrize("voxels", [VALUES.size - 1, VALUES.size // 2, VALUES.size + 1])
def test_a_whole_stream_of_another_number_of_voxels_is_refused(tmp_path: Path, voxels: int) -> None:
    path = tmp_path / "a.mha"
    stream = zlib.compress(np.resize(VALUES, voxels).tobytes())
    header = field(written(path), "CompressedDataSize", str(len(stream))).split(b"LOCAL\n", 1)[0]
    path.write_bytes(header + b"LOCAL\n" + stream)
    with pytest.raises(ReadError, match=r"a\.mha: (truncated|damaged), it.*of voxels|truncated, its voxels take"):
        read_volume(path, "image")


def slices(folder: Path, data: str, count: int = GRID.shape[0], compressed: bool = False) -> Path:
    """The image in one file per slice, and its header."""
    for n in range(count):
        content = VALUES[n].tobytes()
        (folder / f"s{n:02d}.raw").write_bytes(zlib.compress(content) if compressed else content)
    header = field(written(folder / "a.mhd", False), "ElementDataFile", data)
    if compressed:
        header = field(header, "CompressedData", "True")
    (folder / "a.mhd").write_bytes(header)
    return folder / "a.mhd"


LIST = "LIST\n" + "\n".join(f"s{n:02d}.raw" for n in range(GRID.shape[0]))


@pytest.mark.parametrize("data", [LIST, "s%02d.raw 0 4 1"])
@pytest.mark.parametrize("compressed", [True, False])
def test_voxels_in_a_list_or_series_of_files(tmp_path: Path, data: str, compressed: bool) -> None:
    assert_read(slices(tmp_path, data, compressed=compressed))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (LIST.rpartition("\n")[0], "do not lie in 4 files"),
        ("s%02d.raw 0 3 1", "do not lie in 4 files"),
        ("s%02d.raw 0 8 2", "the file .*s06.raw, are missing"),
        ("s%02d.raw 0 4 0", "steps of 0"),
        ("LIST", "does not name a file"),
        (LIST + "\ns04.raw", "s00.raw: damaged, it contains more than the 70 bytes"),
    ],
)
def test_a_short_or_impossible_list_of_files_is_refused(tmp_path: Path, data: str, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        read_metaimage(slices(tmp_path, data))


@pytest.mark.parametrize("compressed", [True, False])
def test_a_short_file_of_a_list_is_named(tmp_path: Path, compressed: bool) -> None:
    path = slices(tmp_path, LIST, compressed=compressed)
    content = VALUES[2].tobytes()[:-2]
    (tmp_path / "s02.raw").write_bytes(zlib.compress(content) if compressed else content)
    with pytest.raises(ReadError, match=r"s02\.raw: truncated, its voxels take (at most )?82 of 84 bytes"):
        read_metaimage(path)


@pytest.mark.parametrize(("header", "voxels"), [("a.mha", "a.mha"), ("a.mhd", "a.zraw")])
def test_damaged_and_truncated_streams_are_found(tmp_path: Path, header: str, voxels: str) -> None:
    written(tmp_path / header)
    data = (tmp_path / voxels).read_bytes()
    at = len(data) - 60
    for broken in (
        data[:at],
        data[:-1],
        data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :],
        data[:-1] + bytes([data[-1] ^ 1]),
    ):
        (tmp_path / voxels).write_bytes(field(broken, "CompressedDataSize", None) if header == voxels else broken)
        with pytest.raises(ReadError, match=r"truncated|damaged"):
            read_metaimage(tmp_path / header)


def test_voxels_that_are_missing_are_named(tmp_path: Path) -> None:
    written(tmp_path / "a.mhd")
    (tmp_path / "a.zraw").unlink()
    with pytest.raises(ReadError, match=r"a\.mhd: its voxels, the file .*a\.zraw, are missing"):
        read_volume(tmp_path / "a.mhd", "image")


@pytest.mark.parametrize(("unit", "millimetres"), [("mm", 1), ("cm", 10), ("um", 0.001), ("?", 1)])
def test_units_of_length(tmp_path: Path, unit: str, millimetres: float) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(field(written(path), "CenterOfRotation", f"0 0 0\nDistanceUnits = {unit}"))
    image = read_metaimage(path)
    assert image.grid.spacing == pytest.approx(np.array(GRID.spacing) * millimetres)
    assert image.grid.origin == pytest.approx(GRID.origin * millimetres)
    assert [unit in note for note in image.notes] == ([True] if millimetres != 1 else [])


def test_text_big_endian_and_a_skipped_header(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    header = written(path, False)
    voxels = tmp_path / "a.raw"
    voxels.write_text(" ".join(map(str, VALUES.ravel())))
    path.write_bytes(field(header, "BinaryData", "False"))
    assert_read(path)
    voxels.write_bytes(VALUES.astype(">i2").tobytes())
    path.write_bytes(field(header, "BinaryDataByteOrderMSB", "True"))
    assert_read(path)
    voxels.write_bytes(b"anything" + VALUES.tobytes())
    for skip in (8, -1):
        path.write_bytes(field(header, "BinaryData", f"True\nHeaderSize = {skip}"))
        assert_read(path)


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("ElementSpacing", None, GeometryError, "has no voxel spacing"),
        ("ElementType", "MET_UCHARS", ReadError, "ElementType is 'MET_UCHARS'"),
        ("NDims", "three", ReadError, "NDims is 'three'"),
        ("DimSize", "7 6", ReadError, "DimSize is '7 6'; 3 whole"),
        ("DimSize", "7 6 0", ReadError, "DimSize is '7 6 0'"),
        ("BinaryData", "Trve", ReadError, "BinaryData is 'Trve'"),
        ("Offset", "1 2", ReadError, "Offset is '1 2'; 3 number"),
        ("Offset", "0 0 0 Offset = 1 2 3", ReadError, "contains the field 'Offset ='"),
        ("CenterOfRotation", "0 0 0JOffset = 1 2 3", ReadError, "contains the field 'Offset ='"),
        ("CenterOfRotation", "0 0 0\nOffzet = 1 2 3", ReadError, "unknown field 'Offzet'; 'Offset' is meant"),
        ("CenterOfRotation", "0 0 0\nOffset0= 1 2 3", ReadError, "unknown field 'Offset0'; 'Offset' is meant"),
        ("CenterOfRotation", "0 0 0\nOffset = 1 2 3", ReadError, "Offset is given twice"),
        ("CenterOfRotation", "0 0 0\nElementToIntensityFunctionSlope = 2", ReadError, "Slope is 2; only 1"),
        ("CenterOfRotation", "0 0 0\nHeaderSizePerSlice = 2", ReadError, "HeaderSizePerSlice is 2; only 0"),
        ("CenterOfRotation", "0 0 0\nPatient of ours", ReadError, "has no '='"),
    ],
)
def test_impossible_headers_are_refused(tmp_path: Path, name: str, value: Any, error: Any, words: str) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(field(written(path), name, value))
    with pytest.raises(error, match=words):
        read_metaimage(path)


def test_fields_of_other_programs_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(field(written(path), "CenterOfRotation", "0 0 0\nSliceTimes = 1 2 3\nComment = from afar"))
    assert_read(path)
