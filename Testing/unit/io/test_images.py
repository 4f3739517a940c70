"""Reading and writing: round trips of any grid, 3D Slicer segmentations, every kind of bad file, real images."""

from __future__ import annotations

import os
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

from Testing.unit.cases.volume_cases import GRID, KINDS, image_from_array, mask, volume
from TumorSegLib.errors import ArgumentError, ReadError, RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.labels import TUMOUR_TERMINOLOGY, label_colour
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import (
    grid_from_image,
    read_mask,
    read_segmentation,
    read_volume,
    write_mask,
    write_segmentation,
    write_volume,
)


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


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32", "int64", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_simpleitk_reads_what_is_written_and_the_other_way_round(tmp_path: Path, suffix: str, kind: str) -> None:
    path, original = tmp_path / f"a{suffix}", volume(kind=kind)
    expected = image_from_array(original.array, GRID)
    for compressed in (True, False):
        sitk.WriteImage(expected, str(path), compressed)
        back = read_volume(path, "image")
        assert back.grid == GRID
        assert np.array_equal(back.array, original.array)
    if suffix in (".nhdr", ".mhd"):  # with their voxels in a second file: read only
        return
    write_volume(original, path)
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), original.array)
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(image, name)() == pytest.approx(getattr(expected, name)(), abs=1e-5)


@pytest.mark.parametrize(("kind", "stored"), [("bool", "uint8"), ("float16", "float32"), (">i2", "int16")])
def test_number_types_without_a_file_format_are_widened(tmp_path: Path, kind: str, stored: str) -> None:
    array = (np.arange(210).reshape(GRID.shape) % 2).astype(kind)
    write_volume(Volume(GRID, array), tmp_path / "a.nii.gz")
    back = read_volume(tmp_path / "a.nii.gz", "image")
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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow UTF-8 names only")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_folders_and_files_whose_names_are_not_utf_8(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / os.fsdecode(b"f\xfcr")
    folder.mkdir()
    path = folder / f"{os.fsdecode(bytes([0xE4]))}{suffix}"
    write_mask(mask(1), path)
    assert np.array_equal(read_mask(path).array, mask(1).array)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ReadError, match=r"f\\xfcr/\\xe4.*: truncated") as caught:
        read_mask(path)
    str(caught.value).encode("utf-8")  # as a window or a log would


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow UTF-8 names only")
def test_voxels_in_a_second_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    sitk.WriteImage(image_from_array(volume().array, GRID), str(tmp_path / "a.mhd"))
    name = os.fsdecode(b"\xfc.raw")
    (tmp_path / "a.raw").rename(tmp_path / name)
    header = (tmp_path / "a.mhd").read_bytes().replace(b"a.raw", os.fsencode(name))
    (tmp_path / "a.mhd").write_bytes(header)
    assert np.array_equal(read_volume(tmp_path / "a.mhd").array, volume().array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_names_as_long_as_the_system_allows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("a" * (255 - len(suffix)) + suffix)
    write_mask(mask(1), path)
    assert np.array_equal(read_mask(path).array, mask(1).array)


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
    assert f"|TerminologyEntry:{TUMOUR_TERMINOLOGY}|" in fields["Segment0_Tags"]
    assert fields["Segment0_Color"] == "0.2 0.6 0.86"  # as the preview and Slicer show label 3


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


def test_of_overlapping_segments_the_later_one_counts_in_a_mask_and_a_note_says_so(tmp_path: Path) -> None:
    layered(tmp_path / "m.seg.nrrd", [mask(1).array, mask(1, 1).array], **segments((0, 1), (1, 1)))
    found = read_mask(tmp_path / "m.seg.nrrd")
    assert np.array_equal(found.array, mask(2, 2).array)
    assert found.notes == ("segments (lesion 0, lesion 1) overlap in 3 voxels, which count for the later one",)


def test_each_of_overlapping_segments_is_whole_with_name_colour_and_tags(tmp_path: Path) -> None:
    fields = segments((0, 1), (1, 1)) | {
        "Segment1_Color": "0.1 0.2 0.3",
        "Segment1_Tags": "Segmentation.Status:flagged|",
    }
    layered(tmp_path / "m.seg.nrrd", [mask(1).array, mask(1, 1).array], **fields)
    for path in (tmp_path / "m.seg.nrrd", tmp_path / "again.seg.nrrd"):
        found = read_segmentation(path)
        assert [(each.name, each.label, each.named) for each in found.segments] == [
            ("lesion 0", 1, True),
            ("lesion 1", 2, True),
        ]
        assert found.segments[1].colour == (0.1, 0.2, 0.3)
        assert found.segments[0].colour == label_colour(1)
        assert found.segments[1].tags == "Segmentation.Status:flagged|"
        assert np.array_equal(found.mask_of("lesion 0").array, mask(1).array)
        assert np.array_equal(found.mask_of("2").array, mask(1, 1).array)  # by its label
        write_segmentation(found, tmp_path / "again.seg.nrrd")
    with pytest.raises(ArgumentError, match="there is no label 'node'; there are lesion 0, lesion 1"):
        found.mask_of("node")


def test_labels_without_names_are_segments_too(tmp_path: Path) -> None:
    write_mask(mask(1, 0, 7), tmp_path / "m.nii.gz")
    found = read_segmentation(tmp_path / "m.nii.gz")
    assert [(each.name, each.label, each.named) for each in found.segments] == [
        ("label 1", 1, False),
        ("label 7", 7, False),
    ]
    layered(tmp_path / "m.seg.nrrd", [mask(1, 0, 7).array, mask(0, 2).array], **segments((0, 1)))  # two not listed
    assert read_segmentation(tmp_path / "m.seg.nrrd").names == ("lesion 0", "label 7", "label 2")


def test_segments_of_one_name_get_different_ones_and_empty_ones_stay(tmp_path: Path) -> None:
    fields = segments((0, 1), (0, 2), (1, 1)) | {f"Segment{n}_Name": "lesion" for n in range(3)}
    layered(tmp_path / "m.seg.nrrd", [mask(1, 2).array, mask().array], **fields)
    found = read_segmentation(tmp_path / "m.seg.nrrd")
    assert [(each.name, each.label) for each in found.segments] == [("lesion", 1), ("lesion (2)", 2), ("lesion (3)", 3)]
    assert not found.mask_of("lesion (3)").array.any()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("Segment1_Layer", "one", "Segment1_Layer .* 'one'"),
        ("Segmentation_MasterRepresentation", "Fractional labelmap", "stored as 'Fractional labelmap'"),
    ],
)
def test_damaged_and_fractional_segmentations_are_refused(tmp_path: Path, field: str, value: str, words: str) -> None:
    fields = segments((0, 1), (1, 1)) | {field: value}
    layered(tmp_path / "m.seg.nrrd", [mask(1).array, mask(0, 1).array], **fields)
    with pytest.raises(ReadError, match=words):
        read_mask(tmp_path / "m.seg.nrrd")


def test_segmentations_of_slicer_4_10_have_a_layer_for_each_segment(tmp_path: Path) -> None:
    fields = {"Segmentation_MasterRepresentation": "Binary labelmap", "Segment0_ID": "1", "Segment1_ID": "2"}
    layered(tmp_path / "m.seg.nrrd", [mask(1).array, mask(0, 1).array], **fields)
    assert np.array_equal(read_mask(tmp_path / "m.seg.nrrd").array, mask(1, 2).array)


@pytest.mark.parametrize("value", [-1.0, 0.5, 300.0, np.nan])
def test_a_mask_file_must_hold_labels(tmp_path: Path, value: float) -> None:
    sitk.WriteImage(sitk.Image(3, 3, 3, sitk.sitkFloat32) + value, str(tmp_path / "m.nii.gz"))
    with pytest.raises(ArgumentError, match=r"m\.nii\.gz: (mask values must be whole numbers|27 voxels are NaN)"):
        read_mask(tmp_path / "m.nii.gz")


def test_a_mask_is_not_read_from_dicom(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="not from DICOM"):
        read_mask(tmp_path)


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
def test_itk_reads_the_same_of_public_images(data_root: Path) -> None:
    """SimpleITK as an independent reader, on one image in ten of all programs that wrote them."""
    paths = sorted([*data_root.rglob("*.nii.gz"), *data_root.rglob("*.nrrd")])[::10]
    assert len(paths) > 50
    for path in paths:
        ours, image = read_volume(path, "image"), sitk.ReadImage(str(path))
        assert ours.grid == grid_from_image(image), path.name
        assert np.array_equal(ours.array, sitk.GetArrayFromImage(image)), path.name


@pytest.mark.data
def test_public_dicom_series_picked_by_uid(data_root: Path) -> None:
    folder = data_root / "other" / "sts_002_dicom"
    with pytest.raises(ReadError, match="contains 3 series") as caught:
        read_volume(folder)
    uids = {line.split()[1]: line.split()[0] for line in str(caught.value).splitlines()[1:]}
    pet = read_volume(uids["PT"], "pet")
    assert pet.array.max() == pytest.approx(21.6757, abs=1e-3)
    with pytest.raises(RoleError, match="modality PT, but role 'ct' needs CT"):
        read_volume(uids["PT"])
