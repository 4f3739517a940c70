"""Pixels of DICOM series: too short, compressed, inverted for display, lifted above zero, without their scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from Testing.unit.cases.dicom_series import pet_tags, voxels, write_series, write_slice
from TumorSegLib.errors import ReadError, SuvError
from TumorSegLib.io.dicom.files import scan
from TumorSegLib.io.dicom.series import read_series


def read(folder: Path, **options: Any) -> Any:
    return sitk.GetArrayFromImage(read_series(folder, **options))


def change(path: Path, **tags: Any) -> None:
    """Sets tags of a file; None removes."""
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("kept", [0, 2, 42, 82])
def test_pixel_data_shorter_than_the_slice_are_refused(tmp_path: Path, modality: str, kept: int) -> None:
    stored = write_series(tmp_path, modality=modality)
    change(tmp_path / "02.dcm", PixelData=stored[2].tobytes()[:kept])
    with pytest.raises(ReadError, match=rf"02\.dcm: PixelData .7fe0,0010. has {kept} of the 84 bytes of 7 x 6 pixels"):
        read_series(tmp_path, role="image")
    assert [len(series.slices) for series in scan(tmp_path)[0]] == [5]


def test_padding_after_the_pixels_does_no_harm(tmp_path: Path) -> None:
    stored = write_series(tmp_path)
    change(tmp_path / "02.dcm", PixelData=stored[2].tobytes() + bytes(40))
    assert np.array_equal(read(tmp_path), stored.astype(int) - 1024)


def test_a_slice_without_pixels_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path)
    change(tmp_path / "02.dcm", PixelData=None)
    with pytest.raises(ReadError, match=r"02\.dcm: truncated DICOM file, without PixelData"):
        read_series(tmp_path)
    change(tmp_path / "02.dcm", FloatPixelData=np.zeros(42, np.float32).tobytes())
    with pytest.raises(ReadError, match=r"has .7fe0,0008. in place of PixelData"):
        read_series(tmp_path)


def large_series(folder: Path, **tags: Any) -> Any:
    """As :func:`write_series`, of slices that encoders of small images do not fail at."""
    stored = np.random.default_rng(0).integers(0, 2000, (3, 32, 30)).astype(np.uint16)
    for n in range(3):
        write_slice(folder / f"{n:02d}.dcm", stored[n], (0, 0, 3 * n), **tags)
    return stored


def compressed(path: Path, pixels: Any, compressor: str) -> Any:
    """Writes a slice over ``path``; returns its data set with the one frame of its stream as ``frame``."""
    if compressor == "RLE":
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
    else:
        image = sitk.GetImageFromArray(pixels[None])
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(path.with_suffix(".tmp.dcm")))
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.Execute(image)
        other = pydicom.dcmread(path.with_suffix(".tmp.dcm"))
        path.with_suffix(".tmp.dcm").unlink()
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = other.file_meta.TransferSyntaxUID
        dataset.PixelData = other.PixelData
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    return dataset


def frame(dataset: Any) -> bytes:
    """The stream of a data set with one fragment: after the offset table and the head of the item."""
    data = bytes(dataset.PixelData)
    table = int.from_bytes(data[4:8], "little")
    start = 8 + table + 8
    return data[start : start + int.from_bytes(data[start - 4 : start], "little")]


@pytest.mark.parametrize("compressor", ["RLE", "JPEG"])
def test_compressed_pixel_data_cut_off_are_refused(
    tmp_path: Path, compressor: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stored = large_series(tmp_path)
    whole = compressed(tmp_path / "02.dcm", stored[2], compressor)
    assert np.array_equal(read(tmp_path), stored.astype(int) - 1024)
    stream = frame(whole)
    for kept in range(2, len(stream) - 1, 97):
        whole.PixelData = encapsulate([stream[:kept]])
        whole["PixelData"].is_undefined_length = True
        whole.save_as(tmp_path / "02.dcm")
        with pytest.raises(ReadError, match=r"02\.dcm: (compressed|RLE) PixelData"):
            read_series(tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compressor", ["RLE", "JPEG"])
def test_a_file_that_ends_within_compressed_pixel_data_is_truncated(tmp_path: Path, compressor: str) -> None:
    stored = large_series(tmp_path)
    compressed(tmp_path / "02.dcm", stored[2], compressor)
    data = (tmp_path / "02.dcm").read_bytes()
    for cut in (1, 9, 60):
        (tmp_path / "02.dcm").write_bytes(data[:-cut])
        with pytest.raises(ReadError, match=r"02\.dcm: truncated DICOM file"):
            read_series(tmp_path)


def test_deflated_slices_are_read(tmp_path: Path) -> None:
    stored = write_series(tmp_path)
    dataset = pydicom.dcmread(tmp_path / "02.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "02.dcm")
    assert np.array_equal(read(tmp_path), stored.astype(int) - 1024)
    change(tmp_path / "02.dcm", PixelData=stored[2].tobytes()[:42])
    with pytest.raises(ReadError, match=r"02\.dcm: PixelData .7fe0,0010. has 42 of the 84 bytes"):
        read_series(tmp_path)
    change(tmp_path / "02.dcm", PixelData=None)
    with pytest.raises(ReadError, match=r"02\.dcm: PixelData .7fe0,0010. has 0 of the 84 bytes"):
        read_series(tmp_path)


@pytest.mark.parametrize("slices", [range(5), [2]])
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("bits", [(16, 0), (12, 0), (16, 1), (12, 1)])
def test_monochrome1_changes_only_the_display(tmp_path: Path, slices: Any, modality: str, bits: Any) -> None:
    stored = voxels().astype(np.int16) - (1000 if bits[1] else 0)
    kind = {"BitsStored": bits[0], "HighBit": bits[0] - 1, "PixelRepresentation": bits[1], "modality": modality}
    for n in range(5):
        shown = "MONOCHROME1" if n in slices else "MONOCHROME2"
        write_slice(tmp_path / f"{n}.dcm", stored[n], (0, 0, 3 * n), PhotometricInterpretation=shown, **kind)
    assert np.array_equal(read(tmp_path, role="image"), stored.astype(int) - 1024)


@pytest.mark.parametrize("compressor", ["RLE", "JPEG"])
def test_a_compressed_monochrome1_slice_keeps_its_values(tmp_path: Path, compressor: str) -> None:
    stored = large_series(tmp_path, PhotometricInterpretation="MONOCHROME1")
    compressed(tmp_path / "02.dcm", stored[2], compressor)
    assert np.array_equal(read(tmp_path), stored.astype(int) - 1024)


@pytest.mark.parametrize(
    ("bits", "slope", "intercept"),
    [(16, 1, 32768), (12, 1, 2048), (12, 1, 40000), (12, 2, 32768), (16, -1, 32767), (12, 0.5, 1024.5), (16, 1, 1e6)],
)
def test_signed_pixels_lifted_above_zero_are_read(tmp_path: Path, bits: int, slope: float, intercept: float) -> None:
    half = 2 ** (bits - 1)
    stored = np.random.default_rng(0).integers(-half, half, (5, 6, 7)).astype(np.int16)
    stored[0, 0, :2] = -half, half - 1
    tags = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 1, "RescaleSlope": slope}
    for n in range(5):
        write_slice(tmp_path / f"{n}.dcm", stored[n], (0, 0, 3 * n), RescaleIntercept=intercept, **tags)
    image = read_series(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(image), stored.astype(float) * slope + intercept)
    assert image.GetSpacing() == pytest.approx((1.5, 2, 3))


def test_one_slice_lifted_above_zero_is_scaled_as_the_others_are(tmp_path: Path) -> None:
    stored = voxels().astype(np.int16)
    intercepts = np.array([0, 0, 32768, 0, -5])
    for n in range(5):
        tags = {"RescaleIntercept": intercepts[n], "PixelRepresentation": 1}
        write_slice(tmp_path / f"{n}.dcm", stored[n], (0, 0, 3 * n), **tags)
    assert np.array_equal(read(tmp_path), stored + intercepts[:, None, None])


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"RescaleSlope": None}, r"RescaleSlope .0028,1053. is missing, but other slices have it"),
        ({"RescaleIntercept": None}, r"RescaleIntercept .0028,1052. is missing, but other slices have it"),
        ({"RescaleSlope": 0}, r"RescaleSlope .0028,1053. is 0; a number other than 0"),
        ({"BitsStored": 12}, r"HighBit .0028,0102. is 15 with 12 bits stored; 11 is needed"),
        ({"RescaleType": "Z_EFF"}, r"RescaleType .0028,1054. is Z_EFF; a CT in HU"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, r"a ModalityLUTSequence .0028,3000. gives the values"),
    ],
)
def test_a_slice_with_another_scale_is_refused(tmp_path: Path, tags: Any, words: str) -> None:
    write_series(tmp_path)
    change(tmp_path / "02.dcm", **tags)
    with pytest.raises(ReadError, match=rf"02\.dcm: {words}"):
        read_series(tmp_path)


def test_pet_needs_a_slope_others_do_not(tmp_path: Path) -> None:
    stored = write_series(tmp_path / "ct", RescaleSlope=None, RescaleIntercept=None, PixelRepresentation=1)
    assert np.array_equal(read(tmp_path / "ct"), stored)
    write_series(tmp_path / "pet", **pet_tags(RescaleSlope=None))
    with pytest.raises(ReadError, match=r"00\.dcm: RescaleSlope .0028,1053. is missing, but PET needs it"):
        read_series(tmp_path / "pet", role="pet")
    write_series(tmp_path / "pet", **pet_tags(RescaleSlope=-1))
    with pytest.raises(ReadError, match=r"00\.dcm: RescaleSlope .0028,1053. is -1; a number above 0 is needed"):
        read_series(tmp_path / "pet", role="pet")


@pytest.mark.parametrize(
    "changes",
    [{"Units": "GML", "RescaleSlope": 1}, {"RescaleSlope": 2000}, {"PatientWeight": "300", "RescaleSlope": 99}],
)
def test_pet_far_above_any_suv_is_refused_with_the_tags_at_fault(tmp_path: Path, changes: Any) -> None:
    write_series(tmp_path, **pet_tags(**changes))
    words = r"a SUV above 100; Units .0054,1001. .*, RescaleSlope .0028,1053., weight, dose"
    with pytest.raises(SuvError, match=words):
        read_series(tmp_path, role="pet")
    assert read(tmp_path, role="image").max() > 100
