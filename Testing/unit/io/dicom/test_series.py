"""DICOM series: synthetic ones with every fault that must be refused, and public patients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataelem import DataElement

from Testing.unit.cases.dicom_series import cut_off, pet_tags, voxels, write_series, write_slice
from TumorSegLib.errors import GeometryError, ReadError, RoleError
from TumorSegLib.io.dicom.files import scan
from TumorSegLib.io.dicom.series import read_series

OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, 1.0]
REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 1, 0], OBLIQUE, [-1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]])
def test_series_in_any_orientation_is_ordered_by_position(tmp_path: Path, orientation: Any) -> None:
    names = ["e.dcm", "b", "d.dcm", "a.ima", "c.dcm"]
    stored = write_series(tmp_path, names=names, ImageOrientationPatient=orientation)
    image = read_series(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(image), stored.astype(int) - 1024)
    assert image.GetSpacing() == pytest.approx((1.5, 2.0, 3.0))
    (series,) = scan(tmp_path)[0]
    assert [path.name for path in series.files] == names
    for n, tags in enumerate(series.tags):
        assert image.TransformIndexToPhysicalPoint((0, 0, n)) == pytest.approx(tags.ImagePositionPatient)
    row, column = np.split(np.asarray(orientation, float), 2)
    far = np.array([10, 20, 30]) + 6 * 1.5 * row + 5 * 2.0 * column
    assert image.TransformIndexToPhysicalPoint((6, 5, 0)) == pytest.approx(far)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_every_slice_gets_its_own_rescale_slope(tmp_path: Path, modality: str) -> None:
    stored = voxels()
    for n in range(5):
        tags = {"RescaleSlope": 0.5 + n if n else 1, "RescaleIntercept": n, "modality": modality}
        write_slice(tmp_path / f"{n}.dcm", stored[n], (0, 0, 3 * n), **tags)
    image = read_series(tmp_path, role="other")
    slopes, intercepts = np.array([1, 1.5, 2.5, 3.5, 4.5]), np.arange(5)
    expected = stored * slopes[:, None, None] + intercepts[:, None, None]
    assert np.allclose(sitk.GetArrayFromImage(image), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("slopes", "intercepts"), [([1, 40, 40, 60, 80], [0] * 5), ([1] * 5, [0, 0, -20000, 0, 0]), ([3] * 5, [-7] * 5)]
)
def test_voxels_do_not_wrap_round_where_whole_scales_differ(tmp_path: Path, slopes: Any, intercepts: Any) -> None:
    stored = voxels() * np.uint16(20)
    for n in range(5):
        tags = {"RescaleSlope": slopes[n], "RescaleIntercept": intercepts[n]}
        write_slice(tmp_path / f"{n}.dcm", stored[n], (0, 0, 3 * n), **tags)
    expected = stored * np.reshape(slopes, (5, 1, 1)) + np.reshape(intercepts, (5, 1, 1))
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path)), expected)


def test_voxels_do_not_wrap_round_where_the_stored_type_differs(tmp_path: Path) -> None:
    stored = voxels().astype(np.int16)
    stored[3:] -= 1000
    for n in range(5):
        write_slice(tmp_path / f"{n}.dcm", stored[n], (0, 0, 3 * n), PixelRepresentation=int(n > 2), RescaleIntercept=0)
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path)), stored)


@pytest.mark.parametrize("role", ["pet", "pet_late"])
def test_pet_becomes_suv(tmp_path: Path, role: str) -> None:
    stored = write_series(tmp_path, **pet_tags(RescaleSlope=0.25))
    image = read_series(tmp_path, role=role)
    assert image.GetPixelID() == sitk.sitkFloat32
    assert np.allclose(sitk.GetArrayFromImage(image), stored * 0.25 * 80000 / 4e8, rtol=1e-6)


@pytest.mark.parametrize(("modality", "role"), [("PT", "ct"), ("CT", "pet"), ("CT", "mr_t1"), ("MR", "ct")])
def test_the_modality_must_be_that_of_the_role(tmp_path: Path, modality: str, role: str) -> None:
    write_series(tmp_path, modality=modality)
    with pytest.raises(RoleError, match=f"modality {modality}, but role '{role}' needs"):
        read_series(tmp_path, role=role)


def two_series(folder: Path) -> None:
    write_series(folder / "a", SeriesInstanceUID="1.1", SeriesDescription="lung")
    write_series(folder / "b", SeriesInstanceUID="1.2", modality="MR", SeriesDescription="T2 FS")


def test_several_series_are_listed_and_one_is_picked(tmp_path: Path) -> None:
    two_series(tmp_path)
    assert [(one.uid, one.modality, one.description, len(one.files)) for one in scan(tmp_path)[0]] == [
        ("1.1", "CT", "lung", 5),
        ("1.2", "MR", "T2 FS", 5),
    ]
    with pytest.raises(ReadError, match="contains 2 series; pick one as PATH#UID") as caught:
        read_series(tmp_path)
    for text in (f"{tmp_path}#1.1  CT", '"lung"', f"{tmp_path}#1.2  MR", '"T2 FS"', "5 slices"):
        assert text in str(caught.value)
    assert read_series(tmp_path, "1.2", "mr_t2").GetSize() == (7, 6, 5)
    with pytest.raises(ReadError, match=r"contains no series 1\.3; pick one"):
        read_series(tmp_path, "1.3")


def test_contours_segmentations_and_other_files_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path)
    write_slice(tmp_path / "contours.dcm", voxels()[0], (0, 0, 0), "RTSTRUCT", Rows=None, SeriesInstanceUID="1.8")
    write_slice(tmp_path / "mask.dcm", voxels()[0], (0, 0, 0), "SEG", SeriesInstanceUID="1.9")
    (tmp_path / "LICENSE.txt").write_text("text")
    (tmp_path / "._00.dcm").write_bytes(b"resource fork")
    assert [one.uid for one in scan(tmp_path)[0]] == ["1.2.3"]
    assert read_series(tmp_path).GetSize() == (7, 6, 5)


def test_one_slice_stands_for_its_series(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesInstanceUID="1.1")
    write_series(tmp_path, SeriesInstanceUID="1.2", names=[f"other{n}" for n in range(5)])
    assert read_series(tmp_path / "other2").GetSize() == (7, 6, 5)


def test_a_truncated_slice_matters_to_its_own_series_only(tmp_path: Path) -> None:
    two_series(tmp_path)
    path = tmp_path / "b" / "04.dcm"  # the last slice: without it the others would still be a regular stack
    for kept in range(path.stat().st_size - 1, 0, -17):
        cut_off(path, kept)
        assert read_series(tmp_path, "1.1").GetSize() == (7, 6, 5)
        with pytest.raises((ReadError, GeometryError)):
            read_series(tmp_path, "1.2", "mr_t2")


@pytest.mark.parametrize("kept", [450, 480, 600, 700])
def test_a_truncated_slice_of_another_series_is_recognised_by_its_tags(tmp_path: Path, kept: int) -> None:
    write_series(tmp_path, SeriesInstanceUID="1.1")
    write_series(tmp_path, SeriesInstanceUID="1.2", names=[f"other{n}" for n in range(5)])
    cut_off(tmp_path / "other4", kept)
    assert read_series(tmp_path, "1.1").GetSize() == (7, 6, 5)
    with pytest.raises(ReadError, match=r"other4: truncated"):
        read_series(tmp_path, "1.2")
    with pytest.raises(ReadError, match="contains 2 series; pick one"):
        read_series(tmp_path)
    cut_off(tmp_path / "04.dcm", 0)  # without tags it may belong to either
    with pytest.raises(ReadError, match=r"04\.dcm: .*truncated .*may be a slice of series 1\.1: .*take it out"):
        read_series(tmp_path, "1.1")


def test_only_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "0.dcm").write_bytes(b"")
    with pytest.raises(ReadError, match=r"0\.dcm: .*truncated .0 bytes"):
        read_series(tmp_path)


def test_a_contour_file_is_no_image(tmp_path: Path) -> None:
    write_slice(tmp_path / "contours.dcm", voxels()[0], (0, 0, 0), "RTSTRUCT", Rows=None)
    with pytest.raises(ReadError, match=r"contours\.dcm: not a DICOM image"):
        read_series(tmp_path / "contours.dcm")


@pytest.mark.parametrize(
    ("heights", "words"),
    [
        ((0, 3, 6, 12, 15), r"6\.00 mm instead of 3\.00 mm between 02\.dcm and 03\.dcm .36\.00 and 42\.00 mm"),
        ((0, 3, 6, 9, 9), r"1 of 5 slices share a position with another, first 03\.dcm and 04\.dcm at 39\.00 mm"),
        ((0, 3, 6, 9, 13), r"4\.00 mm instead of 3\.00 mm"),
        ((0,), "a single slice"),
    ],
)
def test_irregular_stacks_are_refused(tmp_path: Path, heights: Any, words: str) -> None:
    write_series(tmp_path, heights)
    with pytest.raises(ReadError, match=words):
        read_series(tmp_path)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_accepted(tmp_path: Path) -> None:
    write_series(tmp_path, np.round(np.arange(40) * 0.625, 1))
    assert read_series(tmp_path).GetSpacing()[2] == pytest.approx(0.625, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"ImageOrientationPatient": OBLIQUE}, GeometryError, "ImageOrientationPatient differs"),
        ({"PixelSpacing": [2.0, 2.0]}, GeometryError, "PixelSpacing differs"),
        ({"Rows": 7, "Columns": 6}, GeometryError, "7 x 6 and 6 x 7"),
        ({"PixelSpacing": [0.0, 1.5]}, GeometryError, r"odd\.dcm: PixelSpacing is .*positive"),
        ({"PixelSpacing": None}, ReadError, r"odd\.dcm: PixelSpacing is None"),
        ({"ImagePositionPatient": None}, ReadError, r"odd\.dcm: ImagePositionPatient is None; 3 numbers"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, GeometryError, r"odd\.dcm.*not orthonormal"),
        ({"NumberOfFrames": 4}, ReadError, r"odd\.dcm: multi-frame DICOM .4 frames"),
        ({"SamplesPerPixel": 3}, ReadError, r"odd\.dcm: 3 values per pixel"),
    ],
)
def test_a_slice_unlike_the_others_is_refused(tmp_path: Path, changes: Any, error: Any, words: str) -> None:
    write_series(tmp_path, (0, 3, 6, 9))
    write_slice(tmp_path / "odd.dcm", voxels()[0], (10, 20, 42), **changes)
    with pytest.raises(error, match=words):
        read_series(tmp_path)


@pytest.mark.parametrize("name", ["ImagePositionPatient", "PixelSpacing", "RescaleSlope"])
def test_a_tag_that_is_no_number_is_refused(tmp_path: Path, name: str) -> None:
    write_series(tmp_path)
    tags = pydicom.dcmread(tmp_path / "02.dcm")
    length = {"ImagePositionPatient": 3, "PixelSpacing": 2, "RescaleSlope": 1}[name]
    tags[name] = DataElement(name, "LO", ["left"] * length)
    tags.save_as(tmp_path / "02.dcm")
    data = (tmp_path / "02.dcm").read_bytes()
    kind = data.index(b"left") - 4  # the type before the 2-byte length
    (tmp_path / "02.dcm").write_bytes(data[:kind] + b"DS" + data[kind + 2 :])
    with pytest.raises(ReadError, match=r"damaged tags|numbers are needed"):
        read_series(tmp_path)


def test_gantry_tilt_is_refused(tmp_path: Path) -> None:
    for n in range(5):
        write_slice(tmp_path / f"{n}.dcm", voxels()[n], (0, 0.5 * n, 3 * n))
    with pytest.raises(GeometryError, match=r"drift sideways by up to 2\.00 mm"):
        read_series(tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 300, 500, 640, 704])
def test_a_truncated_file_is_named(tmp_path: Path, kept: int, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path)
    cut_off(tmp_path / "03.dcm", kept)
    with pytest.raises(ReadError, match=r"03\.dcm: .*truncated"):
        read_series(tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the size of the process and a limit on it")
def test_a_lack_of_memory_is_no_damaged_file(tmp_path: Path) -> None:
    code = """
import os, resource, sys
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # the stacks of many threads would not fit
from TumorSegLib.io.dicom.series import read_series
from TumorSegLib.errors import ResourceError
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = int(status["VmSize"].split()[0]) * 1024 + 20_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    read_series(sys.argv[1])
except ResourceError as error:
    sys.exit(str(error))
"""
    for n in range(4):
        write_slice(tmp_path / f"{n}.dcm", np.zeros((2560, 2560), np.uint16), (0, 0, n))
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert run.stderr == f"{tmp_path}: not enough memory to read series 1.2.3\n"


def test_a_folder_without_images_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="contains no DICOM images"):
        read_series(tmp_path)
    with pytest.raises(ReadError, match="no such folder"):
        read_series(tmp_path / "nowhere")


def test_reading_dicom_prints_nothing_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, np.round(np.arange(9) * 0.625, 1))  # ITK warns of uneven spacing
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    read_series(tmp_path)
    assert capfd.readouterr().err == ""
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == before
