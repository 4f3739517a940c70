"""Truncated and damaged files that ITK would read as if they were whole."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.integrity import check_metaimage, check_nifti

IMAGE = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 1000, (20, 40, 50)).astype(np.int16))


def written(path: Path, compressed: bool = True) -> bytes:
    sitk.WriteImage(IMAGE, str(path), compressed)
    return path.read_bytes()


def nifti2(order: str = "<") -> bytes:
    """A NIfTI-2 file of 4 x 3 x 2 int16 voxels."""
    header = bytearray(544)
    struct.pack_into(order + "i", header, 0, 540)
    header[4:12] = b"n+2\0\r\n\x1a\n"
    struct.pack_into(order + "2h8q", header, 12, 4, 16, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(order + "8d", header, 104, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into(order + "q", header, 168, 544)
    return bytes(header) + bytes(48)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_whole_nifti_file_passes(tmp_path: Path, suffix: str) -> None:
    written(tmp_path / f"a{suffix}")
    check_nifti(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.0001, 0.003, 0.1, 0.5, 0.9999])
def test_a_truncated_nifti_file_is_found(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    data = written(path)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ReadError, match=r"a\.nii.*(truncated|not a NIfTI file)"):
        check_nifti(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_flipped_bit_in_a_compressed_nifti_file_is_found(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.nii.gz"
    data = bytearray(written(path))
    data[int(len(data) * share)] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"damaged|truncated"):
        check_nifti(path)


def test_gzip_files_of_several_members_and_with_zeros_behind_pass(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.nii", compressed=False)
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]) + bytes(512))
    check_nifti(path)
    path.write_bytes(gzip.compress(plain[:5000]))
    with pytest.raises(ReadError, match=f"holds 5000 of {len(plain)} bytes"):
        check_nifti(path)


def test_highly_compressed_voxels_pass(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image(300, 300, 300, sitk.sitkUInt8), str(tmp_path / "empty.nii.gz"), True)
    check_nifti(tmp_path / "empty.nii.gz")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("compressed", [True, False])
def test_nan_and_infinity_are_counted_across_chunks(tmp_path: Path, kind: Any, compressed: bool) -> None:
    array = np.zeros((40, 101, 103), kind)  # more than a chunk
    array.flat[[0, 200_000, 300_001, array.size - 1]] = np.nan, np.inf, -np.inf, np.nan
    path = tmp_path / ("a.nii.gz" if compressed else "a.nii")
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    with pytest.raises(ArgumentError, match=r"a\.nii.*: 4 voxels are NaN or infinite"):
        check_nifti(path)
    sitk.WriteImage(sitk.GetImageFromArray(np.nan_to_num(array)), str(path))
    check_nifti(path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_in_both_byte_orders(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti2(order))
    check_nifti(path)
    path.write_bytes(nifti2(order)[:-1])
    with pytest.raises(ReadError, match="holds 591 of 592 bytes"):
        check_nifti(path)


@pytest.mark.parametrize(
    ("offset", "form", "value", "error", "words"),
    [
        (0, "i", 347, ReadError, "not a NIfTI file"),
        (344, "4s", b"ni1\0", ReadError, "no NIfTI file of one piece"),
        (40, "h", 9, ReadError, "damaged NIfTI header"),
        (42, "h", -50, ReadError, "damaged NIfTI header"),
        (108, "f", 1e6, ReadError, "truncated"),
        (80, "f", 0.0, GeometryError, "spacing must be positive"),
        (84, "f", -1.0, GeometryError, "spacing must be positive"),
        (88, "f", float("nan"), GeometryError, "spacing must be positive"),
    ],
)
def test_an_impossible_nifti_header_is_refused(
    tmp_path: Path, offset: int, form: str, value: Any, error: Any, words: str
) -> None:
    path = tmp_path / "a.nii"
    data = bytearray(written(path, compressed=False))
    struct.pack_into("<" + form, data, offset, value)
    path.write_bytes(data)
    with pytest.raises(error, match=words):
        check_nifti(path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_whole_metaimages_pass(tmp_path: Path, suffix: str, compressed: bool) -> None:
    written(tmp_path / f"a{suffix}", compressed)
    check_metaimage(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(("header", "voxels"), [("a.mha", "a.mha"), ("a.mhd", "a.zraw")])
def test_damaged_and_truncated_metaimages_are_found(tmp_path: Path, header: str, voxels: str) -> None:
    written(tmp_path / header)
    data = (tmp_path / voxels).read_bytes()
    middle = len(data) // 2
    for broken in (data[:middle], data[:-1], data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]):
        (tmp_path / voxels).write_bytes(broken)
        with pytest.raises(ReadError, match=f"{voxels}: (truncated|damaged)"):
            check_metaimage(tmp_path / header)


def test_metaimage_whose_voxels_are_missing_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a.mhd")
    (tmp_path / "a.zraw").unlink()
    with pytest.raises(ReadError, match=r"a\.mhd: its voxels, the file .*a\.zraw, are missing"):
        check_metaimage(tmp_path / "a.mhd")


def test_the_sum_at_the_end_of_compressed_voxels_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    data = bytearray(written(path))
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ReadError, match="damaged") as caught:
        check_metaimage(path)
    assert isinstance(caught.value.__cause__, zlib.error)
