"""NRRD: checksums, units and spaces; what other programs write is read, what is short or damaged is not."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.unit.cases.volume_cases import GRID, mask, volume
from TumorSegLib.errors import GeometryError, ReadError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.io.images import read_mask, write_mask
from TumorSegLib.io.nrrd import read_nrrd

VALUES = volume().array
PLAIN = Grid.from_spacing(GRID.shape, (1.0, 2.0, 3.0), (-10, -20, 30), np.diag([-1, -1, 1]))
HEADER = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "7 6 5",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,20,30)",
}


def written(path: Path, content: bytes | None = None, **changes: str | None) -> Path:
    """A file of HEADER with some fields changed, or left out where None; ``_`` stands for a blank."""
    fields = HEADER | {name.replace("_", " "): value for name, value in changes.items()}
    lines = ["NRRD0005", "# a comment", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    header = "\n".join([*lines, "key:=a value", "", ""]).encode()
    path.write_bytes(header + (VALUES.tobytes() if content is None else content))
    return path


def assert_read(path: Path) -> None:
    image = read_nrrd(path)
    assert image.grid == PLAIN
    assert np.array_equal(image.array, VALUES)


def test_every_bit_of_a_segmentation_s_voxels_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "m.seg.nrrd"
    write_mask(mask(1, 2), path)
    data = path.read_bytes()
    begin, right = data.index(b"\n\n") + 2, mask(1, 2).array
    passed = 0
    for bit in range(begin * 8, len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        try:
            assert np.array_equal(read_mask(path).array, right)
            passed += 1
        except ReadError as error:
            assert "damaged" in str(error) or "truncated" in str(error)  # noqa: PT017 - not every bit matters
    # The time, the system and what fills up the last byte tell nothing of the voxels.
    assert passed < 70


@pytest.mark.parametrize("voxels", [VALUES.size - 1, VALUES.size + 1])
def test_a_whole_stream_of_another_number_of_voxels_is_refused(tmp_path: Path, voxels: int) -> None:
    content = gzip.compress(np.resize(VALUES, voxels).tobytes())
    with pytest.raises(ReadError, match=r"its voxels take 418 of 420 bytes|more than the 420 bytes"):
        read_nrrd(written(tmp_path / "a.nrrd", content, encoding="gzip"))


@pytest.mark.parametrize(("unit", "millimetres"), [("mm", 1), ("cm", 10), ("m", 1000), ("um", 0.001), ("", 1)])
def test_lengths_in_any_unit_become_mm(tmp_path: Path, unit: str, millimetres: float) -> None:
    units = f'"{unit}" "{unit}" "{unit}"'
    for changes in (
        {"space_units": units},
        {"space": None, "space_directions": None, "space_origin": None, "spacings": "1 2 3", "units": units},
    ):
        image = read_nrrd(written(tmp_path / "a.nrrd", **changes))
        assert image.grid.spacing == pytest.approx(np.array([1, 2, 3]) * millimetres)
        assert [unit in note for note in image.notes] == ([True] if millimetres != 1 else [])
    image = read_nrrd(written(tmp_path / "a.nrrd", space_units=units))
    assert image.grid.origin == pytest.approx(np.array([-10, -20, 30]) * millimetres)
    image = read_nrrd(written(tmp_path / "a.nrrd", space_units=f'"mm" "{unit}" "mm"'))
    assert image.grid.spacing == pytest.approx((1, 2 * millimetres, 3))


@pytest.mark.parametrize(
    ("space", "signs"),
    [("LPS", (-1, -1, 1)), ("right-anterior-superior", (1, 1, 1)), ("RAS", (1, 1, 1)), ("LAS", (-1, 1, 1))],
)
def test_spaces(tmp_path: Path, space: str, signs: Any) -> None:
    image = read_nrrd(written(tmp_path / "a.nrrd", space=space))
    assert image.grid.origin == pytest.approx(np.array([10, 20, 30]) * signs)
    assert image.grid.direction == pytest.approx(np.diag(signs))
    assert sitk.ReadImage(str(tmp_path / "a.nrrd")).GetOrigin() == pytest.approx(image.grid.origin * (-1, -1, 1))


def test_a_space_of_no_anatomy_is_noted(tmp_path: Path) -> None:
    (note,) = read_nrrd(written(tmp_path / "a.nrrd", space="scanner-xyz")).notes
    assert "'scanner-xyz', which does not name anatomical axes; LPS assumed" in note


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("raw", VALUES.tobytes()),
        ("gz", gzip.compress(VALUES.tobytes())),
        ("gzip", gzip.compress(VALUES.tobytes()[:99]) + gzip.compress(VALUES.tobytes()[99:]) + bytes(64)),
        ("ascii", " ".join(map(str, VALUES.ravel())).encode()),
        ("hex", VALUES.tobytes().hex().encode()),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, content: bytes) -> None:
    assert_read(written(tmp_path / "a.nrrd", content, encoding=encoding))


def test_big_endian_skipped_bytes_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    assert_read(written(path, VALUES.astype(">i2").tobytes(), endian="big"))
    assert_read(written(path, b"12345" + VALUES.tobytes(), byte_skip="5"))
    assert_read(written(path, b"anything" + VALUES.tobytes(), byte_skip="-1"))
    assert_read(written(path, b"one\ntwo\n" + VALUES.tobytes(), line_skip="2"))


@pytest.mark.parametrize("data", ["LIST\n" + "\n".join(f"s{n}.raw" for n in range(5)), "s%d.raw 0 4 1"])
def test_voxels_in_several_files(tmp_path: Path, data: str) -> None:
    for n, plane in enumerate(VALUES):
        (tmp_path / f"s{n}.raw").write_bytes(plane.tobytes())
    fields = "\n".join(f"{name}: {value}" for name, value in HEADER.items())
    (tmp_path / "a.nhdr").write_text(f"NRRD0004\n{fields}\ndata file: {data}\n")
    assert_read(tmp_path / "a.nhdr")
    (tmp_path / "s3.raw").unlink()
    with pytest.raises(ReadError, match=r"the file .*s3\.raw, are missing"):
        read_nrrd(tmp_path / "a.nhdr")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"type": "shirt"}, ReadError, "unsupported number type: 'shirt'"),
        ({"type": None}, ReadError, "lacks type"),
        ({"endian": None}, ReadError, "endian is ''"),
        ({"encoding": "bzip2"}, ReadError, "unsupported encoding: 'bzip2'; raw, gzip"),
        ({"sizes": "7 6"}, ReadError, "sizes is '7 6'; 3 whole"),
        ({"sizes": "7 6 6"}, ReadError, "at most 420 of 504 bytes"),
        ({"sizes": "7 6 4"}, ReadError, "more than the 336 bytes"),
        ({"dimension": "2"}, ReadError, "sizes is '7 6 5'; 2 whole"),
        ({"space": "left-posterior-inferior"}, ReadError, "unsupported space: 'left-posterior-inferior'"),
        ({"space_units": '"mm" "mm" "inch"'}, ReadError, "space units is 'inch'; lengths in mm, cm, m and um"),
        ({"space_units": '"mm" "mm"'}, ReadError, "3 quoted names are needed"),
        ({"space_origin": "(1,2)"}, ReadError, r"space origin is '\(1,2\)'; 3 numbers"),
        ({"space_directions": "(1,0,0) (0,2,0) (0,0,x)"}, ReadError, "space directions is 'x'"),
        ({"space_directions": "(1,0,0) (0,2,0)"}, ReadError, "3 are needed"),
        ({"space_directions": None}, GeometryError, "has no voxel spacing"),
        ({"space_directions": None, "spacings": "1 2 3"}, GeometryError, "a space but no space directions"),
        ({"space_directions": None, "spacings": "1 0 3"}, GeometryError, "spacing must be positive"),
        ({"space_directions": None, "spacings": "1 2 3", "axis_mins": "0 0 0"}, GeometryError, "axis mins and maxs"),
        ({"kinds": "domain domain dumain"}, ReadError, "kind of an axis is 'dumain'"),
        ({"spase": "LPS"}, ReadError, "unknown field in the line 'spase: LPS'"),
        ({"labels": "a space origin: (0,0,0)"}, ReadError, "'labels' contains the field 'space origin:'"),
    ],
)
def test_impossible_headers_are_refused(tmp_path: Path, changes: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        read_nrrd(written(tmp_path / "a.nrrd", **changes))


@pytest.mark.parametrize("content", [b"NRRD0009\n", b"NRRD0004\ntype: short\n", b"nothing"])
def test_what_is_no_nrrd_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.nrrd").write_bytes(content)
    with pytest.raises(ReadError, match=r"not an NRRD file|lacks dimension, sizes, encoding"):
        read_nrrd(tmp_path / "a.nrrd")


def test_fields_without_their_blanks_are_known(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"space origin", b"spaceorigin").replace(b"\n", b"\r\n", 12))
    assert_read(path)
