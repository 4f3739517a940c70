"""NIfTI: both forms, scaling, units; what other programs write is read, what is short or damaged is not."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from TumorSegLib.errors import ArgumentError, GeometryError, ReadError
from TumorSegLib.geometry.grid import Grid, NiftiForms
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume, write_mask, write_volume
from TumorSegLib.io.nifti import read_nifti

SFORM = [[-1, 0, 0, 30], [0, -1, 0, 20], [0, 0, 2, -10]]
MOVED = [[-1, 0, 0, 40], [0, -1, 0, 15], [0, 0, 2, -7]]
BLOCK = np.zeros((16, 18, 20), np.uint8)
BLOCK[4:9, 6:12, 5:11] = 1
CODES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "uint16": 512}


def nifti(
    path: Path,
    array: Any = BLOCK,
    *,
    sform: Any = SFORM,
    edges: Any = (1, 1, 2),
    codes: Any = (0, 1),
    slope: Any = (1, 0),
    units: int = 0,
) -> Path:
    """A file of an array [k, j, i]; the qform is diag(-1, -1, 1) times the edges, its origin (30, 20, -10)."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, CODES[array.dtype.name], array.dtype.itemsize * 8)
    struct.pack_into("<4f", header, 76, 1, *edges)
    struct.pack_into("<3f", header, 108, 352, *slope)
    header[123] = units
    struct.pack_into("<2h", header, 252, *codes)
    struct.pack_into("<6f", header, 256, 0, 0, 1, 30, 20, -10)
    struct.pack_into("<12f", header, 280, *np.asarray(sform, float).ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + array.tobytes())
    return path


def fields(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return {
        "pixdim": struct.unpack_from("<4f", data, 76),
        "codes": struct.unpack_from("<2h", data, 252),
        "qform": struct.unpack_from("<6f", data, 256),
        "sform": np.reshape(struct.unpack_from("<12f", data, 280), (3, 4)),
    }


# ---- forms


@pytest.mark.parametrize("edges", [(1, 1, 1), (2, 2, 2)])
def test_the_sform_is_used_with_a_note_where_pixdim_differs(tmp_path: Path, edges: Any) -> None:
    mask = read_mask(nifti(tmp_path / "m.nii", edges=edges, codes=(0, 2)))
    assert mask.volume_ml == pytest.approx(0.36)
    told = " x ".join(map(str, edges))
    assert mask.notes == (f"its pixdim gives voxels of {told} mm and its sform 1 x 1 x 2 mm; the sform is used",)


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (1, 4), (3, 1)])
def test_the_sform_is_used_with_a_note_where_the_qform_differs(tmp_path: Path, codes: Any) -> None:
    mask = read_mask(nifti(tmp_path / "m.nii", sform=MOVED, codes=codes))
    assert mask.grid.origin == pytest.approx((40, 15, -7))
    (note,) = mask.notes
    assert note.startswith(
        f"its sform (code {codes[1]}) and qform (code {codes[0]}) differ, first voxels 11.6 mm apart"
    )
    assert note.endswith("the sform is used")


@pytest.mark.parametrize(
    ("codes", "origin"), [((1, 0), (30, 20, -10)), ((0, 1), (40, 15, -7)), ((2, -1), (30, 20, -10))]
)
def test_a_form_with_code_0_is_ignored(tmp_path: Path, codes: Any, origin: Any) -> None:
    mask = read_mask(nifti(tmp_path / "m.nii", sform=MOVED, codes=codes))
    assert mask.grid.origin == pytest.approx(origin)
    assert mask.notes == ()


def test_without_sform_and_qform_the_grid_is_that_of_itk_with_a_note(tmp_path: Path) -> None:
    mask = read_mask(nifti(tmp_path / "m.nii", codes=(0, 0)))
    image = sitk.ReadImage(str(tmp_path / "m.nii"))
    assert mask.grid.origin == pytest.approx(image.GetOrigin())
    assert mask.grid.direction == pytest.approx(np.diag([-1, -1, 1]))
    assert mask.grid.spacing == image.GetSpacing() == (1, 1, 2)
    assert "neither position nor direction" in mask.notes[0]


def test_forms_that_differ_by_rounding_are_not_noted(tmp_path: Path) -> None:
    rounded = np.array(SFORM, float)
    rounded[:, 3] += 0.02
    assert read_mask(nifti(tmp_path / "m.nii", sform=rounded, codes=(1, 1))).notes == ()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", [(1, 2), (2, 1), (0, 4), (1, 0), (0, 0)])
def test_written_files_have_both_forms_of_the_image(tmp_path: Path, codes: Any, suffix: str) -> None:
    source = nifti(tmp_path / "ct.nii", sform=MOVED, codes=codes)
    image = read_volume(source, "image")
    result = Mask(image.grid, (image.array > 0).astype(np.uint8))
    write_mask(result, tmp_path / f"out{suffix}")
    before, after = fields(source), fields(tmp_path / f"out{suffix}")
    assert after["codes"] == codes
    assert after["pixdim"] == before["pixdim"]
    if codes[0]:
        assert after["qform"] == pytest.approx(before["qform"], abs=1e-6)
    if codes[1]:
        assert after["sform"] == pytest.approx(before["sform"])
    assert read_mask(tmp_path / f"out{suffix}").grid == image.grid


def test_written_files_have_the_voxel_size_of_the_sform(tmp_path: Path) -> None:
    mask = read_mask(nifti(tmp_path / "m.nii", edges=(1, 1, 1), codes=(0, 2)))
    write_mask(mask, tmp_path / "out.nii")
    assert fields(tmp_path / "out.nii")["pixdim"] == (1, 1, 1, 2)
    assert read_mask(tmp_path / "out.nii").notes == ()
    assert sitk.ReadImage(str(tmp_path / "out.nii")).GetSpacing() == (1, 1, 2)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_two_forms_of_any_direction_come_back(tmp_path: Path, one: Any, other: Any, signs: Any) -> None:
    turns = [Rotation.from_euler("xyz", angles, degrees=True).as_matrix() for angles in (one, other)]
    place = Grid.from_spacing((3, 4, 5), (1, 2, 3), (5, 6, 7), turns[0] * signs)
    second = Grid.from_spacing((3, 4, 5), (1.5, 2, 2.5), (-50, 6, 7), turns[1] * signs[::-1])
    grid = Grid(place.shape, place.affine, NiftiForms(4, 1, second.affine))
    write_volume(Volume(grid, np.zeros(grid.shape, np.float32), "image"), tmp_path / "a.nii")
    back = read_nifti(tmp_path / "a.nii")
    assert back.grid == place
    assert back.grid.forms is not None
    assert back.grid.forms.qform is not None
    assert Grid(place.shape, back.grid.forms.qform) == second


def test_a_small_shear_is_read_as_in_other_formats(tmp_path: Path) -> None:
    sheared = [[-1, 2e-4, 0, 30], [0, -1, 0, 20], [0, 0, 2, -10]]
    assert read_mask(nifti(tmp_path / "m.nii", sform=sheared, codes=(0, 2))).volume_ml == pytest.approx(0.36)
    sheared[0][1] = 2e-3
    with pytest.raises(GeometryError, match="direction is not orthonormal"):
        read_mask(nifti(tmp_path / "m.nii", sform=sheared, codes=(0, 2)))


@pytest.mark.parametrize(("units", "millimetres"), [(1, 1000), (2, 1), (10, 1), (3, 0.001)])
def test_lengths_in_metres_and_micrometres_become_mm(tmp_path: Path, units: int, millimetres: float) -> None:
    mask = read_mask(nifti(tmp_path / "m.nii", codes=(1, 1), units=units))
    assert mask.grid.spacing == pytest.approx(np.array([1, 1, 2]) * millimetres)
    assert mask.grid.spacing == pytest.approx(sitk.ReadImage(str(tmp_path / "m.nii")).GetSpacing())
    assert bool(mask.notes) == (millimetres != 1)
    with pytest.raises(ReadError, match=r"xyzt_units. is 5"):
        read_mask(nifti(tmp_path / "m.nii", units=5))


# ---- values


@pytest.mark.parametrize("slope", [(0, 100), (np.nan, 100), (1, 0)])
def test_values_are_not_scaled_where_scl_slope_is_0(tmp_path: Path, slope: Any) -> None:
    image = read_volume(nifti(tmp_path / "ct.nii", np.full((4, 5, 6), 40, np.int16), slope=slope))
    assert image.array.dtype == np.int16
    assert (image.array == 40).all()


@pytest.mark.parametrize(
    ("kind", "scaled"),
    [("uint8", "float32"), ("int16", "float32"), ("int32", "float64"), ("float32", "float32"), ("float64", "float64")],
)
def test_values_are_scaled(tmp_path: Path, kind: str, scaled: str) -> None:
    stored = np.arange(120).reshape(4, 5, 6).astype(kind)
    image = read_nifti(nifti(tmp_path / "a.nii", stored, slope=(0.25, -1024)))
    assert image.array.dtype == scaled
    assert np.array_equal(image.array, stored * 0.25 - 1024)
    assert image.step == (0.25 if kind not in ("float32", "float64") else 0)
    with pytest.raises(ReadError, match=r"scl_slope and scl_inter are 2\.0 and inf"):
        read_nifti(nifti(tmp_path / "a.nii", stored, slope=(2, np.inf)))


@pytest.mark.parametrize(
    ("top", "kind", "most"),
    [(2, "int16", 32767), (2, "uint8", 255), (7, "int16", 32767), (117, "int16", 32767), (117, "uint8", 255)],
)
def test_labels_scaled_by_nibabel_are_read_back(tmp_path: Path, top: int, kind: str, most: int) -> None:
    """As nibabel saves a label map of floating point numbers as integers."""
    labels = BLOCK.copy()
    labels[4:9, 6:12, 12:15] = top
    slope = float(np.float32(top / most))
    mask = read_mask(nifti(tmp_path / "m.nii", np.round(labels / slope).astype(kind), slope=(slope, 0)))
    assert np.array_equal(mask.array, labels)
    assert len(mask.notes) == (slope > 0.4)


def test_labels_rounded_to_float32_are_read_and_fractions_refused(tmp_path: Path) -> None:
    assert np.array_equal(read_mask(nifti(tmp_path / "m.nii", BLOCK * np.float32(0.99999994))).array, BLOCK)
    with pytest.raises(ArgumentError, match=r"whole numbers .* got 0\.0 to 1\.5, and 1\.5 at ijk \(5, 6, 4\)"):
        read_mask(nifti(tmp_path / "m.nii", BLOCK * np.float32(1.5)))
    fractions = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    for slope in (0.1, 0.3, 1.5):  # of a real image, values lie anywhere between whole numbers
        with pytest.raises(ArgumentError, match="whole numbers"):
            read_mask(nifti(tmp_path / "m.nii", fractions, slope=(slope, 0)))


# ---- what other programs write, and read


def nifti2(order: str) -> bytes:
    """A NIfTI-2 file of 4 x 3 x 2 int16 voxels, 0 to 23."""
    header = bytearray(544)
    struct.pack_into(order + "i", header, 0, 540)
    header[4:12] = b"n+2\0\r\n\x1a\n"
    struct.pack_into(order + "2h8q", header, 12, 4, 16, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(order + "8d", header, 104, 1, 1.5, 2, 3, 0, 0, 0, 0)
    struct.pack_into(order + "q2d", header, 168, 544, 1, 0)
    struct.pack_into(order + "2i6d", header, 344, 1, 0, 0, 0, 1, 30, 20, -10)
    return bytes(header) + np.arange(24).astype(order + "i2").tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_in_both_byte_orders(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti2(order))
    image = read_nifti(path)
    assert np.array_equal(image.array, np.arange(24).reshape(2, 3, 4))
    assert image.array.dtype.isnative
    assert image.grid == Grid.from_spacing((2, 3, 4), (1.5, 2, 3), (30, 20, -10), np.diag([-1, -1, 1]))
    path.write_bytes(nifti2(order)[:-1])
    with pytest.raises(ReadError, match="take at most 47 of 48 bytes"):
        read_nifti(path)


# ---- damage


def test_gzip_files_of_several_members_and_with_zeros_behind_are_read(tmp_path: Path) -> None:
    plain = nifti(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]) + bytes(512))
    assert np.array_equal(read_nifti(path).array, BLOCK)
    path.write_bytes(gzip.compress(plain[:5000]))
    with pytest.raises(ReadError, match="its voxels take 4648 of 5760 bytes"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("offset", "form", "value", "error", "words"),
    [
        (0, "i", 347, ReadError, "not a NIfTI file"),
        (344, "4s", b"ni1\0", ReadError, "not a NIfTI file in one piece"),
        (40, "h", 9, ReadError, "damaged NIfTI header"),
        (42, "h", -50, ReadError, "damaged NIfTI header"),
        (42, "h", 19, ReadError, "more than the 5472 bytes"),
        (42, "h", 21, ReadError, "at most 5760 of 6048 bytes"),
        (70, "h", 3, ReadError, "code 3, 8 bits"),
        (72, "h", 16, ReadError, "code 2, 16 bits"),
        (108, "f", 1e6, ReadError, "truncated"),
        (108, "f", np.nan, ReadError, "begin at byte nan"),
        (108, "f", 351, ReadError, "begin at byte 351"),
        (80, "f", 0.0, GeometryError, "spacing must be positive"),
        (84, "f", -1.0, GeometryError, "spacing must be positive"),
        (88, "f", np.nan, GeometryError, "spacing must be positive"),
        (280, "f", np.nan, GeometryError, "not finite"),
        (280, "f", 0.0, GeometryError, "spacing must be positive"),
    ],
)
def test_an_impossible_header_is_refused(
    tmp_path: Path, offset: int, form: str, value: Any, error: Any, words: str
) -> None:
    path = nifti(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + form, data, offset, value)
    path.write_bytes(data)
    with pytest.raises(error, match=words):
        read_nifti(path)
