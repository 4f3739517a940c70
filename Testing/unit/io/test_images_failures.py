"""Reading and writing: every kind of bad file, too little memory, and writing that fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from Testing.unit.cases.dicom_series import write_series
from Testing.unit.cases.volume_cases import REPOSITORY, mask, volume
from TumorSegLib.errors import ArgumentError, GeometryError, ReadError, SuvError, WriteError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.io.images import read_mask, read_volume, write_mask, write_volume

# ---- bad files


def save(path: Path, array: Any, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path), False)
    return path


def edited(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("read", [read_volume, read_mask])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing.nii.gz", r"nothing\.nii\.gz: no such file"),
        ("a.png", r"a\.png: unknown image format; known are \.nii\.gz, .* and DICOM"),
    ],
)
def test_missing_files_and_unknown_formats(tmp_path: Path, name: str, words: str, read: Any) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ReadError, match=words):
        read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x1f\x8bhello"])
def test_files_that_are_not_what_their_suffix_says(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=re.escape(f"{path}: ")):
        read_volume(path)


CUBE = np.zeros((3, 3, 3), np.int16)


SPACING, DIRECTION = "voxel spacing must be positive", "direction is not orthonormal"


@pytest.mark.parametrize(
    ("suffix", "old", "new", "words"),
    [
        (".mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 -1 1", SPACING),
        (".mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 1 nan", SPACING),
        (".nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(0,0,0) (0,1,0) (0,0,1)", SPACING),
        (".nii", np.float32([1, 1, 1, 1]).tobytes(), np.float32([1, 1, -1, 1]).tobytes(), SPACING),
        (".mha", b"TransformMatrix = 1 0 0", b"TransformMatrix = 1 0.3 0", DIRECTION),
        (".nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(1,0,0) (1,0,0) (0,0,1)", DIRECTION),
    ],
)
def test_impossible_geometry_names_the_file(tmp_path: Path, suffix: str, old: bytes, new: bytes, words: str) -> None:
    path = edited(save(tmp_path / f"a{suffix}", CUBE), old, new)
    with pytest.raises(GeometryError, match=rf"a\{suffix}: {words}"):
        read_volume(path)


@pytest.mark.parametrize("read", [read_volume, read_mask])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((5, 6), "2D image of 6 x 5 voxels; a 3D image is needed, so save it as one slice, 6 x 5 x 1 voxels"),
        ((2, 3, 4, 5), "4D image of 5 x 4 x 3 x 2 voxels; a 3D image is needed"),
        ((3, 4, 5, 3), r"3 value\(s\) per voxel"),
    ],
)
def test_images_that_are_not_3d_or_in_colour(tmp_path: Path, suffix: str, shape: Any, words: str, read: Any) -> None:
    path = save(tmp_path / f"a{suffix}", np.zeros(shape, np.uint8), vector="per voxel" in words)
    with pytest.raises(ReadError, match=rf"a\..*: .*{words}"):
        read(path)


def test_complex_images(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.complex64))
    with pytest.raises(ReadError, match="complex"):
        read_volume(path)


def test_a_series_is_only_picked_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"'#1\.2' picks a series of a DICOM folder"):
        read_volume(f"{tmp_path}/a.nii.gz#1.2")


@pytest.mark.parametrize(
    ("role", "factor", "offset", "error", "words"),
    [
        ("pet", 100, 1e5, SuvError, r"PET must be in SUV .g/ml.* voxels is \d"),
        ("ct_late", 1, 1024, ArgumentError, "CT must be in HU .*too large"),
    ],
)
def test_values_in_another_unit_than_the_role_s_are_refused(
    tmp_path: Path, role: str, factor: float, offset: float, error: Any, words: str
) -> None:
    hu = np.random.default_rng(0).normal([[[-1000]], [[-100]], [[50]]], 12, (3, 40, 50)).repeat(8, 0)
    grid = Grid.from_spacing(hu.shape, (1, 1, 1))
    write_volume(Volume(grid, hu * factor + offset, role), tmp_path / "a.nii.gz")
    with pytest.raises(error, match=rf"a\.nii\.gz: {words}"):
        read_volume(tmp_path / "a.nii.gz", role)
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz", "mr_t1").array, hu * factor + offset)
    write_volume(Volume(grid, hu, role), tmp_path / "a.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz", role).array, hu)
    write_series(tmp_path / "dicom", RescaleSlope="0.001", RescaleIntercept="0")
    with pytest.raises(ArgumentError, match=r"CT must be in HU .*scaled to a range"):
        read_volume(tmp_path / "dicom")


# ---- memory that does not suffice


@pytest.mark.parametrize("read", [read_volume, read_mask])
@pytest.mark.parametrize("compressed", [True, False])
def test_memory_is_not_asked_for_what_a_file_cannot_hold(tmp_path: Path, read: Any, compressed: bool) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(CUBE), str(tmp_path / "a.nrrd"), compressed)
    path = edited(tmp_path / "a.nrrd", b"sizes: 3 3 3", b"sizes: 100000 100000 100000")
    with pytest.raises(ReadError, match=r"a\.nrrd: truncated, its voxels take at most \d+ of 2000000000000000 bytes"):
        read(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the size of the process and a limit on it")
def test_a_lack_of_memory_is_no_damaged_file(tmp_path: Path) -> None:
    code = """
import os, resource, sys
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # the stacks of many threads would not fit
from TumorSegLib.errors import ResourceError
from TumorSegLib.io.images import read_volume
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limit = int(status["VmSize"].split()[0]) * 1024 + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[2:]:
    try:
        read_volume(path)
        sys.exit(f"{path} was read")
    except ResourceError as error:
        print(error)
"""
    array = np.zeros((60, 512, 1024), np.int16)
    paths = [save(tmp_path / "a.nii", array), save(tmp_path / "a.mha", array)]
    command = [sys.executable, "-c", code, str(array.nbytes // 2), *map(str, paths)]
    run = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for path, line in zip(paths, run.stdout.splitlines(), strict=True):
        assert line.startswith(f"{path}: not enough memory to read")


# ---- writing that fails


NO_FORMAT = r": no format to write; give one of \.nii\.gz"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, name + NO_FORMAT) for name in ("a.png", "a", "a.mhd", "a.nhdr", "a.nii.bz2", "A.NII.GZ")),
        ("a.seg.nrrd", r"\.seg\.nrrd is for masks"),
        ("nowhere/a.nii.gz", "does not exist"),
    ],
)
def test_names_that_no_image_is_written_to(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(WriteError, match=words):
        write_volume(volume(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody may write to")
def test_a_folder_that_is_not_writable() -> None:
    with pytest.raises(WriteError, match=r"/proc/self/m\.nii\.gz"):
        write_mask(mask(1), "/proc/self/m.nii.gz")


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the file size")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    code = """
import resource, sys
import numpy as np
from TumorSegLib.errors import WriteError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.io.images import write_volume
array = np.random.default_rng(0).integers(0, 30000, (20, 50, 50)).astype(np.int16)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
failed = 0
for path in sys.argv[1:]:
    try:
        write_volume(Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array), path)
    except WriteError as error:
        failed += f"{path}: could not be written completely" in str(error) and "MB are free" in str(error)
sys.exit(100 + failed)
"""
    paths = [tmp_path / f"a{suffix}" for suffix in (".nii.gz", ".nii", ".nrrd", ".mha")]
    for path in paths:
        write_volume(volume(), path)
    before = [path.read_bytes() for path in paths]
    command = [sys.executable, "-c", code, *map(str, paths)]
    run = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True)
    assert run.returncode == 104, run.stderr.decode()
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_reading_images_prints_nothing_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.nii", CUBE)
    data = bytearray(path.read_bytes())
    data[280:284] = np.float32([-1.2]).tobytes()  # sform and pixdim disagree: ITK warns
    path.write_bytes(data)
    read_volume(path)
    write_volume(volume(), tmp_path / "b.nii.gz")
    assert capfd.readouterr().err == ""
