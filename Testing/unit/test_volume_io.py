"""Reading and writing: round trips of any grid, 3D Slicer segmentations, every kind of bad file, real images."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from TumorSegLib.errors import (
    ArgumentError,
    GeometryError,
    ReadError,
    ResourceError,
    RoleError,
    SuvError,
    TumorSegError,
    WriteError,
)
from TumorSegLib.geometry import Grid
from TumorSegLib.volume import Mask, Volume
from TumorSegLib.volume_io import grid_from_image, image_from_array, read_mask, read_volume, write_mask, write_volume

REPOSITORY = Path(__file__).resolve().parents[2]
GRID = Grid.from_spacing(
    (5, 6, 7), (1.5, 2.0, 3.0), (10, -20, 30), Rotation.from_euler("z", 30, degrees=True).as_matrix()
)
KINDS = ["uint8", "int16", "uint16", "int32", "float32", "float64"]


def volume(grid: Grid = GRID, kind: Any = "int16") -> Volume:
    values = np.random.default_rng(0).integers(0, 200, grid.shape)
    return Volume(grid, values.astype(kind), "mr_t1")


def mask(*labels: int) -> Mask:
    """A voxel row per label, on GRID."""
    array = np.zeros(GRID.shape, np.uint8)
    for n, label in enumerate(labels):
        array[n + 1, 2, 1:4] = label
    return Mask(GRID, array)


def header(path: Path) -> dict[str, str]:
    """Key and value pairs of an NRRD header."""
    text = path.read_bytes().split(b"\n\n")[0].decode()
    return dict(line.split(":=", 1) for line in text.splitlines() if ":=" in line)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 6)] * 3))
    origin = draw(st.tuples(*[st.floats(-400, 400)] * 3))
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    return Grid.from_spacing(shape, spacing, origin, rotation[:, draw(st.permutations([0, 1, 2]))] * signs)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grids(), st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]), st.sampled_from(KINDS))
def test_writing_and_reading_keeps_grid_voxels_and_type(tmp_path: Path, grid: Grid, suffix: str, kind: str) -> None:
    original = volume(grid, kind)
    write_volume(original, tmp_path / f"a{suffix}")
    back = read_volume(tmp_path / f"a{suffix}", "mr_t1")
    assert back.grid == grid
    assert back.array.dtype == kind
    assert np.array_equal(back.array, original.array)


@settings(max_examples=25, deadline=None)
@given(grids(), st.tuples(*[st.integers(0, 5)] * 3))
def test_images_lie_where_their_grids_say(grid: Grid, ijk: Any) -> None:
    image = image_from_array(np.zeros(grid.shape, np.uint8), grid)
    x, y, z = image.TransformIndexToPhysicalPoint(ijk)
    assert np.allclose((-x, -y, z), grid.to_ras(ijk), atol=1e-6)
    assert grid_from_image(image) == grid


@pytest.mark.parametrize(("suffix", "voxels"), [(".mhd", "a.zraw"), (".nhdr", "a.raw.gz")])
def test_headers_with_their_voxels_in_a_second_file(tmp_path: Path, suffix: str, voxels: str) -> None:
    sitk.WriteImage(image_from_array(volume().array, GRID), str(tmp_path / f"a{suffix}"), True)
    assert (tmp_path / voxels).exists()
    assert np.array_equal(read_volume(tmp_path / f"a{suffix}").array, volume().array)


@pytest.mark.parametrize(("kind", "stored"), [("bool", "uint8"), ("float16", "float32"), (">i2", "int16")])
def test_number_types_without_a_file_format_are_widened(tmp_path: Path, kind: str, stored: str) -> None:
    array = (np.arange(210).reshape(GRID.shape) % 2).astype(kind)
    write_volume(Volume(GRID, array), tmp_path / "a.nii.gz")
    back = read_volume(tmp_path / "a.nii.gz")
    assert back.array.dtype == stored
    assert np.array_equal(back.array, array)


def test_writing_compresses(tmp_path: Path) -> None:
    grid = Grid.from_spacing((50, 50, 50), (1, 1, 1))
    for suffix in (".nii.gz", ".nrrd", ".mha", ".seg.nrrd"):
        write_mask(Mask(grid, np.zeros(grid.shape, np.uint8)), tmp_path / f"a{suffix}")
        assert (tmp_path / f"a{suffix}").stat().st_size < 5000


@pytest.mark.parametrize(("name", "upper"), [("a.nii.gz", "B.NII.GZ"), ("a.nrrd", "B.NRRD"), ("a.mha", "B.MHA")])
def test_upper_case_suffixes_are_read(tmp_path: Path, name: str, upper: str) -> None:
    write_volume(volume(), tmp_path / name)
    (tmp_path / name).rename(tmp_path / upper)
    assert np.array_equal(read_volume(tmp_path / upper).array, volume().array)


def test_a_file_name_may_hold_a_hash_sign(tmp_path: Path) -> None:
    write_volume(volume(), tmp_path / "case#1.nii.gz")
    assert read_volume(tmp_path / "case#1.nii.gz").grid == GRID


def test_a_4d_file_with_a_single_time_point_is_3d(tmp_path: Path) -> None:
    image = sitk.JoinSeries([image_from_array(volume().array, GRID)])
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        back = read_volume(tmp_path / f"a{suffix}")
        assert back.grid == GRID
        assert np.array_equal(back.array, volume().array)


def test_a_namesake_without_gz_is_not_mixed_up(tmp_path: Path) -> None:
    write_volume(volume(), tmp_path / "a.nii.gz")
    write_volume(Volume(GRID, np.zeros(GRID.shape, np.int16)), tmp_path / "a.nii")
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, volume().array)
    assert not read_volume(tmp_path / "a.nii").array.any()


# ---- masks and 3D Slicer segmentations


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
def test_masks_keep_grid_and_labels(tmp_path: Path, suffix: str) -> None:
    write_mask(mask(1, 7, 255), tmp_path / f"m{suffix}")
    back = read_mask(tmp_path / f"m{suffix}")
    assert back.grid == GRID
    assert np.array_equal(back.array, mask(1, 7, 255).array)


def test_a_segmentation_carries_what_slicer_needs(tmp_path: Path) -> None:
    write_mask(mask(3), tmp_path / "m.seg.nrrd")
    fields = header(tmp_path / "m.seg.nrrd")
    expected = {
        "Segment0_ID": "Segment_3",
        "Segment0_Name": "Tumour",
        "Segment0_LabelValue": "3",
        "Segment0_Layer": "0",
        "Segment0_Extent": "1 3 2 2 1 1",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    assert expected.items() <= fields.items()
    assert "~SCT^86049000^Neoplasm, Primary~" in fields["Segment0_Tags"]
    assert len(fields["Segment0_Color"].split()) == 3


def test_every_label_becomes_a_segment(tmp_path: Path) -> None:
    write_mask(mask(1, 4), tmp_path / "m.seg.nrrd")
    fields = header(tmp_path / "m.seg.nrrd")
    assert [fields[f"Segment{n}_Name"] for n in (0, 1)] == ["Tumour 1", "Tumour 4"]
    assert [fields[f"Segment{n}_Extent"] for n in (0, 1)] == ["1 3 2 2 1 1", "1 3 2 2 2 2"]
    assert "Segment2_ID" not in fields


def test_an_empty_segmentation_has_one_empty_segment(tmp_path: Path) -> None:
    write_mask(mask(), tmp_path / "m.seg.nrrd")
    assert header(tmp_path / "m.seg.nrrd")["Segment0_Extent"] == "0 -1 0 -1 0 -1"
    assert not read_mask(tmp_path / "m.seg.nrrd").array.any()


def layered(path: Path, layers: list[Any], **fields: str) -> None:
    """A segmentation of several layers, as 3D Slicer stores overlapping segments."""
    image = sitk.GetImageFromArray(np.stack(layers, -1).astype(np.uint8), isVector=True)
    for key, value in fields.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))


def segments(*layer_and_label: tuple[int, int]) -> dict[str, str]:
    fields = {"Segmentation_MasterRepresentation": "Binary labelmap"}
    for n, (layer, label) in enumerate(layer_and_label):
        values = {"ID": f"Segment_{n}", "Name": f"lesion {n}", "Layer": str(layer), "LabelValue": str(label)}
        fields |= {f"Segment{n}_{key}": value for key, value in values.items()}
    return fields


def test_layers_with_different_labels_are_merged_as_they_are(tmp_path: Path) -> None:
    first, second = mask(5).array, mask(0, 2).array
    layered(tmp_path / "m.seg.nrrd", [first, second], **segments((0, 5), (1, 2)))
    assert np.array_equal(read_mask(tmp_path / "m.seg.nrrd").array, mask(5, 2).array)


def test_layers_with_the_same_label_are_numbered_in_the_order_of_the_file(tmp_path: Path) -> None:
    first, second = mask(1, 0, 4).array, mask(0, 1).array
    layered(tmp_path / "m.seg.nrrd", [first, second], **segments((1, 1), (0, 1), (0, 4)))
    assert np.array_equal(read_mask(tmp_path / "m.seg.nrrd").array, mask(2, 1, 3).array)


def test_overlapping_segments_are_refused(tmp_path: Path) -> None:
    layered(tmp_path / "m.seg.nrrd", [mask(1).array, mask(1, 1).array], **segments((0, 1), (1, 1)))
    with pytest.raises(ReadError, match=r"m\.seg\.nrrd: .*lesion 0, lesion 1. overlap in 3 voxels, .* ijk \(1, 2, 1\)"):
        read_mask(tmp_path / "m.seg.nrrd")


def test_a_damaged_segment_list_is_refused(tmp_path: Path) -> None:
    fields = segments((0, 1), (1, 1)) | {"Segment1_Layer": "one"}
    layered(tmp_path / "m.seg.nrrd", [mask(1).array, mask(0, 1).array], **fields)
    with pytest.raises(ReadError, match=r"Segment1_Layer .* 'one'"):
        read_mask(tmp_path / "m.seg.nrrd")


def test_fractional_segmentations_are_refused(tmp_path: Path) -> None:
    fields = segments((0, 1)) | {"Segmentation_MasterRepresentation": "Fractional labelmap"}
    layered(tmp_path / "m.seg.nrrd", [mask(1).array, mask(0, 1).array], **fields)
    with pytest.raises(ReadError, match="stored as 'Fractional labelmap'"):
        read_mask(tmp_path / "m.seg.nrrd")


@pytest.mark.parametrize("value", [-1.0, 0.5, 300.0, np.nan])
def test_a_mask_file_must_hold_labels(tmp_path: Path, value: float) -> None:
    sitk.WriteImage(sitk.Image(3, 3, 3, sitk.sitkFloat32) + value, str(tmp_path / "m.nii.gz"))
    with pytest.raises(ArgumentError, match=r"m\.nii\.gz: (mask values must be whole numbers|27 voxels are NaN)"):
        read_mask(tmp_path / "m.nii.gz")


def test_a_mask_is_not_read_from_dicom(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="not from DICOM"):
        read_mask(tmp_path)


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
def test_missing_files(tmp_path: Path, read: Any) -> None:
    with pytest.raises(ReadError, match=r"nothing\.nii\.gz: no such file"):
        read(tmp_path / "nothing.nii.gz")


@pytest.mark.parametrize("read", [read_volume, read_mask])
def test_unknown_formats_are_told_the_known_ones(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ReadError, match=r"a\.png: unknown image format; known are \.nii\.gz, .* and DICOM"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x1f\x8bhello"])
def test_files_that_are_not_what_their_suffix_says(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=re.escape(f"{path}: ")):
        read_volume(path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_truncated_files(tmp_path: Path, suffix: str, share: float, compressed: bool) -> None:
    path = tmp_path / f"a{suffix}"
    array = np.random.default_rng(0).integers(0, 1000, (10, 20, 30)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), compressed)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ReadError, match=rf"a{re.escape(suffix)}: (.*truncated|.*damaged)"):
        read_volume(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_voxels_that_are_not_finite(tmp_path: Path, suffix: str, bad: float) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3] = bad
    path = save(tmp_path / f"a{suffix}", array)
    with pytest.raises(ArgumentError, match=r"a\..*: (pet image has )?1 voxels .*NaN or infinite"):
        read_volume(path, "pet")


CUBE = np.zeros((3, 3, 3), np.int16)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 0 1 1"),
        (".mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 -1 1"),
        (".mha", b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 1 nan"),
        (".nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(0,0,0) (0,1,0) (0,0,1)"),
        (".nii", np.float32([1, 1, 1, 1]).tobytes(), np.float32([1, 1, -1, 1]).tobytes()),
        (".nii", np.float32([1, 1, 1, 1]).tobytes(), np.float32([1, 0, 1, 1]).tobytes()),
    ],
)
def test_spacing_that_is_not_positive(tmp_path: Path, suffix: str, old: bytes, new: bytes) -> None:
    path = edited(save(tmp_path / f"a{suffix}", CUBE), old, new)
    with pytest.raises(GeometryError, match=rf"a\{suffix}: voxel spacing must be positive"):
        read_volume(path)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".mha", b"TransformMatrix = 1 0 0", b"TransformMatrix = 1 0.3 0"),
        (".mha", b"TransformMatrix = 1 0 0", b"TransformMatrix = 0 1 0"),
        (".nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(1,0.3,0) (0,1,0) (0,0,1)"),
        (".nrrd", b"(1,0,0) (0,1,0) (0,0,1)", b"(1,0,0) (1,0,0) (0,0,1)"),
    ],
)
def test_directions_that_are_not_orthonormal(tmp_path: Path, suffix: str, old: bytes, new: bytes) -> None:
    path = edited(save(tmp_path / f"a{suffix}", CUBE), old, new)
    with pytest.raises(GeometryError, match=rf"a\{suffix}: direction is not orthonormal"):
        read_volume(path)


def test_a_sheared_nifti_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", CUBE)
    data = bytearray(path.read_bytes())
    data[252:256] = np.int16([0, 1]).tobytes()  # only the sform counts
    data[280:296] = np.float32([-1, 0.3, 0, 0]).tobytes()
    path.write_bytes(data)
    with pytest.raises(GeometryError, match=r"a\.nii: direction is not orthonormal"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("shape", "words"), [((5, 6), "2D image of 6 x 5"), ((2, 3, 4, 5), "4D image of 5 x 4 x 3 x 2")]
)
def test_images_that_are_not_3d(tmp_path: Path, suffix: str, shape: Any, words: str) -> None:
    path = save(tmp_path / f"a{suffix}", np.zeros(shape, np.int16))
    with pytest.raises(ReadError, match=f"{words} voxels; a 3D image is needed"):
        read_volume(path)


@pytest.mark.parametrize("read", [read_volume, read_mask])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_colour_images(tmp_path: Path, suffix: str, read: Any) -> None:
    path = save(tmp_path / f"a{suffix}", np.zeros((3, 4, 5, 3), np.uint8), vector=True)
    with pytest.raises(ReadError, match=r"a\..*: 3 value\(s\) per voxel"):
        read(path)


def test_complex_images(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.complex64))
    with pytest.raises(ReadError, match="complex"):
        read_volume(path)


def test_a_series_is_only_picked_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"'#1\.2' picks a series of a DICOM folder"):
        read_volume(f"{tmp_path}/a.nii.gz#1.2")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("role", ["pet", "pet_late"])
def test_pet_in_becquerel_is_refused(tmp_path: Path, suffix: str, role: str) -> None:
    becquerel = np.random.default_rng(0).gamma(2.0, 2000.0, GRID.shape).astype(np.float32)
    write_volume(Volume(GRID, becquerel, role), tmp_path / f"a{suffix}")
    with pytest.raises(SuvError, match=rf"a{re.escape(suffix)}: PET must be in SUV .g/ml.* voxels is \d"):
        read_volume(tmp_path / f"a{suffix}", role)
    assert np.array_equal(read_volume(tmp_path / f"a{suffix}", "mr_t1").array, becquerel)


# ---- memory that does not suffice


@pytest.mark.parametrize("read", [read_volume, read_mask])
def test_an_image_larger_than_any_memory(tmp_path: Path, read: Any) -> None:
    path = edited(save(tmp_path / "a.nrrd", CUBE), b"sizes: 3 3 3", b"sizes: 100000 100000 100000")
    with pytest.raises(ResourceError, match=r"a\.nrrd: not enough memory to read it .Failed to allocate"):
        read(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the size of the process and a limit on it")
def test_a_lack_of_memory_is_no_damaged_file(tmp_path: Path) -> None:
    """With memory for the voxels, but not for their copy: ITK's NIfTI reader fails, or numpy."""
    code = """
import os, resource, sys
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # the stacks of many threads would not fit
from TumorSegLib.errors import ResourceError
from TumorSegLib.volume_io import read_volume
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
    command = [sys.executable, "-c", code, str(array.nbytes), *map(str, paths)]
    run = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for path, line in zip(paths, run.stdout.splitlines(), strict=True):
        assert line.startswith(f"{path}: not enough memory to read")


# ---- writing that fails


@pytest.mark.parametrize("name", ["a.png", "a", "a.mhd", "a.nhdr", "a.nii.bz2", "A.NII.GZ"])
def test_suffixes_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(WriteError, match=rf"{name}: no format to write; give one of \.nii\.gz"):
        write_volume(volume(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_image_is_no_segmentation(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"\.seg\.nrrd is for masks"):
        write_volume(volume(), tmp_path / "a.seg.nrrd")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="does not exist"):
        write_mask(mask(1), tmp_path / "nowhere" / "m.nii.gz")


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
from TumorSegLib.geometry import Grid
from TumorSegLib.volume import Volume
from TumorSegLib.volume_io import write_volume
array = np.random.default_rng(0).integers(0, 30000, (20, 50, 50)).astype(np.int16)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
failed = 0
for path in sys.argv[1:]:
    try:
        write_volume(Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array), path)
    except WriteError as error:
        failed += f"{path}: could not be written whole" in str(error) and "MB are free" in str(error)
sys.exit(100 + failed)
"""
    paths = [tmp_path / f"a{suffix}" for suffix in (".nii.gz", ".nii", ".nrrd", ".mha")]
    for path in paths:
        write_volume(volume(), path)
    before = [path.read_bytes() for path in paths]
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], cwd=REPOSITORY, check=False, capture_output=True
    )
    assert run.returncode == 104, run.stderr.decode()
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_nothing_is_said_on_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.nii", CUBE)
    data = bytearray(path.read_bytes())
    data[280:284] = np.float32([-1.2]).tobytes()  # sform and pixdim disagree: ITK warns
    path.write_bytes(data)
    read_volume(path)
    write_volume(volume(), tmp_path / "b.nii.gz")
    assert capfd.readouterr().err == ""


# ---- real images


@pytest.mark.data
def test_public_label_map_and_image(data_root: Path) -> None:
    folder = data_root / "other"
    lesion = read_mask(folder / "brain1" / "brain1_label.nrrd")
    assert lesion.grid == read_volume(folder / "brain1" / "brain1_image.nrrd", "mr_t1").grid
    assert lesion.volume_ml == pytest.approx(16.4, abs=0.05)
    assert read_volume(folder / "crlm" / "CRLM-CT-1004_ct.nii.gz").array.shape == (41, 256, 256)
    small = read_volume(folder / "totalsegmentator" / "example_ct_sm.nii.gz")
    assert read_mask(folder / "totalsegmentator" / "example_seg.nii.gz").grid == small.grid


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "role", "tolerance"),
    # Stored as whole HU; twice rounded to whole units; as multiples of 0.005 SUV.
    [("CT", "ct", 0.51), ("MR_T1", "mr_t1", 1.01), ("PET", "pet", 0.0026)],
)
def test_dicom_agrees_with_the_resampled_nifti_of_the_same_patient(
    data_root: Path, folder: str, role: str, tolerance: float
) -> None:
    """STS_002: the common grid averages 2 x 2 CT pixels, its centres lie between them: linear interpolation."""
    dicom = read_volume(data_root / "other" / "sts_002_dicom" / folder, role)
    common = read_volume(data_root / "sts" / f"STS_002_{role}.nii.gz", role)
    k, j, i = np.indices(common.grid.shape)
    ijk = dicom.grid.to_ijk(common.grid.to_ras(np.stack([i, j, k], -1)))
    points = np.moveaxis(ijk[..., ::-1], -1, 0)
    sampled = map_coordinates(dicom.array.astype(float), points, order=1, mode="constant", cval=np.nan)
    inside = np.isfinite(sampled)
    if role == "ct":
        sampled = np.maximum(sampled, -1000)  # the data set clips air
    assert inside.mean() > 0.3
    assert np.abs(sampled - common.array)[inside].max() < tolerance


@pytest.mark.data
def test_public_dicom_series_picked_by_uid(data_root: Path) -> None:
    folder = data_root / "other" / "sts_002_dicom"
    with pytest.raises(ReadError, match="holds 3 series") as caught:
        read_volume(folder)
    uids = {line.split()[1]: line.split()[0] for line in str(caught.value).splitlines()[1:]}
    pet = read_volume(uids["PT"], "pet")
    assert pet.array.max() == pytest.approx(21.6757, abs=1e-3)
    with pytest.raises(RoleError, match="modality PT, but role 'ct' needs CT"):
        read_volume(uids["PT"])
    assert issubclass(RoleError, TumorSegError)
