"""NIfTI-1 and NIfTI-2 files of one piece, plain or as gzip (nifti1.h and nifti2.h of nifti.nimh.nih.gov).

A file states up to two places for its voxels, the sform and the qform. As nibabel, FSL and SPM do, the sform is used
where its code is not 0, else the qform. Where they differ the image says so, and what lies on its grid is written with
both.
"""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from TumorSegLib.errors import GeometryError, ReadError, WriteError
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.grid import LPS_TO_RAS, Grid, NiftiForms
from TumorSegLib.io.stored_image import (
    COMPRESSION,
    GZIP,
    MOST_INFLATION,
    StoredImage,
    check_3d,
    filled,
    head,
    inflated,
    raw,
    skipped,
)

#: Where fields lie, by header length, and their struct format.
_FIELDS: dict[int, dict[str, tuple[int, str]]] = {
    348: {
        "magic": (344, "4s"),
        "dim": (40, "8h"),
        "type": (70, "2h"),
        "pixdim": (76, "8f"),
        "voxels": (108, "f"),
        "scale": (112, "2f"),
        "units": (123, "B"),
        "codes": (252, "2h"),
        "qform": (256, "6f"),
        "sform": (280, "12f"),
    },
    540: {
        "magic": (4, "8s"),
        "dim": (16, "8q"),
        "type": (12, "2h"),
        "pixdim": (104, "8d"),
        "voxels": (168, "q"),
        "scale": (176, "2d"),
        "units": (500, "i"),
        "codes": (344, "2i"),
        "qform": (352, "6d"),
        "sform": (400, "12d"),
    },
}
_MAGIC = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_OTHER_TYPES = {32: "complex64", 1792: "complex128", 128: "RGB", 2304: "RGBA"}
# Lowest three bits of xyzt_units: not stated, metre, millimetre, micrometre.
_UNITS = {0: ("mm", 1.0), 1: ("metres", 1000.0), 2: ("mm", 1.0), 3: ("micrometres", 0.001)}
# Largest relative difference of lengths that rounding to float32 and to decimal numbers explains.
SPACING_TOLERANCE = 1e-3
# Quaternions of directions that are orthonormal to four digits only are off by up to a tenth of a voxel at the corners
# (seen in open data); a form that is off by more, as a share of the finest voxel edge, is another place.
FORM_TOLERANCE = 0.2
# Scanner coordinates, for both forms of what comes from elsewhere.
SCANNER = 1
_LONGEST_AXIS = 32767


@dataclass(frozen=True)
class _Header:
    """Fields of a header, as they stand in it; lengths in mm."""

    size: tuple[int, ...]
    kind: np.dtype[Any]
    start: int
    scale: tuple[float, float]
    unit: str
    spacing: tuple[float, ...]
    codes: tuple[int, int]
    qform: Float64Array
    sform: Float64Array


def read_nifti(path: Path) -> StoredImage:
    """Reads a .nii or .nii.gz file; whether it is packed is found from its content, not its name.

    Values are scaled by scl_slope and scl_inter, to float32, or float64 for numbers of more than 16 bits; not at all
    where scl_slope is 0. Lengths in metres and micrometres become mm.

    Raises:
        ReadError: truncated, damaged, not a NIfTI file in one piece, or not one 3D image.
        GeometryError: voxel edges (pixdim) that are not positive; a form that is not a valid grid.
        OSError: the file cannot be read.
        MemoryError: it does not fit.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        start, chunks = head(inflated(file, GZIP) if zipped else raw(file), max(_FIELDS))
        header = _parse(start)
        check_3d(header.size)
        count = math.prod(header.size)
        most = path.stat().st_size * (MOST_INFLATION if zipped else 1) - header.start
        array = filled(skipped(chunks, header.start), header.kind, count, most)
    grid, notes = _place(header)
    array, step = _scaled(array.reshape(grid.shape), *header.scale)
    return StoredImage(array, grid, notes, step=step)


def _parse(start: bytes) -> _Header:
    order = next((o for o in "<>" if len(start) >= 4 and struct.unpack_from(o + "i", start)[0] in _FIELDS), None)
    if order is None:
        raise ReadError("not a NIfTI file, or damaged")
    length: int = struct.unpack_from(order + "i", start)[0]
    if len(start) < length:
        raise ReadError(f"truncated, it ends within its header of {length} bytes")
    values = {name: struct.unpack_from(order + kind, start, offset) for name, (offset, kind) in _FIELDS[length].items()}
    if values["magic"][0] != _MAGIC[length]:
        raise ReadError("not a NIfTI file in one piece; an .hdr and .img pair must be converted to .nii first")
    axes, *sizes = values["dim"]
    if not 1 <= axes <= 7 or min(sizes[:axes]) < 1:
        raise ReadError(f"damaged NIfTI header, number and lengths of the axes are {axes}, {sizes}")
    size = tuple(sizes[:axes])
    begin = values["voxels"][0]
    if not (length + 4 <= begin < math.inf and begin % 1 == 0):
        raise ReadError(f"damaged NIfTI header, its voxels begin at byte {begin}")
    unit, millimetres = _unit(values["units"][0])
    return _Header(
        size,
        _kind(order, size, *values["type"]),
        int(begin),
        values["scale"],
        unit,
        _spacing(values["pixdim"], axes, millimetres),
        (values["codes"][1], values["codes"][0]),
        _from_quaternion(values["qform"], values["pixdim"], millimetres),
        _matrix(np.array(values["sform"]).reshape(3, 4) * millimetres),
    )


def _kind(order: str, size: tuple[int, ...], code: int, bits: int) -> np.dtype[Any]:
    values = size[4] if len(size) > 4 and size[3] == 1 and math.prod(size[5:]) == 1 else 1
    if values > 1 or code in _OTHER_TYPES:
        kind = _OTHER_TYPES.get(code) or _TYPES.get(code)
        raise ReadError(f"{values} value(s) per voxel ({kind}); an image of one real value per voxel is needed")
    if code not in _TYPES or np.dtype(_TYPES[code]).itemsize * 8 != bits:
        raise ReadError(f"damaged NIfTI header, or an unsupported number type (code {code}, {bits} bits)")
    return np.dtype(order + _TYPES[code])


def _unit(code: int) -> tuple[str, float]:
    if code & 7 not in _UNITS:
        raise ReadError(f"damaged NIfTI header, the code of its units of length (xyzt_units) is {code & 7}")
    return _UNITS[code & 7]


def _spacing(pixdim: tuple[float, ...], axes: int, millimetres: float) -> tuple[float, ...]:
    edges = pixdim[1 : 1 + min(axes, 3)]
    if not all(0 < edge < math.inf for edge in edges):
        raise GeometryError(f"voxel spacing must be positive, got {edges} mm")
    return tuple(edge * millimetres for edge in edges)


def _from_quaternion(qform: tuple[float, ...], pixdim: tuple[float, ...], millimetres: float) -> Float64Array:
    """The qform as nifti1.h defines it, METHOD 2; (4, 4), RAS mm."""
    b, c, d, *offset = qform
    a = math.sqrt(max(1.0 - (b * b + c * c + d * d), 0.0))
    try:
        turned = Rotation.from_quat([b, c, d, a]).as_matrix()
    except ValueError:  # not finite; used only where its code is not 0, where Grid refuses it
        turned = np.full((3, 3), np.nan)
    edges = np.array(pixdim[1:4]) * (1, 1, -1 if pixdim[0] < 0 else 1)
    return _matrix(np.column_stack([turned * edges, offset]) * millimetres)


def _matrix(upper: Float64Array) -> Float64Array:
    return np.vstack([upper, (0.0, 0.0, 0.0, 1.0)])


def _place(header: _Header) -> tuple[Grid, tuple[str, ...]]:
    """The grid by the form that is used, and notes on the other one."""
    i, j, k = header.size[:3]
    shape, notes = (k, j, i), []
    sform_code, qform_code = header.codes
    forms = NiftiForms(sform_code, qform_code)
    if header.unit != "mm":
        notes.append(f"its lengths are in {header.unit} and were converted to mm")
    if sform_code > 0:
        grid = Grid(shape, header.sform, forms)
        if qform_code > 0:
            other = Grid(shape, header.qform)
            if grid.corner_distance(other) > FORM_TOLERANCE * min(grid.spacing + other.spacing):
                which = f"its sform (code {sform_code}) and qform (code {qform_code})"
                notes.append(f"{which} differ, {grid.difference(other).partition(';')[0]}; the sform is used")
            if other != grid:
                grid = Grid(shape, header.sform, NiftiForms(sform_code, qform_code, header.qform))
        elif not np.allclose(grid.spacing, header.spacing, rtol=SPACING_TOLERANCE):
            stated, used = (" x ".join(f"{edge:.5g}" for edge in edges) for edges in (header.spacing, grid.spacing))
            notes.append(f"its pixdim gives voxels of {stated} mm and its sform {used} mm; the sform is used")
        return grid, tuple(notes)
    if qform_code > 0:
        return Grid(shape, header.qform, forms), tuple(notes)
    notes.append("it states neither position nor direction (sform and qform codes are 0); axes of the scanner assumed")
    return Grid(shape, LPS_TO_RAS @ np.diag((*header.spacing, 1.0)), forms), tuple(notes)


def _scaled(array: npt.NDArray[Any], slope: float, intercept: float) -> tuple[npt.NDArray[Any], float]:
    """Values by scl_slope and scl_inter, and the step that whole numbers get by it."""
    if slope == 0 or math.isnan(slope) or (slope, intercept) == (1, 0):  # 0: "then the values are not scaled"
        return array, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ReadError(f"damaged NIfTI header, scl_slope and scl_inter are {slope} and {intercept}")
    whole = array.dtype.kind in "iu"
    scaled = np.empty(array.shape, np.float64 if array.dtype.itemsize > (2 if whole else 4) else np.float32)
    for source, target in zip(array, scaled):
        target[...] = source.astype(np.float64) * slope + intercept
    return scaled, abs(slope) if whole else 0.0


def write_nifti(path: Path, array: npt.NDArray[Any], grid: Grid) -> None:
    """Writes a NIfTI-1 file, packed where its name ends in ``.gz``.

    Args:
        path: of the file.
        array: ``[k, j, i]``, integers or float32 or float64.
        grid: RAS mm; where it is from a NIfTI file, both forms and their codes are written as they were.

    Raises:
        WriteError: an axis is too long for the format.
        OSError: the file cannot be written.
    """
    if max(grid.size) > _LONGEST_AXIS:
        raise WriteError(f"NIfTI takes {_LONGEST_AXIS} voxels along an axis, the image has {grid.size}")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    with path.open("wb") as file:
        if path.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed:
                packed.write(_header(little.dtype, grid))
                packed.write(np.ascontiguousarray(little).data)
        else:
            file.write(_header(little.dtype, grid))
            file.write(np.ascontiguousarray(little).data)


def _header(kind: np.dtype[Any], grid: Grid) -> bytes:
    forms = grid.forms or NiftiForms(SCANNER, SCANNER)
    qform = grid.affine if forms.qform is None else forms.qform
    edges = np.linalg.norm(qform[:3, :3], axis=0)
    quaternion, mirrored = _quaternion(qform[:3, :3] / edges)
    code = next(code for code, name in _TYPES.items() if np.dtype(name) == kind.newbyteorder("="))
    values: dict[str, tuple[Any, ...]] = {
        "magic": (_MAGIC[348],),
        "dim": (3, *grid.size, 1, 1, 1, 1),
        "type": (code, kind.itemsize * 8),
        "pixdim": (-1 if mirrored else 1, *edges, 0, 0, 0, 0),
        "voxels": (352,),
        "scale": (1, 0),
        "units": (2,),
        "codes": (forms.qform_code, forms.sform_code),
        "qform": (*quaternion, *qform[:3, 3]),
        "sform": tuple(grid.affine[:3].ravel()),
    }
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    for name, value in values.items():
        offset, form = _FIELDS[348][name]
        struct.pack_into("<" + form, header, offset, *value)
    return bytes(header)


def _quaternion(direction: Float64Array) -> tuple[Float64Array, bool]:
    """b, c and d of the nearest rotation, and whether the third axis must be mirrored to make it one."""
    u, _, v = np.linalg.svd(direction)
    nearest = u @ v
    mirrored = bool(np.linalg.det(nearest) < 0)
    b, c, d, a = Rotation.from_matrix(nearest * (1, 1, -1 if mirrored else 1)).as_quat()
    return np.array([b, c, d]) * (-1 if a < 0 else 1), mirrored
