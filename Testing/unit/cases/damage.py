"""One small image in every format that is read, and random damage to its files, for the test that none goes unseen.

What is left out is damage that no reader can see. These formats have no checksum over uncompressed voxels, so their
bits stay whole there; and a header number that tells a place, a scale or a code of these (spacing 2 for 1) makes
another image that is as valid; so does a whole file of another patient's. Everything else is fair: lengths, types,
keywords, line breaks, compressed streams, their checksums, the files of a pair, what follows the voxels. Of a DICOM
series the first or last slice can be lost unseen, and the values of tags be turned into others.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from Testing.unit.cases.dicom_series import write_series
from Testing.unit.cases.volume_cases import GRID, image_from_array
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import write_mask, write_volume

VALUES = np.random.default_rng(5).integers(-900, 900, GRID.shape).astype(np.int16)
# Fields whose numbers tell the place: their names are damaged, their numbers are not.
PLACE = re.compile(
    rb"(?:space directions|space origin|Offset|TransformMatrix|ElementSpacing|CenterOfRotation)( = |: )([^\n]*)"
)
# Header bytes of NIfTI-1 that hold pixdim, scl_slope, scl_inter, units, codes and forms.
NIFTI_NUMBERS = [(76, 108), (112, 124), (252, 328)]


def write_all(folder: Path) -> dict[str, Path]:
    """The image in every format, each with its files in a folder of its own; what is to be read of each."""
    folder.mkdir()
    paths = {}
    image = image_from_array(VALUES, GRID)
    for name, compressed in [
        *(("itk.nii", False), ("itk.nii.gz", True), ("itk.nrrd", False), ("packed.nrrd", True), ("itk.nhdr", False)),
        *(("packed.nhdr", True), ("itk.mha", False), ("packed.mha", True), ("itk.mhd", False), ("packed.mhd", True)),
    ]:
        path = _room(folder, name)
        sitk.WriteImage(image, str(path), compressed)
        paths[name] = path
    for name in ("own.nii", "own.nii.gz", "own.nrrd", "own.mha"):
        paths[name] = _room(folder, name)
        write_volume(Volume(GRID, VALUES, "image"), paths[name])
    paths["own.seg.nrrd"] = _room(folder, "own.seg.nrrd")
    write_mask(Mask(GRID, VALUES > 500), paths["own.seg.nrrd"])
    paths["dicom"] = folder / "dicom"
    write_series(paths["dicom"])
    return paths


def _room(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name / name


def damaged(source: Path, folder: Path, rng: np.random.Generator) -> tuple[Path, str]:
    """A copy of an image's files with one random damage; what is to be read, and the damage as text."""
    if source.is_dir():
        shutil.copytree(source, folder)
        files = sorted(folder.iterdir())
        kinds = [_truncate, _flip, _swap, _remove_middle, _copy_over]
        target = folder
    else:
        shutil.copytree(source.parent, folder)
        files = sorted(folder.iterdir())
        target = folder / source.name
        kinds = [_truncate, _flip, _flip, _change_length, _swap, _append]
    kind = kinds[rng.integers(len(kinds))]
    return target, kind(files, rng)


def _some(files: list[Path], rng: np.random.Generator) -> Path:
    return files[int(rng.integers(len(files)))]


def _truncate(files: list[Path], rng: np.random.Generator) -> str:
    path = _some(files, rng)
    data = path.read_bytes()
    kept = int(rng.integers(len(data)))
    path.write_bytes(data[:kept])
    return f"{path.name} cut off after {kept} of {len(data)} bytes"


def _append(files: list[Path], rng: np.random.Generator) -> str:
    path = _some([file for file in files if file.suffix not in (".nhdr", ".mhd")], rng)
    more = bytes(int(byte) for byte in rng.integers(1, 256, int(rng.integers(1, 300))))
    path.write_bytes(path.read_bytes() + more)
    return f"{len(more)} bytes behind {path.name}"


def _flip(files: list[Path], rng: np.random.Generator) -> str:
    candidates = [(path, told) for path in files if len(told := _told(path))]
    path, told = candidates[int(rng.integers(len(candidates)))]
    data = bytearray(path.read_bytes())
    place, bit = int(rng.choice(told)), int(rng.integers(8))
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place} of {path.name} turned"


def _told(path: Path) -> np.ndarray:
    """The bytes whose damage can be seen."""
    data = path.read_bytes()
    told = np.ones(len(data), bool)
    if data.startswith((b"\x1f\x8b", b"\x78")):
        return np.flatnonzero(told)
    if path.suffix == ".nii":
        for low, high in [*NIFTI_NUMBERS, (352, len(data))]:
            told[low:high] = False
    elif path.suffix == ".dcm":
        told[:] = False
        told[_structure(path)] = True
    elif path.suffix == ".raw":
        told[:] = False
    else:
        header = re.search(rb"ElementDataFile = [^\n]*\n|\n\n|\Z", data).end()  # type: ignore[union-attr]
        for match in PLACE.finditer(data, 0, header):
            told[match.start(2) : match.end(2)] = False
        if not re.search(rb"CompressedData = True|encoding: gzip", data[:header]):
            told[header:] = False
    return np.flatnonzero(told)


def _structure(path: Path) -> list[int]:
    """Tag, type and length of each data element before the pixels, and of the pixels."""
    places: list[int] = []
    for element in pydicom.dcmread(path):
        begin = element.file_tell - (12 if element.VR in ("OB", "OW", "SQ", "UN", "UT") else 8)  # type: ignore[operator]
        places += range(begin, element.file_tell)  # type: ignore[arg-type]
    return places


def _change_length(files: list[Path], rng: np.random.Generator) -> str:
    """Another number where the header tells one of voxels, bytes or files."""
    path = next((file for file in files if file.suffix in (".nhdr", ".mhd")), files[0])
    data = path.read_bytes()
    if path.suffix in (".nii", ".gz"):
        if path.suffix == ".gz":
            return _flip(files, rng)
        place, new = 42 + 2 * int(rng.integers(3)), int(rng.integers(1, 300))
        if data[place : place + 2] == new.to_bytes(2, "little"):
            new += 1
        path.write_bytes(data[:place] + new.to_bytes(2, "little") + data[place + 2 :])
        return f"length at byte {place} of {path.name} is {new}"
    pattern = rb"(?:sizes: |DimSize = |CompressedDataSize = |NDims = |dimension: )([^\n]*)"
    matches = list(re.finditer(pattern, data))
    match = matches[int(rng.integers(len(matches)))]
    numbers = match.group(1).split()
    n = int(rng.integers(len(numbers)))
    new = int(rng.integers(1, 300))  # 0 bytes of compressed voxels would mean that their number is not told
    numbers[n] = str(new + (str(new).encode() == numbers[n])).encode()
    path.write_bytes(data[: match.start(1)] + b" ".join(numbers) + data[match.end(1) :])
    return f"{match.group(0)!r} is {b' '.join(numbers)!r}"


def _swap(files: list[Path], rng: np.random.Generator) -> str:
    """A file of another kind in the place of one."""
    path = _some(files, rng)
    other = path.parent / "other.nii.gz"
    choice = int(rng.integers(3))
    if choice == 0:
        path.write_bytes(rng.bytes(int(rng.integers(400))))
    elif choice == 1:
        write_volume(Volume(Grid.from_spacing((3, 4, 5), (1, 1, 1)), np.zeros((3, 4, 5), np.int16)), other)
        content = other.read_bytes()
        other.unlink()
        path.write_bytes(b"NRRD0004\n" + content if ".nii" in path.name else content)
    else:
        path.write_bytes(b"")
    return f"{path.name} is another file ({choice})"


def _remove_middle(files: list[Path], rng: np.random.Generator) -> str:
    path = files[int(rng.integers(1, len(files) - 1))]
    path.unlink()
    return f"{path.name} is missing"


def _copy_over(files: list[Path], rng: np.random.Generator) -> str:
    one, other = (int(n) for n in rng.choice(len(files), 2, replace=False))
    shutil.copyfile(files[one], files[other])
    return f"{files[one].name} in the place of {files[other].name}"


def seeds(first: int, count: int) -> Iterator[np.random.Generator]:
    """A source of chance for each case, the same in every run."""
    return (np.random.default_rng([7, n]) for n in range(first, first + count))
